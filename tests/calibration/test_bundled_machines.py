"""Every machine file that comes along has its samples beside it, and the model says of them what it said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from calibration.assemble import judge_held_out
from calibration.capture.parent_file import read_parent
from calibration.check import stored_samples
from calibration.literature import measured_machines
from calibration.machine_file import MachineFile
from calibration.observations import observations
from calibration.quantiles import quantile
from calibration.samples import read_runs
from experiments.bench import spawn_of
from experiments.cli import main as cli
from experiments.cli.calibrate import MADE_BYTES
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


@pytest.mark.parametrize("file", measured_machines(), ids=lambda file: file.machine.name)
def test_made_parents_that_the_fit_never_saw_are_told_within_what_is_promised(file: MachineFile) -> None:
    """Up to 512 MiB with frames in order, mixes of vmas, descriptors, threads, huge pages; pinned and quiet."""
    rows = observations(read_runs(stored_samples(file)[0]), file.machine.rules)
    own = replace(file.costs, ns={name: ns for name, ns in file.costs.ns.items() if name not in file.costs.inherited})
    held = judge_held_out(rows, file.machine, own)
    errors = sorted(abs(each.error) for each in held if each.made_bytes is not None and each.made_bytes <= MADE_BYTES)
    assert len(errors) >= 40
    assert quantile(errors, 0.5) <= 0.05
    assert quantile(errors, 0.9) <= 0.12
