"""A scenario is a value: a parent, the program that its calling thread runs, the rules and the load.

Every bench and every launcher is said in the same words, so a microbenchmark's bill is a row of the design matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from model.elf_image import NO_IMAGE, ElfImage
from model.locality import Locality
from model.process import Process
from model.rules import Rules
from model.units import NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """Start a child. `mechanism` is one of `model.simulation.MECHANISMS`; `target` NO_IMAGE: the child exits at once.

    `exec` as mechanism: no child; the caller itself executes the target, its other threads end, and the program too.

    Attributes:
        helper: the JDK's jspawnhelper, or the shell of system(3), where the mechanism runs one first.
        flags: CLONE_ flags of clone3.
        argv_bytes, envp_bytes: strings handed to execve.
        path_misses: failed execve calls of a PATH search before the right directory.
        warm: whether the launcher's own path has run before.
        migrates: whether the child moves to another CPU before anything else, as a bench can make it.
        runs_main: whether the target goes on from `_start` into libc and a main that returns at once.
        target_work: (cost, count) of what the target does between its `_start` and its exit.
    """

    mechanism: str
    target: ElfImage = NO_IMAGE
    helper: ElfImage | None = None
    flags: frozenset[str] = frozenset()
    argv_bytes: int = 64
    envp_bytes: int = 1024
    path_misses: int = 0
    warm: bool = True
    migrates: bool = False
    runs_main: bool = True
    target_work: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """waitpid for the child of the last spawn; sets the milestone `reaped`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Work of one named cost: what a value bench does, `count` times."""

    cost: str
    count: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """First writes to anonymous memory: `pages` of 4 KiB in `tables` new pte tables, `huge` of 2 MiB.

    `folio_pages`: of the folios that the kernel gives for the pages. `read`: they are read, which maps the zero page;
    `after_read`: they had been.
    """

    pages: int = 0
    tables: int = 0
    huge: int = 0
    folio_pages: int = 1
    read: bool = False
    after_read: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """First writes after a fork to `pages` of 4 KiB and `huge` pmd mappings; `shared`: the child still has them.

    `of`: pages of the memory over which they are strewn, if there are more; it decides what lies beyond the caches.
    `alone`: nothing was forked and nothing faults; each is a write after a sleep, in no order, through pte or pmd.
    """

    pages: int = 0
    of: int = 0
    huge: int = 0
    shared: bool = True
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mprotect:
    """`pairs` of mprotect calls, of which one splits a vma and the other merges it again.

    `pages`: pairs on a vma of one page, which split nothing; `beside`: other CPUs that run the mm meanwhile.
    """

    pairs: int = 1
    pages: int = 0
    beside: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """User code that clears and copies pages of 4 KiB of memory larger than the caches.

    `beside`: CPUs that do the same meanwhile.
    """

    cleared: int = 0
    copied: int = 0
    beside: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Munmap:
    """munmap of touched anonymous memory that is this mm's alone; `pages` lie in folios of `folio_pages`."""

    pages: int = 0
    folio_pages: int = 1
    tables: int = 0
    huge: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PingPong:
    """One wake-up of a sleeping task through a pipe: on the same CPU, or on another that was idle for `idle_ns`."""

    same_cpu: bool = True
    idle_ns: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """The calling thread sleeps: its CPU is free meanwhile, and waking costs what it costs."""

    time_ns: float


Step = Spawn | Wait | Charge | Touch | Rewrite | Mprotect | Stream | Munmap | PingPong | Sleep


BATCH_SHARE = 1 / 32
"""Writes that mutators do between two looks at the simulation, as a share of those since the fork."""
BATCH_ERROR = 0.02
"""Within so much of a run write by write lies every figure of an aftermath (held by its tests on small heaps)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutators:
    """Threads of the parent that write to its private anonymous memory.

    Between two writes a thread sleeps or thinks; what a fault delays is not made up for.

    Attributes:
        threads: how many.
        writes_per_second: of all of them together, undisturbed, each to a page that `locality` chooses; the first to a
            page since a fork faults.
        locality: `uniform`, `zipf` or `sequential` (`model.locality.Reach`).
        working_set_pages: pages of 4 KiB that they write to, in the largest mappings.
        reads_per_write: references to other pages of it beside each write; they fault nowhere, but need the TLB.
        burst: writes that a thread does between two sleeps of about a millisecond, after which its first faults are
            dearer; 0: it does not sleep.
    """

    threads: int = 1
    writes_per_second: float = 1.0
    locality: Locality = "uniform"
    working_set_pages: int = 1
    reads_per_write: float = 0.0
    burst: int = 0

    def __post_init__(self) -> None:
        if self.burst < 0:
            raise ValueError("burst is not negative")
        if not 0.0 <= self.reads_per_write < float("inf"):
            raise ValueError("reads_per_write is finite and not negative")
        if self.threads < 1 or self.working_set_pages < 1:
            raise ValueError("mutators have at least one thread and one page")
        if not 0.0 < self.writes_per_second < float("inf"):
            raise ValueError("writes_per_second is positive and finite")

    @property
    def interval_ns(self) -> float:
        """Time from one write of a thread to its next, undisturbed."""
        return self.threads * NS_PER_S / self.writes_per_second

    @property
    def arrival_ns(self) -> float:
        """Time from one burst of a thread, or one write without bursts, to its next."""
        return self.interval_ns * max(1, self.burst)


Call = Literal["mmap", "munmap", "brk", "proc_maps", "malloc"]
"""What needs a lock that a fork holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Threads that call something which needs a lock that a fork of the parent holds.

    Attributes:
        call: `mmap`, `munmap` (of a few touched pages), `brk`, `proc_maps` (a read of /proc/PID/maps, by any process),
            `malloc` (or free, where the thread's own cache does not do).
        threads: how many.
        calls_per_second: of all of them together, undisturbed.
    """

    call: Call
    threads: int = 1
    calls_per_second: float = 1.0

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError("calls are made by at least one thread")
        if not 0.0 < self.calls_per_second < float("inf"):
            raise ValueError("calls_per_second is positive and finite")

    @property
    def interval_ns(self) -> float:
        """Time from one call of a thread to its next, undisturbed."""
        return self.threads * NS_PER_S / self.calls_per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class Khugepaged:
    """The kernel thread that makes huge pages whole again; its settings under /sys, with the kernel's defaults.

    Attributes:
        pages_to_scan: pages that it looks at before it sleeps; a range of 2 MiB counts as 512, huge already or not
            (khugepaged_scan_mm_slot of mm/khugepaged.c).
        sleep_ns: how long it sleeps then (scan_sleep_millisecs).
    """

    pages_to_scan: int = 4096
    sleep_ns: float = 10.0 * NS_PER_S

    def __post_init__(self) -> None:
        if self.pages_to_scan < 1 or not 0.0 <= self.sleep_ns < float("inf"):
            raise ValueError("khugepaged scans at least one page, and its sleep is not negative")

    def pass_ns(self, pages: float) -> float:
        """One pass over so many pages, if no other process has any; what the scan itself takes is left out."""
        return pages / self.pages_to_scan * self.sleep_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What else runs beside the spawn, and how long the child lives.

    Attributes:
        busy_cpus: CPUs on which a CPU-bound task of another process runs.
        child_lifetime_ns: how long a child with a copy of the memory lives before its exec or exit; 0: not at all.
        mutators: the parent's own threads that write.
        calls: threads that need locks which a fork holds.
        khugepaged: what makes split huge pages whole again; None: nothing does.
        batch_share: see `BATCH_SHARE`; 0: one write at a time.
        unbacked: share of the page frames newly taken, for page tables and copies, that the hypervisor has yet to back.
    """

    busy_cpus: int = 0
    child_lifetime_ns: float = 0.0
    mutators: tuple[Mutators, ...] = ()
    calls: tuple[Calls, ...] = ()
    khugepaged: Khugepaged | None = None
    batch_share: float = BATCH_SHARE
    unbacked: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.unbacked <= 1.0:
            raise ValueError("unbacked is a share, from 0 to 1")
        if self.busy_cpus < 0 or not 0.0 <= self.child_lifetime_ns < float("inf"):
            raise ValueError("busy_cpus and child_lifetime_ns are not negative")

    @property
    def threads(self) -> int:
        """All mutator threads."""
        return sum(each.threads for each in self.mutators)

    @property
    def callers(self) -> int:
        """Threads of the parent that call; readers of /proc are others."""
        return sum(each.threads for each in self.calls if each.call != "proc_maps")

    def leaves_none(self, cpus: int) -> bool:
        """Whether so many CPUs have none idle but that of the caller, or not even that."""
        return 0 < self.busy_cpus >= cpus - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One question to the model.

    Attributes:
        parent: the process that calls.
        program: steps of its calling thread.
        rules: the kernel's, libc's and runtime's rules in force.
        load: what else runs.
        cold_files: whether files that are executed or mapped have to be read in from the storage first.
        cached: paths of which that is not so, because others use them.
        seed: names one of several equal questions; nothing is drawn, p10 to p90 are exact.
    """

    parent: Process
    program: tuple[Step, ...]
    rules: Rules = field(default_factory=Rules)
    load: Load = field(default_factory=Load)
    cold_files: bool = False
    cached: frozenset[str] = frozenset()
    seed: int = 0

    @property
    def spawn(self) -> Spawn | None:
        """The last spawn of the program."""
        return next((step for step in reversed(self.program) if isinstance(step, Spawn)), None)


def spawn_and_wait(parent: Process, spawn: Spawn, **more: object) -> Scenario:
    """The commonest scenario: spawn once and wait for the child."""
    return Scenario(parent=parent, program=(spawn, Wait()), **more)  # type: ignore[arg-type]
