"""Quantiles and intervals: ordered, both modes shown, and wider the less is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model import simulation
from model.costs import CostTable
from model.ledger import Entry
from model.machine import NO_SPREAD, Machine, Placement, Spread
from model.mechanisms import placements_seen
from model.prediction import Milestone
from model.process import Process
from model.scenario import Scenario
from model.simulation import run_once, simulate
from model.spread import LONG_NS, SHORT_NS, SPAWNS, Z90, path_class, spread_of
from tests.model.builders import (
    BARE,
    COST_TABLE,
    FACTS,
    PLACEMENTS,
    RICH,
    SAME,
    anon,
    dynamic_image,
    machine_with,
    machines,
    parent_of,
    scenario_of,
    scenarios,
)

NOISY = Spread(levels=(0.0, 0.1, 0.5, 0.9, 1.0), ratios=(0.95, 1.0, 1.1, 1.6, 4.0))
CLASSES = ("short", "medium", "long", "short-wakes", "medium-wakes")
QUEUE = Placement(child="same", waker="queue", weight=0.5)
OTHER = Placement(child="same", waker="other", weight=0.5)


@st.composite
def spreads(draw: st.DrawFn) -> Spread:
    ratios = sorted(draw(st.lists(st.floats(0.3, 50), min_size=3, max_size=3)))
    return Spread(levels=(0.0, draw(st.floats(0.05, 0.95)), 1.0), ratios=tuple(ratios))


def fork_call(machine: Machine, costs: CostTable = COST_TABLE, parent: Process | None = None) -> Milestone:
    return simulate(scenario_of("fork", parent or parent_of(anon(2000))), machine, costs).milestones["call"]


def width(found: Milestone) -> float:
    return found.hi_ns / found.lo_ns


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    scenarios(), machines(), st.permutations(PLACEMENTS), st.lists(spreads(), min_size=5, max_size=5), st.floats(0, 0.5)
)
def test_quantiles_are_in_order(
    scenario: Scenario, machine: Machine, order: list[Placement], drawn: list[Spread], error: float
) -> None:
    modes = tuple(replace(each, weight=weight) for each, weight in zip(order, (0.5, 0.4, 0.1), strict=False))
    machine = replace(
        machine,
        placements={"*": modes},
        spread=dict(zip(CLASSES, drawn, strict=True)),
        model_error={"plain": error},
    )
    scenario = replace(scenario, parent=replace(scenario.parent, assumed=("contiguous", "writable")))
    prediction = simulate(scenario, machine, COST_TABLE)
    for found in [*prediction.milestones.values(), *([prediction.loader] if prediction.loader else [])]:
        assert 0 < found.p10_ns <= found.p50_ns <= found.p90_ns
        assert 0 < found.lo_ns <= found.p50_ns <= found.hi_ns
        assert all(np.isfinite(getattr(found, name)) for name in ("quiet_ns", "p90_ns", "hi_ns"))


@settings(max_examples=30, deadline=None)
@given(scenarios())
def test_without_spread_the_p50_is_the_quiet_time(scenario: Scenario) -> None:
    prediction = simulate(scenario, machine_with(2, facts=FACTS), COST_TABLE)
    for found in prediction.milestones.values():
        assert found.p10_ns == pytest.approx(found.quiet_ns)
        assert found.p50_ns == pytest.approx(found.quiet_ns)
        assert found.p90_ns == pytest.approx(found.quiet_ns)
        assert found.lo_ns == pytest.approx(found.quiet_ns)
    assert prediction.breakdown_ns["machine_spread"] == pytest.approx(0.0, abs=1e-6)


def test_two_modes_show_in_p10_and_p90() -> None:
    scenario = scenario_of("vfork", parent_of(), dynamic_image(8))
    alone = [
        simulate(scenario, machine_with(2, (replace(each, weight=1.0),)), COST_TABLE).milestones["call"].quiet_ns
        for each in (OTHER, QUEUE)
    ]
    assert alone[1] > 1.5 * alone[0]
    both = simulate(scenario, machine_with(2, (QUEUE, OTHER)), COST_TABLE).milestones["call"]
    assert both.p10_ns == pytest.approx(alone[0])
    assert both.p90_ns == pytest.approx(alone[1])
    assert both.quiet_ns == pytest.approx(alone[1]), "that of the likeliest, the first"
    rare = machine_with(2, (replace(QUEUE, weight=0.96), replace(OTHER, weight=0.04)))
    mostly = simulate(scenario, rare, COST_TABLE).milestones["call"]
    assert mostly.p10_ns == pytest.approx(alone[1]), "one in 25 does not reach the p10"


def test_spread_multiplies_the_quiet_time() -> None:
    quiet = fork_call(BARE)
    noisy = fork_call(replace(BARE, spread=dict.fromkeys(CLASSES, NOISY)))
    for name, ratio in (("p10_ns", 1.0), ("p50_ns", 1.1), ("p90_ns", 1.6)):
        assert getattr(noisy, name) == pytest.approx(ratio * quiet.quiet_ns)
    assert noisy.quiet_ns == quiet.quiet_ns
    around = Z90 * 0.5 / SPAWNS**0.5
    low, high = quiet.quiet_ns * np.interp((0.5 - around, 0.5 + around), NOISY.levels, NOISY.ratios)
    assert noisy.lo_ns == pytest.approx(low), "twenty spawns sample their median"
    assert noisy.hi_ns == pytest.approx(high)


def test_each_class_of_path_has_its_own_spread() -> None:
    def path(elapsed_ns: float, name: str = "syscall") -> list[Entry]:
        return [Entry(0.0, elapsed_ns, "charge", name, 1.0, ())]

    assert path_class(path(SHORT_NS / 2)) == "short"
    assert path_class(path(SHORT_NS * 2)) == "medium"
    assert path_class(path(LONG_NS * 2)) == "long"
    assert path_class(path(SHORT_NS / 2, "wake_idle_hot")) == "short-wakes"
    assert path_class(path(LONG_NS * 2, "wake_idle_hot")) == "long", "one wake-up is nothing there"
    assert path_class([]) == "short"
    machine = replace(BARE, spread={"short": NOISY})
    assert spread_of(machine, "short-wakes") is NOISY, "the next best that was measured"
    assert spread_of(machine, "long") is NO_SPREAD


def test_the_interval_grows_with_what_the_fit_does_not_know() -> None:
    widths = []
    for relative in (0.0, 0.02, 0.2):
        names = ("copy_present_pte",)
        covariance = np.array([[(relative * COST_TABLE.ns["copy_present_pte"]) ** 2]])
        found = fork_call(BARE, CostTable(COST_TABLE.ns, names=names, covariance=covariance))
        widths.append(width(found))
        assert found.quiet_ns == fork_call(BARE).quiet_ns
        expected = 2 * Z90 * relative * 2000 * COST_TABLE.ns["copy_present_pte"] / found.quiet_ns
        assert np.log(width(found)) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert widths[0] < widths[1] < widths[2]


def test_the_interval_grows_with_the_models_own_error() -> None:
    widths = [width(fork_call(replace(BARE, model_error={"plain": each, "long": each}))) for each in (0.0, 0.05, 0.2)]
    assert widths[0] == pytest.approx(1.0)
    assert np.log(widths[1]) == pytest.approx(2 * 1.6449 * 0.05)
    assert widths[2] > widths[1]


def test_the_interval_grows_with_what_was_assumed_of_the_parent() -> None:
    machine = machine_with(facts=FACTS)
    parent = parent_of(anon(5000), contiguous=0.5, writable=0.0)
    known = fork_call(machine, parent=parent)
    scattered = fork_call(machine, parent=replace(parent, assumed=("contiguous",)))
    both = fork_call(machine, parent=replace(parent, assumed=("contiguous", "writable")))
    assert known.p50_ns == scattered.p50_ns == both.p50_ns
    assert width(known) < width(scattered) < width(both)
    assert both.lo_ns == pytest.approx(scattered.lo_ns), "none is writable: it can only be more"
    ends = [fork_call(machine, parent=replace(parent, contiguous=each)).quiet_ns for each in (1.0, 0.0)]
    assert [scattered.lo_ns, scattered.hi_ns] == pytest.approx(ends), "the two ends of the range"


def test_what_does_not_matter_does_not_widen() -> None:
    parent = parent_of(anon(5000), assumed=("contiguous", "writable"))
    found = simulate(scenario_of("vfork", parent), RICH, COST_TABLE).milestones["call"]
    assert width(found) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("levels", "ratios"),
    [
        ((0.0, 1.0), (1.0,)),
        ((0.0,), (1.0,)),
        ((1.0, 0.0), (1.0, 2.0)),
        ((0.0, 1.0), (2.0, 1.0)),
        ((0.0, 1.0), (0.0, 1.0)),
        ((0.0, 1.0), (1.0, float("inf"))),
        ((0.0, 1.0), (1.0, float("nan"))),
    ],
)
def test_no_distribution_is_refused(levels: tuple[float, ...], ratios: tuple[float, ...]) -> None:
    with pytest.raises(ValueError):
        Spread(levels=levels, ratios=ratios)


def test_placements_are_checked() -> None:
    for wrong in ({"child": "elsewhere"}, {"waker": "never"}, {"weight": 1.5}, {"weight": float("nan")}):
        with pytest.raises(ValueError):
            Placement(**wrong)


def test_placements_are_looked_up_by_family_and_caller() -> None:
    cold, hot, rest = ((replace(SAME, weight=weight),) for weight in (0.1, 0.2, 0.3))
    machine = Machine(name="m", cpus=2, placements={"fork-cold": cold, "fork": hot, "*": rest})
    assert machine.placements_of("fork", cold=True) == cold
    assert machine.placements_of("fork") == hot
    assert machine.placements_of("vfork", cold=True) == rest
    assert replace(machine, placements={}).placements_of("fork") == (Placement(),)
    assert replace(machine, cpus=1).placements_of("fork") == (SAME,)


def test_placements_where_no_cpu_is_idle_stand_before_those_of_a_quiet_machine() -> None:
    beside, cold, hot, rest = ((replace(SAME, weight=weight),) for weight in (0.1, 0.2, 0.3, 0.4))
    seen = {"jdk-vfork-beside": beside, "jdk-vfork-cold": cold, "fork": hot, "*": rest}
    machine = Machine(name="m", cpus=2, placements=seen)
    assert machine.placements_of("jdk-vfork", beside=True) == beside
    assert machine.placements_of("jdk-vfork", beside=True, cold=True) == beside
    assert machine.placements_of("jdk-vfork", cold=True) == cold
    assert machine.placements_of("fork", beside=True) == hot


@pytest.mark.parametrize(("mechanism", "variants"), [("fork", 4), ("vfork", 0), ("posix_spawn", 0)])
def test_assumed_attributes_are_tried_only_where_they_can_act(
    mechanism: str, variants: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assumed = ("contiguous", "writable")
    parent = replace(parent_of(anon(512)), assumed=assumed)
    scenario = scenario_of(mechanism, parent)
    ends = simulation._variants(scenario)
    assert len(ends) == 4
    moved = [simulate(replace(each, parent=replace(each.parent, assumed=())), RICH, COST_TABLE) for each in ends]
    plain = simulate(replace(scenario, parent=replace(parent, assumed=())), RICH, COST_TABLE)
    assert any(each.milestones != plain.milestones for each in moved) == bool(variants)
    runs: list[Scenario] = []

    def counted(each: Scenario, *rest: Any, **named: Any) -> Any:
        runs.append(each)
        return run_once(each, *rest, **named)

    monkeypatch.setattr(simulation, "run_once", counted)
    simulate(scenario, RICH, COST_TABLE)
    placements = placements_seen(scenario, RICH)
    assert len(runs) == len(placements) + variants
