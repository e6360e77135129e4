"""Which more measurements would narrow an asked prediction most: optimal design on the covariance of the fit.

A row measured again with as many fresh processes as the plan gives it adds weight to its own bill. The prediction's
variance is counts x covariance x counts (c-optimality); where no row lowers that, rows are taken that narrow all prices
together (D-optimality). What a row takes is known from the stored rounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from calibration.errors import BadInput
from calibration.fit import FLOOR, design_matrix, fold_untold, misfit, row_weights, solve, unit_costs
from calibration.identify import fitted_rows
from calibration.machine_file import MachineFile
from calibration.measure import ROUND_S
from calibration.observations import Observation, captured
from calibration.plan import LIVE
from calibration.samples import Run, SampleFile
from model.costs import fold_assumed
from model.process import Process

UNKNOWN = 0.5
"""Relative error that a price is taken to have if another machine's file supplied it."""
LEAST_GAIN = 0.01
"""Share of the variance that a measurement must take away to be worth its time."""
PAGES_PER_MIB = 256
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One prediction to be narrowed: its name, counts of costs on its path, and quiet time in ns."""

    name: str
    counts: Mapping[str, float]
    quiet_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One more measurement.

    Attributes:
        row, bench, args: the row of the plan.
        processes: fresh processes, beyond those that there are.
        seconds: what they take.
        error: relative standard error, by the prices alone, of the asked predictions (root mean square) after it and
            all steps before it.
        costs: prices that it narrows most for what is asked.
    """

    row: str
    bench: str
    args: tuple[str, ...]
    processes: int
    seconds: float
    error: float
    costs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to measure, in this order.

    Attributes:
        criterion: `c`: for what was asked; `D`: for all prices together, as nothing else would narrow the asked.
        error: relative standard error of the asked predictions now, by the prices alone.
        steps: the measurements; empty if none is worth its time.
        seconds: what they take together.
    """

    criterion: str
    error: float
    steps: tuple[Step, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    row: str
    bench: str
    args: tuple[str, ...]
    processes: int
    seconds: float
    vectors: Array
    scatter: Array


def seconds_of(samples: SampleFile) -> dict[str, float]:
    """What one process of each row takes in s: a start, its repetitions, and the pages that it touches first.

    Starts and pages are priced by the rounds of the stored run, which all took ROUND_S.
    """
    parents, _ = captured(samples)
    features = np.array([_features(run, parents.get(run.row)) for run in samples.runs])
    taken_in = np.array([run.round for run in samples.runs])
    of_benches = {run.round for run in samples.runs if not run.bench.startswith(LIVE)}
    rounds = sorted({each.round for each in samples.rounds} & of_benches)
    sums = np.array([features[taken_in == number].sum(axis=0) for number in rounds])
    start_s, page_s = 0.005, 1.5e-6
    if len(rounds) > 2:
        (start_s, page_s), _ = nnls(sums[:, [0, 2]], np.maximum(0.0, ROUND_S - sums[:, 1]))
    found: dict[str, list[float]] = {}
    for run, (_, repeated_s, pages) in zip(samples.runs, features.tolist(), strict=True):
        found.setdefault(run.row, []).append(start_s + repeated_s + page_s * pages)
    return {name: float(np.mean(values)) for name, values in found.items()}


def _features(run: Run, parent: Process | None) -> tuple[float, float, float]:
    options = dict(zip(run.args, run.args[1:], strict=False))
    gap_s = float(options.get("--cold-ms", 0)) / 1e3
    repeated_s = sum((sample.reaped_ns or 0.0) / 1e9 + gap_s for sample in run.samples)
    pages = float(run.header.get("hog_mib_actual") or 0) * PAGES_PER_MIB
    return 1.0, repeated_s, pages + (parent.space.anon_bytes / 4096 if parent is not None else 0.0)


def advise(file: MachineFile, samples: SampleFile, asked: Sequence[Asked], budget_s: float) -> Advice:
    """The measurements that narrow the asked predictions most within a budget.

    Args:
        file: the machine file that predicts; a price that it inherited is taken as unknown by UNKNOWN.
        samples: where the rows' bills, scatter and durations come from.
        asked: at least one.

    Raises:
        BadInput: no budget, nothing asked, or no row that could be measured.
    """
    if not budget_s > 0.0:
        raise BadInput("--budget", "it is no time", "give one such as 60s")
    rows = fitted_rows(file, samples)
    names, counts = design_matrix(rows, file.machine, unit_costs())
    measured = np.array([each.value_ns for each in rows])
    names, counts, _ = fold_untold(names, counts, measured, row_weights(rows))
    relative = counts / measured[:, None]
    price = np.array([max(file.costs.price(name), 1e-3) for name in names])
    weights = row_weights(rows)
    prices, robust = solve(relative, weights, np.ones(len(rows)))
    scale = misfit(relative, robust, relative @ prices - 1.0)
    shares = relative * price
    foreign = np.array([name in file.costs.inherited for name in names])
    known = np.array([not foreign[row > 0.0].any() for row in shares])
    information = shares.T @ ((robust * known / scale)[:, None] * shares) + np.eye(len(names)) / UNKNOWN**2
    wanted = np.array([_shares(each, names, price) for each in asked])
    candidates = _candidates(rows, shares, seconds_of(samples))
    if not len(wanted) or not candidates:
        raise BadInput("advise-measurement", "there is nothing to choose from", "ask for a mechanism that spawns")
    return _greedy(information, wanted, candidates, names, scale, budget_s)


def _shares(asked: Asked, names: Sequence[str], price: Array) -> Array:
    folded = fold_assumed(asked.counts, known=names)
    return np.array([folded.get(name, 0.0) for name in names]) * price / asked.quiet_ns


def _candidates(rows: Sequence[Observation], shares: Array, seconds: Mapping[str, float]) -> list[_Candidate]:
    found: list[_Candidate] = []
    for name in dict.fromkeys(each.row.row.name for each in rows):
        indices = [index for index, each in enumerate(rows) if each.row.row.name == name]
        row = rows[indices[0]].row.row
        scatter = [rows[index].stderr_ns / rows[index].value_ns for index in indices]
        processes = rows[indices[0]].processes
        found.append(
            _Candidate(
                row=name,
                bench=row.bench,
                args=row.args,
                processes=processes,
                seconds=processes * seconds[name],
                vectors=shares[indices],
                scatter=np.nan_to_num(scatter, nan=0.1),
            )
        )
    return found


def _gain(candidate: _Candidate, times: int, scale: float) -> Array:
    """Information that one more block adds after `times` there are: scatter shrinks with processes, the floor stays."""
    before, after = (1.0 / (candidate.scatter**2 / n + FLOOR**2) for n in (times, times + 1))
    return candidate.vectors.T @ (((after - before) / scale)[:, None] * candidate.vectors)


def _greedy(
    information: Array,
    wanted: Array,
    candidates: Sequence[_Candidate],
    names: Sequence[str],
    scale: float,
    budget_s: float,
) -> Advice:
    """Best gain a second first, until the budget is spent or nothing is worth its time."""
    blocks = dict.fromkeys(range(len(candidates)), 1)
    start = math.sqrt(_variance(information, wanted))
    steps: list[Step] = []
    criterion, left_s = "c", budget_s
    while True:
        gains = {
            index: _merit(information, _gain(each, blocks[index], scale), wanted, criterion)
            for index, each in enumerate(candidates)
            if each.seconds <= left_s
        }
        best = max(gains, key=lambda index: gains[index] / candidates[index].seconds, default=None)
        if best is None or gains[best] < LEAST_GAIN:
            if steps or criterion == "D" or best is None:
                break
            criterion = "D"
            continue
        chosen = candidates[best]
        before = information
        information = information + _gain(chosen, blocks[best], scale)
        blocks[best] += 1
        left_s -= chosen.seconds
        steps.append(_step(chosen, before, information, wanted, names))
    merged = _merged(steps)
    return Advice(criterion=criterion, error=start, steps=merged, seconds=sum(each.seconds for each in merged))


def _variance(information: Array, wanted: Array) -> float:
    """Mean relative variance of what is asked."""
    return float(np.mean(np.einsum("ij,ij->i", wanted, np.linalg.solve(information, wanted.T).T)))


def _merit(information: Array, added: Array, wanted: Array, criterion: str) -> float:
    """Share of the variance that is taken away; for D, growth of log det."""
    if criterion == "c":
        now = _variance(information, wanted)
        return 1.0 - _variance(information + added, wanted) / now if now > 0.0 else 0.0
    after, before = (np.linalg.slogdet(each)[1] for each in (information + added, information))
    return float(after - before)


def _step(chosen: _Candidate, before: Array, after: Array, wanted: Array, names: Sequence[str]) -> Step:
    parts = [np.abs(wanted).mean(axis=0) * np.sqrt(np.diag(np.linalg.inv(each))) for each in (before, after)]
    narrowed = np.argsort(parts[1] - parts[0])[:3]
    return Step(
        row=chosen.row,
        bench=chosen.bench,
        args=chosen.args,
        processes=chosen.processes,
        seconds=chosen.seconds,
        error=math.sqrt(_variance(after, wanted)),
        costs=tuple(names[index] for index in narrowed.tolist() if parts[0][index] - parts[1][index] > 1e-6),
    )


def _merged(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Blocks of one row as one step, where it first stood; the error is that after its last block."""
    found: dict[str, Step] = {}
    for each in steps:
        first = found.get(each.row)
        found[each.row] = Step(
            row=each.row,
            bench=each.bench,
            args=each.args,
            processes=each.processes + (first.processes if first else 0),
            seconds=each.seconds + (first.seconds if first else 0.0),
            error=each.error,
            costs=first.costs if first else each.costs,
        )
    return tuple(found.values())
