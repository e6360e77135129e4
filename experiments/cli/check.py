"""`spawncost check`: does the model still say what it said of the calibration data?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from calibration.check import Check

SHOWN = 15


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def check(
        machine: Annotated[str | None, typer.Option(help="bundled, a name, or a machine file.")] = None,
        measure: Annotated[bool, typer.Option("--measure", help="Measure now instead of the stored samples.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    ) -> int:
        """Compare the model with the calibration data; exit status 1 if something deviates."""
        from calibration.check import check_stored
        from calibration.machine_file import find_machine

        file = find_machine(machine)
        if measure:
            from calibration.remeasure import check_measured

            found = check_measured(file)
        else:
            found = check_stored(file)
        print(json.dumps(_document(found), indent=1) if as_json else _text(found))
        return 1 if found.deviations else 0


def _document(found: Check) -> dict[str, Any]:
    return {
        "schema": "spawncost.check/1",
        "machine": found.machine,
        "samples": found.samples,
        "compared": len(found.rows),
        "deviations": [
            {
                "row": row.name,
                "measured_us": row.measured_ns / 1e3,
                "predicted_us": row.predicted_ns / 1e3,
                "residual": row.residual,
                "expected": row.expected,
                "allowed": row.allowed,
            }
            for row in found.deviations
        ],
        "suspects": [
            {"cost": each.cost, "factor": each.factor, "explained": each.explained, "rows": each.rows}
            for each in found.suspects
        ],
    }


def _text(found: Check) -> str:
    worst = found.deviations
    lines = [f"{found.machine}, samples {found.samples}: {len(found.rows)} observations compared"]
    if not worst:
        return "\n".join([*lines, "none deviates from what the calibration left"])
    lines += [f"{len(worst)} deviate:", f"{'row':32}{'measured us':>13}{'predicted us':>14}{'moved':>8}{'allowed':>9}"]
    lines += [
        f"{row.name:32}{row.measured_ns / 1e3:13.2f}{row.predicted_ns / 1e3:14.2f}{row.moved:+8.1%}{row.allowed:9.1%}"
        for row in worst[:SHOWN]
    ]
    if len(worst) > SHOWN:
        lines.append(f"... and {len(worst) - SHOWN} more (--json lists them)")
    lines += [
        f"suspect: {each.cost}, now {each.factor:.2f} times what fits, explains {each.explained:.0%} of it"
        for each in found.suspects
    ]
    return "\n".join(lines)
