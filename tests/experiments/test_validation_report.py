"""A validation's document holds what its text says; kinds that cannot be mixed are refused before anything runs."""

from __future__ import annotations

import json

import pytest

from calibration.comparison import Comparison, Outcome
from experiments.cli.main import main
from experiments.validation_report import validation_document, validation_text
from model.prediction import Milestone


def _done() -> Outcome:
    predicted = Milestone(quiet_ns=9e4, p10_ns=9.5e4, p50_ns=1e5, p90_ns=1.2e5, lo_ns=8e4, hi_ns=1.3e5)
    comparison = Comparison(
        case="c fork 256MiB 4k hot",
        milestone="call",
        group="c fork",
        samples_ns=((1e5, 1.1e5, 9e4), (2.2e5, 2.1e5, 2.3e5)),
        predictions=(predicted, predicted),
        copied=True,
        rss_bytes=2.0**28,
    )
    return Outcome(
        machine="somewhere", comparisons=(comparison,), skipped=(("redis", "redis-server is not installed"),)
    )


def test_the_document_is_json_and_covers_what_was_measured() -> None:
    document = validation_document(_done(), {"why_not": "nothing"})
    row = json.loads(json.dumps(document, allow_nan=False))["comparisons"][0]
    assert [each["measured"] for each in row["processes_us"]] == [100.0, 220.0]
    assert row["covered"] is False
    assert document["summary"]["coverage"] == 0.5
    assert document["skipped"] == [{"case": "redis", "why": "redis-server is not installed"}]


def test_the_text_gives_the_worst_its_cause_and_what_was_skipped() -> None:
    text = validation_text(_done(), {"why_not": "no case copies its parent's memory"})
    cause = _done().comparisons[0].cause
    assert cause
    assert cause in text
    assert "skipped redis: redis-server is not installed" in text
    assert "rules of thumb: no case copies" in text


def test_kinds_with_figures_of_their_own_stand_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("exec", "libraries", "loader", "load"):
        assert main(["validate", "--kind", kind, "--kind", "jvm"]) == 2
        assert f"--kind {kind}" in capsys.readouterr().err
    assert main(["validate", "--kind", "nothing"]) == 2
    assert "nothing" in capsys.readouterr().err
