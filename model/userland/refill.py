"""What a thread pays after flushes of its CPU's TLB: page walks of references that had been answered without.

First writes since a fork fault, and a fault's price holds its own page walk. Counted here are the other references:
reads, and writes to pages that have been written since.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from model.hardware.tlb import Tlb, Touched, tlb_of
from model.kernel.task import System
from model.units import PTRS_PER_TABLE
from model.userland.first_writes import Faults
from model.userland.working_set import WorkingSet

TLB_MISS = "tlb_miss"
"""The cost of one such page walk; a machine file without it, or without the TLB's size, leaves refills out."""
IPI_INTERRUPTED = "ipi_interrupted"
"""What a flush takes from a thread on another CPU; a machine file without it leaves that out."""


@dataclass(slots=True)
class Refill:
    """One thread's TLB since a fork's full flush, `arch/x86/mm/tlb.c:flush_tlb_mm_range@v6.18`.

    Leaves out: flushes by other groups of mutators, locality other than uniform, pages that only one of two groups
    touches, upper levels that a walk must load anew once.

    Attributes:
        tlb: of its CPU.
        memory: what it references, evenly.
        reads_per_write: references beside each write.
        references: since the fork.
        split_pmds: pmd mappings that have been split since.
    """

    tlb: Tlb
    memory: WorkingSet
    reads_per_write: float
    references: float = 0.0
    split_pmds: float = 0.0

    @classmethod
    def of(cls, system: System, memory: WorkingSet, reads_per_write: float) -> Refill | None:
        """The TLB as the fork leaves it; None if the machine's file does not price or describe it."""
        if TLB_MISS not in system.costs.ns or "tlb_entries" not in system.machine.facts:
            return None
        return cls(tlb_of(system.machine), memory, reads_per_write)

    @property
    def touched(self) -> list[Touched]:
        """The translations that the thread references: split mappings are pages, and so are fractured ones."""
        huge = self.memory.huge_pmds + self.memory.hugetlb_pages
        whole = 0.0 if self.tlb.fractured else max(0.0, huge - self.split_pmds)
        small = self.memory.pages - whole * PTRS_PER_TABLE
        return [
            Touched(small, small / self.memory.pages),
            Touched(whole, whole * PTRS_PER_TABLE / self.memory.pages),
        ]

    def after(self, faults: Faults, *, writes: float, alike: float, written: float) -> float:
        """Page walks that a thread pays because of flushes in a batch of its own `writes`.

        Args:
            faults: of the batch of the thread's task, for all threads that it stands for.
            alike: how many such tasks there are: what flushes one CPU of the mm flushes all.
            written: share of the pages that had been written since the fork before the batch.
        """
        reads = self.reads_per_write / (1.0 + self.reads_per_write)
        references = writes * (1.0 + self.reads_per_write)
        before, self.references = self.references, self.references + references
        touched = self.touched
        of_fork = self.tlb.refill_misses(touched, self.references) - self.tlb.refill_misses(touched, before)
        flushes = alike * self.emptied(faults)
        every = references / flushes if flushes else inf
        of_storm = references * self.tlb.per_reference(touched, every)
        self.split_pmds += alike * faults.splits
        return min(references, reads * max(0.0, of_fork) + (reads + (1.0 - reads) * written) * of_storm)

    def emptied(self, faults: Faults) -> float:
        """Flushes among those of the faults that empty a TLB: of a split, and of a page where that does too."""
        pages = faults.copies + faults.pmd_copies
        return faults.splits + self.tlb.page_flush_empties * pages
