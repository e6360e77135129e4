"""The TLB's closed forms: limits, monotony, agreement with a TLB that is simulated reference by reference."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.hardware.page_walk import walk_references
from model.hardware.tlb import Tlb, Touched, tlb_of
from model.machine import Machine

PAGES = st.floats(1.0, 1e7)
ENTRIES = st.floats(16.0, 4096.0)
MANY = 1e12


@given(entries=ENTRIES, share=st.floats(0.01, 1.0))
def test_what_fits_misses_each_page_once_after_a_flush_and_never_again(entries: float, share: float) -> None:
    tlb, touched = Tlb(second=entries), [Touched(entries * share)]
    assert tlb.misses(touched, MANY) == pytest.approx(entries * share)
    assert tlb.steady_misses(touched, MANY) == 0.0


@given(entries=ENTRIES)
def test_far_beyond_its_entries_every_reference_misses_and_a_flush_costs_nothing(entries: float) -> None:
    tlb, touched = Tlb(second=entries), [Touched(entries * 1e6)]
    assert tlb.steady_misses(touched, 1000.0) == pytest.approx(1000.0, rel=1e-4)
    assert tlb.refill_misses(touched, MANY) < 1e-3 * entries


@given(pages=PAGES, entries=ENTRIES, references=st.lists(st.floats(0.0, 1e9), min_size=2, max_size=8))
def test_more_references_never_miss_less(pages: float, entries: float, references: list[float]) -> None:
    tlb, touched = Tlb(second=entries), [Touched(pages)]
    for of in (tlb.misses, tlb.refill_misses, tlb.steady_misses):
        found = [of(touched, each) for each in sorted(references)]
        assert all(later >= earlier - 1e-6 * max(1.0, earlier) for earlier, later in pairwise(found))


@given(pages=PAGES, entries=ENTRIES, references=st.floats(0.0, 1e9))
def test_a_flush_brings_no_more_walks_than_references_pages_or_entries(
    pages: float, entries: float, references: float
) -> None:
    found = Tlb(second=entries).refill_misses([Touched(pages)], references)
    assert 0.0 <= found <= min(references, pages, entries) * (1 + 1e-9)


@given(pages=st.lists(PAGES, min_size=2, max_size=6), entries=ENTRIES)
def test_more_pages_never_miss_less(pages: list[float], entries: float) -> None:
    found = [Tlb(second=entries).misses([Touched(each)], 1e5) for each in sorted(pages)]
    assert all(more >= fewer * (1 - 1e-6) - 1e-6 for fewer, more in pairwise(found))


@given(pages=PAGES, entries=st.lists(ENTRIES, min_size=2, max_size=6))
def test_more_entries_never_miss_more(pages: float, entries: list[float]) -> None:
    found = [Tlb(second=each).misses([Touched(pages)], 1e5) for each in sorted(entries)]
    assert all(more <= fewer * (1 + 1e-6) + 1e-6 for fewer, more in pairwise(found))


@given(pages=PAGES, entries=ENTRIES, cut=st.floats(0.1, 0.9))
def test_a_set_split_into_two_alike_is_the_same_set(pages: float, entries: float, cut: float) -> None:
    tlb = Tlb(second=entries)
    halves = [Touched(pages * cut, cut), Touched(pages * (1 - cut), 1 - cut)]
    assert tlb.misses(halves, 1e5) == pytest.approx(tlb.misses([Touched(pages)], 1e5), rel=1e-6, abs=1e-6)


@given(pages=PAGES, entries=ENTRIES, often=st.lists(st.floats(1.0, 1e8), min_size=2, max_size=6))
def test_flushes_further_apart_cost_less_a_reference(pages: float, entries: float, often: list[float]) -> None:
    tlb = Tlb(second=entries)
    found = [tlb.per_reference([Touched(pages)], each) for each in sorted(often)]
    assert all(later <= earlier * (1 + 1e-6) + 1e-9 for earlier, later in pairwise(found))
    assert tlb.per_reference([Touched(pages)], inf) == 0.0


@pytest.mark.parametrize("pages", [32, 100, 160, 400])
def test_the_closed_form_agrees_with_a_simulated_tlb(pages: int) -> None:
    entries, references, runs = 128, 1500, 30
    dice = np.random.default_rng(7)
    walks = 0
    for _ in range(runs):
        held: OrderedDict[int, None] = OrderedDict()
        for page in dice.integers(pages, size=references):
            walks += int(page) not in held
            held[int(page)] = None
            held.move_to_end(int(page))
            if len(held) > entries:
                held.popitem(last=False)
    expected = Tlb(second=float(entries)).misses([Touched(float(pages))], float(references))
    assert walks / runs == pytest.approx(expected, rel=0.02)


def test_a_machine_that_was_not_measured_bounds_nothing() -> None:
    tlb = tlb_of(Machine(name="unknown"))
    assert tlb.second == inf
    assert tlb.page_flush_empties == 0.0
    assert tlb_of(Machine(name="m", facts={"tlb_entries": 1500.0, "tlb_page_flush_empties": 1.0})).second == 1500.0


@pytest.mark.parametrize("wrong", [{"second": 0.0}, {"page_flush_empties": 1.5}])
def test_what_is_no_tlb_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Tlb(**wrong)  # type: ignore[arg-type]


def test_a_walk_in_two_dimensions_takes_24_references() -> None:
    assert walk_references() == 4
    assert walk_references(4, nested_levels=4) == 24
    assert walk_references(5, nested_levels=5) == 35
    assert walk_references(4, nested_levels=4, cached=3, nested_cached=3) == 3
    assert walk_references(4, cached=3) == 1


@given(levels=st.integers(1, 5), nested=st.integers(0, 5), data=st.data())
def test_caches_only_spare_references(levels: int, nested: int, data: st.DataObject) -> None:
    cached, nested_cached = data.draw(st.integers(0, levels - 1)), data.draw(st.integers(0, nested))
    spared = walk_references(levels, nested_levels=nested, cached=cached, nested_cached=nested_cached)
    assert 1 <= spared <= walk_references(levels, nested_levels=nested)


def test_more_levels_cached_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="cached"):
        walk_references(4, cached=4)
