"""What live runs gave: samples of each process beside what the model sees of that process."""

from __future__ import annotations

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

    `error` says why there are none, or fewer than asked for; `loud`: how many more were left out, beside which a
    neighbour of the host was busy.
    """

    case: LiveCase
    processes: tuple[LiveProcess, ...] = ()
    error: str | None = None
    loud: int = 0

    @property
    def snapshots(self) -> tuple[Process, ...]:
        """What was captured, a process each."""
        return tuple(each.snapshot for each in self.processes if each.snapshot is not None)
