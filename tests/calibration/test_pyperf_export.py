"""Samples as pyperf's JSON: every kept repetition is there, in seconds, once; pyperf itself reads it where it is."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from calibration.check import stored_samples
from calibration.errors import BadInput
from calibration.machine_file import BUNDLED, find_machine
from calibration.pyperf_export import pyperf_document
from calibration.samples import SampleFile, read_runs
from experiments.cli.main import main


@cache
def stored() -> SampleFile:
    return read_runs(stored_samples(find_machine(BUNDLED))[0])


def by_name(document: dict[str, Any]) -> dict[str, Any]:
    return {each["metadata"]["name"]: each for each in document["benchmarks"]}


def test_every_kept_repetition_is_exported_in_seconds() -> None:
    samples = stored()
    found = by_name(pyperf_document(samples))
    for name, milestone in (("fork-4k", "call"), ("fork-4k", "reaped"), ("syscall", "value"), ("exec-tiny", "main")):
        runs = samples.kept()[name]
        exported = found[f"{name}:{milestone}"]["runs"]
        assert len(exported) == len(runs)
        for run, one in zip(runs, exported, strict=True):
            times = [getattr(each, f"{milestone}_ns") for each in run.timed]
            assert [value * 1e9 for value in one["values"]] == pytest.approx(times)
            assert len(one.get("warmups", [])) == len(run.samples) - len(run.timed)


def test_the_format_is_that_of_pyperf() -> None:
    document = pyperf_document(stored())
    assert document["version"] == "1.0"
    assert document["metadata"]["unit"] == "second"
    names = [each["metadata"]["name"] for each in document["benchmarks"]]
    assert len(set(names)) == len(names)
    for each in document["benchmarks"]:
        for run in each["runs"]:
            assert run["values"]
            assert all(isinstance(value, float) and value > 0.0 for value in run["values"])
            assert all(loops == 1 and value > 0.0 for loops, value in run.get("warmups", []))


def test_rows_can_be_chosen_and_must_exist() -> None:
    found = by_name(pyperf_document(stored(), ["fork-4k"]))
    assert set(found) == {"fork-4k:call", "fork-4k:reaped"}
    with pytest.raises(BadInput, match="no such row"):
        pyperf_document(stored(), ["fork-5k"])


@pytest.mark.skipif(find_spec("pyperf") is None, reason="pyperf is not installed")
def test_pyperf_reads_it(tmp_path: Path) -> None:
    import pyperf  # type: ignore[import-not-found, unused-ignore]

    path = tmp_path / "samples.json"
    path.write_text(json.dumps(pyperf_document(stored())))
    suite = pyperf.BenchmarkSuite.load(str(path))
    assert suite.get_benchmark("fork-4k:call").get_nvalue() > 50


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    assert main(["export", "--pyperf", "--machine", "bundled", "--row", "syscall", "-o", str(out)]) == 0
    assert set(by_name(json.loads(out.read_text()))) == {"syscall:value"}
    capsys.readouterr()
    assert main(["export", "--pyperf", "--machine", "bundled", "--row", "syscall"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == "1.0"
    assert main(["export", "--machine", "bundled"]) == 2
    assert main(["export", "--pyperf", "--machine", "bundled", "-o", str(tmp_path)]) == 2
    assert main(["export", "--pyperf", "--machine", "bundled", "--samples", str(out)]) == 2
