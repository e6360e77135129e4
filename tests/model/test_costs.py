"""Declarations and prices: every cost is said once, and a table without a sound price is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.address_space import Vma
from model.costs import COSTS, CostSpec, CostTable, MissingCost, _parse, fold_assumed
from model.simulation import bill, simulate
from tests.model.builders import BARE, COST_TABLE, anon, parent_of, scenario_of

ASSUMED = sorted(name for name, spec in COSTS.items() if spec.assumed)
MEASURED = sorted(name for name, spec in COSTS.items() if not spec.assumed)
counts_strategy = st.dictionaries(st.sampled_from(sorted(COSTS)), st.floats(0, 1e6), max_size=12)


def test_the_list_is_read() -> None:
    assert len(COSTS) > 80
    assert all(spec.name == name for name, spec in COSTS.items())
    copied = COSTS["copy_present_pte"]
    assert (copied.per, copied.bench, copied.latency, copied.user) == ("pte", "fork_touched", False, False)
    assert copied.stands_for.startswith("mm/memory.c:copy_present_ptes@v6.18")
    assert COSTS["wake_idle_hot"].latency
    assert COSTS["ldso_lookup"].user


def test_assumed_costs_are_tied_to_a_measured_one_with_their_source() -> None:
    assert ASSUMED
    for name in ASSUMED:
        spec = COSTS[name]
        assert spec.assumed_as is not None
        assert spec.assumed_as[0] in COSTS
        assert not spec.bench
        assert "Source:" not in spec.stands_for


def test_a_block_of_the_list_gives_its_specs() -> None:
    text = (
        "one (call) by bench_a\n    First line,\n    second.\n"
        "two (page) latency assumed 0.5 × one\n    What.\n    Source: where."
    )
    one, two = _parse(text, user=True)
    assert (one.stands_for, one.bench, one.user) == ("First line, second.", "bench_a", True)
    assert (two.assumed_as, two.assumed, two.latency) == (("one", 0.5), "where.", True)


@pytest.mark.parametrize(
    "head", ["one", "one call by bench", "one (call) by", "one (call) assumed × two", "one (call) from b"]
)
def test_a_bad_head_is_refused(head: str) -> None:
    with pytest.raises(ValueError, match="not the head of a cost"):
        list(_parse(f"{head}\n    Text.", user=False))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "", "bench": "b"}, "are needed"),
        ({"per": "", "bench": "b"}, "are needed"),
        ({"stands_for": "", "bench": "b"}, "are needed"),
        ({}, "either a bench"),
        ({"bench": "b", "assumed": "s", "assumed_as": ("x", 1.0)}, "either a bench"),
        ({"assumed": "s"}, "tied to a measured one"),
    ],
)
def test_an_incomplete_declaration_is_refused(fields: dict[str, object], message: str) -> None:
    whole: dict[str, object] = {"name": "n", "per": "p", "stands_for": "s", **fields}
    with pytest.raises(ValueError, match=message):
        CostSpec(**whole)  # type: ignore[arg-type]


@pytest.mark.parametrize("price", [float("nan"), -1.0, float("inf"), -1e-300])
def test_prices_are_finite_and_not_negative(price: float) -> None:
    with pytest.raises(ValueError, match="price of syscall"):
        CostTable({"syscall": price})


def test_a_missing_price_is_named() -> None:
    table = CostTable({name: price for name, price in COST_TABLE.ns.items() if name != "copy_present_pte"})
    with pytest.raises(MissingCost, match="copy_present_pte"):
        simulate(scenario_of("fork", parent_of(anon(1))), BARE, table)
    assert simulate(scenario_of("vfork", parent_of(anon(1))), BARE, table).milestones, "no path needs it"
    with pytest.raises(MissingCost):
        table.price("copy_swap_pte")
    with pytest.raises(KeyError):
        table.price("no_such_cost")


@given(counts_strategy)
def test_folding_assumed_costs_keeps_the_price(counts: dict[str, float]) -> None:
    folded = fold_assumed(counts)
    assert not set(folded) & set(ASSUMED)
    whole = sum(count * COST_TABLE.price(name) for name, count in counts.items())
    assert sum(count * COST_TABLE.price(name) for name, count in folded.items()) == pytest.approx(whole)


@given(counts_strategy, st.integers(0, 2**32 - 1))
def test_the_error_of_a_bill_is_the_root_of_its_quadratic_form(counts: dict[str, float], seed: int) -> None:
    names = tuple(MEASURED)
    half = np.random.default_rng(seed).normal(size=(len(names), len(names)))
    covariance = half @ half.T
    table = CostTable(COST_TABLE.ns, names=names, covariance=covariance)
    folded = fold_assumed(counts)
    square = sum(folded[a] * covariance[names.index(a), names.index(b)] * folded[b] for a in folded for b in folded)
    assert table.stderr_ns(counts) == pytest.approx(max(0.0, square) ** 0.5, rel=1e-6, abs=1e-3)


def test_independent_errors_add_in_squares_and_tied_ones_in_line() -> None:
    table = CostTable(COST_TABLE.ns, names=("syscall", "copy_present_pte"), covariance=np.diag([9.0, 4.0]))
    assert table.stderr_ns({"syscall": 1}) == 3.0
    assert table.stderr_ns({"syscall": 1, "copy_present_pte": 2}) == 5.0
    assert table.stderr_ns({"copy_present_pte": 1, "copy_swap_pte": 1}) == 4.0, "an assumed price errs with its own"
    assert table.stderr_ns({"open_file": 7}) == 0.0
    assert COST_TABLE.stderr_ns({"syscall": 1}) == 0.0


def test_rounding_in_a_covariance_gives_no_imaginary_error() -> None:
    table = CostTable(COST_TABLE.ns, names=("syscall",), covariance=np.array([[-1e-12]]))
    assert table.stderr_ns({"syscall": 1}) == 0.0


def test_assumed_prices_follow_what_they_are_tied_to() -> None:
    swapped = Vma(start=1 << 30, end=(1 << 30) + (1 << 20), swap_ptes=10, anon_vma=True)
    doubled = CostTable({**COST_TABLE.ns, "copy_present_pte": 2 * COST_TABLE.ns["copy_present_pte"]})
    spec = COSTS["copy_swap_pte"].assumed_as
    assert spec is not None
    scenario = scenario_of("fork", parent_of(swapped))
    assert bill(scenario, BARE, COST_TABLE).counts["copy_swap_pte"] == 10
    slower, usual = (simulate(scenario, BARE, table).bill.elapsed_ns for table in (doubled, COST_TABLE))
    assert slower - usual == pytest.approx(10 * spec[1] * COST_TABLE.ns["copy_present_pte"])


def test_a_price_that_an_older_file_lacks_follows_what_stands_in_for_it() -> None:
    name = next(name for name, spec in COSTS.items() if spec.otherwise is not None)
    spec = COSTS[name].otherwise
    assert spec is not None
    like, factor = spec
    assert COST_TABLE.price(name) == COST_TABLE.ns[name], "what was measured counts"
    older = {each: price for each, price in COST_TABLE.ns.items() if each != name}
    table = CostTable(older, names=(like,), covariance=np.array([[4.0]]))
    assert table.price(name) == factor * older[like]
    assert table.stderr_ns({name: 1}) == pytest.approx(2.0 * factor)
