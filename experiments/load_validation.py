"""What `spawncost validate --kind load` and `--kind busy` found, as document and text. Nothing is computed here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from calibration.validate_busy import BusyComparison
from calibration.validate_load import LoadComparison

SCHEMA = "spawncost.load-validation/1"
BUSY_SCHEMA = "spawncost.busy-validation/1"


def load_document(
    machine: str, comparisons: Sequence[LoadComparison], skipped: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """The document: a row a figure."""
    return {
        "schema": SCHEMA,
        "machine": machine,
        "comparisons": [
            {
                "case": each.case.label,
                "what": each.what,
                "measured": each.measured,
                "predicted": each.predicted,
                "error": each.error if each.judged else None,
                "floor": each.floor if math.isfinite(each.floor) else None,
                "right": each.right if each.judged else None,
            }
            for each in comparisons
        ],
        "skipped": [{"case": case, "why": why} for case, why in skipped],
    }


def load_text(comparisons: Sequence[LoadComparison], skipped: Sequence[tuple[str, str]]) -> str:
    """A table of at most 80 columns, then what could not run."""
    lines: list[str] = []
    case = ""
    for each in comparisons:
        if each.case.label != case:
            case = each.case.label
            lines.append(case)
        floor = f"{each.floor:.1%}" if math.isfinite(each.floor) else "-"
        error = f"{math.expm1(each.error):+.1%}" if each.judged else "few"
        lines.append(
            f"  {each.what:<14}{each.measured:>12.0f}{each.predicted:>12.0f}{error:>9}"
            f"  floor {floor:>6}{'' if each.right else '  too far'}"
        )
    judged = [each for each in comparisons if each.judged]
    right = sum(each.right for each in judged)
    lines.append(f"measured, predicted; {right} of {len(judged)} figures within their tolerance")
    lines += [f"skipped {name}: {why}" for name, why in skipped]
    return "\n".join(lines)


def busy_document(machine: str, comparisons: Sequence[BusyComparison]) -> dict[str, Any]:
    """The document: a row a quantile of a milestone."""
    rows = [
        {
            "busy_cpus": each.busy_cpus,
            "case": each.comparison.case,
            "milestone": each.comparison.milestone,
            "quantile": each.level,
            "measured_us": each.measured_ns / 1e3,
            "predicted_us": each.predicted_ns / 1e3,
            "error": each.error,
            "floor": each.floor,
            "right": each.right,
        }
        for each in comparisons
    ]
    return {"schema": BUSY_SCHEMA, "machine": machine, "comparisons": rows}


def busy_text(comparisons: Sequence[BusyComparison]) -> str:
    """A table of at most 80 columns, times in us."""
    lines = ["busy CPUs, case, milestone, quantile: measured, predicted (us)"]
    for each in comparisons:
        what = f"{each.busy_cpus} {each.comparison.case} {each.comparison.milestone}"
        lines.append(
            f"{what:<36} p{each.level * 100:<4.0f}{each.measured_ns / 1e3:>8.0f}{each.predicted_ns / 1e3:>8.0f}"
            f"{math.expm1(each.error):>+7.0%} floor{each.floor:>5.0%}{'' if each.right else ' far'}"
        )
    lines.append(f"{sum(each.right for each in comparisons)} of {len(comparisons)} within their tolerance")
    return "\n".join(lines)
