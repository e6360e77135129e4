"""Conservation: no nanosecond of a spawn is lost or counted twice, whoever runs where."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.costs import COSTS, CostTable
from model.ledger import Entry, NoPath, bill_of, critical_path
from model.machine import Machine, Placement, Spread
from model.mechanisms import MECHANISMS
from model.scenario import Charge, PingPong, Scenario, Sleep, Spawn, Touch, Wait
from model.simulation import Run, bill, run_once, simulate
from tests.model.builders import (
    BARE,
    COST_TABLE,
    GIB,
    PLACEMENTS,
    RICH,
    anon,
    dynamic_image,
    machine_with,
    machines,
    parent_of,
    priced,
    prime_costs,
    scenario_of,
    scenarios,
    spawn_of,
    work_ns,
)

SPREAD = {
    "plain": Spread(levels=(0.0, 0.5, 1.0), ratios=(0.9, 1.1, 2.0)),
    "wakes": Spread(levels=(0.0, 0.5, 1.0), ratios=(0.7, 1.3, 9.0)),
}
RELATIVE = 1e-9
AT_A_SWITCH = ("clock_gettime", "context_switch")
"""Where these take no time, who came first at their instant cannot be told."""
often = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def all_entries(run: Run) -> list[Entry]:
    return [entry for task in run.system.tasks for entry in task.ledger]


def most_at_once(entries: list[Entry]) -> int:
    """Charges that overlap in time, touching ends and rounding left aside."""
    steps = [(entry.start_ns + 1e-3, 1) for entry in entries] + [(entry.end_ns - 1e-3, -1) for entry in entries]
    running = most = 0
    for _, step in sorted(steps):
        running += step
        most = max(most, running)
    return most


@often
@given(scenarios(), machines(), st.permutations(PLACEMENTS))
def test_parts_sum_to_the_p50(scenario: Scenario, machine: Machine, order: list[Placement]) -> None:
    weighted = tuple(replace(each, weight=weight) for each, weight in zip(order, (0.6, 0.3, 0.1), strict=False))
    machine = replace(machine, placements={"*": weighted}, spread=SPREAD)
    prediction = simulate(scenario, machine, COST_TABLE)
    if not prediction.milestones:
        assert prediction.error is not None
        return
    last = list(prediction.milestones.values())[-1]
    assert sum(prediction.breakdown_ns.values()) == pytest.approx(last.p50_ns, rel=RELATIVE)
    assert min(prediction.breakdown_ns.values()) >= 0.0
    assert set(prediction.breakdown_ns) - {"machine_spread"} <= set(COSTS), "no wait is left unexplained"


@often
@given(scenarios(), machines(), st.sampled_from(PLACEMENTS))
def test_the_critical_path_has_no_gap_and_its_bill_is_its_time(
    scenario: Scenario, machine: Machine, placement: Placement
) -> None:
    run = run_once(scenario, machine, COST_TABLE, placement)
    for milestone, at_ns in run.milestones.items():
        path = run.path_to(milestone)
        begin, end = run.begin_ns, run.begin_ns + at_ns
        assert sum(entry.elapsed_ns for entry in path) == pytest.approx(at_ns, rel=RELATIVE, abs=1e-6)
        ends = [begin, *(entry.end_ns for entry in path)]
        starts = [*(entry.start_ns for entry in path), end]
        assert starts == pytest.approx(ends, rel=RELATIVE, abs=1e-6)
        counted = bill_of(path)
        assert priced(counted.counts) + counted.sleep_ns == pytest.approx(counted.elapsed_ns, rel=RELATIVE)
        assert counted.elapsed_ns == pytest.approx(at_ns, rel=RELATIVE)
        assert all(count > 0 for count in counted.counts.values())


@often
@given(scenarios(), machines(), st.sampled_from(PLACEMENTS))
def test_time_lies_between_the_longest_task_and_the_sum_of_all_work(
    scenario: Scenario, machine: Machine, placement: Placement
) -> None:
    run = run_once(scenario, machine, COST_TABLE, placement)
    end = max(task.clock_ns for task in run.system.tasks)
    longest = max(work_ns(task.ledger) for task in run.system.tasks)
    assert longest <= end * (1 + RELATIVE)
    assert end <= work_ns(all_entries(run)) * (1 + RELATIVE)


@often
@given(scenarios(), machines(), st.sampled_from(PLACEMENTS))
def test_ledgers_are_whole_and_no_more_tasks_work_than_there_are_cpus(
    scenario: Scenario, machine: Machine, placement: Placement
) -> None:
    run = run_once(scenario, machine, COST_TABLE, placement)
    for task in run.system.tasks:
        ledger = task.ledger
        assert [e.start_ns for e in ledger[1:]] == pytest.approx([e.end_ns for e in ledger[:-1]], rel=RELATIVE)
        assert not ledger or task.clock_ns == pytest.approx(ledger[-1].end_ns)
    charges = [entry for entry in all_entries(run) if entry.kind == "charge"]
    assert most_at_once(charges) <= machine.cpus
    assert all(cpu.idle and not cpu.queue for cpu in run.system.cpus), "every task has ended or sleeps"


@often
@given(scenarios(), st.sampled_from(PLACEMENTS))
def test_on_one_cpu_all_work_is_on_the_path(scenario: Scenario, placement: Placement) -> None:
    machine = machine_with(1, facts=RICH.facts, footprints=RICH.footprints)
    run = run_once(scenario, machine, COST_TABLE, placement)
    if run.error is not None or "reaped" not in run.milestones:
        return
    end = run.milestones["reaped"]
    before = [entry for entry in all_entries(run) if entry.end_ns <= end * (1 + RELATIVE)]
    assert work_ns(before) == pytest.approx(end, rel=RELATIVE)


@pytest.mark.parametrize("mechanism", sorted(MECHANISMS))
@pytest.mark.parametrize("placement", PLACEMENTS, ids=lambda each: f"{each.child}-{each.waker}")
@pytest.mark.parametrize("cpus", [1, 2, 3])
def test_every_mechanism_reaches_its_end(mechanism: str, placement: Placement, cpus: int) -> None:
    scenario = scenario_of(mechanism, parent_of(anon(3), threads=3), dynamic_image(2))
    run = run_once(scenario, replace(RICH, cpus=cpus), COST_TABLE, placement)
    assert run.error is None
    assert set(run.milestones) >= {"call", "exec", "main", "reaped"}
    assert run.milestones["exec"] <= run.milestones["main"] <= run.milestones["reaped"]
    assert run.milestones["call"] <= run.milestones["reaped"]


def test_counts_do_not_depend_on_prices_of_one_cpu() -> None:
    """A price that the fit puts at zero takes no time, and its count stays in the bill."""
    parent = parent_of(anon(700), anon(9, start=2 * GIB), threads=4)
    unit = CostTable(dict.fromkeys(COST_TABLE.ns, 1.0))
    for mechanism in sorted(MECHANISMS):
        scenario = scenario_of(mechanism, parent, dynamic_image(2))
        expected = bill(scenario, BARE, unit).counts
        assert bill(scenario, BARE, COST_TABLE).counts == pytest.approx(expected)
        for name in expected:
            # A free switch has no length, so a path that steps over a wait there can pass it by.
            if name not in ("clock_gettime", "context_switch"):
                free = bill(scenario, BARE, prime_costs(**{name: 0.0})).counts
                assert free == pytest.approx(expected), (mechanism, name)


def test_a_program_adds_up_its_steps() -> None:
    parent = parent_of(anon(5))
    steps = (Charge(cost="syscall", count=3), Touch(pages=4, tables=1), PingPong(), PingPong(same_cpu=False))
    run = run_once(Scenario(parent=parent, program=steps), BARE, COST_TABLE, PLACEMENTS[0])
    counts = bill_of(run.path_to("done")).counts
    assert counts == {
        "syscall": 3,
        "fault_anon": 4,
        "fault_pte_table": 1,
        "pipe_io": 4,
        "context_switch": 1,
        "wake_idle_hot": 1,
    }
    assert run.milestones["done"] == priced(counts)


def test_a_sleeping_caller_leaves_its_cpu_to_the_child() -> None:
    spawn = spawn_of("fork")
    scenario = Scenario(parent=parent_of(anon(5)), program=(spawn, Sleep(time_ns=5e6), Wait()))
    run = run_once(scenario, BARE, COST_TABLE, PLACEMENTS[0])
    caller, child = run.system.tasks
    assert child.clock_ns < 5e6, "the child has come and gone meanwhile"
    assert sum(entry.elapsed_ns for entry in caller.ledger if entry.kind == "sleep") == 5e6
    assert bill_of(run.path_to("reaped")).sleep_ns == 5e6


def test_without_a_wait_the_child_still_runs() -> None:
    spawn: Spawn = spawn_of("fork", dynamic_image())
    run = run_once(Scenario(parent=parent_of(anon(5)), program=(spawn,)), BARE, COST_TABLE, PLACEMENTS[0])
    assert set(run.milestones) >= {"call", "exec", "main"}
    assert "reaped" not in run.milestones


def test_a_stretch_of_a_ledger_has_its_share_of_the_units() -> None:
    run = run_once(
        Scenario(parent=parent_of(), program=(Charge(cost="syscall", count=10),)), BARE, COST_TABLE, PLACEMENTS[0]
    )
    unit = COST_TABLE.price("syscall")
    path = critical_path(run.caller, 2 * unit, 9 * unit)
    assert [entry.name for entry in path] == ["syscall"]
    assert path[0].count == pytest.approx(7)


def test_a_gap_in_a_ledger_is_a_defect() -> None:
    run = run_once(scenario_of("fork", parent_of()), BARE, COST_TABLE, PLACEMENTS[0])
    del run.caller.rows[2]
    with pytest.raises(NoPath, match="no ledger"):
        critical_path(run.caller, 0.0, run.milestones["call"])
