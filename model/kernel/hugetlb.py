"""Pages of the hugetlb pool: `mm/hugetlb.c`. Fork's copy of their entries is counted in `memory.py`."""

from __future__ import annotations

from model.kernel.mm import Counts
from model.units import PTRS_PER_TABLE


def hugetlb_wp(pages: float, *, shared: bool) -> Counts:
    """First writes after a fork to private hugetlb pages of 2 MiB: `mm/hugetlb.c:hugetlb_wp@v6.18`.

    They are never split: a shared one is copied whole out of the pool, by every kernel; one that is the writer's alone
    again (its mapcount is 1) is taken over.
    Charges: fault_cow_copy and page_copy of the other 511 pages; huge_pmd_reuse.
    Leaves out: a pool that has run out, where the owner of the reservation takes the page away from its child.
    """
    if not shared:
        return {"huge_pmd_reuse": pages}
    return {"fault_cow_copy": pages, "page_copy": pages * (PTRS_PER_TABLE - 1)}
