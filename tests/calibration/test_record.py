"""A stored validation says when, where and how, and names no user; rules of thumb are fitted to the same machine."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.comparison import Comparison
from calibration.errors import BadInput
from calibration.machine_file import find_machine
from calibration.record import Protocol, record
from calibration.rules_of_thumb import PER_GIB_NS, beside_rules, fitted_lines
from model.prediction import Milestone

PROTOCOL = Protocol(kinds=["exec"], command="spawncost validate --kind exec --store", processes=3, reps=12)


def test_a_record_is_whole_and_none_is_overwritten(tmp_path: Path) -> None:
    document = {"schema": "x", "skipped": [{"case": "a", "why": f"{Path.home()}/secret is not there"}]}
    path = record(document, find_machine("bundled"), PROTOCOL, tmp_path / "kept")
    found = json.loads(path.read_text())
    assert found["validation"]["skipped"][0]["why"] == "~/secret is not there"
    assert found["protocol"]["processes"] == 3
    assert found["machine_file"]["name"] == find_machine("bundled").machine.name
    assert found["date"][:4].isdigit()
    with pytest.raises(BadInput, match="already"):
        _keep(tmp_path / "kept", 5)  # two of these fall into one second


def _keep(folder: Path, times: int) -> None:
    for _ in range(times):
        record({}, find_machine("bundled"), PROTOCOL, folder)


def test_a_folder_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        record({}, find_machine("bundled"), PROTOCOL, tmp_path / "file")


def _fork_of(rss_bytes: float, measured_ns: float, predicted_ns: float) -> Comparison:
    predicted = Milestone(
        quiet_ns=predicted_ns, p10_ns=predicted_ns, p50_ns=predicted_ns, p90_ns=predicted_ns, lo_ns=1.0, hi_ns=1e12
    )
    return Comparison(
        case="case", milestone="call", group="c fork", samples_ns=((measured_ns,),), predictions=(predicted,),
        rss_bytes=rss_bytes, copied=True,
    )  # fmt: skip


def test_the_rules_know_resident_memory_and_nothing_else() -> None:
    file = find_machine("bundled")
    found = beside_rules(file, [_fork_of(2**30, PER_GIB_NS, 2 * PER_GIB_NS)])
    assert found["n"] == 1
    assert found["10 ms per GB of RSS"]["median_error"] == pytest.approx(0.0, abs=1e-12)
    assert found["ours"]["median_error"] == pytest.approx(math.log(2))
    assert found["10 ms per GB of RSS"]["times"] == pytest.approx(0.0, abs=1e-12)
    line = fitted_lines(file)["call"]
    assert found["line through fork against RSS"]["median_error"] == pytest.approx(
        abs(math.log(line.at_ns(2**30) / PER_GIB_NS))
    )


def test_the_line_grows_with_memory_and_reaping_costs_more() -> None:
    lines = fitted_lines(find_machine("bundled"))
    assert lines["call"].rows >= 10
    assert 0 < lines["call"].per_byte_ns < lines["reaped"].per_byte_ns


def test_rules_say_nothing_of_a_spawn_that_copies_nothing() -> None:
    found = beside_rules(find_machine("bundled"), [replace(_fork_of(2**30, 1e6, 1e6), copied=False)])
    assert "no case copies" in found["why_not"]


def test_without_samples_there_is_no_line_and_the_reason_is_told() -> None:
    file = replace(find_machine("bundled"), provenance={})
    found = beside_rules(file, [_fork_of(2**30, 1e7, 1e7)])
    assert "names no samples" in found["line_why_not"]
    assert "10 ms per GB of RSS" in found
