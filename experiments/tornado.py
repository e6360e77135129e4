"""The tornado of a sensitivity: how far each factor moves the answer, and beside it how much of the variance is its."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.drawn_prices import Swing
from experiments.figure_layout import label_of, shown, tick
from experiments.figures import COLOURS, STYLE
from experiments.headline import duration
from experiments.sensitivity import ALL_PRICES, Sensitivity
from experiments.sobol_indices import Index
from experiments.sweep_fields import FIELDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = 12
_TICKS = 5
"""Intervals of a linear axis of times at most: their labels are long."""
_LOW, _HIGH = COLOURS[0], COLOURS[1]


def tornado_figure(found: Sequence[Sensitivity], *, title: str = "") -> Figure:
    """A row of panels a mechanism: swings at the centre, indices of the axes, indices of the prices."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    heights = [1.2 + 0.22 * max(len(_widest(each)), len(each.axes), min(len(each.prices), _SHOWN)) for each in found]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13.0, sum(heights) + 0.4))
        ratios: dict[str, Any] = {"height_ratios": heights, "width_ratios": [1.5, 1.0, 1.0]}
        grid = figure.subplots(len(found), 3, squeeze=False, gridspec_kw=ratios)
        for row, each in zip(grid, found, strict=True):
            _swings(row[0], each)
            _indices(row[1], each.axes, "share of the variance, axes")
            _indices(row[2], each.prices[:_SHOWN], "share of the error of prices")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _widest(found: Sensitivity) -> list[Swing]:
    """All axes that move anything, and the widest prices, the widest at the end: on top."""
    axes = [each for each in found.swings if not each.price and each.width_us > 0.0]
    prices = [each for each in found.swings if each.price][: max(0, _SHOWN - len(axes))]
    return sorted((*axes, *prices), key=lambda each: each.width_us)


def _swings(axes: Axes, found: Sensitivity) -> None:
    swings = _widest(found)
    for place, each in enumerate(swings):
        for end, colour, hatch in ((each.low_us, _LOW, ""), (each.high_us, _HIGH, "////")):
            axes.barh(place, end - found.centre_us, left=found.centre_us, color=colour, hatch=hatch, edgecolor="white")
    names = [f"{label_of(each.factor)}  {_end(each, each.at_low)} to {_end(each, each.at_high)}" for each in swings]
    axes.set_yticks(range(len(swings)), names)
    axes.axvline(found.centre_us, color="black", linewidth=0.8)
    ends = [end for each in swings for end in (each.low_us, each.high_us) if end > 0]
    if ends and max(ends) > 30 * min(ends):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
    else:
        axes.locator_params(axis="x", nbins=_TICKS)
    axes.xaxis.set_major_formatter(lambda value, _: tick(duration(value)) if value > 0 else "0")
    axes.grid(visible=False, axis="y")
    axes.set_title(f"{found.mechanism} to {found.milestone}, {duration(found.centre_us)} at the centre")
    axes.set_xlabel("plain: factor low, hatched: factor high", fontsize=8)


def _end(swing: Swing, text: str) -> str:
    """An end of a factor: sizes and fractions as people read them."""
    known = FIELDS.get(swing.factor)
    if swing.price or known is None or known.kind == "text":
        return text
    return shown(swing.factor, float(text))


def _indices(axes: Axes, found: Sequence[Index], title: str) -> None:
    shown_first = list(reversed(found))
    for offset, colour, marker, kind in ((0.14, _LOW, "o", "first"), (-0.14, _HIGH, "s", "total")):
        values = [getattr(each, kind) for each in shown_first]
        below = [max(0.0, each - getattr(index, f"{kind}_lo")) for each, index in zip(values, shown_first, strict=True)]
        above = [max(0.0, getattr(index, f"{kind}_hi") - each) for each, index in zip(values, shown_first, strict=True)]
        places = [place + offset for place in range(len(shown_first))]
        axes.errorbar(
            values, places, xerr=[below, above], fmt=marker, color=colour, markersize=4, elinewidth=1, label=kind
        )
    names = ["all prices" if each.factor == ALL_PRICES else label_of(each.factor) for each in shown_first]
    axes.set_yticks(range(len(shown_first)), names)
    axes.set_xlim(-0.05, max(1.05, *(1.05 * each.total_hi for each in found)) if found else 1.05)
    axes.grid(visible=False, axis="y")
    axes.set_title(title)
    axes.legend(loc="lower right")
