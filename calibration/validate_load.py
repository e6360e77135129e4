"""Mutators beside a fork, predicted beside measured here and now: faults counted, memory grown, time lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from calibration.errors import BadInput
from calibration.live.mutating import LoadCase, LoadRound, LoadRun, run_load_case
from calibration.machine_file import MachineFile
from calibration.quantiles import quantile
from model.aftermath import Watched, watched_at
from model.ledger import Entry
from model.machine import Placement
from model.process import Caller
from model.scenario import Load, Mutators, Scenario, Spawn, spawn_and_wait
from model.simulation import Run, run_once
from model.units import NS_PER_MS

TOLERANCES = {"faults": 0.05, "faults alive": 0.05, "growth pages": 0.20, "lost us": 0.20}
"""Relative error of each figure that is still right; beyond, 1.5 times its own floor is allowed."""
FLOORS = 1.5
FEW = 200.0
"""Figures below this are told and not judged: a burst of ten writes more or less is 5 % of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadComparison:
    """One figure of one case: median of the rounds against the prediction.

    Attributes:
        floor: half the range of ln over the rounds.
    """

    case: LoadCase
    what: str
    measured: float
    predicted: float
    floor: float

    @property
    def judged(self) -> bool:
        """Whether there is enough of it to be judged."""
        return self.measured >= FEW and self.predicted > 0.0

    @property
    def error(self) -> float:
        """ln(predicted / measured); 0 where it is not judged."""
        return math.log(self.predicted / self.measured) if self.judged else 0.0

    @property
    def right(self) -> bool:
        """Whether it is within its tolerance, or within 1.5 times the floor; true if it is not judged."""
        if not self.judged:
            return True
        return abs(self.error) <= max(math.log1p(TOLERANCES[self.what]), FLOORS * self.floor)


def validate_load(
    file: MachineFile,
    cases: Sequence[LoadCase],
    *,
    rounds: int = 3,
    progress: Callable[[str], None] | None = None,
) -> tuple[list[LoadComparison], list[tuple[str, str]]]:
    """Run the cases and predict each from its capture: comparisons, and (case, why) of what could not run.

    Raises:
        BadInput: nothing could be compared.
    """
    found: list[LoadComparison] = []
    skipped: list[tuple[str, str]] = []
    for case in cases:
        if progress is not None:
            progress(case.label)
        try:
            found += compare_load(file, run_load_case(case, rounds=rounds))
        except BadInput as error:
            skipped.append((case.label, error.why))
    if not found:
        raise BadInput("validate", "nothing could be compared", skipped[0][1] if skipped else "give another --kind")
    return found, skipped


def compare_load(file: MachineFile, run: LoadRun) -> list[LoadComparison]:
    """Every figure of one run."""
    simulated = run_once(scenario_of(run, file), file.machine, file.costs, _placement(file))
    cow = simulated.caller.mm.cow
    assert cow is not None

    def seen(at_ns: float) -> Watched:
        return watched_at(simulated.groups, cow, simulated.begin_ns + at_ns)

    child = child_faults(simulated)
    figures: dict[str, tuple[Callable[[LoadRound], float], Callable[[LoadRound], float]]] = {
        "faults": (lambda each: each.end_faults + each.child_faults, lambda each: seen(each.end_ns).faults + child),
        "faults alive": (lambda each: each.gone_faults, lambda each: seen(each.gone_ns).faults),
        "lost us": (lambda each: each.lost_ns / 1e3, lambda each: seen(each.end_ns).stalled_ns / 1e3),
    }
    if run.case.life_ms and all(each.grown_pages >= 0.0 for each in run.rounds):
        figures["growth pages"] = (lambda each: each.grown_pages, lambda each: seen(each.read_ns).grown_pages)
    return [_compared(run, what, *pair) for what, pair in figures.items()]


def _compared(
    run: LoadRun, what: str, measure: Callable[[LoadRound], float], predict: Callable[[LoadRound], float]
) -> LoadComparison:
    measured = sorted(measure(each) for each in run.rounds)
    return LoadComparison(
        case=run.case,
        what=what,
        measured=quantile(measured, 0.5),
        predicted=quantile(sorted(predict(each) for each in run.rounds), 0.5),
        floor=math.log(measured[-1] / measured[0]) / 2 if measured[0] > 0.0 else math.inf,
    )


def scenario_of(run: LoadRun, file: MachineFile) -> Scenario:
    """The case as a scenario: the captured parent, its mutators at the rate that was measured before the forks."""
    rate = quantile(sorted(each.rate for each in run.rounds), 0.5)
    case = run.case
    mutators = Mutators(
        threads=case.threads, writes_per_second=rate, locality=case.locality, working_set_pages=case.pages
    )
    load = Load(child_lifetime_ns=case.life_ms * NS_PER_MS, mutators=(mutators,))
    assumed = tuple({*run.parent.assumed, "writable"})
    parent = replace(run.parent, caller=Caller.COLD, writable=0.0, assumed=assumed)
    return spawn_and_wait(parent, Spawn(mechanism="fork"), rules=file.machine.rules, load=load)


def _placement(file: MachineFile) -> Placement:
    return file.machine.placements_of("fork", cold=True)[0]


def child_faults(run: Run) -> float:
    """Faults of the child in a finished run."""
    ledger: Sequence[Entry] = next(task.ledger for task in run.system.tasks if task.name == "child")
    return sum(entry.count for entry in ledger if entry.name.startswith("fault_"))
