"""The timeline: slices nest, add up and carry the milestones."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest

from calibration.capture.parent_file import read_parent
from calibration.machine_file import MachineFile
from experiments.answers import predict
from experiments.bundled_images import bundled_image
from experiments.scenarios import Question, helpers_of
from experiments.trace import task_slices, trace_document, trace_text
from model.costs import COSTS
from model.ledger import Entry
from model.mechanisms import MECHANISMS
from model.prediction import Prediction

Event = dict[str, Any]
_EPSILON_US = 1e-5


@pytest.fixture(scope="module")
def predictions(machine_file: MachineFile) -> list[Prediction]:
    names = tuple(MECHANISMS)
    question = Question(
        parent=read_parent("jvm-4g"),
        target=bundled_image("true"),
        mechanisms=names,
        rules=machine_file.machine.rules,
        helpers=helpers_of(names)[0],
    )
    return [predict(question, machine_file, name) for name in names]


@pytest.fixture(scope="module")
def events(predictions: list[Prediction]) -> list[Event]:
    found: list[Event] = trace_document(predictions)["traceEvents"]
    return found


def _tracks(events: list[Event]) -> dict[tuple[int, int], list[Event]]:
    tracks: dict[tuple[int, int], list[Event]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append(event)
    return tracks


def test_the_text_is_the_document(predictions: list[Prediction]) -> None:
    assert json.loads(trace_text(predictions)) == trace_document(predictions)


def test_slices_nest_on_every_track(events: list[Event]) -> None:
    for slices in _tracks(events).values():
        open_ends: list[float] = []
        for each in slices:
            start, end = each["ts"], each["ts"] + each["dur"]
            assert each["dur"] >= 0.0
            while open_ends and open_ends[-1] <= start + _EPSILON_US:
                open_ends.pop()
            assert not open_ends or end <= open_ends[-1] + _EPSILON_US, f"{each['name']} sticks out of its parent"
            open_ends.append(end)


def test_innermost_slices_are_the_ledger(predictions: list[Prediction], events: list[Event]) -> None:
    tracks = _tracks(events)
    for pid, prediction in enumerate(predictions, start=1):
        for tid, entries in enumerate(prediction.tasks.values(), start=1):
            leaves = [each for each in tracks[pid, tid] if each["cat"] != "function"]
            assert len(leaves) == len(entries)
            total = sum(each["dur"] for each in leaves)
            assert total == pytest.approx(sum(each.elapsed_ns for each in entries) / 1000, rel=1e-6, abs=1e-6)


def test_functions_of_the_path_enclose_their_charge(predictions: list[Prediction], events: list[Event]) -> None:
    fork = [each for each in events if each["ph"] == "X" and each["pid"] == 1]
    charge = next(each for each in fork if each["name"] == "copy_present_pte")
    around = {
        each["name"]
        for each in fork
        if each["cat"] == "function"
        and each["tid"] == charge["tid"]
        and each["ts"] <= charge["ts"]
        and each["ts"] + each["dur"] >= charge["ts"] + charge["dur"] - _EPSILON_US
    }
    assert {"kernel_clone", "copy_process", "copy_mm", "dup_mmap", "copy_page_range"} <= around


def test_each_charge_says_what_its_price_stands_for(events: list[Event]) -> None:
    charges = [each for each in events if each.get("cat") in ("charge", "latency")]
    assert {each["args"]["stands_for"] for each in charges} == {COSTS[each["name"]].stands_for for each in charges}
    assert all(each["args"]["per"] and each["args"]["count"] >= 0.0 for each in charges)
    assert any("copy_present_ptes@v6" in each["args"]["stands_for"] for each in charges)


def test_every_process_and_thread_has_a_name(predictions: list[Prediction], events: list[Event]) -> None:
    processes = [each["args"]["name"] for each in events if each["name"] == "process_name"]
    assert processes == [each.mechanism for each in predictions]
    named = {(each["pid"], each["tid"]) for each in events if each["name"] == "thread_name"}
    assert set(_tracks(events)) <= named


def test_milestones_stand_at_their_quiet_time(predictions: list[Prediction], events: list[Event]) -> None:
    for pid, prediction in enumerate(predictions, start=1):
        found = {each["name"]: each["ts"] for each in events if each["ph"] == "i" and each["pid"] == pid}
        expected = {name: each.quiet_ns / 1000 for name, each in prediction.milestones.items()}
        assert found == pytest.approx(expected, abs=1e-5)


def test_a_gap_ends_the_functions_that_were_open() -> None:
    def entry(start: float, end: float, *path: str) -> Entry:
        return Entry(start, end, "charge", "syscall", 1.0, path)

    slices = list(task_slices([entry(0, 1000, "f", "g"), entry(1000, 3000, "f"), entry(5000, 6000, "f")], 1, 1))
    functions = [(each["name"], each["ts"], each["dur"]) for each in slices if each["cat"] == "function"]
    assert functions == [("f", 0.0, 3.0), ("g", 0.0, 1.0), ("f", 5.0, 1.0)]
