"""What `spawncost validate --kind load` found, as a document and as text. Nothing is computed here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from calibration.validate_load import LoadComparison

SCHEMA = "spawncost.load-validation/1"


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
