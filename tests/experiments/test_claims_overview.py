"""The overview of the claims holds what the document holds, and draws what has both figures."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from calibration.machine_file import find_machine
from experiments.claims import catalogue, judged, measured
from experiments.claims.overview import VERDICTS, claims_figure, figures_frame, verdicts_frame
from experiments.cli.claims import asked_of
from experiments.figures import rendered

FEW = ("fork-order-of-vmas", "vfork-no-page-tables", "vfork-until-exec", "fork-dominated-by-page-tables")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    claims = [each for each in catalogue.claims() if each.id in FEW]
    stored = measured.read_measured()
    return judged.document_of(claims, find_machine("bundled"), partial(asked_of, machine="bundled"), stored)


def test_the_tables_have_a_row_a_claim_and_one_a_figure(document: dict[str, Any]) -> None:
    verdicts, figures = verdicts_frame(document), figures_frame(document)
    assert sorted(verdicts["id"]) == sorted(FEW)
    assert set(verdicts["verdict"]) <= set(VERDICTS)
    one = figures[(figures["id"] == "fork-order-of-vmas") & (figures["figure"] == "fork_1gib_call_us")].iloc[0]
    assert one["lo"] < one["predicted"] < one["hi"]
    only_measured = figures[figures["id"] == "vfork-until-exec"]
    assert len(only_measured)
    assert only_measured["predicted"].isna().all()
    assert only_measured["measured"].notna().all()


def test_the_figure_has_every_time_that_was_foretold_and_measured(document: dict[str, Any]) -> None:
    figure = claims_figure(document)
    axes = figure.axes[0]
    containers: list[Any] = list(axes.containers)
    drawn = sum(len(each.lines[0].get_xdata()) for each in containers)
    both = figures_frame(document).dropna(subset=["predicted", "lo", "measured"])
    times = both[both["figure"].str.endswith("_us")].drop_duplicates(["predicted", "measured"])
    assert drawn == len(times) > 3
    assert rendered(figure, "png").startswith(b"\x89PNG")
