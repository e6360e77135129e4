"""Every machine file that comes along has its samples beside it, and the model says of them what it said."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration.literature import measured_machines
from experiments.cli import main as cli


@pytest.mark.parametrize("path", [file.path for file in measured_machines()])
def test_a_bundled_machine_agrees_with_its_samples(path: Path) -> None:
    assert cli.main(["check", "--machine", str(path), "--json"]) == 0, "1: something deviates; 2: nothing was compared"
