"""What flushes bring to mutators: nothing without a price, one walk a page read, more the more a flush empties."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from model.costs import CostTable
from model.machine import Machine
from model.prediction import Aftermath
from model.scenario import Load, Mutators
from model.simulation import simulate
from model.units import NS_PER_S
from tests.model.builders import TIB, anon, machine_with, parent_of, prime_costs, scenario_of

PAGES = 1024
BARE = prime_costs(ipi_round=0.0)
UNPRICED = replace(BARE, ns={name: ns for name, ns in BARE.ns.items() if name != "tlb_miss"})
PRICED = replace(BARE, ns={**BARE.ns, "tlb_miss": 11.0})
ROOMY = {"tlb_entries": 4096.0, "tlb_page_flush_empties": 0.0}


def machine(**facts: float) -> Machine:
    return replace(machine_with(8), facts={**machine_with(8).facts, **facts})


def met(
    reads: float, facts: dict[str, float], costs: CostTable = PRICED, *, lifetime_ns: float = 0.0, huge: int = 0
) -> Aftermath:
    heap = anon(0 if huge else PAGES, start=TIB, size=max(PAGES, huge * 512) * 4096, huge_pmds=huge)
    mutators = Mutators(threads=1, writes_per_second=100_000.0, working_set_pages=1 << 30, reads_per_write=reads)
    load = Load(mutators=(mutators,), child_lifetime_ns=lifetime_ns)
    who = parent_of(replace(heap, anon_vma=True), assumed=("writable",))
    found = simulate(scenario_of("clone3", who, load=load), machine(**facts), costs).aftermath
    assert found is not None
    assert found.copied
    return found


def test_a_machine_without_price_or_size_leaves_refills_out() -> None:
    for facts, costs in ((ROOMY, UNPRICED), ({}, PRICED)):
        assert met(9.0, facts, costs).tlb_misses == 0.0
    assert met(9.0, {}, UNPRICED) == met(9.0, {}, PRICED)


def test_writers_pay_in_their_faults_only() -> None:
    """Without reads the first reference to a page after the fork is the write that faults."""
    assert met(0.0, ROOMY).tlb_misses == 0.0


@pytest.mark.parametrize("reads", [1.0, 4.0, 99.0])
def test_each_page_that_is_read_first_costs_one_walk(reads: float) -> None:
    found = met(reads, ROOMY)
    assert found.tlb_misses == pytest.approx(PAGES * reads / (1.0 + reads), rel=1e-3)


def test_a_working_set_far_beyond_the_tlb_has_nothing_to_lose() -> None:
    assert met(9.0, {"tlb_entries": 4.0}).tlb_misses < 4.0


def test_walks_grow_with_what_a_page_flush_empties() -> None:
    """While the child lives every write copies a page and flushes it."""
    shares = (0.0, 0.25, 0.5, 1.0)
    found = [
        met(9.0, {"tlb_entries": 4096.0, "tlb_page_flush_empties": share}, lifetime_ns=NS_PER_S).tlb_misses
        for share in shares
    ]
    assert all(more > 1.1 * fewer for fewer, more in pairwise(found))


def test_splits_empty_the_tlb_on_any_machine() -> None:
    alive = met(9.0, ROOMY, lifetime_ns=NS_PER_S, huge=16)
    gone = met(9.0, ROOMY, huge=16)
    assert alive.splits > 1.0
    assert alive.tlb_misses > gone.tlb_misses


def test_a_fractured_mapping_is_refilled_page_by_page() -> None:
    whole = met(9.0, ROOMY, huge=4)
    pieces = met(9.0, {**ROOMY, "tlb_fractured": 1.0}, huge=4)
    assert whole.tlb_misses < 4 + whole.splits * 512 + 1
    assert pieces.tlb_misses > 100.0 * max(1.0, whole.tlb_misses) / 10.0


def test_refills_lose_time_and_change_no_fault() -> None:
    facts = {"tlb_entries": 4096.0, "tlb_page_flush_empties": 1.0}
    free = met(9.0, facts, replace(PRICED, ns={**PRICED.ns, "tlb_miss": 0.0}), lifetime_ns=NS_PER_S)
    dear = met(9.0, facts, lifetime_ns=NS_PER_S)
    assert dear.lost_share > free.lost_share
    assert dear.cow_copies + dear.reuse_faults == pytest.approx(free.cow_copies + free.reuse_faults, rel=1e-6)


def test_interrupts_take_time_from_threads_that_run_only() -> None:
    """Two threads that do nothing but write interrupt each other; one alone is interrupted by nobody."""

    def lost(threads: int, interrupted_ns: float) -> float:
        mutators = Mutators(threads=threads, writes_per_second=threads * 1e7, working_set_pages=1 << 30)
        load = Load(mutators=(mutators,), child_lifetime_ns=NS_PER_S)
        who = parent_of(replace(anon(PAGES, start=TIB), anon_vma=True), assumed=("writable",))
        costs = replace(BARE, ns={**BARE.ns, "ipi_interrupted": interrupted_ns})
        found = simulate(scenario_of("clone3", who, load=load), machine_with(8), costs).aftermath
        assert found is not None
        return found.lost_writes

    assert lost(1, 10_000.0) == lost(1, 0.0)
    assert lost(2, 10_000.0) > 1.1 * lost(2, 0.0)


def test_more_reads_than_can_be_are_refused() -> None:
    with pytest.raises(ValueError, match="reads_per_write"):
        Mutators(reads_per_write=-1.0)
