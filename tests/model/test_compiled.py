"""The compiled model against the simulation: the same times, quantiles and parts, or a refusal that names why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.compiled import compile_scenario
from model.compiled_result import CompiledResult
from model.costs import CostTable
from model.forms import Whole
from model.machine import Machine, Placement, Spread
from model.mechanisms import MECHANISMS, NotBuilt
from model.parent_arrays import ParentArrays
from model.paths import NotCompiled
from model.prediction import Prediction
from model.process import Limits, Process
from model.scenario import Charge, Load, Scenario, Sleep, Wait
from model.simulation import run_once, simulate
from tests.model.builders import (
    COST_TABLE,
    FACTS,
    FOOTPRINTS,
    PLACEMENTS,
    RICH,
    anon,
    dynamic_image,
    machine_with,
    machines,
    parent_of,
    parents,
    prime_costs,
    row_of,
    scenario_of,
    scenarios,
    spawn_of,
)

RELATIVE = 1e-9
SPREAD = {
    "short": Spread(levels=(0.0, 0.1, 0.5, 1.0), ratios=(0.9, 0.97, 1.1, 2.0)),
    "short-wakes": Spread(levels=(0.0, 0.5, 0.9, 1.0), ratios=(0.7, 1.3, 1.5, 9.0)),
    "medium": Spread(levels=(0.0, 0.5, 1.0), ratios=(0.95, 1.2, 3.0)),
    "long": Spread(levels=(0.0, 0.5, 1.0), ratios=(0.9, 1.0, 1.1)),
    "runtime": Spread(levels=(0.0, 0.3, 1.0), ratios=(0.95, 1.1, 1.4)),
}
WEIGHTS = (0.61, 0.28, 0.11)
often = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def weighted(order: list[Placement], count: int) -> tuple[Placement, ...]:
    """The first placements of an order, as modes of a mixture."""
    total = sum(WEIGHTS[:count])
    return tuple(replace(each, weight=w / total) for each, w in zip(order, WEIGHTS[:count], strict=False))


def agrees(result: CompiledResult, point: int, expected: Prediction) -> None:
    """One point of a result is what the simulation predicts."""
    assert result.mechanism == expected.mechanism
    assert list(result.milestones) == list(expected.milestones)
    for name, milestone in expected.milestones.items():
        for statistic in ("quiet_ns", "p10_ns", "p50_ns", "p90_ns"):
            found = getattr(result.milestones[name], statistic)[point]
            assert found == pytest.approx(getattr(milestone, statistic), rel=RELATIVE), (name, statistic)
    assert (result.loader is None) == (expected.loader is None)
    if result.loader is not None and expected.loader is not None:
        assert result.loader.p90_ns[point] == pytest.approx(expected.loader.p90_ns, rel=RELATIVE)
    found = {name: each[point] for name, each in result.breakdowns_ns["reaped"].items()}
    tolerance = RELATIVE * expected.milestones["reaped"].p50_ns
    for name in {*found, *expected.breakdown_ns}:
        assert found.get(name, 0.0) == pytest.approx(expected.breakdown_ns.get(name, 0.0), rel=RELATIVE, abs=tolerance)


def same_structure(several: list[Process], like: Process) -> list[Process]:
    """The parents with the runtime and caller of one."""
    return [replace(each, runtime=like.runtime, caller=like.caller) for each in several]


@often
@given(
    scenarios().filter(lambda each: each.spawn is not None and each.spawn.target.executable),
    st.lists(parents(), max_size=5),
    machines(),
    st.permutations(PLACEMENTS),
    st.integers(1, 3),
)
def test_it_is_the_simulation_for_any_mechanism_and_parents(
    scenario: Scenario, others: list[Process], machine: Machine, order: list[Placement], modes: int
) -> None:
    machine = replace(machine, placements={"*": weighted(order, modes)}, spread=SPREAD)
    several = [scenario.parent, *same_structure(others, scenario.parent)]
    compiled = compile_scenario(scenario, machine, COST_TABLE)
    result = compiled.evaluate(ParentArrays.of(several, scenario.rules))
    for point, parent in enumerate(several):
        agrees(result, point, simulate(replace(scenario, parent=parent), machine, COST_TABLE))


@often
@given(
    scenarios().filter(lambda each: each.spawn is not None and each.spawn.target.executable),
    st.lists(parents(), min_size=1, max_size=4),
    st.sampled_from(PLACEMENTS),
    st.lists(st.sampled_from(sorted(COST_TABLE.ns)), max_size=8),
    st.floats(0.0, 50.0),
)
def test_prices_enter_as_a_vector(
    scenario: Scenario, others: list[Process], placement: Placement, changed: list[str], factor: float
) -> None:
    """Other prices, free ones among them, take other paths where they turn who comes first."""
    machine = replace(RICH, placements={"*": (placement,)})
    several = same_structure(others, scenario.parent)
    tables = [COST_TABLE, prime_costs(**{name: COST_TABLE.ns[name] * factor for name in changed})]
    compiled = compile_scenario(scenario, machine, COST_TABLE)
    found = compiled.quiet_ns(ParentArrays.of(several, scenario.rules), tables)
    for number, table in enumerate(tables):
        for point, parent in enumerate(several):
            run = run_once(replace(scenario, parent=parent), machine, table, placement)
            for name, times_ns in found.items():
                assert times_ns[number, point] == pytest.approx(run.milestones[name], rel=RELATIVE, abs=1e-6)


def jvm_like(vmas: int, pages: int, **more: object) -> Process:
    return parent_of(*row_of(vmas, pages), **more)


@pytest.mark.parametrize("mechanism", sorted(MECHANISMS))
def test_many_parents_share_few_paths(mechanism: str) -> None:
    """Blocks, groups of points that take different paths, and all placements at once."""
    machine = machine_with(2, weighted(list(PLACEMENTS[::2]), 3), facts=FACTS, footprints=FOOTPRINTS, spread=SPREAD)
    scenario = scenario_of(mechanism, parent_of(), dynamic_image(2))
    draw = np.random.default_rng(7)
    points = 9000
    arrays = ParentArrays.like(
        jvm_like(9, 500),
        scenario.rules,
        points,
        small_ptes=draw.integers(0, 100_000, points),
        huge_pmds=draw.integers(0, 300, points),
        open_fds=draw.integers(3, 4000, points),
        threads=draw.integers(1, 40, points),
        running_threads=draw.integers(0, 2, points),
        writable=draw.random(points),
        contiguous=draw.random(points),
    )
    compiled = compile_scenario(scenario, machine, COST_TABLE)
    result = compiled.evaluate(arrays, breakdowns=("call", "reaped"))
    assert sum(map(len, compiled.forms)) < 60
    for name, parts in result.breakdowns_ns.items():
        total = np.sum(list(parts.values()), axis=0)
        np.testing.assert_allclose(total, result.milestones[name].p50_ns, rtol=RELATIVE)
    alone = compiled.evaluate(arrays[8190:8195], breakdowns=())
    for name, milestone in alone.milestones.items():
        for statistic in ("quiet_ns", "p10_ns", "p50_ns", "p90_ns"):
            whole = getattr(result.milestones[name], statistic)[8190:8195]
            np.testing.assert_allclose(getattr(milestone, statistic), whole, rtol=RELATIVE)


def refusal(scenario: Scenario, machine: Machine = RICH, costs: CostTable = COST_TABLE) -> str:
    with pytest.raises(NotCompiled) as refused:
        compile_scenario(scenario, machine, costs).evaluate(ParentArrays.of([scenario.parent], scenario.rules))
    return str(refused.value)


def test_it_refuses_what_it_cannot_express_and_names_it() -> None:
    plain = scenario_of("fork", parent_of(anon(3)), dynamic_image())
    limited = replace(plain, parent=parent_of(anon(3), limits=Limits(commit_mode=2, commit_headroom_bytes=1)))
    full = replace(plain, parent=parent_of(anon(3), limits=Limits(processes_left=0)))
    assert "load" in refusal(replace(plain, load=Load(busy_cpus=1)))
    assert "limits" in refusal(limited)
    assert "limits" in refusal(full)
    assert "spawns nothing" in refusal(replace(plain, program=(Charge(cost="syscall"),)))
    assert "EACCES" in refusal(scenario_of("fork", parent_of(), dynamic_image(1, executable=False)))
    assert "reaped" in refusal(replace(plain, program=plain.program[:1]))
    with pytest.raises(NotBuilt, match="telepathy"):
        compile_scenario(replace(plain, program=(spawn_of("telepathy", dynamic_image()), Wait())), RICH, COST_TABLE)


def test_a_caller_that_sleeps_has_its_sleep_in_the_breakdown() -> None:
    scenario = Scenario(parent=parent_of(anon(5)), program=(spawn_of("fork"), Sleep(time_ns=5e6), Wait()))
    result = compile_scenario(scenario, RICH, COST_TABLE).evaluate(ParentArrays.of([scenario.parent], scenario.rules))
    expected = simulate(scenario, RICH, COST_TABLE)
    assert result.breakdowns_ns["reaped"]["sleep"][0] == expected.breakdown_ns["sleep"] == 5e6
    assert result.milestones["reaped"].quiet_ns[0] == pytest.approx(expected.milestones["reaped"].quiet_ns)


def test_attributes_of_parents_are_checked() -> None:
    scenario = scenario_of("fork", parent_of(anon(3)))
    good = ParentArrays.of([scenario.parent, parent_of()], scenario.rules)
    assert len(ParentArrays.joined([good, good[:1]])) == 3
    for bad, match in (
        ({"threads": np.zeros(2)}, "threads"),
        ({"contiguous": np.full(2, 1.5)}, "contiguous"),
        ({"small_ptes": np.full(2, np.nan)}, "small_ptes"),
        ({"small_ptes": np.ones(3)}, "one length"),
        ({"colour": np.ones(2)}, "colour is unknown"),
    ):
        with pytest.raises(ValueError, match=match):
            ParentArrays({**good.columns, **bad})
    with pytest.raises(ValueError, match="threads is missing"):
        ParentArrays({name: values for name, values in good.columns.items() if name != "threads"})
    with pytest.raises(ValueError, match="no parents"):
        compile_scenario(scenario, RICH, COST_TABLE).evaluate(good[:0])


def test_blocks_are_put_end_to_end() -> None:
    """Numbers stay one number as long as they can; what a block lacks is 0 there."""
    whole = Whole(5)
    whole.put(0, {"same": np.broadcast_to(2.0, 2), "late": np.broadcast_to(1.0, 2), "gone": np.array([3.0, 4.0])})
    whole.put(2, {"same": np.broadcast_to(2.0, 2), "late": np.array([5.0, 6.0]), "new": np.broadcast_to(7.0, 2)})
    whole.put(4, {"same": np.broadcast_to(2.0, 1), "late": np.broadcast_to(1.0, 1)})
    assert {name: values.tolist() for name, values in whole.found.items()} == {
        "same": [2, 2, 2, 2, 2],
        "late": [1, 1, 5, 6, 1],
        "gone": [3, 4, 0, 0, 0],
        "new": [0, 0, 7, 7, 0],
    }
    assert whole.found["same"].strides == (0,)
