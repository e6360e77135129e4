"""Slices and the tick: how a CPU-bound task and a spawn's task share one CPU.

The tick and the base slice are facts of the machine file: CONFIG_HZ, and debugfs where it may be read. Without them
assumed: CONFIG_HZ=250, and EEVDF's slice of 6.15 and later, 0.70 ms x (1 + ilog2(CPUs, at most 8))
(`sysctl_sched_base_slice`, kernel commit 2ae891b82695). High-resolution ticks are off by default, so a slice that is
used up ends only at the next tick; it is shorter than one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from model.machine import Machine
from model.units import NS_PER_MS

TICK_NS = 4 * NS_PER_MS
BASE_SLICE_NS = 0.7 * NS_PER_MS
PHASES = 16
"""Phases of the tick at which a spawn can begin, all as likely: each is a mode of the mixture."""


def slice_ns(cpus: int) -> float:
    """The slice of a machine with so many CPUs."""
    return BASE_SLICE_NS * min(8, max(1, cpus)).bit_length()


@dataclass(frozen=True, slots=True)
class Ticks:
    """Ticks of all CPUs, which come together: one `phase` (a share of tick_ns) before the simulation begins."""

    phase: float
    slice_ns: float
    tick_ns: float = TICK_NS

    @classmethod
    def of(cls, machine: Machine, phase: float) -> Ticks:
        """Those of a machine; what its file does not say is assumed."""
        base_ns = machine.facts.get("base_slice_ns", slice_ns(machine.cpus))
        return cls(phase, base_ns, machine.facts.get("tick_ns", TICK_NS))

    def since_ns(self, at_ns: float) -> float:
        """Time since the last tick."""
        return (at_ns + self.phase * self.tick_ns) % self.tick_ns

    def next_ns(self, at_ns: float) -> float:
        """Time of the first tick at or after a moment."""
        offset = self.phase * self.tick_ns
        return ceil((at_ns + offset) / self.tick_ns - 1e-12) * self.tick_ns - offset

    def queued_after_ns(self, at_ns: float) -> float:
        """How long a new task waits that was queued on this CPU behind its parent, which leaves it now.

        `kernel/sched/fair.c:place_entity@v6.18`: its deadline is half a slice away. The CPU-bound task's was renewed at
        the last tick; if that slice is used up it is renewed now. The earlier deadline runs; a loser waits for a tick.
        """
        since = self.since_ns(at_ns)
        if since >= self.slice_ns or self.slice_ns / 2 < self.slice_ns - since:
            return 0.0
        return self.tick_ns - since

    def leaves_ns(self, from_ns: float) -> float:
        """When a task that got the CPU at a moment gives it to the other: the first tick after its slice."""
        return self.next_ns(from_ns + self.slice_ns)
