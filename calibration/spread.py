"""Where tasks land, and how much times spread, from the unpinned pass.

Placements are counted from the CPUs that the benches record. Spread is measured time ÷ the model's quiet time at the
placement that the sample itself had, pooled by class of path: so that modes and scatter are not mixed up.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from calibration.observations import Observation
from calibration.quantiles import quantile
from calibration.samples import Run, Sample, SampleFile
from model.costs import CostTable
from model.machine import BESIDE, Machine, Placement, Spread
from model.mechanisms import family_of
from model.process import Caller
from model.scenario import Scenario
from model.simulation import run_once
from model.spread import COLD, path_class

LEVELS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
LATE = 0.9
"""A caller that gets its CPU back after so much of the child's whole life has waited for the child's end."""
RARE = 0.02
"""Placements seen less often than this are left out."""
MOST = 100
"""With so many samples a row counts at most: one that is cheap to repeat does not speak for its whole class."""
LONGEST = 100.0
"""A sample so many times its quiet time is an accident of the host, not of the path."""


@dataclass(frozen=True, slots=True)
class SpreadRow:
    """The unpinned runs of one row and what they ran.

    `beside`: no other CPU was idle. `loud`: too few of its processes were quiet, so that others stand for it.
    """

    name: str
    scenario: Scenario
    runs: tuple[Run, ...]
    beside: bool = False
    loud: bool = False

    @property
    def family(self) -> str:
        """Key of its placements: the mechanism's family, `-cold` behind it for a cold caller, then `-beside`."""
        key = placement_key(family_of(self.scenario.spawn), self.scenario.parent.caller)
        return key + BESIDE if self.beside else key


def placement_key(family: str, caller: Caller) -> str:
    """Key under which a machine keeps the placements of a family of mechanisms."""
    return f"{family}-cold" if caller is Caller.COLD else family


def spread_rows(rows: Sequence[Observation], samples: SampleFile, *, beside: bool = False) -> list[SpreadRow]:
    """The rows of the unpinned pass, one for each whatever its intervals; or those taken beside a busy CPU."""
    kept, noisy = samples.kept(), samples.loud
    wanted = {each.row.row.name: each for each in rows if (each.row.row.one_cpu_left if beside else each.row.modes)}
    return [
        SpreadRow(
            name,
            each.scenario,
            tuple(kept[name]),
            beside=beside,
            loud=any(run.round in noisy for run in kept[name]),
        )
        for name, each in wanted.items()
    ]


def placement_of(sample: Sample, family: str) -> tuple[str, str]:
    """Child's CPU and caller's wake-up that a sample shows."""
    before, after, child = sample.caller_cpu_before, sample.caller_cpu_after, sample.child_cpu
    where = "same" if child is None or child == before else "other"
    if not family.startswith(("vfork", "jdk")):
        return where, "preempt"
    late = sample.call_ns is not None and sample.reaped_ns is not None and sample.call_ns > LATE * sample.reaped_ns
    if late:
        return where, "queue"
    if family.endswith(BESIDE):  # no other CPU was idle
        return where, "preempt"
    if family.startswith("jdk"):  # its CPUs are not told; a caller that is on time was woken elsewhere
        return where, "other"
    return where, "other" if after != child else "preempt"


def placements(rows: Iterable[SpreadRow]) -> dict[str, tuple[Placement, ...]]:
    """Placements by family, likeliest first, with their share, in which every row counts the same.

    Long forks are rows of few samples, and their children are sent to another CPU more often.
    """
    shares: dict[str, list[dict[tuple[str, str], float]]] = defaultdict(list)
    for row in rows:
        seen = Counter(placement_of(sample, row.family) for run in row.runs for sample in run.timed)
        total = seen.total()
        if total:
            shares[row.family].append({mode: count / total for mode, count in seen.items()})
    return {family: _weighted(found) for family, found in shares.items()}


def _weighted(rows: Sequence[Mapping[tuple[str, str], float]]) -> tuple[Placement, ...]:
    mean: dict[tuple[str, str], float] = defaultdict(float)
    for row in rows:
        for mode, share in row.items():
            mean[mode] += share / len(rows)
    kept = {mode: share for mode, share in mean.items() if share >= RARE}
    total = math.fsum(kept.values())
    ordered = sorted(kept.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Placement(child=child, waker=waker, weight=share / total) for (child, waker), share in ordered)


def spreads(rows: Iterable[SpreadRow], machine: Machine, costs: CostTable) -> dict[str, Spread]:
    """Spread by class of path."""
    return of_quiet([(row.loud, row_ratios(row, machine, costs)) for row in rows])


def of_quiet(found: Sequence[tuple[bool, Mapping[str, Sequence[float]]]]) -> dict[str, Spread]:
    """Spread by class of path from rows that may be loud, which count where no quiet row tells of a class."""
    return {**pooled(each for _, each in found), **pooled(each for noisy, each in found if not noisy)}


def pooled(found: Iterable[Mapping[str, Sequence[float]]]) -> dict[str, Spread]:
    """Spread by class of path from the ratios of several rows."""
    ratios: dict[str, list[float]] = defaultdict(list)
    for each in found:
        for kind, values in each.items():
            ratios[kind] += _thinned(values)
    return {kind: spread_from(values) for kind, values in ratios.items() if len(values) >= len(LEVELS)}


def _thinned(values: Sequence[float]) -> Sequence[float]:
    """The samples of a row, or, of more than MOST, as many quantiles."""
    if len(values) <= MOST:
        return values
    return [quantile(values, (index + 0.5) / MOST) for index in range(MOST)]


def row_ratios(row: SpreadRow, machine: Machine, costs: CostTable) -> dict[str, list[float]]:
    """Measured time ÷ quiet time at each sample's own placement, by class of path. KeyError: a price is missing."""
    ratios: dict[str, list[float]] = defaultdict(list)
    quiet: dict[tuple[str, str], tuple[str, float]] = {}
    for run in row.runs:
        for sample in run.timed:
            mode = placement_of(sample, row.family)
            if mode not in quiet:
                quiet[mode] = _quiet(row.scenario, machine, costs, Placement(child=mode[0], waker=mode[1]))
            kind, quiet_ns = quiet[mode]
            if row.beside and mode != ("same", "preempt"):  # its wait for the busy CPU is in the time
                continue
            kind += COLD if row.scenario.parent.caller is Caller.COLD else ""
            kind += BESIDE if row.beside else ""
            if sample.reaped_ns is not None and sample.reaped_ns < LONGEST * quiet_ns:
                ratios[kind].append(sample.reaped_ns / quiet_ns)
    return ratios


def _quiet(scenario: Scenario, machine: Machine, costs: CostTable, placement: Placement) -> tuple[str, float]:
    run = run_once(scenario, machine, costs, placement)
    return path_class(run.path_to("reaped")), run.milestones["reaped"]


def spread_from(ratios: Sequence[float]) -> Spread:
    """The distribution of some ratios at fixed levels."""
    return Spread(levels=LEVELS, ratios=tuple(quantile(ratios, level) for level in LEVELS))


def with_placements(machine: Machine, rows: Sequence[SpreadRow]) -> Machine:
    """The machine with the placements of its unpinned pass."""
    return replace(machine, placements={**machine.placements, **placements(rows)})


def with_spread(machine: Machine, rows: Sequence[SpreadRow], costs: CostTable) -> Machine:
    """The machine with the spread of its unpinned pass; it has the placements already."""
    return replace(machine, spread={**machine.spread, **spreads(rows, machine, costs)})
