"""From samples to observations: one quiet time a row and interval, its error, and the scenario that explains it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from calibration.capture.snapshot import process_from_document
from calibration.plan import PlannedRow, planned_rows, scenario_of
from calibration.quantiles import quantile, resample_reach
from calibration.samples import Run, Sample, SampleFile
from model.elf_image import ElfImage, ElfObject
from model.process import Process
from model.rules import Rules
from model.scenario import Scenario

INNER, OUTER, MIDDLE = 0.10, 0.20, 0.50
"""Quiet time of a row: p10 within a process, p20 over processes.

Over processes of a cold caller the middle: what neighbours have taken of the caches meanwhile changes from one second
to the next by a factor of two, in both directions, so that none is the quiet one; cold prices of two calibrations back
to back differed by 13 % with p20, by 4 % with the middle. The same of what a flush takes from its victim: a difference
of what it loses with flushes and without, which errs both ways.
"""
BOOTSTRAPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One measured interval of one row.

    Attributes:
        row: the planned row.
        begin, end: milestones between which the time passed; `begin` is empty for the call itself.
        value_ns: its quiet time.
        stderr_ns: its standard error over processes; NaN with fewer than two.
        processes: how many there were.
        scenario: what was run.
        reach: |ln| within which the value of a resample of these processes lies, but for one in a hundred thousand.
        contiguous: least and greatest share of neighbouring frames that a process of the row had.
        returned: of a row that asks for children on another CPU, how likely the child before was there too.
    """

    row: PlannedRow
    begin: str
    end: str
    value_ns: float
    stderr_ns: float
    processes: int
    scenario: Scenario
    reach: float = 0.0
    contiguous: tuple[float, float] = (0.0, 0.0)
    returned: float = 0.0

    @property
    def name(self) -> str:
        """Row and interval, for tables."""
        return f"{self.row.row.name}:{self.end}"


def intervals(row: PlannedRow) -> list[tuple[str, str]]:
    """The intervals of a row that are observed: from the call to the first milestone, then from one to the next."""
    names = list(row.milestones)
    return list(zip(["", *names], names, strict=False))


def observations(
    file: SampleFile, rules: Rules, *, seed: int = 0, plan: Iterable[PlannedRow] | None = None
) -> list[Observation]:
    """Every observation that the samples allow, rows of the plan only; one that took no time tells nothing."""
    kept = file.kept()
    parents, targets = captured(file)
    found: list[Observation] = []
    for row in planned_rows() if plan is None else plan:
        runs, returned = elsewhere(kept.get(row.row.name, [])) if row.other else (kept.get(row.row.name, []), 0.0)
        parent = parents.get(row.row.name)
        if not runs or (parent is None and row.milestones != ("value",)):
            continue
        target = targets.get(row.row.name)
        helper = targets.get("jspawnhelper") if row.live else None
        scenario = scenario_of(row, parent, target, rules=rules, contiguous=_contiguous(runs), helper=helper)
        for begin, end in intervals(row):
            value_ns, stderr_ns, processes = interval_value(runs, begin, end, outer=outer_of(row), seed=seed)
            if value_ns > 0.0:  # nor NaN; a bench that takes a difference finds none where others disturbed the rest
                found.append(
                    Observation(
                        row=row,
                        begin=begin,
                        end=end,
                        value_ns=value_ns,
                        stderr_ns=stderr_ns,
                        processes=processes,
                        scenario=scenario,
                        reach=resample_reach(process_differences(runs, begin, end), outer_of(row)),
                        contiguous=_contiguous_range(runs),
                        returned=returned,
                    )
                )
    return found


def outer_of(row: PlannedRow) -> float:
    """Quantile over the processes of a row: the middle where what differs between them is no neighbour's disturbance.

    Cold caches, and the waits for a storage, have no quiet state that a patient caller meets.
    """
    waits = row.row.bench == "cold_read"
    return MIDDLE if waits or row.count("cold-ms") or "victim" in row.options else OUTER


def elsewhere(runs: Sequence[Run]) -> tuple[list[Run], float]:
    """Those samples whose child ran on another CPU than its caller, and how likely the child before them did (0 or 1).

    A loop's children mostly take turns, one here and one there, so that what the child before left there is already
    paid for. Where it lay decides as much of a small fork as the wake-up: only the samples of the more frequent kind.
    """
    home, away = [_after(run, returned=False) for run in runs], [_after(run, returned=True) for run in runs]
    if sum(len(run.timed) for run in home) >= sum(len(run.timed) for run in away):
        return home, 0.0
    return away, 1.0


def _after(run: Run, *, returned: bool) -> Run:
    """The samples of a run whose child was away, and the child of the one before them too, or not; warm-ups count."""
    pairs = zip(run.samples, run.samples[1:], strict=False)
    kept = (each for last, each in pairs if _away(each, each) and _away(last, each) == returned)
    return replace(run, samples=tuple(kept))


def _away(child: Sample, caller: Sample) -> bool:
    return child.child_cpu is not None and child.child_cpu != caller.caller_cpu_before


def _contiguous(runs: Sequence[Run]) -> float | None:
    """What the row's processes said of their frames: the median, None where none could tell."""
    told = [run.header["contiguous"] for run in runs if run.header.get("contiguous") is not None]
    return quantile(told, 0.5) if told else None


def _contiguous_range(runs: Sequence[Run]) -> tuple[float, float]:
    told = [float(run.header["contiguous"]) for run in runs if run.header.get("contiguous") is not None]
    return (min(told), max(told)) if told else (0.0, 0.0)


def captured(file: SampleFile) -> tuple[dict[str, Process], dict[str, ElfImage]]:
    """The captured parent and target of each row."""
    parents = {note.row: process_from_document(note.state) for note in file.notes if note.kind == "parent"}
    targets = {note.row: image_from_document(note.state) for note in file.notes if note.kind == "target"}
    return parents, targets


def image_from_document(state: Mapping[str, Any]) -> ElfImage:
    """An ElfImage from its fields as a document; ValueError if they do not fit."""
    fields = dict(state)
    objects = tuple(ElfObject(**each) for each in fields.pop("objects", ()))
    for name in ("interpreter", "script_arguments"):
        if name in fields:
            fields[name] = tuple(fields[name])
    return replace(ElfImage(**fields), objects=objects)


def process_differences(runs: Sequence[Run], begin: str, end: str) -> list[float]:
    """For each process the low quantile of its repetitions' time from `begin` to `end`, in ns."""
    found: list[float] = []
    for run in runs:
        times = []
        for sample in run.timed:
            last = sample.milestone_ns(end)  # type: ignore[arg-type]
            first = sample.milestone_ns(begin) if begin else 0.0  # type: ignore[arg-type]
            if last is not None and first is not None:
                times.append(last - first)
        if times:
            found.append(quantile(times, INNER))
    return found


def interval_value(
    runs: Sequence[Run], begin: str, end: str, *, outer: float = OUTER, seed: int = 0
) -> tuple[float, float, int]:
    """Quiet time of an interval in ns, its bootstrap error over processes, and how many processes there were."""
    values = process_differences(runs, begin, end)
    if len(values) < 2:
        return quantile(values, outer), math.nan, len(values)
    dice = random.Random(seed)
    drawn = [quantile(dice.choices(values, k=len(values)), outer) for _ in range(BOOTSTRAPS)]
    mean = math.fsum(drawn) / len(drawn)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in drawn) / (len(drawn) - 1))
    return quantile(values, outer), spread, len(values)
