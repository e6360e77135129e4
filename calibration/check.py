"""The regression check: does the model, with a machine file's prices, still say what it said of the calibration data?

Each observation's residual, ln(predicted / measured), is compared with the one that the calibration left in the file,
so a misfit that was known is no deviation, and one that is new is. It deviates if it moved beyond a tolerance, beyond
the noise floor of A/A pairs, and further than its own processes scatter; a price or rule also if all observations
together tell that it moved (`suspects.py`, which names the culprit).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.errors import BadInput
from calibration.fit import interval_bill
from calibration.machine_file import BUNDLED_DIRECTORY, LITERATURE, MachineFile, user_directory
from calibration.observations import Observation, observations
from calibration.plan import planned_rows
from calibration.quantiles import quantile
from calibration.samples import SampleFile, read_runs
from calibration.suspects import (
    ROUNDING,
    RowCheck,
    Suspect,
    cost_suspects,
    other_rules,
    ranked,
    rule_suspect,
    samples_suspect,
)
from model.costs import CostTable, fold_assumed
from model.machine import Machine
from model.rules import Rules

TOLERANCE = 0.05
"""|ln| up to which a residual may move from where the calibration left it."""
FLOORS, ERRORS = 2.0, 4.0
"""A deviation lies beyond so many noise floors and so many standard errors of its row, too."""
LEAST_ERROR = 0.03
"""Relative scatter of a row's processes below which no row is taken to lie: few processes can agree by chance."""
STILL, STIRS = 0.25, 1e-3
"""Where so many observations stand still while some stir, the samples are those of the calibration."""
PROBES = 4
"""A rule that does nothing to so many of the observations that moved most is passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Outcome of a check.

    Attributes:
        machine, samples: what was compared with what.
        noise_floor: median |ln| of A/A pairs, of the machine file.
        rows: every observation that was compared.
        misplaced: rows whose runs say that they are of another row.
        suspects: what explains the moves, best first; empty if nothing deviates.
    """

    machine: str
    samples: str
    noise_floor: float
    rows: tuple[RowCheck, ...]
    misplaced: tuple[str, ...]
    suspects: tuple[Suspect, ...]

    @property
    def deviations(self) -> tuple[RowCheck, ...]:
        """Observations that deviate, worst first."""
        return tuple(row for row in self.worst if row.deviates)

    @property
    def worst(self) -> tuple[RowCheck, ...]:
        """All observations, the worst first: by how far they moved of what is allowed."""
        return tuple(sorted(self.rows, key=lambda row: -abs(row.moved) / row.allowed))

    @property
    def drift(self) -> float:
        """ln of how many times as long as at the calibration the middle observation takes, beside its prediction."""
        return -quantile([row.moved for row in self.rows], 0.5)

    @property
    def failed(self) -> bool:
        """Whether an observation deviates, or a price or rule does in all of them together, or samples lie wrongly."""
        found = any(row.deviates for row in self.rows) or any(each.deviates for each in self.suspects)
        return found or bool(self.misplaced)


def residual_of(each: Observation, machine: Machine, costs: CostTable) -> tuple[float, dict[str, float]] | None:
    """Predicted ns of an observation and each cost's share in it; None where a price is missing."""
    try:
        counts = fold_assumed(interval_bill(each, machine, costs).counts, known=costs.ns)
        parts = {cost: costs.price(cost) * count for cost, count in counts.items() if count}
    except KeyError:
        return None
    predicted = sum(parts.values())
    if predicted <= 0.0:
        return None
    return predicted, {cost: part / predicted for cost, part in parts.items()}


def residuals(rows: Sequence[Observation], machine: Machine, costs: CostTable) -> dict[str, float]:
    """ln(predicted / measured) of every observation that a check compares: what the calibration leaves in its file."""
    found: dict[str, float] = {}
    for each in rows:
        predicted = residual_of(each, machine, costs) if each.row.role in ("fit", "held-out") else None
        if predicted is not None and each.value_ns > 0.0:
            found[each.name] = round(math.log(predicted[0] / each.value_ns), 5)
    return found


def relative_errors(rows: Sequence[Observation], machine: Machine, costs: CostTable) -> dict[str, float]:
    """Relative standard error of each observation: what the calibration leaves in its file beside the residuals."""
    return {each.name: round(relative_error(each, machine, costs), 5) for each in rows if each.value_ns > 0.0}


def relative_error(each: Observation, machine: Machine, costs: CostTable) -> float:
    """Standard error of ln(predicted / measured), never less than resampled processes could move it / ERRORS.

    The prediction scatters too where the processes of a row got frames that are neighbours to different degrees.
    """
    least = LEAST_ERROR / math.sqrt(max(1, each.processes))
    own = each.stderr_ns / each.value_ns
    measured = max(least, own if math.isfinite(own) else 0.0, each.reach / ERRORS)
    low, high = each.contiguous
    if high <= low:
        return measured
    ends = [residual_of(_with_frames(each, end), machine, costs) for end in (low, high)]
    if ends[0] is None or ends[1] is None:
        return measured
    return measured + abs(math.log(ends[1][0] / ends[0][0])) / ERRORS


def _with_frames(each: Observation, contiguous: float) -> Observation:
    parent = replace(each.scenario.parent, contiguous=contiguous)
    return replace(each, scenario=replace(each.scenario, parent=parent))


def check_samples(file: MachineFile, samples: SampleFile, name: str) -> Check:
    """Compare the model with one file of samples.

    Raises:
        BadInput: nothing could be compared.
    """
    expected = file.provenance.get("residuals")
    if not isinstance(expected, Mapping) or not expected:
        raise BadInput(str(file.path), "it holds no residuals to compare with", "calibrate again")
    observed = [each for each in observations(samples, file.machine.rules) if each.name in expected]
    rows: list[RowCheck] = []
    for each in observed:
        found = residual_of(each, file.machine, file.costs)
        if found is not None and each.value_ns > 0.0:
            rows.append(_row(each, found, file))
    if not rows:
        raise BadInput(name, "no row could be compared", "calibrate again, or give the samples of this machine file")
    misplaced = misplaced_rows(samples, _lacking(samples, observed, expected))
    return Check(
        machine=file.machine.name,
        samples=name,
        noise_floor=file.machine.noise_floor,
        rows=tuple(rows),
        misplaced=tuple(misplaced),
        suspects=_suspects(file, observed, rows, misplaced),
    )


def _row(each: Observation, found: tuple[float, dict[str, float]], file: MachineFile) -> RowCheck:
    predicted, shares = found
    expected = float(file.provenance["residuals"][each.name])
    left = file.provenance.get("errors", {})
    now = relative_error(each, file.machine, file.costs)
    error = math.hypot(now, float(left.get(each.name, now)))
    return RowCheck(
        row=each.row.row.name,
        end=each.end,
        measured_ns=each.value_ns,
        predicted_ns=predicted,
        residual=math.log(predicted / each.value_ns),
        expected=expected,
        error=error,
        allowed=max(TOLERANCE, FLOORS * file.machine.noise_floor, ERRORS * error),
        shares=shares,
    )


def misplaced_rows(samples: SampleFile, observed: Mapping[str, set[str]]) -> dict[str, str]:
    """Rows whose runs were taken with another bench or other arguments than the plan's, and whose samples they hold.

    Args:
        observed: by row, the milestones that the calibration had and that its runs now lack.
    """
    planned = {each.row.name: (each.row.bench, each.row.args, each.row.pinned) for each in planned_rows()}
    names = {command: name for name, command in planned.items()}
    found: dict[str, str] = {}
    for name, runs in samples.kept().items():
        commands = {(run.bench, run.args, run.pinned) for run in runs}
        strange = commands - {planned.get(name)}
        if name in planned and strange:
            found[name] = names.get(strange.pop(), "a row that is not planned")
        elif observed.get(name):
            found[name] = f"a row without {', '.join(sorted(observed[name]))}"
    return found


def _lacking(
    samples: SampleFile, observed: Sequence[Observation], expected: Mapping[str, object]
) -> dict[str, set[str]]:
    """By row that was run, the intervals that the calibration had and that its samples do not hold."""
    there = {each.name for each in observed}
    lacking: dict[str, set[str]] = {}
    for name in expected:
        row, _, end = name.rpartition(":")
        if name not in there and row in samples.kept():
            lacking.setdefault(row, set()).add(end)
    return lacking


def _suspects(
    file: MachineFile, observed: Sequence[Observation], rows: Sequence[RowCheck], misplaced: Mapping[str, str]
) -> tuple[Suspect, ...]:
    """What explains the moves; none if neither an observation nor a price or rule deviates."""
    found: list[Suspect] = [*cost_suspects(rows)]
    still = sum(abs(row.moved) <= ROUNDING for row in rows) / len(rows)
    same = still > STILL and any(abs(row.moved) > STIRS for row in rows)
    deviates = bool(misplaced) or any(row.deviates for row in rows)
    if not (same or deviates or any(each.deviates for each in found)):
        return ()
    swapped = samples_suspect(rows, misplaced)
    found += [swapped] if swapped else []
    moved = {row.name for row in sorted(rows, key=lambda row: -abs(row.moved) / row.error)[:PROBES]}
    probes = [each for each in observed if each.name in moved]
    now = _predicted(file, probes, file.machine.rules)
    for name, rules in other_rules(file.machine.rules):
        if _predicted(file, probes, rules) != now:
            found.append(rule_suspect(name, rows, _predicted(file, observed, rules)))
    named = ranked(found)
    return named if deviates or any(each.deviates for each in named) else ()


def _predicted(file: MachineFile, observed: Sequence[Observation], rules: Rules) -> dict[str, float]:
    """What the model would say of every observation under other rules."""
    machine = replace(file.machine, rules=rules)
    ruled = (replace(each, scenario=replace(each.scenario, rules=rules)) for each in observed)
    found = {each.name: residual_of(each, machine, file.costs) for each in ruled}
    return {name: predicted[0] for name, predicted in found.items() if predicted is not None}


def stored_samples(file: MachineFile) -> list[Path]:
    """The samples that a machine file names: beside it, in the user's data directory, or among the bundled ones.

    Raises:
        BadInput: it names none, or one that is nowhere.
    """
    names = file.provenance.get("samples", [])
    if not isinstance(names, list) or not names:
        why = "its prices are from the literature" if file.kind == LITERATURE else "it names no samples"
        raise BadInput(str(file.path), why, "calibrate that machine")
    beside = [file.path.parent] if file.path is not None else []
    folders = [*beside, user_directory().parent / "samples", BUNDLED_DIRECTORY.parent / "data" / file.machine.name]
    found: list[Path] = []
    for name in names:
        places = [folder / f"{name}.jsonl" for folder in folders]
        here = next((place for place in places if place.is_file()), None)
        if here is None:
            raise BadInput(f"{name}.jsonl", "these samples are nowhere to be found", "put them beside the machine file")
        found.append(here)
    return found


def check_stored(file: MachineFile) -> Check:
    """Compare the model with the samples that the machine file was made of. Raises BadInput."""
    paths = stored_samples(file)
    return check_samples(file, read_runs(paths[0]), paths[0].stem)
