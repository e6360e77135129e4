"""Prices that the rows of a fit do not tell: which they are, and what is counted instead."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.assemble import inherit
from calibration.check import stored_samples
from calibration.fit import TOLD, fit, fold_untold, solve
from calibration.identify import fitted_rows
from calibration.machine_file import BUNDLED, MachineFile, find_machine
from calibration.samples import read_runs
from model.costs import COSTS, CostTable
from tests.experiments.plausible import plausible_file

NAMES = ("ldso_fixed", "ldso_object", "ldso_segment")
OBJECT_NS, SEGMENT_NS, FIXED_NS = 8_000.0, 5_000.0, 100_000.0
LIKE, FACTOR = COSTS["ldso_segment"].otherwise or ("", 0.0)


def _fitted(libraries_and_segments: list[tuple[int, int]]) -> tuple[tuple[str, ...], dict[str, float], tuple[str, ...]]:
    """Names, prices and untold costs of exact rows of so many libraries and further segments."""
    counts = np.array([[1.0, libraries, segments] for libraries, segments in libraries_and_segments])
    measured = counts @ np.array([FIXED_NS, OBJECT_NS, SEGMENT_NS])
    weights = np.full(len(counts), 1.0 / 0.02**2)
    names, matrix, untold = fold_untold(NAMES, counts, measured, weights)
    prices, _ = solve(matrix / measured[:, None], weights, np.ones(len(counts)))
    return names, dict(zip(names, prices.tolist(), strict=True)), untold


def test_rows_of_other_segments_tell_their_price() -> None:
    names, prices, untold = _fitted([(0, 0), (8, 24), (24, 24), (24, 72), (48, 48), (48, 192)])
    assert not untold
    assert names == NAMES
    assert prices["ldso_segment"] == pytest.approx(SEGMENT_NS, rel=1e-6)


@pytest.mark.parametrize("segments", [1, 2, 3])
def test_rows_of_one_number_of_segments_a_library_do_not(segments: int) -> None:
    """What is known is a library with its segments; the sum comes out right, whatever the shares."""
    names, prices, untold = _fitted([(libraries, segments * libraries) for libraries in (0, 4, 8, 24, 48)])
    assert untold == ("ldso_segment",)
    assert names == ("ldso_fixed", LIKE)
    whole = OBJECT_NS + segments * SEGMENT_NS
    assert prices[LIKE] * (1.0 + FACTOR * segments) == pytest.approx(whole, rel=1e-6)


def test_a_cost_without_a_stand_in_stays() -> None:
    counts = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    names, _, untold = fold_untold(("ldso_fixed", "ldso_object"), counts, counts.sum(axis=1), np.ones(3))
    assert names == ("ldso_fixed", "ldso_object")
    assert not untold


def test_a_fit_names_what_its_rows_do_not_tell_and_its_table_prices_it_by_the_stand_in() -> None:
    file = find_machine(BUNDLED)
    samples = read_runs(stored_samples(file)[0])
    telling = ("exec-libs-segments", "exec-libs-c", "exec-libs-cxx", "exec-libs-mixed", "exec-libs-probes")
    rows = [each for each in fitted_rows(file, samples) if each.row.row.name not in telling]
    found = fit(rows, file.machine)
    assert "ldso_segment" in found.untold
    assert not set(found.untold) & set(found.costs.ns)
    assert found.costs.price("ldso_segment") == FACTOR * found.costs.price(LIKE) > 0.0
    assert found.costs.stderr_ns({"ldso_segment": 1.0}) == pytest.approx(FACTOR * found.costs.stderr_ns({LIKE: 1.0}))
    for name in found.costs.names:
        like = COSTS[name].otherwise
        if like is not None and like[0] in found.costs.names:
            assert 0.0 < found.costs.stderr_ns({name: 1.0}) <= TOLD * found.costs.ns[name]


def test_what_rows_do_not_tell_is_not_inherited() -> None:
    """Another machine's price of it would be counted twice: the fit has it in the price that stands in."""
    base: MachineFile = plausible_file()
    own = CostTable({name: ns for name, ns in base.costs.ns.items() if name not in ("ldso_segment", "ldso_bss")})
    merged, sources = inherit(own, base, untold=("ldso_segment",))
    assert set(sources) == {"ldso_bss"}
    assert "ldso_segment" not in merged.ns
    assert merged.price("ldso_segment") == FACTOR * merged.price(LIKE)
