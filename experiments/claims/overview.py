"""The claims as a table and as a figure: what was foretold of each beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from experiments.figures import COLOURS, MARKERS, STYLE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

VERDICTS = ("true", "false", "depends")
NOISE_FACTOR = 1.25
"""Either side of equality that is shaded: what runs of one spawn differ by from hour to hour on a shared guest."""


def verdicts_frame(document: Mapping[str, Any]) -> pd.DataFrame:
    """A row a claim of a `spawncost.claims/1` document: its verdict, kernels, why and command."""
    import pandas as pd

    names = ["id", "section", "verdict", "kernels", "text", "why", "command"]
    return pd.DataFrame([{name: each[name] for name in names} for each in document["claims"]], columns=names)


def figures_frame(document: Mapping[str, Any]) -> pd.DataFrame:
    """A row a figure of a claim: predicted, its 90 % bounds, measured; what there is none of is NaN."""
    import pandas as pd

    columns = ["id", "verdict", "figure", "predicted", "lo", "hi", "measured"]
    rows = []
    for each in document["claims"]:
        foretold, found, bounds = each["predicted"] or {}, each["measured"] or {}, each["predicted_interval"]
        for name in dict.fromkeys((*foretold, *found)):
            low, high = bounds.get(name, (None, None))
            rows.append((each["id"], each["verdict"], name, foretold.get(name), low, high, found.get(name)))
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[3:], float))


def claims_figure(document: Mapping[str, Any]) -> Figure:
    """Measured over predicted, by verdict: every time that has both, in microseconds, predictions with their bounds."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    frame = figures_frame(document).dropna(subset=["predicted", "lo", "hi", "measured"])
    frame = frame[frame["figure"].str.endswith("_us")].drop_duplicates(["predicted", "measured"])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.6))
        axes = figure.subplots()
        for index, verdict in enumerate(VERDICTS):
            some = frame[frame["verdict"] == verdict]
            bars = [some["predicted"] - some["lo"], some["hi"] - some["predicted"]]
            look: Any = {"color": COLOURS[index], "marker": MARKERS[index], "label": f"verdict: {verdict}"}
            axes.errorbar(some["predicted"], some["measured"], xerr=bars, linestyle="", elinewidth=0.8, **look)
        ends = [frame[["lo", "measured"]].min().min() / 2, frame[["hi", "measured"]].max().max() * 2]
        axes.plot(ends, ends, color="black", linewidth=0.8, label="as predicted")
        below, above = ([end * factor for end in ends] for factor in (1 / NOISE_FACTOR, NOISE_FACTOR))
        axes.fill_between(ends, below, above, color="#d0d0d0", alpha=0.6, linewidth=0, label=f"within {NOISE_FACTOR:g}")
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="predicted, us", ylabel="measured, us")
        figure.legend(loc="outside right upper")
        figure.supxlabel("bars: 90 % bounds of the prediction", fontsize=7, color="#555555", x=0.01, ha="left")
    return figure
