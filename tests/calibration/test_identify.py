"""The report on what the benches can tell: rank, what goes together, both kinds of errors, cross-validation."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from calibration.check import stored_samples
from calibration.fit import fit
from calibration.identify import CORRELATED, Identified, correlated, fitted_rows, foretell, groups_of, identify
from calibration.machine_file import BUNDLED, MachineFile, find_machine
from calibration.samples import SampleFile, read_runs
from experiments.cli.main import main


@cache
def stored() -> tuple[MachineFile, SampleFile]:
    file = find_machine(BUNDLED)
    return file, read_runs(stored_samples(file)[0])


@cache
def report() -> Identified:
    return identify(*stored(), bootstraps=20)


def test_every_cost_is_identified() -> None:
    found = report().fit
    assert found.rank == len(found.costs.names) == found.design.shape[1]
    assert not found.confounded
    assert found.condition < 1e4


def test_groups_join_what_pairs_share_and_nothing_else() -> None:
    found = report()
    assert found.pairs
    assert all(abs(each.correlation) > CORRELATED for each in found.pairs)
    together = {name: group for group in found.groups for name in group}
    assert all(together[each.first] == together[each.second] for each in found.pairs)
    assert len(together) == sum(len(group) for group in found.groups)
    assert not groups_of([])


def test_two_costs_that_always_occur_together_are_confounded() -> None:
    """Without the rows that differ in it, the fixed part and the tables cannot be told apart."""
    file, samples = stored()
    rows = [each for each in fitted_rows(file, samples) if each.row.row.name in ("fork-fds-open", "fork-fds-high")]
    found = fit(rows, file.machine)
    assert found.rank < len(found.costs.names)
    assert found.confounded


def test_the_bootstrap_agrees_with_the_covariance_in_size() -> None:
    """The covariance also holds what no linear bill explains, so it is the larger; neither is off by an order."""
    ratios = [each.bootstrap_ns / each.stderr_ns for each in report().prices if each.ns > 1e-6]
    assert 0.2 < float(np.median(ratios)) < 2.0


def test_a_row_is_foretold_without_itself() -> None:
    """Changing what a row measured does not change what the others say of it, only the error."""
    file, samples = stored()
    rows = fitted_rows(file, samples)
    index = next(i for i, each in enumerate(rows) if each.name == "fork-4k:call")
    changed = [*rows[:index], replace(rows[index], value_ns=2 * rows[index].value_ns), *rows[index + 1 :]]
    before, _ = foretell(rows, file, by="row")
    after, _ = foretell(changed, file, by="row")
    said = [next(each for each in found if each.observation.name == "fork-4k:call") for found in (before, after)]
    assert said[0].predicted_ns == pytest.approx(said[1].predicted_ns, rel=1e-6)
    assert said[0].error - said[1].error == pytest.approx(np.log(2))


def test_the_only_teacher_of_a_cost_is_not_foretold() -> None:
    found = report()
    foretold = {each.observation.name for each in found.by_row}
    assert "cpuid:value" in found.untaught
    assert "fork-4k:call" in foretold
    assert not foretold & set(found.untaught)
    assert {each.observation.name for each in found.by_bench} < foretold | set(found.untaught)


def test_the_command_prints_a_document_or_a_narrow_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identify", "--machine", "bundled", "--bootstraps", "3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "spawncost.identify/1"
    assert document["rank"] == document["costs"]
    assert main(["identify", "--machine", "bundled", "--bootstraps", "3"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_the_strongest_pair_comes_first() -> None:
    strengths = [abs(each.correlation) for each in correlated(report().fit)]
    assert strengths == sorted(strengths, reverse=True)
