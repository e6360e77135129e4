"""The steps of a program that are no spawn: what value benches and workloads do."""

from __future__ import annotations

from model.costs import COSTS
from model.hardware.cpu import wake_latency
from model.kernel.memory import (
    do_huge_pmd_wp_page,
    do_wp_page,
    far_copies,
    first_touch,
    free_folios,
    free_owned,
    free_tables,
)
from model.kernel.sched import nanosleep
from model.kernel.task import Path, Task
from model.kernel.tlb import flush_tlb_page
from model.scenario import Charge, Mprotect, Munmap, PingPong, Rewrite, Sleep, Step, Stream, Touch


def do_step(task: Task, step: Step) -> Path:
    """One step of the calling thread.

    Charges: the named cost of a Charge; those of first_touch of a Touch;
    munmap_touched, those of free_owned or free_folios and free_tables, zap_huge_pmd, free_huge_page of a Munmap;
    those of do_wp_page and do_huge_pmd_wp_page, or write_alone and walk_after_sleep of a Rewrite; mprotect_split,
    protect_page,
    flush_round, ipi_receiver of an Mprotect; page_clear, page_copy,
    clear_beside, copy_beside of a Stream; pipe_io, context_switch or wake_idle_* of a PingPong.
    """
    match step:
        case Charge():
            note = task.latency if COSTS[step.cost].latency else task.charge
            note(step.cost, step.count)
        case Touch():
            task.charge_all(first_touch(step, task.system.rules, task.system.machine))
        case Munmap():
            machine = task.system.machine
            task.charge("munmap_touched")
            if step.folio_pages > 1:
                task.charge_all(free_folios(step.pages, step.folio_pages, task.system.rules, machine))
            else:
                task.charge_all(free_owned(step.pages, machine))
            task.charge_all(free_tables(step.tables, step.pages, machine))
            task.charge_all({"zap_huge_pmd": step.huge, "free_huge_page": step.huge})
        case Rewrite(alone=True):
            task.charge_all({"write_alone": step.pages + step.huge, "walk_after_sleep": step.pages})
        case Rewrite():
            far = far_copies(max(step.pages, step.of), task.system.machine)
            task.charge_all(do_wp_page(step.pages, shared=step.shared, far=far))
            task.charge_all(do_huge_pmd_wp_page(step.huge, task.system.rules, shared=step.shared))
        case Mprotect():
            task.charge_all({"mprotect_split": step.pairs, "protect_page": step.pages})
            flush_tlb_page(task, flushes=step.pages, running=step.beside)
        case Stream():
            task.charge_all({"page_clear": step.cleared, "page_copy": step.copied})
            shared = {"clear_beside": step.cleared, "copy_beside": step.copied} if step.beside else {}
            task.charge_all({name: step.beside * count for name, count in shared.items()})
        case PingPong():
            task.charge("pipe_io", 2)
            if step.same_cpu:
                task.charge("context_switch")
            else:
                task.latency(wake_latency(step.idle_ns))
        case Sleep():
            yield from nanosleep(task, step.time_ns)
        case _:
            raise TypeError(f"not a step of a program: {step!r}")
    yield from task.meet()
