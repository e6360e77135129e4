"""Who waits for the locks that a fork holds: mmap_lock through `dup_mmap`, malloc's through glibc's fork().

Closed forms over the caller's ledger. A thread that calls every `interval` comes upon the lock at a moment that is even
over its interval; it then waits until the fork lets go, and those in line before it.

- mmap, munmap and brk take mmap_lock for writing. They spin while its owner runs (`kernel/locking/rwsem.c:
  rwsem_spin_on_owner@v6.18`), so no wake-up follows, and go through one after the other.
- A reader of /proc/PID/maps takes it for reading; since 6.17 it locks vma after vma instead, but at a vma that fork has
  locked, and fork locks the first one first, it takes mmap_lock as before
  (`mm/mmap_lock.c:lock_next_vma_under_mmap_lock@v6.18`). It sleeps, and all readers go on at once.
- A fork that finds the lock taken waits for the call to end. A thread that calls back to back wins it again and again
  (`kernel/locking/rwsem.c:rwsem_down_write_slowpath@v6.18` hands it over only after RWSEM_WAIT_TIMEOUT, 4 ms; measured
  so), which is left out.
- glibc's fork() in a process with threads takes the lock of every arena around the system call (`posix/fork.c:
  __libc_fork@2.36`); vfork, posix_spawn and a bare clone3 do not. Who needs an arena sleeps in a futex.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model.costs import CostTable
from model.hardware.cpu import wake_latency
from model.kernel.mm import Counts
from model.ledger import Entry
from model.prediction import LockWait
from model.scenario import Calls, Scenario

MMAP_LOCK, MALLOC = "mmap_lock", "malloc"
WRITERS = ("mmap", "munmap", "brk")
BARE = "clone3"
"""The mechanism that copies memory without glibc's fork()."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that the spawn holds, from when until when."""

    begin_ns: float
    end_ns: float

    @property
    def elapsed_ns(self) -> float:
        """How long."""
        return self.end_ns - self.begin_ns


def held_by_fork(ledger: Iterable[Entry], mechanism: str) -> dict[str, Held]:
    """By lock, how long a spawn's caller holds it; none of a spawn that copies no memory."""
    held: dict[str, Held] = {}
    for each in ledger:
        if each.kind == "wait" or "kernel_clone" not in each.path:
            continue
        for lock in (MMAP_LOCK,) * ("dup_mmap" in each.path) + (MALLOC,) * (mechanism != BARE):
            before = held.get(lock, Held(each.start_ns, each.end_ns))
            held[lock] = Held(before.begin_ns, each.end_ns)
    return held if MMAP_LOCK in held else {}


def lock_waits(scenario: Scenario, mechanism: str, ledger: Iterable[Entry], costs: CostTable) -> tuple[LockWait, ...]:
    """What each group of the load's calls waits for beside a spawn, by its caller's ledger.

    Readers of /proc/PID/maps read those of the caller.
    """
    calls, held = scenario.load.calls, held_by_fork(ledger, mechanism)
    busy_ns = [_priced_ns(each, costs, len(scenario.parent.space.vmas)) for each in calls]
    waiting = [_waiting(each, held) for each in calls]
    groups = list(zip(calls, waiting, busy_ns, strict=True))
    queue_ns = sum(many * time_ns for each, many, time_ns in groups if each.call in WRITERS)
    return tuple(_wait(each, held, costs, many, time_ns, queue_ns) for each, many, time_ns in groups)


def _lock_of(each: Calls) -> str:
    return MALLOC if each.call == "malloc" else MMAP_LOCK


def _priced_ns(each: Calls, costs: CostTable, vmas: int) -> float:
    """How long a call holds the lock, if nobody is in its way."""
    counts: dict[str, Counts] = {
        "mmap": {"mmap_pair": 0.5},
        "munmap": {"munmap_touched": 1.0},
        "brk": {"brk_call": 1.0},
        "proc_maps": {"proc_maps_vma": vmas},
        "malloc": {},
    }
    return sum(count * costs.price(name) for name, count in counts[each.call].items())


def _waiting(each: Calls, held: dict[str, Held]) -> float:
    """Threads that come upon the lock while it is held: all of them if it is held for longer than their interval."""
    if _lock_of(each) not in held:
        return 0.0
    return each.threads * min(1.0, held[_lock_of(each)].elapsed_ns / each.interval_ns)


def _wait(
    each: Calls, held: dict[str, Held], costs: CostTable, waiting: float, busy_ns: float, queue_ns: float
) -> LockWait:
    lock = _lock_of(each)
    held_ns = held[lock].elapsed_ns if lock in held else 0.0
    shortest_ns = max(0.0, held_ns - each.interval_ns)
    mean_ns = (shortest_ns + held_ns) / 2.0 if waiting else 0.0
    more_ns = queue_ns if each.call in WRITERS else costs.price(wake_latency(mean_ns)) if waiting else 0.0
    # A writer stands in the middle of the queue on average, the last one behind all the others.
    behind_ns = max(0.0, more_ns - busy_ns) if each.call in WRITERS else more_ns
    return LockWait(
        call=each.call,
        lock=lock,
        held_ns=held_ns,
        waiting=waiting,
        mean_ns=mean_ns + (behind_ns / 2.0 if each.call in WRITERS else behind_ns) if waiting else 0.0,
        longest_ns=held_ns + behind_ns if waiting else 0.0,
        delays_ns=each.threads * busy_ns**2 / (2.0 * each.interval_ns) if held_ns else 0.0,
    )
