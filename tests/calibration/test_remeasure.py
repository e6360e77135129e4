"""What deviates is measured again before it is told: a loud moment gives no alarm, a change that stays gives one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from calibration import remeasure
from calibration.capture.host import fingerprint, host_facts
from calibration.check import Check, check_samples, stored_samples
from calibration.machine_file import BUNDLED, MachineFile, find_machine
from calibration.plan import PlannedRow, planned_rows
from calibration.samples import read_runs

LOUD = ("fork-0", "touch-64", "vfork")


@cache
def lines() -> tuple[dict[str, Any], ...]:
    """The stored samples of the bundled file's quick rows, a line each."""
    (path, *_) = stored_samples(find_machine(BUNDLED))
    quick = {row.row.name for row in planned_rows() if row.quick and not row.live}
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return tuple(line for line in found if "row" not in line or line["row"] in quick)


@cache
def here() -> MachineFile:
    """The bundled file under this host's name, with what its quick rows leave."""
    file = find_machine(BUNDLED)
    return replace(file, machine=replace(file.machine, name=fingerprint(host_facts())))


def dearer(line: dict[str, Any], factor: float) -> dict[str, Any]:
    """A run with all its times so many times as long."""
    samples = {
        name: [value * factor if name.endswith("_ns") and value is not None else value for value in values]
        for name, values in line.get("samples", {}).items()
    }
    return {**line, "samples": samples} if samples else line


Asked = list[set[str]]


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Asked]:
    """Makes measuring write the stored samples, with times by number of the measurement and row."""

    def start(factor: Callable[[int, str], float]) -> Asked:
        asked: Asked = []

        def measured(rows: list[PlannedRow], samples: Path, **more: object) -> None:
            names = {row.row.name for row in rows}
            wanted = [line for line in lines() if "row" not in line or line["row"] in names]
            told = [dearer(line, factor(len(asked), line["row"])) if "row" in line else line for line in wanted]
            samples.write_text("".join(json.dumps(line) + "\n" for line in told), encoding="utf-8")
            asked.append(names)

        monkeypatch.setattr(remeasure, "measure", measured)
        return asked

    return start


def moved(found: Check) -> set[str]:
    return {row.row for row in found.deviations}


def test_what_stands_still_is_measured_once(measuring: Callable[..., Asked]) -> None:
    asked = measuring(lambda number, row: 1.0)
    assert not remeasure.check_measured(here()).failed
    assert len(asked) == 1


def test_a_loud_moment_is_no_alarm(measuring: Callable[..., Asked]) -> None:
    asked = measuring(lambda number, row: 1.6 if number == 0 and row in LOUD else 1.0)
    assert not remeasure.check_measured(here()).failed
    assert len(asked) == 2
    assert set(LOUD) & asked[1]
    assert asked[1] < asked[0]
    assert len(asked[1]) > len(set(LOUD) & asked[1]), "partners that stood still are measured beside"


def test_a_change_that_stays_is_told(measuring: Callable[..., Asked]) -> None:
    asked = measuring(lambda number, row: 1.6 if row in LOUD else 1.0)
    found = remeasure.check_measured(here())
    assert found.failed
    assert set(LOUD) <= moved(found)
    assert len(asked) == remeasure.TRIES


def test_a_host_that_is_slower_as_a_whole_is_told_and_no_alarm(measuring: Callable[..., Asked]) -> None:
    """Its core is shared with somebody: every row takes a third longer, and keeps on doing so."""
    measuring(lambda number, row: 1.35)
    found = remeasure.check_measured(here())
    assert not found.deviations
    assert found.drift == pytest.approx(math.log(1.35), abs=0.02)
    measuring(lambda number, row: 1.35 * (2.5 if row in LOUD else 1.0))
    assert moved(remeasure.check_measured(here())) == set(LOUD)


def test_where_partners_move_as_far_nothing_is_told(measuring: Callable[..., Asked]) -> None:
    """The same change beside rows that stood still and now move too: the moment is loud, not the price."""
    alone = measuring(lambda number, row: 1.2 if row in LOUD else 1.0)
    assert remeasure.check_measured(here()).failed
    assert len(alone) == remeasure.TRIES
    beside = measuring(lambda number, row: 1.2 if row in LOUD or number else 1.0)
    found = remeasure.check_measured(here())
    assert not set(LOUD) & moved(found)
    assert found.noise_floor > 0.1
    assert len(beside) >= 2


def test_samples_that_are_renewed_hold_the_newer_runs_only(tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    for path, wanted in ((first, ("syscall", "vfork")), (second, ("vfork",))):
        told = [line for line in lines() if "row" not in line or line["row"] in wanted]
        path.write_text("".join(json.dumps(dearer(line, 2.0 if path is second else 1.0)) + "\n" for line in told))
    before, after = read_runs(first), read_runs(second)
    found = remeasure.renewed(before, after)
    assert found.kept()["syscall"] == before.kept()["syscall"]
    assert found.kept()["vfork"] == after.kept()["vfork"]
    checked = {row.name: row for row in check_samples(here(), before, "first").rows}
    doubled = remeasure.apart(checked, check_samples(here(), found, "second").rows)
    assert doubled == pytest.approx(0.6931, abs=1e-3)
