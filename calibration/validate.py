"""Predicted beside measured for real programs that the fit never saw, here and now: live JVMs, CPython, a C parent.

Each case runs in several fresh processes, interleaved with the others; each process is captured just before it measures
and predicted from that capture. Halves of the processes against each other give each case's own noise floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from calibration.capture.elf import capture_elf
from calibration.errors import BadInput
from calibration.live.artefacts import find_java
from calibration.live.cases import GIB_BYTES, MIB_BYTES, LiveCase, c_matrix, cpython_matrix, jvm_matrix
from calibration.live.results import LiveProcess, LiveResult, noise_floor
from calibration.live.runs import run_matrix
from calibration.machine_file import MachineFile
from calibration.quantiles import quantile
from model.elf_image import ElfImage
from model.prediction import Milestone
from model.rules import Rules
from model.scenario import Spawn, spawn_and_wait
from model.simulation import HELPED, simulate

MILESTONES = ("call", "reaped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One milestone of one case.

    Attributes:
        case, milestone: what was run.
        measured_p10_ns, measured_p50_ns, measured_p90_ns: of all repetitions of all processes.
        predicted: from the captures: the mean over processes.
        floor: |ln| of the p50 of odd against even processes; NaN with fewer than two.
    """

    case: LiveCase
    milestone: str
    measured_p10_ns: float
    measured_p50_ns: float
    measured_p90_ns: float
    predicted: Milestone
    floor: float

    @property
    def error(self) -> float:
        """ln(predicted p50 / measured p50)."""
        return math.log(self.predicted.p50_ns / self.measured_p50_ns)

    @property
    def covered(self) -> bool:
        """Whether the measured p50 lies within [lo, hi]."""
        return self.predicted.lo_ns <= self.measured_p50_ns <= self.predicted.hi_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Outcome: what was compared, and what could not be run, with the reason."""

    machine: str
    comparisons: tuple[Comparison, ...]
    skipped: tuple[tuple[str, str], ...]


def cases_of(kinds: Sequence[str], *, large: bool) -> list[LiveCase]:
    """The cases of a validation: real programs, small and large, hot and cold."""
    heaps = (256 * MIB_BYTES, 2 * GIB_BYTES) if large else (256 * MIB_BYTES,)
    matrices = {"jvm": jvm_matrix, "c": c_matrix, "cpython": cpython_matrix}
    cases: list[LiveCase] = []
    for kind in kinds:
        if kind not in matrices:
            raise BadInput(f"--kind {kind}", "no such live parent", f"one of {', '.join(matrices)}")
        threads = (0, 200) if large and kind == "jvm" else (0,)
        cases += matrices[kind](heap_sizes_bytes=heaps, threads=threads)
    return [case for case in cases if case.mechanism != "posix_spawn" or case.kind == "c"]


def validate(
    file: MachineFile,
    cases: Sequence[LiveCase],
    *,
    processes: int = 4,
    reps: int = 20,
    progress: Callable[[str], None] | None = None,
) -> Validation:
    """Run the cases and predict each from its captures.

    Raises:
        BadInput: nothing could be compared.
    """
    results = run_matrix(cases, processes=processes, reps=reps, progress=progress)
    comparisons = [each for result in results if result.processes for each in compare(file, result)]
    skipped = tuple((result.case.label, result.error or "") for result in results if not result.processes)
    if not comparisons:
        raise BadInput("validate", "nothing could be compared", skipped[0][1] if skipped else "give another --kind")
    return Validation(machine=file.machine.name, comparisons=tuple(comparisons), skipped=skipped)


def compare(file: MachineFile, result: LiveResult) -> list[Comparison]:
    """Both milestones of one case."""
    images = Images(result.case)
    predictions = [predict(file, result.case, each, images) for each in result.processes if each.snapshot is not None]
    found: list[Comparison] = []
    for name in MILESTONES:
        milestones = [each[name] for each in predictions if name in each]
        if not milestones:
            continue
        samples = [float(value) for value in result.samples_ns("call" if name == "call" else "reaped")]
        floor = noise_floor(result, "call" if name == "call" else "reaped")
        found.append(
            Comparison(
                case=result.case,
                milestone=name,
                measured_p10_ns=quantile(samples, 0.1),
                measured_p50_ns=quantile(samples, 0.5),
                measured_p90_ns=quantile(samples, 0.9),
                predicted=mean_of(milestones),
                floor=math.nan if floor is None else floor,
            )
        )
    return found


class Images:
    """The images that a case executes, read once."""

    def __init__(self, case: LiveCase) -> None:
        self.target: ElfImage = capture_elf(case.target)
        self.helper: ElfImage | None = None
        if case.mechanism in HELPED:
            self.helper = capture_elf(str(find_java(case.runtime).parent.parent / "lib" / "jspawnhelper"))


def predict(file: MachineFile, case: LiveCase, process: LiveProcess, images: Images) -> dict[str, Milestone]:
    """Milestones of one process, from its capture."""
    assert process.snapshot is not None
    spawn = Spawn(
        mechanism=case.mechanism,
        target=images.target,
        helper=images.helper,
        envp_bytes=process.envp_bytes,
    )
    rules: Rules = file.machine.rules
    scenario = spawn_and_wait(process.snapshot, spawn, rules=rules)
    return dict(simulate(scenario, file.machine, file.costs).milestones)


def mean_of(milestones: Sequence[Milestone]) -> Milestone:
    """The mean of each number over processes."""
    names = ("quiet_ns", "p10_ns", "p50_ns", "p90_ns", "lo_ns", "hi_ns")
    return Milestone(
        **{name: math.fsum(getattr(each, name) for each in milestones) / len(milestones) for name in names}
    )


def summary(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """n, median and p90 of |ln|, within 10 % and 20 %, coverage of [lo, hi] and of p10–p90, one-sidedness."""
    errors = [abs(each.error) for each in comparisons]
    floors = [each.floor for each in comparisons if math.isfinite(each.floor)]
    inside = [each.predicted.p10_ns <= each.measured_p50_ns <= each.predicted.p90_ns for each in comparisons]
    n = len(comparisons)
    return {
        "n": n,
        "median_error": quantile(errors, 0.5),
        "p90_error": quantile(errors, 0.9),
        "worst_error": max(errors),
        "within_10_percent": sum(error <= 0.1 for error in errors) / n,
        "within_20_percent": sum(error <= 0.2 for error in errors) / n,
        "too_low": sum(each.error < 0 for each in comparisons) / n,
        "coverage": sum(each.covered for each in comparisons) / n,
        "p50_within_p10_p90": sum(inside) / n,
        "median_floor": quantile(floors, 0.5) if floors else None,
    }
