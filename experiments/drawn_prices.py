"""Prices drawn from a machine file's covariance, and what a bill costs under them.

Prices are correlated, as one bench identifies several. Each stands for the part of their joint error that is its own
after symmetric decorrelation (ZCA-cor: Kessy, Lewin and Strimmer 2018), so that shares add up to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from experiments.points import shares_of
from experiments.sobol_indices import Index, sobol_indices
from model.costs import CostTable
from model.units import NS_PER_US

Values = NDArray[np.float64]
_PRICE_SAMPLES = 4096
_Z90 = 1.6449


@dataclass(frozen=True, slots=True)
class Counted:
    """The time to a milestone in ns at the prices of the machine file, and its counts by measured cost."""

    elapsed_ns: float
    counts: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Swing:
    """How far one factor moves the time at the centre of the sweep, all others standing still, in microseconds."""

    factor: str
    price: bool
    at_low: str
    at_high: str
    low_us: float
    high_us: float

    @property
    def width_us(self) -> float:
        """From one end to the other."""
        return abs(self.high_us - self.low_us)


def halves(samples: int, factors: int, seed: int) -> tuple[Values, Values]:
    """Two (samples, factors) samples of the unit cube that do not depend on each other.

    Both are columns of one Sobol' sequence: two sequences of their own, however scrambled, share the leading bits of
    each row, and indices come out wrong (above one for a sum).
    """
    rows = list(shares_of("sobol", samples, 2 * factors, seed))
    design = np.array(rows, dtype=np.float64).reshape(samples, 2 * factors)
    return design[:, :factors], design[:, factors:]


def swapped(a: Values, b: Values, column: int) -> Values:
    """Sample A with one factor from B."""
    mixed = a.copy()
    mixed[:, column] = b[:, column]
    return mixed


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices with a known error, and how a draw of independent standard normals becomes one of them.

    Attributes:
        names: of the costs, n.
        ns: (n,) prices of the machine file.
        root: (n, n): prices are ns + root @ z.
    """

    costs: CostTable
    names: tuple[str, ...]
    ns: Values
    root: Values

    @classmethod
    def of(cls, costs: CostTable, names: Iterable[str]) -> Prices:
        """Those of `names` that the covariance tells an error of."""
        index = {name: place for place, name in enumerate(costs.names)}
        matrix = costs.covariance if costs.covariance is not None else np.zeros((0, 0))
        known = tuple(name for name in names if name in index and matrix[index[name], index[name]] > 0.0)
        places = [index[name] for name in known]
        part = matrix[np.ix_(places, places)]
        scale = np.sqrt(np.diag(part))
        values, vectors = np.linalg.eigh(part / np.outer(scale, scale)) if known else (np.zeros(0), np.zeros((0, 0)))
        half = vectors * np.sqrt(np.clip(values, 0.0, None)) @ vectors.T
        return cls(
            costs=costs,
            names=known,
            ns=np.array([costs.price(name) for name in known]),
            root=scale[:, None] * half,
        )

    def moved_ns(self, drawn: Values) -> Values:
        """How far each price is from the machine file's; none falls below zero."""
        return np.maximum(drawn @ self.root.T, -self.ns)

    def counts(self, bills: Sequence[Counted]) -> Values:
        """(rows, n) counts of the prices that are drawn."""
        return np.array([[each.counts.get(name, 0.0) for name in self.names] for each in bills])

    def times_us(self, bills: Sequence[Counted], drawn: Values) -> Values:
        """(rows,) times of bills, each under its own draw of prices."""
        quiet = np.array([each.elapsed_ns for each in bills])
        return np.asarray((quiet + (self.counts(bills) * self.moved_ns(drawn)).sum(axis=1)) / NS_PER_US)

    def table(self, draw: Values) -> CostTable:
        """The cost table of one draw."""
        moved = dict(zip(self.names, self.moved_ns(draw[None, :])[0].tolist(), strict=True))
        return replace(self.costs, ns={name: ns + moved.get(name, 0.0) for name, ns in self.costs.ns.items()})

    def swings(self, counted: Counted) -> Iterable[Swing]:
        """Each price at either end of its own 90 % bounds."""
        errors = np.sqrt((self.root**2).sum(axis=1))
        for name, ns, error, count in zip(self.names, self.ns, errors, self.counts([counted])[0], strict=True):
            ends = [max(0.0, ns - _Z90 * error), ns + _Z90 * error]
            low, high = ((counted.elapsed_ns + count * (end - ns)) / NS_PER_US for end in ends)
            if count:
                yield Swing(
                    factor=name,
                    price=True,
                    at_low=_ns(ends[0]),
                    at_high=_ns(ends[1]),
                    low_us=float(low),
                    high_us=float(high),
                )


def _ns(price: float) -> str:
    return f"{price:,.0f} ns" if price >= 100 else f"{price:.3g} ns"


def price_indices(counted: Counted, prices: Prices, seed: int, samples: int = _PRICE_SAMPLES) -> list[Index]:
    """Indices of each price for one bill; those that it does not count and that are tied to none are left out."""
    from scipy.stats import norm

    inner = 1e-12
    drawn_a, drawn_b = (norm.ppf(np.clip(half, inner, 1 - inner)) for half in halves(samples, len(prices.names), seed))
    same = [counted] * samples
    mixed = {}
    for column, name in enumerate(prices.names):
        mixed[name] = prices.times_us(same, swapped(drawn_a, drawn_b, column))
    found = sobol_indices(prices.times_us(same, drawn_a), prices.times_us(same, drawn_b), mixed, seed=seed)
    return [each for each in found if each.total > 0.0]
