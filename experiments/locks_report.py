"""What `spawncost validate --kind locks` found, as document and text. Nothing is computed here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from calibration.validate_locks import LockComparison

SCHEMA = "spawncost.locks-validation/1"


def locks_document(machine: str, found: Sequence[LockComparison]) -> dict[str, Any]:
    """The document: a row a kind of call."""
    rows = [
        {
            "call": each.call,
            "measured_us": each.measured_ns / 1e3,
            "predicted_us": each.predicted_ns / 1e3,
            "error": each.error,
            "floor": each.floor,
            "fork_us": each.fork_ns / 1e3,
            "fork_predicted_us": each.fork_predicted_ns / 1e3,
            "right": each.right,
        }
        for each in found
    ]
    return {"schema": SCHEMA, "machine": machine, "calls": rows}


def locks_text(found: Sequence[LockComparison]) -> str:
    """A table of at most 80 columns, times in ms."""
    lines = [
        f"{'longest call (ms)':<20}{'measured':>10}{'predicted':>11}{'':>8}{'floor':>7}{'fork':>8}{'predicted':>11}"
    ]
    for each in found:
        lines.append(
            f"{each.call:<20}{each.measured_ns / 1e6:>10.2f}{each.predicted_ns / 1e6:>11.2f}"
            f"{math.expm1(each.error):>+8.0%}{each.floor:>7.0%}{each.fork_ns / 1e6:>8.2f}"
            f"{each.fork_predicted_ns / 1e6:>11.2f}{'' if each.right else ' far'}"
        )
    lines.append(f"{sum(each.right for each in found)} of {len(found)} waits within tolerance, as shares of the fork")
    return "\n".join(lines)
