"""`spawncost calibrate`: measure this machine and write its machine file."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibration.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calibration.assemble import HeldOut
    from calibration.calibrate import Calibration


MADE_BYTES = 512 << 20
"""Largest of the made parents that are counted apart: what is promised of them is promised so far."""
THOROUGH = 3
"""Passes: what neighbours leave of a shared cache changes within minutes."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def calibrate(
        out: Annotated[Path | None, typer.Option(help="Machine file to write; default: this host's own.")] = None,
        quick: Annotated[bool, typer.Option("--quick", help="Within a minute; the rest is inherited.")] = False,
        thorough: Annotated[bool, typer.Option("--thorough", help="Three passes, 15 minutes.")] = False,
        resume: Annotated[Path | None, typer.Option(help="Samples of an interrupted run to go on with.")] = None,
        passes: Annotated[int, typer.Option(min=1, max=20, help="Times that all is measured, each up to 5 min.")] = 1,
        base: Annotated[str, typer.Option(help="Where what is not reached is inherited from, or `none`.")] = "bundled",
        rows: Annotated[
            str | None, typer.Option(metavar="FILE|-", help="More of these alone: advise-measurement's JSON, or names.")
        ] = None,
        refit: Annotated[
            str | None, typer.Option(metavar="NAME|FILE", help="Measure nothing: fit that file's samples again.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    ) -> None:
        """Measure this machine, fit its prices, and write its machine file."""
        from calibration.calibrate import calibrate as run

        if refit is not None:
            _print(_refitted(refit, out), as_json=as_json)
            return
        date = datetime.now(UTC).isoformat(timespec="minutes")
        if quick and thorough:
            raise BadInput("--quick", "it is the opposite of --thorough", "give one of them")
        passes = max(passes, THOROUGH) if thorough else passes
        more = rows_asked(rows) if rows is not None else None
        done = run(
            out=out, quick=quick, date=date, progress=TimeLeft(), samples=resume, passes=passes, base=base, more=more,
            complain=lambda each: print(f"spawncost: warning: {each}", file=sys.stderr),
        )  # fmt: skip
        _print(done, as_json=as_json)


def _print(done: Calibration, *, as_json: bool) -> None:
    document = _document(done)
    print(json.dumps(document, indent=1) if as_json else _text(document))


def _refitted(machine: str, out: Path | None) -> Calibration:
    """A machine file's samples fitted again, into that file unless another one is named."""
    from calibration.calibrate import refit
    from calibration.machine_file import find_machine

    file = find_machine(machine)
    assert file.path is not None
    return refit(file, out if out is not None else file.path)


def rows_asked(given: str) -> dict[str, int]:
    """Processes by row: those of an advice, or 0 for each name of a list. Raises BadInput."""
    try:
        text = sys.stdin.read() if given == "-" else Path(given).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "is no text in UTF-8"
        raise BadInput(f"--rows {given}", why, "give a file, or - for standard input") from error
    if not text.lstrip().startswith("{"):
        return dict.fromkeys(text.split(), 0)
    try:
        return {str(step["row"]): int(step["processes"]) for step in json.loads(text)["steps"]}
    except (ValueError, KeyError, TypeError) as error:
        remedy = "give what `spawncost advise-measurement --json` prints"
        raise BadInput(f"--rows {given}", "is no advice", remedy) from error


class TimeLeft:
    """Progress with the time left, on stderr: one line that is written over, or nothing if nobody watches."""

    def __init__(self) -> None:
        from time import monotonic

        self._now = monotonic
        self._start = monotonic()
        self._shown = 0.0

    def __call__(self, done: int, total: int, what: str) -> None:
        now = self._now()
        if not sys.stderr.isatty() or now - self._shown < 0.2:
            return
        self._shown = now
        spent = now - self._start
        left = f", about {spent / done * (total - done):.0f} s left" if done > 10 and total else ""
        print(f"\r\x1b[K{done}/{total} {what}{left}", end="", file=sys.stderr, flush=True)


def _document(done: Calibration) -> dict[str, object]:
    held = done.assembled.held_out
    made = [each for each in held if each.made_bytes is not None and each.made_bytes <= MADE_BYTES]
    machine, costs = done.assembled.file.machine, done.assembled.file.costs
    return {
        "schema": "spawncost.calibration/1",
        "machine": machine.name,
        "file": str(done.path),
        "samples": str(done.samples),
        "costs": len(costs.ns),
        "inherited": sorted(costs.inherited),
        "rank": done.assembled.fit.rank,
        "confounded": list(done.assembled.fit.confounded),
        "untold": dict(done.assembled.file.provenance["untold"]),
        "noise_floor": machine.noise_floor,
        "complaints": [{"what": each.what, "remedy": each.remedy} for each in done.complaints],
        "held_out": {**_errors(held), "made_parents": _errors(made)},
    }


def _errors(held: Sequence[HeldOut]) -> dict[str, object]:
    from calibration.quantiles import quantile

    errors = [abs(each.error) for each in held]
    return {
        "rows": len(errors),
        "median_error": quantile(errors, 0.5) if errors else None,
        "p90_error": quantile(errors, 0.9) if errors else None,
    }


def _text(document: dict[str, object]) -> str:
    held = document["held_out"]
    assert isinstance(held, dict)
    lines = [
        f"{document['machine']}: {document['costs']} prices, of which {len(document['inherited'])} inherited",  # type: ignore[arg-type]
        f"noise floor of this run {document['noise_floor']:.1%}",
    ]
    for errors, what in ((held, "held-out observations"), (held["made_parents"], "of them made parents to 512 MiB")):
        if errors["rows"]:
            lines.append(
                f"{errors['rows']} {what}: median error {errors['median_error']:.1%}, p90 {errors['p90_error']:.1%}"
            )
    untold = document["untold"]
    assert isinstance(untold, dict)
    lines += [f"not told by these rows: {name}, taken as {like}" for name, like in untold.items()]
    return "\n".join([*lines, f"machine file  {document['file']}", f"raw samples   {document['samples']}"])
