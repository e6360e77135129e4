"""An address space as fork, exec and exit see it: vmas, what their ptes map, and page tables counted from addresses.

A `Vma` holds counts, never pages: a heap of 1 TiB is as small a value as one of 1 MiB.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from typing import Any

from model.units import PAGE_BYTES, PMD_BYTES, PMD_SHIFT, PTE_BITS, PTRS_PER_TABLE


class VmaKind(StrEnum):
    """What a vma maps; the words of the parent description in TOML, and `special` for vdso, vvar and vsyscall."""

    ANON = "anon"
    FILE_PRIVATE = "file-private"
    FILE_SHARED = "file-shared"
    STACK = "stack"
    GUARD = "guard"
    SPECIAL = "special"


FILES = (VmaKind.FILE_PRIVATE, VmaKind.FILE_SHARED)
"""Kinds with a `vma->vm_file`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vma:
    """One vm_area_struct, by what duplicating and dropping it has to look at.

    Attributes:
        start, end: addresses in bytes, page aligned, start < end.
        kind: what it maps.
        anon_ptes: ptes that map anonymous 4 KiB pages, those of PTE-mapped large folios included.
        folio_pages: pages of the folios behind `anon_ptes` (1: small pages; 16: 64 KiB mTHP ...).
        file_ptes: ptes that map page-cache or shmem pages.
        swap_ptes: swap entries.
        huge_pmds: anonymous pmd mappings of 2 MiB.
        file_huge_pmds: pmd mappings of page cache or shmem: fork leaves them out, the child faults them in again.
        hugetlb_pages: hugetlb entries.
        anon_vma: whether `vma->anon_vma` is set (an anonymous page was once faulted in).
        anon_vma_chain: anon_vma_chain entries; 1 after exec, one more for each fork generation.
        dontcopy, wipeonfork: madvise(MADV_DONTFORK), madvise(MADV_WIPEONFORK).
        account: VM_ACCOUNT, counts against the commit limit.
        writable_private: VM_WRITE without VM_SHARED; only such ptes are write-protected by fork.
        pte_spans: populated 2 MiB spans that have a pte table (huge pmds not counted), or None: taken as dense.
        pmd_spans: populated 1 GiB spans, or None: as many as the populated part covers if dense.
        head_populated, tail_populated: whether the first and last span that the vma touches are populated.
        path: file name, or the kernel's name in brackets, for reports.
    """

    start: int
    end: int
    kind: VmaKind = VmaKind.ANON
    anon_ptes: int = 0
    folio_pages: int = 1
    file_ptes: int = 0
    swap_ptes: int = 0
    huge_pmds: int = 0
    file_huge_pmds: int = 0
    hugetlb_pages: int = 0
    anon_vma: bool = False
    anon_vma_chain: int = 1
    dontcopy: bool = False
    wipeonfork: bool = False
    account: bool = True
    writable_private: bool = True
    pte_spans: int | None = None
    pmd_spans: int | None = None
    head_populated: bool = True
    tail_populated: bool = False
    path: str = ""

    @property
    def size_bytes(self) -> int:
        """Length of the range."""
        return self.end - self.start

    @property
    def is_file(self) -> bool:
        """Whether `vma->vm_file` is set: it is linked into the file's i_mmap tree."""
        return self.kind in FILES

    @property
    def ptes(self) -> int:
        """Present and swap ptes."""
        return self.anon_ptes + self.file_ptes + self.swap_ptes

    @property
    def tables(self) -> int:
        """Populated 2 MiB spans with a pte table, shared ones counted in full; dense from the start if unknown."""
        if self.pte_spans is not None:
            return self.pte_spans
        ptes = self.anon_ptes + self.file_ptes + self.swap_ptes
        if not ptes:
            return 0
        first, last = self.start >> PMD_SHIFT, (self.end - 1) >> PMD_SHIFT
        reached = (self.start + ptes * PAGE_BYTES - 1) >> PMD_SHIFT
        return max(1, min(reached, last, last - self.huge_pmds) - first + 1)


@dataclass(frozen=True, slots=True)
class PageTables:
    """Page-table pages of a set of vmas by level; `deposited` are the spare pte tables of huge pmds."""

    pte: int
    pmd: int
    pud: int
    deposited: int

    @property
    def upper(self) -> int:
        """Tables above the pte level, the pgd left out."""
        return self.pmd + self.pud


def page_tables(vmas: Iterable[Vma]) -> PageTables:
    """Page-table pages that the populated parts of `vmas` need, from their addresses.

    `vmas` are in address order. A table that neighbours share is counted once, whoever shares it
    (`mm/memory.c:copy_pte_range@v6.18` allocates on the first pte of a 2 MiB span).
    """
    pte = pmd = pud = deposited = 0
    last_pmd = last_pud = last_p4d = -1
    for vma in vmas:
        tables, huge = vma.tables, vma.huge_pmds
        populated = tables + huge
        if not populated:
            continue
        # The first and the last populated 2 MiB span, by number.
        first, last = vma.start >> PMD_SHIFT, (vma.end - 1) >> PMD_SHIFT
        beyond = vma.end >> PMD_SHIFT
        if not vma.tail_populated and last - first >= populated:
            # Taken as dense from the start where nothing better is known.
            last, beyond = first + populated - 1, first + populated
        if not vma.head_populated:
            first = max(first, beyond - populated)
        pte += tables - (first == last_pmd and tables > 0 and vma.head_populated)
        deposited += huge
        first_pud, first_p4d, known = first >> PTE_BITS, first >> 2 * PTE_BITS, vma.pmd_spans
        before_pud, last_pud = last_pud, last >> PTE_BITS
        before_p4d, last_p4d = last_p4d, last >> 2 * PTE_BITS
        pmd += (min(last_pud - first_pud + 1, populated) if known is None else known) - (first_pud == before_pud)
        pud += min(last_p4d - first_p4d + 1, populated) - (first_p4d == before_p4d)
        last_pmd = last if vma.tail_populated or vma.pte_spans is None else -1
    return PageTables(pte=pte, pmd=pmd, pud=pud, deposited=deposited)


@dataclass(frozen=True)
class AddressSpace:
    """The vmas of an mm in address order.

    Attributes:
        vmas: they do not overlap.
        counted: what was counted of it before, by whoever counts: `kernel.memory.mm_counts` keeps its sums here.
    """

    vmas: tuple[Vma, ...]
    counted: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for before, after in zip(self.vmas, self.vmas[1:], strict=False):
            if after.start < before.end:
                raise ValueError(f"vmas overlap or are out of order at {after.start:#x}")

    def total(self, field: str) -> int:
        """Sum of one counting field over all vmas."""
        return sum(map(attrgetter(field), self.vmas))

    @cached_property
    def tables(self) -> PageTables:
        """Page tables of the whole space."""
        return page_tables(self.vmas)

    @property
    def anon_bytes(self) -> int:
        """Resident anonymous memory."""
        return self.total("anon_ptes") * PAGE_BYTES + self.total("huge_pmds") * PMD_BYTES

    def with_thp(self, huge: bool, *, fallback: float = 0.0) -> AddressSpace:
        """The same space with its anonymous memory in 4 KiB pages, or in pmd mappings where aligned ranges allow.

        `fallback`: share of these ranges for which memory was too fragmented, so that they have small pages.
        """
        if not huge or fallback:
            small = AddressSpace(tuple(_vma_as_small(vma) for vma in self.vmas))
            return small if not huge else AddressSpace(tuple(_vma_as_huge(vma, fallback) for vma in small.vmas))
        return AddressSpace(tuple(_vma_as_huge(vma, 0.0) for vma in self.vmas))

    def with_folios(self, pages: int) -> AddressSpace:
        """The same space with its anonymous ptes in folios of so many pages (mTHP); 1: small pages."""
        return AddressSpace(tuple(replace(vma, folio_pages=pages) if vma.anon_ptes else vma for vma in self.vmas))


def _vma_as_small(vma: Vma) -> Vma:
    if not vma.huge_pmds:
        return vma
    return replace(
        vma,
        anon_ptes=vma.anon_ptes + vma.huge_pmds * PTRS_PER_TABLE,
        huge_pmds=0,
        folio_pages=1,
        pte_spans=vma.tables + vma.huge_pmds,
    )


def _vma_as_huge(vma: Vma, fallback: float) -> Vma:
    aligned = max(0, vma.end // PMD_BYTES - -(-vma.start // PMD_BYTES)) - vma.huge_pmds
    fits = round((1.0 - fallback) * min(aligned, vma.anon_ptes // PTRS_PER_TABLE))
    if vma.kind is not VmaKind.ANON or fits <= 0:
        return vma
    spans_left = max(vma.tables - fits, 1 if vma.anon_ptes % PTRS_PER_TABLE or vma.file_ptes or vma.swap_ptes else 0)
    return replace(
        vma, anon_ptes=vma.anon_ptes - fits * PTRS_PER_TABLE, huge_pmds=vma.huge_pmds + fits, pte_spans=spans_left
    )
