"""The protocol: everything once, in a file that can be continued, whatever happens in between."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calibration import measure
from calibration.build import Builder, BuildError, Compiler
from calibration.drift import DriftProbe, Probe, is_quiet
from calibration.errors import BadInput
from calibration.measure import measure_rows
from calibration.run_bench import BenchError, run_bench
from calibration.samples import Row, SampleFile, read_runs

VALUE = Row(name="null", bench="null_syscall", args=("--n", "200"), processes=3, reps=3)
SPAWN = Row(name="fork", bench="fork_touched", args=("--pages", "64"), processes=2, reps=3)
LOOSE = Row(name="loose", bench="vfork_exit", processes=2, reps=2, pinned=False, pass_="unpinned")


@pytest.fixture
def go(builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SampleFile]:
    monkeypatch.setattr(DriftProbe, "take", lambda self: Probe(20_000.0, 50.0))

    def silent(done: int, total: int, what: str) -> None:
        """Tells nobody."""

    def run(*rows: Row, budget_s: float = 60, progress: measure.Progress = silent, **more: Any) -> SampleFile:
        out = tmp_path / "samples.jsonl"
        measure_rows(rows, out=out, budget_s=budget_s, seed=1, progress=progress, builder=builder, **more)
        return read_runs(out)

    return run


def test_each_row_is_measured_by_its_processes(go: Callable[..., SampleFile]) -> None:
    rows = go(VALUE, SPAWN, LOOSE, circumstances={"date": "today"})
    kept = rows.kept()
    assert {name: [run.process for run in runs] for name, runs in kept.items()} == {
        "null": [0, 1, 2],
        "fork": [0, 1],
        "loose": [0, 1],
    }
    assert all(len(run.timed) == run_of.reps for run_of in (VALUE, SPAWN, LOOSE) for run in kept[run_of.name])
    assert rows.circumstances["date"] == "today"
    assert rows.circumstances["compiler"]
    assert {run.header["cpu_pinned"] for run in kept["fork"]} == {max(os.sched_getaffinity(0))}
    if len(os.sched_getaffinity(0)) > 1:
        assert {run.header["cpu_pinned"] for run in kept["loose"]} == {None}
    assert [round_.quiet for round_ in rows.rounds] == [True] * len(rows.rounds)


def test_what_is_there_is_not_measured_again(go: Callable[..., SampleFile]) -> None:
    first = go(VALUE, SPAWN)
    told: list[tuple[int, int]] = []
    again = go(VALUE, SPAWN, LOOSE, progress=lambda done, total, what: told.append((done, total)))
    assert again.runs[: len(first.runs)] == first.runs
    assert [run.row for run in again.runs[len(first.runs) :]] == ["loose", "loose"]
    assert told[-1] == (7, 7)
    assert min(run.round for run in again.runs[len(first.runs) :]) > max(run.round for run in first.runs)


def test_an_interrupt_keeps_what_is_measured(go: Callable[..., SampleFile], tmp_path: Path) -> None:
    def interrupt(done: int, total: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(VALUE, SPAWN, progress=interrupt)
    assert len(read_runs(tmp_path / "samples.jsonl").runs) == 2
    assert len(go(VALUE, SPAWN).runs) == 5


class Clock:
    """Time that goes on by a step whenever it is asked for: however slow the machine, the same work fits into it."""

    def __init__(self, step_s: float) -> None:
        self.steps = itertools.count()
        self.step_s = step_s

    def monotonic(self) -> float:
        return next(self.steps) * self.step_s


def test_the_budget_ends_the_measurement_and_thins_all_rows(
    go: Callable[..., SampleFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert go(VALUE, SPAWN, budget_s=0).runs == ()
    many = [Row(name=name, bench="vfork_exit", processes=400, reps=3) for name in "ab"]
    monkeypatch.setattr(measure, "time", Clock(0.01))
    counts = [len(runs) for runs in go(*many, budget_s=1.0).kept().values()]
    assert 20 < sum(counts) < 100, "each process asks for the time at least once"
    assert max(counts) - min(counts) <= 2 + max(counts) // 5


def test_parents_and_targets_are_looked_at_once(go: Callable[..., SampleFile]) -> None:
    execs = Row(name="exec", bench="exec_target", args=("--target", "tiny_static"), processes=1, reps=2)
    seen: list[int] = []

    def capture(pid: int) -> dict[str, Any]:
        seen.append(pid)
        return {"name": Path(f"/proc/{pid}/comm").read_text().strip()}

    def size(path: Path) -> dict[str, Any]:
        return {"bytes": path.stat().st_size}

    notes = go(VALUE, SPAWN, execs, capture=capture, capture_target=size).notes
    parents = {note.row: note.state["name"] for note in notes if note.kind == "parent"}
    assert set(parents) == {"fork", "exec"}
    assert parents["fork"].startswith("fork_touched")
    assert [note.row for note in notes if note.kind == "target"] == ["exec"]
    assert go(VALUE, SPAWN, execs, capture=capture, capture_target=size).notes == notes
    assert len(seen) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in seen)


def test_a_row_that_cannot_be_run_is_skipped_with_its_reason(go: Callable[..., SampleFile]) -> None:
    large = Row(name="large", bench="fork_touched", args=("--pages", "268435456"), processes=4)
    wrong = Row(name="wrong", bench="fork_touched", args=("--pagez", "1"), processes=1)
    file = go(VALUE, large, wrong)
    reasons = {note.row: note.reason for note in file.notes if note.kind == "skipped"}
    assert "more than a third" in reasons["large"]
    assert "unknown option" in reasons["wrong"]
    assert len([note for note in file.notes if note.row == "large"]) == 2
    assert set(file.kept()) == {"null"}


def test_a_target_that_cannot_be_built_skips_its_row(
    go: Callable[..., SampleFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_static_libc(spec: object, builder: Builder) -> Path:
        raise BuildError("cannot find -lc")

    monkeypatch.setattr(measure, "build_target", no_static_libc)
    execs = Row(name="exec", bench="exec_target", args=("--target", "static_glibc"), processes=3)
    file = go(VALUE, execs)
    assert {note.reason for note in file.notes} == {"cannot find -lc"}
    assert set(file.kept()) == {"null"}


def test_a_noisy_round_is_repeated_once(go: Callable[..., SampleFile], monkeypatch: pytest.MonkeyPatch) -> None:
    probes = iter([20.0, 90.0, 20.0, 20.0, *[20.0] * 99])
    monkeypatch.setattr(DriftProbe, "take", lambda self: Probe(next(probes), 50.0))
    file = go(VALUE)
    assert [round_.quiet for round_ in file.rounds] == [False, True]
    assert len(file.runs) == 6
    assert {run.round for run in file.kept()["null"]} == {1}


def test_rows_of_one_name_and_unknown_benches_are_bad_input(go: Callable[..., SampleFile]) -> None:
    with pytest.raises(BadInput, match="one name"):
        go(VALUE, VALUE)
    with pytest.raises(BadInput, match="no such bench"):
        go(Row(name="x", bench="no_such"))


def test_without_a_compiler_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    out = tmp_path / "samples.jsonl"
    with pytest.raises(BadInput, match="no C compiler found"):
        measure_rows([VALUE], out=out, budget_s=1, seed=0, progress=print, builder=Builder(cache=tmp_path / "cache"))
    assert not out.exists()


def test_the_gate_lets_only_what_is_near_the_quiet_ones_pass() -> None:
    history = [Probe(20.0 + i % 3, 50.0) for i in range(10)]
    assert is_quiet(Probe(22.0, 55.0), history)
    assert not is_quiet(Probe(40.0, 50.0), history)
    assert not is_quiet(Probe(20.0, 150.0), history)
    assert is_quiet(Probe(500.0, 900.0), [])  # alone, it is its own measure


def test_the_probe_sees_this_machine(builder: Builder) -> None:
    probe = DriftProbe(builder, max(os.sched_getaffinity(0))).take()
    assert probe.fork_ns > probe.chase_ns > 0


def test_a_bench_that_does_not_end_is_ended(builder: Builder) -> None:
    start_s = time.monotonic()
    with pytest.raises(BenchError, match="not done after"):
        run_bench(builder.bench("fork_touched"), ["--cold-ms", "10000"], cpu=None, timeout_s=0.3)
    assert time.monotonic() - start_s < 60


def test_something_else_than_a_bench_is_an_error() -> None:
    with pytest.raises(BenchError, match="not JSON"):
        run_bench(Path("/bin/echo"), ["hello"], cpu=None)
    with pytest.raises(BenchError):
        run_bench(Path("/nonexistent"), [], cpu=None)
    with pytest.raises(BenchError, match="ended with 1"):
        run_bench(Path("/bin/false"), [], cpu=None)


def test_a_broken_compiler_is_bad_input(tmp_path: Path) -> None:
    broken = Builder(Compiler(("/bin/false",), "1"), tmp_path / "cache")
    with pytest.raises(BadInput, match="does not compile"):
        measure_rows([VALUE], out=tmp_path / "s", budget_s=1, seed=0, progress=print, builder=broken)
