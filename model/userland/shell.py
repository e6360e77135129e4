"""system(3): posix_spawn of `sh -c`, which vforks its command and waits for it (sysdeps/posix/system.c @2.36)."""

from __future__ import annotations

from model.kernel.exec import execve
from model.kernel.exit import do_exit, do_wait
from model.kernel.fork import CLONE_VFORK, CLONE_VM, kernel_clone
from model.kernel.task import Path, Spawning, Task
from model.userland.ldso import run_main, start_up
from model.userland.libc import Launch, exec_and_exit, posix_spawn

SIGNAL_CALLS = 3
"""`sysdeps/posix/system.c:do_system@2.36`: SIGINT and SIGQUIT ignored, SIGCHLD blocked; as many restore them."""
SHELL_CALLS, COMMAND_CALLS, REAP_CALLS = 20, 1, 3
"""System calls of dash 0.5.12 beside vfork, execve and wait, as strace counts them: from its `_start` to its vfork, in
the command's process before its execve, and after the command's end. Unlike bash it execs no command in its place."""
SHELL_PAGES = 12
"""Pages of heap, bss and stack that dash writes until its vfork: smaps of one that waits for its command shows 13
written pages beside those of files (heap 1, bss 1, libc's and ld.so's 8, stack 3); one of the stack was exec's."""


def system(task: Task, launch: Launch) -> Spawning:
    """system(3); `call` is the return of its inner posix_spawn. Returns the shell.

    Charges: syscall, fault_anon, those of posix_spawn, execve and kernel_clone, once for the shell and for its command.
    Leaves out: delivery of SIGCHLD to the shell's handler.
    """
    shell = launch.spawn.helper
    assert shell is not None, "system(3) needs the image of the shell"

    def command(child: Task) -> Path:
        child.charge("syscall", COMMAND_CALLS)
        yield from exec_and_exit(child, launch, launch.spawn.target)

    def body(child: Task) -> Path:
        yield from execve(child, launch.execve(shell, ""), start_up)
        run_main(child, shell)
        child.cold = False  # the command's exec finds warm what the shell's has just used
        with child.at("sh"):
            child.charge("syscall", SHELL_CALLS)
            child.charge("fault_anon", SHELL_PAGES)
            child.mm.owned_pages += SHELL_PAGES
            flags = frozenset({CLONE_VM, CLONE_VFORK})
            started = yield from kernel_clone(child, launch.parent, flags, command, "command")
            yield from do_wait(child, started)
            child.charge("syscall", REAP_CALLS)
        yield from do_exit(child)

    with task.at("system"):
        task.charge("syscall", SIGNAL_CALLS)
        return (yield from posix_spawn(task, launch, body))


def system_wait(task: Task, child: Task) -> Path:
    """The rest of system(3): it waits for the shell and restores the signals."""
    yield from do_wait(task, child)
    with task.at("system"):
        task.charge("syscall", SIGNAL_CALLS)
