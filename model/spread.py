"""From quiet times to quantiles and intervals: a mixture over placements, widened by the machine's spread.

Quantiles are never added: the mixture is built for each milestone as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.costs import CostTable
from model.kernel.fork import SpawnFailed
from model.kernel.task import System, Task
from model.ledger import Bill, Entry, bill_of
from model.machine import BESIDE, NO_SPREAD, Machine, Placement, Spread
from model.prediction import MILESTONES, SPREAD_LINE, Milestone, Prediction, SpawnError
from model.quantiles import around_wait, mixture_quantiles
from model.scenario import Scenario
from model.units import NS_PER_MS

SPAWNS = 20
"""`lo` and `hi` bound the p50 of a run of so many spawns."""
Z90 = 1.6449
"""Two-sided 90 % of the normal distribution."""
LOADER_CLASS = "medium-wakes"
"""The class of the unpinned execs, most of whose time is ld.so's."""
SHORT_NS, LONG_NS = 0.15 * NS_PER_MS, 4 * NS_PER_MS
"""Below the first a wake-up or an interrupt is much of a path, above the second the tick meets it."""
RUNTIME_COSTS = ("jdk_", "cpython_")
"""What the costs of a runtime's own code begin with."""
SPAWNS_ERROR = "spawns"
"""Name of the error by which single spawns spread beyond what their class does, among a machine's errors."""
Z80 = 1.2816
"""p10 and p90 of the normal distribution."""
LIKE = {"runtime": "medium-wakes", "medium-wakes": "medium", "short-wakes": "short"}
"""Class to go by where one was never measured."""
UNPINNED = "unpinned"
"""Begins the names of the errors of predictions where the scheduler places the tasks."""
COLD = "-cold"
"""Ends the names of the spreads of cold callers."""
_HALF = Z90 * 0.5 / SPAWNS**0.5
LENGTHS, MANNERS = ("short", "medium", "long"), ("", "-wakes", "runtime")
"""What the class of a path is made of."""
LEVELS = (0.1, 0.5 - _HALF, 0.5, 0.5 + _HALF, 0.9)
"""p10, p50 and p90, and what bounds the p50 of so many spawns."""


class FinishedRun(Protocol):
    """What is read of a finished run."""

    system: System
    caller: Task
    milestones: dict[str, float]
    error: SpawnFailed | None
    stretched: float

    def path_to(self, milestone: str) -> list[Entry]: ...


def path_class(path: Sequence[Entry]) -> str:
    """Class of a path for the spread: `long`, `runtime` where a JVM or interpreter runs code of its own on it, else
    `short` or `medium`, with `-wakes` where it wakes another CPU. Waits for a busy CPU do not make it longer.
    """
    elapsed_ns = path[-1].end_ns - path[0].start_ns - waited_ns(path) if path else 0.0
    return class_of(int(length_of(elapsed_ns)), manner_of(entry.name for entry in path))


def waited_ns(path: Iterable[Entry]) -> float:
    """Time of a critical path in waits that no task of the simulation ended: for a CPU that another program held."""
    return sum(entry.end_ns - entry.start_ns for entry in path if entry.kind == "wait")


def length_of(elapsed_ns: ArrayLike) -> NDArray[np.intp]:
    """Index among `LENGTHS` of a path, or of an array of them."""
    elapsed = np.asarray(elapsed_ns)
    return np.add(elapsed >= SHORT_NS, elapsed > LONG_NS, dtype=np.intp)


def manner_of(names: Iterable[str]) -> int:
    """Index among `MANNERS` of a path with entries of these names."""
    found = list(names)
    if any(name.startswith(RUNTIME_COSTS) for name in found):
        return MANNERS.index("runtime")
    return MANNERS.index("-wakes") if any(name.startswith("wake_idle") for name in found) else 0


def class_of(length: int, manner: int) -> str:
    """Class of a path by its length and manner."""
    if LENGTHS[length] == "long" or MANNERS[manner] == "runtime":
        return "long" if LENGTHS[length] == "long" else "runtime"
    return LENGTHS[length] + MANNERS[manner]


def spread_of(machine: Machine, kind: str, *, cold: bool = False, beside: bool = False) -> Spread:
    """The machine's spread for a class of path; none if it was never measured.

    A cold caller has spreads of its own where they were: what others take of the caches meanwhile is never the same.
    So have spawns `beside` busy programs: a CPU that never idles keeps its caches and what the hypervisor gave it.
    """
    names = [kind]
    while names[-1] in LIKE:
        names.append(LIKE[names[-1]])
    states = [COLD, ""] if cold else [""]
    states = [*([states[0] + BESIDE] if beside else []), *states]
    found = (name + state for state in states for name in names)
    return next((machine.spread[name] for name in found if name in machine.spread), NO_SPREAD)


def widened(machine: Machine, p10: ArrayLike, p50: ArrayLike, p90: ArrayLike) -> tuple[Any, Any]:
    """p10 and p90 of single spawns: beside the spread of their class, what one path of it differs from another by.

    The two act independently, so their logarithms add as squares: a narrow body grows, a second mode far from p50
    hardly moves, p50 does not.
    """
    error = Z80 * machine.model_error.get(SPAWNS_ERROR, 0.0)
    if not error:
        return p10, p90
    below, above = (np.log(np.divide(one, other)) for one, other in ((p50, p10), (p90, p50)))
    return np.multiply(p50, np.exp(-np.hypot(below, error))), np.multiply(p50, np.exp(np.hypot(above, error)))


def milestones_of(
    names: Sequence[str],
    machine: Machine,
    costs: CostTable,
    runs: Sequence[tuple[Placement, FinishedRun]],
    variants: Sequence[FinishedRun],
    *,
    busy: bool = False,
    beside: bool = False,
) -> dict[str, Milestone]:
    """Quiet times, quantiles and intervals of milestones that every run has reached.

    A run's milestones all spread as its whole path does, so that none overtakes a later one. `busy`: other programs
    take CPUs; what they do to single spawns is in the placements, and the errors were measured without them. `beside`:
    no CPU was left idle.
    """
    first = runs[0][1]
    kinds = [path_class(run.path_to(last_of(run))) for _, run in runs]
    spreads = [spread_of(machine, kind, cold=first.caller.cold, beside=beside) for kind in kinds]
    weights = [placement.weight for placement, _ in runs]
    if busy:
        found = _waiting_quantiles(names, weights, [run for _, run in runs], spreads)
    else:
        quiet_ns = [np.array([run.milestones[name] for name in names]) for _, run in runs]
        found = mixture_quantiles(LEVELS, weights, quiet_ns, spreads)
    reach = path_reach(bill_of(first.path_to(last_of(first))).counts)
    milestones: dict[str, Milestone] = {}
    for name, (p10, low, p50, high, p90) in zip(names, found.T, strict=True):
        quiet = first.milestones[name]
        sigma = relative_error(bill_of(first.path_to(name)), quiet, machine, costs, (kinds[0], reach))
        below, above = assumed_error(name, quiet, variants)
        if not busy:
            p10, p90 = widened(machine, p10, p50, p90)
        milestones[name] = Milestone(
            quiet_ns=float(quiet),
            p10_ns=float(p10),
            p50_ns=float(p50),
            p90_ns=float(p90),
            lo_ns=float(p50 * np.exp(-np.hypot(np.hypot(np.log(p50 / low), Z90 * sigma), below))),
            hi_ns=float(p50 * np.exp(np.hypot(np.hypot(np.log(high / p50), Z90 * sigma), above))),
        )
    return milestones


def median_spread(machine: Machine, run: FinishedRun, *, beside: bool) -> float:
    """How many times the quiet time half of the spawns take at most."""
    spread = spread_of(machine, path_class(run.path_to(last_of(run))), cold=run.caller.cold, beside=beside)
    return float(np.interp(0.5, spread.levels, spread.ratios))


def _waiting_quantiles(
    names: Sequence[str], weights: Sequence[float], runs: Sequence[FinishedRun], spreads: Sequence[Spread]
) -> Any:
    """Quantiles (levels, milestones) of runs that wait for busy CPUs; one that always comes first stays first."""
    columns: list[Any] = []
    for name in names:
        times = [run.milestones[name] for run in runs]
        parts = [
            around_wait(spread, time, waited_ns(run.path_to(name)), run.stretched)
            for spread, time, run in zip(spreads, times, runs, strict=True)
        ]
        found = mixture_quantiles(LEVELS, weights, [np.array([time]) for time in times], parts)[:, 0]
        before = [
            columns[index]
            for index, other in enumerate(names[: len(columns)])
            if all(run.milestones[other] <= run.milestones[name] for run in runs)
        ]
        columns.append(np.max([found, *before], axis=0))
    return np.stack(columns, axis=-1)


def last_of(run: FinishedRun) -> str:
    """The last milestone of the contract that a run reached."""
    return next((name for name in reversed(MILESTONES) if name in run.milestones), "done")


def relative_error(bill: Bill, quiet_ns: float, machine: Machine, costs: CostTable, run: tuple[str, str]) -> float:
    """Relative standard error of a p50: coefficients by their covariance, the model's own error, that of placement.

    The last acts where tasks can be placed: a pinned bench with its one CPU has none. `run`: class and reach of the
    whole run that the milestone belongs to.
    """
    # What takes no time is on no path for certain: a charge beside a birth or a wake-up ties with it.
    counts = {name: count for name, count in bill.counts.items() if costs.price(name)}
    fitted = costs.stderr_ns(counts) / quiet_ns if quiet_ns else 0.0
    model, placed = model_errors(machine, *run)
    return float(np.hypot(np.hypot(fitted, model), placed))


def model_errors(machine: Machine, kind: str, reach: str) -> tuple[float, float]:
    """The model's own relative error for a class of path, and that of placement for its reach."""
    errors = machine.model_error
    model = errors.get(kind.removesuffix("-wakes"), errors.get("plain", 0.0))
    return model, errors.get(f"{UNPINNED}-{reach}", 0.0) if machine.cpus > 1 else 0.0


def path_reach(counts: Mapping[str, float]) -> str:
    """What a path does, for the error of placement: `copies` an mm, `execs` beside a shared one, or neither: `bare`."""
    return "copies" if counts.get("dup_mm_fixed") else "execs" if counts.get("execve_fixed") else "bare"


def assumed_error(name: str, quiet_ns: float, variants: Sequence[FinishedRun]) -> tuple[float, float]:
    """How far, in logarithms, assumed attributes at either end of their range would move a quiet time down and up."""
    moves = [np.log(run.milestones[name] / quiet_ns) for run in variants if run.milestones.get(name)]
    below = float(np.sqrt(sum(move**2 for move in moves if move < 0)))
    above = float(np.sqrt(sum(move**2 for move in moves if move > 0)))
    return below, above


def assemble(
    scenario: Scenario,
    machine: Machine,
    costs: CostTable,
    runs: Sequence[tuple[Placement, FinishedRun]],
    variants: Sequence[FinishedRun],
) -> Prediction:
    """The prediction from one run a placement (likeliest first) and the runs with assumed attributes at their ends."""
    first = runs[0][1]
    names = [name for name in MILESTONES if name in first.milestones]
    milestones: dict[str, Milestone] = {}
    by_runs: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        reached = tuple(index for index, (_, run) in enumerate(runs) if name in run.milestones)
        by_runs.setdefault(reached, []).append(name)
    for reached, group in by_runs.items():
        chosen = [runs[index] for index in reached]
        busy, beside = scenario.load.busy_cpus > 0, scenario.load.leaves_none(machine.cpus)
        milestones |= milestones_of(group, machine, costs, chosen, variants, busy=busy, beside=beside)
    milestones = {name: milestones[name] for name in names}
    last = names[-1] if names else "done"
    path = first.path_to(last)
    spread_ns = milestones[last].p50_ns - milestones[last].quiet_ns if names else 0.0
    spawn = scenario.spawn
    return Prediction(
        mechanism=spawn.mechanism if spawn else "",
        milestones=milestones,
        loader=_loader(machine, first) if spawn and spawn.target.loader is not None else None,
        breakdown_ns=_breakdown(path, spread_ns),
        bill=bill_of(path),
        path=tuple(path),
        tasks={f"{index} {task.name}": tuple(task.ledger) for index, task in enumerate(first.system.tasks)},
        charges=first.system.charges,
        events=first.system.events,
        error=SpawnError(errno=first.error.errno, why=first.error.why) if first.error else None,
    )


def _loader(machine: Machine, run: FinishedRun) -> Milestone | None:
    begin, end = run.milestones.get("loader_begin"), run.milestones.get("loader_end")
    if begin is None or end is None:
        return None
    return stretch(machine, end - begin, cold=run.caller.cold)


def stretch(machine: Machine, quiet_ns: float, *, cold: bool = False) -> Milestone:
    """A stretch of one task's own work, which meets nobody: it spreads as unpinned execs do."""
    spread = spread_of(machine, LOADER_CLASS, cold=cold)
    p10, p50, p90 = mixture_quantiles((0.1, 0.5, 0.9), [1.0], [np.array([quiet_ns])], [spread])[:, 0]
    p10, p90 = widened(machine, p10, p50, p90)
    sigma = Z90 * machine.model_error.get("plain", 0.0)
    return Milestone(
        quiet_ns=quiet_ns,
        p10_ns=float(p10),
        p50_ns=float(p50),
        p90_ns=float(p90),
        lo_ns=float(p50 * np.exp(-sigma)),
        hi_ns=float(p50 * np.exp(sigma)),
    )


def _breakdown(path: Sequence[Entry], spread_ns: float) -> dict[str, float]:
    parts: dict[str, float] = {}
    for start_ns, end_ns, kind, name, *_ in path:
        part = name if kind != "wait" else f"wait_{name}"
        parts[part] = parts.get(part, 0.0) + (end_ns - start_ns)
    return {**parts, SPREAD_LINE: spread_ns}
