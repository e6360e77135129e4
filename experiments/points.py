"""The points of a sweep in their order, one after the other: a sweep of a million needs no room for a million."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.axes import SAMPLED, Axis
from experiments.constraints import constraint
from experiments.sweep_fields import Scalar
from experiments.sweep_spec import DEFAULTS, Sweep

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DRAWN = 1 << 12
"""Points of a Sobol sequence drawn at once: a power of two, as its balance asks for."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point: its place in the sweep, and every field that is fixed or varies, `via` and `seed` among them."""

    number: int
    inputs: dict[str, Scalar]


def size_of(sweep: Sweep) -> int:
    """How many points there are before constraints."""
    return samples_of(sweep) * max(1, len(sweep.mechanisms)) * sweep.replicates


def samples_of(sweep: Sweep) -> int:
    """Points of one replicate, for one mechanism."""
    if sweep.samples is not None:
        return sweep.samples
    if sweep.method == "zip":
        return len(sweep.parsed[0].values) if sweep.parsed else 1
    return math.prod(len(each.values) for each in sweep.parsed)


def points_of(sweep: Sweep) -> Iterator[Point]:
    """All points that meet the constraints; mechanisms of the base vary fastest, then the last axis of a grid.

    A point's number counts the points that constraints leave out too, so it does not depend on them.
    """
    names = {*DEFAULTS, *sweep.fixed, *(each.name for each in sweep.parsed), "via", "seed"}
    conditions: list[Callable[..., bool]] = [constraint(each, names) for each in sweep.constraints]
    mechanisms: Sequence[str | None] = sweep.mechanisms or (None,)
    number = 0
    for replicate in range(sweep.replicates):
        seed = sweep.seed + replicate
        for values in _rows(sweep, seed):
            varied = dict(zip((each.name for each in sweep.parsed), values, strict=True))
            for via in mechanisms:
                inputs = {**DEFAULTS, **sweep.fixed, **varied, "seed": seed}
                if via is not None:
                    inputs["via"] = via
                if all(holds(inputs) for holds in conditions):
                    yield Point(number, inputs)
                number += 1


def _rows(sweep: Sweep, seed: int) -> Iterator[Sequence[Scalar]]:
    """Values of all axes, a point a time."""
    if sweep.method == "zip":
        yield from zip(*(each.values for each in sweep.parsed), strict=True) if sweep.parsed else [()]
    elif sweep.method in SAMPLED:
        for share in shares_of(sweep.method, samples_of(sweep), len(sweep.parsed), seed):
            yield _at(sweep.parsed, share)
    else:
        yield from itertools.product(*(each.values for each in sweep.parsed))


def _at(axes: Sequence[Axis], shares: Sequence[float]) -> list[Scalar]:
    return [axis.at(share) for axis, share in zip(axes, shares, strict=True)]


def shares_of(method: str, samples: int, dimensions: int, seed: int) -> Iterator[list[float]]:
    """Points of a design in the unit cube.

    A Sobol sequence comes in blocks; a Latin hypercube needs all its points at once (8 bytes a coordinate).
    """
    if not dimensions:
        yield from ([] for _ in range(samples))
        return
    for block in _designed(method, samples, dimensions, seed):
        yield from (row.tolist() for row in block)


def _designed(method: str, samples: int, dimensions: int, seed: int) -> Iterator[NDArray[np.float64]]:
    import numpy as np
    from scipy.stats import qmc

    source: Any = np.random.default_rng(seed)
    if method == "latin-hypercube":
        yield qmc.LatinHypercube(dimensions, rng=source).random(samples)
        return
    sequence = qmc.Sobol(dimensions, scramble=True, rng=source)
    for start in range(0, samples, _DRAWN):
        yield sequence.random(_DRAWN)[: samples - start]
