"""fork, vfork and clone: `kernel/fork.c`."""

from __future__ import annotations

from collections.abc import Callable

from model.kernel.locks import RwLock
from model.kernel.memory import Misses, dup_returned, dup_vmas, held, misses
from model.kernel.mm import MmCounts, mm_counts
from model.kernel.mmap import commit_refusal
from model.kernel.page_tables import copied_at_fork, copied_later, per_table, without_tables
from model.kernel.sched import block_on, first_run, wake_up_new_task
from model.kernel.task import Mm, MmCopying, Path, Spawning, Task
from model.kernel.tlb import flush_tlb_mm
from model.process import Process

CLONE_VM, CLONE_VFORK, CLONE_FILES = "CLONE_VM", "CLONE_VFORK", "CLONE_FILES"
KNOWN_FLAGS = frozenset(
    {
        CLONE_VM,
        CLONE_VFORK,
        CLONE_FILES,
        "CLONE_FS",
        "CLONE_CLEAR_SIGHAND",
        "CLONE_PIDFD",
        "CLONE_PARENT_SETTID",
        "CLONE_CHILD_SETTID",
        "CLONE_CHILD_CLEARTID",
    }
)
"""Flags that the model prices: those without a cost of their own are part of copy_process_fixed."""

Body = Callable[[Task], Path]


class SpawnFailed(Exception):
    """The modelled system call returns an error: errno name and reason."""

    def __init__(self, errno: str, why: str) -> None:
        super().__init__(errno, why)
        self.errno, self.why = errno, why


def kernel_clone(task: Task, parent: Process, flags: frozenset[str], body: Body, name: str = "child") -> Spawning:
    """Start a child that runs `body`: `kernel/fork.c:kernel_clone@v6.18`. Returns the child.

    Charges: those of copy_process; with CLONE_VFORK the caller sleeps in wait_for_vfork_done.
    Leaves out: ptrace, namespaces, pending signals that restart the call.
    """
    with task.at("kernel_clone"):
        child = yield from copy_process(task, parent, flags, name)
        if CLONE_VFORK in flags:
            child.vfork_done = task.system.env.event()
        yield from wake_up_new_task(task, child)
        task.system.env.process(_run(child, body))
        if CLONE_VFORK in flags:
            yield from wait_for_vfork_done(task, child)
    return child


def _run(child: Task, body: Body) -> Path:
    yield from first_run(child)
    if child.system.rules.page_table_copy == "async":
        copy_tables_late(child)
    yield from body(child)


def copy_tables_late(child: Task) -> None:
    """The child copies the parent's page tables before it returns to user mode (rule `async`).

    Charges: those of copied_later.
    """
    with child.at("copy_tables_late"):
        child.charge_all(child.mm.later)
    if child.mm.cow is not None and child.mm.copied is not None:
        child.mm.cow.tables_ns = child.clock_ns


def copy_process(task: Task, parent: Process, flags: frozenset[str], name: str) -> Spawning:
    """`kernel/fork.c:copy_process@v6.18`: everything of the child but its first instruction. Returns the child.

    Charges: copy_process_fixed, dup_fd_slot, dup_fd_file, those of dup_mm; cold_copy_process for a cold caller.
    Leaves out: namespaces, cgroup migration, inherited perf events.

    Raises:
        SpawnFailed: EAGAIN at RLIMIT_NPROC; ENOMEM when the copy may not be committed.
    """
    if parent.limits.processes_left is not None and parent.limits.processes_left < 1:
        raise SpawnFailed("EAGAIN", "RLIMIT_NPROC of this user is reached")
    with task.at("copy_process"):
        task.charge("copy_process_fixed")
        if task.cold:
            task.charge("cold_copy_process")
        if CLONE_FILES not in flags:
            with task.at("copy_files"):
                dup_fd(task)
        if CLONE_VM in flags:
            mm = task.mm
            mm.users += 1
        else:
            with task.at("copy_mm", "dup_mm"):
                mm = yield from dup_mm(task, parent)
        child = Task(task.system, name, mm, created_by=task, cold=task.cold)
        child.shares_files = CLONE_FILES in flags
        return child


def dup_fd(task: Task) -> None:
    """Copy the descriptor table: `fs/file.c:dup_fd@v6.18`. Charges: dup_fd_slot, dup_fd_file."""
    with task.at("dup_fd"):
        task.charge("dup_fd_slot", task.fd_slots)
        task.charge("dup_fd_file", task.open_fds)


def dup_mm(task: Task, parent: Process) -> MmCopying:
    """`kernel/fork.c:dup_mm@v6.18`. Returns the copy.

    Charges: dup_mm_fixed, cold_dup_mm, those of dup_mmap.
    """
    task.charge("dup_mm_fixed")
    if task.cold:
        task.charge("cold_dup_mm")
    system = task.system
    mm = mm_counts(parent.space, system.rules)
    missed = misses(mm, system.machine, contiguous=parent.contiguous, writable=parent.writable)
    with task.at("dup_mmap"):
        yield from dup_mmap(task, parent, mm, missed)
    later = copied_later(mm, system.rules, system.machine, missed, writable=parent.writable)
    # The copy is dropped after it has been made: by then the walk, not what the caller wrote before, fills the caches.
    missed = misses(mm, system.machine, contiguous=parent.contiguous, writable=0.0)
    return Mm(RwLock(system.env), copied=mm, missed=missed, cow=task.mm.cow, later=later)


def dup_mmap(task: Task, parent: Process, mm: MmCounts, missed: Misses) -> Path:
    """`mm/mmap.c:dup_mmap@v6.18` (before 6.17 in kernel/fork.c): every vma and its page tables, mmap_lock held.

    Charges: those of dup_vmas, copy_page_range and dup_returned, cold_vma, cold_pte_table, cold_pte, unbacked_page, the
    final flush_tlb_mm.

    Raises:
        SpawnFailed: ENOMEM.
    """
    system = task.system
    yield from task.mm.mmap_lock.acquire(task, write=True)
    locked_ns = task.clock_ns
    refusal = commit_refusal(parent.space, system.rules, parent.limits)
    if refusal:
        yield from task.mm.mmap_lock.release(task)
        raise SpawnFailed("ENOMEM", refusal)
    task.charge_all(dup_vmas(mm, system.rules, missed))
    returned = dup_returned(mm, system.machine, system.returned)
    task.charge_all(without_tables(returned, system.rules, "on_demand", "async"))
    with task.at("copy_page_range"):
        copied = copied_at_fork(mm, system.rules, system.machine, missed, writable=parent.writable)
        task.charge_all(copied)
        if system.load.unbacked:
            tables = copied["copy_table"] + copied.get("copy_huge_pmd", 0)
            task.charge("unbacked_page", system.load.unbacked * tables)
    if task.cold:
        eager = system.rules.page_table_copy == "eager"
        task.charge("cold_vma", mm.vmas)
        task.charge("cold_pte_table", mm.tables.pte * eager + mm.huge_pmds)
        task.charge("cold_pte", held(mm.small_ptes, "pte", system.machine.fact("scatter_lines")) * eager)
    flush_tlb_mm(task, running=parent.running_threads, sleeping=system.load.threads + system.load.callers)
    if task.mm.cow is not None:
        later = copied_later(mm, system.rules, system.machine, missed, writable=parent.writable)
        task.mm.cow.table = per_table(later, mm)
        task.mm.cow.protect(locked_ns, task.clock_ns, later=system.rules.page_table_copy == "async")
    yield from task.mm.mmap_lock.release(task)


def wait_for_vfork_done(task: Task, child: Task) -> Path:
    """The caller sleeps, killable, until the child execs or exits: `kernel/fork.c:wait_for_vfork_done@v6.18`."""
    assert child.vfork_done is not None
    with task.at("wait_for_vfork_done"):
        yield from block_on(task, child.vfork_done, "vfork_done")


def complete_vfork_done(child: Task) -> Path:
    """`kernel/fork.c:complete_vfork_done@v6.18`, called from exec_mmap and from exit_mm; lets a waiting caller run."""
    if child.vfork_done is not None and not child.vfork_done.triggered:
        yield from child.meet()
        child.vfork_done.succeed(child)
        child.vfork_done = None
