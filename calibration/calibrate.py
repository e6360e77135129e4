"""Measure this machine, fit, write its machine file: the run behind `spawncost calibrate`."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calibration.assemble import Assembled, assemble
from calibration.build import Builder
from calibration.capture.elf import capture_elf
from calibration.capture.host import HostFacts, fingerprint, host_facts
from calibration.capture.procfs import capture_process
from calibration.capture.snapshot import snapshot_text
from calibration.check import stored_samples
from calibration.complaints import Complaint, before_it, beside_it, ticks, within
from calibration.drift import DriftProbe
from calibration.errors import BadInput
from calibration.machine_file import (
    BUNDLED,
    MachineFile,
    bundled_machines,
    find_machine,
    read_machine_file,
    user_directory,
    write_machine_file,
)
from calibration.measure import measure_rows
from calibration.plan import PlannedRow, planned_rows
from calibration.runtimes import measure_runtimes
from calibration.samples import homeless, read_runs
from calibration.settings import calibrating
from calibration.tlb.geometry import fit_geometry
from calibration.tlb.runs import DATA, read_runs_file, stored_runs

QUICK_S, FULL_S = 60.0, 300.0
NOTHING = "none"
"""Base of a machine file that inherits nothing."""
"""Budgets of the contract; measuring ends early enough for the runtimes' rows and the fit."""
RESERVE_S = {True: 22.0, False: 60.0}
"""Of the budget, what is kept for the live runtimes, the fit and the files."""
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a calibration left: the machine file's path, the samples, what they were made into, why to trust it less."""

    path: Path
    samples: Path
    assembled: Assembled
    complaints: tuple[Complaint, ...] = ()


def run_name(name: str, date: str, *, quick: bool) -> str:
    """Name of the samples of a run: the machine's, the minute's, the kind."""
    stamp = date.replace("-", "").replace(":", "")[:13]
    return f"{name}.{stamp}{'.quick' if quick else ''}"


def samples_directory() -> Path:
    """Where this user's raw samples lie, beside the machine files."""
    return user_directory().parent / "samples"


def calibrate(
    *,
    out: Path | None,
    quick: bool,
    date: str,
    progress: Progress,
    samples: Path | None = None,
    passes: int = 1,
    base: str = BUNDLED,
    more: Mapping[str, int] | None = None,
    complain: Callable[[Complaint], None] = lambda complaint: None,
) -> Calibration:
    """Measure, fit and write.

    Args:
        out: the machine file; None: this host's own in the user's data directory.
        quick: within a minute; what is not reached is inherited from the bundled file.
        date: ISO date and time, for names and provenance.
        progress: called with done, all, and what is being done.
        samples: an interrupted run's samples to go on with; None: a new file.
        passes: how often every row is measured, each time within the budget. What neighbours leave of a shared cache
            changes over hours: passes far apart (`samples` of the first, one pass more) see it quiet once.
        base: the machine file from which is inherited what was not reached; NOTHING: none, as for a file that is to
            stand for itself.
        more: of these rows alone so many processes more than the samples hold, as `advise-measurement` has them; 0: as
            many as the plan has. Without `samples` those of this host's own machine file are gone on with.
        complain: called with each reason to trust the result less, as soon as it is seen.

    Raises:
        BadInput: no compiler, no room, no such base or row, or nothing that can be fitted.
    """
    inherited = base_file(base)
    facts = host_facts(date=date)
    name = fingerprint(facts)
    path = out if out is not None else user_directory() / f"{name}.toml"
    check_writable(path)
    samples = samples or (_own_samples(name) if more is not None else None)
    folder = path.parent if out is not None else samples_directory()
    samples = samples or folder / f"{run_name(name, date, quick=quick)}.jsonl"
    plans = [rows_of_pass(done, samples, quick=quick, more=more) for done in range(1, passes + 1)]
    complaints: list[Complaint] = []

    def note(found: Iterable[Complaint]) -> None:
        for each in found:
            complaints.append(each)
            complain(each)

    with calibrating() as alone:
        note(before_it(facts, alone=alone))
        since = ticks()
        for wanted in plans:
            measure(wanted, samples, quick=quick, facts=facts, progress=progress)
        note(beside_it(facts, host_facts(date=date), since, ticks()))
    progress(0, 1, "fitting")
    found = read_runs(samples)
    note(within(found))
    provenance = provenance_of(samples, facts, date) | {"complaints": [each.what for each in complaints]}
    assembled = with_tick(with_tlb(assemble(found, provenance=provenance, name=name, base=inherited)), facts)
    write_machine_file(assembled.file, path)
    return Calibration(path=path, samples=samples, assembled=assembled, complaints=tuple(complaints))


def _own_samples(name: str) -> Path | None:
    """The samples of this host's own machine file, if it was calibrated before."""
    own = user_directory() / f"{name}.toml"
    return stored_samples(read_machine_file(own))[0] if own.is_file() else None


def refit(file: MachineFile, out: Path) -> Calibration:
    """Fit the stored samples of a machine file again, measuring nothing, as after a change of the model; and write it.

    What the samples do not tell, such as the TLB's geometry or what was inherited, stays.

    Raises:
        BadInput: its samples are nowhere to be found, or `out` cannot be written.
    """
    check_writable(out)
    samples = stored_samples(file)[0]
    found = {"residuals", "errors", "untold"}
    provenance = {name: value for name, value in file.provenance.items() if name not in found}
    assembled = with_tlb(
        assemble(read_runs(samples), provenance=provenance, name=file.machine.name, base=file)
    )  # fmt: skip
    sources = {**assembled.file.inherited_from}
    sources |= {name: source for name, source in file.inherited_from.items() if name in sources}
    assembled = replace(assembled, file=replace(assembled.file, inherited_from=sources))
    write_machine_file(assembled.file, out)
    return Calibration(path=out, samples=samples, assembled=assembled)


def rows_of_pass(done: int, samples: Path, *, quick: bool, more: Mapping[str, int] | None) -> list[PlannedRow]:
    """Rows with the processes that a file of samples is to hold after so many passes. Raises BadInput."""
    if more is not None:
        return rows_beyond(more, samples, passes=done)
    chosen = [row for row in planned_rows() if row.quick or not quick]
    return [replace(row, row=replace(row.row, processes=row.row.processes * done)) for row in chosen]


def rows_beyond(more: Mapping[str, int], samples: Path, *, passes: int = 1) -> list[PlannedRow]:
    """Rows of the plan with processes beyond those that a file of samples holds, so often; 0: as many as the plan has.

    Raises:
        BadInput: none, or a row that the plan does not have.
    """
    plan = {row.row.name: row for row in planned_rows()}
    unknown = next((name for name in more if name not in plan), None)
    if unknown is not None or not more:
        what = "there is no such row" if unknown else "it names no row"
        raise BadInput(f"--rows {unknown or ''}".strip(), what, "`make docs` lists them in build/docs/plan.md")
    there = read_runs(samples).kept() if samples.exists() else {}
    beyond = {name: passes * (extra or plan[name].row.processes) for name, extra in more.items()}
    wanted = {name: len(there.get(name, ())) + count for name, count in beyond.items()}
    return [replace(plan[name], row=replace(plan[name].row, processes=count)) for name, count in wanted.items()]


def with_tlb(assembled: Assembled, folders: Sequence[Path] = (DATA,)) -> Assembled:
    """The machine with what `spawncost tlb --measure` found of its TLB, where that was run."""
    machine = assembled.file.machine
    try:
        found = fit_geometry(read_runs_file(stored_runs(machine.name, folders)))
    except BadInput:
        return assembled
    facts = {**(found.facts if found else {}), **machine.facts}
    return replace(assembled, file=replace(assembled.file, machine=replace(machine, facts=facts)))


def with_tick(assembled: Assembled, host: HostFacts) -> Assembled:
    """The machine with the tick and the base slice that its kernel was built with, where they can be read, and with
    what its CPU has."""
    machine = assembled.file.machine
    facts = {**machine.facts, **host.scheduler, **host.features}
    return replace(assembled, file=replace(assembled.file, machine=replace(machine, facts=facts)))


def measure(rows: list[PlannedRow], samples: Path, *, quick: bool, facts: HostFacts, progress: Progress) -> None:
    """Take the benches' rows and the live runtimes' rows into one file."""
    budget_s = (QUICK_S if quick else FULL_S) - RESERVE_S[quick]
    measure_rows(
        [row.row for row in rows if not row.live],
        out=samples,
        budget_s=budget_s,
        seed=1,
        progress=progress,
        capture=lambda pid: homeless(snapshot_text(capture_process(pid))),
        capture_target=lambda target: homeless(json.dumps(dataclasses.asdict(capture_elf(str(target))))),
        circumstances={"host": dataclasses.asdict(facts), "quick": quick},
    )
    live = [row for row in rows if row.live]
    if live:
        probe = DriftProbe(Builder(), max(os.sched_getaffinity(0)))
        measure_runtimes(live, out=samples, progress=progress, probe=probe.take)


def base_file(base: str = BUNDLED) -> MachineFile | None:
    """The machine file from which prices are inherited; None of NOTHING, and while no file is bundled.

    Raises:
        BadInput: `base` names no machine file.
    """
    if base == NOTHING or (base == BUNDLED and BUNDLED not in bundled_machines()):
        return None
    return find_machine(base)


def check_writable(path: Path) -> None:
    """Refuse before measuring what could not be written after it.

    Raises:
        BadInput: the directory cannot be made or written, or the path is a directory.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.parent / f".{path.name}.probe"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise BadInput(str(path), f"cannot be written: {error.strerror or error}", "give another --out") from error
    if path.is_dir():
        raise BadInput(str(path), "is a directory", "give a file name ending in .toml")


def provenance_of(samples: Path, facts: HostFacts, date: str) -> dict[str, Any]:
    """Head of the machine file: what it was measured on, with what, when, and in which samples."""
    circumstances = read_runs(samples).circumstances
    return {
        "samples": [samples.stem],
        "date": date,
        "cpu": facts.cpu_name,
        "cpu_family": facts.cpu_family,
        "cpu_model": facts.cpu_model,
        "hypervisor": facts.hypervisor,
        **facts.identity,
        "compiler": str(circumstances.get("compiler", "")),
        "memory_bytes": facts.memory_bytes,
        "load_average": facts.load_average,
    }
