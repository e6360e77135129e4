"""Prices from observations: elapsed = bill × ns over all benches, non-negative and robust, with covariance.

Relative residuals are minimised, each weighted by what the row's own processes scatter plus a floor for what no linear
bill explains. The design matrix is the bills of the rows' own scenarios, and must have full column rank.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from calibration.observations import Observation
from calibration.plan import bench_machine
from model.costs import COSTS, CostTable, fold_assumed
from model.ledger import Bill, bill_of
from model.machine import Machine, Placement
from model.mechanisms import family_of
from model.simulation import run_once

FLOOR = 0.02
"""Relative error of a row beside its own scatter."""
TUNING = 1.5
"""Residuals beyond so many robust standard deviations weigh less (Huber)."""
ROUNDS = 12
TOLD = 1.0
"""Rows tell a price that has a stand-in if its error is no larger than this share of it. No work takes no time.

At 1 both ways err alike: a fitted price adds its variance to a prediction, one left out the square of what it is."""
PASSES = 2
"""Over the facts that are chosen by residual: each choice can change what is best for the others."""
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a fit found.

    Attributes:
        costs: prices with covariance.
        observations: the fitted observations, in the order of `residuals`.
        residuals: ln(predicted / measured) of each.
        rank, condition: of the scaled design matrix.
        confounded: costs that the rows cannot tell apart from others (empty if the rank is full).
        untold: costs that have a stand-in, and that the rows tell no better than it: counted as it.
        score: robust residual, for choosing between candidates.
        design: counts, (observations, costs), in the order of `costs.names`.
    """

    costs: CostTable
    observations: tuple[Observation, ...]
    residuals: Array
    rank: int
    condition: float
    confounded: tuple[str, ...]
    untold: tuple[str, ...]
    score: float
    design: Array


def unit_costs() -> CostTable:
    """All prices 1 ns: enough to find the counts of a path that no price decides."""
    return CostTable({name: 1.0 for name, spec in COSTS.items() if not spec.assumed})


def interval_bill(each: Observation, machine: Machine, costs: CostTable) -> Bill:
    """Counts on the critical path of an observation's interval."""
    seen = bench_machine(machine, pinned=each.row.row.pinned)
    if "elsewhere" in each.row.options:  # the bench itself says where the child runs
        seen = replace(seen, placements={})
    if each.row.other:  # the weight says how often the child before was away too, which `returned_*` are charged for
        seen = replace(seen, placements={"*": (Placement(child="other", weight=each.returned),)})
    placements = seen.placements_of(family_of(each.scenario.spawn))
    # A low quantile shows the quick mode: not the one in which the caller waits for the child's end.
    quick = next((placement for placement in placements if placement.waker != "queue"), placements[0])
    run = run_once(each.scenario, seen, costs, quick)
    if each.end == "value":
        return bill_of(run.path_to("done"))
    whole = bill_of(run.path_to(each.end))
    if not each.begin:
        return whole
    before = bill_of(run.path_to(each.begin))
    names = {**whole.counts, **before.counts}
    return Bill(
        counts={name: whole.counts.get(name, 0.0) - before.counts.get(name, 0.0) for name in names},
        sleep_ns=whole.sleep_ns - before.sleep_ns,
        elapsed_ns=whole.elapsed_ns - before.elapsed_ns,
    )


def design_matrix(
    rows: Sequence[Observation], machine: Machine, costs: CostTable, told: Container[str] | None = None
) -> tuple[tuple[str, ...], Array]:
    """Names of the priced costs that the rows charge, and the counts as a matrix; all but `told` as what stands in."""
    folded = [fold_assumed(interval_bill(each, machine, costs).counts, known=told) for each in rows]
    names = tuple(name for name in COSTS if any(counts.get(name, 0.0) != 0.0 for counts in folded))
    matrix = np.array([[counts.get(name, 0.0) for name in names] for counts in folded], dtype=float)
    return names, matrix.reshape(len(rows), len(names))


def fit(rows: Sequence[Observation], machine: Machine) -> Fit:
    """Fit all prices that the observations identify.

    Args:
        rows: observations of the rows whose role is `fit`.
        machine: facts, placements and footprints; prices do not matter.

    Raises:
        ValueError: no observation.
    """
    if not rows:
        raise ValueError("nothing to fit: no row was measured")
    names, matrix = design_matrix(rows, machine, unit_costs())
    measured, weights = np.array([each.value_ns for each in rows]), row_weights(rows)
    names, matrix, untold = fold_untold(names, matrix, measured, weights)
    relative = matrix / measured[:, None]
    prices, robust = solve(relative, weights, np.ones(len(rows)))
    predicted = relative @ prices
    covariance = covariance_of(relative, robust, predicted - 1.0)
    rank, condition, confounded = identifiability(names, relative, weights)
    residuals = np.log(np.maximum(predicted, 1e-3))
    table = CostTable(
        {name: float(price) for name, price in zip(names, prices, strict=True)}, names=names, covariance=covariance
    )
    score = float(np.sqrt(np.average(np.minimum(np.abs(residuals), 0.3) ** 2, weights=weights)))
    return Fit(
        costs=table,
        observations=tuple(rows),
        residuals=residuals,
        rank=rank,
        condition=condition,
        confounded=confounded,
        untold=untold,
        score=score,
        design=matrix,
    )


def fold_untold(
    names: tuple[str, ...], matrix: Array, measured: Array, weights: Array
) -> tuple[tuple[str, ...], Array, tuple[str, ...]]:
    """A design matrix in which costs that its rows do not tell are counted as what stands in for them, and their names.

    One after the other, the least sure first: without it the rows may tell what it was mixed up with.
    """
    found: list[str] = []
    while name := _least_told(names, matrix / measured[:, None], weights):
        column = matrix[:, names.index(name)]
        others = tuple(each for each in names if each != name)
        matrix = np.delete(matrix, names.index(name), axis=1)
        for base, factor in fold_assumed({name: 1.0}, known=others).items():
            matrix[:, others.index(base)] += factor * column
        names = others
        found.append(name)
    return names, matrix, tuple(found)


def _least_told(names: Sequence[str], relative: Array, weights: Array) -> str:
    """The cost with a stand-in whose error is the largest share of its price, if that is too large; else nothing.

    One that comes out as nothing is not told: what its rows cost more went to others, whose counts differ there too.
    """
    places = {name: index for index, name in enumerate(names)}
    asked = [name for name in names if (like := COSTS[name].otherwise) is not None and like[0] in places]
    if not asked:
        return ""
    prices, robust = solve(relative, weights, np.ones(len(relative)))
    variance = np.diag(covariance_of(relative, robust, relative @ prices - 1.0))
    lost = identifiability(names, relative, weights)[2]
    told = [name for name in asked if name not in lost and prices[places[name]] > 0.0]
    errors = dict.fromkeys(asked, math.inf)
    errors |= {name: math.sqrt(max(0.0, variance[places[name]])) / prices[places[name]] for name in told}
    worst = max(errors, key=lambda name: errors[name])
    return worst if errors[worst] > TOLD else ""


def row_weights(rows: Sequence[Observation]) -> Array:
    """Weight of each observation: one over the square of its relative error, with the floor beside it."""
    scatter = np.array([each.stderr_ns / each.value_ns for each in rows])
    scatter = np.where(np.isfinite(scatter), scatter, 0.1)
    return 1.0 / (scatter**2 + FLOOR**2)


def solve(relative: Array, weights: Array, wanted: Array) -> tuple[Array, Array]:
    """Iteratively reweighted non-negative least squares of relative @ x = wanted; prices and final weights."""
    scale = np.sqrt((weights[:, None] * relative**2).sum(axis=0))
    scale[scale == 0.0] = 1.0
    robust = weights.copy()
    prices = np.zeros(relative.shape[1])
    for _ in range(ROUNDS):
        root = np.sqrt(robust)
        found, _ = nnls(relative / scale * root[:, None], wanted * root, maxiter=30 * relative.shape[1])
        prices = found / scale
        pulls = np.abs(relative @ prices - wanted) * np.sqrt(weights)
        sigma = max(1.4826 * float(np.median(pulls)), 1e-6)
        robust = weights * np.minimum(1.0, TUNING * sigma / np.maximum(pulls, 1e-12))
    return prices, robust


def covariance_of(relative: Array, robust: Array, residuals: Array) -> Array:
    """Covariance of the prices: the inverse of the weighted normal matrix, scaled by the residuals."""
    normal = relative.T @ (robust[:, None] * relative)
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    inverse = np.linalg.pinv(normal / np.outer(scale, scale), rcond=1e-10, hermitian=True) / np.outer(scale, scale)
    covariance: Array = inverse * misfit(relative, robust, residuals)
    return (covariance + covariance.T) / 2


def misfit(relative: Array, robust: Array, residuals: Array) -> float:
    """Variance of the weighted residuals, at least 1: how much less sure the prices are than the samples alone say."""
    freedom: int = max(1, len(residuals) - relative.shape[1])
    variance: float = float((robust * residuals**2).sum()) / freedom
    return max(1.0, variance)


def identifiability(names: Sequence[str], relative: Array, weights: Array) -> tuple[int, float, tuple[str, ...]]:
    """Rank and condition of the scaled design matrix, and the costs in its null space."""
    scaled = relative * np.sqrt(weights)[:, None]
    scaled = scaled / np.maximum(np.linalg.norm(scaled, axis=0), 1e-300)
    _, singular, right = np.linalg.svd(scaled, full_matrices=True)
    values = np.zeros(len(names))
    values[: len(singular)] = singular
    tolerance = values.max() * max(scaled.shape) * np.finfo(float).eps * 10
    null = right[values <= tolerance]
    lost = [name for index, name in enumerate(names) if null.size and np.abs(null[:, index]).max() > 1e-6]
    smallest = values[values > tolerance].min()
    return int((values > tolerance).sum()), float(values.max() / smallest), tuple(lost)


def choose_facts(
    rows: Sequence[Observation], machine: Machine, candidates: Mapping[str, Sequence[float]]
) -> tuple[Machine, Fit]:
    """Facts that split counts (how many ptes or vmas the caches hold), each chosen by the residual of its fit."""
    best: Fit | None = None
    for _ in range(PASSES):
        for name, values in candidates.items():
            if name not in machine.facts:
                best = None  # without the fact its costs are never charged, and a large parent would look cheap
            for value in values:
                tried = replace(machine, facts={**machine.facts, name: value})
                outcome = fit(rows, tried)
                if not outcome.confounded and (best is None or outcome.score < best.score * 0.999):
                    machine, best = tried, outcome
    return machine, best or fit(rows, machine)


def fit_beside(rows: Sequence[Observation], machine: Machine, known: CostTable) -> CostTable:
    """Fit only the prices that `known` lacks, the others fixed; the table with both, their errors taken as independent.

    For rows that stand on everything else, such as a JVM's: a misfit of theirs must not move a kernel price.
    """
    start = replace(known, ns={**unit_costs().ns, **known.ns})
    names, matrix = design_matrix(rows, machine, start, told=known.ns)
    new = [index for index, name in enumerate(names) if name not in known.ns]
    if not rows or not new:
        return known
    measured = np.array([each.value_ns for each in rows])
    fixed = np.array([0.0 if index in new else known.ns[name] for index, name in enumerate(names)])
    relative = matrix[:, new] / measured[:, None]
    wanted = 1.0 - (matrix @ fixed) / measured
    prices, robust = solve(relative, row_weights(rows), wanted)
    covariance = covariance_of(relative, robust, relative @ prices - wanted)
    added = tuple(names[index] for index in new)
    return CostTable(
        ns={**known.ns, **{name: float(price) for name, price in zip(added, prices, strict=True)}},
        names=(*known.names, *added),
        covariance=block_diagonal(known.covariance, covariance),
        inherited=known.inherited,
    )


def block_diagonal(first: Array | None, second: Array) -> Array:
    """Two covariances as one, nothing shared."""
    size = 0 if first is None else len(first)
    whole = np.zeros((size + len(second), size + len(second)))
    if first is not None:
        whole[:size, :size] = first
    whole[size:, size:] = second
    return whole
