"""What an mm costs to copy and to tear down, by page kind. Counts only; no pte is ever looped over.

`mm/memory.c`, `mm/huge_memory.c`, `mm/hugetlb.c`. Prices stay linear: what depends on size is split into counts here.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.kernel.mm import Counts, MmCounts, at_least, at_most
from model.machine import Machine
from model.rules import Rules
from model.scenario import Touch
from model.units import PTRS_PER_TABLE

LINES_IN_PAGE = 64
SCATTER_FULL, FAR_FULL = 1.5, 3.0
"""How many times as large as a cache a walk must be to find nothing in it: a private one, one that neighbours share.
Read off forks of 4 Ki to 1 Mi scattered pages, whose price a pte rises in two steps of this shape."""
LINES = {"vma": 24, "anon_vma": 12, "table": 128, "pte": 1, "huge_pmd": 66}
"""Cache lines of 64 bytes that duplicating or dropping one of each touches, rounded: vm_area_struct and its maple slot
on both sides; anon_vma and anon_vma_chain; both pte tables in full; a struct page, of a folio's tail pages too."""


def footprint_lines(mm: MmCounts) -> float:
    """Cache lines that a walk over the whole mm touches."""
    return (
        LINES["vma"] * mm.vmas
        + LINES["anon_vma"] * (mm.with_anon_vma + mm.chain_links)
        + LINES["table"] * (mm.tables.pte + mm.tables.upper)
        + LINES["pte"] * (mm.small_ptes + mm.folio_ptes + mm.file_ptes + mm.swap_ptes)
        + LINES["huge_pmd"] * mm.huge_pmds
    )


def beyond(count: float, machine: Machine, fact: str) -> float:
    """The part of a count that a free list of the machine does not hold; none where that was not measured.

    Splitting the count keeps both prices linear.
    """
    return at_least(count - machine.fact(fact), 0.0)


def held(count: float, kind: str, lines: float) -> float:
    """Of some vmas, tables, ptes ..., those that a cache of so many lines can have held before another took them away.

    Of the count alone, not of what else a walk touches: one more vma must never make an mm cheaper to copy.
    """
    return at_most(count, lines / LINES[kind])


@dataclass(frozen=True, slots=True, kw_only=True)
class Misses:
    """Shares of a walk over an mm that find nothing in the cache any more: what is walked again and again.

    A price that depends on size is two costs: one for all units, one for this share of them. All kinds share the
    caches, so it is the whole walk's footprint that decides, and what the caller wrote since the walk before.

    Attributes:
        vmas, tables: in the second-level cache.
        scattered: ptes whose struct page is no neighbour of the one before and so is not prefetched.
        far: ptes, in the last cache that is this CPU's to use.
    """

    vmas: float
    tables: float
    scattered: float
    far: float


def misses(mm: MmCounts, machine: Machine, *, contiguous: float, writable: float) -> Misses:
    """The shares for one walk; zero where the machine's caches were not measured."""
    lines = footprint_lines(mm)
    written = LINES_IN_PAGE * writable * mm.private_ptes
    return Misses(
        vmas=_gradual(lines + written, machine.fact("l2_lines")),
        tables=_gradual(lines + written, machine.fact("table_lines")),
        scattered=(1.0 - contiguous) * _sharp(lines + written, machine.fact("scatter_lines"), SCATTER_FULL),
        far=_sharp(lines, machine.fact("far_lines"), FAR_FULL),
    )


def _gradual(lines: float, capacity: float) -> float:
    """What random replacement leaves: the cache keeps its capacity's worth of the walk."""
    return at_least(1.0 - capacity / at_least(lines, 1.0), 0.0)


def _sharp(lines: float, capacity: float, full: float) -> float:
    """What replacing the least recently used leaves: a walk `full` times as large as the cache finds nothing."""
    return at_most(at_least((lines / capacity - 1.0) / (full - 1.0), 0.0), 1.0) if capacity else 1.0


def copy_page_range(mm: MmCounts, rules: Rules, machine: Machine, missed: Misses, *, writable: float) -> Counts:
    """What copying the page tables of a whole mm costs: `mm/memory.c:copy_page_range@v6.18`.

    Charges: copy_table, copy_table_beyond_pcp, copy_present_pte, copy_pte_beyond_cache, copy_folio_pte_beyond_cache,
    copy_scattered_pte, wrprotect_pte, locked_rmw, copy_file_pte, copy_folio, copy_folio_pte, copy_swap_pte,
    copy_huge_pmd, copy_huge_beyond_pcp, copy_hugetlb_pte.
    Leaves out: the scan of empty ptes (part of copy_table), mmu notifiers, pinned pages.
    """
    tables = mm.tables.pte + mm.tables.upper
    return {
        "copy_table": tables,
        "copy_table_beyond_pcp": beyond(tables, machine, "pcp_tables"),
        "copy_present_pte": mm.small_ptes,
        "copy_pte_beyond_cache": mm.small_ptes * missed.far,
        "copy_folio_pte_beyond_cache": mm.folio_ptes * missed.far,
        "copy_scattered_pte": _scattered(mm, missed),
        "wrprotect_pte": mm.private_ptes * (writable if rules.wrprotect_only_writable else 1.0),
        "locked_rmw": mm.private_ptes * writable * rules.anon_exclusive,
        "copy_folio": mm.folios,
        "copy_folio_pte": mm.folio_ptes,
        "copy_file_pte": mm.file_ptes,
        "copy_swap_pte": mm.swap_ptes,
        "copy_huge_pmd": mm.huge_pmds,
        "copy_huge_beyond_pcp": beyond(mm.huge_pmds, machine, "pcp_huge"),
        "copy_hugetlb_pte": mm.hugetlb_pages,
    }


def zap_page_range(mm: MmCounts, machine: Machine, missed: Misses) -> Counts:
    """What dropping the page tables of a copy costs, every page staying: `mm/memory.c:unmap_vmas@v6.18`.

    Charges: zap_pte, zap_pte_beyond_cache, zap_folio_pte_beyond_cache, zap_scattered_pte, zap_file_pte, zap_folio,
    zap_folio_pte, zap_huge_pmd, zap_huge_beyond_pcp, free_pte_table, free_table_beyond_cache, free_upper_table.
    """
    return {
        "zap_pte": mm.small_ptes + mm.swap_ptes + mm.hugetlb_pages,
        "zap_pte_beyond_cache": mm.small_ptes * missed.far,
        "zap_folio_pte_beyond_cache": mm.folio_ptes * missed.far,
        "zap_scattered_pte": _scattered(mm, missed),
        "zap_file_pte": mm.file_ptes,
        "zap_folio": mm.folios,
        "zap_folio_pte": mm.folio_ptes,
        "zap_huge_pmd": mm.huge_pmds,
        "zap_huge_beyond_pcp": beyond(mm.huge_pmds, machine, "pcp_huge"),
        "free_pte_table": mm.tables.pte,
        "free_table_beyond_cache": mm.tables.pte * missed.tables,
        "free_upper_table": mm.tables.upper,
    }


def _scattered(mm: MmCounts, missed: Misses) -> float:
    """Ptes whose struct page is not prefetched; a batch touches each too (`include/linux/rmap.h`), but within a folio
    they are neighbours."""
    return mm.small_ptes * missed.scattered + at_most(mm.folio_ptes * missed.scattered, mm.folios)


def _in_private_cache(mm: MmCounts, machine: Machine) -> Counts:
    lines = machine.fact("l2_lines")
    return {
        "vma": held(mm.vmas, "vma", lines),
        "anon_vma": held(mm.with_anon_vma, "anon_vma", lines),
        "pte": held(mm.small_ptes, "pte", lines),
        "table": held(mm.tables.pte + mm.tables.upper, "table", lines),
        "huge": held(mm.huge_pmds, "huge_pmd", lines),
    }


def dup_returned(mm: MmCounts, machine: Machine, share: float) -> Counts:
    """What copying an mm costs more after a child that dropped its copy on another CPU, `share` of the time.

    That CPU's own cache and free lists have the vmas, struct pages and tables then, as many as they can hold.
    Charges: returned_mm, returned_vma, returned_anon_vma, returned_pte, returned_table, returned_huge.
    """
    found = _in_private_cache(mm, machine)
    return {"returned_mm": share, **{f"returned_{kind}": count * share for kind, count in found.items()}}


def drop_remote(mm: MmCounts, machine: Machine) -> Counts:
    """What dropping an mm costs more on another CPU than the one that copied it, whose own cache still has the lines.

    Charges: remote_vma, remote_anon_vma, remote_pte, remote_table, remote_huge.
    """
    return {f"remote_{kind}": count for kind, count in _in_private_cache(mm, machine).items()}


def dup_vmas(mm: MmCounts, rules: Rules, missed: Misses) -> Counts:
    """What the per-vma loop of `mm/mmap.c:dup_mmap@v6.18` costs beside the page tables.

    Charges: vm_area_dup, vma_account, dontcopy_vma, vm_area_dup_beyond_cache, maple_store_vma, anon_vma_fork,
    anon_vma_chain_link, vma_link_file.
    Leaves out: hugetlb reservations, userfaultfd, memory policies.
    """
    return {
        "vm_area_dup": mm.vmas,
        "vma_account": mm.accounted,
        "dontcopy_vma": mm.dontcopy if rules.vma_tree == "mt_dup" else 0,
        "vm_area_dup_beyond_cache": (mm.vmas + mm.with_anon_vma) * missed.vmas,
        "maple_store_vma": mm.vmas if rules.vma_tree == "maple" else 0,
        "anon_vma_fork": mm.with_anon_vma,
        "anon_vma_chain_link": mm.chain_links,
        "vma_link_file": mm.files,
    }


def drop_vmas(mm: MmCounts, missed: Misses) -> Counts:
    """What `mm/mmap.c:exit_mmap@v6.18` costs for its vmas, page tables left out.

    Charges: remove_vma, unlink_anon_vma, unlink_anon_vma_link, unlink_beyond_cache, unlink_file_vma.
    """
    return {
        "remove_vma": mm.vmas,
        "unlink_anon_vma": mm.with_anon_vma,
        "unlink_anon_vma_link": mm.chain_links,
        "unlink_beyond_cache": mm.with_anon_vma * missed.vmas,
        "unlink_file_vma": mm.files,
    }


def free_owned(pages: float, machine: Machine) -> Counts:
    """What zapping and freeing anonymous pages costs that are one mm's alone.

    Charges: zap_pte, free_anon_page, free_page_beyond_pcp.
    """
    return {"zap_pte": pages, "free_anon_page": pages, "free_page_beyond_pcp": beyond(pages, machine, "pcp_pages")}


def free_folios(pages: float, folio_pages: int, rules: Rules, machine: Machine) -> Counts:
    """What zapping and freeing pages costs that lie in large folios, all of them one mm's alone.

    Charges: zap_folio and zap_folio_pte, or zap_pte where the kernel has no batches; free_folio, free_folio_page,
    free_folio_page_beyond_cache.
    """
    folios = pages / folio_pages
    far = _gradual(LINES["pte"] * pages, machine.fact("l2_lines"))
    freed = {"free_folio": folios, "free_folio_page": pages, "free_folio_page_beyond_cache": pages * far}
    if not rules.fork_batches_large_folios:
        return {"zap_pte": pages, **freed}
    return {"zap_folio": folios, "zap_folio_pte": pages, **freed}


def free_tables(tables: float, pages: float, machine: Machine) -> Counts:
    """What freeing the pte tables of an unmapped range costs, `pages` of which were mapped.

    Charges: free_pte_table, free_table_beyond_cache.
    """
    share = _gradual(LINES["table"] * tables + LINES["pte"] * pages, machine.fact("table_lines"))
    return {"free_pte_table": tables, "free_table_beyond_cache": tables * share}


def first_touch(touch: Touch, rules: Rules, machine: Machine) -> Counts:
    """What first reads and writes of anonymous memory cost: `mm/memory.c:do_anonymous_page@v6.18`.

    Charges: fault_pte_table; for writes fault_anon and alloc_page_beyond_pcp, or fault_folio and fault_folio_page,
    fault_huge; for reads fault_zero_page, fault_huge_zero; for writes after reads fault_zero_write, and by rule
    huge_zero_write fault_huge (6.14 and later), or split_huge_pmd and one fault_zero_write.
    """
    if touch.read:
        return {"fault_pte_table": touch.tables, "fault_zero_page": touch.pages, "fault_huge_zero": touch.huge}
    if touch.after_read:
        if rules.huge_zero_write == "alloc":
            return {"fault_zero_write": touch.pages, "fault_huge": touch.huge}
        return {"fault_zero_write": touch.pages + touch.huge, "split_huge_pmd": touch.huge}
    counts: Counts = {"fault_pte_table": touch.tables, "fault_huge": touch.huge}
    if touch.folio_pages > 1:
        return {**counts, "fault_folio": touch.pages / touch.folio_pages, "fault_folio_page": touch.pages}
    more = {"fault_anon": touch.pages, "alloc_page_beyond_pcp": beyond(touch.pages, machine, "pcp_pages")}
    return {**more, **counts}


LINES_OF_COPY = 2 * LINES_IN_PAGE


def far_copies(pages: float, machine: Machine) -> float:
    """Share of copy faults over a region of so many pages that finds neither old nor new page in the caches."""
    return _gradual(LINES_OF_COPY * pages, machine.fact("cow_lines"))


def do_wp_page(pages: float, *, shared: bool, far: float = 0.0) -> Counts:
    """First writes to 4 KiB pages that a fork has write-protected: `mm/memory.c:do_wp_page@v6.18`.

    Charges: fault_cow_copy while another mm shares them, and fault_cow_beyond_cache for the share `far` of them;
    fault_cow_reuse once they are the writer's alone.
    """
    if shared and far:
        return {"fault_cow_copy": pages, "fault_cow_beyond_cache": pages * far}
    return {"fault_cow_copy" if shared else "fault_cow_reuse": pages}


def do_huge_pmd_wp_page(pmds: float, rules: Rules, *, shared: bool) -> Counts:
    """First writes to pmd mappings that a fork has write-protected: `mm/huge_memory.c:do_huge_pmd_wp_page@v6.18`.

    Charges: huge_pmd_reuse for the writer's own; for shared ones by rule thp_cow split_huge_pmd and one fault_cow_copy
    each (5.8 and later), or that fault and page_copy of the other 511 pages.
    """
    if not shared:
        return {"huge_pmd_reuse": pmds}
    if rules.thp_cow == "split_pmd":
        return {"split_huge_pmd": pmds, "fault_cow_copy": pmds}
    return {"fault_cow_copy": pmds, "page_copy": pmds * (PTRS_PER_TABLE - 1)}
