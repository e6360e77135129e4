"""What first writes after a fork cost: page by page, and in spans of 2 MiB that are protected as a whole.

Counts only: expectations over a batch of writes (`model.locality.Reach`), exact for any batch size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

from model.kernel.cow import Cow
from model.kernel.hugetlb import hugetlb_wp
from model.kernel.memory import do_huge_pmd_wp_page, do_wp_page
from model.kernel.mm import Counts
from model.locality import Reach
from model.rules import Rules

LEFT_PAGES = 0.5
"""Fewer expected pages than this are none: the storm is over."""


@dataclass(slots=True)
class Spans:
    """Spans of 2 MiB that are protected as a whole: pmd mappings, or page tables by rule `on_demand`.

    The first write to a shared one opens it: from then on its pages fault one by one. The first write to one that is
    the writer's alone takes it over whole.

    Attributes:
        spans, pages: how many, and their pages.
        open_pages: pages of opened spans that have not been written since.
        opened: how many have been since the fork.
        behind: of spans that a sequential stream opened in their midst, those before, which it writes at last.
    """

    spans: float
    pages: float
    open_pages: float = 0.0
    behind: float = 0.0
    opened: float = 0.0

    @property
    def pages_each(self) -> float:
        """Pages of a span."""
        return self.pages / self.spans if self.spans else 1.0

    def write(self, reach: Reach, before: float, after: float, shared: float) -> SpanFaults:
        """What happens while the distinct pages of the working set grow from `before` to `after`."""
        if not self.spans:
            return SpanFaults()
        each, done = self.pages_each, (after - before) * self.pages / reach.pages
        reached = reach.spans(after, self.spans, each) - reach.spans(before, self.spans, each)
        inside = self._opened_before(reach, before, after, done)
        fresh = max(reached, done - inside)
        self.opened += shared * reached
        behind = each / 2.0 * (reach.begun(after) - reach.begun(before))
        self.behind += shared * behind
        self.open_pages = max(0.0, self.open_pages - inside + shared * (each * reached - behind - fresh))
        return SpanFaults(
            opened=shared * reached,
            taken_over=(1.0 - shared) * reached,
            shared_pages=shared * (inside + fresh),
            own_pages=(1.0 - shared) * inside,
        )

    def _opened_before(self, reach: Reach, before: float, after: float, done: float) -> float:
        """Of `done` pages those in spans that were open already: a sequential stream goes through them first, and
        comes upon those behind its start at the end; strewn writes hit all pages alike."""
        if reach.locality == "sequential":
            late = max(0.0, self.behind - (reach.pages - after) * self.pages / reach.pages)
            self.behind -= late
            self.open_pages += late
            return min(self.open_pages, done)
        left = reach.pages - before
        return self.open_pages * (1.0 - ((reach.pages - after) / left if left > 0 else 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanFaults:
    """Spans opened and taken over whole; pages of opened spans written while shared (the first one included) or not."""

    opened: float = 0.0
    taken_over: float = 0.0
    shared_pages: float = 0.0
    own_pages: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Faults of a batch of writes.

    Attributes:
        counts: what they are charged.
        copies, reuses, splits, pmd_copies, pmd_reuses: by kind; a split is followed by a copy, counted there.
        huge_copies: copies among `copies` out of large folios, which keep the old page: pmd mappings that were split,
            folios mapped by ptes.
        table_copies: page tables copied before the fault (rule `page_table_copy`).
    """

    counts: Counts = field(default_factory=dict)
    copies: float = 0.0
    reuses: float = 0.0
    splits: float = 0.0
    pmd_copies: float = 0.0
    pmd_reuses: float = 0.0
    huge_copies: float = 0.0
    table_copies: float = 0.0

    @property
    def flushes(self) -> float:
        """TLB flushes that go to every CPU that runs the mm: a copied page or pmd, a split; reuse flushes nothing."""
        return self.copies + self.splits + self.pmd_copies

    @property
    def total(self) -> float:
        """All faults: a split page table entry faults once, for split and copy."""
        return self.copies + self.reuses + self.pmd_copies + self.pmd_reuses


@dataclass(slots=True)
class Writes:
    """State of a working set since the fork: how often it was written.

    Attributes:
        tables: 2 MiB spans of pages mapped by pte.
        huge, hugetlb: its pmd mappings; its pages of the hugetlb pool.
        reach: distinct pages by writes.
        far: share of its copies whose pages lie beyond the caches.
        in_folios: share of the pages mapped by pte that lie in large folios.
        writes: since the fork.
        distinct: expected pages that they have reached.
    """

    tables: Spans
    huge: Spans
    reach: Reach
    far: float = 0.0
    in_folios: float = 0.0
    hugetlb: Spans = field(default_factory=lambda: Spans(0.0, 0.0))
    writes: float = 0.0
    distinct: float = 0.0

    @property
    def last(self) -> float:
        """The write with which all pages are taken to be written."""
        return self.reach.writes_for(max(LEFT_PAGES, self.reach.pages - LEFT_PAGES))

    @property
    def left(self) -> float:
        """Writes until then."""
        return max(0.0, self.last - self.writes)

    def faults(self, writes: float, cow: Cow, begin_ns: float, end_ns: float, rules: Rules) -> Faults:
        """Faults of the next `writes` writes, done between these times."""
        self.writes += writes
        before, after = self.distinct, self.reach.distinct(self.writes)
        self.distinct = after
        shared = cow.shared(begin_ns, end_ns)
        small = self._small(before, after, shared, cow, (begin_ns + end_ns) / 2, rules)
        huge = _huge(self.huge.write(self.reach, before, after, shared), rules, self.huge)
        pool = _hugetlb(self.hugetlb.write(self.reach, before, after, shared), self.hugetlb)
        found = _added(_added(small, huge), pool)
        return replace(found, counts={**found.counts, "fault_cow_beyond_cache": found.copies * self.far})

    def _small(self, before: float, after: float, shared: float, cow: Cow, at_ns: float, rules: Rules) -> Faults:
        """Faults on pages mapped by pte, and on page tables where they are copied late."""
        if rules.page_table_copy == "on_demand":
            found = self.tables.write(self.reach, before, after, shared)
            copies, reuses, tables = found.shared_pages, found.own_pages + found.taken_over, found.opened
        else:
            pages = (after - before) * self.tables.pages / self.reach.pages
            copies, reuses = pages * shared, pages * (1.0 - shared)
            spans = self.tables.spans, self.tables.pages_each
            reached = self.reach.spans(after, *spans) - self.reach.spans(before, *spans)
            tables = reached * cow.uncopied(at_ns)
        # A page of a large folio counts the references of all of them (`mm/memory.c:wp_can_reuse_anon_folio@v6.18`).
        refused = reuses * self.in_folios if rules.split_thp_reuse == "never" else 0.0
        copies, reuses = copies + refused, reuses - refused
        parts = [do_wp_page(copies, shared=True), do_wp_page(reuses, shared=False)]
        parts.append({name: count * tables for name, count in cow.table.items()})
        kept = (copies - refused) * self.in_folios + refused
        return Faults(counts=_summed(parts), copies=copies, reuses=reuses, table_copies=tables, huge_copies=kept)


def _huge(found: SpanFaults, rules: Rules, huge: Spans) -> Faults:
    """Faults on pmd mappings by rules thp_cow and split_thp_reuse."""
    parts = [
        do_huge_pmd_wp_page(found.opened, rules, shared=True),
        do_huge_pmd_wp_page(found.taken_over, rules, shared=False),
    ]
    if rules.thp_cow == "copy_pmd":
        huge.open_pages = 0.0
        return Faults(counts=_summed(parts), pmd_copies=found.opened, pmd_reuses=found.taken_over)
    parts.append(do_wp_page(found.shared_pages - found.opened, shared=True))
    copied = found.own_pages if rules.split_thp_reuse == "never" else 0.0
    parts += [do_wp_page(copied, shared=True), do_wp_page(found.own_pages - copied, shared=False)]
    return Faults(
        counts=_summed(parts),
        copies=found.shared_pages + copied,
        reuses=found.own_pages - copied,
        splits=found.opened,
        pmd_reuses=found.taken_over,
        huge_copies=found.shared_pages + copied,
    )


def _hugetlb(found: SpanFaults, pool: Spans) -> Faults:
    """Faults on pages of the hugetlb pool, whose spans never open: each is copied or taken over whole."""
    pool.open_pages = 0.0
    parts = [hugetlb_wp(found.opened, shared=True), hugetlb_wp(found.taken_over, shared=False)]
    return Faults(counts=_summed(parts), pmd_copies=found.opened, pmd_reuses=found.taken_over)


def _added(one: Faults, other: Faults) -> Faults:
    names = [each.name for each in fields(Faults) if each.name != "counts"]
    sums = {name: getattr(one, name) + getattr(other, name) for name in names}
    return Faults(counts=_summed([one.counts, other.counts]), **sums)


def _summed(parts: Sequence[Counts]) -> Counts:
    total: Counts = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0.0) + count
    return total
