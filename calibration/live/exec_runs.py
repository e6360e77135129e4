"""How long real programs take from execve to `_start` and from vfork to their end: copies that end at their entry.

A fresh caller for each program and round (exec_loop.c), all in random order, so that drift falls on all alike.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calibration.capture.procfs import capture_process
from calibration.errors import BadInput
from calibration.live.artefacts import c_program
from calibration.live.programs import stamped_copy, stopped_copy
from calibration.run_bench import BenchError, held_bench, run_bench
from model.process import Process

MILESTONES = ("start", "reaped")
"""From execve to `_start`; from vfork until the caller's wait has returned."""
EVICTED_FEWER = 4
"""So many times fewer repetitions where pages are evicted: each reads its files anew."""
_COLUMNS = {"start": "exec_ns", "reaped": "reaped_ns"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecCase:
    """A program as it is run.

    Attributes:
        name: for reports.
        stopped, stamped: its two copies: one ends at its entry, the other tells the time there first.
        bind_now: whether LD_BIND_NOW=1 is its environment, which else is empty.
        evicted: files whose pages leave the page cache before each start, as far as nobody else maps them.
    """

    name: str
    stopped: str
    stamped: str
    bind_now: bool = False
    evicted: tuple[str, ...] = ()


@dataclass(slots=True)
class ExecRuns:
    """What was measured of a case.

    Attributes:
        samples_ns: by milestone, of each process its repetitions.
        major_faults: of each repetition of the stopped copy: reads that the page cache did not spare.
        error: why there is nothing, or less than asked for.
    """

    case: ExecCase
    samples_ns: dict[str, list[tuple[float, ...]]] = field(default_factory=lambda: {name: [] for name in MILESTONES})
    major_faults: list[int] = field(default_factory=list)
    error: str = ""


def copies(name: str, path: str, folder: Path, *, bind_now: bool = False) -> ExecCase:
    """The case of a program, its copies in `folder`. Raises BadInput or OSError where it cannot be copied."""
    stopped, stamped = stopped_copy(path, folder), stamped_copy(path, folder)
    return ExecCase(name=name, stopped=str(stopped), stamped=str(stamped), bind_now=bind_now)


def capture_caller(case: ExecCase) -> Process:
    """The caller of a case as it is before its first spawn.

    Raises:
        BadInput: no C compiler, or a caller that does not start.
    """
    try:
        with held_bench(c_program("exec_loop"), _arguments(case, 1), cpu=None) as header:
            return capture_process(int(header["pid"]))
    except BenchError as error:
        raise BadInput("exec_loop", str(error), "see whether the copies may be executed") from error


def run_execs(
    cases: Sequence[ExecCase],
    *,
    processes: int,
    reps: int,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[ExecRuns]:
    """Measure each case in `processes` fresh callers of `reps` repetitions; a case that fails says why and is left.

    Raises:
        BadInput: no C compiler.
    """
    caller, dice = c_program("exec_loop"), random.Random(seed)
    found = [ExecRuns(case) for case in cases]
    with tempfile.TemporaryDirectory(prefix="spawncost-") as folder:
        lists = [_list_file(case, Path(folder) / str(index)) for index, case in enumerate(cases)]
        for number in range(1, processes + 1):
            order = [index for index, each in enumerate(found) if not each.error]
            for place, index in enumerate(dice.sample(order, len(order)), 1):
                if progress is not None:
                    progress(f"round {number} of {processes}, {place} of {len(order)}: {cases[index].name}")
                own = reps if not cases[index].evicted else max(2, reps // EVICTED_FEWER)
                _run(found[index], caller, [*_arguments(cases[index], own), *lists[index]])
    return found


def _list_file(case: ExecCase, path: Path) -> list[str]:
    if not case.evicted:
        return []
    path.write_text("".join(f"{each}\n" for each in case.evicted))
    return ["--evict", str(path)]


def _arguments(case: ExecCase, reps: int) -> list[str]:
    words = ["--stopped", case.stopped, "--stamped", case.stamped, "--reps", str(reps)]
    return [*words, "--bind-now"] if case.bind_now else words


def _run(found: ExecRuns, caller: Path, arguments: Sequence[str]) -> None:
    try:
        records = run_bench(caller, arguments, cpu=None).records
    except BenchError as error:
        found.error = str(error)
        return
    for name, column in _COLUMNS.items():
        found.samples_ns[name].append(tuple(float(each[column]) for each in records))
    found.major_faults += [int(each["majflt"]) for each in records]
