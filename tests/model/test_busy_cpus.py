"""CPU-bound tasks beside a spawn: slices and ticks, who waits how long, and that nothing is lost."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.hardware.tick import PHASES, TICK_NS, Ticks, slice_ns
from model.ledger import bill_of
from model.machine import Machine, Placement, Spread
from model.process import Caller
from model.quantiles import around_wait
from model.scenario import Load, Scenario
from model.simulation import run_once, simulate
from model.spread import spread_of
from tests.model.builders import (
    COST_TABLE,
    PLACEMENTS,
    anon,
    machine_with,
    parent_of,
    prime_costs,
    scenario_of,
    scenarios,
)

TWO = machine_with(2)
SLICE = slice_ns(2)
OTHER = Placement(child="other", waker="other")
LONG = parent_of(anon(200_000))
"""A fork of it takes many ticks with the prices of the tests."""


def busy(cpus: int, parent: object = None, mechanism: str = "clone3") -> Scenario:
    return scenario_of(mechanism, parent or parent_of(), load=Load(busy_cpus=cpus))  # type: ignore[arg-type]


def test_the_slice_is_the_kernels() -> None:
    assert [slice_ns(cpus) / 1e6 for cpus in (1, 2, 4, 8, 64)] == pytest.approx([0.7, 1.4, 2.1, 2.8, 2.8])


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1e12))
def test_ticks_come_every_four_milliseconds(phase: float, at_ns: float) -> None:
    ticks = Ticks(phase, SLICE)
    assert 0 <= ticks.since_ns(at_ns) < TICK_NS
    assert -1 <= ticks.next_ns(at_ns) - at_ns <= TICK_NS + 1
    assert ticks.leaves_ns(at_ns) - at_ns >= SLICE - 1
    assert ticks.leaves_ns(at_ns) - at_ns <= SLICE + TICK_NS + 1


def test_a_queued_newcomer_waits_only_while_the_others_slice_lasts() -> None:
    def waits(since_ns: float) -> float:
        return Ticks(since_ns / TICK_NS, SLICE).queued_after_ns(0.0)

    assert waits(SLICE * 1.01) == 0.0
    assert waits(SLICE * 0.99) == pytest.approx(TICK_NS - SLICE * 0.99)
    assert waits(SLICE * 0.3) == 0.0, "half a slice is due before the rest of the other's"


def test_tick_and_slice_are_facts_of_the_machine() -> None:
    told = replace(TWO, facts={"tick_ns": 1e6, "base_slice_ns": 3e6})
    assert (Ticks.of(told, 0.5).tick_ns, Ticks.of(told, 0.5).slice_ns) == (1e6, 3e6)
    assert (Ticks.of(TWO, 0.5).tick_ns, Ticks.of(TWO, 0.5).slice_ns) == (TICK_NS, SLICE)


def waits_for_a_cpu(cpus: int, placement: Placement, machine: Machine = TWO, mechanism: str = "vfork") -> list[float]:
    """When the child of a small parent is reaped, at each phase of the tick."""
    asked = busy(cpus, mechanism=mechanism)
    phases = [(index + 0.5) / PHASES for index in range(PHASES)]
    return [run_once(asked, machine, COST_TABLE, placement, phase=each).milestones["reaped"] for each in phases]


def test_on_busy_cpus_a_child_starts_at_the_next_tick_wherever_it_was_placed_before() -> None:
    for placement in PLACEMENTS:
        found = sorted(waits_for_a_cpu(2, placement))
        steps = [b - a for a, b in itertools.pairwise(found)]
        assert steps == pytest.approx([TICK_NS / PHASES] * (PHASES - 1), rel=0.05), "evenly spread over a tick"


def test_a_shorter_tick_is_a_shorter_wait() -> None:
    short = replace(TWO, facts={"tick_ns": TICK_NS / 4})
    assert max(waits_for_a_cpu(2, OTHER, short)) < 0.5 * max(waits_for_a_cpu(2, OTHER))


def test_a_long_fork_on_a_busy_cpu_gets_every_other_tick() -> None:
    free = run_once(busy(0, LONG), TWO, COST_TABLE, PLACEMENTS[0])
    shared = run_once(busy(2, LONG), TWO, COST_TABLE, PLACEMENTS[0])
    assert free.milestones["call"] > 10 * TICK_NS
    lost = shared.milestones["call"] - free.milestones["call"]
    assert lost == pytest.approx(free.milestones["call"], abs=2.5 * TICK_NS), "half of the CPU"


def test_a_busy_cpu_elsewhere_does_not_touch_what_stays_here() -> None:
    same = Placement(child="same", waker="preempt")
    free, other = (run_once(busy(cpus), TWO, COST_TABLE, same) for cpus in (0, 1))
    assert other.milestones == free.milestones


def test_a_vfork_beside_a_busy_cpu_has_the_modes_that_were_seen_there() -> None:
    late = replace(PLACEMENTS[0], child="same", waker="queue", weight=0.4)
    seen = (Placement(child="same", waker="preempt", weight=0.6), late)
    machine = machine_with(2)
    machine = replace(machine, placements={**machine.placements, "vfork-beside": seen})
    asked = busy(1, mechanism="vfork")
    early_ns, late_ns = (run_once(asked, machine, COST_TABLE, each).milestones["call"] for each in seen)
    found = simulate(asked, machine, COST_TABLE).milestones["call"]
    assert early_ns < late_ns
    assert found.p50_ns == pytest.approx(early_ns)
    assert found.p90_ns == pytest.approx(late_ns)
    alone = simulate(busy(0, mechanism="vfork"), machine, COST_TABLE).milestones["call"]
    assert alone.p90_ns < late_ns, "with an idle CPU, what is seen there does not count"


def test_waiting_for_the_tick_is_in_the_quantiles_of_who_comes_from_a_sleep() -> None:
    machine, cold = machine_with(2, placements=(OTHER,)), parent_of(caller=Caller.COLD)
    free, loaded = (simulate(busy(cpus, cold), machine, COST_TABLE).milestones["reaped"] for cpus in (0, 1))
    assert loaded.p90_ns > free.p90_ns + 0.8 * TICK_NS
    assert free.p50_ns + 0.3 * TICK_NS < loaded.p50_ns < free.p50_ns + 0.8 * TICK_NS


def test_a_loop_whose_children_wait_falls_in_step_with_the_ticks() -> None:
    machine = machine_with(2, placements=(OTHER,))
    found = simulate(busy(2, mechanism="vfork"), machine, COST_TABLE).milestones["reaped"]
    assert (found.p10_ns, found.p50_ns, found.p90_ns) == pytest.approx((TICK_NS,) * 3, rel=0.02)


def test_the_machine_scatters_work_and_not_waits_for_a_tick() -> None:
    wide = Spread(levels=(0.0, 0.5, 1.0), ratios=(1.0, 2.0, 3.0))
    machine = replace(machine_with(2, placements=(OTHER,)), spread={"short": wide, "medium": wide})
    found = simulate(busy(2, mechanism="vfork"), machine, COST_TABLE).milestones["reaped"]
    alone = simulate(busy(0, mechanism="vfork"), machine, COST_TABLE).milestones["reaped"]
    assert found.p90_ns - found.p10_ns < 2.0 * (alone.p90_ns - alone.p10_ns) < TICK_NS
    half = around_wait(wide, total_ns=10.0, wait_ns=5.0)
    assert half.ratios == (1.0, 1.5, 2.0)
    assert around_wait(wide, total_ns=10.0, wait_ns=0.0) == wide
    assert around_wait(wide, total_ns=15.0, wait_ns=5.0, stretched=2.0).ratios == pytest.approx((10 / 15, 1.0, 20 / 15))


def test_work_that_the_machine_makes_longer_meets_more_ticks() -> None:
    free_ns = simulate(busy(0, LONG), TWO, COST_TABLE).milestones["call"].quiet_ns
    spread = Spread(levels=(0.0, 1.0), ratios=(2.0, 2.0))
    slow = replace(TWO, spread=dict.fromkeys(("short", "medium", "long"), spread))
    usual, late = (simulate(busy(2, LONG), each, COST_TABLE).milestones["call"].p50_ns for each in (TWO, slow))
    assert late == pytest.approx(2.0 * usual, abs=3.0 * TICK_NS), "half of the CPU, for twice as long"
    assert late > usual + 1.5 * free_ns


def test_no_milestone_overtakes_a_later_one_beside_busy_programs() -> None:
    wide = Spread(levels=(0.0, 0.5, 1.0), ratios=(0.5, 1.0, 3.0))
    machine = replace(machine_with(2), spread={"short": wide, "medium": wide})
    for caller in Caller:
        found = simulate(busy(2, parent_of(caller=caller), "vfork"), machine, COST_TABLE).milestones
        for name in ("p10_ns", "p50_ns", "p90_ns"):
            assert getattr(found["call"], name) <= getattr(found["reaped"], name)


def test_spawns_beside_busy_programs_have_a_spread_of_their_own_where_it_was_seen() -> None:
    plain, cold, beside = (Spread(levels=(0.0, 1.0), ratios=(each, each)) for each in (1.0, 2.0, 3.0))
    seen = {"short": plain, "short-cold": cold, "short-cold-beside": beside}
    machine = replace(TWO, spread=seen)
    assert spread_of(machine, "short-wakes", cold=True, beside=True) is beside
    assert spread_of(machine, "short", cold=True) is cold
    assert spread_of(machine, "short", beside=True) is plain
    assert spread_of(replace(TWO, spread={"short": plain, "short-cold": cold}), "short", cold=True, beside=True) is cold


@settings(max_examples=60, deadline=None)
@given(scenarios(), st.integers(0, 2), st.sampled_from(PLACEMENTS), st.floats(0, 1, exclude_max=True))
def test_every_nanosecond_is_explained_on_busy_cpus(
    scenario: Scenario, cpus: int, placement: Placement, phase: float
) -> None:
    costs = prime_costs()
    done = run_once(replace(scenario, load=Load(busy_cpus=cpus)), TWO, costs, placement, phase=phase)
    for name in done.milestones:
        path = done.path_to(name)
        total = sum(entry.elapsed_ns for entry in path)
        assert total == pytest.approx(done.milestones[name], rel=1e-9, abs=1e-3)
        bill = bill_of(path)
        priced = sum(count * costs.price(cost) for cost, count in bill.counts.items())
        assert priced + bill.sleep_ns == pytest.approx(bill.elapsed_ns, rel=1e-9, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(scenarios(), st.sampled_from(PLACEMENTS))
def test_busy_cpus_never_make_a_spawn_faster(scenario: Scenario, placement: Placement) -> None:
    free, loaded = (
        run_once(replace(scenario, load=Load(busy_cpus=cpus)), machine_with(1), COST_TABLE, placement)
        for cpus in (0, 1)
    )
    for name, at_ns in free.milestones.items():
        assert loaded.milestones[name] >= at_ns * (1 - 1e-9)
