"""A task: its own clock, its ledger, and the system that it runs in.

Charges add up on the task's clock without an event; the simulation catches up (`meet`) only where another task could
notice. `yield from` therefore means: another task may act in between. A plain call never lets one.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any

import simpy

from model.costs import CostTable
from model.elf_image import ElfImage
from model.hardware.cpu import Cpu
from model.hardware.tick import Ticks, slice_ns
from model.kernel.cow import Cow
from model.kernel.locks import RwLock
from model.kernel.memory import Misses
from model.kernel.mm import Counts, MmCounts
from model.ledger import Entry, Kind, Row, shifted
from model.machine import Machine, Placement
from model.rules import Rules
from model.scenario import Load

Path = Generator[simpy.Event, Any, None]
"""A path in which other tasks may act."""


Spawning = Generator[simpy.Event, Any, "Task"]
"""A path that returns the child that it started."""
MmCopying = Generator[simpy.Event, Any, "Mm"]

_entry = partial(tuple.__new__, Entry)
"""An `Entry` of a row, without the detour of its constructor."""


def backwards(name: str, amount: float) -> ValueError:
    """The error of a negative count or time."""
    return ValueError(f"{name}: time does not run backwards ({amount})")


@dataclass(slots=True, eq=False)
class Mm:
    """An mm_struct.

    Attributes:
        mmap_lock: its lock.
        users: tasks that share it (mm_users).
        copied, missed: what a fork's copy holds, and what a walk over it no longer finds in the caches.
        image: what exec installed instead.
        owned_pages: anonymous pages, beyond the image's own, that are freed with it.
        owned_huge: pages of 2 MiB that are freed with it.
        later: page tables of a fork's copy that its child has still to copy (rule `page_table_copy`).
        cow: of a parent whose threads write: what its forks leave protected; of its child: the parent's.
    """

    mmap_lock: RwLock
    users: int = 1
    copied: MmCounts | None = None
    missed: Misses | None = None
    image: ElfImage | None = None
    owned_pages: float = 0.0
    later: Counts = field(default_factory=dict)
    owned_huge: float = 0.0
    cow: Cow | None = None


@dataclass(slots=True, eq=False)
class System:
    """Everything that the tasks of one simulation share.

    Attributes:
        milestones: by name, the task that reached it last and when.
        errors: errno name, reason and time of what failed in a child.
        returned: how likely the last child dropped its mm on another CPU, whose caches and free lists then hold the
            lines and tables that the next fork needs.
        events: how often a task let the simulation catch up.
        load: what else runs.
        cached: paths of files that lie in the page cache; None: all do.
        ticks: when slices end on CPUs that are busy.
    """

    env: simpy.Environment
    costs: CostTable
    machine: Machine
    rules: Rules
    placement: Placement
    cpus: list[Cpu[Task]]
    milestones: dict[str, tuple[Task, float]] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    errors: list[tuple[str, str, float]] = field(default_factory=list)
    returned: float = 0.0
    events: int = 0
    load: Load = field(default_factory=Load)
    cached: set[str] | None = None
    ticks: Ticks = field(default_factory=lambda: Ticks(0.5, slice_ns(1)))

    @property
    def charges(self) -> int:
        """How often work was charged or a latency noted, of count 0 too: what a run costs in computing."""
        return sum(task.charges for task in self.tasks)


@dataclass(slots=True)
class Theft:
    """Time in which another task held the CPU of a preempted task; `until_ns` is None while it lasts."""

    at_ns: float
    until_ns: float | None = None
    ended_by: Task | None = None


class At:
    """Charges of a task within carry some functions on their path; a class, for a run enters hundreds."""

    __slots__ = ("before", "task", "within")

    def __init__(self, task: Task, functions: tuple[str, ...]) -> None:
        self.task, self.before = task, task.path
        self.within = self.before + functions

    def __enter__(self) -> None:
        self.task.path = self.within

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.task.path = self.before


class Task:
    """A schedulable task.

    Attributes:
        system: where it lives.
        prices: of the system, at hand.
        charges: how often it was charged, or noted a latency.
        name: for traces.
        mm: its address space, possibly shared.
        created_by: the task that started it.
        clock_ns: its own time; runs ahead of the simulation's between meetings.
        rows: every stretch of its time since it was created, as plain tuples: `ledger` has them as entries.
        cpu: the CPU that it holds or held last; runs_from_ns: since when, for its slice.
        cold: whether its caller came from other work.
        open_fds, fd_slots, cloexec_fds: its descriptors, slots of its table, descriptors that exec closes.
        other_threads: threads of its process beside it.
        remote: whether it runs on another CPU than the one that copied its mm.
        shares_files: whether another task uses the same table (CLONE_FILES).
        exited, exec_done, vfork_done: end; target's close-on-exec (or end); release of a vfork parent.
    """

    def __init__(
        self, system: System, name: str, mm: Mm, *, created_by: Task | None = None, cold: bool = False
    ) -> None:
        self.system = system
        self.prices = system.costs.prices
        self.charges = 0
        self.name = name
        self.mm = mm
        self.created_by = created_by
        self.cold = cold
        self.clock_ns: float = created_by.clock_ns if created_by else 0.0
        self.rows: list[Row] = []
        self._entries: list[Entry] = []
        self.cpu: Cpu[Task] = created_by.cpu if created_by else system.cpus[0]
        self.path: tuple[str, ...] = ()
        self.thefts: list[Theft] = []
        self.dispatched: simpy.Event | None = None
        self.runs_from_ns = self.clock_ns
        self.exited = system.env.event()
        self.vfork_done: simpy.Event | None = None
        self.exec_done = system.env.event()
        self.open_fds: int = created_by.open_fds if created_by else 0
        self.fd_slots: int = created_by.fd_slots if created_by else 64
        self.cloexec_fds: int = created_by.cloexec_fds if created_by else 0
        self.shares_files = False
        self.other_threads = 0
        self.remote = False
        system.tasks.append(self)

    @property
    def ledger(self) -> list[Entry]:
        """The rows as entries, made when first asked for: a charge that leaves a plain tuple takes half the time."""
        if len(self._entries) != len(self.rows):
            self._entries = list(map(_entry, self.rows))
        return self._entries

    def at(self, *functions: str) -> At:
        """Charges within carry these functions on their path."""
        return At(self, functions)

    def charge(self, cost: str, count: float = 1.0) -> None:
        """Work off `count` units of a cost on the CPU that the task holds; none of it if `count` is 0."""
        self.charges += 1
        if count == 0:
            return
        if count < 0:
            raise backwards(cost, count)
        start = self.clock_ns
        self.clock_ns = end = start + self.prices[cost] * count
        self.rows.append((start, end, "charge", cost, count, self.path, None, self.name))

    def charge_all(self, counts: Mapping[str, float]) -> None:
        """Charge every cost of a mapping: `charge` without a call each, for an mm is charged this way."""
        self.charges += len(counts)
        end, prices, path, name, append = self.clock_ns, self.prices, self.path, self.name, self.rows.append
        for cost, count in counts.items():
            if count == 0:
                continue
            if count < 0:
                raise backwards(cost, count)
            start, end = end, end + prices[cost] * count
            append((start, end, "charge", cost, count, path, None, name))
        self.clock_ns = end

    def latency(self, cost: str, count: float = 1.0) -> None:
        """Let a latency pass that no task works off."""
        self.charges += 1
        self._record("latency", cost, count, self.prices[cost] * count)

    def sleep(self, time_ns: float, what: str = "sleep") -> None:
        """Let workload time pass."""
        self._record("sleep", what, 0.0, time_ns)

    def _record(self, kind: Kind, name: str, count: float, elapsed_ns: float) -> None:
        if count < 0 or elapsed_ns < 0:
            raise backwards(name, min(count, elapsed_ns))
        if elapsed_ns == 0.0 and count == 0.0:
            return
        start = self.clock_ns
        self.clock_ns = start + elapsed_ns
        self.rows.append((start, self.clock_ns, kind, name, count, self.path, None, self.name))

    def record_wait(self, until_ns: float, what: str, ended_by: Task | None) -> None:
        """Note that the task waited until `until_ns` and who ended it."""
        if until_ns > self.clock_ns:
            self.rows.append((self.clock_ns, until_ns, "wait", what, 0.0, self.path, ended_by, self.name))
            self.clock_ns = until_ns

    def meet(self) -> Path:
        """Let the simulation catch up with this task's clock, and add the time that others stole meanwhile."""
        system, env = self.system, self.system.env
        while True:
            if self.cpu.busy:
                self._share_cpu()
            system.events += 1
            yield env.timeout(max(0.0, self.clock_ns - env.now))
            if not self.thefts:
                return
            while self.thefts:
                theft = self.thefts[0]
                if theft.until_ns is None:
                    assert self.dispatched is not None
                    yield self.dispatched
                self.thefts.pop(0)
                self._insert(theft)

    def _share_cpu(self) -> None:
        """Put the slices of the CPU-bound task on the same CPU where they happened into the ledger."""
        if self.cpu.current is not self:
            return
        ticks = self.system.ticks
        while self.clock_ns > (at_ns := ticks.leaves_ns(self.runs_from_ns)):
            self._insert(Theft(at_ns=at_ns, until_ns=at_ns + ticks.tick_ns))
            self.runs_from_ns = at_ns + ticks.tick_ns

    def reach(self, milestone: str) -> Path:
        """Note that the task reaches a milestone now."""
        yield from self.meet()
        self.system.milestones[milestone] = (self, self.clock_ns)

    def _insert(self, theft: Theft) -> None:
        """Put a theft where it happened into the ledger; what came after it comes later."""
        assert theft.until_ns is not None
        back: list[Entry] = []
        while self.rows and (last := _entry(self.rows[-1])).end_ns > theft.at_ns:
            back.append(last)
            self.rows.pop()
        after = back[::-1]
        if after and after[0].start_ns < theft.at_ns:
            whole = after.pop(0)
            share = (theft.at_ns - whole.start_ns) / whole.elapsed_ns
            self.rows.append(_part(whole, whole.start_ns, theft.at_ns, share))
            after.insert(0, _part(whole, theft.at_ns, whole.end_ns, 1.0 - share))
        end_before = self.clock_ns
        self.clock_ns = theft.at_ns
        path, self.path = self.path, (*self.path, "preempted")
        self.record_wait(theft.until_ns, "cpu", theft.ended_by)
        self.charge("context_switch")
        self.path = path
        late = self.clock_ns - theft.at_ns
        self.rows.extend(shifted(after, late))
        self.clock_ns = end_before + late


def _part(entry: Entry, start_ns: float, end_ns: float, share: float) -> Entry:
    return Entry(start_ns, end_ns, entry.kind, entry.name, entry.count * share, entry.path, entry.ended_by, entry.task)
