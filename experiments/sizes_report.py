"""What `spawncost validate --kind sizes` found, as document and text. Nothing is computed here."""

from __future__ import annotations

import math
from typing import Any

from calibration.validate_sizes import REFERENCES, SizesFound

SCHEMA = "spawncost.sizes-validation/1"
ENDS = {"call": "call", "reaped": "rest"}
"""Milestone that ends an interval, and what a table calls it: the rest is from the call to the reaped child."""


def sizes_document(found: SizesFound) -> dict[str, Any]:
    """The document: a row an interval, then the quantiles of their errors beside those of the floors."""
    rows = [
        {
            "mib": each.mib,
            "way": each.way,
            "interval": ENDS[each.end],
            "contiguous": each.contiguous,
            "measured_us": each.measured_ns / 1e3,
            "predicted_us": each.predicted_ns / 1e3,
            "error": each.error,
            "floor": each.floor,
        }
        for each in found.comparisons
    ]
    summary = {
        name: {
            "median_error": found.error_of(0.5, end),
            "p90_error": found.error_of(0.9, end),
            "median_floor": found.floor_of(0.5, end),
            "p90_floor": found.floor_of(0.9, end),
            "right": found.right(end),
        }
        for end, name in _ends(found)
    }
    return {
        "schema": SCHEMA,
        "machine": found.machine,
        "comparisons": rows,
        "summary": summary,
        "moved": {f"{kind}, {ENDS[end]}": moved for (kind, end), moved in found.moved.items()},
        "skipped": list(found.skipped),
    }


def sizes_text(found: SizesFound) -> str:
    """A table of at most 80 columns, times in ms."""
    lines = [f"{'fork of':<26}{'frames':>7}{'':>6}{'measured':>10}{'predicted':>11}{'':>8}{'floor':>8}"]
    for each in found.comparisons:
        lines.append(
            f"{each.mib:>5} MiB {each.way:<16}{each.contiguous:>7.2f}{ENDS[each.end]:>6}"
            f"{each.measured_ns / 1e6:>10.2f}{each.predicted_ns / 1e6:>11.2f}"
            f"{math.expm1(each.error):>+8.1%}{each.floor:>8.1%}"
        )
    for end, name in _ends(found):
        lines.append(
            f"{name}: error median {found.error_of(0.5, end):.3f}, p90 {found.error_of(0.9, end):.3f}; floor "
            f"{found.floor_of(0.5, end):.3f}, {found.floor_of(0.9, end):.3f}{'' if found.right(end) else '  too far'}"
        )
    lines += [
        f"since the calibration {REFERENCES[kind]} has moved by {math.expm1(moved):+.0%} ({ENDS[end]}): in the floors"
        for (kind, end), moved in found.moved.items()
    ]
    return "\n".join([*lines, *(f"skipped {name}" for name in found.skipped)])


def _ends(found: SizesFound) -> list[tuple[str, str]]:
    there = {each.end for each in found.comparisons}
    return [(end, name) for end, name in ENDS.items() if end in there]
