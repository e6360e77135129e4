"""What `spawncost validate --kind thp` found, as document and text. Nothing is computed here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from calibration.validate_thp import HugeWrite

SCHEMA = "spawncost.thp-validation/1"


def thp_document(machine: str, found: Sequence[HugeWrite]) -> dict[str, Any]:
    """The document: a row a case."""
    rows = [
        {
            "what": each.what,
            "measured_us": each.measured_ns / 1e3,
            "predicted_us": each.predicted_ns / 1e3,
            "error": each.error,
            "floor": each.floor,
            "steps": dict(each.steps),
            "kernel_5_7_us": each.old_ns / 1e3,
            "kernel_5_7_steps": dict(each.old_steps),
        }
        for each in found
    ]
    return {"schema": SCHEMA, "machine": machine, "cases": rows}


def thp_text(found: Sequence[HugeWrite]) -> str:
    """A table of at most 80 columns, us of one huge page; then what is charged."""
    lines = [f"{'one 2 MiB page after a fork (us)':<32}{'measured':>9}{'predicted':>10}{'':>7}{'floor':>7}{'5.7':>9}"]
    for each in found:
        lines.append(
            f"{each.what:<32}{each.measured_ns / 1e3:>9.1f}{each.predicted_ns / 1e3:>10.1f}"
            f"{math.expm1(each.error):>+7.0%}{each.floor:>7.0%}{each.old_ns / 1e3:>9.1f}"
        )
    for each in found:
        lines += [f"{each.what}:", f"  {_steps(each.steps)}", f"  before 5.8: {_steps(each.old_steps)}"]
    return "\n".join(lines)


def _steps(steps: Mapping[str, float]) -> str:
    return ", ".join(f"{name} x {count:.0f}" for name, count in steps.items() if count >= 0.5)
