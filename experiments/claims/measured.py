"""Measurements of the claims: which runs there are, taking them now, and the file that keeps those taken before."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calibration.build import Builder
from calibration.capture.host import fingerprint, host_facts
from calibration.errors import BadInput, unfit
from calibration.quantiles import quantile
from experiments.claims.programs import AUDIT, LOADERS, Output, run_program

STORED = Path(__file__).parent / "measured.json"
WARM_UPS = 2
PROTOCOL = (
    "Each run: so many fresh processes, not pinned, one of each run in turn, so that a noisy minute touches all; a "
    f"timed program repeats the spawn in each, and of five repetitions and more the first {WARM_UPS} are left out. All "
    "others count; a figure is their median."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A program with its arguments, run in so many fresh processes."""

    program: str
    arguments: tuple[str, ...] = ()
    processes: int = 1


def _timed(text: str, *, processes: int) -> Planned:
    return Planned(program="spawn_time", arguments=tuple(text.split()), processes=processes)


RUNS: Mapping[str, Planned] = {
    # spawn_time: MiB, vmas, THP, mechanism, target, repetitions, whether it rewrites all before each
    "first-fork-1g": _timed("1024 1 0 fork none 1 0", processes=9),
    "first-fork-10m": _timed("10 1 0 fork none 1 0", processes=27),
    "first-fork-exec-1g": _timed("1024 1 0 fork /bin/true 1 0", processes=9),
    "first-fork-exec-10m": _timed("10 1 0 fork /bin/true 1 0", processes=27),
    "fork-1g": _timed("1024 1 0 fork none 8 0", processes=7),
    "rewritten-fork-1g": _timed("1024 1 0 fork none 8 1", processes=7),
    "fork-10m": _timed("10 1 0 fork none 20 0", processes=9),
    "fork-exec-1g": _timed("1024 1 0 fork /bin/true 8 0", processes=7),
    "vfork-exec-1g": _timed("1024 1 0 vfork /bin/true 12 0", processes=9),
    "vfork-exec-10m": _timed("10 1 0 vfork /bin/true 12 0", processes=18),
    "spawn-exec-1g": _timed("1024 1 0 posix_spawn /bin/true 12 0", processes=9),
    "fork-2g": _timed("2048 100 0 fork none 6 0", processes=5),
    "fork-2g-thp": _timed("2048 100 1 fork none 10 0", processes=5),
    "fork-40m": _timed("40 1 0 fork none 12 0", processes=9),
    "fork-40m-10k-vmas": _timed("40 10000 0 fork none 8 0", processes=7),
    "flags": Planned(program="flags"),
    "inherit": Planned(program="inherit"),
    "failures": Planned(program="failures"),
    "pages": Planned(program="pages"),
    "stack": Planned(program="stack"),
    "pidfds": Planned(program="pidfds"),
    "pidfds-seconds": Planned(program="pidfds", arguments=("400",)),
    "calls": Planned(program="calls"),
    "facts": Planned(program="facts"),
    "loader": Planned(program=LOADERS),
    "audit": Planned(program=AUDIT),
}


class Taken(BaseModel):
    """What one run found: all samples of each figure, and what this machine did not let be measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    figures: dict[str, Annotated[list[float], Field(min_length=1)]]
    unavailable: dict[str, str] = Field(default_factory=dict)
    elsewhere: str = ""
    """Machine and date, of a run that was not taken with the others."""


class Measurements(BaseModel):
    """`spawncost.claims-measured/1`: when, where and how, and what each run found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal["spawncost.claims-measured/1"] = Field(alias="schema")
    date: str
    machine: str
    cpu: str
    kernel: str
    glibc: str
    protocol: str
    runs: dict[str, Taken]

    @property
    def told(self) -> str:
        """The protocol, and which runs were not taken with the others."""
        others = [f"Run {name}: {taken.elsewhere}." for name, taken in self.runs.items() if taken.elsewhere]
        return " ".join([self.protocol, *others])

    def p50(self, name: str) -> float | None:
        """Median of a figure, `run.figure`; None if it could not be measured there."""
        run, _, figure = name.rpartition(".")
        taken = self.runs.get(run)
        return quantile(taken.figures[figure], 0.5) if taken is not None and figure in taken.figures else None

    def why_not(self, name: str) -> str | None:
        """Why a figure could not be measured; None if it was."""
        run, _, figure = name.rpartition(".")
        taken = self.runs.get(run)
        return taken.unavailable.get(figure) if taken is not None else None


def read_measured(path: Path = STORED) -> Measurements:
    """The measurements that a file keeps.

    Raises:
        BadInput: it cannot be read or is not what it should be; names file and key.
    """
    try:
        return Measurements.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise unfit(str(path), error, "restore the file or measure again") from error
    except OSError as error:
        raise BadInput(str(path), error.strerror or str(error), "restore the file or measure again") from error


def measure(names: Iterable[str], progress: Callable[[str], None] | None = None) -> Measurements:
    """Take these runs here and now.

    Raises:
        BadInput: no C compiler, or a program fails.
    """
    builder, facts = Builder(), host_facts()
    taken: dict[str, list[Output]] = {name: [] for name in names}
    for turn in range(max((RUNS[name].processes for name in taken), default=0)):
        for name, outputs in taken.items():
            if turn < RUNS[name].processes:
                if progress is not None:
                    progress(name)
                outputs.append(run_program(RUNS[name].program, RUNS[name].arguments, builder))
    return Measurements(
        schema="spawncost.claims-measured/1",
        date=datetime.now(UTC).isoformat(timespec="minutes"),
        machine=fingerprint(facts),
        cpu=facts.cpu_name,
        kernel=facts.kernel_release,
        glibc=facts.glibc,
        protocol=PROTOCOL,
        runs={name: _taken(outputs) for name, outputs in taken.items()},
    )


def _taken(outputs: Sequence[Output]) -> Taken:
    figures: dict[str, list[float]] = {}
    unavailable: dict[str, str] = {}
    for output in outputs:
        unavailable |= output.unavailable
        for name, values in output.figures.items():
            figures.setdefault(name, []).extend(_kept(values))
    return Taken(figures=figures, unavailable=unavailable)


def _kept(values: Sequence[float]) -> Sequence[float]:
    return values[WARM_UPS:] if len(values) > 2 * WARM_UPS else values


def write_measured(taken: Measurements, path: Path) -> None:
    """Write them, whole or not at all. Raises BadInput if the file cannot be written."""
    text = json.dumps(taken.model_dump(by_alias=True), indent=1, allow_nan=False) + "\n"
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as scratch:
            scratch.write(text)
        Path(scratch.name).chmod(0o644)
        Path(scratch.name).replace(path)
    except OSError as error:
        raise BadInput(str(path), error.strerror or str(error), "name a file that can be written") from error
