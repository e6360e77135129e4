"""Every machine file that comes along has its samples beside it, and the model says of them what it said."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration.capture.parent_file import read_parent
from calibration.literature import measured_machines
from calibration.machine_file import MachineFile
from experiments.bench import spawn_of
from experiments.cli import main as cli
from model.mechanisms import MECHANISMS
from model.scenario import spawn_and_wait
from model.simulation import simulate

WIDEST = 5.0
"""Greatest hi ÷ lo of an interval that still helps somebody; prices that the samples do not tell apart made it 27."""


@pytest.mark.parametrize("path", [file.path for file in measured_machines()])
def test_a_bundled_machine_agrees_with_its_samples(path: Path) -> None:
    assert cli.main(["check", "--machine", str(path), "--json"]) == 0, "1: something deviates; 2: nothing was compared"


@pytest.mark.parametrize("file", measured_machines(), ids=lambda file: file.machine.name)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_main_job_has_intervals_that_help(file: MachineFile, mechanism: str) -> None:
    scenario = spawn_and_wait(read_parent("jvm-4g"), spawn_of(mechanism, "true"), rules=file.machine.rules)
    found = simulate(scenario, file.machine, file.costs).milestones
    assert {"call", "reaped"} <= set(found)
    assert {name: each.hi_ns / each.lo_ns for name, each in found.items() if each.hi_ns > WIDEST * each.lo_ns} == {}
