"""How wrong a prediction is beyond its prices' errors, and whether the 90 % intervals keep what they promise.

Errors come from rows that the prediction never saw. Quiet, pinned: each fitted row foretold by the fit to the others,
by length of path. Unpinned: the p50 of each process, a run of some twenty spawns, beside the prediction with placements
and spread of the other rows only; by what the path does. Each is scaled so that 90 % of them lie inside the interval:
a median would take a distribution with long tails for a narrow one.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from calibration.check import stored_samples
from calibration.fit import interval_bill
from calibration.identify import VAGUE, Foretold, fitted_rows, foretell
from calibration.machine_file import MachineFile
from calibration.observations import Observation, observations
from calibration.plan import planned_rows
from calibration.quantiles import quantile
from calibration.samples import Milestone as MilestoneName
from calibration.samples import Sample, SampleFile, read_runs
from calibration.spread import SpreadRow, of_quiet, row_ratios, spread_rows, with_placements
from model.costs import CostTable
from model.machine import Machine
from model.prediction import Milestone
from model.simulation import simulate
from model.spread import LENGTHS, SPAWNS_ERROR, UNPINNED, Z80, Z90, length_of, path_reach

LEVEL = 0.9
BETWEEN = 0.8
"""Share of single spawns that lies between p10 and p90."""
LEAST_POINTS = 8
"""A class with fewer points takes the error of all."""
MOST_ERROR = 3.0
TIMED: tuple[MilestoneName, ...] = ("call", "main", "reaped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One prediction beside what was measured.

    Attributes:
        name: row and milestone; kind: class of its error.
        error: ln(predicted / measured).
        known: relative standard error that the interval has without this error.
        width: half of the interval, in |ln|, that sampling alone gives.
    """

    name: str
    kind: str
    error: float
    known: float
    width: float = 0.0

    def inside(self, error: float) -> bool:
        """Whether the interval holds what was measured, if so large an error is allowed for."""
        return abs(self.error) <= math.hypot(self.width, Z90 * math.hypot(self.known, error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """A single spawn beside the prediction that the other rows make of it.

    Attributes:
        row: its row.
        need: the least error of single spawns with which it lies between p10 and p90; 0: it does anyway.
    """

    row: str
    need: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Shares of what lies inside.

    Attributes:
        foretold, held_out: quiet times inside their 90 % interval: fitted rows foretold by the others, held-out rows.
        runs: runs of some twenty spawns whose p50 lies inside, placements, spread and errors those of other rows.
        spawns: single spawns between p10 and p90, in the same way.
        points: how many each has, in this order.
    """

    foretold: float
    held_out: float
    runs: float
    spawns: float
    points: tuple[int, int, int, int]

    @property
    def intervals(self) -> float:
        """Share of all points of the 90 % interval."""
        parts = zip((self.foretold, self.held_out, self.runs), self.points, strict=False)
        total = sum(self.points[:3])
        return sum(share * count for share, count in parts) / total if total else math.nan


def error_for(points: Sequence[Point], level: float = LEVEL) -> float:
    """The least error with which so many of the points lie inside; 0 if they do anyway."""
    wanted = level * len(points)
    low, high = 0.0, MOST_ERROR
    if sum(each.inside(0.0) for each in points) >= wanted:
        return 0.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if sum(each.inside(middle) for each in points) >= wanted else (middle, high)
    return high


def errors_by_kind(points: Sequence[Point]) -> dict[str, float]:
    """The error of each class that has points enough, and of all as `plain` or `unpinned`."""
    kinds = {each.kind for each in points}
    found = {kind: [each for each in points if each.kind == kind] for kind in sorted(kinds)}
    return {kind: error_for(each) for kind, each in found.items() if len(each) >= LEAST_POINTS}


def quiet_points(foretold: Iterable[Foretold]) -> list[Point]:
    """Fitted rows foretold by the others, as far as these decide them."""
    return [
        Point(
            name=each.observation.name,
            kind=LENGTHS[int(length_of(each.observation.value_ns))],
            error=each.error,
            known=each.fitted_error,
        )
        for each in foretold
        if each.fitted_error < VAGUE
    ]


def needed(ns: float, found: Milestone) -> float:
    """The least error of spawns with which a time lies between p10 and p90: `model.spread.widened` turned round."""
    if found.p10_ns <= ns <= found.p90_ns:
        return 0.0
    end_ns = found.p10_ns if ns < found.p10_ns else found.p90_ns
    return math.sqrt(math.log(ns / found.p50_ns) ** 2 - math.log(end_ns / found.p50_ns) ** 2) / Z80


def spawns_error(spawned: Sequence[Spawned]) -> float:
    """The least error with which p10 to p90 holds BETWEEN of them; 0 if it does anyway."""
    return quantile([each.need for each in spawned], BETWEEN) if spawned else 0.0


def run_points(rows: Sequence[SpreadRow], machine: Machine, costs: CostTable) -> tuple[list[Point], list[Spawned]]:
    """Every process of the unpinned rows beside the prediction that placements and spread of the others make.

    Rows of which too few processes were quiet are judged by no one: a prediction is of a host that is.

    Returns: the points, and the single spawns.
    """
    points: list[Point] = []
    spawned: list[Spawned] = []
    quiet = {
        name: error
        for name, error in machine.model_error.items()
        if UNPINNED not in name and name != SPAWNS_ERROR
    }  # fmt: skip
    plain = replace(machine, model_error=quiet)
    ratios: dict[str, Mapping[str, Sequence[float]]] = {}
    for row in rows:
        with contextlib.suppress(KeyError):  # a price that this plan did not reach
            ratios[row.name] = row_ratios(row, plain, costs)
    priced = [row for row in rows if row.name in ratios]
    for row in (each for each in priced if not each.loud):
        rest = [each for each in priced if each is not row]
        placements = {name: each for name, each in machine.placements.items() if name != row.family}
        placed = with_placements(replace(plain, placements=placements), rest)
        others = replace(placed, spread=of_quiet([(each.loud, ratios[each.name]) for each in rest]))
        prediction = simulate(row.scenario, others, costs)
        kind = f"{UNPINNED}-{path_reach(prediction.bill.counts)}"
        for name in TIMED:
            found = prediction.milestones.get(name)
            runs = [_times(run.timed, name) for run in row.runs]
            if found is None or not any(runs):
                continue
            width = math.log(found.hi_ns / found.p50_ns)
            for times in filter(None, runs):
                error = math.log(found.p50_ns / quantile(times, 0.5))
                points.append(Point(name=f"{row.name}:{name}", kind=kind, error=error, known=0.0, width=width))
                spawned += [Spawned(row=row.name, need=needed(each, found)) for each in times]
    return points, spawned


def _times(samples: Iterable[Sample], name: MilestoneName) -> list[float]:
    values = [each.milestone_ns(name) for each in samples]
    return [value for value in values if value is not None]


def model_errors(
    fitted: Sequence[Observation], spread: Sequence[SpreadRow], machine: Machine, costs: CostTable
) -> dict[str, float]:
    """Relative standard errors of predictions: `plain` and by length of path; `unpinned-*` by what a path does;
    `spawns` of single spawns.

    Args:
        fitted: the rows of the fit's first stage; spread: the unpinned rows.
        machine, costs: with facts, placements and spread, as fitted.
    """
    file = MachineFile(machine=machine, costs=costs)
    quiet = quiet_points(foretell(fitted, file, by="row")[0])
    errors = {**({"plain": error_for(quiet)} if quiet else {}), **errors_by_kind(quiet)}
    points, spawned = run_points(spread, replace(machine, model_error=errors), costs)
    return {**errors, **errors_by_kind(points), **({SPAWNS_ERROR: spawns_error(spawned)} if spawned else {})}


def coverage(file: MachineFile, samples: SampleFile) -> Coverage:
    """Coverage of the file's intervals on its stored samples; each error is taken from other rows than it is tested on.

    Raises:
        BadInput: the samples hold no row that can be fitted.
    """
    rows = observations(samples, file.machine.rules)
    quiet = quiet_points(foretell(fitted_rows(file, samples), file, by="row")[0])
    held = held_out_points(rows, file)
    runs, spawned = run_points(spread_rows(rows, samples), file.machine, file.costs)
    foretold = _nested(quiet, lambda each: each.name.partition(":")[0])
    ran = _nested(runs, lambda each: each.name.partition(":")[0])
    errors = file.machine.model_error
    between = _between(spawned)
    inside = [each.inside(errors.get(each.kind, errors.get("plain", 0.0))) for each in held]
    return Coverage(
        foretold=_share(foretold),
        held_out=_share(inside),
        runs=_share(ran),
        spawns=_share(between),
        points=(len(foretold), len(inside), len(ran), len(between)),
    )


def stored_coverage(file: MachineFile) -> Coverage | None:
    """Coverage on the samples that the file names; None where they hold no row that can be fitted. Raises BadInput."""
    samples = read_runs(stored_samples(file)[0])
    fits = any(each.role == "fit" and samples.kept().get(each.row.name) for each in planned_rows() if not each.live)
    return coverage(file, samples) if fits else None


def held_out_points(rows: Sequence[Observation], file: MachineFile) -> list[Point]:
    """The held-out rows of the benches beside their predictions."""
    found: list[Point] = []
    for each in rows:
        if each.row.role != "held-out" or each.row.live or not each.value_ns > 0.0:
            continue
        try:
            counts = interval_bill(each, file.machine, file.costs).counts
            predicted = sum(file.costs.price(cost) * count for cost, count in counts.items() if count)
        except KeyError:  # a price that this plan did not reach
            continue
        known = file.costs.stderr_ns(counts) / predicted
        error = math.log(predicted / each.value_ns)
        found.append(Point(name=each.name, kind=LENGTHS[int(length_of(predicted))], error=error, known=known))
    return found


def _nested(points: Sequence[Point], group: Callable[[Point], str]) -> list[bool]:
    """Whether each point lies inside with the error that the points of the other rows give its class."""
    found: list[bool] = []
    for name in dict.fromkeys(group(each) for each in points):
        others = [each for each in points if group(each) != name]
        errors: Mapping[str, float] = errors_by_kind(others)
        anyhow = error_for(others) if others else 0.0
        found += [each.inside(errors.get(each.kind, anyhow)) for each in points if group(each) == name]
    return found


def _between(spawned: Sequence[Spawned]) -> list[bool]:
    """Whether each spawn lies between p10 and p90 with the error that those of the other rows need."""
    found: list[bool] = []
    for row in dict.fromkeys(each.row for each in spawned):
        error = spawns_error([each for each in spawned if each.row != row])
        found += [each.need <= error for each in spawned if each.row == row]
    return found


def _share(inside: Sequence[bool]) -> float:
    return sum(inside) / len(inside) if inside else math.nan
