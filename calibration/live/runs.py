"""Several processes of each case, interleaved in random order, so that drift of the machine falls on all alike."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from calibration.capture.procfs import capture_process
from calibration.drift import Probe
from calibration.errors import BadInput
from calibration.live.cases import LiveCase, check_case
from calibration.live.driver import Capture, limit_of, started
from calibration.live.results import LiveProcess, LiveResult
from calibration.loudness import loud
from calibration.samples import LEAST_QUIET

FAULT_REPS = 5
"""Repetitions that count faults, after the timed ones of each process."""
MOST_REPS = 1000


def run_case(
    case: LiveCase,
    *,
    processes: int = 4,
    reps: int = 20,
    capture: Capture | None = capture_process,
) -> LiveResult:
    """Run one case in `processes` fresh parents, `reps` timed spawns each.

    Args:
        case: what to run.
        processes: fresh parents, one after the other; two or more give a noise floor.
        reps: timed spawns of each, after its warm-ups.
        capture: makes the snapshot of a parent just before it measures; None: no snapshots.

    Raises:
        BadInput: the case cannot be run here: no java, javac or compiler, too little memory, no huge pages ...
    """
    _check_counts(processes, reps)
    check_case(case)
    runs = [_run_process([case], reps, capture)[0] for _ in range(processes)]
    return LiveResult(case=case, processes=tuple(runs))


def run_matrix(
    cases: Sequence[LiveCase],
    *,
    processes: int = 4,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    reps: int = 20,
    capture: Capture | None = capture_process,
    budget_s: float | None = None,
    probe: Callable[[], Probe] | None = None,
) -> tuple[LiveResult, ...]:
    """Run all cases, `processes` rounds of them; a round runs every parent once, in an order drawn anew.

    With a probe before and after each process, those beside a busy neighbour are told apart as a calibration tells
    them: such parents run again, at most as often as they were asked for, and the loud processes are left out of a case
    that has quiet ones enough.

    Cases that differ only in `caller` share a parent process, which measures them in an order drawn too. A case that
    cannot be run here gives a result with `error` and no processes, and the others are run all the same.

    Args:
        cases: what to run; equal ones are run once.
        processes, reps, capture: as in `run_case`.
        seed: of the orders.
        progress: called with one line before each process.
        budget_s: no process is started after this time; what has been measured is returned.
        probe: looks how loud the host is; None: nothing is left out.

    Raises:
        BadInput: a case is no valid one (nothing is run then), or a count is out of bounds.
    """
    _check_counts(processes, reps)
    parents: dict[LiveCase, list[LiveCase]] = {}
    for case in dict.fromkeys(cases):
        check_case(case)
        parents.setdefault(case.parent, []).append(case)
    matrix = _Matrix(parents, random.Random(seed), reps, capture, probe)
    end_s = None if budget_s is None else time.monotonic() + budget_s
    matrix.run(processes, end_s, progress or (lambda line: None))
    return tuple(matrix.result(case) for case in cases)


class _Matrix:
    """The state of run_matrix: what is left to run and what has been measured."""

    def __init__(
        self,
        parents: dict[LiveCase, list[LiveCase]],
        rng: random.Random,
        reps: int,
        capture: Capture | None,
        probe: Callable[[], Probe] | None,
    ) -> None:
        self._parents = parents
        self._rng = rng
        self._reps = reps
        self._capture = capture
        self._probe = probe
        self._probes: list[tuple[float, float]] = []
        self._taken: dict[LiveCase, list[int]] = {}
        self._measured: dict[LiveCase, list[LiveProcess]] = {}
        self._errors: dict[LiveCase, str] = {}

    def run(self, rounds: int, end_s: float | None, progress: Callable[[str], None]) -> None:
        """All rounds, and as many again of what was loud; or as many processes as start before `end_s` (of
        time.monotonic)."""
        for number in range(1, 2 * rounds + 1):
            order = [parent for parent in self._parents if parent not in self._errors]
            if number > rounds:
                noisy = self._loud()
                order = [each for each in order if sum(not noisy[at] for at in self._taken[each]) < rounds]
            self._rng.shuffle(order)
            for place, parent in enumerate(order, 1):
                if end_s is not None and time.monotonic() >= end_s:
                    return
                progress(f"round {number} of {rounds}, {place} of {len(order)}: {parent.label.rsplit(' ', 1)[0]}")
                self._run_parent(parent)

    def _run_parent(self, parent: LiveCase) -> None:
        cases = list(self._parents[parent])
        self._rng.shuffle(cases)
        before = self._look()
        try:
            runs = _run_process(cases, self._reps, self._capture)
        except BadInput as error:
            self._errors[parent] = str(error)
            return
        self._taken.setdefault(parent, []).append(len(self._probes))
        after = self._look()
        self._probes.append((max(before.fork_ns, after.fork_ns), max(before.chase_ns, after.chase_ns)))
        for case, run in zip(cases, runs, strict=True):
            self._measured.setdefault(case, []).append(run)

    def _look(self) -> Probe:
        return self._probe() if self._probe is not None else Probe(0.0, 0.0)

    def _loud(self) -> list[bool]:
        """Of each process that was run, whether a neighbour was busy beside it."""
        return loud(self._probes)

    def result(self, case: LiveCase) -> LiveResult:
        """What was measured of a case: its quiet processes, or all where they are too few."""
        measured = tuple(self._measured.get(case, ()))
        error = self._errors.get(case.parent)
        noisy = self._loud()
        quiet = [each for at, each in zip(self._taken.get(case.parent, ()), measured, strict=True) if not noisy[at]]
        if LEAST_QUIET <= len(quiet) < len(measured):
            return LiveResult(case=case, processes=tuple(quiet), error=error, loud=len(measured) - len(quiet))
        if not measured and error is None:
            error = "the time was up before its turn"
        return LiveResult(case=case, processes=measured, error=error)


def _run_process(cases: Sequence[LiveCase], reps: int, capture: Capture | None) -> list[LiveProcess]:
    """One parent process that measures all of `cases`, which differ only in `caller`."""
    limit_s = limit_of(cases[0], len(cases) * (reps + FAULT_REPS))
    with started(cases[0], capture, limit_s) as driver:
        return [driver.measure(case.caller, reps, FAULT_REPS) for case in cases]


def _check_counts(processes: int, reps: int) -> None:
    for name, value, most in (("processes", processes, 100), ("reps", reps, MOST_REPS)):
        if not 1 <= value <= most:
            raise BadInput(f"{name} {value}", "out of bounds", f"give 1 to {most}")
