"""The same model as matrices: many parents at once, equal to `simulate` one by one.

For a fixed structure (mechanism, target, rules, machine, runtime, caller) a bill is linear in columns that count
functions make of the parent, along each path; which path is taken are guards, linear too (`model.paths`). So a block of
parents is columns × weights, where the weights are bills times prices. A parent whose path is not known yet is
simulated once, as the representative of all that take the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.compiled_result import CompiledResult, MilestoneArrays, joined, scattered
from model.costs import CostTable
from model.forms import Basis, Forms, product
from model.machine import Machine, Placement, Spread
from model.mechanisms import placements_seen
from model.parent_arrays import ParentArrays
from model.paths import NotCompiled, Path, checked, trace_path
from model.prediction import SPREAD_LINE
from model.process import Caller
from model.quantiles import mixture_quantiles
from model.scenario import Scenario
from model.spread import LENGTHS, LOADER_CLASS, MANNERS, class_of, length_of, spread_of, widened

Array = NDArray[np.float64]
BLOCK = 8192
"""Parents that are worked on at once: their columns fit the second-level cache."""
QUANTILES = (0.1, 0.5, 0.9)
LENGTH = len(LENGTHS)
KINDS = LENGTH * len(MANNERS)
"""Classes of a path by number: each length in each manner."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The parents of a block that take one path under one placement: which, and their times, (milestones, points)."""

    points: NDArray[np.intp]
    path: Path
    times_ns: Array


@dataclass(slots=True)
class Block:
    """Parents that are worked on together, and the values of the basis for them."""

    parents: ParentArrays
    matrix: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """A block of parents with the result and what led to it.

    Attributes:
        block: with values for all rows of the basis.
        taken: the paths under the likeliest placement.
        kinds: by parent, class of its path under that placement: its length, and its manner times `LENGTH`.
        levels_ns: quantiles of the milestones, (levels asked for, milestones, points).
        result: p10, p50 and p90 are the first, the middle and the last of the levels.
    """

    block: Block
    taken: Sequence[Taken]
    kinds: NDArray[np.intp]
    levels_ns: Array
    result: CompiledResult


@dataclass(slots=True, eq=False)
class Compiled:
    """A scenario whose parent is left open. Made by `compile_scenario`.

    Attributes:
        scenario: the structure; of its parent only runtime and caller count.
        machine, costs: as `simulate` takes them.
        placements: likeliest first.
        basis: what the paths read of a parent and of the prices.
        forms: by placement, the paths met so far: more parents may add to them.
    """

    scenario: Scenario
    machine: Machine
    costs: CostTable
    placements: tuple[Placement, ...]
    basis: Basis
    forms: list[list[Forms]]

    def evaluate(self, parents: ParentArrays, *, breakdowns: Sequence[str] = ("reaped",)) -> CompiledResult:
        """What `simulate` says of each parent; its `lo` and `hi`, tasks and path left out.

        Args:
            parents: the result is about 50 arrays of their length for a breakdown of fork, 16 without one. For many,
                hand over `BLOCK` at a time: that is fastest, and memory stays small.
            breakdowns: milestones of which breakdowns are wanted.

        Raises:
            NotCompiled: the spawn fails, or does not reach a milestone that is asked for.
            MissingCost: the machine file lacks a price.
        """
        if not len(parents):
            raise ValueError("no parents")
        return self._by_kind(parents, breakdowns) if len(self.placements) > 2 else self._by_block(parents, breakdowns)

    def _by_block(self, parents: ParentArrays, breakdowns: Sequence[str]) -> CompiledResult:
        starts = range(0, len(parents), BLOCK)
        if len(starts) == 1:
            return self.work_out(parents, breakdowns).result
        return joined((self.work_out(parents[at : at + BLOCK], breakdowns).result for at in starts), len(parents))

    def _by_kind(self, parents: ParentArrays, breakdowns: Sequence[str]) -> CompiledResult:
        """Parents that are alike in all that the scenario reads are worked on once: mixtures of many are dear.

        A vfork reads descriptors and threads, and a sweep has few of those. New paths may read more; then it starts
        again.
        """
        while True:
            names = self.basis.inputs()
            first, kind = parents.distinct(names)
            found = self._by_block(parents[first], breakdowns)
            if self.basis.inputs() == names:
                return scattered(found, kind)

    def quiet_ns(self, parents: ParentArrays, tables: Sequence[CostTable]) -> dict[str, Array]:
        """Quiet times by milestone under several tables of prices, arrays of (tables, points): weights × columns."""
        found: dict[str, Array] = {}
        for at in range(0, len(parents), BLOCK):
            block = self._block(parents[at : at + BLOCK])
            for number, table in enumerate(tables):
                for taken in self._take(block, 0, table):
                    for name, times in zip(taken.path.bills, taken.times_ns, strict=False):
                        rows = found.setdefault(name, np.empty((len(tables), len(parents))))
                        rows[number, at + taken.points] = times
        return found

    def _block(self, parents: ParentArrays) -> Block:
        return Block(parents, self.basis.matrix(parents))

    def _take(self, block: Block, placement: int, table: CostTable) -> list[Taken]:
        """Which path each parent of a block takes under one placement; paths not met before are traced."""
        known, found = self.forms[placement], []
        left = np.arange(len(block.parents))
        tried = 0
        while len(left):
            whole = len(left) == len(block.parents)
            new = tried == len(known)
            if new:
                self._trace(block, placement, table, int(left[0]))
            forms = known[tried]
            tried += 1
            matrix = block.matrix[: forms.rows]
            values = product(forms.weights(self.basis.prices(table)), matrix if whole else matrix[:, left])
            takes = forms.takes(values)
            if new:
                takes[0] = True  # an answer so close that rounding could turn it is the representative's own
            if takes.all():
                found.append(Taken(left, forms.path, forms.times_ns(values)))
                break
            if takes.any():
                found.append(Taken(left[takes], forms.path, forms.times_ns(values)[:, takes]))
                left = left[~takes]
        return found

    def _trace(self, block: Block, placement: int, table: CostTable, point: int) -> None:
        representative = {name: float(values[point]) for name, values in block.parents.columns.items()}
        path = trace_path(
            self.scenario, self.machine, table, self.placements[placement], self.basis.columns, representative
        )
        self.forms[placement].append(self.basis.forms(path))
        block.matrix = self.basis.matrix(block.parents)

    def work_out(self, parents: ParentArrays, breakdowns: Sequence[str], levels: Sequence[float] = QUANTILES) -> Worked:
        """One block of parents, with quantiles at `levels`: p10 first, p50 in the middle, p90 last."""
        block = self._block(parents)
        taken = [self._take(block, index, self.costs) for index in range(len(self.placements))]
        names = tuple(taken[0][0].path.bills)
        missing = [name for name in breakdowns if name not in names]
        if missing:
            raise NotCompiled(f"milestone {missing[0]}: the scenario reaches {', '.join(names)}")
        quiet = [_whole(each, len(parents)) for each in taken]
        times = [each[: len(names)] for each in quiet]
        kinds = [_kinds(each, len(names) - 1, len(parents)) for each in taken]
        found = self._quantiles(levels, times, kinds)
        low, p50, high = found[[0, len(levels) // 2, -1]]
        p10, p90 = widened(self.machine, low, p50, high)
        milestones = {
            name: MilestoneArrays(times[0][row], p10[row], p50[row], p90[row]) for row, name in enumerate(names)
        }
        result = CompiledResult(
            mechanism=self.scenario.spawn.mechanism if self.scenario.spawn else "",
            milestones=milestones,
            loader=self._loader(quiet[0][-1]) if len(quiet[0]) > len(names) else None,
            breakdowns_ns={name: self.breakdown(block, taken[0], name, milestones[name]) for name in breakdowns},
        )
        return Worked(block=block, taken=taken[0], kinds=kinds[0], levels_ns=found, result=result)

    def _quantiles(
        self, levels: Sequence[float], times_ns: Sequence[Array], kinds: Sequence[NDArray[np.intp]]
    ) -> Array:
        """Quantiles of the mixture over placements, (levels, milestones, points)."""
        found = np.empty((len(levels), *times_ns[0].shape))
        weights = [each.weight for each in self.placements]
        code = kinds[0]
        for more in kinds[1:]:
            code = code * KINDS + more
        met = np.flatnonzero(np.bincount(code))
        for number in met:
            where = slice(None) if len(met) == 1 else code == number
            kind = [number // KINDS**index % KINDS for index in reversed(range(len(kinds)))]
            spreads = [self._spread(class_of(each % LENGTH, each // LENGTH)) for each in kind]
            parts = [each[:, where].ravel() for each in times_ns]
            shape = (len(levels), len(times_ns[0]), -1)
            found[:, :, where] = mixture_quantiles(levels, weights, parts, spreads).reshape(shape)
        return found

    def _spread(self, kind: str) -> Spread:
        return spread_of(self.machine, kind, cold=self.scenario.parent.caller is Caller.COLD)

    def _loader(self, quiet_ns: Array) -> MilestoneArrays:
        spread = self._spread(LOADER_CLASS)
        low, p50, high = mixture_quantiles(QUANTILES, [1.0], [quiet_ns], [spread])
        p10, p90 = widened(self.machine, low, p50, high)
        return MilestoneArrays(quiet_ns, p10, p50, p90)

    def breakdown(
        self, block: Block, taken: Sequence[Taken], name: str, milestone: MilestoneArrays
    ) -> dict[str, Array]:
        """Time to a milestone by cost, and `machine_spread`, of a block that was worked out."""
        groups = [(each.points, each.path.bills[name]) for each in taken]
        spread_ns = milestone.p50_ns - milestone.quiet_ns
        return {**self.basis.breakdown(groups, self.costs, block.matrix), SPREAD_LINE: spread_ns}


def compile_scenario(scenario: Scenario, machine: Machine, costs: CostTable) -> Compiled:
    """The compiled form of a scenario, for any parent of its runtime and caller.

    Raises:
        NotCompiled: it has a load, spawns nothing, or its parent's limits may refuse.
        NotBuilt: unknown mechanism or clone flag.
    """
    scenario = checked(scenario)
    placements = placements_seen(scenario, machine)
    return Compiled(scenario, machine, costs, placements, Basis(), [[] for _ in placements])


def _whole(taken: Sequence[Taken], points: int) -> Array:
    """Times of all parents of a block, (milestones, points)."""
    if len(taken) == 1:
        return taken[0].times_ns
    times_ns = np.empty((len(taken[0].times_ns), points))
    for each in taken:
        times_ns[:, each.points] = each.times_ns
    return times_ns


def _kinds(taken: Sequence[Taken], last: int, points: int) -> NDArray[np.intp]:
    """Class of each parent's path by the time of its last milestone: its length, and its manner times `LENGTH`."""
    kinds = np.empty(points, dtype=np.intp)
    for each in taken:
        kinds[each.points] = length_of(each.times_ns[last]) + LENGTH * each.path.manner
    return kinds
