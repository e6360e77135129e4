"""The real parent with mutators: it counts what the model predicts, and bad answers of it are told in one line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from calibration.build import find_compiler
from calibration.errors import BadInput
from calibration.live.mutating import LoadCase, LoadRun, run_load_case
from calibration.machine_file import MachineFile, find_machine
from calibration.validate_load import LoadComparison, compare_load, copies_now, moved_since, scenario_of
from experiments.load_validation import load_document, load_text
from model.units import NS_PER_MS, NS_PER_S

SMALL = LoadCase(pages=2048, burst=4, life_ms=150, after_ms=30)


@pytest.fixture(scope="module")
def ran() -> LoadRun:
    try:
        find_compiler()
    except BadInput as error:
        pytest.skip(str(error))
    return run_load_case(SMALL, rounds=2)


def as_written(run: LoadRun) -> LoadRun:
    """The run with the rate at which it wrote after the fork, which another load of the machine may have changed."""
    rounds = (replace(each, rate=each.end_writes / each.end_ns * NS_PER_S) for each in run.rounds)
    return replace(run, rounds=tuple(rounds))


@pytest.fixture(scope="module")
def bundled() -> MachineFile:
    return find_machine("bundled")


def test_a_run_tells_its_rounds_and_its_parent(ran: LoadRun) -> None:
    assert len(ran.rounds) == 2
    assert ran.parent.space.total("anon_ptes") >= SMALL.pages
    assert ran.parent.threads == SMALL.threads + 1
    for each in ran.rounds:
        assert 0 < each.call_ns < each.gone_ns < each.end_ns
        assert each.gone_ns >= SMALL.life_ms * NS_PER_MS
        assert 0 < each.gone_faults <= each.end_faults <= SMALL.pages + 100


def test_counted_faults_are_predicted(ran: LoadRun, bundled: MachineFile) -> None:
    found = {each.what: each for each in compare_load(bundled, [as_written(ran)])}
    assert set(found) == {"faults", "faults alive", "lost us", "growth pages"}
    for what in ("faults", "faults alive"):
        assert found[what].judged
        assert abs(found[what].error) < 0.15, "a small run on a machine that does other things beside"


def test_counts_are_means_and_time_lost_is_no_better_known_than_what_copies_take_now(
    ran: LoadRun, bundled: MachineFile
) -> None:
    few, many = (replace(ran.rounds[0], end_faults=each) for each in (40.0, 1040.0))
    found = {each.what: each for each in compare_load(bundled, [replace(ran, rounds=(few, few, few, many))], moved=0.3)}
    assert found["faults"].measured == 290.0 + few.child_faults, "the mean, though most rounds had 40"
    assert found["lost us"].floor == 0.3
    assert found["faults"].floor == 0.0
    times = copies_now()
    priced = find_machine("amd-25-17-kvm-6.18.44")
    assert moved_since(priced, []) == moved_since(bundled, times) == 0.0, "it did not run, or has no price there"
    if times:
        assert moved_since(priced, [each * 1e3 for each in times]) > 1.0


def test_the_scenario_is_the_case(ran: LoadRun, bundled: MachineFile) -> None:
    load = scenario_of([ran], bundled).load
    assert load.child_lifetime_ns == SMALL.life_ms * NS_PER_MS
    assert load.mutators[0].working_set_pages == SMALL.pages
    assert load.mutators[0].threads == SMALL.threads


def test_a_parent_that_fails_is_told_in_one_line() -> None:
    with pytest.raises(BadInput, match="failed"):
        run_load_case(replace(SMALL, threads=1000), rounds=1)


def test_a_jvm_is_a_parent_with_mutators_too(bundled: MachineFile) -> None:
    case = replace(SMALL, jvm=True)
    try:
        run = run_load_case(case, rounds=1)
    except BadInput as error:
        pytest.skip(str(error))
    assert run.parent.threads > case.threads + 1, "a JVM has threads of its own"
    found = {each.what: each for each in compare_load(bundled, [as_written(run)])}
    assert found["faults alive"].judged
    assert abs(found["faults alive"].error) < 0.25, "a small run on a machine that does other things beside"


def test_a_jvms_faults_have_a_wider_tolerance() -> None:
    wide = comparison(predicted=1090.0)
    assert not wide.right
    assert replace(wide, case=replace(SMALL, jvm=True)).right


def comparison(**more: float) -> LoadComparison:
    settings = {"measured": 1000.0, "predicted": 1000.0, "floor": 0.0, **more}
    return LoadComparison(case=SMALL, what="faults", **settings)


def test_what_is_right_and_what_is_too_far() -> None:
    assert comparison(predicted=1049.0).right
    assert not comparison(predicted=1060.0).right
    assert comparison(predicted=1060.0, floor=0.05).right, "within 1.5 times the floor"
    assert not comparison(predicted=1.0).right
    few = comparison(measured=3.0, predicted=30.0)
    assert few.right
    assert not few.judged


def test_the_report_says_which_figures_are_too_far() -> None:
    found = [comparison(), comparison(predicted=2000.0), comparison(measured=1.0)]
    text = load_text(found, [("a case", "no room")])
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("too far") == 1
    assert "1 of 2 figures" in text
    assert "skipped a case: no room" in text
    document = load_document("machine", found, [])
    assert [each["right"] for each in document["comparisons"]] == [True, False, None]
    assert json.loads(json.dumps(document, allow_nan=False)) == document
