"""Spawns on a machine whose CPUs other programs keep busy, predicted beside measured here and now."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

from calibration.beside import busy
from calibration.comparison import Comparison, mixture_of
from calibration.live.cases import MIB_BYTES, LiveCase, c_matrix
from calibration.live.runs import run_matrix
from calibration.machine_file import MachineFile
from calibration.quantiles import quantile
from calibration.validate import compare
from model.scenario import Load

TOLERANCES = {0.5: 0.25, 0.9: 0.50}
"""Relative error of each quantile that is still right; beyond, FLOORS times its own floor is allowed."""
FLOORS = 1.5
JVM_HEAP_BYTES = 64 * MIB_BYTES
"""A vfork does not depend on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyComparison:
    """One quantile of one milestone beside `busy_cpus` CPU-bound programs."""

    busy_cpus: int
    comparison: Comparison
    level: float

    @property
    def measured_ns(self) -> float:
        """Of all repetitions of all processes."""
        return self.comparison.measured_ns(self.level)

    @property
    def predicted_ns(self) -> float:
        """Of the mixture of the processes' predictions."""
        found = mixture_of(self.comparison.predictions)
        return found.p50_ns if self.level == 0.5 else found.p90_ns

    @property
    def error(self) -> float:
        """ln(predicted / measured)."""
        return math.log(self.predicted_ns / self.measured_ns)

    @property
    def floor(self) -> float:
        """|ln| of odd against even repetitions of all processes, or of odd against even processes, whichever is more:
        what the same thing measured twice differs by. Repetitions of one process share its memory and its minute.
        """
        samples = self.comparison.samples_ns
        repetitions = [[ns for each in samples for ns in each[first::2]] for first in (0, 1)]
        processes = [[ns for each in samples[first::2] for ns in each] for first in (0, 1)]
        return max(self._apart(halves) for halves in (repetitions, processes) if all(halves))

    def _apart(self, halves: list[list[float]]) -> float:
        one, other = (quantile(sorted(half), self.level) for half in halves)
        return abs(math.log(one / other))

    @property
    def right(self) -> bool:
        """Whether it is within its tolerance, or within FLOORS times the floor."""
        return abs(self.error) <= max(math.log1p(TOLERANCES[self.level]), FLOORS * self.floor)


def validate_busy(
    file: MachineFile,
    *,
    processes: int = 3,
    reps: int = 40,
    cpus: int = 0,
    heap_bytes: int = 64 * MIB_BYTES,
    progress: Callable[[str], None] | None = None,
) -> list[BusyComparison]:
    """A C parent that forks and vforks /bin/true from a sleep, beside none to all CPUs (`cpus`; 0: this host's) busy.

    A caller that comes from a sleep meets all phases of the tick alike; one in a loop would follow it. Beside it, where
    there is a JDK, a JVM whose VFORK in a loop shows two modes: woken at the child's exec, the caller runs on on the
    other CPU, or, where that is busy, only when the child leaves its own.
    """
    jvm = LiveCase(kind="jvm", mechanism="jdk-vfork", heap_bytes=JVM_HEAP_BYTES, caller="hot")
    cases = [*c_matrix((heap_bytes,), thp=(False,), callers=("cold",), mechanisms=("fork", "vfork")), jvm]
    found: list[BusyComparison] = []
    for busy_cpus in range((cpus or os.cpu_count() or 1) + 1):
        with busy(busy_cpus):
            results = run_matrix(cases, processes=processes, reps=reps, progress=progress)
        load = Load(busy_cpus=min(busy_cpus, file.machine.cpus))
        for result in results:
            found += [
                BusyComparison(busy_cpus=busy_cpus, comparison=each, level=level)
                for each in (compare(file, result, load) if result.processes else [])
                for level in TOLERANCES
            ]
    return found
