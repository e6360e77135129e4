"""The memory that mutators write to: where it lies, and when a fork protects it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.address_space import AddressSpace, Vma, VmaKind
from model.costs import CostTable
from model.process import Process
from model.scenario import Load, Mutators
from model.units import PTRS_PER_TABLE


def may_be_mutated(vma: Vma) -> bool:
    """Whether mutators write there: private anonymous memory that fork copies."""
    private = vma.kind is VmaKind.ANON and vma.writable_private and vma.anon_vma
    return private and not (vma.dontcopy or vma.wipeonfork)


def mutable_pages(space: AddressSpace) -> int:
    """Pages of 4 KiB that mutators can write to."""
    return sum(_pages(vma) for vma in space.vmas if may_be_mutated(vma))


def _pages(vma: Vma) -> int:
    return vma.anon_ptes + (vma.huge_pmds + vma.hugetlb_pages) * PTRS_PER_TABLE


def under_load(parent: Process, load: Load) -> Process:
    """The parent as a fork finds it with this load at work.

    Mutators and callers are threads of it, and what mutators write to is writable; `writable` keeps its meaning where
    it was given.
    """
    if not load.mutators and not load.callers:
        return parent
    threads = max(parent.threads, 1 + load.threads + load.callers)
    if not load.mutators or "writable" not in parent.assumed:
        return replace(parent, threads=threads)
    small = sum(vma.anon_ptes for vma in parent.space.vmas if vma.anon_vma and vma.writable_private)
    total = mutable_pages(parent.space)
    asked = min(total, sum(each.working_set_pages for each in load.mutators))
    written = asked * sum(vma.anon_ptes for vma in parent.space.vmas if may_be_mutated(vma)) / total if total else 0.0
    share = min(1.0, written / small) if small else 0.0
    return replace(parent, threads=threads, writable=share + (1.0 - share) * parent.writable)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingSet:
    """Memory of one group of mutators.

    Attributes:
        small_pages, huge_pmds, hugetlb_pages: pages mapped by pte, pmd mappings, pages of 2 MiB of the hugetlb pool.
        folio_pages: those of the small ones that lie in large folios.
        passed, protected: how far dup_mmap is (share of the time it holds mmap_lock), and the share of the working set
            that it has protected by then: two increasing arrays.
    """

    small_pages: float
    huge_pmds: float
    passed: NDArray[np.float64]
    protected: NDArray[np.float64]
    folio_pages: float = 0.0
    hugetlb_pages: float = 0.0

    @property
    def pages(self) -> float:
        """All its pages of 4 KiB."""
        return self.small_pages + (self.huge_pmds + self.hugetlb_pages) * PTRS_PER_TABLE


@dataclass(slots=True)
class _Piece:
    """A mapping while it is handed out: its pages still free start at `taken`."""

    vma: Vma
    begin: float
    end: float
    taken: float = 0.0


def working_sets(parent: Process, mutators: Sequence[Mutators], costs: CostTable) -> list[WorkingSet]:
    """The working set of each group, one behind the other in the parent's largest mappings.

    What does not fit any more is left out; a group for which nothing is left has no pages.
    """
    pieces = sorted(_pieces(parent.space, costs), key=lambda piece: -_pages(piece.vma))
    return [_carve(pieces, each.working_set_pages) for each in mutators]


def _pieces(space: AddressSpace, costs: CostTable) -> Iterator[_Piece]:
    """Mappings that can be written to, with the share of dup_mmap's time at which it reaches and leaves each."""
    weights = np.array([_weight_ns(vma, costs) for vma in space.vmas])
    total = float(weights.sum()) or 1.0
    ends = np.cumsum(weights) / total
    for vma, weight, end in zip(space.vmas, weights, ends, strict=True):
        if may_be_mutated(vma) and _pages(vma):
            yield _Piece(vma, float(end - weight / total), float(end))


def _weight_ns(vma: Vma, costs: CostTable) -> float:
    if vma.dontcopy:
        return 0.0
    if not vma.anon_vma:
        return costs.price("vm_area_dup")
    counts = {
        "vm_area_dup": 1,
        "anon_vma_fork": 1,
        "copy_table": vma.tables,
        "copy_present_pte": vma.ptes,
        "copy_huge_pmd": vma.huge_pmds,
        "copy_hugetlb_pte": vma.hugetlb_pages,
    }
    return sum(count * costs.price(name) for name, count in counts.items() if count)


def _carve(pieces: Sequence[_Piece], wanted: float) -> WorkingSet:
    taken: list[tuple[float, float, float]] = []
    small = folio_pages = huge = hugetlb = 0.0
    for piece in pieces:
        total = _pages(piece.vma)
        pages = min(wanted, total - piece.taken)
        if pages <= 0:
            continue
        length, share = (piece.end - piece.begin) / total, pages / total
        begin = piece.begin + piece.taken * length
        taken.append((begin, begin + pages * length, pages))
        small += share * piece.vma.anon_ptes
        folio_pages += share * piece.vma.anon_ptes * (piece.vma.folio_pages > 1)
        huge += share * piece.vma.huge_pmds
        hugetlb += share * piece.vma.hugetlb_pages
        piece.taken += pages
        wanted -= pages
    taken.sort()
    whole = sum(pages for _, _, pages in taken) or 1.0
    passed, protected = [0.0], [0.0]
    for begin, end, pages in taken:
        passed += [begin, end]
        protected += [protected[-1], protected[-1] + pages / whole]
    return WorkingSet(
        small_pages=small,
        huge_pmds=huge,
        hugetlb_pages=hugetlb,
        passed=np.array([*passed, 1.0]),
        protected=np.array([*protected, protected[-1]]),
        folio_pages=folio_pages,
    )
