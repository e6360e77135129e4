"""A CPU: who holds it, who waits for it, and since when it has been idle."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Runnable = TypeVar("Runnable")
"""What a CPU runs: the kernel layer's tasks, which this layer does not know."""

LONG_IDLE_NS, SHORT_IDLE_NS = 20e6, 50e3
"""How long the other CPUs have idled when a scenario starts: beside a cold caller, and beside one whose last child
ended less than 0.1 ms ago."""


@dataclass(slots=True, eq=False)
class Cpu(Generic[Runnable]):
    """One logical CPU.

    Attributes:
        index: its number.
        current: the task that holds it.
        queue: runnable tasks that wait for it, next first.
        idle_since_ns: when the last task left it.
        left_by: the task that left it last.
        busy: whether a CPU-bound task of another process is always runnable there.
    """

    index: int
    current: Runnable | None = None
    queue: deque[Runnable] = field(default_factory=deque)
    idle_since_ns: float = -LONG_IDLE_NS
    left_by: Runnable | None = None
    busy: bool = False

    @property
    def idle(self) -> bool:
        """Whether nobody holds it."""
        return self.current is None and not self.busy


def wake_latency(idle_ns: float) -> str:
    """Name of the latency with which a CPU answers a wake-up after `idle_ns` of idling: deeper states wake later."""
    if idle_ns < 20e3:
        return "wake_idle_hot"
    if idle_ns < 500e3:
        return "wake_idle_200us"
    if idle_ns < 5e6:
        return "wake_idle_2ms"
    return "wake_idle_20ms"
