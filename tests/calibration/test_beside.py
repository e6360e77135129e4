"""Busy programs beside what is measured: they leave nothing behind, and their rows tell placements of their own."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest

from calibration.beside import busy, one_cpu_left
from calibration.plan import planned_rows
from calibration.run_bench import BenchUnavailableError
from calibration.samples import Run, Sample
from calibration.spread import SpreadRow, of_quiet, placements, pooled, spread_from
from model.machine import BESIDE, Placement
from model.process import Caller
from model.scenario import Scenario
from tests.model.builders import parent_of, scenario_of


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    found: list[subprocess.Popen[bytes]] = []
    original = subprocess.Popen

    class Kept(original):  # type: ignore[misc, valid-type]
        def __init__(self, *args: object, **more: object) -> None:
            super().__init__(*args, **more)
            found.append(self)

    monkeypatch.setattr("calibration.beside.subprocess.Popen", Kept)
    return found


def test_busy_programs_end_with_the_block(started: list[subprocess.Popen[bytes]]) -> None:
    with busy(2):
        assert [each.poll() for each in started] == [None, None]
    assert all(each.returncode is not None for each in started)


def test_one_cpu_is_left_to_what_is_measured(started: list[subprocess.Popen[bytes]]) -> None:
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        with pytest.raises(BenchUnavailableError), one_cpu_left():
            pass
        return
    with contextlib.suppress(KeyError), one_cpu_left():
        assert [each.poll() for each in started] == [None]
        assert len(os.sched_getaffinity(0)) == 2
        assert os.sched_getaffinity(started[0].pid) == os.sched_getaffinity(0) <= before
        raise KeyError
    assert os.sched_getaffinity(0) == before
    assert started[0].returncode is not None


def row(mechanism: str, reaped_ns: list[float], *, beside: bool, cold: bool = False) -> SpreadRow:
    """A run whose caller always gets on after 9.5 us, on the CPU on which the child ran."""
    samples = tuple(
        Sample(rep=rep, call_ns=9.5e3, reaped_ns=ns, caller_cpu_before=0, caller_cpu_after=0, child_cpu=0)
        for rep, ns in enumerate(reaped_ns)
    )
    run = Run(
        row="r", bench="b", args=(), process=0, round=0, pinned=False, pass_="unpinned", header={}, samples=samples
    )
    parent = parent_of(caller=Caller.COLD if cold else Caller.HOT)
    scenario: Scenario = scenario_of(mechanism, parent)
    return SpreadRow("r", scenario, (run,), beside=beside)


@pytest.mark.parametrize("mechanism", ["vfork", "jdk-vfork"])
@pytest.mark.parametrize("cold", [False, True])
def test_beside_a_busy_cpu_a_caller_preempts_or_waits(mechanism: str, cold: bool) -> None:
    found = placements([row(mechanism, [100e3, 100e3, 100e3, 10e3], beside=True, cold=cold)])
    ((key, seen),) = found.items()
    assert key.endswith(("-cold" if cold else "") + BESIDE)
    assert seen == (
        Placement(child="same", waker="preempt", weight=0.75),
        Placement(child="same", waker="queue", weight=0.25),
    )


def test_rows_with_an_idle_cpu_are_kept_apart() -> None:
    found = placements([row("vfork", [100e3], beside=False), row("vfork", [10e3], beside=True)])
    assert {name.endswith(BESIDE): seen[0].waker for name, seen in found.items()} == {False: "preempt", True: "queue"}


def test_every_family_that_is_seen_with_an_idle_cpu_is_seen_without() -> None:
    def mechanisms(wanted: bool) -> set[tuple[str, bool]]:
        return {
            (each.row.bench, "cold-ms" in each.options)
            for each in planned_rows()
            if each.row.one_cpu_left == wanted and (each.modes or each.role == "beside")
        }

    assert mechanisms(True) == mechanisms(False)


def test_a_row_of_many_samples_does_not_speak_for_its_class() -> None:
    found = pooled([{"runtime": [1.2] * 600}, {"runtime": [1.0] * 100}])["runtime"]
    assert found.ratios[found.levels.index(0.4)] == 1.0
    assert found.ratios[found.levels.index(0.6)] == 1.2
    skewed = [1.0 + index / 300 for index in range(300)]
    alone = pooled([{"runtime": skewed}])["runtime"]
    assert alone.ratios == pytest.approx(spread_from(skewed).ratios, abs=0.005)


def test_rows_without_quiet_processes_count_only_where_no_other_row_tells() -> None:
    quiet, noisy = {"runtime": [1.0] * 20}, {"runtime": [1.4] * 60, "long": [1.3] * 20}
    found = of_quiet([(False, quiet), (True, noisy)])
    assert set(found["runtime"].ratios) == {1.0}
    assert set(found["long"].ratios) == {1.3}
