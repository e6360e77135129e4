"""What a fork leaves write-protected and shared: from when, and until when the child holds its copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

import simpy


@dataclass(slots=True, eq=False)
class Cow:
    """The parent's memory since its last fork, as its threads meet it.

    Times are simulated ones. `mm/mmap.c:dup_mmap@v6.18` locks vma after vma by
    `include/linux/mmap_lock.h:vma_start_write@v6.18`; all are unlocked with mmap_lock. A fault on a locked vma fails
    in `mm/mmap_lock.c:lock_vma_under_rcu@v6.18` and sleeps on mmap_lock until then.

    Attributes:
        protected: event of the moment at which mmap_lock is write-held, worth this record.
        begin_ns, end_ns: how long it is held.
        tables_ns: when the child has copied all page tables (rule `async`; infinite while that is unknown); begin_ns
            by other rules.
        table: what the parent's first write to a 2 MiB span costs before its fault, where tables are copied late.
        tables_copied: page tables that such writes copy until the child gives its copy up.
        gone_begin_ns, gone_end_ns: the child's teardown of its copy, in address order; None while the child lives.
        left_behind, pmds_left_behind: pages mapped by pte, and pmd mappings, that the parent copies until then: the
            child is left as their only owner and frees them. Pages of a split pmd go with their folio.
    """

    protected: simpy.Event
    begin_ns: float = 0.0
    end_ns: float = 0.0
    tables_ns: float = 0.0
    gone_begin_ns: float | None = None
    gone_end_ns: float | None = None
    left_behind: float = 0.0
    pmds_left_behind: float = 0.0
    table: Mapping[str, float] = field(default_factory=dict)
    tables_copied: float = 0.0

    def protect(self, begin_ns: float, end_ns: float, *, later: bool = False) -> None:
        """The parent's ptes are write-protected one after the other from `begin_ns` to `end_ns`.

        `later`: the child has yet to copy the page tables.
        """
        self.begin_ns, self.end_ns = begin_ns, end_ns
        self.tables_ns = inf if later else begin_ns
        if not self.protected.triggered:
            self.protected.succeed(self)

    def leave(self, *, pages: float, pmds: float, tables: float) -> None:
        """The parent has copied these away from the child; once the child is on its way out it is too late."""
        if self.gone_begin_ns is None:
            self.left_behind += pages
            self.pmds_left_behind += pmds
            self.tables_copied += tables

    def release(self, begin_ns: float, end_ns: float) -> None:
        """The child gives its copy up between these times."""
        self.gone_begin_ns, self.gone_end_ns = begin_ns, end_ns

    def left(self, protected: simpy.Event) -> Cow:
        """A record for another run in which the parent copies as much away from the child, and nobody looks on."""
        return Cow(
            protected,
            left_behind=self.left_behind,
            pmds_left_behind=self.pmds_left_behind,
            tables_copied=self.tables_copied,
        )

    def shared(self, from_ns: float, until_ns: float) -> float:
        """Share of the pages that the child still maps, on average over an interval (or at one moment)."""
        begin, end = self.gone_begin_ns, self.gone_end_ns
        if begin is None or end is None or until_ns <= begin:
            return 1.0
        if until_ns <= from_ns:
            return _left(until_ns, begin, end)
        knots = sorted({from_ns, until_ns, *(each for each in (begin, end) if from_ns < each < until_ns)})
        area = sum((b - a) * (_left(a, begin, end) + _left(b, begin, end)) / 2 for a, b in pairwise(knots))
        return area / (until_ns - from_ns)

    def uncopied(self, at_ns: float) -> float:
        """Share of the page tables that the child has still to copy (rule `async`); 0 afterwards."""
        if at_ns >= self.tables_ns:
            return 0.0
        if self.tables_ns == inf:
            return 1.0
        return min(1.0, (self.tables_ns - at_ns) / (self.tables_ns - self.end_ns))


def _left(at_ns: float, begin_ns: float, end_ns: float) -> float:
    if at_ns >= end_ns:
        return 0.0
    if at_ns <= begin_ns:
        return 1.0
    return (end_ns - at_ns) / (end_ns - begin_ns)
