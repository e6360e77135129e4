"""exit, wait and reap: `kernel/exit.c`."""

from __future__ import annotations

from model.kernel.fork import complete_vfork_done
from model.kernel.memory import drop_remote, held
from model.kernel.mm import Counts
from model.kernel.mmap import exit_mmap, image_exit
from model.kernel.page_tables import shared_teardown, without_tables
from model.kernel.sched import block_on, release_cpu
from model.kernel.task import Path, Task
from model.machine import Machine


def drop_mm(task: Task) -> None:
    """`kernel/fork.c:mmput@v6.18`: tear the mm down if the task was its last user.

    Charges: those of exit_mmap or shared_teardown, free_huge_page, cold_exit_mm, cold_remove_vma, cold_zap_table,
    cold_zap_pte, those of drop_remote.
    """
    mm, system = task.mm, task.system
    mm.users -= 1
    if mm.users:
        return
    counts: Counts = {}
    if mm.image is not None:
        counts = image_exit(mm.image, mm.owned_pages, system.machine)
    elif mm.copied is not None and mm.missed is not None:
        owned = mm.owned_pages + (mm.cow.left_behind if mm.cow is not None else 0.0)
        counts = exit_mmap(mm.copied, system.machine, missed=mm.missed, owned_pages=owned)
        counts["free_huge_page"] = mm.owned_huge + (mm.cow.pmds_left_behind if mm.cow is not None else 0.0)
        if system.rules.page_table_copy == "on_demand":
            counts = shared_teardown(counts, mm.copied, mm.cow.tables_copied if mm.cow is not None else 0.0)
    begin_ns = task.clock_ns
    with task.at("mmput", "exit_mmap"):
        task.charge_all(counts)
        if task.remote and mm.copied is not None and mm.image is None:
            task.charge_all(without_tables(drop_remote(mm.copied, system.machine), system.rules, "on_demand"))
        if task.cold and mm.image is None:
            task.charge_all(_cold_teardown(counts, system.machine))
    if mm.cow is not None and mm.copied is not None:
        mm.cow.release(begin_ns, task.clock_ns)


def _cold_teardown(counts: Counts, machine: Machine) -> Counts:
    tables = counts.get("free_pte_table", 0) + counts.get("zap_huge_pmd", 0)
    return {
        "cold_exit_mm": 1,
        "cold_remove_vma": counts.get("remove_vma", 0),
        "cold_zap_table": tables,
        "cold_zap_pte": held(counts.get("zap_pte", 0), "pte", machine.fact("scatter_lines")),
    }


def do_exit(task: Task) -> Path:
    """The task ends: `kernel/exit.c:do_exit@v6.18`. The parent's wait ends when it is notified.

    A parent that reads a pipe until the target's exec gets its end of file too if there was no exec.

    Charges: do_exit_entry, filp_close, do_exit_fixed, cold_exit, those of drop_mm.
    Leaves out: children to reparent, namespaces, the RCU work that frees the stack later.
    """
    with task.at("do_exit"):
        task.charge("do_exit_entry")
        yield from complete_vfork_done(task)
        drop_mm(task)
        if not task.shares_files:
            with task.at("exit_files"):
                task.charge("filp_close", task.open_fds)
        task.charge("do_exit_fixed")
        if task.cold:
            task.charge("cold_exit")
        yield from task.meet()
        release_cpu(task)
        if not task.exec_done.triggered:
            task.exec_done.succeed(task)
        task.exited.succeed(task)


def do_wait(task: Task, child: Task) -> Path:
    """waitpid for one child: `kernel/exit.c:do_wait@v6.18`; its work and the reaping are in do_exit_fixed."""
    with task.at("do_wait"):
        yield from block_on(task, child.exited, "child")
