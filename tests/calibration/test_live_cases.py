"""The matrices of live cases and what is refused before anything runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from calibration.errors import BadInput
from calibration.live import LiveCase, c_matrix, cpython_matrix, jvm_matrix
from calibration.live.cases import MECHANISMS, MIB_BYTES, check_case

CASE = LiveCase(kind="c", mechanism="fork", heap_bytes=MIB_BYTES)


def test_the_jvm_matrix_crosses_heaps_thp_threads_mechanisms_and_callers() -> None:
    cases = jvm_matrix()
    assert len(cases) == len(set(cases)) == 2 * 2 * 2 * 3 * 2
    assert len({case.parent for case in cases}) == len(cases) // 2
    assert {case.mechanism for case in cases} == set(MECHANISMS["jvm"])


@pytest.mark.parametrize("cases", [jvm_matrix(), c_matrix(), cpython_matrix()])
def test_every_case_of_a_matrix_is_valid_and_has_a_label_of_its_own(cases: tuple[LiveCase, ...]) -> None:
    for case in cases:
        check_case(case)
    assert len({case.label for case in cases}) == len(cases)


def test_options_of_a_matrix_reach_all_of_its_cases() -> None:
    assert {case.collector for case in jvm_matrix(collector="serial")} == {"serial"}
    assert {case.runtime for case in cpython_matrix(runtime="/usr/bin/python3")} == {"/usr/bin/python3"}
    assert {case.target for case in c_matrix(target="/bin/sh")} == {"/bin/sh"}


@pytest.mark.parametrize(
    "case",
    [
        replace(CASE, kind="perl"),  # type: ignore[arg-type]
        replace(CASE, mechanism="jdk-fork"),
        replace(CASE, heap_bytes=-1),
        replace(CASE, threads=10**6),
        replace(CASE, fds=-3),
        replace(CASE, caller="tepid"),  # type: ignore[arg-type]
        replace(CASE, target="/nowhere/true"),
        replace(CASE, target="/etc/passwd"),
        replace(CASE, target="/bin"),
        replace(CASE, kind="jvm", mechanism="jdk-fork"),
        replace(CASE, kind="jvm", mechanism="jdk-fork", heap_bytes=64 * MIB_BYTES, collector="epsilon"),
    ],
)
def test_an_impossible_case_is_bad_input(case: LiveCase) -> None:
    with pytest.raises(BadInput) as caught:
        check_case(case)
    assert "\n" not in str(caught.value)


def test_the_sources_of_the_parents_lie_in_the_package() -> None:
    folder = Path(__file__).parents[2] / "calibration" / "live"
    assert {"SpawnLoop.java", "spawn_loop.c", "spawn_loop.py"} <= {path.name for path in folder.iterdir()}
