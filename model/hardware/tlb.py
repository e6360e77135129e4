"""A CPU's translation lookaside buffer: how many page walks a flush brings, in closed form.

Counts of entries, never addresses. A thread's references are independent draws, evenly over each of its sets of pages
(the independent reference model), replacement is least recently used, and a page that was referenced within the last T
references is held, where T is the one at which so many distinct pages are as many as there are entries (Che, Tung and
Wang, "Hierarchical Web Caching Systems", IEEE JSAC 20, 2002).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, expm1, inf, log

from model.machine import Machine


@dataclass(frozen=True, slots=True)
class Touched:
    """A set of `pages` translations (4 KiB pages, or pmd mappings) that get `share` of a thread's references."""

    pages: float
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tlb:
    """The data TLB of one CPU as a thread finds it.

    Attributes:
        first_small, first_huge: entries of the first level for 4 KiB pages and pmd mappings.
        second: entries of the second level, which both share.
        fractured: whether a pmd mapping is held in pieces of 4 KiB, since the hypervisor backs it with such pages.
        page_flush_empties: how much of the TLB a flush of one page takes with it: 0, or 1 where it is as a full one.
    """

    first_small: float = inf
    first_huge: float = inf
    second: float = inf
    fractured: bool = False
    page_flush_empties: float = 0.0

    def __post_init__(self) -> None:
        if min(self.first_small, self.first_huge, self.second) <= 0:
            raise ValueError("a TLB has entries")
        if not 0.0 <= self.page_flush_empties <= 1.0:
            raise ValueError("page_flush_empties is a share")

    @property
    def entries(self) -> float:
        """Translations that spare a page walk: those of the second level."""
        return self.second

    def window(self, touched: Sequence[Touched]) -> float:
        """References within which a page must come again to be found; infinite if all pages have room."""
        live = [each for each in touched if each.pages > 0.0 and each.share > 0.0]
        if sum(each.pages for each in live) <= self.entries:
            return inf
        if len(live) == 1:
            return -live[0].pages / live[0].share * log(1.0 - self.entries / live[0].pages)
        low, high = 0.0, self.entries
        while _distinct(live, high) < self.entries:
            low, high = high, 2.0 * high
        while high - low > 1e-9 * high:
            middle = (low + high) / 2.0
            low, high = (middle, high) if _distinct(live, middle) < self.entries else (low, middle)
        return high

    def steady_misses(self, touched: Sequence[Touched], references: float) -> float:
        """Expected page walks of so many references long after any flush."""
        window = self.window(touched)
        if window == inf:
            return 0.0
        return references * sum(each.share * exp(-window * each.share / each.pages) for each in touched if each.pages)

    def refill_misses(self, touched: Sequence[Touched], references: float) -> float:
        """Expected page walks of the first so many references after a full flush that there were not without it.

        With room for all pages these are the distinct pages referenced; far beyond it the flush costs nothing, since
        nothing had been held for long.
        """
        within = min(references, self.window(touched))
        return max(0.0, _distinct(touched, within) - self.steady_misses(touched, within))

    def misses(self, touched: Sequence[Touched], references: float) -> float:
        """Expected page walks of the first so many references after a full flush."""
        return self.refill_misses(touched, references) + self.steady_misses(touched, references)

    def per_reference(self, touched: Sequence[Touched], every: float) -> float:
        """Additional page walks a reference where the TLB is flushed once in `every` references; 0 if never."""
        return self.refill_misses(touched, every) / every if 0.0 < every < inf else 0.0


def _distinct(touched: Sequence[Touched], references: float) -> float:
    """Expected distinct pages among so many references."""
    if references == inf:
        return sum(each.pages for each in touched if each.share > 0.0)
    return -sum(each.pages * expm1(-references * each.share / each.pages) for each in touched if each.pages > 0.0)


def tlb_of(machine: Machine) -> Tlb:
    """The TLB that calibration found, from the machine's facts `tlb_first_entries`, `tlb_first_huge_entries`,
    `tlb_entries`, `tlb_fractured`, `tlb_page_flush_empties`; what was not measured bounds nothing."""
    facts = machine.facts
    return Tlb(
        first_small=machine.fact("tlb_first_entries"),
        first_huge=machine.fact("tlb_first_huge_entries"),
        second=machine.fact("tlb_entries"),
        fractured=bool(facts.get("tlb_fractured", 0.0)),
        page_flush_empties=min(1.0, facts.get("tlb_page_flush_empties", 0.0)),
    )
