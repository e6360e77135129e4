"""glibc's ways to start a child: fork(), vfork(), posix_spawn(), and clone3 called directly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from model.elf_image import ElfImage
from model.kernel.exec import Execve, execve
from model.kernel.exit import do_exit
from model.kernel.fork import CLONE_VFORK, CLONE_VM, kernel_clone
from model.kernel.memory import misses
from model.kernel.mm import own_counts
from model.kernel.sched import nanosleep, sched_setaffinity
from model.kernel.task import Path, Spawning, Task
from model.process import Process
from model.scenario import Spawn
from model.userland.ldso import run_main, start_up

SIGACTION_CALLS = 121
"""`sysdeps/unix/sysv/linux/spawni.c:__spawni_child@2.36`: get and set of dispositions without CLONE_CLEAR_SIGHAND."""
MASK_CALLS = 2
"""rt_sigprocmask: two in the caller, before and after; two in the child."""
STACK_PAGES = 1
"""Of its stack, what the child touches."""

RAW = "raw"
"""Footprint of a fork by the bare system call: no libc code runs in the child."""
Body = Callable[[Task], Path]


@dataclass(frozen=True, slots=True)
class Launch:
    """One spawn in progress: who calls, what is wanted."""

    parent: Process
    spawn: Spawn

    def execve(self, image: ElfImage, milestone: str = "exec") -> Execve:
        """The execve of one image on the way, with the spawn's arguments."""
        step = self.spawn
        return Execve(
            image=image,
            argv_bytes=step.argv_bytes,
            envp_bytes=step.envp_bytes,
            path_misses=step.path_misses if milestone else 0,
            milestone=milestone,
        )


def exec_and_exit(task: Task, launch: Launch, image: ElfImage) -> Path:
    """The child's end: exec the target, which exits at once; without a target `_exit` at once.

    A child with a copy of the caller's memory lives as long before as the load says.
    """
    lifetime_ns = task.system.load.child_lifetime_ns
    if lifetime_ns and task.mm.copied is not None:
        yield from nanosleep(task, lifetime_ns)
    if image.kind == "none":
        yield from do_exit(task)
        return
    if not image.executable:
        task.charge("execve_prepare")
        task.system.errors.append(("EACCES", f"{image.path} is not executable", task.clock_ns))
        yield from do_exit(task)
        return
    yield from execve(task, launch.execve(image), start_up)
    if launch.spawn.runs_main:
        run_main(task, image)
    with task.at("_start"):
        task.charge_all(dict(launch.spawn.target_work))
    yield from do_exit(task)


def exec_in_place(task: Task, launch: Launch) -> Path:
    """execve by the caller itself, without any child: its threads are killed, its own memory is dropped, then it ends.

    Nothing returns to the caller, so there is neither `call` nor `reaped`. Pages of shared memory are taken to stay.
    Charges: those of execve, whose drop_mm frees every page that is the caller's alone, and of the image's run.
    """
    system, parent = task.system, launch.parent
    mm = own_counts(parent.space, system.rules)
    task.mm.copied = mm
    task.mm.missed = misses(mm, system.machine, contiguous=parent.contiguous, writable=parent.writable)
    task.mm.owned_pages, task.mm.owned_huge = mm.small_ptes + mm.folio_ptes, mm.huge_pmds
    task.other_threads = parent.threads - 1
    with task.at("execve"):
        yield from exec_and_exit(task, launch, launch.spawn.target)


def touch_after_fork(task: Task, launch: Launch, *, caller: bool, runtime: str = "") -> None:
    """User pages that caller and child of a fork touch: copy faults, reuse faults, file pages mapped again.

    Charges: fault_cow_copy, fault_cow_reuse, fault_file_read. Counts come from the machine's footprint of the runtime.
    """
    pages = task.system.machine.footprint(runtime or launch.parent.runtime, threaded=launch.parent.threads > 1)
    with task.at("user"):
        if caller:
            task.charge("fault_cow_copy", pages.caller_copies)
            task.charge("fault_cow_reuse", pages.caller_reuses)
            return
        task.charge("fault_cow_copy", pages.child_copies)
        task.charge("fault_file_read", pages.child_file_faults)
        task.mm.owned_pages += pages.child_copies


def reclaim_stacks(child: Task, others: int) -> None:
    """The child of a threaded caller walks the stacks of the other threads: `sysdeps/nptl/fork.h:reclaim_stacks@2.36`.

    Charges: reclaim_stack and fault_cow_copy, one a thread.
    """
    with child.at("reclaim_stacks"):
        child.charge("reclaim_stack", others)
        child.charge("fault_cow_copy", others)
        child.mm.owned_pages += others


def fork_child(launch: Launch, image: ElfImage, *, reclaim: bool) -> Body:
    """What a child of glibc's fork() does first (`posix/fork.c:__libc_fork@2.36`), then exec or exit."""

    def body(child: Task) -> Path:
        if launch.spawn.migrates:
            yield from sched_setaffinity(child)
        touch_after_fork(child, launch, caller=False, runtime="" if reclaim else RAW)
        if reclaim:
            reclaim_stacks(child, launch.parent.threads - 1)
        yield from exec_and_exit(child, launch, image)

    return body


def fork(task: Task, launch: Launch) -> Spawning:
    """glibc's fork(): all locks taken, the system call, then caller and child touch their pages. Returns the child."""
    with task.at("fork"):
        body = fork_child(launch, launch.spawn.target, reclaim=True)
        child = yield from kernel_clone(task, launch.parent, frozenset(), body)
        touch_after_fork(task, launch, caller=True)
    return child


def vfork(task: Task, launch: Launch) -> Spawning:
    """vfork(2): the child runs on the caller's memory and stack. Returns the child."""
    with task.at("vfork"):
        body = plain_child(launch)
        return (yield from kernel_clone(task, launch.parent, frozenset({CLONE_VM, CLONE_VFORK}), body))


def plain_child(launch: Launch) -> Body:
    """A child that execs or exits without any user code of its own before."""

    def body(child: Task) -> Path:
        yield from exec_and_exit(child, launch, launch.spawn.target)

    return body


def clone3(task: Task, launch: Launch) -> Spawning:
    """clone3(2) called directly with the spawn's flags: no libc locks, no user-level work in the child."""
    with task.at("clone3"):
        flags = launch.spawn.flags
        body = plain_child(launch) if CLONE_VM in flags else fork_child(launch, launch.spawn.target, reclaim=False)
        child = yield from kernel_clone(task, launch.parent, flags, body)
        if CLONE_VM not in flags:
            touch_after_fork(task, launch, caller=True, runtime=RAW)
    return child


def posix_spawn(task: Task, launch: Launch, body: Body | None = None, *, actions: int = 0) -> Spawning:
    """glibc's posix_spawn: `sysdeps/unix/sysv/linux/spawni.c:__spawnix@2.36`. Returns the child.

    `body` replaces the child's exec of the target (the JDK's helper); `actions` are file actions, a call each.
    Charges: mmap_pair, fault_anon for the child's stack, syscall for masks, dispositions and actions.
    """

    def spawni_child(child: Task) -> Path:
        with child.at("__spawni_child"):
            child.charge("fault_anon", STACK_PAGES)
            calls = actions + MASK_CALLS
            if not child.system.rules.posix_spawn_clear_sighand:
                calls += SIGACTION_CALLS
            child.charge("syscall", calls)
        yield from (body or plain_child(launch))(child)

    with task.at("posix_spawn"):
        task.charge("mmap_pair")
        task.charge("syscall", MASK_CALLS - 1)
        flags = frozenset({CLONE_VM, CLONE_VFORK})
        child = yield from kernel_clone(task, launch.parent, flags, spawni_child)
        task.charge("zap_pte", STACK_PAGES)
        task.charge("free_anon_page", STACK_PAGES)
        task.charge("syscall")
    return child
