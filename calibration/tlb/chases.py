"""Fits chases over pages: how many entries each level of the TLB has, and what a miss costs.

The additional time of a chase over N pages, one line a page, over as many lines packed together is

    first x miss(N, C1) + walk x miss(N, C2) + beyond x miss(N, C3)

with the cost of a first-level miss that the second level answers, of a page walk, and of a walk whose own references
miss (paging-structure caches, and caches that no longer hold the tables). miss(N, C) is the share of misses of a cycle
over N pages with C entries (`miss_share`), by how the level picks a set; that is found with the capacities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from calibration.quantiles import quantile
from calibration.tlb.runs import TlbRow, TlbRuns

OUTER = 0.20
"""Quantile over processes."""
_RELATIVE, _ABSOLUTE_NS = 0.05, 0.05
_FIRST, _SECOND = (8.0, 400.0), (400.0, 8192.0)
KINDS = ("lru", "sets-4", "sets-6", "sets-8", "hashed-4", "hashed-8", "hashed-16")
"""Tried for both levels of the TLB; `random` stands for the many things that make walks dearer beyond."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its standard error."""

    value: float
    stderr: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One knee: entries, cost of a miss in ns, and the replacement that fits: `lru` or `random`."""

    entries: Estimate
    miss_ns: Estimate
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chase:
    """The fit of the chases over pages of one size.

    Attributes:
        first, second: first- and second-level TLB.
        beyond: where walks become dearer. None, as the second: no chase is long enough to tell.
        rms: root mean square of (model - measured) / measured.
        points: (pages, one line a page, packed, model of their difference), in ns.
    """

    first: Level
    second: Level | None
    beyond: Level | None
    rms: float
    points: tuple[tuple[int, float, float, float], ...]


def quiet_ns(row: TlbRow | None) -> float:
    """A row's quiet time: a low quantile over processes; NaN without the row."""
    return quantile(row.ns, OUTER) if row is not None and row.ns else math.nan


def miss_share(pages: float, entries: float, kind: str) -> float:
    """Share of misses of a cycle over `pages` neighbouring pages in a TLB of so many entries.

    `lru`: all misses once there is an entry too few. `sets-W`: W-way sets that low bits of the page number pick, so
    that all fill alike; a set with a page too many misses each time. `hashed-W`: the same with a hash that strews the
    pages, so that a page finds at least W others in its set with a Poisson distribution's chance. `random`: replacement
    at random, m = 1 - exp(-m N / C).
    """
    how, _, ways = kind.partition("-")
    if how == "hashed":
        return _poisson_tail(int(ways) * pages / entries, int(ways))
    if pages <= entries:
        return 0.0
    if how == "sets":
        over = pages - entries
        return min(1.0, over * (int(ways) + 1) / pages) if over < entries / int(ways) else 1.0
    if how == "lru":
        return 1.0
    ratio, share = pages / entries, 1.0
    for _ in range(200):
        share = 1.0 - math.exp(-share * ratio)
    return share


def _poisson_tail(mean: float, least: int) -> float:
    """The chance of `least` or more."""
    term = total = math.exp(-mean)
    for k in range(1, least):
        term *= mean / k
        total += term
    return max(0.0, 1.0 - total)


def stderr_of(values: Sequence[float]) -> float:
    """Standard deviation of an estimate's resamples; NaN of fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _points(runs: TlbRuns, *, huge: bool) -> list[tuple[int, float, float]]:
    """(pages, spread, packed) of all chases of one page size."""
    found = []
    for row in runs.rows:
        if row.bench != "tlb_chase" or row.option("lines") or (row.option("huge") is not None) != huge:
            continue
        pages = int(row.option("pages") or 0)
        packed = quiet_ns(runs.find("tlb_chase", pages=pages, packed=""))
        if row.option("packed") is None and not math.isnan(packed):
            found.append((pages, quiet_ns(row), packed))
    return sorted(found)


def fit_chase(runs: TlbRuns, *, huge: bool, like: Chase | None = None) -> Chase | None:
    """The fit; with the kinds of an earlier one if that is given. None with too few points for it."""
    points = _points(runs, huge=huge)
    if len(points) < 8:
        return None
    pages = np.array([each[0] for each in points], dtype=float)
    spread, packed = (np.array([each[at] for each in points]) for at in (1, 2))
    extra, weights = spread - packed, 1.0 / (_ABSOLUTE_NS + _RELATIVE * spread)
    best = _descend(pages, extra, weights, _candidates(pages, like))
    columns = np.array([[miss_share(n, *each) for each in best] for n in pages])
    costs = _solve(columns, extra, weights)[0]
    model = columns @ costs
    found = [
        Level(entries=Estimate(size), miss_ns=Estimate(float(cost)), kind=kind)
        for (size, kind), cost in zip(best, costs, strict=True)
    ]
    return Chase(
        first=found[0],
        # A walk costs more than an answer of the second level; if not, no chase was long enough to need one.
        second=found[1] if len(found) > 1 and found[1].miss_ns.value > found[0].miss_ns.value else None,
        beyond=found[2] if len(found) > 2 else None,
        rms=float(np.sqrt(np.mean(((model - extra) / spread) ** 2))),
        points=tuple((each[0], each[1], each[2], float(m)) for each, m in zip(points, model, strict=True)),
    )


def _candidates(pages: Array, like: Chase | None) -> list[list[tuple[float, str]]]:
    """(entries, kind) to try for each level whose knee lies well inside the sizes measured."""
    sizes = sorted({*map(float, pages), *(math.sqrt(one * other) for one, other in pairwise(pages))})
    last = [like.first, like.second, like.beyond] if like else [None] * 3
    bounds = (_FIRST, _SECOND, (_SECOND[1], math.inf))
    kinds = [KINDS, KINDS, ("random",)]
    found = [
        [
            (each, kind)
            for each in sizes
            if low < each <= min(high, pages[-1] / 1.5)
            for kind in ([known.kind] if known else more)
        ]
        for (low, high), known, more in zip(bounds, last, kinds, strict=True)
    ]
    return [each for each in found if each]


def _descend(
    pages: Array, extra: Array, weights: Array, levels: list[list[tuple[float, str]]]
) -> list[tuple[float, str]]:
    """The candidates, one a level, with the least residual: level by level from several starts, until none improves."""
    best: tuple[float, list[tuple[float, str]]] | None = None
    shares = {each: np.array([miss_share(n, *each) for n in pages]) for level in levels for each in level}
    for start in range(3):
        chosen = [level[len(level) * (2 * start + 1) // 6] for level in levels]
        residual, before = math.inf, math.nan
        while residual != before:
            before = residual
            for at, level in enumerate(levels):
                tried = [[*chosen[:at], each, *chosen[at + 1 :]] for each in level]
                found = [_solve(np.array([shares[c] for c in each]).T, extra, weights)[1] for each in tried]
                residual = min(found)
                chosen = tried[found.index(residual)]
        if best is None or residual < best[0]:
            best = (residual, chosen)
    assert best is not None
    return best[1]


def _solve(columns: Array, extra: Array, weights: Array) -> tuple[Array, float]:
    """Costs that are not negative, and the weighted residual."""
    from scipy.optimize import nnls

    costs, residual = nnls(columns * weights[:, None], extra * weights)
    return costs, float(residual)


def with_errors(chase: Chase, drawn: Sequence[Chase | None]) -> Chase:
    """The fit with standard errors from fits of resamples; a knee is not known better than the sizes stand apart."""
    others = [each for each in drawn if each is not None]

    def sure(of: Callable[[Chase], Level | None]) -> Level | None:
        level = of(chase)
        found = [each for each in map(of, others) if each is not None]
        if level is None:
            return None
        step = _knee_step(level.entries.value, [n for n, *_ in chase.points])
        spread = stderr_of([each.entries.value for each in found])
        return Level(
            entries=Estimate(level.entries.value, math.hypot(step, 0.0 if math.isnan(spread) else spread)),
            miss_ns=Estimate(level.miss_ns.value, stderr_of([each.miss_ns.value for each in found])),
            kind=level.kind,
        )

    first = sure(lambda each: each.first)
    assert first is not None
    return replace(chase, first=first, second=sure(lambda each: each.second), beyond=sure(lambda each: each.beyond))


def _knee_step(entries: float, sizes: Sequence[int]) -> float:
    """Standard error that the grid of sizes leaves: the knee lies anywhere between its neighbours."""
    below = max((n for n in sizes if n < entries), default=entries)
    above = min((n for n in sizes if n > entries), default=entries)
    return (above - below) / math.sqrt(12.0)
