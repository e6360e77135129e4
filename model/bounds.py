"""The compiled model with 90 % bounds of each p50, as `simulate` gives them, and the counts behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.compiled import LENGTH, Compiled, Worked
from model.compiled_result import CompiledResult
from model.costs import CostTable, fold_assumed
from model.forms import product
from model.parent_arrays import ParentArrays
from model.spread import LEVELS, Z90, class_of, model_errors, path_reach
from model.symbolic import FREE

Array = NDArray[np.float64]
Counts = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """Answers for many parents with bounds.

    Attributes:
        result: as `Compiled.evaluate` gives it.
        lo_ns, hi_ns: 90 % bounds of the p50 by milestone, arrays of (points,).
        counts: of each cost on the path to the last milestone, arrays of (points,).
    """

    result: CompiledResult
    lo_ns: Counts
    hi_ns: Counts
    counts: Counts


def bounded(compiled: Compiled, parents: ParentArrays, assumed: Sequence[str] = ()) -> Bounded:
    """What `simulate` says of each parent, `lo` and `hi` included; the breakdown is that of the last milestone.

    Args:
        parents: one block, at most some thousand.
        assumed: fractions that were not seen in any of them: the bounds reach to either end of their range.

    Raises:
        NotCompiled, MissingCost: as `Compiled.evaluate`.
    """
    worked = compiled.work_out(parents, (), LEVELS)
    names = list(worked.result.milestones)
    ends = [
        compiled.quiet_ns(parents.with_columns(**{name: end}), [compiled.costs])
        for name in assumed
        for end in (0.0, 1.0)
    ]
    lo_ns: dict[str, Array] = {}
    hi_ns: dict[str, Array] = {}
    counts = _counts(compiled, worked, names[-1])
    errors = _model_errors(compiled, worked, counts)
    for row, name in enumerate(names):
        quiet_ns, p50_ns = worked.result.milestones[name].quiet_ns, worked.result.milestones[name].p50_ns
        own = counts if name == names[-1] else _counts(compiled, worked, name)
        fitted = _stderr_ns(compiled.costs, own, len(quiet_ns))
        fitted = np.divide(fitted, quiet_ns, out=np.zeros_like(fitted), where=quiet_ns != 0.0)
        sigma = np.hypot(np.hypot(fitted, errors[0]), errors[1])
        below, above = _assumed_errors(quiet_ns, [each[name][0] for each in ends])
        low_ns, high_ns = worked.levels_ns[1, row], worked.levels_ns[3, row]
        lo_ns[name] = p50_ns * np.exp(-np.hypot(np.hypot(np.log(p50_ns / low_ns), Z90 * sigma), below))
        hi_ns[name] = p50_ns * np.exp(np.hypot(np.hypot(np.log(high_ns / p50_ns), Z90 * sigma), above))
    last = compiled.breakdown(worked.block, worked.taken, names[-1], worked.result.milestones[names[-1]])
    result = replace(worked.result, breakdowns_ns={names[-1]: last})
    return Bounded(result=result, lo_ns=lo_ns, hi_ns=hi_ns, counts=counts)


def _counts(compiled: Compiled, worked: Worked, milestone: str) -> dict[str, Array]:
    """Counts of each cost on the path to a milestone."""
    found: dict[str, Array] = {}
    for taken in worked.taken:
        for (cost, node), factor in taken.path.bills[milestone].items():
            if cost == FREE:
                continue
            values = worked.block.matrix[compiled.basis.rows[node]]
            into = found.setdefault(cost, np.zeros(len(worked.block.parents)))
            into[taken.points] += factor * values[taken.points]
    return found


def _model_errors(compiled: Compiled, worked: Worked, counts: Counts) -> tuple[Array, Array]:
    """The model's own relative error of each whole run and that of placement, as `spread.relative_error` has them."""
    model, placed = np.empty(len(worked.kinds)), np.empty(len(worked.kinds))
    for kind, points in _alike(worked):
        first = {cost: float(values[points[0]]) for cost, values in counts.items()}
        model[points], placed[points] = model_errors(compiled.machine, kind, path_reach(first))
    return model, placed


def _alike(worked: Worked) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Points of one path and one class of its length and manner."""
    for taken in worked.taken:
        kinds = worked.kinds[taken.points]
        for kind in np.unique(kinds):
            yield class_of(int(kind) % LENGTH, int(kind) // LENGTH), taken.points[kinds == kind]


def _stderr_ns(costs: CostTable, counts: Counts, points: int) -> Array:
    """Roots of counts × covariance × counts."""
    if costs.covariance is None or not costs.names:
        return np.zeros(points)
    place = {name: index for index, name in enumerate(costs.names)}
    folded = np.zeros((len(place), points))
    for cost, values in counts.items():
        if not costs.price(cost):
            continue  # as in `spread.relative_error`
        ((name, factor),) = fold_assumed({cost: 1.0}, known=costs.ns).items()
        if name in place:
            folded[place[name]] += factor * values
    met = np.flatnonzero(folded.any(axis=1))
    folded = folded[met]
    variance = (folded * product(costs.covariance[np.ix_(met, met)], folded)).sum(axis=0)
    return np.asarray(np.sqrt(np.maximum(0.0, variance)))


def _assumed_errors(quiet_ns: Array, ends_ns: Sequence[Array]) -> tuple[Array, Array]:
    """How far, in logarithms, assumed attributes would move each quiet time down and up."""
    below, above = np.zeros_like(quiet_ns), np.zeros_like(quiet_ns)
    for end_ns in ends_ns:
        moves = np.log(end_ns / quiet_ns)
        below += np.where(moves < 0, moves, 0.0) ** 2
        above += np.where(moves > 0, moves, 0.0) ** 2
    return np.sqrt(below), np.sqrt(above)
