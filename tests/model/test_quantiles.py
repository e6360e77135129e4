"""Quantiles of mixtures against a finely sampled distribution, and the short cut for arrays against the plain way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model import quantiles
from model.machine import NO_SPREAD, Spread
from model.quantiles import mixture_quantiles

LEVELS = (0.1, 0.316, 0.5, 0.9)
SAMPLES = 40_000
NOISY = Spread(levels=(0.0, 0.1, 0.5, 0.9, 1.0), ratios=(0.95, 1.0, 1.1, 1.6, 4.0))


@st.composite
def spreads(draw: st.DrawFn) -> Spread:
    """Piecewise linear ones, with atoms where a ratio repeats, or none at all."""
    count = draw(st.integers(2, 5))
    ratios = sorted(draw(st.lists(st.sampled_from((0.5, 0.7, 0.9, 1.0, 1.3, 2.0)), min_size=count, max_size=count)))
    inner = draw(st.lists(st.floats(0.02, 0.98), min_size=count - 2, max_size=count - 2, unique=True))
    return draw(st.sampled_from((NO_SPREAD, Spread(levels=(0.0, *sorted(inner), 1.0), ratios=tuple(ratios)))))


Parts = list[tuple[float, float, Spread]]
parts_of = st.lists(st.tuples(st.floats(0.05, 1), st.floats(10, 1e5), spreads()), min_size=1, max_size=4)


def quantiles_of(parts: Parts, levels: tuple[float, ...] = LEVELS) -> np.ndarray:
    weights, quiet, kinds = zip(*parts, strict=True)
    return mixture_quantiles(levels, weights, [np.array([each]) for each in quiet], kinds)[:, 0]


@settings(max_examples=60, deadline=None)
@given(parts_of)
def test_they_are_those_of_a_sampled_distribution(parts: Parts) -> None:
    uniform = (np.arange(SAMPLES) + 0.5) / SAMPLES
    values = np.concatenate([quiet * np.interp(uniform, kind.levels, kind.ratios) for _, quiet, kind in parts])
    weights = np.repeat([weight / sum(each for each, _, _ in parts) / SAMPLES for weight, _, _ in parts], SAMPLES)
    order = np.argsort(values, kind="stable")
    values, reached = values[order], np.cumsum(weights[order])
    for level, found in zip(LEVELS, quantiles_of(parts), strict=True):
        below, above = np.searchsorted(reached, (level - 4 / SAMPLES, level + 4 / SAMPLES))
        low, high = values[max(below - 1, 0)], values[min(above + 1, len(values) - 1)]
        assert low * (1 - 1e-3) <= found <= high * (1 + 1e-3)


@settings(max_examples=100, deadline=None)
@given(parts_of)
def test_they_are_in_order_and_within_the_parts(parts: Parts) -> None:
    found = quantiles_of(parts)
    assert np.all(np.diff(found) >= -1e-9 * found[1:])
    assert min(quiet * kind.ratios[0] for _, quiet, kind in parts) <= found[0] * (1 + 1e-9)
    assert found[-1] <= max(quiet * kind.ratios[-1] for _, quiet, kind in parts) * (1 + 1e-9)


@settings(max_examples=150, deadline=None)
@given(st.tuples(spreads(), spreads()), st.floats(0.02, 0.98), st.integers(0, 1 << 30))
@example((Spread(levels=(0.0, 1.0), ratios=(0.5, 0.7)),) * 2, 0.9, 0)
def test_the_curve_of_two_parts_is_the_plain_way(kinds: tuple[Spread, Spread], share: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    quiet = [draw.uniform(1e3, 1e6, 300), draw.uniform(1e3, 1e6, 300)]
    many = mixture_quantiles(LEVELS, (share, 1 - share), [np.tile(each, 4) for each in quiet], kinds)
    assert many.shape[1] > quantiles.MANY > len(quiet[0])
    few = mixture_quantiles(LEVELS, (share, 1 - share), quiet, kinds)
    np.testing.assert_allclose(many, np.tile(few, 4), rtol=1e-9)


def test_a_mixture_of_one_part_or_of_twins_has_its_quantiles() -> None:
    for parts in ([(0.3, 1000.0, NOISY)], [(0.3, 1000.0, NOISY), (0.5, 1000.0, NOISY)]):
        assert quantiles_of(parts, (0.1, 0.5, 0.9)) == pytest.approx([1000, 1100, 1600])


def test_two_modes_far_apart_show() -> None:
    found = quantiles_of([(0.8, 1.0, NO_SPREAD), (0.2, 50.0, NO_SPREAD)], (0.1, 0.79, 0.81, 0.9))
    assert found == pytest.approx([1.0, 1.0, 50.0, 50.0])
