"""What a simulation answers: milestones with spread and interval, the breakdown of the critical path, the trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.ledger import Bill, Entry

MILESTONES = ("call", "exec", "main", "reaped")
"""In the order of the contract; all from the instant at which the caller calls."""
SPREAD_LINE = "machine_spread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """One milestone in ns: undisturbed time, quantiles with the machine's spread, and 90 % bounds of the p50."""

    quiet_ns: float
    p10_ns: float
    p50_ns: float
    p90_ns: float
    lo_ns: float
    hi_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnError:
    """The modelled spawn fails: errno name and reason."""

    errno: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """Writes that did not go through at once: how many, and how long they took in ns beyond an undisturbed one."""

    count: float
    mean_ns: float
    p99_ns: float
    longest_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Pages of 4 KiB more than at the fork, parent and child together, at a time after the call."""

    at_ns: float
    pages: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Huge pages that a storm has split, made whole again by khugepaged once the child is gone.

    Attributes:
        collapses: how many.
        until_ns: after the call, when the last one is: it goes on once over the parent's memory.
        stall_ns: for how long each holds mmap_lock and the page table: its 512 pages are copied.
        freed_pages: old pages that were kept for a split folio's sake, and go then.
    """

    collapses: float
    until_ns: float
    stall_ns: float
    freed_pages: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What the parent's mutators meet while and after a spawn; expected counts, times from the call.

    Attributes:
        copied: whether the spawn copied the memory; if not, nothing happens to the mutators.
        lifetime_ns: how long the child was to live before its exec or exit.
        cow_copies, reuse_faults, splits: 4 KiB pages copied and taken back; pmd mappings split.
        pmd_copies, pmd_reuses: pmd mappings copied (before 5.8) and taken back whole.
        table_copies: page tables copied by a write of the parent (rule `page_table_copy`).
        ipis: interrupts that CPUs of the parent got by the fork's flush and by those of copies and splits.
        tlb_misses: page walks of all mutators that flushes brought, beyond those of faults.
        growth: memory by time until `shared_until_ns`; `peak_pages` at most; `kept_pages` beyond the child's end.
        stall, lock_wait_ns: stalled writes; the part of their time that was waiting for the fork's locks.
        shared_until_ns: when the last shared page of the working sets is gone.
        settled_ns: when all of them have been written again.
        lost_writes, lost_share: writes not done until `shared_until_ns`, and their share of all.
        recovery: of huge pages, where the load has khugepaged and some were split.
    """

    copied: bool
    lifetime_ns: float
    cow_copies: float = 0.0
    reuse_faults: float = 0.0
    splits: float = 0.0
    pmd_copies: float = 0.0
    pmd_reuses: float = 0.0
    table_copies: float = 0.0
    ipis: float = 0.0
    tlb_misses: float = 0.0
    growth: tuple[Growth, ...] = ()
    peak_pages: float = 0.0
    kept_pages: float = 0.0
    stall: Stall = Stall(count=0.0, mean_ns=0.0, p99_ns=0.0, longest_ns=0.0)
    lock_wait_ns: float = 0.0
    shared_until_ns: float = 0.0
    settled_ns: float = 0.0
    lost_writes: float = 0.0
    lost_share: float = 0.0
    recovery: Recovery | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockWait:
    """What calls of one kind wait for while a spawn holds their lock; expected counts.

    Attributes:
        call, lock: what is called, and the lock that it needs.
        held_ns: how long the spawn holds it; 0: it does not.
        waiting: threads that wait.
        mean_ns, longest_ns: of their waits.
        delays_ns: what the spawn itself waits, on average, for such a call that holds the lock when it comes.
    """

    call: str
    lock: str
    held_ns: float
    waiting: float
    mean_ns: float
    longest_ns: float
    delays_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Answer for one scenario.

    Attributes:
        mechanism: of the spawn; empty if the program spawns nothing.
        milestones: by name; those that do not apply are absent.
        loader: the loader's run, or None.
        breakdown_ns: by cost, of the last milestone's critical path, and `machine_spread`; sums to its p50.
        bill: of the last milestone's critical path.
        path: its entries.
        tasks: ledger of every task, for the timeline.
        charges, events: size of the simulation.
        error: why the spawn fails, or None.
        aftermath: what the load's mutators meet, or None without mutators.
        lock_waits: what each of the load's calls waits for.
    """

    mechanism: str
    milestones: Mapping[str, Milestone]
    loader: Milestone | None
    breakdown_ns: Mapping[str, float]
    bill: Bill
    path: tuple[Entry, ...]
    tasks: Mapping[str, tuple[Entry, ...]]
    charges: int
    events: int
    error: SpawnError | None = None
    aftermath: Aftermath | None = None
    lock_waits: tuple[LockWait, ...] = ()
