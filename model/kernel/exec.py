"""execve up to the program's first instruction: `fs/exec.c` and `fs/binfmt_elf.c`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from model.elf_image import ElfImage
from model.kernel.exit import drop_mm
from model.kernel.filemap import read_header, read_mapped, read_scripts
from model.kernel.fork import complete_vfork_done, dup_fd
from model.kernel.locks import RwLock
from model.kernel.task import Mm, Path, Task
from model.units import PAGE_BYTES

ARG_PAGES_FREE = 1
"""The first page of the argument stack is part of execve_prepare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execve:
    """Arguments of one execve that matter for its price.

    Attributes:
        image: what is executed.
        argv_bytes, envp_bytes: strings copied.
        path_misses: failed calls of a PATH search before.
        milestone: milestone to set when exec_mmap is done; empty for a helper.
    """

    image: ElfImage
    argv_bytes: int = 64
    envp_bytes: int = 1024
    path_misses: int = 0
    milestone: str = "exec"


def execve(task: Task, call: Execve, user: Callable[[Task, ElfImage], Path]) -> Path:
    """Replace the task's image and run its user-level start-up: `fs/exec.c:do_execveat_common@v6.18`.

    `user` is the start-up of the new image up to `_start` (it lies above the kernel layer).
    Charges: execve_enoent, execve_prepare, exec_arg_page, execve_open, elf_interpreter, execve_fixed, exec_credentials,
    elf_load_segment, fault_file_write (the cleared tail of the bss page), cold_exec_open, cold_exec, those of
    de_thread, read_scripts, read_header, read_mapped, drop_mm, close_on_exec; those of dup_fd for a shared table.
    Leaves out: LSM transitions, migration by sched_exec.
    """
    with task.at("do_execveat_common"):
        task.charge("execve_enoent", call.path_misses)
        task.charge("execve_prepare", 1 + call.image.script_depth)
        arg_pages = -(-(call.argv_bytes + call.envp_bytes) // PAGE_BYTES) - ARG_PAGES_FREE
        task.charge("exec_arg_page", max(0, arg_pages))
        with task.at("load_elf_binary"):
            read_scripts(task, call.image)
            for each in (call.image.program, call.image.loader):
                if each is not None:
                    read_header(task, each)
            task.charge("elf_interpreter", bool(call.image.elf_interpreter))
            if task.cold:
                task.charge("cold_exec_open", 1 + bool(call.image.elf_interpreter))
            de_thread(task)
            if task.shares_files:
                with task.at("unshare_files"):
                    dup_fd(task)
                task.shares_files = False
            task.charge("execve_open")
            yield from exec_mmap(task, call.image, call.milestone)
            with task.at("do_close_on_exec"):
                task.charge("close_on_exec", task.cloexec_fds)
                task.open_fds -= task.cloexec_fds
                task.cloexec_fds = 0
                yield from task.meet()
                if not task.exec_done.triggered and call.milestone:
                    task.exec_done.succeed(task)
            task.charge("execve_fixed")
            task.charge("exec_credentials", call.image.secure)
            for each in (call.image.program, call.image.loader):
                if each is not None:
                    read_mapped(task, each)
                    task.charge("elf_load_segment", each.load_segments)
                    task.charge("fault_file_write", each.clears_bss_tail)
            if task.cold:
                task.charge("cold_exec")
    yield from user(task, call.image)
    if call.milestone:
        yield from task.reach("main")


def de_thread(task: Task) -> None:
    """Kill the other threads of the caller's process and wait until each has ended: `fs/exec.c:de_thread@v6.18`.

    Nobody else has any: a fork's child is one thread, and a vfork's child is a thread group of its own, although it
    runs on its caller's memory. The threads sleep; each is woken, ends and is reaped on the caller's CPU, one by one.
    Charges: de_thread_fixed, de_thread_kill.
    Leaves out: threads that end on other CPUs meanwhile, an exec by another thread than the first, whose id changes.
    """
    if task.other_threads:
        with task.at("de_thread"):
            task.charge("de_thread_fixed")
            task.charge("de_thread_kill", task.other_threads)
        task.mm.users -= task.other_threads
        task.other_threads = 0


def exec_mmap(task: Task, image: ElfImage, milestone: str) -> Path:
    """Install the new mm, wake a vfork parent, then drop the old mm: `fs/exec.c:exec_mmap@v6.18`.

    Its milestone is its end: a fork child has dropped the copied mm by then, a vfork child has nothing left to do once
    the caller is released.
    """
    shared = task.mm.users > 1
    with task.at("exec_mmap"):
        if milestone and shared:
            yield from task.reach(milestone)
        yield from complete_vfork_done(task)
        drop_mm(task)
        task.mm = Mm(RwLock(task.system.env), image=image)
        if milestone and not shared:
            yield from task.reach(milestone)
