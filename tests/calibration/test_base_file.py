"""What a machine file inherits is asked for by name, and refused before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration import machine_file
from calibration.calibrate import NOTHING, base_file
from calibration.errors import BadInput
from experiments.cli import main as cli
from tests.experiments.plausible import OTHER_HOST, write_plausible


def test_nothing_is_inherited_where_none_is_asked_or_bundled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert base_file(NOTHING) is None
    bundled = base_file()
    assert bundled is not None
    assert bundled.origin == "bundled"
    monkeypatch.setattr(machine_file, "BUNDLED_DIRECTORY", tmp_path)
    assert base_file() is None


def test_a_base_is_found_by_path(tmp_path: Path) -> None:
    found = base_file(str(write_plausible(tmp_path / "other.toml", this_host=False)))
    assert found is not None
    assert found.machine.name == OTHER_HOST


def test_an_unknown_base_is_refused_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="nosuch"):
        base_file("nosuch")
    assert cli.main(["calibrate", "--base", "nosuch", "--out", str(tmp_path / "out.toml")]) == 2
    assert "nosuch" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
