"""Runs the TLB benches and keeps what they print (`spawncost.tlb/1`): one low quantile a process and row."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calibration.build import Builder
from calibration.capture.host import fingerprint, host_facts
from calibration.capture.parent_file import write_atomically
from calibration.errors import BadInput, unfit
from calibration.quantiles import quantile
from calibration.run_bench import BenchError, BenchUnavailableError, run_bench

SCHEMA = "spawncost.tlb/1"
DATA = Path(__file__).resolve().parent.parent / "data"
INNER, MIDDLE = 0.10, 0.50
"""Quantile of a process's repetitions: a low one of times, the middle one of differences, which err both ways."""
SMALL_SIZES = (
    16, 32, 48, 64, 80, 96, 104, 112, 128, 160, 256, 512, 768, 1024, 1152, 1280, 1536, 1792, 2048, 2304, 2560, 3072,
    4096, 6144, 8192, 12288, 16384, 32768, 65536, 131072,
)  # fmt: skip
HUGE_SIZES = (*(n for n in SMALL_SIZES if n <= 512), 1024, 2048, 3072)
"""2 MiB pages; the bench declines what is more than a third of the memory."""
LINES = (1, 4, 16, 32, 64, 128, 256, 512)
REFILLS = (16, 64, 128, 256, 512, 768, 1024, 1536, 2048, 4096)
SWITCHES = (64, 256, 512, 1024)

Args = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TlbRow:
    """One configuration of one bench: its options without dashes, and in ns a low quantile of each process."""

    bench: str
    args: Args
    ns: tuple[float, ...] = ()

    @property
    def words(self) -> list[str]:
        """The command line's words."""
        return [word for name, value in self.args for word in ([f"--{name}", value] if value else [f"--{name}"])]

    def option(self, name: str) -> str | None:
        """An option's value, "" for a flag, None if it was not given."""
        return dict(self.args).get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlbRuns:
    """A whole measurement: where and when, CPUID's leaves, the rows, what could not be measured and why."""

    machine: str
    cpu: str
    date: str
    cpus: int
    leaves: Mapping[str, str]
    rows: tuple[TlbRow, ...]
    unavailable: tuple[str, ...] = field(default=())

    def find(self, bench: str, **options: str | int | None) -> TlbRow | None:
        """The row with just these options (an underscore stands for a dash; "" for a flag, None: not given)."""
        wanted = {name.replace("_", "-"): str(value) for name, value in options.items() if value is not None}
        return next((row for row in self.rows if row.bench == bench and dict(row.args) == wanted), None)


def _row(bench: str, **options: str | int) -> TlbRow:
    return TlbRow(bench, tuple((name.replace("_", "-"), str(value)) for name, value in options.items()))


def planned(cpus: int) -> list[TlbRow]:
    """All rows for a machine with so many CPUs."""
    rows = [_row("tlb_chase", pages=n) for n in SMALL_SIZES]
    rows += [_row("tlb_chase", pages=n, packed="") for n in SMALL_SIZES]
    rows += [_row("tlb_chase", pages=n, huge="") for n in HUGE_SIZES]
    rows += [_row("tlb_chase", pages=16, lines=k, huge="") for k in LINES]
    rows += [_row("tlb_refill", pages=n, flush=how) for n in REFILLS for how in ("full", "page", "none")]
    rows += [_row("tlb_refill", pages=n, flush="full", extra="") for n in REFILLS]
    rows += [_row("tlb_refill", pages=n, huge="", flush=how) for n in (16, 64, 256) for how in ("full", "none")]
    rows += [
        _row("tlb_switch", pages=n, partner_pages=other, partner=who)
        for n in SWITCHES
        for who, other in (("self", 0), ("thread", n), ("process", n), ("process", 0))
    ]
    for running in sorted({0, *(1 << i for i in range(10) if 1 << i < cpus), cpus - 1}):
        rows += [_row("shootdown", running=running), _row("shootdown", running=running, full="")]
        if running:
            rows += [_row("shootdown", running=running, victim="", n=100, reps=5)]
    return rows


def measure_tlb(
    *, date: str, processes: int = 3, seed: int = 0, progress: Callable[[str], None] = lambda _: None
) -> TlbRuns:
    """Run all benches, each row in fresh processes pinned to one CPU, all in random order.

    Args:
        date: when, as it shall be recorded.
        processes: of each row.
        seed: of the order.
        progress: told each round.

    Raises:
        BadInput: no compiler, or CPUID cannot be read here.
    """
    facts, builder = host_facts(date=date), Builder()
    cpu = max(os.sched_getaffinity(0))
    rows = planned(facts.cpus_online)
    programs = builder.benches({row.bench for row in rows} | {"tlb_leaves"})
    found: dict[TlbRow, list[float]] = {row: [] for row in rows}
    missing: dict[str, None] = {}
    dice = random.Random(seed)
    for turn in range(processes):
        progress(f"round {turn + 1} of {processes}: {len(rows)} rows")
        for row in dice.sample(rows, len(rows)):
            value = _value(programs[row.bench], row, cpu, missing)
            if value is not None:
                found[row].append(value)
    return TlbRuns(
        machine=fingerprint(facts),
        cpu=facts.cpu_name,
        date=date,
        cpus=facts.cpus_online,
        leaves=_leaves(programs["tlb_leaves"], cpu),
        rows=tuple(TlbRow(row.bench, row.args, tuple(values)) for row, values in found.items() if values),
        unavailable=tuple(missing),
    )


def _value(program: Path, row: TlbRow, cpu: int, missing: dict[str, None]) -> float | None:
    try:
        output = run_bench(program, row.words, cpu=cpu)
    except (BenchUnavailableError, BenchError) as error:
        missing[f"{row.bench} {' '.join(row.words)}: {error}"] = None
        return None
    q = INNER if row.option("victim") is None else MIDDLE
    return quantile((each["value_ns"] for each in output.records if not each["warmup"]), q)


def _leaves(program: Path, cpu: int) -> Mapping[str, str]:
    try:
        return dict(run_bench(program, (), cpu=cpu).header["leaves"])
    except (BenchUnavailableError, BenchError) as error:
        raise BadInput("tlb_leaves", str(error), "read a stored measurement instead") from error


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    bench: str
    args: dict[str, str]
    ns: Annotated[list[Annotated[float, Field(ge=0.0, allow_inf_nan=False)]], Field(min_length=1)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    schema_name: Literal["spawncost.tlb/1"] = Field(alias="schema")
    machine: str
    cpu: str
    date: str
    cpus: Annotated[int, Field(ge=1)]
    leaves: dict[str, str]
    unavailable: list[str] = []
    rows: list[_Row]


def write_runs(runs: TlbRuns, path: Path) -> None:
    """Write a measurement, whole or not at all.

    Raises:
        BadInput: it cannot be written.
    """
    head = {name: value for name, value in asdict(runs).items() if name != "rows"}
    rows = [json.dumps({"bench": row.bench, "args": dict(row.args), "ns": row.ns}) for row in runs.rows]
    text = (
        json.dumps({"schema": SCHEMA, **head}, indent=1)[:-2] + ',\n "rows": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as error:
        raise BadInput(str(path), f"cannot be written: {error.strerror or error}", "give another file") from error


def read_runs_file(path: Path) -> TlbRuns:
    """Read a measurement.

    Raises:
        BadInput: no such file, not readable, or not by its schema; it names the file and the key.
    """
    try:
        read = _Document.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(str(path), f"cannot be read: {error.strerror or error}", "give a stored measurement") from error
    except ValidationError as error:
        raise unfit(str(path), error, "measure again") from error
    rows = tuple(TlbRow(each.bench, tuple(each.args.items()), tuple(each.ns)) for each in read.rows)
    head = read.model_dump(exclude={"schema_name", "rows", "unavailable"})
    return TlbRuns(**head, rows=rows, unavailable=tuple(read.unavailable))


def stored_runs(machine: str | None = None, folders: Sequence[Path] = (DATA,)) -> Path:
    """The newest stored measurement: of a machine, else of this one, else of any.

    Raises:
        BadInput: there is none.
    """
    names = [machine] if machine else [fingerprint(host_facts()), "*"]
    for name in names:
        found = list(_files(folders, name))
        if found:
            return max(found, key=lambda path: path.name.rpartition(".tlb.")[2])
    raise BadInput(machine or "TLB", "there is no stored measurement", "take one with --measure")


def _files(folders: Sequence[Path], machine: str) -> Iterator[Path]:
    for folder in folders:
        yield from folder.glob(f"{machine}/*.tlb.*.json")
