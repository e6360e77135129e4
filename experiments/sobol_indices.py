"""Sobol' indices from a pick-freeze design, with bootstrap intervals. Only arithmetic: who calls supplies the values.

Two independent samples A and B of the factors, and for each factor the sample AB in which that one is taken from B and
the others from A. First order after Saltelli et al. (2010), total after Jansen (1999).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
BOOTSTRAPS = 400
"""Resamplings behind an interval: its ends are known within a few per cent of its width."""
LEVELS = (0.05, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Share of the variance that a factor explains alone (first), and with all its interactions (total).

    `lo` and `hi` are 90 % bounds of the estimate.
    """

    factor: str
    first: float
    first_lo: float
    first_hi: float
    total: float
    total_lo: float
    total_hi: float


def sobol_indices(a: Values, b: Values, ab: Mapping[str, Values], *, seed: int = 0) -> list[Index]:
    """Indices of all factors, the largest total first.

    Args:
        a, b: (n,) values at the samples A and B.
        ab: by factor, (n,) values at A with that factor from B.

    Returns:
        All zero if nothing varies.
    """
    rows = len(a)
    picked = np.random.default_rng(seed).integers(0, rows, size=(BOOTSTRAPS, rows))
    found = []
    for factor, values in ab.items():
        first, total = _estimated(a, b, values)
        spread = np.array([_estimated(a[each], b[each], values[each]) for each in picked])
        (first_lo, total_lo), (first_hi, total_hi) = np.quantile(spread, LEVELS, axis=0)
        found.append(
            Index(
                factor=factor,
                first=first,
                first_lo=float(first_lo),
                first_hi=float(first_hi),
                total=total,
                total_lo=float(total_lo),
                total_hi=float(total_hi),
            )
        )
    return sorted(found, key=lambda each: -each.total)


def _estimated(a: Values, b: Values, ab: Values) -> tuple[float, float]:
    both = np.concatenate([a, b])
    variance = float(both.var())
    # A constant leaves rounding behind, not variance.
    if variance <= (1e-12 * float(np.abs(both).max())) ** 2:
        return 0.0, 0.0
    first = float(np.mean((b - both.mean()) * (ab - a))) / variance
    total = float(np.mean((a - ab) ** 2)) / (2 * variance)
    return first, total
