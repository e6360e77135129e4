"""The JDK's launch mechanisms: `ProcessBuilder.start()` and `Process.waitFor()` (ProcessImpl_md.c, childproc.c @17).

start() returns at the end of the fail pipe, which the target's execve closes: FORK pays copy and teardown before that.
waitFor() is woken by the process reaper thread, which sits in wait4.
"""

from __future__ import annotations

import simpy

from model.elf_image import ElfImage
from model.kernel.exec import execve
from model.kernel.exit import do_wait
from model.kernel.fork import CLONE_VFORK, CLONE_VM, kernel_clone
from model.kernel.sched import block_on, release_cpu, try_to_wake_up
from model.kernel.task import Path, Spawning, Task
from model.userland.ldso import run_main, start_up
from model.userland.libc import Body, Launch, exec_and_exit, posix_spawn, reclaim_stacks, touch_after_fork

PIPES = 5
"""`ProcessImpl_md.c:Java_java_lang_ProcessImpl_forkAndExec@17`: stdin, stdout, stderr, fail, child environment."""
STANDARD_FDS, FAIL_PIPE = 3, 1
"""What the target is left with, and what its execve closes."""
CHILD_CALLS = 22
"""`childproc.c:childProcess@17`: 14 close, 4 dup2, 2 getdents64, fstat, fcntl."""
HELPER_CALLS = 13
"""`jspawnhelper.c:main@17`: fcntl and fstat on its descriptors, getrandom, brk, close, until it reads."""
HELPER_PAGES = 4
"""Heap and stack pages that jspawnhelper writes."""
CALLER_CLOSES = 5
STAT_READS = 3
"""`ProcessHandleImpl_linux.c:os_getParentPidAndTimings@17`: read of /proc/PID/stat for the start time."""
HAND_OVER_WRITES = 4
"""`ProcessImpl_md.c:spawnChild@17`: magic number, ChildStuff, SpawnInfo, strings."""


def child_process(child: Task) -> None:
    """`childproc.c:childProcess@17`: descriptors in place, every other one closed one by one."""
    with child.at("childProcess"):
        child.charge("syscall", CHILD_CALLS)
        child.charge("open_file")
        others = max(0, child.open_fds - STANDARD_FDS)
        if child.system.rules.jdk_closes_fds == "cloexec":
            child.charge("syscall", 2 * others)
        else:
            child.charge("syscall", others)
            child.charge("filp_close", others)
            others = 0
        child.open_fds, child.cloexec_fds = STANDARD_FDS + FAIL_PIPE + others, FAIL_PIPE + others


def jdk_fork(task: Task, launch: Launch) -> Spawning:
    """launchMechanism=FORK: glibc's fork(), childProcess, exec. Returns the child."""

    def body(child: Task) -> Path:
        touch_after_fork(child, launch, caller=False)
        reclaim_stacks(child, launch.parent.threads - 1)
        child_process(child)
        yield from exec_and_exit(child, launch, launch.spawn.target)

    return (yield from _start(task, launch, frozenset(), body))


def jdk_vfork(task: Task, launch: Launch) -> Spawning:
    """launchMechanism=VFORK: the same child on the parent's memory. Returns the child."""

    def body(child: Task) -> Path:
        child_process(child)
        yield from exec_and_exit(child, launch, launch.spawn.target)

    return (yield from _start(task, launch, frozenset({CLONE_VM, CLONE_VFORK}), body))


def _start(task: Task, launch: Launch, flags: frozenset[str], body: Body) -> Spawning:
    with task.at("ProcessImpl.start"):
        _prepare(task)
        child = yield from kernel_clone(task, launch.parent, flags, body)
        if not flags:
            with task.at("user"):
                task.charge("fault_cow_copy", task.system.machine.footprint(launch.parent.runtime).caller_copies)
        yield from _until_exec(task, child)
        if not flags:
            with task.at("user"):
                task.charge("fault_cow_reuse", task.system.machine.footprint(launch.parent.runtime).caller_reuses)
        _finish_start(task, child, launch)
    return child


def _prepare(task: Task) -> None:
    task.charge("jdk_start_fixed")
    if task.cold:
        task.charge("cold_jdk")
    task.charge("open_file", PIPES)


def _until_exec(task: Task, child: Task) -> Path:
    """The caller reads the fail pipe until the target's execve (or the child's end) closes it."""
    task.charge("pipe_io")
    with task.at("read_fail_pipe"):
        yield from block_on(task, child.exec_done, "pipe")


def _finish_start(task: Task, child: Task, launch: Launch) -> None:
    task.charge("syscall", CALLER_CLOSES + STAT_READS)
    task.charge("open_file")


def jdk_posix_spawn(task: Task, launch: Launch) -> Spawning:
    """launchMechanism=POSIX_SPAWN: posix_spawn of jspawnhelper, which pings, prepares and execs the target.

    Three hand-overs: the vfork release at the helper's exec, its ping, the end of the fail pipe; and the helper waits
    for what it is told if it comes to its first read before the caller's writes. Returns the child.
    """
    helper = launch.spawn.helper
    assert helper is not None, "jdk-posix_spawn needs the image of jspawnhelper"
    told, ping = task.system.env.event(), task.system.env.event()
    with task.at("ProcessImpl.start"):
        _prepare(task)
        child = yield from posix_spawn(task, launch, _helper_body(launch, helper, told, ping))
        task.charge("pipe_io", HAND_OVER_WRITES)
        yield from task.meet()
        told.succeed(task)
        task.charge("pipe_io")
        with task.at("read_ping"):
            yield from block_on(task, ping, "pipe")
        yield from _until_exec(task, child)
        _finish_start(task, child, launch)
    return child


def _helper_body(launch: Launch, helper: ElfImage, told: simpy.Event, ping: simpy.Event) -> Body:
    def body(child: Task) -> Path:
        yield from execve(child, launch.execve(helper, ""), start_up)
        run_main(child, helper)
        child.cold = False  # the target's exec finds warm what the helper's has just used
        with child.at("jspawnhelper"):
            child.charge("jspawnhelper_main")
            child.charge("syscall", HELPER_CALLS)
            yield from block_on(child, told, "pipe")
            child.charge("pipe_io", HAND_OVER_WRITES)
            child.charge("fault_anon", HELPER_PAGES)
            child.charge("pipe_io")
            yield from child.meet()
            ping.succeed(child)
            child.mm.owned_pages += HELPER_PAGES
            child_process(child)
        yield from exec_and_exit(child, launch, launch.spawn.target)

    return body


def jdk_wait(task: Task, child: Task) -> Path:
    """`Process.waitFor()`: the reaper thread's wait4 ends, it wakes the caller.

    Charges: jdk_reap_fixed on the reaper's way.
    """
    done = task.system.env.event()
    reaper = Task(task.system, "process reaper", task.mm, created_by=task, cold=task.cold)
    yield from task.meet()
    reaper.clock_ns = task.clock_ns
    reaper.cpu = next((cpu for cpu in task.system.cpus if cpu.idle), task.cpu)
    task.system.env.process(_reap(reaper, task, child, done))
    with task.at("Process.waitFor"):
        yield from block_on(task, done, "futex")


def _reap(reaper: Task, caller: Task, child: Task, done: simpy.Event) -> Path:
    yield from try_to_wake_up(reaper, caller)
    with reaper.at("process reaper"):
        yield from do_wait(reaper, child)
        reaper.charge("jdk_reap_fixed")
        yield from reaper.meet()
        done.succeed(reaper)
        yield from reaper.meet()
        release_cpu(reaper)
