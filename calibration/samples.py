"""Raw samples: what is measured, one JSON line a record, only ever appended.

The first line names the schema and the circumstances (host, compiler, date); each further line is one record:
`run` (one process of one row, its repetitions as columns), `parent` (what the row's process looks like in /proc),
`target` (what it executes), `round` (the drift probe beside a stretch of runs), `skipped` (a run that could not be).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from calibration.errors import BadInput, unfit
from calibration.loudness import loud

SCHEMA = "spawncost.samples/1"
Pass = Literal["quiet", "unpinned", "state"]
Milestone = Literal["call", "main", "reaped", "value"]
LEAST_QUIET = 2
"""Quiet processes of a row that stand for it: with one alone nothing would tell how far processes differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing to measure: a bench with arguments.

    Attributes:
        name: unique in a plan.
        bench: the bench's name; args: its arguments, without --reps, --pin and the target's path.
        processes: fresh processes; reps: timed repetitions in each.
        pinned: on one CPU.
        one_cpu_left: every other CPU that it may use is kept busy.
        pass_: which pass it belongs to (quiet: for the fit; unpinned: for placement and spread; state: for what
            quiet small parents cannot teach).
    """

    name: str
    bench: str
    args: tuple[str, ...] = ()
    processes: int = 5
    reps: int = 9
    pinned: bool = True
    one_cpu_left: bool = False
    pass_: Pass = "quiet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One repetition, times in ns from the instant of the call. rep < 0: a warm-up."""

    rep: int
    call_ns: float | None = None
    reaped_ns: float | None = None
    main_ns: float | None = None
    value_ns: float | None = None
    n: int | None = None
    child_cpu: int | None = None
    caller_cpu_before: int | None = None
    caller_cpu_after: int | None = None
    minflt_caller: int | None = None
    minflt_child: int | None = None

    def milestone_ns(self, milestone: Milestone) -> float | None:
        """The time of a milestone (of a value bench: its value), None if it was not taken."""
        return {"call": self.call_ns, "main": self.main_ns, "reaped": self.reaped_ns, "value": self.value_ns}[milestone]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process of one row. `round`: the stretch of time it was taken in; `header`: what the bench says of itself."""

    row: str
    bench: str
    args: tuple[str, ...]
    process: int
    round: int
    pinned: bool
    pass_: Pass
    header: dict[str, Any]
    samples: tuple[Sample, ...]

    @property
    def timed(self) -> tuple[Sample, ...]:
        """The repetitions that count: without the warm-ups."""
        return tuple(sample for sample in self.samples if sample.rep >= 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The drift probe beside a round, in ns, and whether the gate let the round pass."""

    round: int
    fork_ns: float
    chase_ns: float
    quiet: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a row's process looks like (`parent`), what it executes (`target`) or why it was not run (`skipped`)."""

    kind: Literal["parent", "target", "skipped"]
    row: str
    process: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SampleFile:
    """All that one file of samples holds."""

    circumstances: dict[str, Any]
    runs: tuple[Run, ...]
    rounds: tuple[Round, ...]
    notes: tuple[Note, ...]

    @property
    def loud(self) -> frozenset[int]:
        """Rounds that the gate stopped, or would have stopped had it known all of them."""
        now = loud([(each.fork_ns, each.chase_ns) for each in self.rounds])
        return frozenset(each.round for each, noisy in zip(self.rounds, now, strict=True) if noisy or not each.quiet)

    def kept(self) -> dict[str, list[Run]]:
        """For each row the runs that count, by process: of a repeated one the quiet, else the last.

        Where the gate let a round pass only at its repetition, the first try's runs are left out; and all that are
        loud where `LEAST_QUIET` processes are not: they tell what a neighbour's work costs, not what a spawn does.
        """
        noisy = self.loud
        best: dict[tuple[str, int], Run] = {}
        for run in self.runs:
            key = (run.row, run.process)
            if key not in best or run.round not in noisy or best[key].round in noisy:
                best[key] = run
        rows: dict[str, list[Run]] = {}
        for (name, _), run in sorted(best.items()):
            rows.setdefault(name, []).append(run)
        quiet = {name: [run for run in runs if run.round not in noisy] for name, runs in rows.items()}
        return {name: quiet[name] if len(quiet[name]) >= LEAST_QUIET else runs for name, runs in rows.items()}


def homeless(text: str) -> dict[str, Any]:
    """A document without the user's name: samples are kept, and may be shown."""
    return dict(json.loads(text.replace(f"{Path.home()}/", "~/")))


def run_record(run: Run) -> dict[str, Any]:
    """The line of a run: its samples as columns, those that are empty left out."""
    columns: dict[str, list[Any]] = {}
    for name in Sample.__dataclass_fields__:
        values = [getattr(sample, name) for sample in run.samples]
        if any(value is not None for value in values):
            columns[name] = values
    fields_ = {name: getattr(run, name) for name in Run.__dataclass_fields__ if name not in ("samples", "pass_")}
    return {"kind": "run", **fields_, "pass": run.pass_, "samples": columns}


class SampleWriter:
    """Appends records; each is on the disk when `append` returns. A half-written last line is cut off at the start.

    Args:
        path: the file, made if it is not there.
        circumstances: for the first line of a new file.

    Raises:
        BadInput: the file cannot be written, or is one of another kind.
    """

    def __init__(self, path: Path, circumstances: Mapping[str, Any]) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size:
                read_runs(path)
                _cut_partial_line(path)
            self._file = path.open("ab")
        except OSError as error:
            raise self._cannot(error) from error
        if not self._file.tell():
            self.append({"schema": SCHEMA, **circumstances})

    def _cannot(self, error: OSError) -> BadInput:
        remedy = "make room or name another file; what is in it is kept"
        return BadInput(str(self.path), error.strerror or str(error), remedy)

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes one record. Raises BadInput if the disk takes no more."""
        try:
            self._file.write(json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._cannot(error) from error

    def close(self) -> None:
        """Closes the file; what could not be written has been reported by `append` already."""
        try:
            self._file.close()
        except OSError as error:
            raise self._cannot(error) from error

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def append_run(writer: SampleWriter, run: Run) -> None:
    """Appends one run."""
    writer.append(run_record(run))


def _cut_partial_line(path: Path) -> None:
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)


@cache
def _adapters() -> dict[str, Any]:
    from pydantic import TypeAdapter  # slow to import, needed for reading only

    return {"run": TypeAdapter(Run), "round": TypeAdapter(Round), "note": TypeAdapter(Note)}


def _record_of(data: dict[str, Any]) -> Run | Round | Note:
    kind = data.pop("kind", None)
    if kind == "run":
        columns = data.pop("samples")
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise ValueError("samples: columns of different lengths")
        data["samples"] = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        data["pass_"] = data.pop("pass")
    if kind in ("run", "round"):
        record: Run | Round | Note = _adapters()[kind].validate_python(data)
        return record
    note: Note = _adapters()["note"].validate_python({"kind": kind, **data})
    return note


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The file's lines, numbered; a last one without its end is left out (the writer was stopped in it)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(str(path), error.strerror or str(error), "name a file of samples") from error
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise BadInput(f"{path}:{number}", f"not JSON: {error}", "restore the file or measure again") from error
        if not isinstance(record, dict):
            raise BadInput(f"{path}:{number}", "not an object", "restore the file or measure again")
        yield number, record


def read_runs(path: Path) -> SampleFile:
    """Reads and checks a file of samples.

    Raises:
        BadInput: it cannot be read, has another schema, or a line is not what it should be; names file, line and key.
    """
    circumstances: dict[str, Any] | None = None
    records: list[Run | Round | Note] = []
    for number, data in _lines(path):
        if circumstances is None:
            if data.pop("schema", None) != SCHEMA:
                raise BadInput(f"{path}:{number}", f"the schema is not {SCHEMA}", "name a file of samples")
            circumstances = data
            continue
        try:
            records.append(_record_of(data))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unreadable(f"{path}:{number}", error) from error
    if circumstances is None:
        raise BadInput(str(path), "empty", "name a file of samples")
    return SampleFile(
        circumstances,
        tuple(record for record in records if isinstance(record, Run)),
        tuple(record for record in records if isinstance(record, Round)),
        tuple(record for record in records if isinstance(record, Note)),
    )


def _unreadable(where: str, error: Exception) -> BadInput:
    from pydantic import ValidationError

    remedy = "restore the file or measure again"
    if isinstance(error, ValidationError):
        return unfit(where, error, remedy)
    return BadInput(where, f"missing key {error}" if isinstance(error, KeyError) else str(error), remedy)
