"""Indices equal what can be worked out on paper, and say of a spawn what its bill says."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from experiments.drawn_prices import Counted, Prices, halves, price_indices
from experiments.executors import SerialExecutor
from experiments.sensitivity import Sensitivity, sensitivities
from experiments.sobol_indices import Index, sobol_indices
from experiments.sweep_spec import Sweep
from model.costs import CostTable
from tests.experiments.sweep_support import small

Values = NDArray[np.float64]


def _indices(function: Callable[[Values], Values], factors: int, samples: int = 8192, seed: int = 1) -> list[Index]:
    a, b = halves(samples, factors, seed)
    mixed = {}
    for column in range(factors):
        ab = a.copy()
        ab[:, column] = b[:, column]
        mixed[str(column)] = function(ab)
    return sorted(sobol_indices(function(a), function(b), mixed, seed=seed), key=lambda each: each.factor)


def _ishigami(shares: Values) -> Values:
    x = (2 * shares - 1) * math.pi
    return np.asarray(np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0]))


def test_indices_of_the_ishigami_function() -> None:
    """Ishigami and Homma (1990): the integrals are known."""
    first = 0.5 * (1 + 0.1 * math.pi**4 / 5) ** 2
    second = 7**2 / 8
    crossed = 0.1**2 * math.pi**8 * (1 / 18 - 1 / 50)
    variance = first + second + crossed
    found = _indices(_ishigami, 3)
    assert [each.first for each in found] == pytest.approx([first / variance, second / variance, 0.0], abs=0.02)
    totals = [(first + crossed) / variance, second / variance, crossed / variance]
    assert [each.total for each in found] == pytest.approx(totals, abs=0.02)


def test_shares_of_a_sum_add_up_to_one() -> None:
    weights = np.array([4.0, 2.0, 1.0, 0.0, 3.0])
    found = _indices(lambda shares: np.asarray(shares @ weights), 5)
    expected = list(weights**2 / (weights**2).sum())
    assert [each.first for each in found] == pytest.approx(expected, abs=0.01)
    assert [each.total for each in found] == pytest.approx(expected, abs=0.01)


def test_what_does_not_vary_has_no_indices() -> None:
    found = _indices(lambda shares: np.full(len(shares), 1e6 / 3), 2, samples=64)
    assert [(each.first, each.total) for each in found] == [(0.0, 0.0)] * 2


def test_nine_of_ten_intervals_hold_the_truth() -> None:
    """Over many designs: the bootstrap's 90 % bounds are about that."""
    weights = np.array([3.0, 2.0, 1.0])
    truth = weights**2 / (weights**2).sum()
    held = []
    for seed in range(60):
        source = np.random.default_rng(seed)
        a, b = source.random((2, 256, 3))
        mixed = {}
        for column in range(3):
            ab = a.copy()
            ab[:, column] = b[:, column]
            mixed[str(column)] = ab @ weights
        found = sobol_indices(a @ weights, b @ weights, mixed, seed=seed)
        for each in found:
            held.append(each.first_lo <= truth[int(each.factor)] <= each.first_hi)
            held.append(each.total_lo <= truth[int(each.factor)] <= each.total_hi)
    assert 0.8 < np.mean(held) < 0.97


def test_the_halves_of_a_design_do_not_depend_on_each_other() -> None:
    a, b = halves(4096, 6, seed=3)
    correlations = np.corrcoef(a, b, rowvar=False)
    assert np.abs(correlations[np.triu_indices(12, 1)]).max() < 0.06


def _table(correlation: float) -> CostTable:
    names = ("copy_present_pte", "zap_pte", "syscall")
    stderr = np.array([2.0, 1.0, 3.0])
    matrix = np.array([[1.0, correlation, 0.0], [correlation, 1.0, 0.0], [0.0, 0.0, 1.0]])
    prices = {"copy_present_pte": 40.0, "zap_pte": 30.0, "syscall": 100.0}
    return CostTable(ns=prices, names=names, covariance=matrix * np.outer(stderr, stderr))


@pytest.mark.parametrize("correlation", [0.0, 0.8, -0.8])
def test_shares_of_prices_are_those_of_the_covariance(correlation: float) -> None:
    """A bill is a sum: worked out on paper, the variance it gets from each price after decorrelation."""
    costs = _table(correlation)
    counts = {"copy_present_pte": 10.0, "zap_pte": 15.0, "syscall": 4.0}
    prices = Prices.of(costs, counts)
    weights = prices.root.T @ np.array([counts[name] for name in prices.names])
    expected = dict(zip(prices.names, weights**2 / (weights**2).sum(), strict=True))
    assert (weights**2).sum() == pytest.approx(costs.stderr_ns(counts) ** 2)
    found = price_indices(Counted(1e6, counts), prices, seed=0)
    assert {each.factor: each.first for each in found} == pytest.approx(expected, abs=0.01)
    assert {each.factor: each.total for each in found} == pytest.approx(expected, abs=0.01)


def test_no_price_is_drawn_below_zero() -> None:
    prices = Prices.of(_table(0.0), ["zap_pte"])
    assert prices.moved_ns(np.array([[-100.0], [0.0], [1.0]])).ravel() == pytest.approx([-30.0, 0.0, 1.0])


def _found(machine_path: Path, **more: Any) -> list[Sensitivity]:
    axes = {"rss": {"low": "64MiB", "high": "1GiB"}, "fds": {"low": 3, "high": 64}, "thp": ["off", "on"]}
    sweep = small(machine_path, **{"axes": axes, "method": "sobol", "samples": 64, **more})
    with SerialExecutor() as executor:
        return sensitivities(sweep, executor, samples=128, milestone="reaped")


def test_memory_matters_to_fork_and_not_to_vfork(machine_path: Path) -> None:
    fork, vfork = _found(machine_path)
    assert (fork.mechanism, vfork.mechanism) == ("fork", "vfork")
    totals = {each.factor: each.total for each in fork.axes}
    assert set(totals) == {"rss", "fds", "thp", "prices"}
    assert min(totals["rss"], totals["thp"]) > 0.2 > totals["fds"]
    spared = {each.factor: each.total for each in vfork.axes}
    assert spared["rss"] == spared["thp"] == 0.0
    # With nothing but prices and descriptors left, the two together explain what there is.
    assert sum(each.first for each in vfork.axes) == pytest.approx(1.0, abs=0.15)


def test_the_tornado_is_what_the_sweep_says_at_both_ends(machine_path: Path) -> None:
    fork, _ = _found(machine_path)
    widths = [each.width_us for each in fork.swings]
    assert widths == sorted(widths, reverse=True)
    by_name = {each.factor: each for each in fork.swings}
    assert by_name["thp"].low_us > by_name["thp"].high_us
    assert by_name["rss"].low_us < fork.centre_us < by_name["rss"].high_us
    for each in fork.swings:
        if each.price:
            assert each.low_us <= fork.centre_us <= each.high_us


def test_bills_stand_for_simulations_under_other_prices(machine_path: Path) -> None:
    assert max(each.path_error for each in _found(machine_path)) < 1e-9


def test_the_same_command_gives_the_same_indices(machine_path: Path) -> None:
    assert _found(machine_path) == _found(machine_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"constraints": ("rss > 0",)}, "constraints"),
        ({"axes": {"machine": ["bundled"], "rss": [1]}, "base": {"via": "fork"}}, "machine"),
        ({"axes": {"parent.vmas": {"low": 1, "high": 5}}, "base": {"via": "fork", "rss": 1}}, "vmas"),
        ({"axes": {"rss": [1], "exec": ["/bin/true"]}, "base": {"via": "spoon"}}, "via"),
    ],
)
def test_what_has_no_indices_is_refused(machine_path: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        _found(machine_path, **change)


def test_a_machine_without_covariance_has_no_price_factors(machine_file: MachineFile) -> None:
    bare = CostTable(ns=machine_file.costs.ns)
    prices = Prices.of(bare, bare.ns)
    assert prices.names == ()
    assert price_indices(Counted(1.0, {}), prices, seed=0) == []


def test_a_sweep_without_axes_still_ranks_its_prices(machine_path: Path) -> None:
    sweep = Sweep(base={"machine": str(machine_path), "rss": "1GiB", "exec": "none", "via": "fork"})
    with SerialExecutor() as executor:
        (found,) = sensitivities(sweep, executor, samples=64)
    assert [each.factor for each in found.axes] == ["prices"]
    assert sum(each.first for each in found.prices) == pytest.approx(1.0, abs=0.05)
