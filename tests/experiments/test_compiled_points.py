"""Rows of the compiled model against those of the simulation: the same text, and fewer simulations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.machine_file import MachineFile
from experiments import compiled_points, evaluate
from experiments.answers import predict
from experiments.evaluate import row_of, rows_of
from experiments.headline import microseconds
from experiments.points import points_of
from experiments.sweep_plan import Plan, plan_of
from experiments.sweep_spec import Sweep
from model.costs import CostTable
from model.mechanisms import MECHANISMS

PARENTS: dict[str, Any] = {
    "rss": {"low": "4KiB", "high": "64GiB", "scale": "log"},
    "vmas": {"low": 1, "high": 300, "scale": "log"},
    "threads": {"low": 1, "high": 60},
    "fds": {"low": 3, "high": 500},
    "caller": ["hot", "cold"],
    "thp": ["off", "on"],
    "parent.contiguous": {"low": 0.0, "high": 1.0},
    "parent.writable": {"low": 0.0, "high": 1.0},
    "parent.running_threads": [0, 1, 70],
}
few = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))


def design(machine: Path, axes: dict[str, Any], via: list[str] | None = None, **more: Any) -> Sweep:
    values = {"method": "latin-hypercube", "samples": 20, **more}
    base = {"machine": str(machine), "exec": "/bin/true", "via": via or sorted(MECHANISMS)}
    return Sweep(base=base, axes={"rss": PARENTS["rss"], **axes}, **values)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Mechanisms of all points that were simulated."""
    seen: list[str] = []

    def counted(question: Any, file: Any, mechanism: str) -> Any:
        seen.append(mechanism)
        return predict(question, file, mechanism)

    monkeypatch.setattr(evaluate, "predict", counted)
    return seen


@few
@given(st.sets(st.sampled_from(sorted(PARENTS)), min_size=1), st.integers(0, 1000), st.booleans())
def test_rows_do_not_depend_on_which_model_gave_them(
    machine_path: Path, names: set[str], seed: int, breakdown: bool
) -> None:
    """To the last digit: the bounds, causes and warnings too, and points that fail."""
    plan = plan_of(design(machine_path, {name: PARENTS[name] for name in names}, seed=seed, breakdown=breakdown))
    points = list(points_of(plan.sweep))
    assert rows_of(plan, points) == [row_of(plan, each) for each in points]


def test_a_sweep_over_parents_is_hardly_simulated(machine_path: Path, simulated: list[str]) -> None:
    """Prices of many digits, as a fit gives them: sums of round ones lie on an edge by their making."""
    plan = plan_of(design(machine_path, {"threads": PARENTS["threads"]}, ["fork", "vfork", "posix_spawn"]))
    plan = _priced(plan, str(machine_path), {cost: price * (1 + 1e-4 * math.pi) for cost, price in _ns(plan).items()})
    points = list(points_of(plan.sweep))
    rows_of(plan, points)
    assert len(simulated) < len(points) / 10


def test_a_price_of_nothing_on_a_wake_up_changes_no_bound(machine_path: Path, simulated: list[str]) -> None:
    """A charge that takes no time ties with the birth beside it: either model may have it on its path."""
    plan = plan_of(design(machine_path, {"threads": PARENTS["threads"]}, ["fork", "vfork"]))
    file = plan.machines[str(machine_path)]
    assert isinstance(file, MachineFile)
    ns = {cost: price * (1 + 1e-4 * math.pi) for cost, price in file.costs.ns.items()} | {"wake_new_remote": 0.0}
    free = replace(file, costs=replace(file.costs, ns=ns), path=None)
    plan = replace(plan, machines={str(machine_path): free})
    points = list(points_of(plan.sweep))
    rows = rows_of(plan, points)
    assert len(simulated) < len(points) / 5
    assert rows == [row_of(plan, each) for each in points]


def test_what_lies_on_the_edge_of_a_digit_is_simulated(
    machine_path: Path, simulated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(design(machine_path, {}))
    points = list(points_of(plan.sweep))
    monkeypatch.setattr(compiled_points, "MARGIN", 1e-3)
    rows = rows_of(plan, points)
    assert len(simulated) == len(points)
    assert [each.error for each in rows] == [None] * len(rows)


@given(st.floats(1e-3, 1e12), st.floats(-1.0, 1.0))
def test_no_digit_turns_within_the_margin_of_what_is_off_the_edge(value: float, part: float) -> None:
    moved = value * (1 + part * compiled_points.MARGIN)
    if not compiled_points._on_edge(np.array([value]), 0.0)[0]:
        assert microseconds(moved) == microseconds(value)


def test_what_the_compiled_model_refuses_is_simulated(machine_path: Path, simulated: list[str]) -> None:
    """A machine file without a price that some need: their rows say so, the others have results."""
    plan = plan_of(design(machine_path, {}))
    less = {cost: price for cost, price in _ns(plan).items() if cost != "copy_process_fixed"}
    rows = rows_of(_priced(plan, str(machine_path), less), points_of(plan.sweep))
    assert all(each.error and "copy_process_fixed" in each.error for each in rows)
    assert len(simulated) == len(rows)


def _ns(plan: Plan) -> Mapping[str, float]:
    (file,) = plan.machines.values()
    assert isinstance(file, MachineFile)
    return file.costs.ns


def _priced(plan: Plan, machine: str, ns: Mapping[str, float]) -> Plan:
    """The plan with other prices, without errors."""
    (file,) = plan.machines.values()
    assert isinstance(file, MachineFile)
    other = replace(file, costs=CostTable(ns=ns), path=None)
    return replace(plan, machines={machine: other})
