"""What fork, exec and exit have to look at in an mm: counts over its vmas, made once an address space.

Whoever works on `MmCounts` does so by + - * / and `at_least`, `at_most` alone, so that the counts may as well be numpy
arrays of many parents, or the expressions of `model.symbolic`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from model.address_space import FILES, AddressSpace, PageTables, Vma, page_tables
from model.rules import Rules

Counts = dict[str, float]


def at_least(value: float, least: float) -> float:
    """The larger of two, of an array each."""
    if type(value) is float or type(value) is int:
        return value if value > least else least
    larger: float = np.maximum(value, least)
    return larger


def at_most(value: float, most: float) -> float:
    """The smaller of two, of an array each."""
    if type(value) is float or type(value) is int:
        return value if value < most else most
    smaller: float = np.minimum(value, most)
    return smaller


def vma_needs_copy(vma: Vma, rules: Rules) -> bool:
    """Whether fork walks the page tables of a vma: `mm/memory.c:vma_needs_copy@v6.18`.

    Only if it has an anon_vma; shared and never written private mappings are faulted in again by the child. Before 6.0
    hugetlb mappings were always walked.
    """
    if vma.wipeonfork:
        return False
    return vma.anon_vma or (vma.hugetlb_pages > 0 and not rules.hugetlb_lazy)


@dataclass(frozen=True, slots=True, kw_only=True)
class MmCounts:
    """An mm as fork copies it and as its copy is torn down: counts over its vmas, MADV_DONTFORK ones left out.

    Attributes:
        vmas, dontcopy, accounted, with_anon_vma, chain_links, files: vmas; those left out; those with VM_ACCOUNT; those
            with an anon_vma; anon_vma_chain entries beyond the first; those linked into a file's i_mmap tree.
        tables: page tables of the walked vmas.
        small_ptes: anonymous ptes handled one by one.
        folios, folio_ptes: batches of large folios and their ptes.
        file_ptes, swap_ptes, huge_pmds, hugetlb_pages: the rest of what the walked vmas map.
        private_ptes: anonymous ptes in vmas that may be written: only they are write-protected.
    """

    vmas: int
    dontcopy: int
    accounted: int
    with_anon_vma: int
    chain_links: int
    files: int
    tables: PageTables
    small_ptes: int
    folios: float
    folio_ptes: int
    file_ptes: int
    swap_ptes: int
    huge_pmds: int
    hugetlb_pages: int
    private_ptes: int


def mm_counts(space: AddressSpace, rules: Rules) -> MmCounts:
    """Count an address space once, whoever forks it how often."""
    key = counts_key(rules)
    found: MmCounts | None = space.counted.get(key)
    if found is None:
        found = space.counted[key] = _count(space, rules)
    return found


def own_counts(space: AddressSpace, rules: Rules) -> MmCounts:
    """The same of all that an address space maps, what fork leaves out too: what its own end has to drop."""
    whole = AddressSpace(tuple(replace(vma, dontcopy=False, wipeonfork=False) for vma in space.vmas))
    return replace(
        _count(whole, rules), tables=page_tables(whole.vmas), file_ptes=sum(vma.file_ptes for vma in whole.vmas)
    )


def counts_key(rules: Rules) -> tuple[bool, bool]:
    """The rules that the counts of a space depend on; under this key a space keeps them."""
    return rules.hugetlb_lazy, rules.fork_batches_large_folios


def _count(space: AddressSpace, rules: Rules) -> MmCounts:
    copied = [vma for vma in space.vmas if not vma.dontcopy]
    chains = [vma.anon_vma_chain for vma in copied if vma.anon_vma and not vma.wipeonfork]
    walked = [vma for vma in copied if vma_needs_copy(vma, rules)]
    anon_ptes = file_ptes = swap_ptes = huge_pmds = hugetlb_pages = private_ptes = folio_ptes = 0
    folios = 0.0
    for vma in walked:
        pages = vma.anon_ptes
        anon_ptes += pages
        file_ptes += vma.file_ptes
        swap_ptes += vma.swap_ptes
        huge_pmds += vma.huge_pmds
        hugetlb_pages += vma.hugetlb_pages
        if vma.writable_private:
            private_ptes += pages
        if vma.folio_pages > 1 and rules.fork_batches_large_folios:
            folio_ptes += pages
            folios += pages / vma.folio_pages
    return MmCounts(
        vmas=len(copied),
        dontcopy=len(space.vmas) - len(copied),
        accounted=sum([vma.account for vma in copied]),
        with_anon_vma=len(chains),
        chain_links=sum(chains) - len(chains),
        files=sum([vma.kind in FILES for vma in copied]),
        tables=page_tables(walked),
        small_ptes=anon_ptes - folio_ptes,
        folios=folios,
        folio_ptes=folio_ptes,
        file_ptes=file_ptes,
        swap_ptes=swap_ptes,
        huge_pmds=huge_pmds,
        hugetlb_pages=hugetlb_pages,
        private_ptes=private_ptes,
    )
