"""TLB flushes and who is interrupted by them: `arch/x86/mm/tlb.c`."""

from __future__ import annotations

from model.kernel.task import Task


def flush_tlb_mm(task: Task, *, running: int) -> None:
    """Fork's full flush of the parent's mm: `arch/x86/mm/tlb.c:flush_tlb_mm_range@v6.18`.

    The local part is in dup_mm_fixed. Other threads that run get an IPI and acknowledge it.
    Charges: ipi_round, ipi_receiver.
    Leaves out: lazy CPUs left in the mask, INVLPGB.
    """
    others = min(running, len(task.system.cpus) - 1)
    if others > 0:
        with task.at("flush_tlb_mm"):
            _rounds(task, "ipi_round", flushes=1.0, others=others)


def _rounds(task: Task, name: str, *, flushes: float, others: float) -> None:
    """Interrupt so many other CPUs, on average, with each flush: the acknowledgements overlap, sending does not."""
    task.latency(name, flushes * min(1.0, others))
    if others > 1.0:
        task.latency("ipi_receiver", flushes * (others - 1.0))


def flush_tlb_page(task: Task, *, flushes: float, running: float) -> None:
    """Flushes after copied pages and split pmds: `arch/x86/include/asm/tlbflush.h:flush_tlb_page@v6.18`.

    The local part is in the fault's price. `running` is how many other CPUs run the mm at a moment, on average; lazy
    ones are spared.
    Charges: flush_round, ipi_receiver. What the interrupt takes, who is interrupted pays: `mutators.py:_interrupted`.
    Leaves out: INVLPGB.
    """
    with task.at("flush_tlb_page"):
        _rounds(task, "flush_round", flushes=flushes, others=running)
