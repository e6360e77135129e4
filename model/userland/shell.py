"""system(3): posix_spawn of `sh -c`, whose only command it execs itself (sysdeps/posix/system.c @2.36)."""

from __future__ import annotations

from model.kernel.exec import execve
from model.kernel.task import Path, Spawning, Task
from model.userland.ldso import run_main, start_up
from model.userland.libc import Launch, exec_and_exit, posix_spawn

SIGNAL_CALLS = 5
"""`sysdeps/posix/system.c:do_system@2.36`: SIGINT and SIGQUIT ignored and restored, SIGCHLD blocked and restored."""
SHELL_CALLS = 12
"""System calls of dash between its `_start` and the exec of its command."""
SHELL_PAGES = 12
"""Pages of heap, bss and stack that dash writes until then."""


def system(task: Task, launch: Launch) -> Spawning:
    """system(3); `call` is the return of its inner posix_spawn. Returns the child."""
    shell = launch.spawn.helper
    assert shell is not None, "system(3) needs the image of the shell"

    def body(child: Task) -> Path:
        yield from execve(child, launch.execve(shell, ""), start_up)
        run_main(child, shell)
        child.cold = False  # the command's exec finds warm what the shell's has just used
        with child.at("sh"):
            child.charge("syscall", SHELL_CALLS)
            child.charge("fault_anon", SHELL_PAGES)
        child.mm.owned_pages += SHELL_PAGES
        yield from exec_and_exit(child, launch, launch.spawn.target)

    with task.at("system"):
        task.charge("syscall", SIGNAL_CALLS)
        return (yield from posix_spawn(task, launch, body))
