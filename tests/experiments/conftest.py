"""Fixtures: a machine file that depends on no calibration, and nothing of this user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration.machine_file import MachineFile, read_machine_file
from tests.experiments.plausible import write_plausible


@pytest.fixture(scope="session")
def machine_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine file under this host's name."""
    return write_plausible(tmp_path_factory.mktemp("machines") / "plausible.toml")


@pytest.fixture(scope="session")
def machine_file(machine_path: Path) -> MachineFile:
    """The same, read."""
    return read_machine_file(machine_path)


@pytest.fixture(autouse=True)
def no_own_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This user's calibrations are out of sight."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
