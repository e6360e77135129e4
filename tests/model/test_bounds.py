"""Bounds of the compiled model against those of the simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.bounds import bounded
from model.compiled import compile_scenario
from model.costs import CostTable
from model.machine import Machine, Placement
from model.parent_arrays import ParentArrays
from model.process import Process
from model.scenario import Scenario
from model.simulation import simulate
from tests.model.builders import COST_TABLE, PLACEMENTS, machines, parents, scenarios
from tests.model.test_compiled import RELATIVE, SPREAD, agrees, often, same_structure, weighted

ERRORS = {"plain": 0.03, "short": 0.05, "long": 0.02, "unpinned-copies": 0.1, "unpinned-execs": 0.07}


def with_covariance(seed: int) -> CostTable:
    """The same prices with errors that are correlated."""
    names = tuple(COST_TABLE.ns)
    draws = np.random.default_rng(seed).normal(size=(len(names), 8))
    scale = np.array([0.05 * COST_TABLE.ns[name] for name in names])
    return CostTable(ns=COST_TABLE.ns, names=names, covariance=draws @ draws.T * np.outer(scale, scale))


@often
@given(
    scenarios().filter(lambda each: each.spawn is not None and each.spawn.target.executable),
    st.lists(parents(), max_size=4),
    machines(),
    st.permutations(PLACEMENTS),
    st.integers(1, 3),
    st.sets(st.sampled_from(("contiguous", "writable"))),
    st.integers(0, 3),
)
def test_bounds_are_those_of_the_simulation(
    scenario: Scenario,
    others: list[Process],
    machine: Machine,
    order: list[Placement],
    modes: int,
    assumed: set[str],
    seed: int,
) -> None:
    machine = replace(machine, placements={"*": weighted(order, modes)}, spread=SPREAD, model_error=ERRORS)
    costs = with_covariance(seed)
    several = [
        replace(each, assumed=tuple(sorted(assumed)))
        for each in [scenario.parent, *same_structure(others, scenario.parent)]
    ]
    found = bounded(
        compile_scenario(scenario, machine, costs), ParentArrays.of(several, scenario.rules), sorted(assumed)
    )
    for point, parent in enumerate(several):
        expected = simulate(replace(scenario, parent=parent), machine, costs)
        agrees(found.result, point, expected)
        for name, milestone in expected.milestones.items():
            assert found.lo_ns[name][point] == pytest.approx(milestone.lo_ns, rel=RELATIVE)
            assert found.hi_ns[name][point] == pytest.approx(milestone.hi_ns, rel=RELATIVE)
        counts = {name: float(each[point]) for name, each in found.counts.items() if each[point]}
        assert counts == pytest.approx(expected.bill.counts, rel=RELATIVE)
