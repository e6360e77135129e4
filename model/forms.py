"""Paths as arrays: from the linear forms of a trace to weights that a matrix product applies to a block of parents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.costs import CostTable
from model.parent_arrays import ParentArrays
from model.paths import Path
from model.symbolic import FREE, TIE_NS, Columns, Weights

Array = NDArray[np.float64]
Points = NDArray[np.intp]
ALONE = 1 << 18
"""Multiplications of a matrix product that BLAS does by itself; OpenBLAS shares a larger one out among threads."""
_LEAST_PIECE = 16
SLEEP = "sleep"
"""Part of a breakdown that no cost prices."""


@dataclass(frozen=True, slots=True, eq=False)
class Forms:
    """The lines of one path: its guards, its milestones, its loader's run; coordinates of a sparse (line, row, cost).

    Attributes:
        path: where they come from.
        rows: so many rows of the block's matrix were known when it was found; it reads no later ones.
        line, row, cost, factor: the entries.
        signs: what the guards must give, (guards, 1).
        lines: how many there are.
    """

    path: Path
    rows: int
    line: NDArray[np.intp]
    row: NDArray[np.intp]
    cost: NDArray[np.intp]
    factor: Array
    signs: NDArray[np.intp]
    lines: int

    def weights(self, prices: Array) -> Array:
        """The lines under a vector of prices, (lines, rows)."""
        flat: Array = np.bincount(
            self.line * self.rows + self.row,
            weights=self.factor * prices[self.cost],
            minlength=self.lines * self.rows,
        ).astype(np.float64, copy=False)
        return flat.reshape(self.lines, self.rows)

    def takes(self, values: Array) -> NDArray[np.bool_]:
        """Which parents answer all guards as the path demands, from the values of its lines, (lines, points)."""
        asked = values[: len(self.signs)]
        signs = np.where(np.abs(asked) <= TIE_NS, 0.0, np.sign(asked))
        return np.asarray((signs == self.signs).all(axis=0))

    def times_ns(self, values: Array) -> Array:
        """Milestones in the order of the path's bills, and the loader's run behind them if there is one."""
        return values[len(self.signs) :]


@dataclass(slots=True)
class Basis:
    """The rows of a block's matrix and the entries of a price vector, numbered as paths first need them."""

    columns: Columns = field(default_factory=Columns)
    rows: dict[int, int] = field(default_factory=dict)
    costs: dict[str, int] = field(default_factory=lambda: {FREE: 0})

    def forms(self, path: Path) -> Forms:
        """The lines of a path, with rows and costs added where they are new."""
        loader = [path.loader] if path.loader is not None else []
        lines = [*(guard.weights for guard in path.guards), *path.bills.values(), *loader]
        entries = [
            (number, self.rows.setdefault(node, len(self.rows)), self.costs.setdefault(cost, len(self.costs)), factor)
            for number, weights in enumerate(lines)
            for (cost, node), factor in weights.items()
        ]
        line, row, cost, factor = (np.array(each) for each in zip(*entries, strict=True))
        signs = np.array([guard.sign for guard in path.guards], dtype=np.intp)[:, np.newaxis]
        return Forms(path, len(self.rows), line, row, cost, factor.astype(np.float64), signs, len(lines))

    def prices(self, table: CostTable) -> Array:
        """The price of each cost met so far, 1 for FREE."""
        return np.array([1.0 if cost == FREE else table.price(cost) for cost in self.costs])

    def inputs(self) -> frozenset[str]:
        """Attributes of a parent that the rows are made of."""
        return self.columns.inputs(list(self.rows))

    def matrix(self, parents: ParentArrays) -> Array:
        """Values of all rows for a block of parents, (rows, points)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return self.columns.rows(list(self.rows), parents.columns, len(parents))

    def breakdown(self, groups: Sequence[tuple[Points, Weights]], table: CostTable, matrix: Array) -> dict[str, Array]:
        """Bills of groups of points in ns by cost, arrays of (points,); what is one number is a view of it.

        Args:
            groups: points of a block, each in one group, and their bill.
        """
        split = [_by_cost(weights) for _, weights in groups]
        whole: dict[str, Array] = {}
        for cost in dict.fromkeys(cost for each in split for cost in each):
            name, price = (SLEEP, 1.0) if cost == FREE else (cost, table.price(cost))
            lines = [each.get(cost, {}) for each in split]
            if all(each == lines[0] for each in lines):
                whole[name] = self._part(lines[0], price, matrix, slice(None))
                continue
            whole[name] = np.empty(matrix.shape[1])
            for (points, _), line in zip(groups, lines, strict=True):
                whole[name][points] = self._part(line, price, matrix, points)
        return whole

    def _part(self, line: Mapping[int, float], price: float, matrix: Array, points: Points | slice) -> Array:
        length = matrix.shape[1] if isinstance(points, slice) else len(points)
        part: Array = np.broadcast_to(np.float64(price * line.get(self.columns.one, 0.0)), length)
        for node, factor in line.items():
            if node != self.columns.one:
                more = matrix[self.rows[node]][points] * (price * factor)
                part = more if part.strides == (0,) and part[0] == 0.0 else part + more
        return part


def _by_cost(weights: Weights) -> dict[str, dict[int, float]]:
    """The same form, by cost and then by column."""
    found: dict[str, dict[int, float]] = {}
    for (cost, node), factor in weights.items():
        found.setdefault(cost, {})[node] = factor
    return found


def product(weights: Array, matrix: Array) -> Array:
    """weights @ matrix, in pieces that BLAS does not share out among threads.

    Waiting for each other costs those more than they gain, and takes the CPU from another worker of a sweep.
    """
    points = matrix.shape[1]
    piece = max(_LEAST_PIECE, ALONE // max(1, weights.size) // _LEAST_PIECE * _LEAST_PIECE)
    whole = points // piece * piece
    found = np.empty((len(weights), points))
    if whole:
        pieces, into = (each[:, :whole].reshape(len(each), -1, piece).swapaxes(0, 1) for each in (matrix, found))
        np.matmul(weights, pieces, out=into)
    found[:, whole:] = weights @ matrix[:, whole:]
    return found


class Whole:
    """Parts of consecutive blocks as one, written where they belong at once; what is one number stays a view of it."""

    def __init__(self, points: int) -> None:
        self.points = points
        self.found: dict[str, Array] = {}

    def put(self, at: int, parts: Mapping[str, Array]) -> None:
        """The parts of the block that begins at a point; a name that a block lacks is 0 there."""
        nothing = np.broadcast_to(np.float64(0.0), self.points)
        for name in {**self.found, **parts}:
            values = parts.get(name, nothing[:1])
            known = self.found.get(name, nothing if at else np.broadcast_to(values[0], self.points))
            length = min(len(next(iter(parts.values()))), self.points - at)
            if known.strides == (0,) and not (values.strides == (0,) and values[0] == known[0]):
                fresh = np.empty(self.points)
                fresh[:at] = known[0]
                known = fresh
            if known.strides != (0,):
                known[at : at + length] = values if len(values) == length else values[0]
            self.found[name] = known
