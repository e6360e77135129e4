"""TLB flushes and who is interrupted by them: `arch/x86/mm/tlb.c`."""

from __future__ import annotations

from model.kernel.task import Task

FLUSH_ROUND = "flush_round"
"""The round for a single page, where the machine file tells it from that of a fork."""


def flush_tlb_mm(task: Task, *, running: int) -> None:
    """Fork's full flush of the parent's mm: `arch/x86/mm/tlb.c:flush_tlb_mm_range@v6.18`.

    The local part is in dup_mm_fixed. Other threads that run get an IPI and acknowledge it; the rounds to several CPUs
    overlap, so it is one ipi_round whatever their number.
    Charges: ipi_round.
    Leaves out: lazy CPUs left in the mask, INVLPGB.
    """
    others = min(running, len(task.system.cpus) - 1)
    if others > 0:
        with task.at("flush_tlb_mm"):
            task.latency("ipi_round")


def flush_tlb_page(task: Task, *, flushes: float, running: float) -> None:
    """Flushes after copied pages and split pmds: `arch/x86/include/asm/tlbflush.h:flush_tlb_page@v6.18`.

    The local part is in the fault's price. `running` is how many other CPUs run the mm at a moment, on average; lazy
    ones are spared. The rounds to several CPUs overlap. A machine file without flush_round has the fork's price only.
    Charges: flush_round, ipi_round. What it takes from the interrupted, they pay: `userland/refill.py:interrupts`.
    Leaves out: INVLPGB.
    """
    with task.at("flush_tlb_page"):
        name = FLUSH_ROUND if FLUSH_ROUND in task.system.costs.ns else "ipi_round"
        task.latency(name, flushes * min(1.0, running))
