"""A p50 is held against the mixture of what its processes were predicted to show, and causes follow from samples."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.capture.synthetic import synthetic_parent
from calibration.comparison import Comparison, dearest, mixture_of, one_sided, two_modes
from calibration.machine_file import find_machine
from calibration.quantiles import quantile
from calibration.summaries import is_beyond, summary, worst
from model.prediction import Milestone
from model.process import Process
from model.scenario import Spawn, spawn_and_wait
from model.simulation import simulate


def _milestone(p50: float, *, wide: float = 1.2, quiet: float = 0.9) -> Milestone:
    return Milestone(
        quiet_ns=quiet * p50,
        p10_ns=p50 / wide,
        p50_ns=p50,
        p90_ns=p50 * wide,
        lo_ns=p50 * 0.8,
        hi_ns=p50 * 1.3,
    )


def _samples(milestone: Milestone, count: int = 2001) -> tuple[float, ...]:
    """Evenly through the levels of what was predicted, its tails as the mixture takes them."""
    low, high = milestone.p10_ns, milestone.p90_ns
    least, most = low - (milestone.p50_ns - low) / 4, high + (high - milestone.p50_ns) / 4
    levels = (np.arange(count) + 0.5) / count
    found = np.interp(levels, (0, 0.1, 0.5, 0.9, 1), (least, low, milestone.p50_ns, high, most))
    return tuple(float(each) for each in found)


def _comparison(*samples: tuple[float, ...], predicted: tuple[Milestone, ...]) -> Comparison:
    return Comparison(case="case", milestone="call", group="group", samples_ns=samples, predictions=predicted)


@given(st.lists(st.floats(1e3, 1e7), min_size=2, max_size=5), st.floats(1.05, 1.9))
def test_the_mixture_has_the_quantiles_of_the_pooled_samples(middles: list[float], wide: float) -> None:
    milestones = [_milestone(each, wide=wide) for each in middles]
    pooled = [sample for each in milestones for sample in _samples(each)]
    found = mixture_of(milestones)
    below, above = quantile(pooled, 0.49), quantile(pooled, 0.51)
    assert below * (1 - 1e-6) <= found.p50_ns <= above * (1 + 1e-6)
    assert found.p10_ns <= found.p50_ns <= found.p90_ns
    assert found.lo_ns <= found.p50_ns <= found.hi_ns


def test_the_mixture_of_equals_is_the_same_and_that_of_two_modes_is_no_mean() -> None:
    one = _milestone(1e5)
    assert mixture_of([one, one, one]) is one
    skewed = mixture_of([_milestone(1e5), _milestone(1e5 + 1), _milestone(1e6)])
    assert skewed.p50_ns < 1.25e5 < (1e5 + 1e5 + 1e6) / 3


def test_each_process_is_held_to_its_own_prediction() -> None:
    fast, slow = _milestone(1e5), _milestone(1e6)
    right = _comparison(_samples(fast), _samples(slow), predicted=(fast, slow))
    assert right.held == (2, 2)
    assert right.within_p10_p90[0] / right.within_p10_p90[1] == pytest.approx(0.8, abs=0.01)
    assert abs(right.error) < 0.05
    crossed = replace(right, predictions=(slow, fast))
    assert crossed.held == (0, 2)
    assert crossed.within_p10_p90[0] == 0


def test_causes_follow_from_the_samples() -> None:
    predicted = _milestone(1e5)
    steady = _samples(_milestone(2e5, wide=1.02), 20)
    assert "prices or counts: its quiet time is" in _comparison(steady, steady, predicted=(predicted,)).cause
    modes = tuple([1e5] * 10 + [4e5] * 11)
    assert "between two modes, of 100 and 400 us" in _comparison(modes, modes, predicted=(predicted,)).cause
    noisy = _comparison(_samples(predicted, 20), _samples(_milestone(3e5), 20), predicted=(_milestone(1.3e5),))
    assert noisy.cause.startswith("floor 1.1")
    three = (_samples(_milestone(2e5), 20), _samples(_milestone(2e5), 20), _samples(_milestone(1.7e5), 20))
    assert "its processes differ" in _comparison(*three, predicted=(_milestone(1.75e5),)).cause
    assert _comparison(_samples(predicted), predicted=(predicted,)).cause == ""


def test_a_wide_sample_with_a_right_quiet_time_blames_the_spread() -> None:
    predicted = _milestone(1e5, wide=1.1, quiet=0.95)
    samples = tuple(float(each) for each in np.geomspace(0.93e5, 2e5, 40))
    assert "the spread" in _comparison(samples, samples, predicted=(predicted,)).cause


def test_two_modes_need_a_gap_near_the_median() -> None:
    assert two_modes([1.0, 1.01, 1.02, 3.0, 3.01, 3.02]) == pytest.approx((1.01, 3.01))
    assert two_modes([1.0 + 0.01 * index for index in range(20)]) is None
    assert two_modes([1.0] * 19 + [5.0]) is None
    assert two_modes([1.0, 9.0]) is None


def test_a_class_is_one_sided_only_beyond_chance() -> None:
    assert one_sided([-0.1] * 8)
    assert not one_sided([-0.1] * 7)
    assert not one_sided([-0.1] * 8 + [0.1] * 6)
    assert not one_sided([])


def test_a_summary_counts_what_it_says() -> None:
    exact = _milestone(1e5)
    good = _comparison(_samples(exact), _samples(exact), predicted=(exact,))
    bad = replace(good, case="bad", predictions=(_milestone(2e5),))
    total = summary([good, good, bad])
    assert (total["n"], total["processes"], total["beyond"]) == (3, 6, 1)
    assert total["worst_error"] == pytest.approx(math.log(2))
    assert total["coverage"] == pytest.approx(2 / 3)
    assert total["within_10_percent"] == pytest.approx(2 / 3)
    assert worst([good, bad])[0] is bad
    assert is_beyond(bad)
    assert total["classes"]["group call"]["n"] == 3
    assert total["worst"][0]["cause"]


def test_nothing_to_compare_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="has samples"):
        _comparison((), (), predicted=(_milestone(1e5),))
    with pytest.raises(ValueError, match="one for each"):
        _comparison((1.0,), (1.0,), (1.0,), predicted=(_milestone(1e5), _milestone(2e5)))


def test_the_dearest_of_a_large_fork_is_its_ptes() -> None:
    file = find_machine("bundled")
    parent: Process = synthetic_parent(1 << 30)
    prediction = simulate(
        spawn_and_wait(parent, Spawn(mechanism="fork"), rules=file.machine.rules), file.machine, file.costs
    )
    assert "copy_" in dearest(prediction, "call")
