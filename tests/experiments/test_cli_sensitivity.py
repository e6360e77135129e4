"""sensitivity on the command line, and the tornado that it draws."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main as cli
from experiments.executors import SerialExecutor
from experiments.figures import rendered
from experiments.sensitivity import sensitivities
from experiments.sweep_spec import read_sweep
from experiments.tornado import tornado_figure


@pytest.fixture
def spec(tmp_path: Path, machine_path: Path) -> Path:
    path = tmp_path / "some.toml"
    path.write_text(
        f"""schema = "spawncost.sweep/1"
base = {{ machine = "{machine_path}", exec = "none", via = ["fork", "vfork"] }}
method = "sobol"
samples = 64
[axes]
rss = {{ low = "16MiB", high = "4GiB", scale = "log" }}
thp = ["off", "on"]
fds = {{ low = 3, high = 300 }}
"""
    )
    return path


def _document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert cli.main(["sensitivity", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_document_holds_indices_with_bounds(capsys: pytest.CaptureFixture[str], spec: Path) -> None:
    document = _document(capsys, str(spec), "--workers", "2")
    assert document["schema"] == "spawncost.sensitivity/1"
    fork, vfork = document["mechanisms"]
    assert (fork["mechanism"], vfork["mechanism"], fork["milestone"]) == ("fork", "vfork", "call")
    assert {each["factor"] for each in fork["axes"]} == {"rss", "thp", "fds", "prices"}
    for index in (*fork["axes"], *fork["prices"]):
        assert index["first_lo"] <= index["first"] <= index["first_hi"]
        assert index["total_lo"] <= index["total"] <= index["total_hi"]
    assert _document(capsys, str(spec), "--workers", "1") == document


def test_the_logarithm_gives_other_shares(capsys: pytest.CaptureFixture[str], spec: Path) -> None:
    plain, log = (_document(capsys, str(spec), *more)["mechanisms"][0]["axes"] for more in ((), ("--log",)))
    assert {each["factor"]: each["total"] for each in plain} != {each["factor"]: each["total"] for each in log}


def test_the_table_and_the_figure(capsys: pytest.CaptureFixture[str], tmp_path: Path, spec: Path) -> None:
    out = tmp_path / "tornado.svg"
    assert cli.main(["sensitivity", str(spec), "--samples", "32", "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^ +rss +\d\.\d\d", shown, re.MULTILINE)
    assert "-0.00" not in shown
    assert "written memory of the parent" in out.read_text()


def test_the_bars_of_a_tornado_meet_at_the_centre(spec: Path) -> None:
    with SerialExecutor() as executor:
        found = sensitivities(read_sweep(spec), executor, samples=32)
    figure = tornado_figure(found, title="some")
    assert len(figure.axes) == 6
    for axes, each in zip(figure.axes[::3], found, strict=True):
        ends = {round(bar.get_x() + width, 6) for bar in axes.patches for width in (0.0, bar.get_width())}  # type: ignore[attr-defined]
        assert round(each.centre_us, 6) in ends
        told = {
            round(end, 6)
            for swing in each.swings
            if not swing.price and swing.width_us
            for end in (swing.low_us, swing.high_us)
        }
        assert told <= ends
    assert rendered(figure, "png").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("gone.toml",), "gone.toml"),
        (("SPEC", "--milestone", "main"), "--milestone main"),
        (("SPEC", "--milestone", "tea"), "--milestone tea"),
        (("SPEC", "--samples", "3"), "--samples"),
        (("SPEC", "-o", "a.gif"), "a.gif"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], spec: Path, arguments: tuple[str, ...], named: str
) -> None:
    assert cli.main(["sensitivity", *(str(spec) if each == "SPEC" else each for each in arguments)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"spawncost: error: .+: .+ \(.+\)\n", told.err), told.err
    assert named in told.err
