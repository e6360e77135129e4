"""How many memory references a page walk takes, bare and under a hypervisor with nested paging."""

from __future__ import annotations


def walk_references(levels: int = 4, *, nested_levels: int = 0, cached: int = 0, nested_cached: int = 0) -> int:
    """Memory references of one page walk.

    Under nested paging each entry of the guest's tables, and at last the data's own address, lies at a guest-physical
    address that needs a walk of the host's tables: (g + 1)(h + 1) - 1 references without any cache, 24 for 4 and 4
    levels, 35 for 5 and 5 (Bhargava, Serebrin, Spadini and Manne, "Accelerating Two-Dimensional Page Walks for
    Virtualized Systems", ASPLOS 2008).

    Args:
        levels: of the (guest's) page tables.
        nested_levels: of the host's; 0: no hypervisor, or shadow paging.
        cached: upper levels that a paging-structure cache spares, with the nested walks that they need.
        nested_cached: upper levels of each nested walk that are spared.

    Raises:
        ValueError: a negative count, or more levels cached than there are above the last.
    """
    if not 0 <= cached < levels or not 0 <= nested_cached <= nested_levels:
        raise ValueError("no more levels can be cached than there are")
    guest, host = levels - cached, nested_levels - nested_cached
    return (guest + 1) * (host + 1) - 1
