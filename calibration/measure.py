"""The protocol: fresh processes, pinned, in random order, with a drift probe beside each round as a gate."""

from __future__ import annotations

import contextlib
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calibration.beside import one_cpu_left
from calibration.build import BENCH_FLAGS, Builder, BuildError, is_spawn_bench
from calibration.drift import DriftProbe, Probe, round_record
from calibration.errors import BadInput
from calibration.quality import rows_apart
from calibration.run_bench import BenchError, BenchUnavailableError, held_bench, remove_left, run_bench
from calibration.samples import Row, Run, Sample, SampleWriter, append_run, read_runs
from calibration.settings import folio_settings_kept
from calibration.targets import build_target, target_of

ROUND_S = 2.0
_SAMPLE_KEYS = frozenset(Sample.__dataclass_fields__)
_HEADER_LEFT_OUT = frozenset({"bench", "args", "pid"})  # said by the row, or meaningless later
Progress = Callable[[int, int, str], None]


@dataclass(slots=True)
class _Session:
    """What one call of measure_rows works with."""

    writer: SampleWriter
    builder: Builder
    probe: DriftProbe
    cpu: int
    deadline_s: float
    progress: Progress
    benches: dict[str, Path]
    targets: dict[str, Path | None] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    given_up: dict[str, str] = field(default_factory=dict)
    history: list[Probe] = field(default_factory=list)
    round: int = 0
    done: int = 0
    total: int = 0

    def out_of_time(self) -> bool:
        return time.monotonic() > self.deadline_s


def measure_rows(
    rows: Sequence[Row],
    *,
    out: Path,
    budget_s: float,
    seed: int,
    progress: Progress,
    capture: Callable[[int], dict[str, Any]] | None = None,
    capture_target: Callable[[Path], dict[str, Any]] | None = None,
    circumstances: Mapping[str, Any] | None = None,
    builder: Builder | None = None,
) -> None:
    """Measures rows into a file of samples, made or continued; may be interrupted, and repeats nothing that it holds.

    Args:
        budget_s: no process is started after it; every row is thinned alike.
        seed: of the order.
        progress: called with processes done, processes in all, and what is being done.
        capture, capture_target: give what /proc tells of a held spawn bench, and what is in a target; once a row.
        circumstances: host, date and so on, for the first line of a new file.

    Raises:
        BadInput: no compiler, an unknown bench, two rows of one name, or a file that cannot be written.
    """
    if len({row.name for row in rows}) != len(rows):
        raise BadInput("rows", "two rows have one name", "name each row once")
    deadline_s = time.monotonic() + budget_s
    remove_left()
    builder = builder if builder is not None else Builder()
    benches = builder.benches(row.bench for row in rows)
    cpu = max(os.sched_getaffinity(0))
    built_by = {"compiler": builder.compiler.version, "flags": list(BENCH_FLAGS)}
    first_line = {**(circumstances or {}), **built_by, "seed": seed}
    with SampleWriter(out, first_line) as writer, folio_settings_kept():
        probe = DriftProbe(builder, cpu)
        session = _Session(writer, builder, probe, cpu, deadline_s, progress, benches)
        pairs = _prepare(session, rows, out, seed)
        _look_at(session, rows, out, capture, capture_target)
        _rounds(session, pairs)
        _rounds(session, _once_more(session, rows, out))


def _prepare(session: _Session, rows: Sequence[Row], out: Path, seed: int) -> list[tuple[Row, int]]:
    """Continues a file: what is left to do, each row spread evenly over the time, in random order."""
    before = read_runs(out)
    session.round = 1 + max([run.round for run in before.runs] + [item.round for item in before.rounds], default=-1)
    session.history = [Probe(item.fork_ns, item.chase_ns) for item in before.rounds]
    there = {(run.row, run.process) for run in before.runs}
    dice = random.Random(seed)
    order = [((i + dice.random()) / row.processes, row, i) for row in rows for i in range(row.processes)]
    order.sort(key=lambda item: item[0])
    session.total = len(order)
    pairs = [(row, i) for _, row, i in order if (row.name, i) not in there]
    session.done = session.total - len(pairs)
    return pairs


def _arguments(session: _Session, row: Row) -> list[str]:
    """The row's arguments, with the path of its target. Raises BuildError if that cannot be built."""
    arguments = list(row.args)
    spec = target_of(row.args)
    if spec is not None:
        if row.name not in session.targets:
            session.targets[row.name] = None
            session.targets[row.name] = build_target(spec, session.builder)
        path = session.targets[row.name]
        if path is None:
            raise BuildError(session.given_up.get(row.name, "its target cannot be built"))
        arguments += ["--target-path", str(path)]
    return arguments


def _failed(session: _Session, row: Row, process: int, error: Exception) -> None:
    """Notes a failure. What is missing on this machine stays missing; anything else may have been bad luck, once."""
    session.failures[row.name] = session.failures.get(row.name, 0) + 1
    if session.failures[row.name] > 1 or not isinstance(error, BenchError):
        session.given_up[row.name] = str(error)
    session.writer.append({"kind": "skipped", "row": row.name, "process": process, "reason": str(error)})


def _look_at(
    session: _Session,
    rows: Sequence[Row],
    out: Path,
    capture: Callable[[int], dict[str, Any]] | None,
    capture_target: Callable[[Path], dict[str, Any]] | None,
) -> None:
    """Captures each row's parent and target once, before anything is timed."""
    there = {(note.kind, note.row) for note in read_runs(out).notes}
    for row in rows:
        if session.out_of_time():
            return
        try:
            arguments = _arguments(session, row)
            target = session.targets.get(row.name)
            if capture_target is not None and target is not None and ("target", row.name) not in there:
                session.writer.append({"kind": "target", "row": row.name, "state": capture_target(target)})
            if capture is not None and is_spawn_bench(row.bench) and ("parent", row.name) not in there:
                session.progress(session.done, session.total, f"looking at {row.name}")
                cpu = session.cpu if row.pinned else None
                with held_bench(session.benches[row.bench], [*arguments, "--reps", str(row.reps)], cpu=cpu) as header:
                    state = capture(int(header["pid"]))
                session.writer.append({"kind": "parent", "row": row.name, "state": state})
        except (BenchError, BenchUnavailableError, BuildError) as error:
            _failed(session, row, -1, error)


def _rounds(session: _Session, pairs: Sequence[tuple[Row, int]]) -> None:
    """Rounds of some seconds, each between two probes; one that the gate stops is repeated once."""
    waiting = iter(pairs)
    while not session.out_of_time():
        taken: list[tuple[Row, int]] = []
        quiet = _one_round(session, _for_a_while(waiting, taken))
        if not taken:
            return
        if not quiet and not session.out_of_time():
            _one_round(session, iter(tuple(taken)), again=True)


def _once_more(session: _Session, rows: Sequence[Row], out: Path) -> list[tuple[Row, int]]:
    """With time left: half as many processes again of the pinned rows whose halves differ, the worst first."""
    if session.out_of_time():
        return []
    kept = read_runs(out).kept()
    planned = {row.name: row for row in rows if row.pinned}
    found: list[tuple[Row, int]] = []
    for name in rows_apart({name: runs for name, runs in kept.items() if name in planned}):
        row, there = planned[name], len(kept[name])
        first = 1 + max(run.process for run in kept[name])  # one that failed left a gap
        if there < 1.5 * row.processes:
            found += [(row, first + i) for i in range(math.ceil(row.processes / 2))]
    session.total += len(found)
    return found


def _for_a_while(waiting: Iterator[tuple[Row, int]], taken: list[tuple[Row, int]]) -> Iterator[tuple[Row, int]]:
    """Passes on pairs until the round's time is over, and notes them."""
    end_s = time.monotonic() + ROUND_S
    while time.monotonic() < end_s:
        pair = next(waiting, None)
        if pair is None:
            return
        taken.append(pair)
        yield pair


def _one_round(session: _Session, pairs: Iterator[tuple[Row, int]], again: bool = False) -> bool:
    """Runs pairs between two probes, the louder of which counts. True if the round was quiet (or empty)."""
    probes = [session.probe.take()]
    ran = False
    for row, process in pairs:
        if session.out_of_time():
            break
        ran = True
        _one_process(session, row, process)
        session.done += not again
        session.progress(session.done, session.total, row.name)
    if not ran:
        return True
    probes.append(session.probe.take())
    session.history += probes
    line = round_record(session.round, session.history)
    session.writer.append(line)
    session.round += 1
    return bool(line["quiet"])


def _one_process(session: _Session, row: Row, process: int) -> None:
    """One fresh process of one row. A row that cannot be run is skipped, with its reason."""
    if row.name in session.given_up:
        return
    cpu = session.cpu if row.pinned else None
    try:
        arguments = [*_arguments(session, row), "--reps", str(row.reps)]
        with one_cpu_left() if row.one_cpu_left else contextlib.nullcontext():
            output = run_bench(session.benches[row.bench], arguments, cpu=cpu)
    except (BenchError, BenchUnavailableError, BuildError) as error:
        _failed(session, row, process, error)
        return
    samples = tuple(
        Sample(**{key: value for key, value in record.items() if key in _SAMPLE_KEYS})
        for record in output.records
        if "rep" in record
    )
    header = {key: value for key, value in output.header.items() if key not in _HEADER_LEFT_OUT}
    if not samples and output.records:  # a bench that counts: what it found is all there is
        header["counts"] = output.records[0]
    run = Run(
        row=row.name,
        bench=row.bench,
        args=row.args,
        process=process,
        round=session.round,
        pinned=row.pinned,
        pass_=row.pass_,
        header=header,
        samples=samples,
    )
    append_run(session.writer, run)
