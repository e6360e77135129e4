"""What of a sweep goes where in its figure, and how its fields and values are written there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calibration.errors import BadInput
from experiments.headline import size
from experiments.sweep_fields import FIELDS
from model.prediction import MILESTONES
from model.rules import parse_version

if TYPE_CHECKING:
    import pandas as pd

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (9, 3)))
_CONTINUOUS = 12
"""A field with more values than this, besides the one along x, was sampled: its points are no line."""
_MAX_LINES = 28
_MAX_PANELS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What of a sweep goes where in its figure.

    Attributes:
        x: field along the axis.
        milestone: the time up the axis.
        colour, dash, panel: fields that tell lines and panels apart; empty if there is none.
        scattered: whether points are drawn without lines.
    """

    x: str
    milestone: str
    colour: str = ""
    dash: str = ""
    panel: str = ""
    scattered: bool = False


def varied_fields(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Fields with more than one value in a store's DataFrame, with their values, in the order of its columns."""
    found: dict[str, list[Any]] = {}
    for name in frame.columns:
        if name in FIELDS or name == "store":
            values = list(frame[name].dropna().unique())
            if len(values) > 1:
                found[name] = values
    return found


def layout_of(frame: pd.DataFrame, *, x: str | None = None, milestone: str | None = None) -> Layout:
    """Where the fields of a sweep go: the finest number along x, the mechanism as colour, the others as they fit.

    Raises:
        BadInput: no such field or milestone, nothing varies, or more varies than one figure can show.
    """
    varied = varied_fields(frame)
    reached = [name for name in MILESTONES if f"{name}_us_p50" in frame]
    if not reached:
        raise BadInput("plot", "no point of the store has a result", "see its errors")
    if milestone is not None and milestone not in reached:
        raise BadInput(f"--milestone {milestone}", "no point reaches it", f"choose from {', '.join(reached)}")
    if x is not None and x not in varied:
        known = ", ".join(varied) or "none"
        raise BadInput(f"--x {x}", "it does not vary in this store", f"choose from {known}")
    if not varied:
        raise BadInput("plot", "nothing varies in this store", "sweep over an axis")
    numbers = [name for name in varied if name in FIELDS and FIELDS[name].kind != "text"]
    candidates = numbers or [name for name in varied if name != "via"] or list(varied)
    along = x or max(candidates, key=lambda name: len(varied[name]))
    others = {name: len(values) for name, values in varied.items() if name != along}
    sampled = [name for name in others if name in numbers and others[name] > _CONTINUOUS]
    others = {name: count for name, count in others.items() if name not in sampled}
    fewest = min(others, key=others.__getitem__, default="")
    colour = next((name for name in ("via", "store") if name in others), fewest)
    rest = sorted((name for name in others if name != colour), key=others.__getitem__)
    if len(rest) > 2:
        raise BadInput("plot", f"{', '.join(rest)} vary besides", "fix some with --where FIELD=VALUE")
    dash, panel = [*rest, "", ""][:2]
    lines = others.get(colour, 1) * others.get(dash, 1)
    if others.get(dash, 1) > len(DASHES) or lines > _MAX_LINES or others.get(panel, 1) > _MAX_PANELS:
        why = f"too many lines for one figure: {', '.join(others)}"
        raise BadInput("plot", why, "fix some with --where FIELD=VALUE")
    chosen = milestone or _telling(reached, varied)
    return Layout(x=along, milestone=chosen, colour=colour, dash=dash, panel=panel, scattered=bool(sampled))


def _telling(reached: Sequence[str], varied: Mapping[str, Any]) -> str:
    """The milestone that what varies acts upon: `main` if only the target does, else the caller's `call`."""
    behind_exec = all(name == "exec" or name.startswith("target.") for name in varied if name != "via")
    wanted = ("main", "reaped") if behind_exec else ("call", "reaped")
    return next((name for name in wanted if name in reached), reached[-1])


def in_order(values: Sequence[Any]) -> list[Any]:
    """Numbers by size, versions as versions, other texts as they came."""
    try:
        return sorted(values, key=lambda each: parse_version(each) if isinstance(each, str) else each)
    except ValueError:
        return list(values)


def shown(name: str, value: Any) -> str:
    """A field's value as people read it."""
    if name in FIELDS and FIELDS[name].unit == "bytes":
        return tick(size(float(value)))
    return f"{value:g}" if isinstance(value, float) else str(value)


def label_of(name: str) -> str:
    """A field's name in a figure."""
    known = FIELDS.get(name)
    return (known.label if known is not None else "") or short_of(name)


def short_of(name: str) -> str:
    """The same where there is little room, as in a legend: `rss` rather than what it means."""
    return name.rpartition(".")[2].replace("_", " ")


def tick(text: str) -> str:
    """`1.00 ms` as `1 ms`: the digits after the point say nothing at a tick."""
    number, _, unit = text.partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"
