"""Answers for many parents at once: what `simulate` says of each, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.forms import end_to_end

Array = NDArray[np.float64]


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


def joined(parts: Sequence[CompiledResult]) -> CompiledResult:
    """The results of consecutive blocks as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    lengths = [len(next(iter(each.milestones.values())).quiet_ns) for each in parts]
    loaders = [each.loader for each in parts if each.loader is not None]
    return CompiledResult(
        mechanism=first.mechanism,
        milestones={name: _end_to_end([each.milestones[name] for each in parts]) for name in first.milestones},
        loader=_end_to_end(loaders) if loaders else None,
        breakdowns_ns={
            name: end_to_end([each.breakdowns_ns[name] for each in parts], lengths) for name in first.breakdowns_ns
        },
    )


def scattered(result: CompiledResult, kind: NDArray[np.intp]) -> CompiledResult:
    """The results of parents of so many kinds from those of the kinds."""

    def spread(values: Array) -> Array:
        return np.broadcast_to(values[0], len(kind)) if values.strides == (0,) else values[kind]

    def milestone(each: MilestoneArrays) -> MilestoneArrays:
        return MilestoneArrays(*(spread(getattr(each, name)) for name in MilestoneArrays.__slots__))

    return CompiledResult(
        mechanism=result.mechanism,
        milestones={name: milestone(each) for name, each in result.milestones.items()},
        loader=milestone(result.loader) if result.loader is not None else None,
        breakdowns_ns={
            name: {cost: spread(values) for cost, values in each.items()} for name, each in result.breakdowns_ns.items()
        },
    )


def _end_to_end(parts: Sequence[MilestoneArrays]) -> MilestoneArrays:
    return MilestoneArrays(
        *(np.concatenate([getattr(each, name) for each in parts]) for name in MilestoneArrays.__slots__)
    )
