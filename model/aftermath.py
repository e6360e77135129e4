"""What the parent's threads pay while and after it forks: read off the mutators' batches and ledgers of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from model.costs import CostTable
from model.kernel.cow import Cow
from model.kernel.task import System
from model.kernel.tlb import in_mask, interrupted_by
from model.ledger import Entry
from model.prediction import Aftermath, Growth, Recovery, Stall
from model.scenario import Khugepaged
from model.units import PTRS_PER_TABLE
from model.userland.mutators import Batch, Group

GROWTH_POINTS = 9
"""Moments at which the growth of memory is told, evenly spread between fork and the last shared page's end."""


def aftermath_of(
    groups: Sequence[Group], cow: Cow | None, *, begin_ns: float, system: System, lifetime_ns: float
) -> Aftermath:
    """The aftermath of a spawn that began at `begin_ns`; nothing if it copied no memory.

    `cow` is what its fork left protected; None or untriggered: it copied nothing.
    """
    batches = sorted((each for group in groups for each in group.batches), key=lambda each: each.end_ns)
    if cow is None or not cow.protected.triggered:
        return Aftermath(copied=False, lifetime_ns=lifetime_ns)
    until_ns = _shared_until(groups, batches, cow)
    lost = [(group, group.weight * sum(_lost(task.ledger, until_ns) for task in group.threads)) for group in groups]
    threads = sum(group.spec.threads for group in groups)
    points = np.linspace(cow.end_ns, until_ns, GROWTH_POINTS)
    growth = tuple(Growth(at_ns=float(at - begin_ns), pages=_grown(batches, cow, float(at))) for at in points)
    rounds = interrupted_by(system, in_mask(system, running=0, sleeping=threads))
    return Aftermath(
        copied=True,
        lifetime_ns=lifetime_ns,
        cow_copies=sum(each.faults.copies for each in batches),
        reuse_faults=sum(each.faults.reuses for each in batches),
        splits=sum(each.faults.splits for each in batches),
        pmd_copies=sum(each.faults.pmd_copies for each in batches),
        pmd_reuses=sum(each.faults.pmd_reuses for each in batches),
        table_copies=sum(each.faults.table_copies for each in batches),
        ipis=rounds + sum(each.ipis for each in batches),
        tlb_misses=sum(each.tlb_misses for each in batches),
        growth=growth,
        peak_pages=max(_grown(batches, cow, at_ns) for at_ns in _turning_points(batches, cow)),
        kept_pages=sum(each.faults.huge_copies for each in batches),
        stall=stall_of([each for group in groups for each in group.stalls]),
        lock_wait_ns=sum(group.lock_wait_ns for group in groups),
        shared_until_ns=until_ns - begin_ns,
        settled_ns=(batches[-1].end_ns if batches else until_ns) - begin_ns,
        lost_writes=sum(lost_ns / group.spec.interval_ns for group, lost_ns in lost),
        lost_share=sum(lost_ns for _, lost_ns in lost) / (threads * (until_ns - begin_ns)) if threads else 0.0,
    )


def recovery_of(
    found: Aftermath, scanned_pages: float, khugepaged: Khugepaged | None, costs: CostTable
) -> Recovery | None:
    """What khugepaged makes good of it; None if there is nothing.

    It leaves out a range of which the child shares more than half (max_ptes_shared), so it begins when the child is
    gone. Collapsing copies all pages with mmap_lock write-held and the pmd cleared (collapse_huge_page of
    mm/khugepaged.c), so whoever touches the range or maps anything waits for `stall_ns`.
    """
    if khugepaged is None or found.splits < 1.0:
        return None
    return Recovery(
        collapses=found.splits,
        until_ns=found.shared_until_ns + khugepaged.pass_ns(scanned_pages),
        stall_ns=PTRS_PER_TABLE * costs.price("page_copy"),
        freed_pages=found.kept_pages,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Faults, time that all threads have lost in ns, and pages more than at the fork, as seen at one moment."""

    faults: float
    stalled_ns: float
    grown_pages: float


def watched_at(groups: Sequence[Group], cow: Cow, at_ns: float) -> Watched:
    """What somebody who looks at simulated time `at_ns` finds: batches under way count in part."""
    faults = stalled_ns = 0.0
    for group in groups:
        for each in group.batches:
            share = _done(each, at_ns)
            faults += share * each.faults.total
            stalled_ns += share * (each.work_ns + each.other_ns) * group.weight
        stalled_ns += group.lock_wait_ns
    batches = [each for group in groups for each in group.batches]
    return Watched(faults=faults, stalled_ns=stalled_ns, grown_pages=_grown(batches, cow, at_ns))


def _done(batch: Batch, at_ns: float) -> float:
    """Share of a batch that is done at a moment."""
    if batch.end_ns <= at_ns:
        return 1.0
    if batch.begin_ns >= at_ns:
        return 0.0
    return (at_ns - batch.begin_ns) / (batch.end_ns - batch.begin_ns)


def _shared_until(groups: Sequence[Group], batches: Sequence[Batch], cow: Cow) -> float:
    """When the last page that is shared is gone: the child has given its copy up, or all have been written."""
    gone_ns = cow.gone_end_ns if cow.gone_end_ns is not None else cow.end_ns
    rewritten_ns = batches[-1].end_ns if batches else cow.end_ns
    return max(cow.end_ns, min(gone_ns, rewritten_ns))


def _lost(ledger: Sequence[Entry], until_ns: float) -> float:
    """Time until `until_ns` in which a thread did not do what it does undisturbed."""
    kept = (each for each in ledger if each.name != "between_writes" and each.start_ns < until_ns)
    return sum(min(each.end_ns, until_ns) - each.start_ns for each in kept)


def _turning_points(batches: Sequence[Batch], cow: Cow) -> list[float]:
    """Moments among which memory is largest: it grows until the child begins to go, falls while it goes, or until all
    pages have been copied."""
    last_ns = batches[-1].end_ns if batches else cow.end_ns
    if cow.gone_begin_ns is None or cow.gone_end_ns is None:
        return [last_ns]
    return [last_ns, *map(float, np.linspace(cow.gone_begin_ns, cow.gone_end_ns, 2 * GROWTH_POINTS))]


def _grown(batches: Sequence[Batch], cow: Cow, at_ns: float) -> float:
    """Pages that exist at a moment because of copies: the parent's, while the child keeps the old ones.

    Copies out of a split pmd stay beyond the child: the old page is freed only with its whole folio.
    """
    copies = kept = 0.0
    for each in batches:
        done = _done(each, at_ns)
        kept += done * each.faults.huge_copies
        copies += done * (each.faults.copies - each.faults.huge_copies + each.faults.pmd_copies * PTRS_PER_TABLE)
    return kept + copies * cow.shared(at_ns, at_ns)


def stall_of(stalls: Sequence[tuple[float, float]]) -> Stall:
    """Mean, p99 and longest of (duration, how many); zero if nothing stalled."""
    found = sorted(each for each in stalls if each[1] > 0.0)
    count = sum(many for _, many in found)
    if not count:
        return Stall(count=0.0, mean_ns=0.0, p99_ns=0.0, longest_ns=0.0)
    sums = list(accumulate(many for _, many in found))
    at = int(np.searchsorted(np.array(sums), 0.99 * count))
    return Stall(
        count=count,
        mean_ns=sum(duration * many for duration, many in found) / count,
        p99_ns=found[min(at, len(found) - 1)][0],
        longest_ns=found[-1][0],
    )
