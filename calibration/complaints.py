"""Why a calibration deserves less trust: what the host did beside it, and what its own samples show, with remedies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from calibration.capture.host import HostFacts
from calibration.observations import process_differences
from calibration.quality import noise_floor
from calibration.quantiles import quantile
from calibration.samples import SampleFile

MOST_LOAD = 0.5
"""Load average from which something else runs."""
MOST_STEAL = 0.01
"""Share of the CPUs' time that a hypervisor may take."""
MOST_LOUD = 0.3
"""Share of the rounds that the drift probe may stop."""
MOST_NOISE = 0.10
MOST_FASTER = 0.05
"""|ln| by which work that no memory slows may differ between the first and the last processes."""
CLOCKED = ("syscall", "locked-rmw", "cpuid")
"""Rows that take time of the core alone."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong, and what can be done about it."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what} ({self.remedy})"


@dataclass(frozen=True, slots=True)
class Ticks:
    """Time of all CPUs since boot in clock ticks, and how much of it a hypervisor took."""

    stolen: int
    all: int


def ticks(path: Path = Path("/proc/stat")) -> Ticks:
    """Of now; nothing where it cannot be read."""
    try:
        fields = [int(each) for each in path.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return Ticks(0, 0)
    return Ticks(fields[7] if len(fields) > 7 else 0, sum(fields))  # guest time, behind it, is in user already


def before_it(facts: HostFacts, *, alone: bool) -> Iterator[Complaint]:
    """What a host is unfit by before anything is measured.

    Args:
        alone: whether no other calibration of this user runs.
    """
    if not alone:
        yield Complaint("another calibration runs", "wait for its end, then measure again")
    if facts.load_average > MOST_LOAD:
        yield Complaint(f"the load average is {facts.load_average:.1f}", "end what else runs, then measure again")


def beside_it(before: HostFacts, after: HostFacts, since: Ticks, until: Ticks) -> Iterator[Complaint]:
    """What the host did meanwhile."""
    elapsed = until.all - since.all
    stolen = (until.stolen - since.stolen) / elapsed if elapsed > 0 else 0.0
    if stolen > MOST_STEAL:
        yield Complaint(f"the hypervisor took {stolen:.0%} of the CPUs' time", "measure again in a quieter hour")
    for name in ("thp_enabled", "thp_defrag", "governor"):
        then, now = getattr(before, name), getattr(after, name)
        if then != now:
            yield Complaint(f"{name} changed from {then} to {now}", "leave it as it is, and measure from the start")


def within(samples: SampleFile) -> Iterator[Complaint]:
    """What the samples themselves show."""
    loud = len(samples.loud)
    if loud > MOST_LOUD * len(samples.rounds):
        what = f"the probe found {loud} of {len(samples.rounds)} rounds loud"
        yield Complaint(what, "take another pass in a quieter hour: --passes")
    floor = noise_floor(samples.kept(), ("call", "reaped", "main"))
    if floor > MOST_NOISE:
        yield Complaint(f"two halves of the measurements differ by {floor:.0%}", "measure again")
    moved = clock_moved(samples)
    if abs(moved) > MOST_FASTER:
        side = "slower" if moved > 0.0 else "faster"
        what = f"the core was {abs(math.expm1(moved)):.0%} {side} towards the end"
        yield Complaint(what, "fix its frequency (governor performance, mains power), and measure again")


def clock_moved(samples: SampleFile) -> float:
    """ln(last ÷ first) of what the core alone does, the first and the last half of the processes; 0 if not measured."""
    kept, moved = samples.kept(), []
    for name in CLOCKED:
        values = process_differences(sorted(kept.get(name, []), key=lambda run: run.round), "", "value")
        half = len(values) // 2
        if half >= 2 and min(values) > 0.0:
            moved.append(math.log(quantile(values[half:], 0.5) / quantile(values[:half], 0.5)))
    return quantile(moved, 0.5) if moved else 0.0
