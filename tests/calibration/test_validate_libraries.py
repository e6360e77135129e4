"""Fifty libraries, generated and real: built, bound lazily and at once, and judged by what they add."""

from __future__ import annotations

import math

import pytest

from calibration.build import Builder
from calibration.capture import capture_elf
from calibration.errors import BadInput
from calibration.live.programs import find_programs
from calibration.machine_file import find_machine
from calibration.targets import TargetSpec, build_target, build_with
from calibration.validate_libraries import ALONE, EMPTY, real_libraries, validate_libraries
from experiments.library_report import library_document, library_text
from experiments.what_if import WhatIf, machine_if


def test_lazy_calls_are_looked_up_only_when_bound_at_once() -> None:
    spec = TargetSpec(kind="libs", libs=3, lookups=5, calls=7, lazy=1)
    path = str(build_target(spec, Builder()))
    lazy, now = capture_elf(path, environ={}), capture_elf(path, bind_now=True, environ={})
    by_name = {each.name: each for each in now.libraries}
    for each in lazy.libraries:
        if "lib00" in each.name:
            calls = 0 if each.name.endswith("lib002.so") else 7
            assert each.lazy_jump_slots == calls
            assert by_name[each.name].symbol_lookups - each.symbol_lookups == calls
    eager = str(build_target(TargetSpec(kind="libs", libs=3, lookups=5, calls=7), Builder()))
    for each in capture_elf(eager, environ={}).libraries:
        if "lib00" in each.name:
            twin = next(one for one in now.libraries if one.name[-9:] == each.name[-9:])
            assert each.symbol_lookups == twin.symbol_lookups


def test_real_libraries_are_a_closure_of_the_size_asked_for() -> None:
    most = max(len(capture_elf(path).libraries) for path in find_programs().found.values())
    count = min(10, most)
    chosen = real_libraries(count)
    assert len(set(chosen)) == len(chosen) == count
    program = build_with(chosen, Builder())
    assert {each.path for each in capture_elf(str(program), environ={}).libraries} >= set(chosen)
    with pytest.raises(BadInput, match=r"need \d+ only"):
        real_libraries(100_000)


def test_what_libraries_add_is_measured_and_predicted() -> None:
    file = find_machine("bundled")
    done = validate_libraries(file, machine_if(file, WhatIf(bare_metal=True)), processes=1, reps=3)
    names = {each.name for each in done.cases}
    assert {ALONE, EMPTY, "50 of C", "50 of C++"} <= names
    first = {each.now: each for each in done.cases if each.name == ALONE}
    for each in done.cases:
        assert each.bare_ns < each.comparison.predicted.p50_ns
        assert each.adds_ns == pytest.approx(
            each.comparison.measured_ns(0.5) - first[each.now].comparison.measured_ns(0.5)
        )
        assert math.isnan(each.lookups_for_tens) or each.lookups_for_tens > 0.0
    text, document = library_text(done), library_document(done)
    assert "tens of milliseconds" in text
    assert len(document["cases"]) == len(done.cases)
