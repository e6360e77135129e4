"""A file of samples survives crashes, and says where it is damaged; quiet times are low quantiles."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import BadInput
from calibration.loudness import loud
from calibration.observations import interval_value, observations, process_differences
from calibration.quality import halves_apart, noise_floor
from calibration.quantiles import quantile
from calibration.samples import SCHEMA, Run, Sample, SampleWriter, append_run, read_runs
from model.rules import Rules

TIMES = st.floats(1, 1e9)


def make_run(process: int, calls: list[float], *, row: str = "row", round_: int = 0) -> Run:
    warm = [Sample(rep=-2, call_ns=1e9, reaped_ns=2e9), Sample(rep=-1, call_ns=1.0, reaped_ns=2.0)]
    samples = [Sample(rep=i, call_ns=ns, reaped_ns=2 * ns, child_cpu=i % 2) for i, ns in enumerate(calls)]
    return Run(
        row=row,
        bench="fork_touched",
        args=("--pages", "5"),
        process=process,
        round=round_,
        pinned=True,
        pass_="quiet",
        header={"contiguous": None, "vmas": 24},
        samples=(*warm, *samples),
    )


def write(path: Path, *runs: Run) -> Path:
    with SampleWriter(path, {"date": "today"}) as writer:
        for run in runs:
            append_run(writer, run)
    return path


@given(st.lists(st.lists(TIMES, min_size=1, max_size=4), min_size=1, max_size=4))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, calls: list[list[float]]) -> None:
    runs = tuple(make_run(i, ns) for i, ns in enumerate(calls))
    path = write(tmp_path_factory.mktemp("samples") / "s.jsonl", *runs)
    file = read_runs(path)
    assert file.runs == runs
    assert file.circumstances == {"date": "today"}


def test_a_half_written_last_line_is_left_out_and_cut_when_continued(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", make_run(0, [1.0]), make_run(1, [2.0]))
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert [run.process for run in read_runs(path).runs] == [0]
    write(path, make_run(2, [3.0]))
    assert [run.process for run in read_runs(path).runs] == [0, 2]
    assert len(path.read_bytes().splitlines()) == 3


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda line: b"{" + line, "not JSON"),
        (lambda line: b"[1]", "not an object"),
        (lambda line: line.replace(b'"process":0', b'"process":"some"'), "process"),
        (lambda line: line.replace(b'"row":"row",', b""), "row"),
        (lambda line: line.replace(b'"samples"', b'"sample"'), "samples"),
        (lambda line: line.replace(b'"kind":"run"', b'"kind":"walk"'), "kind"),
        (lambda line: line.replace(b'"child_cpu":[null,null,0]', b'"child_cpu":[0]'), "different lengths"),
        (lambda line: line.replace(b'"call_ns":[1000000000.0', b'"call_ns":["soon"'), "call_ns"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, change: Any, why: str) -> None:
    path = write(tmp_path / "s.jsonl", make_run(0, [1.0]))
    first, line = path.read_bytes().splitlines()
    assert change(line) != line
    path.write_bytes(b"\n".join([first, change(line), b""]))
    with pytest.raises(BadInput) as caught:
        read_runs(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert why in str(caught.value)


@pytest.mark.parametrize("text", ["", '{"schema":"spawncost.samples/2"}\n', "{}\n"])
def test_another_schema_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"schema|empty"):
        read_runs(path)


def test_no_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read_runs(tmp_path / "missing")
    with pytest.raises(BadInput):
        SampleWriter(tmp_path, {})


def test_a_file_of_another_kind_is_not_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\n")
    with pytest.raises(BadInput):
        SampleWriter(path, {})
    assert path.read_text() == "dear diary\n"


def test_a_full_disk_is_bad_input() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with pytest.raises(BadInput, match="No space left"):
        SampleWriter(Path("/dev/full"), {})


def test_the_first_line_names_the_schema(tmp_path: Path) -> None:
    path = write(tmp_path / "deep" / "s.jsonl")
    assert json.loads(path.read_text())["schema"] == SCHEMA


def test_of_a_repeated_run_the_quiet_one_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    with SampleWriter(path, {}) as writer:
        for round_, quiet in ((0, False), (1, True), (2, False)):
            append_run(writer, make_run(0, [10.0 + round_], round_=round_))
            writer.append({"kind": "round", "round": round_, "fork_ns": 1.0, "chase_ns": 1.0, "quiet": quiet})
        append_run(writer, make_run(1, [99.0], round_=0))
    kept = read_runs(path).kept()["row"]
    assert [(run.process, run.round) for run in kept] == [(0, 1), (1, 0)]


@pytest.mark.parametrize("quiet, stay", [(0, 3), (1, 4), (2, 2), (5, 5)])
def test_loud_processes_count_only_where_too_few_are_quiet(tmp_path: Path, quiet: int, stay: int) -> None:
    """Judged with all rounds known: the gate saw the loud ones first, and let them pass."""
    path = tmp_path / "s.jsonl"
    with SampleWriter(path, {}) as writer:
        for process in range(3 + quiet):
            append_run(writer, make_run(process, [10.0], round_=process))
        for round_ in range(40):
            fork_ns = 50.0 if round_ < 3 else 38.0 + round_ % 3
            writer.append({"kind": "round", "round": round_, "fork_ns": fork_ns, "chase_ns": 1.0, "quiet": True})
    found = read_runs(path)
    assert found.loud == {0, 1, 2}
    assert len(found.kept()["row"]) == stay


def test_a_chase_that_found_its_cache_taken_is_loud_too() -> None:
    assert loud([(38.0, 100.0), (38.0, 151.0), (38.0, 100.0), (39.0, 140.0)]) == [False, True, False, False]
    assert loud([]) == []


@given(st.lists(TIMES, min_size=1), st.floats(0, 1))
def test_a_quantile_lies_within_its_values(values: list[float], q: float) -> None:
    assert min(values) <= quantile(values, q) <= max(values) * (1 + 1e-12)
    assert quantile(values, 0) == min(values)
    assert quantile(values, 1) == max(values)


def test_nothing_has_no_quantile() -> None:
    assert math.isnan(quantile([], 0.5))
    assert math.isnan(interval_value([], "", "call")[0])


def test_warm_ups_do_not_count() -> None:
    assert process_differences([make_run(0, [5.0, 7.0])], "", "call") == [pytest.approx(5.2)]


def test_a_milestone_that_was_not_taken_has_no_value() -> None:
    assert process_differences([make_run(0, [5.0])], "", "main") == []
    assert process_differences([make_run(0, [5.0])], "main", "call") == []


@given(st.lists(st.lists(TIMES, min_size=1, max_size=9), min_size=2, max_size=12), st.floats(1.5, 100))
def test_a_disturbed_repetition_does_not_move_the_quiet_time_down(calls: list[list[float]], factor: float) -> None:
    quiet, *_ = interval_value([make_run(i, ns) for i, ns in enumerate(calls)], "", "call")
    slowed = [[ns[0] * factor, *ns[1:]] for ns in calls]
    assert interval_value([make_run(i, ns) for i, ns in enumerate(slowed)], "", "call")[0] >= quiet * (1 - 1e-12)


def test_the_error_shrinks_with_processes_and_is_the_same_each_time() -> None:
    runs = [make_run(i, [100.0 + i * 7 % 13]) for i in range(64)]
    few, many = interval_value(runs[:8], "", "call"), interval_value(runs, "", "call")
    assert many == interval_value(runs, "", "call")
    assert 0 < many[1] < few[1]
    assert math.isnan(interval_value(runs[:1], "", "call")[1])


def test_equal_halves_are_not_apart_and_unequal_ones_are() -> None:
    same = [make_run(i, [100.0]) for i in range(8)]
    odd = [make_run(i, [100.0 + 10 * (i % 2)]) for i in range(8)]
    assert halves_apart(same, "call") == 0
    assert halves_apart(odd, "call") == pytest.approx(math.log(1.1))
    assert math.isnan(halves_apart(same[:3], "call"))
    assert noise_floor({"same": same, "odd": odd}) == pytest.approx(math.log(1.1) / 2)


@pytest.mark.parametrize("lost_ns, found", [(0.0, 0), (5e3, 1)])
def test_a_row_that_took_no_time_is_no_observation(tmp_path: Path, lost_ns: float, found: int) -> None:
    """What a flush takes from its victim is a difference, which is nothing where others disturb the rest as much."""
    samples = tuple(Sample(rep=rep, value_ns=lost_ns) for rep in range(9))
    runs = [
        replace(make_run(process, []), row="flush-victim", bench="shootdown", samples=samples) for process in range(3)
    ]
    assert len(observations(read_runs(write(tmp_path / "s.jsonl", *runs)), Rules())) == found
