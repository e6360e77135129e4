"""Mutators beside a fork, predicted beside measured here and now: faults counted, memory grown, time lost."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from calibration.build import Builder
from calibration.errors import BadInput
from calibration.live.mutating import LoadCase, LoadRound, LoadRun, run_load_case
from calibration.machine_file import MachineFile
from calibration.plan import bench_machine, planned_row
from calibration.plan import scenario_of as planned_scenario
from calibration.quantiles import quantile
from calibration.run_bench import BenchError, BenchUnavailableError, run_bench
from model.aftermath import Watched, watched_at
from model.ledger import Entry
from model.machine import Placement
from model.process import Caller
from model.scenario import Load, Mutators, Scenario, Spawn, spawn_and_wait
from model.simulation import Run, bill, run_once
from model.units import NS_PER_MS
from model.userland.mutators import AFTER_SLEEP

JVM_FAULTS = 0.10
"""The same for faults of a JVM, whose own threads fault too."""
ROUNDS = {True: 3, False: 8}
"""Forks of one process of a case, whether its child lives on or exits at once: then a round takes half a second, and
its counts scatter, for a burst of writes meets the child alive or does not."""
QUIET = 0.2
"""Time lost is the quantile of the rounds that the prices are, too: disturbances only add, and a mean is theirs. Counts
are expectations, held against the mean: one burst that meets shared huge pages makes hundreds, and most meet none."""
TOLERANCES = {"faults": 0.05, "faults alive": 0.05, "growth pages": 0.20, "lost us": 0.20}
"""Relative error of each figure that is still right; beyond, 1.5 times its own floor is allowed."""
FLOORS = 1.5
REFERENCE = planned_row("copies now: cow --pages 16384 --writes 1000 --burst 10 --gap-us 1000 | processes=1 reps=5")
"""A bench whose prices a load's time lost is made of, run beside each case: what it takes now against what the machine
file says is a floor too. Copies after a sleep take up to half as much again when neighbours have filled the caches.
Each run counts by its mean: a round's sum too is over a second, of which a tenth may have been quiet."""
FEW = 200.0
"""Figures below this are told and not judged: a burst of ten writes more or less is 5 % of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadComparison:
    """One figure of one case: quantile QUIET of the time lost, mean of the counts, against the prediction.

    Attributes:
        floor: half the range of ln over the processes, each by its own quantile or mean; of the time lost at least how
            far REFERENCE was from its price meanwhile.
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
        most = JVM_FAULTS if self.case.jvm and "faults" in self.what else TOLERANCES[self.what]
        return abs(self.error) <= max(math.log1p(most), FLOORS * self.floor)


def validate_load(
    file: MachineFile,
    cases: Sequence[LoadCase],
    *,
    processes: int = 3,
    progress: Callable[[str], None] | None = None,
) -> tuple[list[LoadComparison], list[tuple[str, str]]]:
    """Run the cases, interleaved, and predict each: comparisons, and (case, why) of what could not run.

    Raises:
        BadInput: nothing could be compared.
    """
    found: list[LoadComparison] = []
    skipped: list[tuple[str, str]] = []
    runs: dict[LoadCase, list[LoadRun]] = {case: [] for case in cases}
    copies: dict[LoadCase, list[float]] = {case: [] for case in cases}
    for number in range(processes):
        for case in runs:
            if progress is not None:
                progress(f"{case.label}, process {number + 1}")
            try:
                runs[case].append(_process(case))
                times_ns = copies_now()
                copies[case] += [math.fsum(times_ns) / len(times_ns)] if times_ns else []
            except BadInput as error:
                skipped += [] if number else [(case.label, error.why)]
    for case, ran in runs.items():
        if ran:
            found += compare_load(file, ran, moved=moved_since(file, copies[case]))
    if not found:
        raise BadInput("validate", "nothing could be compared", skipped[0][1] if skipped else "give another --kind")
    return found, skipped


def _process(case: LoadCase) -> LoadRun:
    """A process with all its rounds; as many processes where each has one (a JVM on huge pages)."""
    wanted = ROUNDS[case.life_ms > 0]
    run = run_load_case(case, rounds=wanted)
    more = [run_load_case(case, rounds=1).rounds for _ in range(wanted - len(run.rounds))]
    return replace(run, rounds=(*run.rounds, *(each for rounds in more for each in rounds)))


def copies_now() -> list[float]:
    """Times of REFERENCE in ns, a repetition each; none where it cannot run."""
    try:
        cpu = max(os.sched_getaffinity(0))
        output = run_bench(Builder().bench(REFERENCE.row.bench), [*REFERENCE.row.args, "--reps", "5"], cpu=cpu)
    except (BenchError, BenchUnavailableError):
        return []
    return [float(each["value_ns"]) for each in output.records if not each["warmup"]]


def moved_since(file: MachineFile, times_ns: Sequence[float]) -> float:
    """|ln| between what REFERENCE takes now and what the machine file says; 0 where it did not run or has no price."""
    if not times_ns or AFTER_SLEEP not in file.costs.ns:
        return 0.0
    scenario = planned_scenario(REFERENCE, None, None, rules=file.machine.rules)
    predicted_ns = bill(scenario, bench_machine(file.machine, pinned=True), file.costs, "done").elapsed_ns
    return abs(math.log(predicted_ns / quantile(sorted(times_ns), QUIET)))


def compare_load(file: MachineFile, runs: Sequence[LoadRun], *, moved: float = 0.0) -> list[LoadComparison]:
    """Every figure of a case's processes; they are predicted from the first one's capture."""
    case = runs[0].case
    simulated = run_once(scenario_of(runs, file), file.machine, file.costs, _placement(file))
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
    if case.life_ms and all(each.grown_pages >= 0.0 for run in runs for each in run.rounds):
        figures["growth pages"] = (lambda each: each.grown_pages, lambda each: seen(each.read_ns).grown_pages)
    found = [_compared(runs, what, *pair) for what, pair in figures.items()]
    return [replace(each, floor=max(each.floor, moved)) if each.what == "lost us" else each for each in found]


def _compared(
    runs: Sequence[LoadRun], what: str, measure: Callable[[LoadRound], float], predict: Callable[[LoadRound], float]
) -> LoadComparison:
    case = runs[0].case
    # Where time is lost by the few bursts that meet a huge page shared, it is an expectation as their counts are.
    quiet = what == "lost us" and not (case.huge and not case.life_ms)

    def told(rounds: Sequence[LoadRound], of: Callable[[LoadRound], float]) -> float:
        found = sorted(of(each) for each in rounds)
        return quantile(found, QUIET) if quiet else math.fsum(found) / len(found)

    rounds = [each for run in runs for each in run.rounds]
    apart = sorted(told(run.rounds, measure) for run in runs)
    return LoadComparison(
        case=case,
        what=what,
        measured=told(rounds, measure),
        predicted=told(rounds, predict),
        floor=math.log(apart[-1] / apart[0]) / 2 if apart[0] > 0.0 else math.inf,
    )


def scenario_of(runs: Sequence[LoadRun], file: MachineFile) -> Scenario:
    """The case as a scenario: the captured parent, its mutators at the rate that was measured before the forks."""
    rate = quantile(sorted(each.rate for run in runs for each in run.rounds), 0.5)
    run, case = runs[0], runs[0].case
    mutators = Mutators(
        threads=case.threads,
        writes_per_second=rate,
        locality=case.locality,
        working_set_pages=case.pages,
        burst=case.burst,
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
