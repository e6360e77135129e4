"""Predicted beside measured for exec itself: real programs from execve to `_start`, and from vfork to being reaped.

Each runs as a copy that ends at its entry, as it is and with LD_BIND_NOW=1, from a small C parent that spawns on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from calibration.capture.elf import capture_elf
from calibration.comparison import Comparison, Outcome, dearest
from calibration.errors import BadInput
from calibration.live.exec_runs import MILESTONES, ExecCase, ExecRuns, capture_caller, copies, run_execs
from calibration.live.programs import find_programs
from calibration.machine_file import MachineFile
from model.elf_image import LOADER_CACHE, ElfImage
from model.prediction import Milestone, Prediction
from model.process import Caller, Process
from model.scenario import Spawn, spawn_and_wait
from model.simulation import simulate
from model.spread import stretch

GROUP = "exec"
_BIND_NOW_BYTES = len("LD_BIND_NOW=1") + 1
_CAN_EXTRAPOLATE = ("libraries", "relative_relocations", "symbol_lookups")


def validate_exec(
    file: MachineFile,
    *,
    processes: int = 4,
    reps: int = 12,
    names: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Outcome:
    """Run real programs to their `_start`, and predict each from its files.

    Args:
        processes: fresh callers of each program, interleaved; reps: starts in each.
        names: programs to take; None: all that are known and installed.

    Raises:
        BadInput: nothing could be compared, no C compiler, or the machine file lacks a price.
    """
    programs = find_programs().among(names)
    skipped = list(programs.passed_over.items())
    with tempfile.TemporaryDirectory(prefix="spawncost-") as folder:
        cases: list[ExecCase] = []
        for name, path in programs.found.items():
            try:
                case = copies(name, path, Path(folder))
            except (BadInput, OSError) as error:
                skipped.append((name, str(error)))
                continue
            cases += [case, replace(case, name=f"{name} LD_BIND_NOW", bind_now=True)]
        done = run_execs(cases, processes=processes, reps=reps, progress=progress)
        skipped += [(each.case.name, each.error) for each in done if each.error]
        comparisons = compared(file, done, GROUP)
    if not comparisons:
        raise BadInput("--kind exec", "nothing could be compared", skipped[0][1] if skipped else "install programs")
    return Outcome(machine=file.machine.name, comparisons=tuple(comparisons), skipped=tuple(skipped))


def compared(file: MachineFile, done: Sequence[ExecRuns], group: str) -> list[Comparison]:
    """Both milestones of every case that ran, predicted while its copies are still there."""
    ran = [each for each in done if any(each.samples_ns["start"])]
    caller = capture_caller(ran[0].case) if ran else None
    found: list[Comparison] = []
    for each in ran:
        assert caller is not None
        image = capture_elf(each.case.stopped, bind_now=each.case.bind_now or None, environ={})
        prediction = predict_exec(file, caller, image, each.case)
        predicted = {"start": start_of(file, prediction), "reaped": prediction.milestones["reaped"]}
        found += [
            Comparison(
                case=each.case.name,
                milestone=name,
                group=group,
                samples_ns=tuple(each.samples_ns[name]),
                predictions=(predicted[name],),
                remark=remark_on(file, prediction, image, "main" if name == "start" else name),
            )
            for name in MILESTONES
        ]
    return found


def predict_exec(file: MachineFile, caller: Process, image: ElfImage, case: ExecCase) -> Prediction:
    """The spawn of a stopped copy, as exec_loop.c does it; what the case evicts is read in from the storage."""
    spawn = Spawn(
        mechanism="vfork",
        target=image,
        argv_bytes=len(case.stopped) + 1,
        envp_bytes=_BIND_NOW_BYTES if case.bind_now else 0,
        runs_main=False,
    )
    parent = replace(caller, caller=Caller.HOT, writable=0.0, assumed=())
    files = [LOADER_CACHE, *(each.path for each in image.objects)]
    cached = frozenset(each for each in files if each not in case.evicted)
    scenario = spawn_and_wait(parent, spawn, rules=file.machine.rules, cold_files=bool(case.evicted), cached=cached)
    return simulate(scenario, file.machine, file.costs)


def start_of(file: MachineFile, prediction: Prediction) -> Milestone:
    """From execve to `_start`: a stretch of the child's own."""
    ledger = next(ledger for key, ledger in prediction.tasks.items() if key.endswith(" child"))
    begin_ns = min(each.start_ns for each in prediction.path)
    execve_ns = min(each.start_ns for each in ledger if "do_execveat_common" in each.path)
    return stretch(file.machine, begin_ns + prediction.milestones["main"].quiet_ns - execve_ns)


def remark_on(file: MachineFile, prediction: Prediction, image: ElfImage, milestone: str) -> str:
    """The dearest cost of the way to a milestone, its look-ups, and how far its image lies beyond what was measured."""
    values = {name: getattr(image, name) for name in _CAN_EXTRAPOLATE}
    values["libraries"] = len(image.libraries)
    beyond = [
        f"{value:,} {name.replace('_', ' ')} where {file.machine.measured[name]:,.0f} were measured"
        for name, value in values.items()
        if value > file.machine.measured.get(name, float("inf"))
    ]
    names = f"{image.symbol_lookups:,} look-ups of names of {_name_bytes(image):.0f} bytes"
    return ", ".join([dearest(prediction, milestone), names, *beyond])


def _name_bytes(image: ElfImage) -> float:
    return sum(each.lookup_name_bytes for each in image.objects) / max(1, image.symbol_lookups)
