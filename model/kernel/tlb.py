"""TLB flushes and who is interrupted by them: `arch/x86/mm/tlb.c`."""

from __future__ import annotations

from model.kernel.task import System, Task

ACTIVE_CPUS = 4
"""From so many CPUs on at once an mm is given an ASID that holds on all of them:
`arch/x86/mm/tlb.c:consider_global_asid@v6.18`."""
INVLPGB = "invlpgb"
"""Fact of a machine, 1 where the kernel finds X86_FEATURE_INVLPGB: AMD from Zen 3 on, hidden from most guests."""


def broadcasts(system: System, others: float) -> bool:
    """Whether a flush of an mm that so many other CPUs run goes out as INVLPGB, by rule `tlb_broadcast`.

    Leaves out: that the kernel looks at it only now and then, and keeps the ASID when fewer CPUs run the mm later.
    """
    rule = system.rules.tlb_broadcast
    has = rule == "always" or (rule == "if_cpu_has" and system.machine.facts.get(INVLPGB, 0.0) > 0.0)
    return has and others + 1.0 >= ACTIVE_CPUS


def interrupted_by(system: System, others: float) -> float:
    """How many of the other CPUs that run an mm a flush of it interrupts."""
    return 0.0 if broadcasts(system, others) else others


def flush_tlb_mm(task: Task, *, running: int) -> None:
    """Fork's full flush of the parent's mm: `arch/x86/mm/tlb.c:flush_tlb_mm_range@v6.18`.

    The local part is in dup_mm_fixed. Other threads that run get an IPI and acknowledge it.
    Charges: ipi_round, ipi_receiver; tlb_broadcast instead by rule `tlb_broadcast`.
    Leaves out: lazy CPUs left in the mask.
    """
    others = min(running, len(task.system.cpus) - 1)
    if others > 0:
        with task.at("flush_tlb_mm"):
            _rounds(task, "ipi_round", flushes=1.0, others=others)


def _rounds(task: Task, name: str, *, flushes: float, others: float) -> None:
    """Reach so many other CPUs, on average, with each flush: acknowledgements overlap, sending interrupts does not."""
    if broadcasts(task.system, others):
        task.latency("tlb_broadcast", flushes)
        return
    task.latency(name, flushes * min(1.0, others))
    if others > 1.0:
        task.latency("ipi_receiver", flushes * (others - 1.0))


def flush_tlb_page(task: Task, *, flushes: float, running: float) -> None:
    """Flushes after copied pages and split pmds: `arch/x86/include/asm/tlbflush.h:flush_tlb_page@v6.18`.

    The local part is in the fault's price. `running` is how many other CPUs run the mm at a moment, on average; lazy
    ones are spared.
    Charges: flush_round, ipi_receiver; tlb_broadcast instead by rule `tlb_broadcast`. What the interrupt takes, who is
    interrupted pays: `mutators.py:_interrupted`.
    """
    with task.at("flush_tlb_page"):
        _rounds(task, "flush_round", flushes=flushes, others=running)
