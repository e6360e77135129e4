"""TLB flushes and who is interrupted by them: `arch/x86/mm/tlb.c`."""

from __future__ import annotations

from math import exp

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


def in_mask(system: System, *, running: int, sleeping: int) -> float:
    """Other CPUs in mm_cpumask at a fork whose threads run, or have last run and now sleep.

    A CPU that idles after a thread keeps the mm and stays in the mask. One that another program has taken leaves it
    at the switch, or by rule `lazy_mm_cpumask` stays: `arch/x86/mm/tlb.c:switch_mm_irqs_off@v6.18`.
    Leaves out: that such a CPU is removed once a second or by the first flush; CPUs that the caller itself left.
    """
    others = min(max(running, sleeping), len(system.cpus) - 1)
    if system.rules.lazy_mm_cpumask or not system.load.busy_cpus:
        return others
    return max(min(running, others), others - system.load.busy_cpus)


def flush_tlb_mm(task: Task, *, running: int, sleeping: int = 0) -> None:
    """Fork's full flush of the parent's mm: `arch/x86/mm/tlb.c:flush_tlb_mm_range@v6.18`.

    The local part is in dup_mm_fixed. It counts as if tables were freed, so that all other CPUs of mm_cpumask get an
    IPI and acknowledge it, idle ones too.
    Charges: ipi_round, ipi_receiver; tlb_broadcast instead by rule `tlb_broadcast`.
    """
    others = in_mask(task.system, running=running, sleeping=sleeping)
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


def flush_tlb_range(task: Task, *, flushes: float, running: float, wakes: float) -> float:
    """Flushes of the 2 MiB of a split pmd: `arch/x86/include/asm/tlbflush.h:flush_tlb_range@v6.18`.

    By rule `range_flush_reaches_lazy` they go to all of mm_cpumask, also to CPUs whose thread sleeps: each once, for
    an idle CPU then leaves the mm, one that another program holds the mask (`arch/x86/mm/tlb.c:flush_tlb_func@v6.18`),
    until a thread of the mm runs there again. Before, only CPUs that run the mm are reached. Measured on a two-CPU
    guest, a thread on the other CPU that wakes every 0.1 ms: 30 of 60 splits interrupted it, 4 of 60 copied pages.

    Args:
        flushes: of this thread; running: other CPUs that run the mm at a moment, on average.
        wakes: how often threads of the mm have woken on each other CPU since the flush before.

    Returns: CPUs that each flush reached.
    Charges: flush_round, ipi_receiver, wake_idle_hot for idle CPUs.
    """
    system = task.system
    asleep = max(0.0, min(system.load.threads, len(system.cpus)) - 1.0 - running)
    left = asleep * (1.0 - exp(-wakes)) if system.rules.range_flush_reaches_lazy else 0.0
    taken = left * min(1.0, system.load.busy_cpus / len(system.cpus))
    idle = left - taken
    reached = running + idle + (taken if system.rules.lazy_mm_cpumask else 0.0)
    with task.at("flush_tlb_range"):
        _rounds(task, "flush_round", flushes=flushes, others=reached)
        if not broadcasts(system, reached):
            task.latency("wake_idle_hot", flushes * min(1.0, idle))
    return reached
