"""`make docs`: pages that are made of the code itself, in build/docs: costs, rules, commands, plan, claims."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from calibration.errors import BadInput
from calibration.machine_file import BUNDLED, MachineFile, find_machine
from calibration.plan import planned_rows
from experiments.claims.catalogue import claims
from experiments.claims.judged import document_of, page_of
from experiments.claims.measured import read_measured
from experiments.cli.claims import asked_of
from experiments.cli.main import main as spawncost
from experiments.headline import figure
from experiments.sweep_fields import FIELDS, Field
from model.costs import COSTS, CostSpec, MissingCost
from model.rules import JDK_SINCE, KERNEL_SINCE, Rules

DIRECTORY = Path("build/docs")
_RULE = re.compile(r"^ {4}(?P<name>\w+): .*?= (?P<default>\S+)  # (?P<source>.*)$", re.MULTILINE)
_COMMAND = re.compile(r"^  ([a-z][\w-]*)(?: |$)", re.MULTILINE)
_WIDTH = 80


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def costs_page(file: MachineFile) -> str:
    """The glossary of all costs with their prices in a machine file."""
    rows = [
        (f"`{name}`", _price(name, file), spec.per, _told_by(spec), spec.stands_for) for name, spec in COSTS.items()
    ]
    return (
        f"# Costs\n\nPrices in ns, with standard error, of the machine file {file.machine.name} ({file.origin}).\n"
        "A latency is worked off by no task.\n\n" + table(("cost", "ns", "per", "told by", "stands for"), rows)
    )


def _price(name: str, file: MachineFile) -> str:
    try:
        price, error = file.costs.price(name), file.costs.stderr_ns({name: 1.0})
    except MissingCost:
        return "none"
    text = f"{figure(price)} ± {figure(error)}" if error else figure(price)
    return f"{text} (inherited)" if name in file.costs.inherited else text


def _told_by(spec: CostSpec) -> str:
    if spec.assumed_as is not None:
        return f"assumed {spec.assumed_as[1]:g} × `{spec.assumed_as[0]}`: {spec.assumed}"
    return f"{spec.bench}{' (latency)' if spec.latency else ''}"


def rules_page() -> str:
    """The rules: what they are by default, and from which version on each value holds."""
    since: Mapping[str, Sequence[tuple[object, object]]] = {**KERNEL_SINCE, **JDK_SINCE}
    rows = [
        (f"`{each['name']}`", each["default"].strip('"'), _since(since.get(each["name"], ())), each["source"])
        for each in _RULE.finditer(inspect.getsource(Rules))
    ]
    return (
        "# Rules\n\nWhat differs between versions, as data: `--kernel`, `--glibc` and `--jdk` choose, "
        "`--rule NAME=VALUE` sets one.\n\n" + table(("rule", "newest", "from version", "newer value since"), rows)
    )


def _since(values: Sequence[tuple[object, object]]) -> str:
    return ", ".join(f"{_version(version)}: {value}" for version, value in values)


def _version(version: object) -> str:
    text = ".".join(map(str, version)) if isinstance(version, tuple) else str(version)
    return "before" if text in ("0", "0.0") else text


def help_of(*words: str) -> str:
    """What `spawncost WORDS --help` prints, 80 columns wide wherever it runs."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(_WIDTH)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as caught:
            spawncost([*words, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return caught.getvalue()


def commands() -> list[str]:
    """Commands that the help text lists: those that are built."""
    return _COMMAND.findall(help_of().partition("Commands:\n")[2])


def commands_page() -> str:
    """The help texts of the command line."""
    texts = {"spawncost": help_of(), **{f"spawncost {name}": help_of(name) for name in commands()}}
    return "# Command line\n" + "".join(f"\n## {name}\n\n```text\n{text}```\n" for name, text in texts.items())


def plan_page() -> str:
    """The rows that calibration measures."""
    rows = [
        (
            f"`{each.row.name}`",
            each.role,
            each.row.pass_ + ("" if each.row.pinned else ", not pinned") + (", quick" if each.quick else ""),
            f"{each.row.processes} × {each.row.reps}",
            ", ".join(each.milestones),
            f"`{' '.join((each.row.bench, *each.row.args))}`",
        )
        for each in planned_rows()
    ]
    head = ("row", "role", "pass", "processes × repetitions", "milestones", "bench")
    return "# Plan of calibration\n\nA row is a bench with arguments. Held-out rows are never fitted.\n\n" + table(
        head, rows
    )


def fields_page() -> str:
    """What a sweep can fix or vary."""
    rows = [(f"`{name}`", each.kind, _takes(each), each.meaning) for name, each in FIELDS.items()]
    return "# Fields of a sweep\n\nIn `base` and `axes` of a specification.\n\n" + table(
        ("field", "kind", "takes", "meaning"), rows
    )


def _takes(each: Field) -> str:
    if each.kind == "text":
        return ", ".join(each.words) or "any text"
    return f"{each.low:g} to {each.high:g}" + (f" {each.unit}" if each.unit else "")


def claims_page(file: MachineFile) -> str:
    """The claims judged, predicted on this machine file."""
    name = str(file.path) if file.origin == "given" else BUNDLED
    return page_of(document_of(claims(), file, lambda options: asked_of(options, name), read_measured(), name))


def pages(file: MachineFile) -> Iterator[tuple[str, str]]:
    """Name and text of each page."""
    yield "costs.md", costs_page(file)
    yield "rules.md", rules_page()
    yield "commands.md", commands_page()
    yield "plan.md", plan_page()
    yield "fields.md", fields_page()
    yield "claims.md", claims_page(file)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the pages into the directory given, or build/docs; the return value is the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    directory = Path(arguments[0]) if arguments else DIRECTORY
    try:
        file = find_machine(arguments[1] if len(arguments) > 1 else BUNDLED)
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in pages(file):
            (directory / name).write_text(text, encoding="utf-8")
            print(directory / name)
    except (BadInput, OSError) as error:
        print(f"docs: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
