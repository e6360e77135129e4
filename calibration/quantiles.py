"""Quantiles, and how far those of a resample may lie from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def quantile(values: Iterable[float], q: float) -> float:
    """The q-quantile, interpolated between neighbours. NaN of nothing."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    at = q * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def resample_reach(values: Sequence[float], q: float, chance: float = 1e-5) -> float:
    """How far, in |ln|, the q-quantile of a resample of the values may lie from their own, but for so small a chance.

    Exact, from order statistics: a resample's i-th least value exceeds the k-th least of n if fewer than i of its n
    draws are among those k. A handful of values reaches from its least to its greatest. 0 of fewer than two.
    """
    ordered = sorted(values)
    n = len(ordered)
    own = quantile(ordered, q)
    if n < 2 or not ordered[0] > 0.0:
        return 0.0
    low, high = math.floor(q * (n - 1)), math.ceil(q * (n - 1))
    top = next(k for k in range(1, n + 1) if _binomial_cdf(high, n, k / n) <= chance)
    bottom = next(k for k in range(n, 0, -1) if 1.0 - _binomial_cdf(low, n, (k - 1) / n) <= chance)
    return max(math.log(ordered[top - 1] / own), math.log(own / ordered[bottom - 1]))


def _binomial_cdf(most: int, n: int, p: float) -> float:
    """Chance of at most so many successes in n trials."""
    return math.fsum(math.comb(n, i) * p**i * (1.0 - p) ** (n - i) for i in range(most + 1))
