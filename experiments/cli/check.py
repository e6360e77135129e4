"""`spawncost check`: does the model still say what it said of the calibration data?"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calibration.errors import BadInput

if TYPE_CHECKING:
    from calibration.check import Check
    from calibration.coverage import Coverage
    from calibration.suspects import RowCheck, Suspect
    from experiments.regression import Moved

SHOWN, WORST = 15, 5
KINDS = {"samples": "samples", "rule": "rule", "cost": "price of"}


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def check(
        machine: Annotated[str | None, typer.Option(help="bundled, a name, or a machine file.")] = None,
        measure: Annotated[bool, typer.Option("--measure", help="Measure now instead of the stored samples.")] = False,
        expected: Annotated[
            bool,
            typer.Option("--expected", help="Answer the questions anew too, and compare with the reviewed answers."),
        ] = False,
        accept: Annotated[
            bool, typer.Option("--accept", help="With --expected: write the answers of now as the reviewed ones.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    ) -> int:
        """Compare the model with the calibration data; exit status 1 if something deviates."""
        from calibration.check import check_stored
        from calibration.machine_file import find_machine

        if accept and not expected:
            raise BadInput("--accept", "it accepts the answers of --expected", "give --expected too")
        file = find_machine(machine)
        covered = None
        if measure:
            from calibration.remeasure import check_measured
            from experiments.cli.calibrate import TimeLeft

            found = check_measured(file, TimeLeft())
        else:
            from calibration.coverage import stored_coverage

            found = check_stored(file)
            covered = stored_coverage(file)
        reviewed = _reviewed(accept=accept) if expected else None
        document = {**_document(found), "coverage": _coverage(covered)}
        lines = [_text(found), *_coverage_lines(covered)]
        if reviewed is not None:
            document |= {"expected": reviewed.record}
            lines += reviewed.lines
        print(json.dumps(document, indent=1, allow_nan=False) if as_json else "\n".join(lines))
        return 1 if found.failed or (reviewed is not None and reviewed.moved) else 0


@dataclass(frozen=True, slots=True)
class _Reviewed:
    """Figures that moved, or names of answers that were accepted."""

    moved: list[Moved]
    accepted: list[str]

    @property
    def record(self) -> dict[str, Any]:
        """For the document."""
        return {"moved": [{**asdict(each), "change": each.change} for each in self.moved], "accepted": self.accepted}

    @property
    def lines(self) -> list[str]:
        """For people."""
        from experiments.regression import table_of

        if self.accepted:
            return [f"accepted: {', '.join(self.accepted)}"]
        if not self.moved:
            return ["the answers to all questions are the reviewed ones"]
        return [f"{len(self.moved)} figures are not the reviewed ones:", table_of(self.moved)]


def _reviewed(*, accept: bool) -> _Reviewed:
    from experiments import regression

    return _Reviewed([], regression.accept()) if accept else _Reviewed(regression.moved_figures(), [])


def _document(found: Check) -> dict[str, Any]:
    return {
        "schema": "spawncost.check/1",
        "machine": found.machine,
        "samples": found.samples,
        "noise_floor": found.noise_floor,
        "drift": found.drift,
        "compared": len(found.rows),
        "failed": found.failed,
        "deviations": [_row(row) for row in found.deviations],
        "worst": [_row(row) for row in found.worst[:SHOWN]],
        "suspects": [_suspect(each) for each in found.suspects],
    }


def _coverage(found: Coverage | None) -> dict[str, Any] | None:
    if found is None:
        return None
    shares = zip(("foretold", "held_out", "runs", "spawns"), found.points, strict=True)
    parts = {name: {"share": getattr(found, name), "points": points} for name, points in shares if points}
    total = sum(found.points[:3])
    return {"interval": found.intervals if total else None, "points": total, **parts}


def _coverage_lines(found: Coverage | None) -> list[str]:
    if found is None:
        return []
    return [
        f"the 90 % interval holds {found.intervals:.0%} of {sum(found.points[:3])} points: {found.foretold:.0%} of",
        f"rows foretold by others, {found.held_out:.0%} of held-out rows, {found.runs:.0%} of unpinned runs;",
        f"p10 to p90 holds {found.spawns:.0%} of {found.points[3]} unpinned spawns",
    ]


def _row(row: RowCheck) -> dict[str, Any]:
    return {
        "row": row.name,
        "measured_us": row.measured_ns / 1e3,
        "predicted_us": row.predicted_ns / 1e3,
        "residual": row.residual,
        "expected": row.expected,
        "moved": row.moved,
        "allowed": row.allowed,
    }


def _suspect(each: Suspect) -> dict[str, Any]:
    return {
        "kind": each.kind,
        each.kind: each.name,
        "factor": each.factor,
        "explained": each.explained,
        "significance": each.significance,
        "rows": each.rows,
    }


def _text(found: Check) -> str:
    from calibration.check import TOLERANCE

    worst, deviating = found.worst, len(found.deviations)
    lines = [
        f"{found.machine}, samples {found.samples}",
        f"{len(found.rows)} observations compared, noise floor {found.noise_floor:.1%}",
    ]
    if abs(found.drift) > TOLERANCE:
        times = f"{math.exp(found.drift):.2f} times as long as at the calibration"
        lines.append(f"the middle one takes {times}: a shared core, another clock, or everything became dearer")
    if not found.failed:
        lines.append("none deviates from what the calibration left")
    elif not deviating:
        lines.append("no observation deviates by itself, but all of them together tell that something moved")
    else:
        lines.append(f"{deviating} deviate:")
    shown = worst[: min(SHOWN, max(WORST, deviating))] if found.failed else worst[:WORST]
    lines.append(f"{'worst':29}{'measured us':>13}{'predicted us':>14}{'moved':>10}{'allowed':>10}")
    lines += [
        f"{row.name:29}{row.measured_ns / 1e3:13.2f}{row.predicted_ns / 1e3:14.2f}{row.moved:+10.1%}{row.allowed:10.1%}"
        for row in shown
    ]
    if deviating > len(shown):
        lines.append(f"... and {deviating - len(shown)} more (--json lists them)")
    return "\n".join([*lines, *(_suspect_line(each) for each in found.suspects)])


def _suspect_line(each: Suspect) -> str:
    how = {
        "cost": f", now {each.factor:.2f} times what fits",
        "rule": " fits, not what the machine file says",
        "samples": "",
    }[each.kind]
    return f"suspect: {KINDS[each.kind]} {each.name}{how}; explains {each.explained:.0%} of what moved"
