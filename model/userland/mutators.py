"""The parent's own threads that write to its memory: undisturbed before a fork, stalled by it, faulting after it.

Each thread is a task. It looks at the simulation once a batch of writes, so events grow with batches and not with
pages: a batch is a share of the writes since the fork, and as many batches cover a heap of 64 GiB as one of 64 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.hardware.cpu import Cpu
from model.kernel.cow import Cow
from model.kernel.memory import far_copies
from model.kernel.mm import Counts
from model.kernel.task import Mm, Path, System, Task
from model.kernel.tlb import flush_tlb_page, flush_tlb_range, interrupted_by
from model.locality import Reach
from model.process import Process
from model.scenario import Load, Mutators
from model.units import PTRS_PER_TABLE
from model.userland.crowd import crowded, running_others
from model.userland.fault_times import priced_ns, stalls_of
from model.userland.first_writes import Faults, Spans, Writes
from model.userland.refill import IPI_INTERRUPTED, TLB_MISS, Refill
from model.userland.working_set import WorkingSet, working_sets

AFTER_SLEEP, REUSE_AFTER_SLEEP, COPY_BESIDE = "fault_after_sleep", "reuse_after_sleep", "copy_beside"
"""What a burst's first faults, with a copy among them or none, and copies on two CPUs at once cost more; a machine file
without them leaves that out."""
UNBACKED = "unbacked_page"
COPY_STREWN, REUSE_STREWN, WALK = "copy_strewn", "reuse_strewn", "walk_after_sleep"
"""What faults cost more where pages are written in no order, and writes to a page of a pmd mapping that was split."""
FIRST_WRITES = 64.0
"""The first batches are as large as if so many writes had been done."""
MOST_TASKS = 16
"""Tasks that stand for a group; beyond, each stands for several threads that do the same at the same time."""
_GRID = np.linspace(0.0, 1.0, 513)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one task did in one batch.

    Attributes:
        begin_ns, end_ns: when.
        writes: how many a thread did.
        faults: of all threads that the task stands for.
        work_ns: a thread's time in faults, interruptions of others waited for and the wait for a CPU included.
        ipis: interrupts that other CPUs got from it.
        tlb_misses: page walks of all threads that it stands for, because of flushes; not in `work_ns`.
        other_ns: what a thread loses beside its faults: those walks, walks in split mappings, interruptions by others.
    """

    begin_ns: float
    end_ns: float
    writes: float
    faults: Faults
    work_ns: float
    ipis: float
    tlb_misses: float = 0.0
    other_ns: float = 0.0


@dataclass(slots=True)
class Group:
    """Mutators of one kind at work.

    Attributes:
        spec: what they do.
        memory: where.
        writes: their state since the fork.
        threads: their tasks, each of which stands for `weight` threads.
        batches: what they did since the fork, in the order of its end.
        stalls: (duration in ns, how many) of all writes that did not go through at once.
        lock_wait_ns: time that they waited for the fork's locks.
        refills: of each task, its CPU's TLB; empty where the machine's file does not describe it.
    """

    spec: Mutators
    memory: WorkingSet
    writes: Writes
    threads: list[Task] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    stalls: list[tuple[float, float]] = field(default_factory=list)
    lock_wait_ns: float = 0.0
    refills: dict[Task, Refill] = field(default_factory=dict)

    @property
    def weight(self) -> float:
        """Threads that a task stands for."""
        return self.spec.threads / len(self.threads)


def start_mutators(system: System, mm: Mm, parent: Process, load: Load) -> list[Group]:
    """Start the load's threads beside the caller, whose mm they share.

    They run on CPUs of their own: what they take from each other is reckoned in `crowded`, what they take from the
    spawn's tasks is left out.
    """
    groups: list[Group] = []
    if not load.mutators:
        return groups
    mm.cow = Cow(system.env.event())
    for spec, memory in zip(load.mutators, working_sets(parent, load.mutators, system.costs), strict=True):
        if memory.pages < 1.0:
            continue
        huge = Spans(memory.huge_pmds, memory.huge_pmds * PTRS_PER_TABLE)
        tables = Spans(memory.small_pages / PTRS_PER_TABLE, memory.small_pages)
        far = far_copies(memory.pages, system.machine)
        folios = memory.folio_pages / memory.small_pages if memory.small_pages else 0.0
        reach = Reach(spec.locality, memory.pages, streams=float(spec.threads), burst=float(max(1, spec.burst)))
        pool = Spans(memory.hugetlb_pages, memory.hugetlb_pages * PTRS_PER_TABLE)
        writes = Writes(tables, huge, reach, far, folios, pool)
        group = Group(spec=spec, memory=memory, writes=writes)
        groups.append(group)
        for index in range(min(spec.threads, MOST_TASKS)):
            task = Task(system, f"mutator {index}", mm)
            task.cpu = Cpu(len(system.cpus) + index, current=task)
            group.threads.append(task)
            refill = Refill.of(system, memory, spec.reads_per_write)
            if refill is not None:
                group.refills[task] = refill
            system.env.process(_mutate(task, group, index, mm.cow, parent.writable))
    return groups


def _mutate(task: Task, group: Group, index: int, cow: Cow, writable: float) -> Path:
    yield cow.protected
    yield from _wait_for_fork(task, group, stalled_at(task, group, index, cow, writable))
    _released(task, group, cow, writable)
    yield from _storm(task, group, cow)


def stalled_at(task: Task, group: Group, index: int, cow: Cow, writable: float) -> float | None:
    """When the thread's write first meets the fork's locks, or None if it gets by until they are free.

    That is a write to a page that is protected already: its vma is locked until the end, so it waits for mmap_lock.
    With per-vma locks (rule `per_vma_lock`) a fault elsewhere is served; without them it waits too. The threads stand
    at evenly spaced quantiles of the distribution that writes at their rate give, or bursts with their sleeps between.
    """
    length_ns = cow.end_ns - cow.begin_ns
    memory, quantile = group.memory, (index + 0.5) / len(group.threads)
    if group.spec.locality == "sequential":
        # A mapping's own stretch rises, the gaps between are flat: the first moment at which the share is reached.
        next_ns = group.spec.arrival_ns / 2.0 if group.spec.burst else group.spec.interval_ns
        share = float(np.interp(quantile, memory.protected, memory.passed)) + next_ns / length_ns
        return cow.begin_ns + share * length_ns if share <= 1.0 else None
    hazard = _hazard(task, group, cow, writable)
    # Bursts come once a sleep, as evenly as it takes; single writes come by chance.
    wanted = quantile if group.spec.burst else -float(np.log1p(-quantile))
    if wanted > hazard[-1]:
        return None
    return cow.begin_ns + float(np.interp(wanted, hazard, _GRID)) * length_ns


def _hazard(task: Task, group: Group, cow: Cow, writable: float) -> NDArray[np.float64]:
    """Writes, or bursts of them, that come upon the fork's locks while it holds them, up to each of `_GRID`."""
    memory, spec = group.memory, group.spec
    protected = np.interp(_GRID, memory.passed, memory.protected)
    waits = protected
    if not task.system.rules.per_vma_lock:
        waits = protected + (1.0 - protected) * (1.0 - writable)
    if spec.burst:
        waits = 1.0 - (1.0 - waits) ** spec.burst
    arrivals = (cow.end_ns - cow.begin_ns) / spec.arrival_ns
    found: NDArray[np.float64] = arrivals * np.concatenate(
        [[0.0], np.cumsum((waits[1:] + waits[:-1]) / 2 * np.diff(_GRID))]
    )
    return found


def _released(task: Task, group: Group, cow: Cow, writable: float) -> None:
    """The write, or burst, that the fork held up goes on the moment that it unlocks: as likely as one was held up."""
    memory, spec = group.memory, group.spec
    if spec.locality == "sequential":
        rest = 1.0 - np.interp(_GRID, memory.protected, memory.passed)
        share = float(np.mean(np.minimum(1.0, rest * (cow.end_ns - cow.begin_ns) / spec.arrival_ns)))
    else:
        expected = float(_hazard(task, group, cow, writable)[-1])
        share = min(1.0, expected) if spec.burst else -float(np.expm1(-expected))
    writes = min(share * max(1, spec.burst), group.writes.left / group.weight)
    if writes > 0.0:
        _account(task, group, writes, cow, at_once=True)


def _wait_for_fork(task: Task, group: Group, at_ns: float | None) -> Path:
    cow = task.mm.cow
    assert cow is not None
    if at_ns is None:
        task.sleep(cow.end_ns - task.clock_ns, "between_writes")
        yield from task.meet()
        return
    task.sleep(at_ns - task.clock_ns, "between_writes")
    with task.at("do_user_addr_fault", "lock_mm_and_find_vma"):
        yield from task.mm.mmap_lock.acquire(task, write=False)
        yield from task.mm.mmap_lock.release(task)
    waited_ns = task.clock_ns - at_ns
    group.lock_wait_ns += waited_ns * group.weight
    group.stalls.append((waited_ns, group.weight))


def _storm(task: Task, group: Group, cow: Cow) -> Path:
    """Batch after batch until every page of the working set has been written again."""
    env, state = task.system.env, group.writes
    share = task.system.load.batch_share
    last = state.last
    fault_ns = task.system.costs.price("fault_cow_copy")
    while state.writes < last:
        batch = max(1.0, share * max(FIRST_WRITES, state.writes) / group.spec.threads)
        writes = min(batch, (last - state.writes) / group.weight)
        begin_ns = task.clock_ns
        task.system.events += 1
        yield env.timeout(max(0.0, begin_ns + writes * (group.spec.interval_ns + fault_ns) - env.now))
        writes = min(writes, (last - state.writes) / group.weight)
        if writes <= 0.0:
            return
        _account(task, group, writes, cow)
        fault_ns = group.batches[-1].work_ns / writes


def _account(task: Task, group: Group, writes: float, cow: Cow, *, at_once: bool = False) -> None:
    """Charge what the batch turned out to be, and note it.

    Charges: those of do_wp_page, do_huge_pmd_wp_page, hugetlb_wp and copied_later, fault_cow_beyond_cache, flush_round,
    tlb_miss, ipi_interrupted, fault_after_sleep, reuse_after_sleep, copy_strewn, reuse_strewn,
    walk_after_sleep, copy_beside, unbacked_page.
    """
    begin_ns, thinking_ns = task.clock_ns, 0.0 if at_once else writes * group.spec.interval_ns
    written = group.writes.distinct / group.writes.reach.pages
    until_ns = max(begin_ns, task.system.env.now)
    faults = group.writes.faults(writes * group.weight, cow, begin_ns, until_ns, task.system.rules)
    cow.leave(pages=faults.copies - faults.huge_copies, pmds=faults.pmd_copies, tables=faults.table_copies)
    if thinking_ns:
        task.sleep(thinking_ns, "between_writes")
    worked_ns = priced_ns(task, faults) / group.weight
    with task.at("do_user_addr_fault", "do_wp_page"):
        task.charge_all({name: count / group.weight for name, count in faults.counts.items()})
        running = running_others(task, worked_ns, thinking_ns, faults.flushes / group.weight)
        task.charge_all(_beside(task, group, faults, writes, running))
        pages, splits = (each / group.weight for each in (faults.flushes - faults.splits, faults.splits))
        flush_tlb_page(task, flushes=pages, running=running)
        wakes = writes / max(1, group.spec.burst) / max(1e-9, splits * len(task.system.cpus))
        reached = flush_tlb_range(task, flushes=splits, running=running, wakes=wakes)
    work_ns = task.clock_ns - begin_ns - thinking_ns
    misses = _refilled(task, group, faults, writes, written)
    _walked(task, group, writes - faults.total / group.weight)
    system = task.system
    interrupts = faults.flushes * interrupted_by(system, running)
    _interrupted(task, interrupts / group.weight)
    other_ns = task.clock_ns - begin_ns - thinking_ns - work_ns
    woken = faults.splits * (interrupted_by(system, reached) - interrupted_by(system, running))
    crowd_ns = crowded(task, task.clock_ns - begin_ns - thinking_ns, thinking_ns)
    task.record_wait(task.clock_ns + crowd_ns, "cpu", None)
    factor = (work_ns + crowd_ns) / worked_ns if worked_ns else 1.0
    group.stalls += stalls_of(task, faults, factor)
    group.batches.append(
        Batch(
            begin_ns=begin_ns,
            end_ns=task.clock_ns,
            writes=writes,
            faults=faults,
            work_ns=work_ns + crowd_ns,
            ipis=interrupts + woken,
            tlb_misses=misses * group.weight,
            other_ns=other_ns,
        )
    )


def _beside(task: Task, group: Group, faults: Faults, writes: float, running: float) -> Counts:
    """What a thread's faults of a batch cost beyond their own prices: bursts that begin cold, no order, a shared bus.

    Copies beyond the caches meet the copies of other CPUs there as often as those run the mm and fault.
    """
    found: Counts = {}
    copies = faults.copies / group.weight
    if group.spec.burst and AFTER_SLEEP in task.system.costs.ns:
        bursts = writes / group.spec.burst
        none, without = (
            (1.0 - min(1.0, each / writes)) ** group.spec.burst for each in (faults.total / group.weight, copies)
        )
        found[AFTER_SLEEP] = bursts * (1.0 - without)
        found[REUSE_AFTER_SLEEP] = bursts * max(0.0, without - none)
    if group.spec.locality != "sequential" and COPY_STREWN in task.system.costs.ns:
        found |= {COPY_STREWN: copies, REUSE_STREWN: faults.reuses / group.weight}
    if task.system.load.unbacked:
        taken = faults.copies + faults.pmd_copies * PTRS_PER_TABLE
        found[UNBACKED] = task.system.load.unbacked * taken / group.weight
    if COPY_BESIDE in task.system.costs.ns:
        found[COPY_BESIDE] = faults.counts.get("fault_cow_beyond_cache", 0.0) / group.weight * min(1.0, running)
    return found


def _refilled(task: Task, group: Group, faults: Faults, writes: float, written: float) -> float:
    """Charge a thread's page walks after the flushes of a batch (`Refill.after`), and give their number."""
    refill = group.refills.get(task)
    if refill is None:
        return 0.0
    misses = refill.after(faults, writes=writes, alike=len(group.threads), written=written)
    with task.at("page_walk"):
        task.charge_all({TLB_MISS: misses})
    return misses


def _walked(task: Task, group: Group, writes: float) -> None:
    """Charge what a thread's other writes take longer where pmd mappings are split, if the machine's file prices it.

    Before the fork they went through the pmd. Leaves out: writers in order, whose next pte is mostly at hand.
    """
    huge = group.writes.huge
    if WALK in task.system.costs.ns and group.spec.burst and group.spec.locality != "sequential":
        share = huge.opened * huge.pages_each / group.writes.reach.pages
        with task.at("page_walk"):
            task.charge_all({WALK: max(0.0, writes) * share})


def _interrupted(task: Task, interrupts: float) -> None:
    """Charge what flushes of other threads take from this one, if the machine's file prices it.

    As many as its own reach: all threads fault alike, so what one sends it gets back, and a lazy CPU is spared
    (`arch/x86/mm/tlb.c:should_flush_tlb@v6.18`).
    """
    if IPI_INTERRUPTED in task.system.costs.ns:
        with task.at("flush_tlb_func"):
            task.charge_all({IPI_INTERRUPTED: interrupts})
