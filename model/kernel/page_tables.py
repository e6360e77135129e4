"""When a fork copies page tables: at once as Linux does, on demand, or by the child (rule `page_table_copy`).

The last two are proposals and in no release. No price of theirs can be measured here; they are told in measured ones:

- `on_demand` (On-demand-fork, Zhao, Gong and Fonseca, EuroSys 2021): fork shares the pte tables. A table costs a
  reference (locked_rmw) and a write-protected pmd entry (wrprotect_pte); upper tables are copied, pmd mappings as ever.
  The first write to a 2 MiB span copies its table, at the average price of the eager copy, then the page. A child that
  ends drops references; it tears down only tables that were copied away from it. Once it is gone, the first write to a
  span makes the table writable again (fault_cow_reuse), and none of its pages faults.
- `async` (Async-fork, Pang and others, VLDB 2023): fork copies the upper tables and write-protects each pmd entry; the
  child copies the pte tables before it runs user code. A write of the parent to a span whose table is still uncopied
  copies that table first. Afterwards all is as after an eager copy.

Left out: pages that the runtime's own code touches around the fork count as if their tables had been copied; changes of
the parent's mappings, which both must wait for; memory of the tables.
"""

from __future__ import annotations

from model.kernel.memory import Misses, copy_page_range
from model.kernel.mm import Counts, MmCounts
from model.machine import Machine
from model.rules import Rules

_EVER = ("copy_huge_pmd", "copy_huge_beyond_pcp", "copy_hugetlb_pte")
"""Part of the copy that no rule puts off."""
_ZAPPED = (
    "zap_pte zap_pte_beyond_cache zap_scattered_pte zap_file_pte zap_folio zap_folio_pte "
    "zap_folio_pte_beyond_cache free_pte_table free_table_beyond_cache"
).split()
"""Part of the teardown that belongs to pte tables."""


def without_tables(counts: Counts, rules: Rules, *put_off_by: str) -> Counts:
    """What another CPU's cache makes dearer (`returned_*`, `remote_*`), less tables that these rules do not walk."""
    if rules.page_table_copy not in put_off_by:
        return counts
    return {name: count for name, count in counts.items() if not name.endswith(("_pte", "_table"))}


def copied_at_fork(mm: MmCounts, rules: Rules, machine: Machine, missed: Misses, *, writable: float) -> Counts:
    """What fork itself does to page tables: `mm/memory.c:copy_page_range@v6.18`, or less by rule.

    Charges: those of copy_page_range; instead for tables put off copy_table (upper ones), wrprotect_pte, locked_rmw.
    """
    whole = copy_page_range(mm, rules, machine, missed, writable=writable)
    if rules.page_table_copy == "eager":
        return whole
    kept = {name: whole[name] for name in _EVER if name in whole}
    references = mm.tables.pte if rules.page_table_copy == "on_demand" else 0
    return {"copy_table": mm.tables.upper, "wrprotect_pte": mm.tables.pte, "locked_rmw": references, **kept}


def copied_later(mm: MmCounts, rules: Rules, machine: Machine, missed: Misses, *, writable: float) -> Counts:
    """What is left to copy of all pte tables; nothing by rule `eager`. Charges: those of copy_page_range."""
    if rules.page_table_copy == "eager":
        return {}
    whole = copy_page_range(mm, rules, machine, missed, writable=writable)
    later = {name: count for name, count in whole.items() if name not in _EVER}
    return {**later, "copy_table": whole["copy_table"] - mm.tables.upper}


def per_table(later: Counts, mm: MmCounts) -> Counts:
    """The average table's part of what is left to copy."""
    return {name: count / mm.tables.pte for name, count in later.items()} if mm.tables.pte else {}


def shared_teardown(counts: Counts, mm: MmCounts, tables_copied: float) -> Counts:
    """The teardown of a child whose pte tables are shared but for those that were copied away from it.

    Charges: the part of exit_mmap that the copied ones make out; locked_rmw for each reference dropped.
    """
    tables = mm.tables.pte
    share = min(1.0, tables_copied / tables) if tables else 0.0
    scaled = {name: count * share if name in _ZAPPED else count for name, count in counts.items()}
    return {**scaled, "locked_rmw": scaled.get("locked_rmw", 0.0) + tables * (1.0 - share)}
