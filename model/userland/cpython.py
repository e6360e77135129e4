"""CPython's ways: `subprocess.Popen` by vfork or fork, and os.fork (Modules/_posixsubprocess.c @3.11)."""

from __future__ import annotations

from model.kernel.exit import do_wait
from model.kernel.fork import CLONE_VFORK, CLONE_VM, kernel_clone
from model.kernel.sched import block_on
from model.kernel.task import Path, Spawning, Task
from model.userland.libc import Body, Launch, exec_and_exit, touch_after_fork

CHILD_CALLS = 67
"""`_posixsubprocess.c:child_exec@3.11`: rt_sigaction per signal, close_range twice, close, sigprocmask."""
FORK_CHILD_CALLS = 3
"""`posixmodule.c:PyOS_AfterFork_Child@3.11`: gettid, getrandom; glibc's set_robust_list."""
PREEXEC_CALLS = FORK_CHILD_CALLS + 5
"""The same and `child_exec` after a fork, where no handler has to be reset: rt_sigaction twice, close_range twice,
close."""
CALLER_CALLS = 4
"""close of both ends of the error pipe; around a vfork sigprocmask twice, as strace counts all of these for 3.11.7."""
STANDARD_FDS, ERROR_PIPE = 3, 1
"""What the target is left with (close_fds=True), and what its execve closes."""
PREEXEC = "cpython-preexec"
"""Footprint of a Popen that forks: Python code runs in the child, and the caller blocks in a read."""


def _child(launch: Launch, *, forked: bool, calls: int, runtime: str = "", closes: bool = False) -> Body:
    """What the child does before its exec; `closes`: close_range over all descriptors but the standard ones."""

    def body(child: Task) -> Path:
        if forked:
            touch_after_fork(child, launch, caller=False, runtime=runtime)
            child.charge("cpython_after_fork")
        with child.at("child_exec"):
            child.charge("syscall", calls)
            if closes:
                child.charge("filp_close", max(0, child.open_fds - STANDARD_FDS))
                child.open_fds, child.cloexec_fds = STANDARD_FDS + ERROR_PIPE, ERROR_PIPE
        yield from exec_and_exit(child, launch, launch.spawn.target)

    return body


def popen(task: Task, launch: Launch) -> Spawning:
    """`subprocess.Popen` with default arguments: vfork since 3.10; the constructor returns at the target's exec."""
    vfork = task.system.rules.cpython_vfork
    flags = frozenset({CLONE_VM, CLONE_VFORK}) if vfork else frozenset[str]()
    return (yield from _popen(task, launch, flags, CHILD_CALLS))


def popen_preexec(task: Task, launch: Launch) -> Spawning:
    """`subprocess.Popen` with preexec_fn: fork, then Python code in the child."""
    return (yield from _popen(task, launch, frozenset(), PREEXEC_CALLS))


def _popen(task: Task, launch: Launch, flags: frozenset[str], calls: int) -> Spawning:
    with task.at("Popen"):
        task.charge("cpython_popen_fixed")
        if task.cold:
            task.charge("cold_cpython")
        task.charge("open_file")
        task.charge("syscall", CALLER_CALLS)
        child = yield from kernel_clone(
            task, launch.parent, flags, _child(launch, forked=not flags, calls=calls, runtime=PREEXEC, closes=True)
        )
        if not flags:
            touch_after_fork(task, launch, caller=True, runtime=PREEXEC)
        task.charge("pipe_io")
        with task.at("read_error_pipe"):
            yield from block_on(task, child.exec_done, "pipe")
    return child


def os_fork(task: Task, launch: Launch) -> Spawning:
    """`os.fork()`, then `os.execv` (or `os._exit`) in the child."""
    with task.at("os.fork"):
        body = _child(launch, forked=True, calls=FORK_CHILD_CALLS)
        child = yield from kernel_clone(task, launch.parent, frozenset(), body)
        touch_after_fork(task, launch, caller=True)
    return child


def popen_wait(task: Task, child: Task) -> Path:
    """`Popen.wait()`: waitpid and its Python frame."""
    with task.at("Popen.wait"):
        yield from do_wait(task, child)
        task.charge("cpython_wait_fixed")
