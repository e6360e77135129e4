"""`check --measure`: the quick rows, measured now, held against a machine file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from calibration.calibrate import Progress, measure
from calibration.capture.host import fingerprint, host_facts
from calibration.check import Check, check_samples
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from calibration.plan import planned_rows
from calibration.samples import read_runs


def check_measured(file: MachineFile, progress: Progress = lambda done, total, what: None) -> Check:
    """Measure the quick rows and compare.

    A file of another kernel of this host is compared too: what an upgrade moved is worth knowing.

    Raises:
        BadInput: the file is of another kind of machine, no compiler, no room, or nothing to compare.
    """
    facts = host_facts()
    here = fingerprint(facts)
    if file.machine.name.rpartition("-")[0] != here.rpartition("-")[0]:
        why = f"the prices are those of {file.machine.name}, this host is {here}"
        raise BadInput("check --measure", why, "calibrate this host first, or name its own machine file")
    rows = [row for row in planned_rows() if row.quick and not row.live]
    with tempfile.TemporaryDirectory(prefix="spawncost-check-") as folder:
        samples = Path(folder) / "now.jsonl"
        measure(rows, samples, quick=True, facts=facts, progress=progress)
        return check_samples(file, read_runs(samples), "measured now")
