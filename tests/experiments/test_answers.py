"""The prediction document: it fits its schema, its parts sum, it warns where it must and is the same each time."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import experiments
from calibration.capture.parent_file import bundled_parents, read_parent
from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from calibration.machine_file import MachineFile, host_name
from experiments.answers import answer, by_kind
from experiments.bundled_images import bundled_image
from experiments.scenarios import Notice, Question, adjusted, helpers_of, mechanisms_of, rules_of
from model.costs import COSTS, CostTable
from model.elf_image import NO_IMAGE, ElfImage
from model.machine import Placement
from model.mechanisms import MECHANISMS
from model.process import Caller, Limits, Process
from model.rules import Rules

SCHEMA = json.loads((Path(experiments.__file__).parent / "schemas" / "prediction.json").read_text())
TRUE = bundled_image("true")
MIB = 1 << 20


@cache
def _helpers() -> dict[str, ElfImage]:
    return helpers_of(MECHANISMS)[0]


def _question(parent: Process, via: str | None = None, target: ElfImage = TRUE, **more: Any) -> Question:
    values: dict[str, Any] = {"rules": Rules(posix_spawn_clear_sighand=False), **more}
    mechanisms = mechanisms_of(via, parent, target)
    return Question(parent=parent, target=target, mechanisms=mechanisms, helpers=_helpers(), **values)


def _codes(document: dict[str, Any]) -> list[str]:
    return [each["code"] for each in document["warnings"]]


def _call(document: dict[str, Any], mechanism: str) -> float:
    found = next(each for each in document["predictions"] if each["mechanism"] == mechanism)
    return float(found["milestones_us"]["call"]["p50"])


@pytest.mark.parametrize("target", [TRUE, NO_IMAGE], ids=["true", "none"])
@pytest.mark.parametrize("name", bundled_parents())
def test_documents_fit_the_schema_and_their_parts_sum(machine_file: MachineFile, name: str, target: ElfImage) -> None:
    document = answer(_question(read_parent(name), "all", target), machine_file)
    jsonschema.validate(document, SCHEMA)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert len(document["predictions"]) == len(mechanisms_of("all", read_parent(name), target))
    for prediction in document["predictions"]:
        milestones = prediction["milestones_us"]
        assert {"call", "reaped"} <= set(milestones)
        assert ("exec" in milestones) == ("main" in milestones) == (target is TRUE)
        for each in milestones.values():
            assert 0.0 < each["lo"] <= each["p50"] <= each["hi"]
            assert each["p10"] <= each["p50"] <= each["p90"]
        p50 = milestones["reaped"]["p50"]
        assert sum(prediction["breakdown_us"].values()) == pytest.approx(p50, rel=1e-3)
        assert sum(prediction["by_kind"].values()) == pytest.approx(p50, rel=1e-3)
        assert (prediction["loader_us"] is not None) == (target is TRUE)


def test_the_schema_would_notice() -> None:
    for broken in ({}, {"schema": "spawncost.prediction/2"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA)


def test_the_same_question_has_the_same_answer(machine_file: MachineFile) -> None:
    documents = [json.dumps(answer(_question(read_parent("jvm-4g"), "all"), machine_file)) for _ in range(2)]
    assert documents[0] == documents[1]


def test_main_causes_are_parts_of_their_milestone(machine_file: MachineFile) -> None:
    document = answer(_question(read_parent("jvm-4g"), "all"), machine_file)
    for prediction in document["predictions"]:
        assert set(prediction["main_causes"]) == set(prediction["milestones_us"])
        reaped = prediction["main_causes"]["reaped"]
        parts = {name: part for name, part in prediction["breakdown_us"].items() if name != "machine_spread"}
        assert parts[reaped["name"]] == max(parts.values())
        for cause in prediction["main_causes"].values():
            assert 0.0 < cause["share"] <= 1.0
            assert cause["words"]


def test_by_kind_knows_user_work_latencies_and_waits() -> None:
    user = next(name for name, spec in COSTS.items() if spec.user)
    latency = next(name for name, spec in COSTS.items() if spec.latency)
    kinds = by_kind({user: 1.0, latency: 2.0, "copy_present_pte": 4.0, "wait_child": 8.0, "machine_spread": -0.5})
    assert kinds == {"user": 1.0, "latency": 2.0, "kernel": 4.0, "sleep": 8.0, "machine_spread": -0.5}


def test_fork_grows_with_memory_and_vfork_does_not(machine_file: MachineFile) -> None:
    small, large = (answer(_question(synthetic_parent(size * MIB)), machine_file) for size in (64, 640))
    assert _call(large, "fork") > 5 * _call(small, "fork")
    for mechanism in ("vfork", "posix_spawn"):
        assert _call(large, mechanism) == _call(small, mechanism)


def test_thp_makes_fork_cheap(machine_file: MachineFile) -> None:
    jvm = read_parent("jvm-4g")
    off, on = (answer(_question(adjusted(jvm, thp=thp)), machine_file) for thp in ("off", "on"))
    assert _call(on, "jdk-fork") < _call(off, "jdk-fork") / 5


def test_headline_names_what_stops_its_cause_and_the_alternative(machine_file: MachineFile) -> None:
    document = answer(_question(read_parent("jvm-4g")), machine_file)
    worst = next(each for each in document["predictions"] if each["mechanism"] == "jdk-fork")
    cause = worst["main_causes"]["call"]
    line = document["headline"]
    assert line.startswith("jdk-fork stops")
    assert cause["name"] in line
    assert cause["words"] in line
    assert f"{_call(document, 'jdk-fork') / 1000:.0f} ms" in line
    best = min(("jdk-vfork", "jdk-posix_spawn"), key=lambda name: _call(document, name))
    assert best in line.partition(";")[2]


def test_attributes_beyond_the_benches_are_named_with_their_factor(machine_file: MachineFile) -> None:
    document = answer(_question(synthetic_parent(4096 * MIB)), machine_file)
    texts = [each["text"] for each in document["warnings"] if each["code"] == "extrapolates"]
    assert len(texts) == 1
    assert "anon_ptes are 4.0 times the 262,144" in texts[0]
    assert texts[0].startswith("fork:"), "vfork does not look at them"
    by_name = {each["mechanism"]: each["warnings"] for each in document["predictions"]}
    assert any(each["code"] == "extrapolates" for each in by_name["fork"])
    assert not any(each["code"] == "extrapolates" for each in by_name["vfork"])


def test_within_the_benches_nothing_is_said_to_be_extrapolated(machine_file: MachineFile) -> None:
    assert "extrapolates" not in _codes(answer(_question(synthetic_parent(512 * MIB)), machine_file))


def test_another_host_kernel_or_rule_is_said(machine_file: MachineFile) -> None:
    parent = synthetic_parent(MIB)
    rules = machine_file.machine.rules
    assert not {"other_host", "other_kernel", "rule_not_measured"} & set(
        _codes(answer(_question(parent, rules=rules), machine_file, host=host_name()))
    )
    assert "other_host" in _codes(answer(_question(parent, rules=rules), machine_file, host="arm-8-1-bare-6.1"))
    asked = _question(parent, rules=rules_of(machine_file.machine, kernel="5.4"), kernel="5.4")
    document = answer(asked, machine_file)
    assert {"other_kernel", "rule_not_measured"} <= set(_codes(document))
    assert "thp_cow" in next(each["text"] for each in document["warnings"] if each["code"] == "rule_not_measured")
    same = _question(parent, rules=rules, kernel="6.18.1")
    assert "other_kernel" not in _codes(answer(same, machine_file))


def test_assumed_attributes_are_warned_of_until_they_are_said(machine_file: MachineFile) -> None:
    parent = synthetic_parent(600 * MIB)
    assumed = answer(_question(parent), machine_file)
    assert "assumed_contiguity" in _codes(assumed)
    said = answer(_question(adjusted(parent, contiguous=parent.contiguous, writable=0.0)), machine_file)
    assert not [code for code in _codes(said) if code.startswith("assumed")]
    widths = [each["predictions"][0]["milestones_us"]["call"] for each in (assumed, said)]
    assert widths[0]["hi"] - widths[0]["lo"] > widths[1]["hi"] - widths[1]["lo"]


def test_notices_of_the_question_are_handed_on(machine_file: MachineFile) -> None:
    notice = Notice("assumed_file", "no true could be read")
    document = answer(_question(synthetic_parent(MIB), notices=(notice, notice)), machine_file)
    assert _codes(document).count("assumed_file") == 1


def test_inherited_prices_on_the_path_are_warned_of(machine_file: MachineFile) -> None:
    costs = replace(machine_file.costs, inherited=frozenset({"copy_present_pte", "split_huge_pmd"}))
    document = answer(_question(synthetic_parent(64 * MIB)), replace(machine_file, costs=costs))
    texts = [each["text"] for each in document["warnings"] if each["code"] == "inherited"]
    assert len(texts) == 1
    assert texts[0].startswith("fork:")
    assert "copy_present_pte" in texts[0]


def test_two_modes_are_a_warning(machine_file: MachineFile) -> None:
    document = answer(_question(synthetic_parent(MIB), "vfork"), machine_file)
    assert "placement" in _codes(document)
    one = {name: each[:1] for name, each in machine_file.machine.placements.items()}
    sure = {name: (replace(each[0], weight=1.0),) for name, each in one.items()}
    certain = replace(machine_file, machine=replace(machine_file.machine, placements=sure))
    assert "placement" not in _codes(answer(_question(synthetic_parent(MIB), "vfork"), certain))


def test_a_warning_of_two_modes_tells_those_of_the_callers_state(machine_file: MachineFile) -> None:
    seen = {
        "vfork": (Placement(waker="queue", weight=1.0),),
        "vfork-cold": (Placement(waker="preempt", weight=0.6), Placement(waker="queue", weight=0.4)),
    }
    file = replace(machine_file, machine=replace(machine_file.machine, placements=seen))
    documents = {
        caller: answer(_question(replace(synthetic_parent(MIB), caller=caller), "vfork"), file) for caller in Caller
    }
    assert "placement" not in _codes(documents[Caller.HOT])
    (text,) = (each["text"] for each in documents[Caller.COLD]["warnings"] if each["code"] == "placement")
    assert "wake-up: preempt) was seen in 60%" in text


@pytest.mark.parametrize("case", ["size", "host", "kernel"])
def test_strict_refuses_to_leave_measured_ground(machine_file: MachineFile, case: str) -> None:
    rules = machine_file.machine.rules
    sound = _question(synthetic_parent(MIB), rules=rules)
    assert answer(sound, machine_file, host=host_name(), strict=True)["predictions"]
    asked = {
        "size": _question(synthetic_parent(1 << 40), rules=rules),
        "host": sound,
        "kernel": _question(synthetic_parent(MIB), rules=rules, kernel="6.1"),
    }[case]
    with pytest.raises(BadInput, match="--strict"):
        answer(asked, machine_file, host="elsewhere" if case == "host" else host_name(), strict=True)


def test_a_copy_that_may_not_be_committed_is_a_predicted_error(machine_file: MachineFile) -> None:
    limits = Limits(commit_mode=0, ram_and_swap_bytes=1 << 30)
    document = answer(_question(replace(read_parent("jvm-4g"), limits=limits)), machine_file)
    jsonschema.validate(document, SCHEMA)
    failed = {each["mechanism"]: each for each in document["predictions"] if each["error"] is not None}
    assert set(failed) == {"fork", "jdk-fork"}
    for each in failed.values():
        assert each["error"]["errno"] == "ENOMEM"
        assert each["milestones_us"] == each["breakdown_us"] == {}
    assert "ENOMEM" in document["headline"]
    assert "best is jdk-" in document["headline"]


def test_a_target_without_execute_permission_is_a_predicted_error(machine_file: MachineFile) -> None:
    target = replace(TRUE, executable=False)
    document = answer(_question(synthetic_parent(MIB), target=target), machine_file)
    jsonschema.validate(document, SCHEMA)
    by_name = {each["mechanism"]: each for each in document["predictions"]}
    assert {each["error"]["errno"] for each in by_name.values()} == {"EACCES"}
    assert set(by_name["fork"]["milestones_us"]) == {"call"}, "fork has returned before the child's exec fails"
    assert by_name["posix_spawn"]["milestones_us"] == {}
    parts = by_name["fork"]["breakdown_us"]
    assert sum(parts.values()) == pytest.approx(by_name["fork"]["milestones_us"]["call"]["p50"], rel=1e-3)


def test_a_price_that_is_missing_is_bad_input_by_its_name(machine_file: MachineFile) -> None:
    without = {name: ns for name, ns in machine_file.costs.ns.items() if name != "copy_process_fixed"}
    poor = replace(machine_file, costs=CostTable(ns=without))
    with pytest.raises(BadInput, match="copy_process_fixed"):
        answer(_question(synthetic_parent(MIB)), poor)


def test_a_terabyte_costs_as_many_charges_as_a_megabyte(machine_file: MachineFile) -> None:
    small, large = (answer(_question(synthetic_parent(size * MIB)), machine_file) for size in (1, 1 << 20))
    for one, other in zip(small["predictions"], large["predictions"], strict=True):
        assert other["charges"] <= one["charges"] + 4, "costs that only begin beyond a cache may join"
        assert other["events"] == one["events"]
