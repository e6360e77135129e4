"""Claims judged: the document of `spawncost claims`, its text and its page."""

from __future__ import annotations

import functools
import shlex
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from calibration.machine_file import BUNDLED, MachineFile
from calibration.samples import Run
from experiments.claims.catalogue import Claim
from experiments.claims.figures import SAMPLE, Ask, interval, measured, parts_of, predicted, query_of, sample_rows
from experiments.claims.measured import Measurements
from experiments.headline import figure

SCHEMA = "spawncost.claims/1"
_WIDTH = 79
_SPOKEN = {"true": "TRUE", "false": "FALSE", "depends": "DEPENDS"}


def runs_of(claims: Sequence[Claim]) -> tuple[str, ...]:
    """The runs whose figures these claims name."""
    named = (part for claim in claims for text in claim.measure.values() for part in parts_of(text))
    return tuple(dict.fromkeys(part.rpartition(".")[0] for part in named if not part.startswith(SAMPLE)))


def document_of(
    claims: Sequence[Claim], file: MachineFile, ask: Ask, stored: Measurements, machine: str = BUNDLED
) -> dict[str, Any]:
    """`spawncost.claims/1`.

    Args:
        file: the machine file that the predictions are of.
        ask: answers predict's options, on that machine file.
        stored: measurements, of whenever.
        machine: what `--machine` calls the file.

    Raises:
        BadInput: predict refuses.
    """
    rows = sample_rows(file)
    cached = functools.cache(ask)
    return {
        "schema": SCHEMA,
        "machine": {"name": file.machine.name, "origin": file.origin, "kernel": file.machine.kernel},
        "measurements": {
            "date": stored.date,
            "machine": stored.machine,
            "kernel": stored.kernel,
            "glibc": stored.glibc,
            "protocol": stored.told,
        },
        "claims": [_record(claim, machine, cached, stored, rows) for claim in claims],
    }


def _record(
    claim: Claim, machine: str, ask: Ask, stored: Measurements, rows: Callable[[], Mapping[str, Sequence[Run]]]
) -> dict[str, Any]:
    foretold = {name: predicted(text, ask) for name, text in claim.predict.items()}
    bounds = {name: list(each) for name, text in claim.predict.items() if (each := interval(text, ask)) is not None}
    found = {name: value for name, text in claim.measure.items() if (value := measured(text, stored, rows)) is not None}
    return {
        "id": claim.id,
        "section": claim.section,
        "text": claim.text,
        "verdict": claim.verdict,
        "kernels": claim.kernels,
        "judged_by": claim.judged_by,
        "predicted": foretold or None,
        "predicted_interval": bounds,
        "measured": found or None,
        "command": command_of(claim, machine),
        "measure_command": f"spawncost claims --id {claim.id} --measure" if runs_of([claim]) else None,
        "checks": [
            {
                "text": str(each),
                "predicted": each.holds(foretold[each.figure]) if each.figure in foretold else None,
                "measured": each.holds(found[each.figure]) if each.figure in found else None,
            }
            for each in claim.checks
        ],
        "not_measured": {name: why for name, text in claim.measure.items() if (why := _why_not(text, stored))},
        "why": claim.why,
    }


def _why_not(text: str, stored: Measurements) -> str | None:
    reasons = [stored.why_not(part) for part in parts_of(text) if not part.startswith(SAMPLE)]
    return next((reason for reason in reasons if reason), None)


def command_of(claim: Claim, machine: str = BUNDLED) -> str:
    """The line that reproduces the figure: predict where one is predicted, else the measurement, else the claim."""
    if claim.predict:
        _, options = query_of(parts_of(next(iter(claim.predict.values())))[0])
        return shlex.join(("spawncost", "predict", "--machine", machine, *options))
    return f"spawncost claims --id {claim.id}" + (" --measure" if runs_of([claim]) else "")


def text_of(document: Mapping[str, Any]) -> str:
    """The document for a terminal of 80 columns."""
    taken = document["measurements"]
    lines = [
        *_wrapped(
            f"Predicted on the machine file {document['machine']['name']} ({document['machine']['origin']}), measured "
            f"on {taken['machine']}, {taken['date']}. Ratios have no unit; yes is 1, no is 0.",
            "",
        ),
        "",
    ]
    for section, each in groupby(document["claims"], key=lambda claim: claim["section"]):
        lines += [section, "=" * len(section), ""]
        for claim in each:
            lines += [*_claim_lines(claim), ""]
    counts = {name: sum(claim["verdict"] == name for claim in document["claims"]) for name in _SPOKEN}
    lines.append(f"{len(document['claims'])} claims: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
    ways = Counter(claim["judged_by"] for claim in document["claims"])
    lines += _wrapped("Judged by " + ", ".join(f"{way} {n}" for way, n in ways.most_common()), "")
    return "\n".join(lines) + "\n"


def _claim_lines(claim: Mapping[str, Any]) -> list[str]:
    head = f"{_SPOKEN[claim['verdict']]}  {claim['id']}  [{claim['kernels']}]"
    lines = [*_wrapped(head, "", "  "), *_wrapped(f'"{claim["text"]}"', "  "), *_wrapped(claim["why"], "  ")]
    rows = figure_rows(claim)
    if rows:
        lines.append(f"  {'':36}{'predicted':>11}{'90 % bounds':>17}{'measured':>12}")
        lines += [f"  {name:36}{one:>11}{bounds:>17}{other:>12}" for name, one, bounds, other in rows]
    lines += [
        line for name, why in claim["not_measured"].items() for line in _wrapped(f"{name} not measured: {why}", "  ")
    ]
    return [*lines, *(line for each in _commands(claim) for line in _wrapped(f"$ {each}", "  ", "      "))]


def _commands(claim: Mapping[str, Any]) -> list[str]:
    """The line that foretells its figures and the one that measures them, or the only one that there is."""
    return list(dict.fromkeys((claim["command"], claim["measure_command"] or claim["command"])))


def figure_rows(claim: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Name, predicted figure with its bounds, measured figure, a row each."""
    foretold, found, bounds = claim["predicted"] or {}, claim["measured"] or {}, claim["predicted_interval"]
    return [
        (name, _shown(foretold.get(name)), "-".join(map(_shown, bounds.get(name, ()))), _shown(found.get(name)))
        for name in dict.fromkeys((*foretold, *found))
    ]


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e6 else figure(value)


def _wrapped(text: str, indent: str, more: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if more is None else more,
        break_long_words=False,
        break_on_hyphens=False,
    )


def page_of(document: Mapping[str, Any]) -> str:
    """The document as a page in Markdown."""
    taken = document["measurements"]
    parts = [
        "# Claims judged\n\n"
        f"Predicted on the machine file {document['machine']['name']} ({document['machine']['origin']}); measured on "
        f"{taken['machine']} ({taken['kernel']}, glibc {taken['glibc']}), {taken['date']}. {taken['protocol']}\n"
    ]
    parts.append("\n| claim | verdict | judged for | judged by |\n| --- | --- | --- | --- |\n")
    parts += [
        f"| [{each['id']}](#{each['id']}) | {each['verdict']} | {each['kernels']} | {each['judged_by']} |\n"
        for each in document["claims"]
    ]
    for section, each in groupby(document["claims"], key=lambda claim: claim["section"]):
        parts.append(f"\n## {section}\n")
        parts += [_page_claim(claim) for claim in each]
    return "".join(parts)


def _page_claim(claim: Mapping[str, Any]) -> str:
    rows = figure_rows(claim)
    figures = "".join(
        f"- `{name}`: predicted {one}{f' ({bounds})' if bounds else ''}, measured {other}\n"
        for name, one, bounds, other in rows
    )
    commands = "".join(f"- `{each}`\n" for each in _commands(claim))
    return (
        f"\n### {claim['id']}\n\n> {claim['text']}\n\n**{claim['verdict'].capitalize()}** ({claim['kernels']}). "
        f"{claim['why']}\n\n{figures}{chr(10) if rows else ''}{commands}"
    )
