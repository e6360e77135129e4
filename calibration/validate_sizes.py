"""Forks of 64 MiB to 2 GiB, frames in order and scattered, caller hot and cold: predicted beside measured here and now.

Pinned, each in fresh processes that no fit has seen; the quiet time is read off them as for prices, and what their
frames are like off /proc/PID/pagemap, for the order in which pages were written does not make it so.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from calibration.calibrate import measure
from calibration.capture.host import host_facts
from calibration.check import residual_of
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from calibration.observations import OUTER, Observation, observations, process_differences
from calibration.plan import PlannedRow, planned_row, planned_rows
from calibration.quantiles import quantile
from calibration.samples import read_runs

SIZES_MIB = (64, 128, 256, 512, 1024, 2048)
REPS = {64: 9, 128: 9, 256: 7, 512: 5, 1024: 4, 2048: 3}
"""Repetitions of a process by size: more processes tell more than more repetitions."""
LEAST_PROCESSES = 5
WAYS = {
    "in order, hot": "--hog-mib 1024",
    "in order, cold": "--hog-mib 1024 --cold-ms 20",
    "scattered, hot": "--order random",
    "scattered, cold": "--order random --cold-ms 20",
}
"""Options of the bench: a hog takes the fragments of memory first; cold: 20 ms asleep before each fork."""
REFERENCES = {"in order": "order-64k", "scattered": "random-64k"}
"""Rows of the calibration that run beside, by the order of the frames: what each takes now against what it took then is
a floor of its kind, for neighbours leave more or less of the shared cache from one hour to the next; 256 MiB see it."""
REFERENCE_PROCESSES = 6
MEDIAN, P90, FLOORS = 0.10, 0.20, 1.5
"""Errors that are still right, relative; beyond, 1.5 times the row's own floor is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeComparison:
    """One interval of one fork: the call, or from it to the reaped child.

    Attributes:
        mib, way, end: what was run, and the milestone that ends the interval.
        contiguous: share of its pages whose next frame is the next page's.
        measured_ns, predicted_ns: quiet times.
        floor: |ln| between quiet times of odd and of even processes, or how far the reference of its kind has
            moved since the calibration, if that is more.
    """

    mib: int
    way: str
    end: str
    contiguous: float
    measured_ns: float
    predicted_ns: float
    floor: float

    @property
    def error(self) -> float:
        """ln(predicted / measured)."""
        return math.log(self.predicted_ns / self.measured_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class SizesFound:
    """All comparisons of a run, and rows that could not be run.

    `moved`: by order of frames and milestone, ln of what the reference takes now over what it took in the calibration;
    none where the machine file does not say what that was.
    """

    machine: str
    comparisons: tuple[SizeComparison, ...]
    skipped: tuple[str, ...] = ()
    moved: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def error_of(self, level: float, end: str) -> float:
        """A quantile of |ln(predicted / measured)| over the rows of one milestone."""
        return quantile(sorted(abs(each.error) for each in self.comparisons if each.end == end), level)

    def floor_of(self, level: float, end: str) -> float:
        """The same of the floors."""
        return quantile(sorted(each.floor for each in self.comparisons if each.end == end), level)

    def right(self, end: str) -> bool:
        """Whether median and p90 are within their tolerances, or within 1.5 times the floor's."""
        allowed = ((0.5, MEDIAN), (0.9, P90))
        return all(
            self.error_of(level, end) <= max(math.log1p(most), FLOORS * self.floor_of(level, end))
            for level, most in allowed
        )


def validate_sizes(
    file: MachineFile,
    *,
    processes: int = LEAST_PROCESSES,
    sizes_mib: Sequence[int] = SIZES_MIB,
    progress: Callable[[str], None] | None = None,
) -> SizesFound:
    """Measure every size in every way and predict it.

    Raises:
        BadInput: no compiler, or nothing could be run.
    """
    rows = [_row(mib, way, processes) for mib in sizes_mib for way in WAYS]
    beside = _references()

    def told(done: int, total: int, what: str) -> None:
        if progress is not None:
            progress(f"{done} of {total}: {what}")

    with tempfile.TemporaryDirectory(prefix="spawncost-sizes-") as folder:
        samples = Path(folder) / "now.jsonl"
        measure([*rows, *beside], samples, quick=False, facts=host_facts(), progress=told)
        read = read_runs(samples)
    moved = _moved(file, observations(read, file.machine.rules, plan=beside))
    found: list[SizeComparison] = []
    for each in observations(read, file.machine.rules, plan=rows):
        predicted = residual_of(each, file.machine, file.costs)
        if predicted is not None and each.value_ns > 0.0:
            apart = process_differences(read.kept()[each.row.row.name], each.begin, each.end)
            found.append(_compared(each, predicted[0], apart, moved))
    if not found:
        raise BadInput("validate", "no fork could be measured", "free memory, or see what calibrate says")
    missing = {row.row.name for row in rows} - {f"{each.mib} MiB {each.way}" for each in found}
    return SizesFound(machine=file.machine.name, comparisons=tuple(found), skipped=tuple(sorted(missing)), moved=moved)


def _row(mib: int, way: str, processes: int) -> PlannedRow:
    text = f"fork_touched --pages {mib * 256} {WAYS[way]} | state processes={processes} reps={REPS.get(mib, 3)}"
    return planned_row(f"{mib} MiB {way}: {text}")


def _references() -> list[PlannedRow]:
    rows = [each for each in planned_rows() if each.row.name in REFERENCES.values()]
    return [replace(each, row=replace(each.row, processes=REFERENCE_PROCESSES)) for each in rows]


def _moved(file: MachineFile, seen: Sequence[Observation]) -> dict[tuple[str, str], float]:
    """How far the references are from what the calibration saw, which is their price then less its residual."""
    found: dict[tuple[str, str], float] = {}
    residuals = file.provenance.get("residuals", {})
    kinds = {row: kind for kind, row in REFERENCES.items()}
    for each in seen:
        predicted = residual_of(each, file.machine, file.costs)
        if predicted is not None and each.name in residuals and each.value_ns > 0.0:
            found[kinds[each.row.row.name], each.end] = math.log(each.value_ns / predicted[0]) + float(
                residuals[each.name]
            )
    return found


def _compared(
    each: Observation, predicted_ns: float, apart: Sequence[float], moved: Mapping[tuple[str, str], float]
) -> SizeComparison:
    size, _, way = each.row.row.name.partition(" MiB ")
    since = abs(moved.get((way.partition(",")[0], each.end), 0.0))
    halves = [quantile(sorted(apart[first::2]), OUTER) for first in (0, 1)] if len(apart) > 1 else [1.0, 1.0]
    return SizeComparison(
        mib=int(size),
        way=way,
        end=each.end,
        contiguous=each.scenario.parent.contiguous,
        measured_ns=each.value_ns,
        predicted_ns=predicted_ns,
        floor=max(since, abs(math.log(halves[0] / halves[1]))),
    )
