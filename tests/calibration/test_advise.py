"""Advice on what to measure next: it narrows what was asked, keeps to its budget, and knows what a row takes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache

import pytest

from calibration.advise import Asked, advise, seconds_of
from calibration.check import stored_samples
from calibration.errors import BadInput
from calibration.machine_file import BUNDLED, MachineFile, find_machine
from calibration.measure import ROUND_S
from calibration.samples import Run, SampleFile, read_runs
from experiments.cli.main import main

THP = Asked(name="a huge parent", counts={"copy_huge_pmd": 1000.0, "zap_huge_pmd": 1000.0}, quiet_ns=4e5)
TABLES = Asked(name="a sparse one", counts={"copy_table": 500.0, "free_pte_table": 500.0}, quiet_ns=5e5)


@cache
def stored(name: str = BUNDLED) -> tuple[MachineFile, SampleFile]:
    file = find_machine(name)
    return file, read_runs(stored_samples(file)[0])


def test_rows_that_charge_what_was_asked_are_advised() -> None:
    advice = advise(*stored(), [THP], 60.0)
    assert advice.criterion == "c"
    assert advice.steps[0].row.startswith("fork-thp")
    assert advise(*stored(), [TABLES], 60.0).steps[0].row.startswith("fork-")


@pytest.mark.parametrize("asked", [THP, TABLES])
def test_every_step_narrows_and_the_budget_holds(asked: Asked) -> None:
    errors = []
    for budget_s in (0.5, 2.0, 10.0, 60.0):
        advice = advise(*stored(), [asked], budget_s)
        assert advice.seconds <= budget_s
        assert math.isclose(advice.seconds, sum(each.seconds for each in advice.steps))
        errors.append(min([advice.error, *(each.error for each in advice.steps)]))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < advise(*stored(), [asked], 60.0).error


def disturbed(run: Run) -> Run:
    """Every second process of the rows of huge pages half as slow again."""
    if "thp" not in run.row or run.process % 2:
        return run
    slower = [
        replace(each, call_ns=1.5 * (each.call_ns or 0.0), reaped_ns=1.5 * (each.reaped_ns or 0.0))
        for each in run.samples
    ]
    return replace(run, samples=tuple(slower))


def test_rows_that_scatter_are_worth_more_processes() -> None:
    """On a machine whose rows of huge pages scatter more than they are misfitted, which more processes do not mend."""
    file, samples = stored("amd-25-17-kvm-6.18.44")
    noisy = replace(samples, runs=tuple(disturbed(run) for run in samples.runs))
    calm, rough = (advise(file, each, [THP], 60.0) for each in (samples, noisy))
    assert rough.error > calm.error
    assert sum(each.processes for each in rough.steps) > sum(each.processes for each in calm.steps)
    assert rough.steps[0].row.startswith("fork-thp")


def test_an_inherited_price_makes_its_row_the_one_to_measure() -> None:
    file, samples = stored()
    foreign = replace(file, costs=replace(file.costs, inherited=frozenset({"copy_huge_pmd", "zap_huge_pmd"})))
    advice = advise(foreign, samples, [THP], 60.0)
    assert advice.error > 3 * advise(file, samples, [THP], 60.0).error
    assert advice.steps[0].row.startswith("fork-thp")
    assert set(advice.steps[0].costs) & {"copy_huge_pmd", "zap_huge_pmd"}
    assert min(each.error for each in advice.steps) < advice.error / 2


def test_what_no_row_can_narrow_falls_back_to_all_prices() -> None:
    advice = advise(*stored(), [Asked(name="nothing", counts={}, quiet_ns=1e5)], 20.0)
    assert advice.criterion == "D"
    assert advice.steps


def test_the_seconds_of_the_rows_add_up_to_the_rounds() -> None:
    _, samples = stored()
    seconds = seconds_of(samples)
    rounds = {each.round for each in samples.rounds}
    total = sum(seconds[run.row] for run in samples.runs if run.round in rounds)
    assert total == pytest.approx(ROUND_S * len(rounds), rel=0.25)
    assert seconds["random-1m"] > 5 * seconds["fork-0"]


def test_bad_questions_are_refused() -> None:
    with pytest.raises(BadInput, match="it is no time"):
        advise(*stored(), [THP], 0.0)
    with pytest.raises(BadInput, match="nothing to choose from"):
        advise(*stored(), [], 10.0)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["advise-measurement", "--machine", "bundled", "--rss", "1GiB", "--via", "fork"]
    assert main([*asked, "--budget", "10s", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "spawncost.advice/1"
    assert document["seconds"] <= document["budget_s"] == 10.0
    assert main(asked) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    assert main([*asked, "--budget", "soon"]) == 2
