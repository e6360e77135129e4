"""From raw samples to one quiet time a row: low quantiles, since disturbances only ever add time."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

from calibration.samples import Milestone, Run


def quantile(values: Iterable[float], q: float) -> float:
    """The q-quantile, interpolated between neighbours. NaN of nothing."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    at = q * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def process_values(runs: Sequence[Run], milestone: Milestone, inner: float = 0.10) -> list[float]:
    """For each process the low quantile of its repetitions, in ns; processes without this milestone are left out."""
    per_process = ([sample.milestone_ns(milestone) for sample in run.timed] for run in runs)
    taken = ([value for value in values if value is not None] for values in per_process)
    return [quantile(values, inner) for values in taken if values]


def row_value(
    runs: Sequence[Run], milestone: Milestone, inner: float = 0.10, outer: float = 0.20, seed: int = 0
) -> tuple[float, float]:
    """The quiet time of a row in ns and its standard error: a low quantile in each process, a low one over processes.

    The error is a bootstrap over processes (NaN with fewer than two): repetitions in a process are not independent.
    """
    values = process_values(runs, milestone, inner)
    if len(values) < 2:
        return quantile(values, outer), math.nan
    dice = random.Random(seed)
    drawn = [quantile(dice.choices(values, k=len(values)), outer) for _ in range(200)]
    mean = sum(drawn) / len(drawn)
    return quantile(values, outer), math.sqrt(sum((value - mean) ** 2 for value in drawn) / (len(drawn) - 1))


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
