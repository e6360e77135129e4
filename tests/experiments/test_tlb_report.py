"""`spawncost tlb`: stored measurements are told as text and as a document; what cannot be is refused in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from calibration.tlb.runs import DATA, stored_runs
from experiments.cli.main import main


def report(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["tlb", "--json", *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_stored_measurement_is_reported_whole(capsys: pytest.CaptureFixture[str]) -> None:
    document = report(capsys, "--file", str(stored_runs("*", [DATA])))
    assert document["schema"] == "spawncost.tlb-report/1"
    fitted = document["fitted"]
    first, second = fitted["4K"]["first"], fitted["4K"]["second"]
    assert 0 < first["entries"]["value"] < second["entries"]["value"]
    assert 0 < first["miss_ns"]["value"] < second["miss_ns"]["value"]
    for each in fitted["4K"]["points"]:
        assert abs(math.log(each["model_ns"] / each["spread_ns"])) < 1.0
    assert document["facts"]["tlb_entries"] == second["entries"]["value"]


def test_the_text_names_sources_and_remarks(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(stored_runs("*", [DATA]))
    document = report(capsys, "--file", path)
    assert main(["tlb", "--file", path]) == 0
    text = capsys.readouterr().out
    assert all(each["source"] in text for each in document["documented"]["levels"])
    assert all(each in text for each in document["remarks"])


@pytest.mark.parametrize("words", [["--file", "absent.json"], ["--out", "x.json"], ["--measure", "--file", "x.json"]])
def test_bad_input_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tlb", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("spawncost: error: ")
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
