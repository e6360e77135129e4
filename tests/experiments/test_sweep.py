"""A sweep's rows: what predict says of each point, whatever the executor, the shards, the interruptions."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from calibration.capture.sizes import parse_size
from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from calibration.machine_file import read_machine_file
from experiments import evaluate
from experiments.answers import answer
from experiments.evaluate import Done, evaluate_block, row_of, rows_of
from experiments.executors import local_executor
from experiments.points import Point, points_of
from experiments.scenarios import Question, rules_of, target_of
from experiments.store_files import read_store
from experiments.sweep import run_sweep
from experiments.sweep_plan import plan_of
from experiments.sweep_spec import Sweep, read_sweep
from experiments.sweep_ways import Tally
from model.mechanisms import MECHANISMS
from tests.experiments.sweep_support import rows, small


def test_a_row_is_what_predict_says(machine_path: Path) -> None:
    frame = run_sweep(small(machine_path, axes={"rss": ["64MiB"], "thp": ["off"]}), workers=1)
    file = read_machine_file(machine_path)
    target, _ = target_of("none")
    question = Question(
        parent=synthetic_parent(parse_size("64MiB")),
        target=target,
        mechanisms=("fork", "vfork"),
        rules=rules_of(file.machine),
        helpers={},
    )
    document = answer(question, file)
    predictions = document["predictions"]
    assert list(frame["via"]) == ["fork", "vfork"]
    for (_, row), prediction in zip(frame.iterrows(), predictions, strict=True):
        for milestone, found in prediction["milestones_us"].items():
            assert {name: row[f"{milestone}_us_{name}"] for name in found} == found
        codes = {each["code"] for each in (*prediction["warnings"], *document["warnings"])}
        shared = {each["code"] for each in prediction["warnings"]} | {"assumed_contiguity", "assumed_writable"}
        assert set(row["warnings"].split()) == codes & shared
        assert row["cause"] == prediction["main_causes"]["reaped"]["name"]


@pytest.mark.parametrize("via", sorted(MECHANISMS))
def test_every_mechanism_has_a_row_with_a_time(machine_path: Path, via: str) -> None:
    frame = run_sweep(Sweep(base={"machine": str(machine_path), "parent": "jvm-256m", "via": via}), workers=1)
    assert frame["error"].isna().all()
    assert (frame["reaped_us_p50"] > 0).all()


def test_the_order_of_rows_is_that_of_points_whatever_the_executor(machine_path: Path, tmp_path: Path) -> None:
    sweep = small(machine_path)
    ways: dict[str, dict[str, Any]] = {
        "serial": {"workers": 1},
        "processes": {"workers": 2},
        "threads": {"executor": ThreadPoolExecutor(3)},
    }
    found = {}
    for name, way in ways.items():
        run_sweep(sweep, store=tmp_path / name, **way)
        found[name] = rows(tmp_path / name)
    assert found["serial"] == found["processes"] == found["threads"]
    assert [row[0] for row in found["serial"]] == list(range(8))


def test_a_failing_point_is_a_row_and_the_others_go_on(machine_path: Path, tmp_path: Path) -> None:
    sweep = small(machine_path, axes={"rss": ["1MiB", "64MiB"], "parent.vmas": [2, 64]})
    frame = run_sweep(sweep, store=tmp_path / "a", workers=1)
    failed = frame[frame["error"].notna()]
    assert set(failed["parent.vmas"]) == {2}
    assert len(failed) == len(frame) / 2
    assert frame[frame["error"].isna()]["reaped_us_p50"].gt(0).all()
    assert failed["error"].str.contains("already").all()


def test_a_file_of_an_axis_fails_its_points_one_of_the_base_the_sweep(machine_path: Path, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    sweep = Sweep(base={"machine": str(machine_path), "rss": "1MiB", "via": "vfork"}, axes={"exec": ["none", gone]})
    assert list(run_sweep(sweep, workers=1)["error"].isna()) == [True, False]
    for key in ("machine", "parent", "exec"):
        with pytest.raises(BadInput, match=rf"base\.{key}: {gone}"):
            run_sweep(Sweep(base={key: gone, "via": "vfork"}), workers=1)


def test_only_failed_points_are_computed_again_with_retry(
    machine_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, store = small(machine_path), tmp_path / "a"
    whole = run_sweep(sweep, workers=1)
    honest = evaluate.results_of

    def ill(plan: object, inputs: dict[str, object], *known: object) -> dict[str, object]:
        if inputs["thp"] == "on":
            raise RuntimeError("out of luck")
        return honest(plan, inputs, *known)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(evaluate, "results_of", ill)
        assert run_sweep(sweep, store=store, workers=1)["error"].notna().sum() == 4
    assert run_sweep(sweep, store=store, workers=1)["error"].notna().sum() == 4
    assert run_sweep(sweep, store=store, workers=1, only="2")["error"].notna().sum() == 3
    pd.testing.assert_frame_equal(run_sweep(sweep, store=store, workers=1, retry=True), whole)
    assert [run[0] for run in _runs(store, "points")] == [8, 0, 1, 3]


def _runs(store: Path, column: str) -> list[tuple[int]]:
    connection = sqlite3.connect(store)
    found = connection.execute(f"select {column} from runs order by id").fetchall()
    connection.close()
    return found


def test_points_that_are_equal_are_one_row(machine_path: Path, tmp_path: Path) -> None:
    axes = {"rss": ["1MiB", "2MiB", "1MiB", "2MiB"], "thp": ["on", "on", "on", "off"]}
    sweep = small(machine_path, axes=axes, method="zip")
    run_sweep(sweep, store=tmp_path / "a", workers=1)
    found = rows(tmp_path / "a")
    assert [row[0] for row in found] == [0, 1, 2, 3, 6, 7]
    assert len({row[1] for row in found}) == 6


def test_a_key_is_the_content_of_its_point(machine_path: Path, tmp_path: Path) -> None:
    sweep = small(machine_path, replicates=2)
    keys = [plan_of(sweep).key(each.inputs) for each in points_of(sweep)]
    assert len(set(keys)) == len(keys) == 16
    other = tmp_path / "other.toml"
    text = machine_path.read_text()
    other.write_text(text.replace("[costs.syscall]\nns = 120", "[costs.syscall]\nns = 121"))
    assert other.read_text() != text
    changed = small(other, replicates=2)
    assert not set(keys) & {plan_of(changed).key(each.inputs) for each in points_of(changed)}


def test_shards_are_disjoint_and_whole(machine_path: Path, tmp_path: Path) -> None:
    sweep = small(machine_path, axes={"rss": {"low": 1 << 20, "high": 1 << 30, "count": 20}})
    run_sweep(sweep, store=tmp_path / "whole", workers=1)
    parts = []
    for index in (1, 2, 3):
        run_sweep(sweep, store=tmp_path / str(index), workers=1, shard=(index, 3))
        parts.append(rows(tmp_path / str(index)))
    assert all(parts)
    assert sorted(row for part in parts for row in part) == rows(tmp_path / "whole")


def test_a_worker_that_dies_costs_one_point(machine_path: Path, tmp_path: Path) -> None:
    sweep = small(machine_path, axes={"rss": {"low": 1 << 20, "high": 1 << 30, "count": 12}})
    frame = run_sweep(sweep, store=tmp_path / "a", workers=2, evaluate=_deadly)
    honest = run_sweep(sweep, workers=1)
    dead = frame["error"].notna()
    assert list(frame["number"][dead]) == [7]
    assert "worker died" in frame["error"][dead].iloc[0]
    columns = ["number", "key", "reaped_us_p50"]
    pd.testing.assert_frame_equal(frame[~dead][columns], honest[~dead][columns])


def _deadly(identity: str, packed: bytes, version: str, points: Sequence[Point]) -> Done:
    if any(each.number == 7 for each in points):
        os.kill(os.getpid(), 9)
    return evaluate_block(identity, packed, version, points)


def test_a_given_executor_that_breaks_ends_the_run_and_keeps_the_rows(machine_path: Path, tmp_path: Path) -> None:
    sweep = small(machine_path, axes={"rss": {"low": 1 << 20, "high": 1 << 30, "count": 12}})
    with local_executor(2) as executor, pytest.raises(BadInput, match="give a new one"):
        run_sweep(sweep, store=tmp_path / "a", executor=executor, workers=1, evaluate=_deadly)
    assert all(row[4] is None for row in rows(tmp_path / "a"))
    run_sweep(sweep, store=tmp_path / "a", workers=1)
    run_sweep(sweep, store=tmp_path / "b", workers=1)
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_progress_ends_where_it_said_it_would(machine_path: Path) -> None:
    seen: list[tuple[int, int, float | None]] = []

    def told(tally: Tally) -> None:
        seen.append((tally.done, tally.expected, tally.left_s))

    axes = {"rss": {"low": 1 << 20, "high": 1 << 30, "count": 50}, "fds": {"low": 3, "high": 99, "count": 30}}
    sweep = small(machine_path, axes=axes, constraints=("rss > 524288000 or fds < 10",))
    frame = run_sweep(sweep, workers=1, progress=told)
    assert 0 < len(frame) < 3000
    assert seen[-1] == (len(frame), len(frame), 0.0)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    middle = [expected for done, expected, _ in seen if done]
    assert min(middle) > 0
    assert all(left is None or left >= 0.0 for _, _, left in seen)


def test_another_version_of_the_model_is_refused(machine_path: Path) -> None:
    sweep = small(machine_path)
    plan = plan_of(sweep)
    with pytest.raises(BadInput, match="install the same spawncost"):
        evaluate_block(plan.identity, plan.packed, "another", [])


def test_what_is_no_fault_of_a_point_ends_the_run(machine_path: Path) -> None:
    def broken(*_: object) -> Done:
        raise ModuleNotFoundError("experiments")

    with pytest.raises(BadInput, match="ModuleNotFoundError"):
        run_sweep(small(machine_path), workers=1, evaluate=broken)


def test_workers_end_with_their_parent() -> None:
    with local_executor(2) as executor:
        pid = executor.submit(os.getpid).result()
    assert pid != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_point_alone_gives_the_same_row(machine_path: Path, tmp_path: Path) -> None:
    sweep = small(machine_path)
    run_sweep(sweep, store=tmp_path / "a", workers=1)
    plan = plan_of(sweep)
    point = list(points_of(sweep))[5]
    row = row_of(plan, point)
    assert rows(tmp_path / "a")[5] == (row.number, row.key, row.inputs, row.results, row.error)


def test_breakdown_sums_to_the_last_milestone(machine_path: Path, tmp_path: Path) -> None:
    run_sweep(small(machine_path, breakdown=True), store=tmp_path / "a", workers=1)
    for _, _, _, results, _ in rows(tmp_path / "a"):
        found = json.loads(results)
        for parts in ("breakdown_us", "by_kind_us"):
            assert sum(found[parts].values()) == pytest.approx(found["reaped_us"]["p50"], rel=1e-3)


def test_the_library_takes_a_file_and_reads_its_store(machine_path: Path, tmp_path: Path) -> None:
    from tests.experiments.sweep_support import specification

    path = specification(tmp_path / "a.toml", machine_path)
    frame = run_sweep(path, store=tmp_path / "a.db", workers=1)
    pd.testing.assert_frame_equal(frame, read_store(tmp_path / "a.db"))
    assert read_sweep(path).name == "a"
    plain = pd.read_sql("select * from points", sqlite3.connect(tmp_path / "a.db"))
    assert list(plain.columns) == ["number", "key", "inputs", "results", "error"]
    assert len(plain) == 8


REST: dict[str, list[Any]] = {
    "parent.highest_fd": [2, 500],
    "parent.cloexec_fds": [0, 3],
    "parent.limits.processes_left": [0, 1],
    "page_cache": ["warm", "cold"],
    "thp_fallback": [0.0, 0.5],
    "spawn.migrates": ["false", "true"],
    "spawn.runs_main": ["false", "true"],
    "spawn.argv_bytes": [0, 100_000],
}


@pytest.mark.parametrize("name", REST)
def test_what_the_command_line_has_no_option_for_can_be_an_axis(machine_path: Path, name: str) -> None:
    """It acts, and rows are the same text whether many points are asked together or each alone."""
    base = {"machine": str(machine_path), "via": ["fork"], "rss": "64MiB"}
    more = {"thp": "on"} if name == "thp_fallback" else {}
    contiguous = {"low": 0.1, "high": 0.9, "count": 8}
    sweep = Sweep(base=base | more, axes={name: REST[name], "parent.contiguous": contiguous})
    plan, points = plan_of(sweep), list(points_of(sweep))
    together = rows_of(plan, points)
    assert together == [rows_of(plan, [each])[0] for each in points]
    first, second = (together[at].results for at in (0, len(points) // 2))
    assert first is not None
    assert first != second
