"""What live runs gave: samples of each process beside what the model sees of that process."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from calibration.live.cases import LiveCase
from model.process import Process

Milestone = Literal["call", "reaped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveProcess:
    """One parent process of a case.

    Attributes:
        snapshot: the process as captured after its warm-ups, just before it measured; None if nothing captured it.
        version: of the runtime or compiler.
        envp_bytes: strings of the environment that its children inherit.
        thp_bytes, rss_bytes: AnonHugePages and Rss at that moment.
        vmas: lines of its maps at that moment.
        call_ns, reaped_ns: a sample a repetition, warm-ups dropped.
        minflt_caller, minflt_process, minflt_children: minor faults a repetition, counted in repetitions of their own
            (of the C parent in the same ones), from before the call until after the wait: of the calling thread, of all
            threads, and of the child (a helper of it included) over its whole life.
    """

    snapshot: Process | None
    version: str
    envp_bytes: int
    thp_bytes: int
    rss_bytes: int
    vmas: int
    call_ns: tuple[int, ...] = ()
    reaped_ns: tuple[int, ...] = ()
    minflt_caller: tuple[int, ...] = ()
    minflt_process: tuple[int, ...] = ()
    minflt_children: tuple[int, ...] = ()

    def samples_ns(self, milestone: Milestone) -> tuple[int, ...]:
        """The samples of a milestone."""
        return self.call_ns if milestone == "call" else self.reaped_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveResult:
    """A case and its processes, in the order in which they ran.

    `error` says why there are none, or fewer than asked for.
    """

    case: LiveCase
    processes: tuple[LiveProcess, ...] = ()
    error: str | None = None

    @property
    def snapshots(self) -> tuple[Process, ...]:
        """What was captured, a process each."""
        return tuple(each.snapshot for each in self.processes if each.snapshot is not None)

    def samples_ns(self, milestone: Milestone) -> tuple[int, ...]:
        """The samples of all processes."""
        return _pooled(self.processes, milestone)

    def quantile_ns(self, milestone: Milestone, part: float) -> float:
        """A quantile of all samples.

        Raises:
            ValueError: there are none.
        """
        return quantile(self.samples_ns(milestone), part)

    def minflt(self, whose: Literal["caller", "process", "children"]) -> float:
        """Median minor faults of a repetition; nan if none were counted."""
        counts = [count for each in self.processes for count in getattr(each, f"minflt_{whose}")]
        return statistics.median(counts) if counts else math.nan


def quantile(samples: Sequence[float], part: float) -> float:
    """The quantile at `part` (0 to 1), linear between order statistics.

    Raises:
        ValueError: no samples, or a part outside 0 to 1.
    """
    if not samples or not 0 <= part <= 1:
        raise ValueError(f"no quantile {part} of {len(samples)} samples")
    ordered = sorted(samples)
    position = part * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def noise_floor(result: LiveResult, milestone: Milestone = "call", part: float = 0.5) -> float | None:
    """How far two runs of one case lie apart: |ln| of the ratio of a quantile in odd and in even processes.

    None with fewer than two processes: one process against itself shows only the noise within it.
    """
    halves = [_pooled(result.processes[first::2], milestone) for first in (0, 1)]
    if not all(halves):
        return None
    return abs(math.log(quantile(halves[0], part) / quantile(halves[1], part)))


def _pooled(processes: Sequence[LiveProcess], milestone: Milestone) -> tuple[int, ...]:
    return tuple(sample for each in processes for sample in each.samples_ns(milestone))
