"""`check --measure`: the quick rows, measured now, held against a machine file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from calibration.calibrate import measure
from calibration.capture.host import host_facts
from calibration.check import Check, check_samples
from calibration.machine_file import MachineFile
from calibration.plan import planned_rows
from calibration.samples import read_runs


def check_measured(file: MachineFile) -> Check:
    """Measure the quick rows and compare. Raises BadInput: no compiler, no room, or nothing to compare."""
    rows = [row for row in planned_rows() if row.quick and not row.live]
    with tempfile.TemporaryDirectory(prefix="spawncost-check-") as folder:
        samples = Path(folder) / "now.jsonl"
        measure(rows, samples, quick=True, facts=host_facts(), progress=lambda done, total, what: None)
        return check_samples(file, read_runs(samples), "measured now")
