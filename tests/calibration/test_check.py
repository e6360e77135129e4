"""The check finds and names what was seeded on purpose, and raises no alarm where only the samples' noise differs."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import jsonschema
import pytest

import experiments
from calibration import remeasure
from calibration.capture.host import fingerprint, host_facts
from calibration.check import Check, check_samples, relative_errors, residuals, stored_samples
from calibration.errors import BadInput
from calibration.fit import interval_bill
from calibration.machine_file import BUNDLED, MachineFile, find_machine, write_machine_file
from calibration.observations import observations
from calibration.samples import SampleFile, read_runs
from calibration.suspects import COST_TOLERANCE, other_rules
from experiments.cli.main import main
from model.costs import COSTS

SCHEMA = Path(experiments.__file__).parent / "schemas" / "check.json"
RESAMPLES = int(os.environ.get("SPAWNCOST_RESAMPLES", "12"))
"""`make stress` takes a hundred."""
STRIDE = 1 if "SPAWNCOST_RESAMPLES" in os.environ else 6
"""Of the prices, one of so many is seeded; `make stress` seeds all."""


@cache
def stored() -> tuple[MachineFile, SampleFile]:
    """The bundled file with residuals and errors as a calibration leaves them, and its samples."""
    file = find_machine(BUNDLED)
    samples = read_runs(stored_samples(file)[0])
    rows = [each for each in observations(samples, file.machine.rules) if each.row.role in ("fit", "held-out")]
    left = residuals(rows, file.machine, file.costs)
    errors = relative_errors(rows, file.machine, file.costs)
    return replace(file, provenance={**file.provenance, "residuals": left, "errors": errors}), samples


def with_price(file: MachineFile, name: str, factor: float) -> MachineFile:
    prices = {**file.costs.ns, name: file.costs.ns[name] * factor}
    return replace(file, costs=replace(file.costs, ns=prices))


def swapped(samples: SampleFile, first: str, second: str) -> SampleFile:
    other = {first: second, second: first}
    return replace(samples, runs=tuple(replace(run, row=other.get(run.row, run.row)) for run in samples.runs))


def resampled(samples: SampleFile, seed: int) -> SampleFile:
    """Every row with as many of its processes, drawn with replacement."""
    dice = random.Random(seed)
    runs = [
        replace(dice.choice(found), process=index)
        for found in samples.kept().values()
        for index in range(len(found))
    ]  # fmt: skip
    return replace(samples, runs=tuple(runs), rounds=())


def acting(file: MachineFile, name: str) -> bool:
    """Whether a price is part of what the check compares: measured, and not fitted to nothing."""
    return not COSTS[name].assumed and file.costs.ns[name] > 1e-6


def test_what_the_calibration_left_does_not_deviate() -> None:
    found = check_samples(*stored(), "stored")
    assert len(found.rows) > 200
    assert not found.failed
    assert not found.suspects
    assert max(abs(row.moved) for row in found.rows) < 1e-4


@pytest.mark.parametrize("name", [each for each in stored()[0].costs.ns if acting(stored()[0], each)][::STRIDE])
@pytest.mark.parametrize("factor", [1.3, 1 / 1.3])
def test_a_price_that_is_wrong_is_named(name: str, factor: float) -> None:
    file, samples = stored()
    found = check_samples(with_price(file, name, factor), samples, "stored")
    assert found.failed
    named = {each.name: each.factor for each in found.suspects if each.kind == "cost"}
    if COSTS[name].latency:  # which task a path runs through can change with it: the row is found, the price a guess
        assert named
        return
    assert next(iter(named)) == found.suspects[0].name == name
    assert named[name] == pytest.approx(factor, rel=0.01)


def test_a_price_that_was_fitted_to_nothing_and_is_something_is_named() -> None:
    """A factor cannot seed it: it becomes three tenths of the row that charges it most."""
    file, samples = stored()
    rows = [each for each in observations(samples, file.machine.rules) if each.row.role == "fit"]
    bills = [(interval_bill(each, file.machine, file.costs).counts, each.value_ns) for each in rows]
    nothing = [name for name, ns in file.costs.ns.items() if not COSTS[name].assumed and not acting(file, name)]
    for name in nothing:
        most = max(counts.get(name, 0.0) / value_ns for counts, value_ns in bills)
        if not most:
            continue
        seeded = {**file.costs.ns, name: 0.3 / most}
        found = check_samples(replace(file, costs=replace(file.costs, ns=seeded)), samples, "stored")
        assert found.failed
        assert found.suspects[0].name == name


def test_a_price_within_its_tolerance_is_no_deviation() -> None:
    file, samples = stored()
    assert not check_samples(with_price(file, "reclaim_stack", 1 + COST_TOLERANCE / 2), samples, "stored").failed


def words(name: str, value: object) -> str:
    return f"{name}={str(value).lower() if isinstance(value, bool) else value}"


def test_a_rule_that_a_bench_exercises_is_named_when_it_is_switched() -> None:
    """The fault is the file with another rule; the rule that explains it is the one that it had."""
    file, samples = stored()
    exercised = set()
    for name, rules in other_rules(file.machine.rules):
        found = check_samples(replace(file, machine=replace(file.machine, rules=rules)), samples, "stored")
        if max(abs(row.moved) for row in found.rows) < 1e-3:
            continue
        rule = name.partition("=")[0]
        exercised.add(rule)
        assert found.failed, name
        right = words(rule, getattr(file.machine.rules, rule))
        assert found.suspects[0].kind == "rule", (name, found.suspects)
        assert found.suspects[0].name == right
    assert exercised >= {"wrprotect_only_writable", "anon_exclusive", "vma_tree", "fork_batches_large_folios"}


SWAPS = [
    ("fork-4k", "fork-16k"),
    ("syscall", "open"),
    ("exec-libs-8", "exec-libs-24"),
    ("held-thp-32", "held-dirty-200"),
    ("random-256k", "random-512k"),
]


def names_both(found: Check, first: str, second: str) -> bool:
    named = {frozenset(each.name.split(", ")) for each in found.suspects[:1] if each.kind == "samples"}
    return named == {frozenset((f"{first} holds those of {second}", f"{second} holds those of {first}"))}


@pytest.mark.parametrize("first, second", SWAPS)
def test_rows_whose_runs_were_swapped_are_named(first: str, second: str) -> None:
    file, samples = stored()
    found = check_samples(file, swapped(samples, first, second), "stored")
    assert found.failed
    assert names_both(found, first, second), found.suspects


@pytest.mark.parametrize("first, second", [*SWAPS[:-1], ("fork-4k", "cow-1k"), ("jdk-vfork", "syscall")])
def test_rows_whose_times_alone_were_swapped_are_found(first: str, second: str) -> None:
    """Nothing but the figures tells it; benches that measure different milestones are told by what is missing."""
    file, samples = stored()
    kept = samples.kept()
    runs = {row: kept[row] for row in (first, second)}
    moved = [
        replace(run, samples=other.samples)
        for row, source in ((first, second), (second, first))
        for run, other in zip(runs[row], runs[source] * 3, strict=False)
    ]
    rest = [run for run in samples.runs if run.row not in runs]
    found = check_samples(file, replace(samples, runs=(*rest, *moved)), "stored")
    assert found.failed
    assert found.suspects[0].kind == "samples"
    if (first, second) in SWAPS:
        assert names_both(found, first, second), found.suspects
    assert first in found.suspects[0].name
    assert second in found.suspects[0].name


@pytest.mark.parametrize("seed", range(RESAMPLES))
def test_resampled_processes_give_no_false_alarm(seed: int) -> None:
    file, samples = stored()
    found = check_samples(file, resampled(samples, seed), "resampled")
    assert not found.failed, (found.deviations, found.suspects)
    assert max(abs(row.moved) for row in found.rows) > 0.01


def test_samples_without_a_row_of_the_plan_compare_nothing() -> None:
    file, samples = stored()
    with pytest.raises(BadInput, match="no row could be compared"):
        check_samples(file, replace(samples, runs=()), "empty")
    with pytest.raises(BadInput, match="no residuals"):
        check_samples(replace(file, provenance={}), samples, "stored")


def test_the_command_says_by_its_status_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0: nothing deviates; 1: a price does, and it is named; 2: nothing could be compared."""
    file, _ = stored()
    right, wrong, bare = (tmp_path / f"{name}.toml" for name in ("right", "wrong", "bare"))
    write_machine_file(file, right)
    write_machine_file(with_price(file, "copy_huge_pmd", 1.3), wrong)
    write_machine_file(replace(file, provenance={**file.provenance, "residuals": {"no-such-row:call": 0.0}}), bare)
    assert main(["check", "--machine", str(right), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deviations"] == []
    assert main(["check", "--machine", str(wrong), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert document["suspects"][0]["cost"] == "copy_huge_pmd"
    assert document["coverage"]["spawns"]["points"] > 1000
    assert main(["check", "--machine", str(wrong)]) == 1
    text = capsys.readouterr().out
    assert "suspect: price of copy_huge_pmd, now 1.30 times what fits" in text
    assert max(map(len, text.splitlines())) <= 100
    assert main(["check", "--machine", str(bare)]) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.startswith("spawncost: error: ")


def test_measured_now_is_held_against_a_file_of_this_host_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Measuring is left out: the stored samples stand for what was measured."""
    file, _ = stored()
    here = fingerprint(host_facts())
    kind, _, kernel = here.rpartition("-")

    def measured(rows: object, samples: Path, **more: object) -> None:
        samples.write_bytes(stored_samples(file)[0].read_bytes())

    monkeypatch.setattr(remeasure, "measure", measured)
    for name in (here, f"{kind}-4.18.0"):
        own = replace(file, machine=replace(file.machine, name=name))
        found = remeasure.check_measured(own)
        assert found.samples == "measured now"
        assert len(found.rows) > 200
        assert not found.failed
    with pytest.raises(BadInput, match="this host is"):
        remeasure.check_measured(replace(file, machine=replace(file.machine, name=f"other-1-2-bare-{kernel}")))
