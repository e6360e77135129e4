"""Quantiles of a mixture of scaled distributions, for one spawn or for arrays of them.

A part of the mixture is a quiet time that one of the machine's spreads multiplies. A spread is piecewise linear, so the
mixture is too, and a quantile is found exactly: the knots of all parts on either side of it, and the line between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from model.machine import Spread

Array = NDArray[np.float64]
ROUNDING = 1e-12
"""Relative distance by which a time may miss a knot that it was computed from."""

MANY = 1000
"""Points from which on a table of the curve of two parts pays."""


def mixture_quantiles(
    levels: Sequence[float], weights: Sequence[float], quiet_ns: Sequence[Array], spreads: Sequence[Spread]
) -> Array:
    """Quantiles of mixtures, (levels, points).

    Args:
        levels: between 0 and 1.
        weights: of the parts; they need not sum to 1.
        quiet_ns: of each part, an array of (points,), positive.
        spreads: of each part.
    """
    if len(weights) == 1:
        (spread,) = spreads
        found: Array = np.multiply.outer(np.interp(levels, spread.levels, spread.ratios), quiet_ns[0])
        return found
    shares = [weight / sum(weights) for weight in weights]
    if len(shares) == 2 and len(quiet_ns[0]) > MANY and not _tied(levels, shares):
        curves = [pair_curve(level, shares[0], *spreads) for level in levels]
        return np.stack([curve.at(quiet_ns[1] / quiet_ns[0]) * quiet_ns[0] for curve in curves])
    knots = np.concatenate([np.multiply.outer(np.unique(s.ratios), q) for s, q in zip(spreads, quiet_ns, strict=True)])
    reached = _reached(knots, shares, quiet_ns, spreads, after=True)
    before = _reached(knots, shares, quiet_ns, spreads, after=False) if _atoms(spreads) else reached
    return np.stack([_between(level, knots, reached, before) for level in levels])


def around_wait(spread: Spread, total_ns: float, wait_ns: float, stretched: float = 1.0) -> Spread:
    """Spread of a time of which `wait_ns` end with a tick: only the rest, the work, is scattered by the machine.

    `stretched`: how many times its quiet time that work takes in `total_ns` already.
    """
    share = min(1.0, wait_ns / total_ns) if total_ns else 0.0
    return replace(spread, ratios=tuple(share + (1.0 - share) * each / stretched for each in spread.ratios))


def _tied(levels: Sequence[float], shares: Sequence[float]) -> bool:
    """Whether a level is a part's whole weight: between parts far apart the quantile is then whatever rounding says."""
    return any(abs(level - share) < ROUNDING for level in levels for share in shares)


def _atoms(spreads: Sequence[Spread]) -> bool:
    """Whether some single ratio has a weight of its own."""
    return any(len(set(each.ratios)) < len(each.ratios) for each in spreads)


def _between(level: float, knots: Array, reached: Array, before: Array) -> Array:
    """One quantile from the levels reached at and just before each knot."""
    under = reached < level
    below, low = np.where(under, knots, -np.inf).max(axis=0), np.where(under, reached, 0.0).max(axis=0)
    above, high = np.where(under, np.inf, knots).min(axis=0), np.where(under, np.inf, before).min(axis=0)
    below, above = np.where(np.isfinite(below), below, above), np.where(np.isfinite(above), above, below)
    rises = high > low
    part = np.where(rises, (level - low) / np.where(rises, high - low, 1.0), 1.0)
    found: Array = below + np.minimum(part, 1.0) * (above - below)
    return found


def _reached(
    values_ns: Array, shares: Sequence[float], quiet_ns: Sequence[Array], spreads: Sequence[Spread], *, after: bool
) -> Array:
    """Level that the mixture has reached at some times; `after`: what is exactly there included."""
    total = np.zeros_like(values_ns)
    for share, quiet, spread in zip(shares, quiet_ns, spreads, strict=True):
        ratios, levels = np.array(spread.ratios), np.array(spread.levels)
        if after:
            found = np.interp(values_ns * ((1 + ROUNDING) / quiet), ratios, levels, left=0.0)
        else:
            backwards = np.interp(values_ns * ((ROUNDING - 1) / quiet), -ratios[::-1], 1.0 - levels[::-1], left=0.0)
            found = 1.0 - backwards
        total += share * found
    return total


@dataclass(frozen=True, slots=True, eq=False)
class PairCurve:
    """A quantile of two parts over the first part's time, as a function of the second's time over the first's.

    Between two ends the quantile lies on one line of each spread: it is numerator / (first + second / ratio).
    """

    ends: Array
    numerator: Array
    first: Array
    second: Array

    def at(self, ratio: Array) -> Array:
        """The quantile for ratios of (points,)."""
        piece = np.searchsorted(self.ends, ratio)
        return self.numerator[piece] / (self.first[piece] + self.second[piece] / ratio)


@lru_cache(maxsize=256)
def pair_curve(level: float, share: float, one: Spread, two: Spread) -> PairCurve:
    """The curve of one quantile; `share` is the first part's weight, the other's is the rest."""
    ends = _ends(level, share, one, two)
    middles = np.concatenate([ends[:1] / 2, np.sqrt(ends[1:] * ends[:-1]), ends[-1:] * 2])
    shares, parts = (share, 1.0 - share), (np.ones_like(middles), middles)
    knots = np.concatenate([np.multiply.outer(np.unique(s.ratios), q) for s, q in zip((one, two), parts, strict=True)])
    after, before = (_reached(knots, shares, parts, (one, two), after=each) for each in (True, False))
    found = _between(level, knots, after, before)
    lines = [_line(found / part, spread) for part, spread in zip(parts, (one, two), strict=True)]
    (start, first), (other_start, second) = lines
    first, second = share * first, (1.0 - share) * second
    numerator = level - share * start - (1.0 - share) * other_start
    flat = first + second == 0.0  # between the parts: the quantile is a knot, as at an atom
    ones, twos = (_at_knot(found / part, spread, flat) for part, spread in zip(parts, (one, two), strict=True))
    numerator = np.where(ones, found, np.where(twos, found / middles, numerator))
    first = np.where(ones, 1.0, np.where(twos, 0.0, first))
    second = np.where(ones, 0.0, np.where(twos, 1.0, second))
    return PairCurve(ends, numerator, first, second)


def _ends(level: float, share: float, one: Spread, two: Spread) -> Array:
    """Ratios at which the quantile may pass from one line of a spread to another: it is a knot of either there."""
    ends = np.divide.outer(np.array(one.ratios), np.array(two.ratios)).ravel() if _atoms((one, two)) else np.array([])
    here, there = np.array(one.levels), np.array(two.levels)
    rest = (level - share * here) / (1.0 - share)
    inside = (rest >= 0) & (rest <= 1)
    crossings = np.array(one.ratios)[inside] / np.interp(rest[inside], two.levels, two.ratios)
    rest = (level - (1.0 - share) * there) / share
    inside = (rest >= 0) & (rest <= 1)
    others = np.interp(rest[inside], one.levels, one.ratios) / np.array(two.ratios)[inside]
    return np.unique(np.concatenate([ends, crossings, others]))


def _at_knot(values: Array, spread: Spread, flat: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the quantile stays at a ratio of a spread: an atom, or where it is flat any knot."""
    ratios, often = np.unique(np.array(spread.ratios), return_counts=True)
    near = np.isclose(np.divide.outer(values, ratios), 1.0, rtol=1e-9, atol=0.0)
    return np.asarray((near & ((often > 1) | flat[:, np.newaxis])).any(axis=-1))


def _line(values: Array, spread: Spread) -> tuple[Array, Array]:
    """Level at 0 and slope of the line of a spread's distribution at some ratios."""
    ratios, levels = np.array(spread.ratios), np.array(spread.levels)
    right = np.searchsorted(ratios, values, side="right")
    left = np.clip(right - 1, 0, len(ratios) - 2)
    run = ratios[left + 1] - ratios[left]
    outside = (right == 0) | (right == len(ratios))
    slope = np.where(outside | (run == 0), 0.0, (levels[left + 1] - levels[left]) / np.where(run == 0, 1.0, run))
    start = np.where(outside, np.where(right == 0, 0.0, 1.0), levels[left] - slope * ratios[left])
    return start, slope
