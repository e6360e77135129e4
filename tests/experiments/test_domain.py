"""Every warning about the domain of validity fires where it should, by how much, and `--strict` refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from calibration.capture.host import HostFacts, fingerprint, host_facts
from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from calibration.machine_file import MachineFile, write_machine_file
from experiments.answers import answer
from experiments.bundled_images import bundled_image
from experiments.cli.main import main
from experiments.notices import STRICT
from experiments.scenarios import Question
from model.process import Limits, Process
from tests.experiments.plausible import plausible_file
from tests.experiments.test_answers import SCHEMA

GIB = 1 << 30


def question(parent: Process, file: MachineFile, mechanism: str = "fork", **more: Any) -> Question:
    settled = replace(parent, assumed=())
    return Question(
        parent=settled,
        target=bundled_image("true"),
        mechanisms=(mechanism,),
        rules=more.pop("rules", file.machine.rules),
        helpers={},
        **more,
    )


def codes(document: dict[str, Any]) -> list[str]:
    return [each["code"] for each in document["warnings"]]


def here(**changed: Any) -> tuple[MachineFile, HostFacts]:
    """A file that was calibrated on this host, and the host as it is now."""
    facts = host_facts()
    provenance = {
        "date": "2026-01-01T00:00",
        "kernel": facts.kernel_release,
        "kernel_version": facts.kernel_version,
        "thp_enabled": facts.thp_enabled,
        "mitigations": dict(facts.mitigations),
    }
    file = plausible_file(fingerprint(facts))
    return replace(file, provenance={**provenance, **changed}), facts


def test_nothing_is_warned_of_on_measured_ground() -> None:
    file, facts = here()
    document = answer(
        question(synthetic_parent(GIB // 4), file), file, host=fingerprint(facts), facts=facts, strict=True
    )
    assert not (STRICT | {"host_changed"}) & set(codes(document))
    assert document["predictions"][0]["extrapolation"] == {}


@pytest.mark.parametrize("factor", [2, 16])
def test_a_prediction_says_how_far_it_reaches_beyond(factor: int) -> None:
    file, _ = here()
    pages = int(file.machine.measured["anon_ptes"]) * factor
    document = answer(question(synthetic_parent(pages * 4096), file), file)
    jsonschema.validate(document, SCHEMA)
    assert document["predictions"][0]["extrapolation"]["anon_ptes"] == pytest.approx(factor, rel=0.01)
    assert "extrapolates" in codes(document)
    shared = answer(question(synthetic_parent(pages * 4096), file, "vfork"), file)
    assert "anon_ptes" not in shared["predictions"][0]["extrapolation"]


def test_what_was_never_measured_has_no_factor() -> None:
    file, _ = here()
    bare = replace(file, machine=replace(file.machine, measured={**file.machine.measured, "threads": 0.0}))
    document = answer(question(synthetic_parent(GIB // 4, threads=3), bare), bare)
    jsonschema.validate(document, SCHEMA)
    assert document["predictions"][0]["extrapolation"] == {"threads": None}


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("kernel_version", "#7 SMP a build before this one", "kernel_version"),
        ("kernel", "6.18.44-before", "kernel 6.18.44-before ->"),
        ("thp_enabled", "another word", "thp_enabled another word ->"),
        ("mitigations", {"meltdown": "Mitigation: long gone"}, "mitigations"),
    ],
)
def test_a_host_that_changed_under_its_machine_file_is_told(name: str, value: object, said: str) -> None:
    """The name stays the same: a kernel built anew, another THP mode, other mitigations."""
    file, facts = here(**{name: value})
    asked = question(synthetic_parent(GIB // 4), file)
    texts = [each["text"] for each in answer(asked, file, facts=facts)["warnings"] if each["code"] == "host_changed"]
    assert len(texts) == 1
    assert said in texts[0]
    assert "since 2026-01-01" in texts[0]
    assert "host_changed" not in codes(answer(asked, file))


def test_a_machine_file_older_than_the_kernel_is_told_and_refused() -> None:
    file, facts = here()
    older = fingerprint(replace(facts, kernel_release="6.1.0"))
    old = replace(file, machine=replace(file.machine, name=older, kernel="6.1.0"))
    asked = question(synthetic_parent(GIB // 4), old)
    found = codes(answer(asked, old, host=fingerprint(facts), facts=facts))
    assert {"other_host", "other_kernel"} <= set(found)
    assert "host_changed" not in found
    with pytest.raises(BadInput, match="--strict"):
        answer(asked, old, host=fingerprint(facts), strict=True)
    foreign = replace(old, machine=replace(old.machine, name="arm-0-0-bare-6.1.0"))
    assert "other_kernel" not in codes(answer(asked, foreign, host=fingerprint(facts)))


@pytest.mark.parametrize(
    "code, options",
    [
        ("extrapolates", ["--rss", "1TiB"]),
        ("other_kernel", ["--rss", "64MiB", "--kernel", "6.1"]),
        ("rule_not_measured", ["--rss", "64MiB", "--rule", "thp_cow=copy_pmd"]),
    ],
)
def test_strict_refuses_on_the_command_line_each_for_its_reason(
    code: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "here.toml"
    write_machine_file(here()[0], path)
    assert main(["predict", "--machine", str(path), *options]) == 0
    assert code in capsys.readouterr().err
    assert main(["predict", "--machine", str(path), *options, "--strict"]) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.startswith("spawncost: error: --strict: ")


@pytest.mark.parametrize("limits", [Limits(), Limits(commit_mode=0)])
def test_a_rule_of_overcommit_says_where_it_acts(limits: Limits) -> None:
    """A described parent is taken to fit, so its predictions are the same under either value."""
    file = here()[0]
    other = replace(file.machine.rules, overcommit_guess="per_vma_free")
    parent = replace(synthetic_parent(GIB // 4), limits=limits)
    document = answer(replace(question(parent, file), rules=other), file)
    (text,) = (each["text"] for each in document["warnings"] if each["code"] == "rule_not_measured")
    assert ("no effect" in text) == (limits.commit_mode is None)


def test_strict_refuses_another_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "elsewhere.toml"
    write_machine_file(plausible_file("arm-0-0-bare-6.1.0"), path)
    assert main(["predict", "--machine", str(path), "--rss", "64MiB", "--strict"]) == 2
    assert "other_host" in capsys.readouterr().err


def test_what_is_assumed_is_said_and_widens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "here.toml"
    write_machine_file(here()[0], path)
    assert main(["predict", "--machine", str(path), "--rss", "600MiB"]) == 0
    assert "assumed_contiguity" in capsys.readouterr().err
    assert main(["predict", "--machine", str(path), "--rss", "600MiB", "--contiguous", "0.5"]) == 0
    assert "assumed_contiguity" not in capsys.readouterr().err
