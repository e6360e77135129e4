"""`spawncost validate`: predicted beside measured for real programs, here and now."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from calibration.machine_file import MachineFile

MOST_ERROR = 0.25
"""Median |ln| from which a validation has found a deviation."""
SPAWNS = ("jvm", "c", "cpython", "redis")
"""Kinds of live parents, which may be mixed."""
REPS = {"exec": 12, "libraries": 8, "loader": 10, "busy": 40}
"""Repetitions in each process; 20 of any other kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What a run gives: its document, its text, whether all is well."""

    document: dict[str, Any]
    text: str
    right: bool


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def validate(
        machine: Annotated[str | None, typer.Option(help="bundled, a name, or a machine file.")] = None,
        kind: Annotated[
            list[str] | None,
            typer.Option(help="jvm, c, cpython, redis (may be repeated), or one of the kinds below."),
        ] = None,
        large: Annotated[bool, typer.Option("--large", help="Heaps of 2 GiB and 200 threads as well.")] = False,
        processes: Annotated[int, typer.Option(min=1, max=20, help="Fresh processes of each case.")] = 3,
        store: Annotated[bool, typer.Option("--store", help="Keep it as a file in calibration/validation/.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    ) -> int:
        """Run real programs that the fit never saw and print predicted beside measured; 1 if an error is too large.

        --kind exec: real programs from execve to their `_start`, as copies that end there. --kind libraries: what
        fifty of them add. --kind loader: what their ld.so says that it took. --kind load: what writes meet beside a
        fork. --kind busy: spawns while none, one, all CPUs are busy.
        --kind thp: first writes to a huge page after a fork. --kind sizes: forks of 64 MiB to 2 GiB.
        --kind locks: what calls beside a fork wait for.
        """
        from calibration.machine_file import find_machine
        from calibration.record import Protocol, record

        file = find_machine(machine)
        kinds = kind or list(SPAWNS)
        answer = _answer_of(kinds)(file, kinds, large, processes)
        print(json.dumps(answer.document, indent=1, allow_nan=False) if as_json else answer.text)
        if store:
            words = ["spawncost validate", *(f"--kind {each}" for each in kinds), f"--processes {processes}"]
            command = " ".join([*words, *(["--large"] if large else []), "--store"])
            reps = REPS.get(kinds[0], 20)
            path = record(answer.document, file, Protocol(kinds=kinds, command=command, processes=processes, reps=reps))
            print(f"kept as {path}", file=sys.stderr)
        return 0 if answer.right else 1


Runner = Callable[["MachineFile", list[str], bool, int], _Answer]


def _answer_of(kinds: list[str]) -> Runner:
    """Who runs these kinds. Raises BadInput for kinds that cannot be mixed."""
    from calibration.errors import BadInput

    alone: dict[str, Runner] = {
        "exec": _exec,
        "libraries": _libraries,
        "loader": _loader,
        "load": _load,
        "busy": _busy,
        "thp": _thp,
        "sizes": _sizes,
        "locks": _locks,
    }
    found = [each for each in kinds if each in alone]
    if found and len(set(kinds)) > 1:
        raise BadInput(f"--kind {found[0]}", "it has figures of its own", "ask for the other kinds in another run")
    return alone[found[0]] if found else _spawns


def _spawns(file: MachineFile, kinds: list[str], large: bool, processes: int) -> _Answer:
    from calibration.rules_of_thumb import beside_rules
    from calibration.summaries import summary
    from calibration.validate import cases_of, redis_cases
    from calibration.validate import validate as run
    from experiments.validation_report import validation_document, validation_text

    cases = cases_of([each for each in kinds if each != "redis"], large=large)
    redis = redis_cases(large=large) if "redis" in kinds else []
    done = run(file, cases, redis=redis, processes=processes, reps=20, progress=_progress)
    rules = beside_rules(file, done.comparisons)
    return _Answer(
        document=validation_document(done, rules),
        text=validation_text(done, rules),
        right=summary(done.comparisons)["median_error"] <= MOST_ERROR,
    )


def _exec(file: MachineFile, kinds: list[str], large: bool, processes: int) -> _Answer:
    from calibration.summaries import summary
    from calibration.validate_exec import validate_exec
    from experiments.validation_report import validation_document, validation_text

    done = validate_exec(file, processes=processes, reps=REPS["exec"], progress=_progress)
    return _Answer(
        document=validation_document(done),
        text=validation_text(done),
        right=summary(done.comparisons)["median_error"] <= MOST_ERROR,
    )


def _libraries(file: MachineFile, kinds: list[str], large: bool, processes: int) -> _Answer:
    from calibration.summaries import summary
    from calibration.validate_libraries import validate_libraries
    from experiments.library_report import library_document, library_text
    from experiments.what_if import WhatIf, machine_if

    bare = machine_if(file, WhatIf(bare_metal=True))
    done = validate_libraries(file, bare, processes=processes, reps=REPS["libraries"], progress=_progress)
    median = summary([each.comparison for each in done.cases])["median_error"]
    return _Answer(document=library_document(done), text=library_text(done), right=median <= MOST_ERROR)


def _loader(file: MachineFile, kinds: list[str], large: bool, processes: int) -> _Answer:
    from calibration.validate_loader import loader_summary, validate_loader
    from experiments.loader_report import loader_document, loader_text

    done = validate_loader(file, runs=REPS["loader"], progress=_progress)
    right = float(loader_summary(done.comparisons)["median_error"]) <= MOST_ERROR
    return _Answer(document=loader_document(done), text=loader_text(done), right=right)


def _load(file: MachineFile, kinds: list[str], large: bool, processes: int) -> _Answer:
    """Mutators beside a fork: what is compared are counts, not milestones."""
    from calibration.live.mutating import load_matrix
    from calibration.validate_load import validate_load
    from experiments.load_validation import load_document, load_text

    found, skipped = validate_load(file, load_matrix(), processes=processes, progress=_progress)
    return _Answer(
        document=load_document(file.machine.name, found, skipped),
        text=load_text(found, skipped),
        right=all(each.right for each in found),
    )


def _busy(file: MachineFile, kinds: list[str], large: bool, processes: int) -> _Answer:
    """Spawns while other programs keep CPUs busy: p50 and p90 of each, as a distribution is what they have."""
    from calibration.validate_busy import validate_busy
    from experiments.load_validation import busy_document, busy_text

    found = validate_busy(file, processes=processes, reps=REPS["busy"], progress=_progress)
    return _Answer(
        document=busy_document(file.machine.name, found),
        text=busy_text(found),
        right=all(each.right for each in found),
    )


def _thp(file: MachineFile, kinds: list[str], large: bool, processes: int) -> _Answer:
    """First writes to huge pages: a split and single copies, a reuse, and before 5.8 one copy of it all."""
    from calibration.validate_thp import validate_thp
    from experiments.thp_report import thp_document, thp_text

    found = validate_thp(file, processes=max(2, processes), progress=_progress)
    right = all(abs(each.error) <= max(MOST_ERROR, 1.5 * each.floor) for each in found)
    return _Answer(document=thp_document(file.machine.name, found), text=thp_text(found), right=right)


def _sizes(file: MachineFile, kinds: list[str], large: bool, processes: int) -> _Answer:
    """Forks by size, frames and caller: what is compared are quiet times."""
    from calibration.validate_sizes import LEAST_PROCESSES, validate_sizes
    from experiments.sizes_report import sizes_document, sizes_text

    found = validate_sizes(file, processes=max(LEAST_PROCESSES, processes), progress=_progress)
    right = all(found.right(end) for end in {each.end for each in found.comparisons})
    return _Answer(document=sizes_document(found), text=sizes_text(found), right=right)


def _locks(file: MachineFile, kinds: list[str], large: bool, processes: int) -> _Answer:
    """Calls that need a lock which a fork holds: their longest waits."""
    from calibration.validate_locks import validate_locks
    from experiments.locks_report import locks_document, locks_text

    found = validate_locks(file, processes=max(2, processes), progress=_progress)
    document = locks_document(file.machine.name, found)
    return _Answer(document=document, text=locks_text(found), right=all(each.right for each in found))


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
