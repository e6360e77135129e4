"""Every machine file that comes along has its samples beside it, and the model says of them what it said."""

from __future__ import annotations

import pytest

from calibration.machine_file import bundled_machines
from experiments.cli import main as cli


@pytest.mark.parametrize("name", bundled_machines())
def test_a_bundled_machine_agrees_with_its_samples(name: str) -> None:
    assert cli.main(["check", "--machine", name, "--json"]) == 0, "1: something deviates; 2: nothing was compared"
