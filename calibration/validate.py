"""Predicted beside measured for programs that the fit never saw, here and now: live JVMs, CPython, a C parent, Redis.

Each case runs in several fresh processes, interleaved with the others; each process is captured just before it measures
and predicted from that capture. Halves of the processes against each other give each case's own noise floor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from calibration.build import Builder, BuildError
from calibration.capture.elf import capture_elf
from calibration.comparison import Comparison, Outcome, dearest
from calibration.drift import DriftProbe, Probe
from calibration.errors import BadInput
from calibration.live.artefacts import find_java
from calibration.live.cases import GIB_BYTES, MIB_BYTES, LiveCase, c_matrix, cpython_matrix, jvm_matrix
from calibration.live.redis import RedisCase, RedisRuns, run_redis
from calibration.live.results import LiveProcess, LiveResult, Milestone
from calibration.live.runs import run_matrix
from calibration.machine_file import MachineFile
from calibration.quantiles import quantile
from model.elf_image import ElfImage
from model.mechanisms import HELPED, MECHANISMS
from model.prediction import Prediction
from model.rules import Rules
from model.scenario import Load, Scenario, Spawn, spawn_and_wait
from model.simulation import simulate

MILESTONES: tuple[Milestone, ...] = ("call", "reaped")
NO_LOAD = Load()
COPYING = ("fork", "jdk-fork")
"""Families of mechanisms that copy the parent's memory."""
REDIS = "redis"


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


def redis_cases(*, large: bool) -> list[RedisCase]:
    """Redis with a small data set, and a large one."""
    sizes = (64 * MIB_BYTES, 256 * MIB_BYTES, GIB_BYTES) if large else (64 * MIB_BYTES, 256 * MIB_BYTES)
    return [RedisCase(data_bytes=size) for size in sizes]


def validate(
    file: MachineFile,
    cases: Sequence[LiveCase],
    *,
    redis: Sequence[RedisCase] = (),
    processes: int = 4,
    reps: int = 20,
    progress: Callable[[str], None] | None = None,
) -> Outcome:
    """Run the cases and predict each from its captures.

    Raises:
        BadInput: nothing could be compared.
    """
    look = _probe() if cases else None
    results = run_matrix(cases, processes=processes, reps=reps, progress=progress, probe=look) if cases else ()
    comparisons = [each for result in results if result.processes for each in compare(file, result)]
    skipped = [(result.case.label, result.error or "") for result in results if not result.processes]
    for done in run_redis(redis, processes=processes, reps=reps, progress=progress) if redis else ():
        if done.snapshots:
            comparisons.append(compare_redis(file, done))
        if done.error:
            skipped.append((done.case.label, done.error))
    if not comparisons:
        raise BadInput("validate", "nothing could be compared", skipped[0][1] if skipped else "give another --kind")
    left_out = sum(result.loud for result in results)
    return Outcome(machine=file.machine.name, comparisons=tuple(comparisons), skipped=tuple(skipped), loud=left_out)


def _probe() -> Callable[[], Probe] | None:
    """The drift probe of a calibration; None where there is no compiler to build it."""
    try:
        return DriftProbe(Builder(), max(os.sched_getaffinity(0))).take
    except (BadInput, BuildError):
        return None


def compare(file: MachineFile, result: LiveResult, load: Load = NO_LOAD) -> list[Comparison]:
    """Both milestones of one case, each process by its own prediction, beside a load."""
    images = Images(result.case)
    captured = [each for each in result.processes if each.snapshot is not None]
    predictions = [predict(file, result.case, each, images, load) for each in captured]
    family = MECHANISMS[result.case.mechanism][2]
    found: list[Comparison] = []
    for name in MILESTONES:
        pairs = [
            (tuple(map(float, process.samples_ns(name))), prediction.milestones[name])
            for process, prediction in zip(captured, predictions, strict=True)
            if name in prediction.milestones and process.samples_ns(name)
        ]
        if not pairs:
            continue
        found.append(
            Comparison(
                case=result.case.label,
                milestone=name,
                group=f"{result.case.kind} {result.case.mechanism}",
                samples_ns=tuple(samples for samples, _ in pairs),
                predictions=tuple(milestone for _, milestone in pairs),
                remark=dearest(predictions[0], name),
                rss_bytes=quantile([float(each.rss_bytes) for each in captured], 0.5),
                copied=family in COPYING,
            )
        )
    return found


def compare_redis(file: MachineFile, done: RedisRuns) -> Comparison:
    """The fork of a snapshotting server, each process by its own prediction."""
    spawn = Spawn(mechanism="fork")
    predictions = [
        simulate(spawn_and_wait(each, spawn, rules=file.machine.rules), file.machine, file.costs)
        for each in done.snapshots
    ]
    return Comparison(
        case=done.case.label,
        milestone="call",
        group=REDIS,
        samples_ns=tuple(done.fork_ns),
        predictions=tuple(each.milestones["call"] for each in predictions),
        remark=dearest(predictions[0], "call"),
        rss_bytes=quantile([float(each) for each in done.rss_bytes], 0.5),
        copied=True,
    )


class Images:
    """The images that a case executes, read once."""

    def __init__(self, case: LiveCase) -> None:
        self.target: ElfImage = capture_elf(case.target)
        self.helper: ElfImage | None = None
        if case.mechanism in HELPED:
            self.helper = capture_elf(str(find_java(case.runtime).parent.parent / "lib" / "jspawnhelper"))


def predict(
    file: MachineFile, case: LiveCase, process: LiveProcess, images: Images, load: Load = NO_LOAD
) -> Prediction:
    """One process, from its capture."""
    assert process.snapshot is not None
    spawn = Spawn(
        mechanism=case.mechanism,
        target=images.target,
        helper=images.helper,
        envp_bytes=process.envp_bytes,
    )
    rules: Rules = file.machine.rules
    scenario: Scenario = spawn_and_wait(process.snapshot, spawn, rules=rules, load=load)
    return simulate(scenario, file.machine, file.costs)
