"""An axis of a sweep: one field over a list of values, or over a range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from calibration.errors import BadInput
from experiments.sweep_fields import ALIASES, Scalar, field_of

SAMPLED = ("latin-hypercube", "sobol")
"""Methods that draw points in ranges rather than take all values."""
RANGE_ENDS = frozenset({"low", "high"})
"""Keys by which a table is a range."""
REMEDY = "correct the specification"


class Range(BaseModel):
    """`{ low, high, scale, count }`: count where the axis is a list of its own, as in a grid."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    low: float | int | str
    high: float | int | str
    scale: Literal["linear", "log"] = "linear"
    count: Annotated[int, Field(ge=2, le=1 << 20)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One field that varies: over a list of values, or over a range from low to high, linear or logarithmic."""

    name: str
    values: tuple[Scalar, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    def at(self, share: float) -> Scalar:
        """The value that stands where `share` (0 to 1) of the axis lies below."""
        if self.values:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        if self.log:
            return field_of(self.name).drawn(self.low * math.exp(share * math.log(self.high / self.low)))
        return field_of(self.name).drawn(self.low + share * (self.high - self.low))


def refused(where: str, key: str, why: object) -> BadInput:
    """The refusal of a key of a specification."""
    return BadInput(f"{where}: {key}", str(why), REMEDY)


def axis_of(given: str, values: list[Any] | Range, method: str, where: str) -> Axis:
    """The axis that a key of `axes` means. Raises BadInput with the key."""
    name = ALIASES.get(given, given)
    key = f"axes.{given}"
    try:
        known = field_of(name)
        if not isinstance(values, list):
            return _ranged(name, values, method)
        if not values:
            raise ValueError("it has no values")
        parsed: list[Scalar] = []
        for index, each in enumerate(values):
            key = f"axes.{given}.{index}"
            parsed.append(known.parse(each))
            if method == "grid" and parsed.count(parsed[-1]) > 1:
                raise ValueError(f"{each!r} stands twice")
    except ValueError as error:
        raise refused(where, key, error) from error
    return Axis(name=name, values=tuple(parsed))


def _ranged(name: str, given: Range, method: str) -> Axis:
    known = field_of(name)
    if known.kind == "text":
        raise ValueError("it takes a list of values, no range")
    low, high = float(known.parse(given.low)), float(known.parse(given.high))
    if not low < high:
        raise ValueError("low is not below high")
    if given.scale == "log" and low <= 0:
        raise ValueError("a logarithmic range starts above 0")
    axis = Axis(name=name, low=low, high=high, log=given.scale == "log")
    if method in SAMPLED:
        return axis
    if given.count is None:
        raise ValueError(f"a range needs a count in a {method}")
    steps = [axis.at(step / (given.count - 1)) for step in range(given.count)]
    return Axis(name=name, values=tuple(dict.fromkeys(steps)) if method == "grid" else tuple(steps))
