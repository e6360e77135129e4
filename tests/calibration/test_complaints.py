"""What a calibration complains of, each with a remedy, and that a quiet one complains of nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.capture.host import HostFacts, host_facts
from calibration.complaints import Complaint, Ticks, before_it, beside_it, clock_moved, ticks, within
from calibration.quality import rows_apart
from calibration.samples import Round, Run, Sample, SampleFile
from calibration.settings import calibrating

QUIET = Ticks(0, 0), Ticks(3, 100_000)


@pytest.fixture
def facts() -> HostFacts:
    return replace(host_facts(), load_average=0.0)


def run_of(row: str, process: int, value_ns: float) -> Run:
    samples = tuple(Sample(rep=rep, value_ns=value_ns) for rep in range(3))
    return Run(
        row=row, bench="null_syscall", args=(), process=process, round=process, pinned=True, pass_="quiet", header={},
        samples=samples,
    )  # fmt: skip


def file_of(*runs: Run, loud: int = 0) -> SampleFile:
    rounds = tuple(Round(round=100 + i, fork_ns=1.0, chase_ns=1.0, quiet=i >= loud) for i in range(10))
    return SampleFile({}, runs, rounds, ())


def words(found: list[Complaint]) -> str:
    assert all(each.remedy and str(each) == f"{each.what} ({each.remedy})" for each in found)
    return "; ".join(each.what for each in found)


def test_a_quiet_host_is_fit(facts: HostFacts) -> None:
    assert not list(before_it(facts, alone=True))
    assert not list(beside_it(facts, facts, *QUIET))
    assert not list(within(file_of(*(run_of("syscall", i, 100.0) for i in range(8)))))


def test_what_else_runs_is_told_before_anything_is_measured(facts: HostFacts) -> None:
    assert words(list(before_it(replace(facts, load_average=1.7), alone=True))) == "the load average is 1.7"
    assert words(list(before_it(facts, alone=False))) == "another calibration runs"


def test_stolen_time_and_changed_settings_are_told(facts: HostFacts) -> None:
    assert "took 5% of the CPUs' time" in words(list(beside_it(facts, facts, Ticks(10, 1000), Ticks(60, 2000))))
    changed = replace(facts, thp_enabled="some other word")
    assert words(list(beside_it(facts, changed, *QUIET))).startswith("thp_enabled changed from")


@pytest.mark.parametrize("factor, side", [(1.2, "slower"), (0.8, "faster")])
def test_a_core_that_changes_its_clock_is_told(factor: float, side: str) -> None:
    runs = [run_of(row, i, 100.0 * (factor if i >= 4 else 1.0)) for row in ("syscall", "cpuid") for i in range(8)]
    assert f"the core was 20% {side}" in words(list(within(file_of(*runs))))
    assert clock_moved(file_of()) == 0.0


def test_noise_is_told() -> None:
    odd = [run_of("open", i, 100.0 * (1.3 if i % 2 else 1.0)) for i in range(8)]
    assert rows_apart({"open": odd, "same": [run_of("same", i, 1.0) for i in range(8)]}).keys() == {"open"}
    assert "the probe found 6 of 10 rounds loud" in words(list(within(file_of(loud=6))))


def test_ticks_are_read_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  10 0 20 60 3 0 2 5 7 0\ncpu0 1 2 3\n")
    assert ticks(tmp_path / "stat") == Ticks(stolen=5, all=100)
    assert ticks(tmp_path / "none") == Ticks(0, 0)
    assert ticks().all > 0


def test_two_calibrations_see_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    script = "from calibration.settings import calibrating\nwith calibrating() as alone:\n    print(alone)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}

    def other() -> str:
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    with calibrating() as alone:
        assert alone
        assert other() == "False"
    assert other() == "True"
