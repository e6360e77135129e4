"""An address space as fork, exec and exit see it: vmas, what their ptes map, and page tables counted from addresses.

A `Vma` holds counts, never pages: a heap of 1 TiB is as small a value as one of 1 MiB.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from model.units import P4D_BYTES, PAGE_BYTES, PMD_BYTES, PTRS_PER_TABLE, PUD_BYTES


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
        first, reach = self.start // PMD_BYTES, min(self.end, self.start + ptes * PAGE_BYTES)
        room = (self.end - 1) // PMD_BYTES - first + 1 - self.huge_pmds
        return max(1, min((reach - 1) // PMD_BYTES - first + 1, room))


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
        start, end = vma.start, vma.end
        if not vma.tail_populated:
            # Taken as dense from the start where nothing better is known.
            end = min(end, start // PMD_BYTES * PMD_BYTES + populated * PMD_BYTES)
        if not vma.head_populated:
            start = max(start, end - populated * PMD_BYTES)
        pte += tables - (tables > 0 and vma.head_populated and start // PMD_BYTES == last_pmd)
        deposited += huge
        known, first, last = vma.pmd_spans, start // PUD_BYTES, (end - 1) // PUD_BYTES
        pmd += (min(last - first + 1, populated) if known is None else known) - (first == last_pud)
        first, last_pud, last_p4d_before = start // P4D_BYTES, last, last_p4d
        last_p4d = (end - 1) // P4D_BYTES
        pud += min(last_p4d - first + 1, populated) - (first == last_p4d_before)
        last_pmd = (end - 1) // PMD_BYTES if vma.tail_populated or vma.pte_spans is None else -1
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
        return sum(getattr(vma, field) for vma in self.vmas)

    @cached_property
    def tables(self) -> PageTables:
        """Page tables of the whole space."""
        return page_tables(self.vmas)

    @property
    def anon_bytes(self) -> int:
        """Resident anonymous memory."""
        return self.total("anon_ptes") * PAGE_BYTES + self.total("huge_pmds") * PMD_BYTES

    def with_thp(self, huge: bool) -> AddressSpace:
        """The same space with its anonymous memory in 4 KiB pages, or in pmd mappings where aligned ranges allow."""
        return AddressSpace(tuple(_vma_as_huge(vma) if huge else _vma_as_small(vma) for vma in self.vmas))


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


def _vma_as_huge(vma: Vma) -> Vma:
    aligned = max(0, vma.end // PMD_BYTES - -(-vma.start // PMD_BYTES)) - vma.huge_pmds
    fits = min(aligned, vma.anon_ptes // PTRS_PER_TABLE)
    if vma.kind is not VmaKind.ANON or fits <= 0:
        return vma
    spans_left = max(vma.tables - fits, 1 if vma.anon_ptes % PTRS_PER_TABLE or vma.file_ptes or vma.swap_ptes else 0)
    return replace(
        vma, anon_ptes=vma.anon_ptes - fits * PTRS_PER_TABLE, huge_pmds=vma.huge_pmds + fits, pte_spans=spans_left
    )
