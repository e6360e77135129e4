"""sweep, merge and plot on the command line: status, what goes where, what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.cli import main as cli
from tests.experiments.sweep_support import ROOT, rows, specification


def _document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert cli.main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def spec(tmp_path: Path, machine_path: Path) -> str:
    return str(specification(tmp_path / "some.toml", machine_path))


def test_a_sweep_reports_what_it_did(capsys: pytest.CaptureFixture[str], tmp_path: Path, spec: str) -> None:
    store = str(tmp_path / "a.db")
    first = _document(capsys, "sweep", spec, "--store", store, "--workers", "1")
    assert (first["rows"], first["computed_now"], first["found"], first["failed"]) == (8, 8, 0, 0)
    again = _document(capsys, "sweep", spec, "--store", store, "--workers", "1")
    assert (again["rows"], again["computed_now"], again["found"]) == (8, 0, 8)
    one = _document(capsys, "sweep", spec, "--store", store, "--point", "3", "--workers", "1")
    assert (one["rows"], one["computed_now"]) == (8, 1)


def test_failing_points_leave_the_status_0_and_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, machine_path: Path
) -> None:
    spec = str(specification(tmp_path / "some.toml", machine_path, axes='"parent.vmas" = [2, 64]'))
    assert cli.main(["sweep", spec, "--store", str(tmp_path / "a"), "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    assert "16 rows" in shown
    assert "8 failed" in shown
    assert "--point 0" in shown
    assert _document(capsys, "sweep", spec, "--store", str(tmp_path / "a"), "--retry")["failed_now"] == 8


def test_shards_and_merge(capsys: pytest.CaptureFixture[str], tmp_path: Path, spec: str) -> None:
    parts = [str(tmp_path / f"{index}.db") for index in (1, 2)]
    for index, part in enumerate(parts, start=1):
        assert cli.main(["sweep", spec, "--store", part, "--shard", f"{index}/2", "--workers", "1"]) == 0
    assert cli.main(["sweep", spec, "--store", str(tmp_path / "whole"), "--workers", "1"]) == 0
    capsys.readouterr()
    assert _document(capsys, "merge", *parts, "-o", str(tmp_path / "out.db"))["rows"] == 8
    assert rows(tmp_path / "out.db") == rows(tmp_path / "whole")


def test_export_and_plot(capsys: pytest.CaptureFixture[str], tmp_path: Path, spec: str) -> None:
    store, table, figure = str(tmp_path / "a.db"), tmp_path / "a.csv", tmp_path / "a.svg"
    assert cli.main(["sweep", spec, "--store", store, "--workers", "1", "--export", str(table)]) == 0
    assert len(pd.read_csv(table)) == 8
    assert cli.main(["plot", store, "-o", str(figure), "--milestone", "reaped", "--where", "rss=8GiB"]) == 2
    assert "nothing varies" in capsys.readouterr().err
    assert cli.main(["plot", store, store, "-o", str(figure), "--title", "my title"]) == 0
    assert "my title" in figure.read_text()


def test_measured_points_are_read_as_a_specification_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, spec: str
) -> None:
    store, points, figure = str(tmp_path / "store"), tmp_path / "points.csv", tmp_path / "figure.svg"
    assert cli.main(["sweep", spec, "--store", store]) == 0
    plot = ["plot", store, "-o", str(figure), "--measured", str(points)]
    points.write_text("rss,via,call_us\n16MiB,fork,300\n1073741824,vfork,80.5\n")
    assert cli.main(plot) == 0
    capsys.readouterr()
    for text, said in {"16MiB,fork,": "call_us", "16 parsecs,fork,3": "rss", "16MiB,spork,3": "via"}.items():
        points.write_text(f"rss,via,call_us\n{text}\n")
        _refused(capsys, f"{points}: {said}", *plot)
    points.write_text("rss,via,call_us\n16MiB,vfork,300\n")
    _refused(capsys, "--where", *plot, "--where", "via=fork")


def test_progress_goes_to_stderr_and_json_is_all_of_stdout(tmp_path: Path, spec: str) -> None:
    command = [sys.executable, "-m", "experiments.cli.main", "sweep", spec, "--store", str(tmp_path / "a"), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    assert json.loads(done.stdout)["rows"] == 8


def _refused(capsys: pytest.CaptureFixture[str], named: str, *arguments: str) -> None:
    assert cli.main(list(arguments)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"spawncost: error: .+: .+ \(.+\)\n", told.err), told.err
    assert named in told.err


def test_what_cannot_be_used_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, spec: str
) -> None:
    store = str(tmp_path / "a.db")
    _refused(capsys, "gone.toml", "sweep", "gone.toml", "--store", store)
    _refused(capsys, "--store", "sweep", spec)
    _refused(capsys, "--shard 3/2", "sweep", spec, "--store", store, "--shard", "3/2")
    _refused(capsys, "--shard 0/2", "sweep", spec, "--store", store, "--shard", "0/2")
    _refused(capsys, "--workers", "sweep", spec, "--store", store, "--workers", "0")
    _refused(capsys, "--dask", "sweep", spec, "--store", store, "--dask", "tcp://x:1", "--workers", "2")
    assert not Path(store).exists()
    garbage = tmp_path / "garbage"
    garbage.write_text("the only copy")
    _refused(capsys, "garbage", "sweep", spec, "--store", str(garbage))
    _refused(capsys, "garbage", "merge", str(garbage), "-o", store)
    _refused(capsys, "garbage", "plot", str(garbage), "-o", str(tmp_path / "a.png"))
    assert garbage.read_text() == "the only copy"
    assert cli.main(["sweep", spec, "--store", store, "--workers", "1"]) == 0
    capsys.readouterr()
    _refused(capsys, "--point 99", "sweep", spec, "--store", store, "--point", "99")
    _refused(capsys, "a.gif", "plot", store, "-o", str(tmp_path / "a.gif"))
    _refused(capsys, "--where colour=red", "plot", store, "-o", str(tmp_path / "a.png"), "--where", "colour=red")
    _refused(capsys, "--x", "plot", store, "-o", str(tmp_path / "a.png"), "--x", "colour")
    _refused(capsys, "no/such", "plot", store, "-o", str(tmp_path / "no/such/a.png"))


def test_importing_the_table_of_contents_stays_light() -> None:
    code = "import sys, experiments; experiments.Question; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    )
    loaded = set(done.stdout.split())
    assert not {"pandas", "scipy", "matplotlib", "sqlite3", "experiments.sweep"} & loaded
