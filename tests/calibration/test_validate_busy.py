"""Spawns beside busy programs: what is compared, what is right, and that nothing is left running."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.build import find_compiler
from calibration.capture.host import host_facts
from calibration.errors import BadInput
from calibration.live.cases import MIB_BYTES
from calibration.machine_file import find_machine
from calibration.validate_busy import FLOORS, BusyComparison, validate_busy
from experiments.load_validation import busy_document, busy_text


@pytest.fixture(scope="module")
def found() -> list[BusyComparison]:
    try:
        find_compiler()
    except BadInput as error:
        pytest.skip(str(error))
    return validate_busy(find_machine("bundled"), processes=1, reps=6, cpus=1, heap_bytes=8 * MIB_BYTES)


def test_each_quantile_of_each_milestone_is_compared_for_each_number(found: list[BusyComparison]) -> None:
    keys = [(each.busy_cpus, each.comparison.group, each.comparison.milestone, each.level) for each in found]
    assert len(keys) == len(set(keys))
    kinds = Counter(group.split()[0] for _, group, _, _ in keys)
    assert kinds["c"] == 2 * 2 * 2 * 2
    assert kinds["jvm"] == (2 * 2 * 2 if shutil.which("javac") else 0)
    assert all(each.measured_ns > 0 and each.predicted_ns > 0 and each.floor >= 0 for each in found)


def test_what_is_right_depends_on_tolerance_and_floor(found: list[BusyComparison]) -> None:
    each = next(each for each in found if each.level == 0.5)
    factor = each.predicted_ns / each.measured_ns
    shifted = tuple(tuple(ns * factor for ns in samples) for samples in each.comparison.samples_ns)
    matched = replace(each, comparison=replace(each.comparison, samples_ns=shifted))
    assert matched.right
    assert matched.error == pytest.approx(0.0, abs=1e-9)
    beyond = factor * 10.0 * math.exp(FLOORS * each.floor)
    far = tuple(tuple(ns * beyond for ns in samples) for samples in each.comparison.samples_ns)
    assert not replace(each, comparison=replace(each.comparison, samples_ns=far)).right


def test_processes_that_differ_are_a_floor_too(found: list[BusyComparison]) -> None:
    each = next(each for each in found if each.level == 0.5)
    twice = replace(each.comparison, samples_ns=((1.0,) * 4, (2.0,) * 4), predictions=each.comparison.predictions[:1])
    assert replace(each, comparison=twice).floor == pytest.approx(math.log(2.0))
    once = replace(twice, samples_ns=((1.0, 3.0) * 4,))
    assert replace(each, comparison=once).floor == pytest.approx(math.log(3.0))


def test_the_report_is_narrow_and_its_document_is_whole(found: list[BusyComparison]) -> None:
    text = busy_text(found)
    assert max(map(len, text.splitlines())) <= 84 + 8, "wider only where a stalled machine takes minutes"
    assert f"of {len(found)} within" in text
    document = busy_document("machine", found)
    assert len(document["comparisons"]) == len(found)
    assert all(math.isfinite(each["error"]) for each in document["comparisons"])
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_tick_is_read_from_the_kernels_configuration(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text("6.18.0\n")
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/config-6.18.0").write_text("CONFIG_HZ=1000\n")
    assert host_facts(root=tmp_path).scheduler == {"tick_ns": 1e6}
    slice_file = tmp_path / "sys/kernel/debug/sched/base_slice_ns"
    slice_file.parent.mkdir(parents=True)
    slice_file.write_text("2800000\n")
    told = host_facts(root=tmp_path)
    assert told.scheduler == {"tick_ns": 1e6, "base_slice_ns": 2.8e6}
