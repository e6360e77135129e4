"""Intervals that keep their promise: errors from rows that were not seen, scaled to what 90 % means, and measured."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from functools import cache

import pytest

from calibration.assemble import assemble
from calibration.check import stored_samples
from calibration.coverage import Coverage, Point, coverage, error_for, errors_by_kind, model_errors, run_points
from calibration.identify import fitted_rows
from calibration.machine_file import BUNDLED, MachineFile, find_machine
from calibration.observations import observations
from calibration.plan import planned_rows
from calibration.samples import SampleFile, read_runs
from calibration.spread import spread_rows, with_placements, with_spread
from experiments.cli.main import main
from model.costs import CostTable
from model.ledger import Bill
from model.machine import Machine
from model.spread import path_reach, relative_error


@cache
def stored() -> tuple[MachineFile, SampleFile]:
    file = find_machine(BUNDLED)
    return file, read_runs(stored_samples(file)[0])


@cache
def renewed() -> MachineFile:
    """The bundled file with placements, spread and errors as a calibration of its samples makes them now."""
    file, samples = stored()
    unpinned = spread_rows(observations(samples, file.machine.rules), samples)
    bare = replace(file.machine, spread={}, placements={"*": file.machine.placements["*"]})
    machine = with_spread(with_placements(bare, unpinned), unpinned, file.costs)
    errors = model_errors(fitted_rows(file, samples), unpinned, machine, file.costs)
    return replace(file, machine=replace(machine, model_error=errors))


@cache
def covered() -> Coverage:
    return coverage(renewed(), stored()[1])


def points(error: float, n: int = 400, kind: str = "short", seed: int = 1) -> list[Point]:
    dice = random.Random(seed)
    return [Point(name=f"{kind}{i}", kind=kind, error=dice.gauss(0.0, error), known=0.0) for i in range(n)]


@pytest.mark.parametrize("error", [0.02, 0.1, 0.5])
def test_the_error_of_a_normal_distribution_is_its_standard_deviation(error: float) -> None:
    assert error_for(points(error)) == pytest.approx(error, rel=0.15)


def test_long_tails_widen_the_error_that_a_median_would_miss() -> None:
    mixed = points(0.02, 320) + points(0.3, 80)
    median = sorted(abs(each.error) for each in mixed)[200]
    assert error_for(mixed) > 2 * 1.4826 * median


def test_what_the_interval_knows_already_is_not_added_again() -> None:
    assert error_for([replace(each, known=0.2) for each in points(0.1)]) == 0.0
    assert error_for([replace(each, width=1.0) for each in points(0.1)]) == 0.0


def test_a_class_with_few_points_has_no_error_of_its_own() -> None:
    found = errors_by_kind(points(0.1) + points(0.5, 3, "long"))
    assert set(found) == {"short"}


def test_errors_act_where_they_belong() -> None:
    """The length of the path chooses one; placement adds its own, but not on one CPU."""
    errors = {"plain": 0.05, "long": 0.1, "unpinned-copies": 0.3, "unpinned-execs": 0.02}
    machine = Machine(name="m", cpus=2, model_error=errors)
    path = Bill(counts={"dup_mm_fixed": 1.0}, sleep_ns=0.0, elapsed_ns=1e6)
    copies, execs = ("medium", "copies"), ("long-wakes", "execs")
    costs = CostTable(ns={"dup_mm_fixed": 1.0, "execve_fixed": 1.0})
    assert relative_error(path, 1e6, machine, costs, copies) == pytest.approx(math.hypot(0.05, 0.3))
    assert relative_error(path, 1e6, machine, costs, execs) == pytest.approx(math.hypot(0.1, 0.02))
    assert relative_error(path, 1e6, replace(machine, cpus=1), costs, copies) == pytest.approx(0.05)
    assert path_reach({"dup_mm_fixed": 1.0, "execve_fixed": 1.0}) == "copies"
    assert path_reach({"syscall": 1.0}) == "bare"


def test_the_intervals_hold_what_they_promise_on_the_stored_samples() -> None:
    found = covered()
    assert sum(found.points[:3]) >= 300
    assert 0.8 <= found.intervals <= 0.97
    assert found.held_out >= 0.85
    assert 0.85 <= found.foretold <= 0.95
    assert 0.7 <= found.spawns <= 0.9


def test_errors_of_the_median_alone_would_hold_less() -> None:
    """What the interval was before: 1.48 x the median error, and none for placement."""
    file, samples = stored()
    rows = spread_rows(observations(samples, file.machine.rules), samples)
    before, _ = run_points(rows, file.machine, file.costs)
    assert sum(each.inside(0.0) for each in before) / len(before) < covered().runs - 0.1


def test_a_vfork_without_an_exec_is_placed_by_its_own_rows() -> None:
    placements = renewed().machine.placements
    assert placements["vfork-bare"] != placements["vfork"]
    without = Machine(name="m", placements={"vfork": placements["vfork"]})
    assert without.placements_of("vfork-bare") == placements["vfork"]


def test_the_check_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--machine", "bundled", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["coverage"]
    assert found["points"] >= 300
    assert 0.0 < found["interval"] < 1.0
    assert main(["check", "--machine", "bundled"]) == 0
    assert "the 90 % interval holds" in capsys.readouterr().out


def test_a_quick_plan_is_assembled_with_what_it_does_not_price_inherited() -> None:
    file, samples = stored()
    quick = {each.row.name for each in planned_rows() if each.quick}
    few = replace(samples, runs=tuple(run for run in samples.runs if run.row in quick))
    made = assemble(few, provenance={"samples": ["few"]}, name=file.machine.name, base=file).file
    assert made.costs.inherited
    assert made.machine.model_error["plain"] > 0.0
