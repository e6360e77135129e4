"""The matrices of live cases and what is refused before anything runs; quantiles and the noise floor."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.errors import BadInput
from calibration.live import LiveCase, LiveProcess, LiveResult, c_matrix, cpython_matrix, jvm_matrix, noise_floor
from calibration.live.cases import MECHANISMS, MIB_BYTES, check_case
from calibration.live.results import Milestone, quantile

CASE = LiveCase(kind="c", mechanism="fork", heap_bytes=MIB_BYTES)


def _process(*call_ns: int) -> LiveProcess:
    return LiveProcess(
        snapshot=None,
        version="",
        envp_bytes=0,
        thp_bytes=0,
        rss_bytes=0,
        vmas=0,
        call_ns=call_ns,
        reaped_ns=tuple(2 * sample for sample in call_ns),
        minflt_children=(3, 5),
    )


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


def test_quantiles_are_linear_between_order_statistics() -> None:
    assert quantile([30, 10, 20], 0.5) == 20
    assert quantile([10, 20], 0.25) == 12.5
    assert quantile([7], 0.9) == 7
    assert quantile([1, 2, 3], 1.0) == 3


@pytest.mark.parametrize("samples, part", [([], 0.5), ([1.0], 1.1), ([1.0], -0.1)])
def test_no_quantile_of_nothing(samples: list[float], part: float) -> None:
    with pytest.raises(ValueError):
        quantile(samples, part)


@pytest.mark.parametrize("milestone", ["call", "reaped"])
def test_the_noise_floor_compares_odd_with_even_processes(milestone: Milestone) -> None:
    result = LiveResult(case=CASE, processes=(_process(10, 10), _process(20, 20), _process(10, 10), _process(20, 20)))
    floor = noise_floor(result, milestone)
    assert floor == pytest.approx(math.log(2))


def test_equal_processes_have_no_noise_and_a_single_one_no_floor() -> None:
    assert noise_floor(LiveResult(case=CASE, processes=(_process(5, 6), _process(5, 6)))) == 0
    assert noise_floor(LiveResult(case=CASE, processes=(_process(5, 6),))) is None
    assert noise_floor(LiveResult(case=CASE)) is None


def test_a_result_pools_its_processes() -> None:
    result = LiveResult(case=CASE, processes=(_process(10, 20), _process(30)))
    assert result.samples_ns("call") == (10, 20, 30)
    assert result.samples_ns("reaped") == (20, 40, 60)
    assert result.quantile_ns("call", 0.5) == 20
    assert result.minflt("children") == 4
    assert math.isnan(result.minflt("caller"))
    assert result.snapshots == ()


def test_the_sources_of_the_parents_lie_in_the_package() -> None:
    folder = Path(__file__).parents[2] / "calibration" / "live"
    assert {"SpawnLoop.java", "spawn_loop.c", "spawn_loop.py"} <= {path.name for path in folder.iterdir()}
