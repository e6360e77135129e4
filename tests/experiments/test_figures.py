"""Figures show every point and its interval, in a style that survives print and colour blindness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from calibration.errors import BadInput
from experiments.figure_layout import in_order, layout_of, shown, tick
from experiments.figures import COLOURS, rendered, sweep_figure
from experiments.sweep import run_sweep
from tests.experiments.sweep_support import small

SIZES: dict[str, Any] = {"low": "1MiB", "high": "16GiB", "scale": "log", "count": 9}


@pytest.fixture(scope="module")
def frame(machine_path: Path) -> pd.DataFrame:
    return run_sweep(small(machine_path, axes={"rss": SIZES, "thp": ["off", "on"]}), workers=1)


def _drawn(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def _lines(axes: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in axes.get_lines()
    }


def test_every_point_is_on_its_line_and_in_its_band(frame: pd.DataFrame) -> None:
    layout = layout_of(frame)
    assert (layout.x, layout.milestone, layout.colour, layout.dash) == ("rss", "call", "via", "thp")
    (axes,) = _drawn(sweep_figure(frame, layout))
    lines = _lines(axes)
    assert set(lines) == {f"{via}, thp {thp}" for via in ("fork", "vfork") for thp in ("off", "on")}
    bands = [each for each in axes.collections if isinstance(each, PolyCollection)]
    assert len(bands) == len(lines)
    for (label, (x, y)), band in zip(lines.items(), bands, strict=True):
        via, _, thp = label.partition(", thp ")
        some = frame[(frame["via"] == via) & (frame["thp"] == thp)]
        assert sorted(zip(x, y, strict=True)) == sorted(zip(some["rss"], some["call_us_p50"], strict=True))
        edges = np.asarray(band.get_paths()[0].vertices)
        assert edges[:, 1].min() == pytest.approx(some["call_us_lo"].min())
        assert edges[:, 1].max() == pytest.approx(some["call_us_hi"].max())


def test_axes_are_logarithmic_where_values_span_them(frame: pd.DataFrame) -> None:
    (wide,) = _drawn(sweep_figure(frame, layout_of(frame)))
    assert (wide.get_xscale(), wide.get_yscale()) == ("log", "log")
    narrow = frame[frame["rss"] <= frame["rss"].unique()[1]]
    (axes,) = _drawn(sweep_figure(narrow, layout_of(narrow, x="rss")))
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    assert axes.get_ylim()[0] == 0


def test_a_third_field_gets_panels_and_a_fourth_is_refused(machine_path: Path) -> None:
    axes = {"rss": SIZES, "thp": ["off", "on"], "caller": ["hot", "cold"], "kernel": ["4.18", "6.18"]}
    four = run_sweep(small(machine_path, axes=axes), workers=1)
    with pytest.raises(BadInput, match="--where"):
        layout_of(four)
    three = four[four["kernel"] == "6.18"]
    panels = _drawn(sweep_figure(three, layout_of(three)))
    assert len(panels) == 2
    assert sum(len(_lines(each)) for each in panels) == 8


def test_a_sampled_design_is_drawn_as_points(machine_path: Path) -> None:
    axes = {"rss": {**SIZES, "count": None}, "parent.contiguous": {"low": 0.0, "high": 1.0}}
    axes["rss"] = {key: each for key, each in axes["rss"].items() if each is not None}
    frame = run_sweep(small(machine_path, axes=axes, method="sobol", samples=32), workers=1)
    layout = layout_of(frame, x="rss")
    assert layout.scattered
    (panel,) = _drawn(sweep_figure(frame, layout))
    assert sum(np.asarray(line.get_xdata()).size for line in panel.get_lines()) >= 64
    assert {line.get_linestyle() for line in panel.get_lines()} == {"None"}


def test_measured_points_lie_over_the_lines(frame: pd.DataFrame) -> None:
    measured = pd.DataFrame({"rss": [1 << 24, 1 << 30], "call_us": [80.0, 9000.0], "via": ["fork", "vfork"]})
    (axes,) = _drawn(sweep_figure(frame, layout_of(frame), measured=measured))
    found = {label: line for label, line in _lines(axes).items() if label.startswith("measured")}
    assert {label: (list(x), list(y)) for label, (x, y) in found.items()} == {
        "measured, fork": ([1 << 24], [80.0]),
        "measured, vfork": ([1 << 30], [9000.0]),
    }
    with pytest.raises(BadInput, match="call_us"):
        sweep_figure(frame, layout_of(frame), measured=measured.drop(columns="call_us"))


def test_versions_are_in_the_order_of_versions(machine_path: Path) -> None:
    axes = {"kernel": ["6.18", "5.4", "4.18", "5.10"]}
    base = {"machine": str(machine_path), "rss": "64MiB", "exec": "none", "via": "fork"}
    frame = run_sweep(small(machine_path, base=base, axes=axes), workers=1)
    (panel,) = _drawn(sweep_figure(frame, layout_of(frame)))
    assert [each.get_text() for each in panel.get_xticklabels()] == ["4.18", "5.4", "5.10", "6.18"]
    assert in_order(["b", "a"]) == ["b", "a"]


def test_failed_points_are_counted(machine_path: Path) -> None:
    frame = run_sweep(small(machine_path, axes={"rss": SIZES, "parent.vmas": [2, 64, 128]}), workers=1)
    figure = sweep_figure(frame, layout_of(frame))
    assert "18 points failed" in str(figure.get_supxlabel())
    with pytest.raises(BadInput, match="no point"):
        layout_of(frame[frame["error"].notna()].dropna(axis=1, how="all").assign(error="x"))


def test_points_beyond_what_was_measured_are_counted(frame: pd.DataFrame) -> None:
    beyond = int(frame["warnings"].str.contains("extrapolates").sum())
    assert 0 < beyond < len(frame)
    text = sweep_figure(frame, layout_of(frame)).get_supxlabel()
    assert f"{beyond} of {len(frame)} points beyond what was measured" in str(text)
    known = frame[~frame["warnings"].str.contains("extrapolates")]
    assert "beyond" not in str(sweep_figure(known, layout_of(known)).get_supxlabel())


def test_nothing_that_varies_and_what_does_not_exist_are_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(BadInput, match="nothing varies"):
        layout_of(frame.head(1))
    with pytest.raises(BadInput, match="--x colour"):
        layout_of(frame, x="colour")
    with pytest.raises(BadInput, match="--milestone main"):
        layout_of(frame, milestone="main")


def _lightness(colour: str) -> float:
    """CIE L*: what is left of a colour on a black-and-white printer."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return float(116 * luminance ** (1 / 3) - 16)


# Machado, Oliveira and Fernandes (2009), severity 1.0, in linear RGB.
BLINDNESS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_colours_stay_apart_for_colour_blind_readers(kind: str) -> None:
    matrix = np.array(BLINDNESS[kind])

    def nearest(colours: Sequence[str]) -> float:
        seen = [np.clip(matrix @ np.array(to_rgb(each)) ** 2.2, 0, 1) ** (1 / 2.2) for each in colours]
        return min(float(np.linalg.norm(a - b)) for i, a in enumerate(seen) for b in seen[:i])

    default = matplotlib.rcParamsDefault["axes.prop_cycle"].by_key()["color"][: len(COLOURS)]
    assert nearest(COLOURS) > 1.4 * nearest(default)


def test_colours_are_dark_enough_for_paper() -> None:
    assert max(map(_lightness, COLOURS)) < 75


def test_lines_differ_in_more_than_colour(frame: pd.DataFrame) -> None:
    (axes,) = _drawn(sweep_figure(frame, layout_of(frame)))
    looks = [(line.get_marker(), str(line.get_markerfacecolor()) == "white", line._dash_pattern)  # type: ignore[attr-defined]
             for line in axes.get_lines()]  # fmt: skip
    assert len({str(each) for each in looks}) == len(looks)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_same_figure_is_the_same_file(frame: pd.DataFrame, ending: str) -> None:
    files = {rendered(sweep_figure(frame, layout_of(frame), title="fork"), ending) for _ in range(2)}
    assert len(files) == 1
    (content,) = files
    assert content.startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    if ending == "svg":
        assert b"vfork, thp on" in content
    with pytest.raises(BadInput, match="PNG or SVG"):
        rendered(sweep_figure(frame, layout_of(frame)), "gif")


def test_values_read_as_people_write_them() -> None:
    assert shown("rss", 1 << 30) == "1 GiB"
    assert shown("parent.huge", 0.5) == "0.5"
    assert [tick(each) for each in ("1.00 ms", "100 us", "2.50 s")] == ["1 ms", "100 us", "2.5 s"]


def test_measured_points_look_like_the_line_that_they_are_of(frame: pd.DataFrame) -> None:
    layout = layout_of(frame)
    points = pd.DataFrame({"rss": [1 << 24] * 2, "call_us": [10.0, 20.0], "via": ["fork"] * 2, "thp": ["off", "on"]})

    def drawn(measured: pd.DataFrame) -> list[Any]:
        (axes,) = _drawn(sweep_figure(frame, layout, measured=measured))
        return [line for line in axes.get_lines() if str(line.get_label()).startswith("measured")]

    told = drawn(points)
    assert [str(each.get_label()) for each in told] == ["measured, fork, thp off", "measured, fork, thp on"]
    assert [each.get_markerfacecolor() for each in told] == [COLOURS[0], "white"]
    (untold,) = drawn(points.drop(columns=["via", "thp"]))
    assert list(untold.get_ydata()) == [10.0, 20.0]
