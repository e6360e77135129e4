"""Distinct pages by locality: closed forms against drawn writes, and their limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.locality import ZIPF_EXPONENT, Locality, Reach

PAGES = 4096
LOCALITIES: tuple[Locality, ...] = ("uniform", "zipf", "sequential")


def drawn(locality: Locality, writes: int, seed: int) -> tuple[float, float]:
    """Distinct pages and touched spans of 512 among drawn writes."""
    rng = np.random.default_rng(seed)
    if locality == "sequential":
        pages = (rng.integers(PAGES) + np.arange(writes)) % PAGES
    elif locality == "uniform":
        pages = rng.integers(PAGES, size=writes)
    else:
        chance = np.arange(1, PAGES + 1) ** -ZIPF_EXPONENT
        pages = rng.permutation(PAGES)[rng.choice(PAGES, size=writes, p=chance / chance.sum())]
    return len(np.unique(pages)), len(np.unique(pages // 512))


@pytest.mark.parametrize("locality", LOCALITIES)
@pytest.mark.parametrize("writes", [3, 100, 2048, 20_000])
def test_closed_forms_meet_drawn_writes(locality: Locality, writes: int) -> None:
    reach = Reach(locality, PAGES)
    many = [drawn(locality, writes, seed) for seed in range(40)]
    distinct = reach.distinct(writes)
    assert distinct == pytest.approx(np.mean([each for each, _ in many]), rel=0.02)
    assert reach.spans(distinct, PAGES / 512) == pytest.approx(np.mean([each for _, each in many]), rel=0.08)


def test_streams_open_a_span_each_and_a_burst_is_one_of_them() -> None:
    reach = Reach("sequential", PAGES * 8, streams=4.0)
    rng = np.random.default_rng(1)
    drawn_spans = []
    for _ in range(400):
        starts = rng.integers(2 * PAGES, size=4) + 2 * PAGES * np.arange(4)
        pages = np.concatenate([start + np.arange(100) for start in starts])
        drawn_spans.append(len(np.unique(pages // 512)))
    assert reach.spans(400, PAGES * 8 / 512) == pytest.approx(np.mean(drawn_spans), rel=0.02)
    bursts = Reach("sequential", PAGES * 8, streams=4.0, burst=10.0)
    assert bursts.begun(5.0) == 0.5, "one burst of ten, half of the time"
    assert bursts.begun(400.0) == 4.0
    assert Reach("uniform", PAGES, streams=4.0).begun(5.0) == 0.0


@pytest.mark.parametrize("locality", LOCALITIES)
def test_one_write_is_one_page_and_endless_writing_is_all(locality: Locality) -> None:
    for pages in (1, 2, 100, 1 << 24):
        reach = Reach(locality, pages)
        assert reach.distinct(0) == 0
        assert reach.distinct(1) == pytest.approx(1, rel=1e-6)
        assert reach.distinct(1e15) == pytest.approx(pages, rel=1e-9)
        assert reach.spans(reach.distinct(1e15), pages / 512) == pytest.approx(pages / 512)


@given(st.sampled_from(LOCALITIES), st.integers(2, 1 << 24), st.floats(1, 1e9), st.floats(1, 1e9))
def test_more_writes_reach_more_pages_but_ever_fewer(locality: Locality, pages: int, a: float, b: float) -> None:
    reach = Reach(locality, pages)
    both = reach.distinct(a + b)
    assert both >= max(reach.distinct(a), reach.distinct(b)) * (1 - 1e-9)
    assert both <= (reach.distinct(a) + reach.distinct(b)) * (1 + 1e-9)
    assert both <= min(a + b, pages) * (1 + 1e-9)


def test_zipf_reaches_fewer_pages_than_uniform_and_uniform_fewer_than_sequential() -> None:
    for writes in (10, 1000, 100_000):
        zipf, uniform, sequential = (Reach(each, PAGES).distinct(writes) for each in ("zipf", "uniform", "sequential"))
        assert zipf < uniform <= sequential
