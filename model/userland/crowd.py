"""How many threads of one mm run at a moment, and how long they wait where they are more than the CPUs."""

from __future__ import annotations

from math import sqrt

from model.kernel.task import Task
from model.userland.refill import IPI_INTERRUPTED


def running_others(task: Task, worked_ns: float, thinking_ns: float, flushes: float) -> float:
    """Other CPUs that run this mm at a moment, on average: threads run while they fault, and sleep between.

    They run too while their flushes, which the others' running makes necessary, are acknowledged, and while they are
    interrupted by those of others. Without that, more would be written at lower rates where a flush is dear.
    """
    system, costs = task.system, task.system.costs
    round_ns, interrupted_ns = flushes * costs.price("flush_round"), flushes * costs.ns.get(IPI_INTERRUPTED, 0.0)
    others = system.load.threads - 1
    running = _running(others, worked_ns, round_ns + interrupted_ns, thinking_ns)
    if running > 1.0:  # rounds to several CPUs overlap
        running = max(1.0, _running(others, worked_ns + round_ns, interrupted_ns, thinking_ns))
    return min(len(system.cpus) - 1.0, running)


def _running(others: int, worked_ns: float, each_ns: float, thinking_ns: float) -> float:
    """The r that solves r = others × w / (w + thinking_ns), where w = worked_ns + r × each_ns; it is the only one."""
    half = (worked_ns + thinking_ns - others * each_ns) / 2
    root = sqrt(half**2 + each_ns * others * worked_ns)
    if half > 0.0:
        return others * worked_ns / (half + root)
    return (root - half) / each_ns if each_ns else 0.0


def crowded(task: Task, work_ns: float, thinking_ns: float) -> float:
    """Wait for a CPU in a batch: all threads together cannot work more than there are CPUs.

    The asymptotic bound of a closed system (Denning and Buzen, 1978): a cycle is no shorter than all threads' work
    divided by the CPUs. A CPU that another program keeps busy gives half of itself.
    """
    system = task.system
    cpus = max(0.5, len(system.cpus) - system.load.busy_cpus / 2)
    return max(0.0, system.load.threads * work_ns / cpus - work_ns - thinking_ns)
