"""Figures of sweeps, in one house style: log axes where values span them, intervals drawn, readable in print.

Colours are those of Okabe and Ito (2008), which the common kinds of colour blindness tell apart, with a darker blue,
which a tritanope could take for the green; each has a marker and a dash pattern too: nothing hangs on colour alone.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from calibration.errors import BadInput
from experiments.figure_layout import DASHES, Layout, in_order, label_of, short_of, shown, tick
from experiments.headline import duration, size
from experiments.sweep_fields import FIELDS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0057A0", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#d0d0d0",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "svg.hashsalt": "spawncost",
}
_PLAIN = ("via", "store")
"""Fields whose values say by themselves what they are."""
_LOG_FROM = 30.0
"""A logarithmic axis where the largest value is so many times the least."""
_MARKED_UP_TO = 40
"""Markers on every point of a line up to so many."""


def house_style() -> None:
    """Draw every figure of this process so, from here on: a notebook's own plots too, each line with its marker."""
    import matplotlib as mpl
    from cycler import cycler

    look = cycler(color=COLOURS) + cycler(marker=MARKERS) + cycler(linestyle=DASHES * 2)[: len(COLOURS)]
    mpl.rcParams.update({**STYLE, "axes.prop_cycle": look, "figure.dpi": 80})


def sweep_figure(
    frame: pd.DataFrame, layout: Layout, *, title: str = "", measured: pd.DataFrame | None = None
) -> Figure:
    """The figure of a store's DataFrame.

    Args:
        measured: points to draw over the lines: a column `layout.x`, one of the milestone in microseconds
            (`call_us`), and those of `layout.colour`, `dash` and `panel` where they tell points apart.

    Raises:
        BadInput: `measured` lacks a column.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    failed = int(frame["error"].notna().sum())
    good = frame[frame[f"{layout.milestone}_us_p50"].notna()]
    panels = in_order(list(good[layout.panel].unique())) if layout.panel else [None]
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 4.2 * columns, 1.2 + 3.0 * lines))
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            _panel(axes, good if panel is None else good[good[layout.panel] == panel], good, layout)
            if measured is not None:
                _measured(axes, measured, layout, panel, good)
            if panel is not None:
                axes.set_title(f"{label_of(layout.panel)} = {shown(layout.panel, panel)}")
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        _dress(figure, list(grid[: len(panels)]), good, layout, title, failed)
    return figure


def _panel(axes: Axes, part: pd.DataFrame, whole: pd.DataFrame, layout: Layout) -> None:
    for (colour, dash), some in _series(part, layout).items():
        look = _look(colour, dash, whole, layout)
        _line(axes, some, whole, layout, look)


def _series(part: pd.DataFrame, layout: Layout) -> dict[tuple[Any, Any], pd.DataFrame]:
    """Rows of each line, by its colour's and dash's value."""
    found: dict[tuple[Any, Any], pd.DataFrame] = {}
    for colour in part[layout.colour].unique() if layout.colour else [None]:
        some = part if colour is None else part[part[layout.colour] == colour]
        for dash in in_order(list(some[layout.dash].unique())) if layout.dash else [None]:
            found[colour, dash] = some if dash is None else some[some[layout.dash] == dash]
    return found


def _look(colour: Any, dash: Any, whole: pd.DataFrame, layout: Layout) -> dict[str, Any]:
    first = list(whole[layout.colour].unique()).index(colour) if colour is not None else 0
    second = in_order(list(whole[layout.dash].unique())).index(dash) if dash is not None else 0
    return {
        "color": COLOURS[first % len(COLOURS)],
        "linestyle": DASHES[(second if layout.dash else first) % len(DASHES)],
        "marker": MARKERS[first % len(MARKERS)],
        "markerfacecolor": "white" if second % 2 else COLOURS[first % len(COLOURS)],
        "label": ", ".join(_names(colour, dash, layout)) or "p50",
    }


def _names(colour: Any, dash: Any, layout: Layout) -> list[str]:
    """What tells a line from others, as the legend says it."""
    told = [(name, each) for name, each in ((layout.colour, colour), (layout.dash, dash)) if each is not None]
    return [shown(name, each) if name in _PLAIN else f"{short_of(name)} {shown(name, each)}" for name, each in told]


def _positions(some: pd.DataFrame, whole: pd.DataFrame, layout: Layout) -> list[float]:
    """Numbers as they are, texts by their place."""
    if layout.x in FIELDS and FIELDS[layout.x].kind != "text":
        return [float(each) for each in some[layout.x]]
    places = {each: float(index) for index, each in enumerate(in_order(list(whole[layout.x].unique())))}
    return [places[each] for each in some[layout.x]]


def _line(axes: Axes, some: pd.DataFrame, whole: pd.DataFrame, layout: Layout, look: Mapping[str, Any]) -> None:
    """One line of p50 with its 90 % bounds: a band, or bars where points are no line."""
    head = f"{layout.milestone}_us"
    bounds = (some[f"{head}_{each}"] for each in ("p50", "lo", "hi"))
    order = sorted(zip(_positions(some, whole, layout), *bounds, strict=True))
    x, p50, low, high = ([row[column] for row in order] for column in range(4))
    marked = {**look, "marker": look["marker"] if len(x) <= _MARKED_UP_TO or layout.scattered else ""}
    if layout.scattered:
        marked["linestyle"] = ""
        below, above = ([abs(a - b) for a, b in zip(p50, bound, strict=True)] for bound in (low, high))
        axes.errorbar(x, p50, yerr=[below, above], elinewidth=0.4, alpha=0.6, **marked)
        return
    axes.plot(x, p50, **marked)
    axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)


def _measured(axes: Axes, measured: pd.DataFrame, layout: Layout, panel: Any, whole: pd.DataFrame) -> None:
    """Measured points over the lines, each in its line's colour with a black edge."""
    column = f"{layout.milestone}_us"
    lacking = next((name for name in (layout.x, column) if name not in measured), None)
    if lacking is not None:
        raise BadInput("--measured", f"it has no column {lacking}", "name its columns as the store's")
    if panel is not None and layout.panel in measured:
        measured = measured[measured[layout.panel] == panel]
    for colour, dash in _alike(measured, whole, layout):
        some = measured if colour is None else measured[measured[layout.colour] == colour]
        some = some if dash is None else some[some[layout.dash] == dash]
        look = _look(colour, dash, whole, layout)
        axes.plot(
            _positions(some, whole, layout),
            some[column],
            look["marker"],
            color=look["color"] if colour is not None else "white",
            markerfacecolor=look["markerfacecolor"] if colour is not None else "white",
            markeredgecolor=look["color"] if colour is not None and look["markerfacecolor"] == "white" else "black",
            markersize=7,
            zorder=5,
            label=", ".join(("measured", *_names(colour, dash, layout))),
        )


def _alike(measured: pd.DataFrame, whole: pd.DataFrame, layout: Layout) -> list[tuple[Any, Any]]:
    """Colour's and dash's values of the measured points, in the order of the lines; None: not said."""
    names = [name if name and name in measured else None for name in (layout.colour, layout.dash)]
    values = [list(whole[name].unique()) if name else [None] for name in names]
    met = {tuple(row[name] if name else None for name in names) for row in measured.to_dict("records")}
    return [(colour, dash) for colour in values[0] for dash in in_order(values[1]) if (colour, dash) in met]


def _dress(figure: Figure, panels: Sequence[Axes], good: pd.DataFrame, layout: Layout, title: str, failed: int) -> None:
    """Scales, ticks, labels, legend, and a line that says what is drawn."""
    low, high = good[f"{layout.milestone}_us_lo"].min(), good[f"{layout.milestone}_us_hi"].max()
    for axes in panels:
        if low > 0 and high / low >= _LOG_FROM:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda value, _: tick(duration(value)) if value > 0 else "0")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
        _dress_x(axes, good, layout)
    columns = panels[0].get_subplotspec().get_gridspec().ncols  # type: ignore[union-attr]
    for index, axes in enumerate(panels):
        if index % columns == 0:
            axes.set_ylabel(f"time to {layout.milestone}")
        if index + columns >= len(panels):
            axes.set_xlabel(label_of(layout.x))
            axes.tick_params(labelbottom=True)
    handles, labels = panels[0].get_legend_handles_labels()
    if len(labels) > 1 or labels != ["p50"]:
        figure.legend(handles, labels, loc="outside right upper")
    drawn = "points: p50, bars" if layout.scattered else "line: p50, band"
    lost = f"; {failed} points failed" if failed else ""
    beyond = int(good["warnings"].str.split().map(lambda codes: "extrapolates" in codes).sum())
    lost += f"; {beyond} of {len(good)} points beyond what was measured" if beyond else ""
    figure.supxlabel(f"{drawn}: 90 % bounds{lost}", fontsize=7, color="#555555", x=0.01, ha="left")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)


def _dress_x(axes: Axes, good: pd.DataFrame, layout: Layout) -> None:
    values = list(good[layout.x].unique())
    known = FIELDS.get(layout.x)
    if known is None or known.kind == "text":
        axes.set_xticks(range(len(values)), [shown(layout.x, each) for each in in_order(values)])
        return
    if min(values) > 0 and max(values) / min(values) >= _LOG_FROM:
        axes.set_xscale("log", base=2 if known.unit == "bytes" else 10)
        axes.xaxis.set_minor_formatter(lambda value, _: "")
    if known.unit == "bytes":
        axes.xaxis.set_major_formatter(lambda value, _: tick(size(value)) if value >= 1 else "0")
        axes.tick_params(axis="x", rotation=30)
    else:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def rendered(figure: Figure, ending: str, *, dpi: int | None = None) -> bytes:
    """The figure as a file of that kind, the same bytes for the same figure; `dpi`: None: that of the house style.

    Raises:
        BadInput: another ending than png or svg.
    """
    import matplotlib as mpl

    if ending not in ("png", "svg"):
        raise BadInput(f".{ending}", "figures are written as PNG or SVG", "name the file .png or .svg")
    stream = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(
            stream,
            format=ending,
            dpi=dpi or STYLE["savefig.dpi"],
            metadata={"Date": None} if ending == "svg" else {"Software": None},
        )
    return stream.getvalue()
