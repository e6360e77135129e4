"""`check --measure`: the quick rows, measured now, held against a machine file.

A loud moment of the host is no alarm: rows that deviate are measured again in fresh processes, beside as many that
stand still, and only a row that deviates each time does. The noise floor of the moment is what those partners moved by
meanwhile, or what the middle one of all rows moved by since the calibration: a host that has become slower as a whole,
its core shared with somebody, moves them all, a price or a rule only some. `Check.drift` tells it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from calibration.calibrate import Progress, measure
from calibration.capture.host import HostFacts, fingerprint, host_facts
from calibration.check import Check, check_samples
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from calibration.plan import PlannedRow, planned_rows
from calibration.quantiles import quantile
from calibration.samples import Run, SampleFile, read_runs
from calibration.suspects import RowCheck, Suspect

NOW = "measured now"
TRIES = 3
"""Measurements that a row deviates in before it is told: the first, and two of it and its partners alone."""
MOST_ROWS = 16
"""Rows that are measured again at most, the worst first, and as many partners: together half of the quick plan, so that
a try takes half as long as the first measurement."""


def check_measured(file: MachineFile, progress: Progress = lambda done, total, what: None) -> Check:
    """Measure the quick rows and compare, and again what deviates.

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
        found = _measured(rows, Path(folder) / "0.jsonl", facts, progress)
        checked = checked_now(file, found, file.machine.noise_floor)
        for number in range(1, TRIES):
            if not checked.failed:
                break
            wanted = {*doubtful(checked)}
            again = [row for row in rows if row.row.name in wanted | set(partners(checked, wanted))]
            fresh = _measured(again, Path(folder) / f"{number}.jsonl", facts, progress)
            known = {row.name: row for row in checked.rows if row.row not in wanted}
            found = renewed(found, fresh)
            checked = checked_now(file, found, apart(known, checked_now(file, found, 0.0).rows))
    return checked


def _measured(rows: list[PlannedRow], out: Path, facts: HostFacts, progress: Progress) -> SampleFile:
    measure(rows, out, quick=True, facts=facts, progress=progress)
    return read_runs(out)


def checked_now(file: MachineFile, found: SampleFile, floor: float) -> Check:
    """The check, with no less a noise floor than its file's, this one, and what the middle row moved by."""
    first = check_samples(file, found, NOW)
    moved = quantile([abs(row.moved) for row in first.rows], 0.5)
    known = file.machine.noise_floor
    if max(floor, moved) <= known:
        return first
    return check_samples(replace(file, machine=replace(file.machine, noise_floor=max(floor, moved))), found, NOW)


def doubtful(checked: Check) -> list[str]:
    """Rows to measure again: those that deviate, worst first, and those that tell of a price or rule that does.

    A row tells of a price by its share of the row in standard errors: a price that moves moves the row by as much.
    """
    names = [row.row for row in checked.deviations]
    for each in checked.suspects:
        if each.deviates:
            names += [row.row for row in telling(checked, each)]
    return [*dict.fromkeys(names)][:MOST_ROWS]


def telling(checked: Check, suspect: Suspect) -> list[RowCheck]:
    """Rows that tell of a suspect, those that tell most first."""
    if suspect.kind != "cost":
        return list(checked.worst)
    acts = [row for row in checked.rows if row.shares.get(suspect.name, 0.0) > 0.0]
    return sorted(acts, key=lambda row: -row.shares[suspect.name] / row.error)


def partners(checked: Check, wanted: set[str]) -> list[str]:
    """As many rows that stand still, the stillest first."""
    still = [row.row for row in reversed(checked.worst) if row.row not in wanted]
    return [*dict.fromkeys(still)][: len(wanted)]


def renewed(found: SampleFile, fresh: SampleFile) -> SampleFile:
    """The samples with the runs of `fresh` in the place of those of the same rows."""
    kept: Mapping[str, Sequence[Run]] = {**found.kept(), **fresh.kept()}
    notes = {(each.kind, each.row): each for each in (*found.notes, *fresh.notes)}
    return replace(
        found, runs=tuple(run for runs in kept.values() for run in runs), rounds=(), notes=tuple(notes.values())
    )


def apart(before: Mapping[str, RowCheck], after: Sequence[RowCheck]) -> float:
    """Median |ln| by which rows that were measured twice moved meanwhile: an A/A pair of each; 0 without one."""
    pairs = [
        abs(math.log(row.measured_ns / before[row.name].measured_ns))
        for row in after
        if row.name in before and row.measured_ns != before[row.name].measured_ns
    ]
    return quantile(pairs, 0.5) if pairs else 0.0
