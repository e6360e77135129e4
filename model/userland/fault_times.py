"""What faults of a batch of writes take: together, and each by its kind."""

from __future__ import annotations

from model.kernel.task import Task
from model.units import PTRS_PER_TABLE
from model.userland.first_writes import Faults


def priced_ns(task: Task, faults: Faults) -> float:
    """All of them by their own prices."""
    costs = task.system.costs
    return sum(count * costs.price(name) for name, count in faults.counts.items() if count)


def stalls_of(task: Task, faults: Faults, factor: float) -> list[tuple[float, float]]:
    """(duration, how many) of the faults of a batch by kind; waits lengthen all of them alike."""
    price = task.system.costs.price
    copy_ns, reuse_ns = price("fault_cow_copy"), price("fault_cow_reuse")
    kinds = [(copy_ns, faults.copies - faults.splits - faults.table_copies), (reuse_ns, faults.reuses)]
    if faults.table_copies:
        assert task.mm.cow is not None
        table_ns = sum(price(name) * count for name, count in task.mm.cow.table.items() if count)
        kinds.append((copy_ns + table_ns, faults.table_copies))
    if faults.splits:
        kinds.append((copy_ns + price("split_huge_pmd"), faults.splits))
    if faults.pmd_copies:
        kinds.append((copy_ns + (PTRS_PER_TABLE - 1) * price("page_copy"), faults.pmd_copies))
    if faults.pmd_reuses:
        kinds.append((price("huge_pmd_reuse"), faults.pmd_reuses))
    return [(duration_ns * factor, count) for duration_ns, count in kinds if count > 0.0]
