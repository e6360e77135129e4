"""Slices and the tick: how a CPU-bound task and a spawn's task share one CPU.

Assumed, not measured: EEVDF of 6.15 and later, whose base slice is 0.70 ms x (1 + ilog2(CPUs, at most 8))
(`sysctl_sched_base_slice`, kernel commit 2ae891b82695), and CONFIG_HZ=250, that of the bundled machine file's kernel.
High-resolution ticks are off by default, so a slice that is used up ends only at the next tick; it is shorter than one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from model.units import NS_PER_MS

TICK_NS = 4 * NS_PER_MS
BASE_SLICE_NS = 0.7 * NS_PER_MS
PHASES = 8
"""Phases of the tick at which a spawn can begin, all as likely: each is a mode of the mixture."""


def slice_ns(cpus: int) -> float:
    """The slice of a machine with so many CPUs."""
    return BASE_SLICE_NS * min(8, max(1, cpus)).bit_length()


@dataclass(frozen=True, slots=True)
class Ticks:
    """Ticks of all CPUs, which come together: one `phase` (a share of TICK_NS) before the simulation begins."""

    phase: float
    slice_ns: float

    def since_ns(self, at_ns: float) -> float:
        """Time since the last tick."""
        return (at_ns + self.phase * TICK_NS) % TICK_NS

    def next_ns(self, at_ns: float) -> float:
        """Time of the first tick at or after a moment."""
        offset = self.phase * TICK_NS
        return ceil((at_ns + offset) / TICK_NS - 1e-12) * TICK_NS - offset

    def joins_after_ns(self, at_ns: float, *, new: bool) -> float:
        """How long a task that becomes runnable beside a CPU-bound one waits.

        `kernel/sched/fair.c:place_entity@v6.18`: its deadline is a slice away, half a slice for a new task. The other's
        was renewed at the last tick; if that slice is used up it is renewed now, behind the newcomer's. The earlier
        deadline runs; a loser waits for the tick.
        """
        since = self.since_ns(at_ns)
        own = self.slice_ns / 2 if new else self.slice_ns
        if since >= self.slice_ns or own < self.slice_ns - since:
            return 0.0
        return TICK_NS - since

    def leaves_ns(self, from_ns: float) -> float:
        """When a task that got the CPU at a moment gives it to the other: the first tick after its slice."""
        return self.next_ns(from_ns + self.slice_ns)
