"""What a validation comes to: errors beside floors, coverage, one-sidedness by class, the worst with their cause."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from calibration.comparison import FLOORS, Comparison, one_sided
from calibration.quantiles import quantile

MEDIAN_BOUND, P90_BOUND = 0.15, 0.30
"""What live programs are held to; beyond, 1.5 times a case's own floor is allowed."""
WORST = 5


def summary(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The table of a validation; errors are |ln(predicted p50 / measured p50)|.

    `coverage`: processes whose p50 lies in [lo, hi]; `p10_p90`: repetitions between p10 and p90; `beyond`: cases
    beyond both 15 % and 1.5 times their floor; `classes`: by group, with signed median and whether it is one-sided.
    """
    errors = [abs(each.error) for each in comparisons]
    floors = [each.floor for each in comparisons if math.isfinite(each.floor)]
    n = len(comparisons)
    return {
        "n": n,
        "median_error": quantile(errors, 0.5),
        "p90_error": quantile(errors, 0.9),
        "worst_error": max(errors),
        "within_10_percent": sum(error <= 0.1 for error in errors) / n,
        "within_20_percent": sum(error <= 0.2 for error in errors) / n,
        "beyond": sum(is_beyond(each) for each in comparisons),
        "too_low": sum(each.error < 0 for each in comparisons) / n,
        "coverage": _share(each.held for each in comparisons),
        "p10_p90": _share(each.within_p10_p90 for each in comparisons),
        "processes": sum(each.held[1] for each in comparisons),
        "median_floor": quantile(floors, 0.5) if floors else None,
        "p90_floor": quantile(floors, 0.9) if floors else None,
        "classes": {name: _group(group) for name, group in grouped(comparisons).items()},
        "worst": [
            {"case": each.case, "milestone": each.milestone, "error": each.error, "cause": each.cause}
            for each in worst(comparisons)
        ],
    }


def is_beyond(each: Comparison) -> bool:
    """Whether the error is more than live programs are held to and more than the case's floor explains."""
    allowed = max(MEDIAN_BOUND, FLOORS * each.floor) if math.isfinite(each.floor) else MEDIAN_BOUND
    return abs(each.error) > allowed


def worst(comparisons: Sequence[Comparison], count: int = WORST) -> list[Comparison]:
    """Those that are furthest off, worst first."""
    return sorted(comparisons, key=lambda each: -abs(each.error))[:count]


def grouped(comparisons: Sequence[Comparison]) -> dict[str, list[Comparison]]:
    """By group and milestone."""
    found: dict[str, list[Comparison]] = {}
    for each in comparisons:
        found.setdefault(f"{each.group} {each.milestone}", []).append(each)
    return found


def _group(group: Sequence[Comparison]) -> dict[str, Any]:
    errors = [each.error for each in group]
    return {
        "n": len(group),
        "median_error": quantile([abs(error) for error in errors], 0.5),
        "signed_median": quantile(errors, 0.5),
        "too_low": sum(error < 0 for error in errors) / len(errors),
        "one_sided": one_sided(errors),
    }


def _share(pairs: Iterable[tuple[int, int]]) -> float:
    counts = list(pairs)
    return sum(inside for inside, _ in counts) / max(1, sum(of for _, of in counts))
