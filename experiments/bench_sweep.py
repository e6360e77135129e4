"""What a second worker brings a sweep, for `make bench`: beside what a second bare loop brings in the same run."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.errors import BadInput
from calibration.machine_file import BUNDLED, MachineFile
from experiments.scenarios import DEFAULT_PARENT
from experiments.sweep import run_into_store
from experiments.sweep_spec import Sweep
from experiments.sweep_ways import How
from model.units import NS_PER_S

WORKERS = (1, 2)
ROUNDS = 3
"""The best of so many, all things measured in turn."""
POINTS = 12_000
SIMULATED = 600
LOOPS = 10_000_000
PARENT = {
    "parent.resident": {"low": "1MiB", "high": "64GiB", "scale": "log"},
    "parent.huge": {"low": 0.0, "high": 1.0},
    "parent.contiguous": {"low": 0.0, "high": 1.0},
    "parent.fds": {"low": 3, "high": 1000, "scale": "log"},
}
TARGET = {"target.symbol_lookups": {"low": 500, "high": 50_000}}
"""An axis that changes the program that is executed: each point has a structure of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRates:
    """Rates by number of workers, all of one run, in 1/s.

    Attributes:
        points: of a sweep over parents, which the compiled model answers.
        simulated: points of a sweep that it cannot answer, each a simulation.
        loops: turns of a loop that does nothing else, summed over the processes.
    """

    points: Mapping[int, float]
    simulated: Mapping[int, float]
    loops: Mapping[int, float]


def gain(rates: Mapping[int, float]) -> float:
    """What the most workers reach over what one does."""
    return rates[max(rates)] / rates[1]


def sweep_rates(
    file: MachineFile, *, rounds: int = ROUNDS, points: int = POINTS, simulated: int = SIMULATED, loops: int = LOOPS
) -> SweepRates:
    """Best rate of each, the three and the numbers of workers taking turns.

    Raises:
        BadInput: a point has no result.
    """
    machine = str(file.path) if file.path is not None else BUNDLED
    works: dict[str, tuple[Callable[[Any, int], int], Any, int]] = {
        "points": (swept, sweep_of(machine, points, PARENT), points),
        "simulated": (swept, sweep_of(machine, simulated, {**PARENT, **TARGET}), simulated),
        "loops": (_looped, loops, loops),
    }
    best: dict[str, dict[int, float]] = {name: dict.fromkeys(WORKERS, 0.0) for name in works}
    for _ in range(rounds):
        for name, (work, argument, count) in works.items():
            for workers in WORKERS:
                done = count * (workers if name == "loops" else 1)
                best[name][workers] = max(best[name][workers], done / work(argument, workers) * NS_PER_S)
    return SweepRates(**best)


def sweep_of(machine: str, points: int, axes: Mapping[str, Any]) -> Sweep:
    """A design over a JVM that forks."""
    base = {"machine": machine, "parent": DEFAULT_PARENT, "exec": "/bin/true", "via": ["fork"]}
    return Sweep(base=base, axes=dict(axes), method="sobol", samples=points)


def swept(sweep: Sweep, workers: int) -> int:
    """Time of a whole sweep into a file, in ns: workers start and end within it."""
    with tempfile.TemporaryDirectory() as directory:
        begin = time.perf_counter_ns()
        store, tally = run_into_store(sweep, Path(directory) / "store", How(workers=workers))
        elapsed_ns = time.perf_counter_ns() - begin
        failed = store.first_error()
        store.close()
    if failed is not None or tally.computed != sweep.samples:
        raise BadInput("sweep of the bench", f"{tally.failed} of {tally.computed} points fail: {failed}", "see above")
    return elapsed_ns


def _looped(loops: int, workers: int) -> int:
    """Time until so many processes have each done all turns of a loop, in ns; they run when the clock starts."""
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=fork) as pool:
        list(pool.map(bare_loop, [1] * workers))
        begin = time.perf_counter_ns()
        list(pool.map(bare_loop, [loops] * workers))
        return time.perf_counter_ns() - begin


def bare_loop(turns: int) -> int:
    """A loop that touches no memory worth naming and waits for nobody."""
    total = 0
    for number in range(turns):
        total += number & 1
    return total


def text_of(found: SweepRates) -> list[str]:
    """The figures as lines of at most 80 columns."""
    rows = {"compiled points": found.points, "simulated points": found.simulated, "bare busy loops": found.loops}
    head = "".join(f"{each} worker{'s' * (each > 1)}".rjust(16) for each in WORKERS)
    lines = [f"{'a sweep into a file':<26}{head}{'gain':>8}"]
    for name, rate in rows.items():
        figures = "".join(f"{rate[each]:>13,.0f} /s" for each in WORKERS)
        lines.append(f"  {name:<24}{figures}{gain(rate):>8.2f}")
    bare = gain(found.loops)
    return [
        *lines,
        f"  compiled gain : loops'  {gain(found.points) / bare:>12.2f}",
        f"  simulated gain : loops' {gain(found.simulated) / bare:>12.2f}",
    ]
