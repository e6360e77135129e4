"""A store keeps what it has: nothing foreign is overwritten, merging loses nothing."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from calibration.errors import BadInput
from experiments.store_files import export_store, merge_stores, read_store
from experiments.sweep import run_sweep
from tests.experiments.sweep_support import rows, small


def _other_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table points (a)")
    connection.commit()
    connection.close()


FOREIGN: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("not a database, but the only copy of my thesis\n" * 100),
    "bytes": lambda path: path.write_bytes(b"SQLite format 3\0" + b"\xff" * 2000),
    "database": _other_database,
    "directory": Path.mkdir,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_stays_as_it_is(machine_path: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mine"
    FOREIGN[kind](path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(BadInput, match="mine"):
        run_sweep(small(machine_path), store=path, workers=1)
    assert (path.read_bytes() if path.is_file() else b"") == before
    with pytest.raises(BadInput, match="mine"):
        merge_stores([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_file_becomes_a_store(machine_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    run_sweep(small(machine_path), store=path, workers=1)
    assert len(rows(path)) == 8


@pytest.mark.parametrize(
    "change", [{"seed": 3}, {"breakdown": True}, {"constraints": ("rss > 0",)}, {"axes": {"rss": ["1MiB"]}}]
)
def test_the_store_of_another_sweep_stays_as_it_is(
    machine_path: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "a"
    run_sweep(small(machine_path), store=path, workers=1)
    before = path.read_bytes()
    with pytest.raises(BadInput, match="another sweep"):
        run_sweep(small(machine_path, **change), store=path, workers=1)
    assert path.read_bytes() == before


def test_a_machine_file_that_changed_is_told(machine_path: Path, tmp_path: Path) -> None:
    machine = tmp_path / "machine.toml"
    machine.write_text(machine_path.read_text())
    run_sweep(small(machine), store=tmp_path / "a", workers=1)
    machine.write_text(machine_path.read_text() + "\n# calibrated again\n")
    with pytest.raises(BadInput, match="has changed since"):
        run_sweep(small(machine), store=tmp_path / "a", workers=1)


def test_a_store_that_cannot_be_written_is_told(machine_path: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be opened"):
        run_sweep(small(machine_path), store=tmp_path / "no" / "such", workers=1)


def _shards(machine_path: Path, tmp_path: Path, parts: int = 2) -> list[Path]:
    paths = [tmp_path / f"shard{index}" for index in range(1, parts + 1)]
    for index, path in enumerate(paths, start=1):
        run_sweep(small(machine_path), store=path, workers=1, shard=(index, parts))
    return paths


def test_merging_shards_gives_the_store_of_the_whole(machine_path: Path, tmp_path: Path) -> None:
    run_sweep(small(machine_path), store=tmp_path / "whole", workers=1)
    paths = _shards(machine_path, tmp_path)
    assert merge_stores(paths, tmp_path / "out") == (8, 0)
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")
    assert merge_stores(paths[::-1], tmp_path / "back") == (8, 0)
    assert rows(tmp_path / "back") == rows(tmp_path / "whole")
    run_sweep(small(machine_path), store=tmp_path / "out", workers=1)
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")


def test_merging_into_a_shard_keeps_its_rows(machine_path: Path, tmp_path: Path) -> None:
    first, second = _shards(machine_path, tmp_path)
    assert merge_stores([second], first) == (8, 0)
    assert merge_stores([first, second], first) == (8, 0)


def test_merging_over_another_file_is_refused(machine_path: Path, tmp_path: Path) -> None:
    paths = _shards(machine_path, tmp_path)
    out = tmp_path / "letter.txt"
    out.write_text("dear reader")
    with pytest.raises(BadInput, match="letter"):
        merge_stores(paths, out)
    assert out.read_text() == "dear reader"
    assert sorted(each.name for each in tmp_path.iterdir() if each.name.startswith(".")) == []


def test_stores_of_different_sweeps_do_not_merge(machine_path: Path, tmp_path: Path) -> None:
    run_sweep(small(machine_path), store=tmp_path / "a", workers=1)
    run_sweep(small(machine_path, seed=1), store=tmp_path / "b", workers=1)
    with pytest.raises(BadInput, match="b: it holds another sweep"):
        merge_stores([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_point_that_failed_once_and_not_again_is_done(machine_path: Path, tmp_path: Path) -> None:
    for name in "ab":
        run_sweep(small(machine_path), store=tmp_path / name, workers=1)
    _spoil(tmp_path / "a", "results = null, error = 'no luck'")
    for order in ("ab", "ba"):
        assert merge_stores([tmp_path / name for name in order], tmp_path / f"out{order}") == (8, 0)
        assert rows(tmp_path / f"out{order}") == rows(tmp_path / "b")


def test_stores_that_disagree_do_not_merge(machine_path: Path, tmp_path: Path) -> None:
    for name in "ab":
        run_sweep(small(machine_path), store=tmp_path / name, workers=1)
    _spoil(tmp_path / "a", "results = '{}'")
    with pytest.raises(BadInput, match="disagrees with another about point 3"):
        merge_stores([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _spoil(path: Path, change: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"update points set {change} where number = 3")
    connection.commit()
    connection.close()


def test_a_store_of_many_rows_is_read_in_little_room(machine_path: Path, tmp_path: Path) -> None:
    """Reading takes a small multiple of what the columns hold, not of the JSON that they come from."""
    run_sweep(small(machine_path), store=tmp_path / "a", workers=1)
    connection = sqlite3.connect(tmp_path / "a")
    inputs, results = connection.execute("select inputs, results from points where number = 3").fetchone()
    many = ((number, f"{number:032x}", inputs, results, None) for number in range(100, 20_100))
    connection.executemany("insert into points values (?, ?, ?, ?, ?)", many)
    connection.commit()
    connection.close()
    tracemalloc.start()
    frame = read_store(tmp_path / "a")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(frame) == 20_008
    assert peak_bytes < 3 * 8 * frame.size + 200 * len(frame)


def test_rows_with_other_columns_stand_in_one_frame(machine_path: Path, tmp_path: Path) -> None:
    """A failed point has no results, a whole number stays one where no row lacks it."""
    frame = run_sweep(small(machine_path, axes={"rss": ["1MiB"], "parent.vmas": [2, 64]}), workers=1)
    assert list(frame.columns[:2]) == ["number", "key"]
    assert frame.columns[-1] == "error"
    assert frame["parent.vmas"].dtype == "int64"
    assert list(frame["call_us_p50"].isna()) == [True, True, False, False]
    assert list(frame["cause"].isna()) == [True, True, False, False]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_exported_rows_are_those_of_the_store(machine_path: Path, tmp_path: Path, ending: str) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    run_sweep(small(machine_path), store=tmp_path / "a", workers=1)
    out = tmp_path / f"out.{ending}"
    export_store(tmp_path / "a", out)
    found = pd.read_csv(out) if ending == "csv" else pd.read_parquet(out)
    assert found.pop("error").isna().all()
    expected = read_store(tmp_path / "a").drop(columns="error")
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_index_type=False)


def test_an_unknown_format_is_refused(machine_path: Path, tmp_path: Path) -> None:
    run_sweep(small(machine_path), store=tmp_path / "a", workers=1)
    with pytest.raises(BadInput, match="tells no format"):
        export_store(tmp_path / "a", tmp_path / "out.xlsx")
