"""Answers for many parents at once: what `simulate` says of each, as arrays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.forms import Whole

Array = NDArray[np.float64]
LOADER = "loader"
STATISTICS = ("quiet_ns", "p10_ns", "p50_ns", "p90_ns")


@dataclass(frozen=True, slots=True)
class MilestoneArrays:
    """One milestone of many parents, arrays of (points,) in ns: undisturbed time, and with the machine's spread."""

    quiet_ns: Array
    p10_ns: Array
    p50_ns: Array
    p90_ns: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledResult:
    """Answers for many parents.

    Attributes:
        mechanism: of the spawn.
        milestones: by name, in the order of the contract.
        loader: the loader's run, or None.
        breakdowns_ns: by milestone asked for, by cost, `sleep` and `machine_spread`: arrays of (points,) that sum to
            its p50. A part that is the same for all parents may be a read-only view of one number.
    """

    mechanism: str
    milestones: Mapping[str, MilestoneArrays]
    loader: MilestoneArrays | None
    breakdowns_ns: Mapping[str, Mapping[str, Array]]


def joined(parts: Iterable[CompiledResult], points: int) -> CompiledResult:
    """The results of consecutive blocks as one; each is written into the whole and let go before the next is made."""
    first: CompiledResult | None = None
    at = 0
    times, breakdowns = Whole(points), defaultdict[str, Whole](lambda: Whole(points))
    for part in parts:
        first = first or part
        loader = {LOADER: part.loader} if part.loader is not None else {}
        each = {**part.milestones, **loader}
        times.put(at, {f"{name} {stat}": getattr(each[name], stat) for name in each for stat in STATISTICS})
        for name, costs in part.breakdowns_ns.items():
            breakdowns[name].put(at, costs)
        at += len(next(iter(part.milestones.values())).quiet_ns)
    assert first is not None
    whole = {
        name: MilestoneArrays(*(times.found[f"{name} {stat}"] for stat in STATISTICS))
        for name in [*first.milestones, *([LOADER] if first.loader is not None else [])]
    }
    return CompiledResult(
        mechanism=first.mechanism,
        loader=whole.pop(LOADER, None),
        milestones=whole,
        breakdowns_ns={name: each.found for name, each in breakdowns.items()},
    )


def scattered(result: CompiledResult, kind: NDArray[np.intp]) -> CompiledResult:
    """The results of parents of so many kinds from those of the kinds."""

    def spread(values: Array) -> Array:
        return np.broadcast_to(values[0], len(kind)) if values.strides == (0,) else values[kind]

    def milestone(each: MilestoneArrays) -> MilestoneArrays:
        return MilestoneArrays(*(spread(getattr(each, name)) for name in STATISTICS))

    return CompiledResult(
        mechanism=result.mechanism,
        milestones={name: milestone(each) for name, each in result.milestones.items()},
        loader=milestone(result.loader) if result.loader is not None else None,
        breakdowns_ns={
            name: {cost: spread(values) for cost, values in each.items()} for name, each in result.breakdowns_ns.items()
        },
    )
