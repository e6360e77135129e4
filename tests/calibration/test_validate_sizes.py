"""Forks by size: what is measured, what is told of it, when it is right."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from calibration.errors import BadInput
from calibration.machine_file import find_machine
from calibration.validate_sizes import WAYS, SizeComparison, SizesFound, validate_sizes
from experiments.sizes_report import ENDS, sizes_document, sizes_text

ONE = SizeComparison(
    mib=64, way="in order, hot", end="call", contiguous=0.9, measured_ns=1e6, predicted_ns=1.05e6, floor=0.01
)


def found_of(*errors: float, floor: float = 0.01) -> SizesFound:
    rows = (replace(ONE, predicted_ns=1e6 * (1 + error), floor=floor) for error in errors)
    return SizesFound(machine="m", comparisons=tuple(rows))


def test_errors_are_judged_by_median_and_p90_or_by_the_floor() -> None:
    assert found_of(0.05, 0.05, 0.05).right("call")
    assert not found_of(0.15, 0.15, 0.15).right("call")
    assert found_of(0.15, 0.15, 0.15, floor=0.12).right("call")
    assert not found_of(*([0.01] * 4), *([0.5] * 2)).right("call")


def test_every_way_is_measured_and_frames_are_what_pagemap_says() -> None:
    try:
        found = validate_sizes(find_machine("bundled"), processes=2, sizes_mib=(4,))
    except BadInput as error:
        pytest.skip(str(error))
    if found.skipped:
        pytest.skip(f"no room for the hog: {found.skipped}")
    assert {(each.way, each.end) for each in found.comparisons} == {(way, end) for way in WAYS for end in ENDS}
    assert all(each.measured_ns > 0 < each.predicted_ns and 0 <= each.contiguous <= 1 for each in found.comparisons)
    order, scattered = ([each for each in found.comparisons if each.way.startswith(way)] for way in ("in", "sc"))
    assert min(each.contiguous for each in order) >= max(each.contiguous for each in scattered)
    text = sizes_text(found)
    assert max(map(len, text.splitlines())) <= 80
    document = sizes_document(found)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document["summary"]) == set(ENDS.values())


def test_what_the_references_moved_since_the_calibration_is_told() -> None:
    found = replace(found_of(0.05), moved={("in order", "call"): 0.2, ("scattered", "reaped"): -0.1})
    assert sizes_document(found)["moved"] == {"in order, call": 0.2, "scattered, rest": -0.1}
    text = sizes_text(found)
    assert "order-64k has moved by +22% (call)" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "moved" not in sizes_text(replace(found, moved={}))
