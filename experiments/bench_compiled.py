"""What a point of the compiled model costs, for `make bench`: beside simulate(), on one core and on two."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from calibration.machine_file import MachineFile
from model.compiled import BLOCK, Compiled, compile_scenario
from model.parent_arrays import ParentArrays
from model.process import Process
from model.rules import Rules
from model.scenario import Scenario
from model.simulation import simulate
from model.units import NS_PER_S

CORES = 2
POINTS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRates:
    """Points a second of each way, all of one run, and the most memory that a process of the two needed.

    Attributes:
        quantiles, breakdown: one process: quiet, p10, p50, p90 of each milestone; and the breakdown of the last.
        two: two processes, breakdowns included.
        simulated: simulate() of the same scenario, its parent known.
    """

    quantiles: float
    breakdown: float
    two: float
    simulated: float
    memory_bytes: int


def random_parents(parent: Process, rules: Rules, points: int, seed: int) -> ParentArrays:
    """Parents like one, with sizes, descriptors and frames drawn at random; deterministic for a seed."""
    draw = np.random.default_rng(seed)
    pages = np.floor(2.0 ** draw.uniform(8, 24, points))
    return ParentArrays.like(
        parent,
        rules,
        points,
        small_ptes=pages,
        private_ptes=pages,
        pte_tables=np.ceil(pages / 512) + 60,
        huge_pmds=draw.integers(0, 4096, points),
        vmas=draw.integers(200, 3000, points),
        threads=draw.integers(1, 100, points),
        open_fds=draw.integers(3, 1000, points),
        fd_slots=np.full(points, 1024.0),
        contiguous=draw.random(points),
        writable=draw.random(points),
    )


def evaluated(compiled: Compiled, blocks: Sequence[ParentArrays], breakdowns: Sequence[str]) -> float:
    """Sum of the last milestone's p50 over all blocks: each result is used and let go, as a sweep should."""
    last = list(compiled.evaluate(blocks[0][:1]).milestones)[-1]
    return sum(float(compiled.evaluate(each, breakdowns=breakdowns).milestones[last].p50_ns.sum()) for each in blocks)


def point_rates(scenario: Scenario, file: MachineFile, *, points: int = POINTS, simulations: int = 200) -> PointRates:
    """Rates of one scenario, whose parent's attributes are varied."""
    share = points // CORES
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        work = [(scenario, file, share, seed) for seed in range(CORES)]
        list(pool.map(_prepared, work))  # imports, arrays and paths are there before the clock starts
        begin = time.perf_counter_ns()
        list(pool.map(_worked, work))
        two_ns = time.perf_counter_ns() - begin
        memory_bytes = max(pool.map(_memory_bytes, range(CORES)))
    compiled, blocks = _prepare(scenario, file, share, 0)
    times = []
    for breakdowns in ((), ("reaped",)):
        begin = time.perf_counter_ns()
        evaluated(compiled, blocks, breakdowns)
        times.append(time.perf_counter_ns() - begin)
    begin = time.perf_counter_ns()
    for _ in range(simulations):
        simulate(scenario, file.machine, file.costs)
    simulated_ns = time.perf_counter_ns() - begin
    return PointRates(
        quantiles=share / times[0] * NS_PER_S,
        breakdown=share / times[1] * NS_PER_S,
        two=CORES * share / two_ns * NS_PER_S,
        simulated=simulations / simulated_ns * NS_PER_S,
        memory_bytes=memory_bytes,
    )


_KEPT: dict[int, tuple[Compiled, list[ParentArrays]]] = {}
"""Of a worker: what it has prepared, by seed."""


def _prepare(scenario: Scenario, file: MachineFile, points: int, seed: int) -> tuple[Compiled, list[ParentArrays]]:
    compiled = compile_scenario(scenario, file.machine, file.costs)
    arrays = random_parents(scenario.parent, scenario.rules, points, seed)
    blocks = [arrays[at : at + BLOCK] for at in range(0, points, BLOCK)]
    compiled.evaluate(blocks[0])
    return compiled, blocks


def _prepared(work: tuple[Scenario, MachineFile, int, int]) -> None:
    for seed in range(CORES):  # whichever worker gets which share
        _KEPT[seed] = _prepare(*work[:3], seed)


def _worked(work: tuple[Scenario, MachineFile, int, int]) -> float:
    if work[3] not in _KEPT:
        _prepared(work)
    return evaluated(*_KEPT[work[3]], breakdowns=("reaped",))


def _memory_bytes(_: int) -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def text_of(found: PointRates, name: str) -> list[str]:
    """The figures as lines of at most 80 columns."""
    return [
        f"the compiled model, {name}, random parents",
        f"  points, quantiles       {found.quantiles:>12,.0f} /s",
        f"  points with breakdown   {found.breakdown:>12,.0f} /s",
        f"  the same, two processes {found.two:>12,.0f} /s",
        f"  simulate()              {found.simulated:>12,.0f} /s",
        f"  points : simulate()     {found.breakdown / found.simulated:>12,.0f}",
        f"  most memory             {found.memory_bytes / 2**20:>12,.0f} MiB",
    ]
