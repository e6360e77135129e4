"""The regression check: does the model, with a machine file's prices, still say what it said of the calibration data?

Each observation's residual, ln(predicted / measured), is compared with the one that the calibration left in the file,
so a misfit that was known is no deviation, and one that is new is. A coefficient is blamed if scaling it alone explains
the deviations best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.errors import BadInput
from calibration.fit import interval_bill
from calibration.machine_file import BUNDLED_DIRECTORY, MachineFile, user_directory
from calibration.observations import Observation, observations
from calibration.samples import SampleFile, read_runs
from model.costs import COSTS, CostTable, fold_assumed
from model.kernel.fork import SpawnFailed
from model.machine import Machine

TOLERANCE = 0.05
"""|ln| up to which a residual may move from where the calibration left it."""
FLOORS, ERRORS = 2.0, 3.0
"""A deviation lies beyond so many noise floors and so many standard errors of its row, too."""
LEAST_EFFECT = 0.02
"""A price matters for a row if it makes up so much of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCheck:
    """One observation now, against what the calibration left.

    Attributes:
        name: row and interval.
        measured_ns, predicted_ns: measured, and what the model says with the file's prices.
        residual, expected: ln(predicted / measured) now, and as the file has it.
        allowed: how far they may lie apart.
        shares: share of each cost in the prediction.
    """

    name: str
    measured_ns: float
    predicted_ns: float
    residual: float
    expected: float
    allowed: float
    shares: Mapping[str, float]

    @property
    def moved(self) -> float:
        """How far the residual moved."""
        return self.residual - self.expected

    @property
    def deviates(self) -> bool:
        """Whether it moved further than allowed."""
        return abs(self.moved) > self.allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A coefficient that explains deviations: scaled by `factor` it would remove `explained` of their squares."""

    cost: str
    factor: float
    explained: float
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Outcome of a check."""

    machine: str
    samples: str
    rows: tuple[RowCheck, ...]
    suspects: tuple[Suspect, ...]

    @property
    def deviations(self) -> tuple[RowCheck, ...]:
        """Rows that deviate, worst first."""
        return tuple(sorted((row for row in self.rows if row.deviates), key=lambda row: -abs(row.moved) / row.allowed))


def residual_of(each: Observation, machine: Machine, costs: CostTable) -> tuple[float, dict[str, float]] | None:
    """Predicted ns of an observation and each cost's share in it; None where a price is missing."""
    try:
        counts = fold_assumed(interval_bill(each, machine, costs).counts)
        parts = {cost: costs.price(cost) * count for cost, count in counts.items() if count}
    except (KeyError, SpawnFailed):
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


def check_samples(file: MachineFile, samples: SampleFile, name: str) -> Check:
    """Compare the model with one file of samples.

    Raises:
        BadInput: nothing could be compared.
    """
    expected = file.provenance.get("residuals")
    if not isinstance(expected, Mapping) or not expected:
        raise BadInput(str(file.path), "it holds no residuals to compare with", "calibrate again")
    rows: list[RowCheck] = []
    for each in observations(samples, file.machine.rules):
        found = residual_of(each, file.machine, file.costs) if each.name in expected else None
        if found is not None and each.value_ns > 0.0:
            rows.append(_row(each, found, float(expected[each.name]), file.machine.noise_floor))
    if not rows:
        raise BadInput(name, "no row could be compared", "calibrate again, or give the samples of this machine file")
    return Check(machine=file.machine.name, samples=name, rows=tuple(rows), suspects=suspects(rows))


def _row(each: Observation, found: tuple[float, dict[str, float]], expected: float, floor: float) -> RowCheck:
    predicted, shares = found
    error = each.stderr_ns / each.value_ns
    scatter = ERRORS * error if math.isfinite(error) else 0.3
    return RowCheck(
        name=each.name,
        measured_ns=each.value_ns,
        predicted_ns=predicted,
        residual=math.log(predicted / each.value_ns),
        expected=expected,
        allowed=max(TOLERANCE, FLOORS * floor, scatter),
        shares=shares,
    )


def suspects(rows: Sequence[RowCheck], most: int = 5) -> tuple[Suspect, ...]:
    """Coefficients that explain the deviations, best first; none if nothing deviates."""
    if not any(row.deviates for row in rows):
        return ()
    total = sum(row.moved**2 / row.allowed**2 for row in rows)
    found: list[Suspect] = []
    for cost in COSTS:
        touched = [row for row in rows if row.shares.get(cost, 0.0) > LEAST_EFFECT]
        if touched:
            found.append(_suspect(cost, touched, total))
    ranked = sorted(found, key=lambda each: -each.explained)
    return tuple(each for each in ranked[:most] if each.explained > 0.1)


def _suspect(cost: str, rows: Sequence[RowCheck], total: float) -> Suspect:
    """The factor on one price that would undo most of what moved: least squares of moved on the price's share."""
    weights = [1.0 / row.allowed**2 for row in rows]
    shares = [row.shares[cost] for row in rows]
    products = sum(w * s * math.expm1(row.moved) for w, s, row in zip(weights, shares, rows, strict=True))
    squares = sum(w * s * s for w, s in zip(weights, shares, strict=True))
    excess = products / squares if squares else 0.0
    left = sum(
        w * (math.expm1(row.moved) - s * excess) ** 2 for w, s, row in zip(weights, shares, rows, strict=True)
    )  # fmt: skip
    before = sum(w * math.expm1(row.moved) ** 2 for w, row in zip(weights, rows, strict=True))
    return Suspect(
        cost=cost,
        factor=1.0 / max(1e-3, 1.0 - excess),
        explained=max(0.0, before - left) / total if total else 0.0,
        rows=len(rows),
    )


def stored_samples(file: MachineFile) -> list[Path]:
    """The samples that a machine file names: beside it, in the user's data directory, or among the bundled ones.

    Raises:
        BadInput: it names none, or one that is nowhere.
    """
    names = file.provenance.get("samples", [])
    if not isinstance(names, list) or not names:
        raise BadInput(str(file.path), "it names no samples", "calibrate again")
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
