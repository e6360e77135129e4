"""What a machine file inherits is asked for by name, and refused before anything is measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from calibration import machine_file
from calibration.calibrate import NOTHING, base_file, rows_beyond, rows_of_pass
from calibration.check import stored_samples
from calibration.errors import BadInput
from calibration.machine_file import find_machine, write_machine_file
from calibration.plan import planned_rows
from calibration.samples import Run, Sample, SampleWriter, append_run
from experiments.cli import main as cli
from experiments.cli.calibrate import rows_asked
from model.costs import CostTable
from tests.experiments.plausible import OTHER_HOST, write_plausible


def test_nothing_is_inherited_where_none_is_asked_or_bundled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert base_file(NOTHING) is None
    bundled = base_file()
    assert bundled is not None
    assert bundled.origin == "bundled"
    monkeypatch.setattr(machine_file, "BUNDLED_DIRECTORY", tmp_path)
    assert base_file() is None


def test_a_base_is_found_by_path(tmp_path: Path) -> None:
    found = base_file(str(write_plausible(tmp_path / "other.toml", this_host=False)))
    assert found is not None
    assert found.machine.name == OTHER_HOST


def test_an_unknown_base_is_refused_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="nosuch"):
        base_file("nosuch")
    assert cli.main(["calibrate", "--base", "nosuch", "--out", str(tmp_path / "out.toml")]) == 2
    assert "nosuch" in capsys.readouterr().err
    assert cli.main(["calibrate", "--quick", "--thorough", "--out", str(tmp_path / "out.toml")]) == 2
    assert list(tmp_path.iterdir()) == []


def samples_of(path: Path, processes: int) -> Path:
    with SampleWriter(path, {}) as writer:
        for process in range(processes):
            run = Run(
                row="syscall", bench="null_syscall", args=(), process=process, round=0, pinned=True, pass_="quiet",
                header={}, samples=(Sample(rep=0, value_ns=100.0),),
            )  # fmt: skip
            append_run(writer, run)
    return path


def test_rows_that_were_advised_are_measured_beyond_what_there_is(tmp_path: Path) -> None:
    path = samples_of(tmp_path / "s.jsonl", 4)
    planned = {row.row.name: row.row.processes for row in planned_rows()}
    found = {row.row.name: row.row.processes for row in rows_beyond({"syscall": 3, "vfork": 5, "clock": 0}, path)}
    assert found == {"syscall": 7, "vfork": 5, "clock": planned["clock"]}
    assert rows_beyond({"vfork": 2}, tmp_path / "none.jsonl")[0].row.processes == 2
    one, two = (rows_of_pass(done, path, quick=False, more={"syscall": 3})[0].row.processes for done in (1, 2))
    assert two - one == 3, "a second pass adds what was asked for, not what is there again"
    plan = {row.row.name: row.row.processes for row in rows_of_pass(1, path, quick=True, more=None)}
    again = {row.row.name: row.row.processes for row in rows_of_pass(2, path, quick=True, more=None)}
    assert again == {name: 2 * count for name, count in plan.items()}
    for none in ({}, {"nosuch": 1}):
        with pytest.raises(BadInput, match="--rows"):
            rows_beyond(none, path)


@pytest.mark.parametrize(
    "text, found",
    [
        ("syscall\nvfork clock\n", {"syscall": 0, "vfork": 0, "clock": 0}),
        ('{"steps": [{"row": "fork-0", "processes": 24, "bench": "fork_touched"}]}', {"fork-0": 24}),
        ('{"steps": [{"row": "fork-0"}]}', None),
        ("{", None),
    ],
)
def test_an_advice_or_names_say_what_to_measure(text: str, found: dict[str, int] | None, tmp_path: Path) -> None:
    path = tmp_path / "advice"
    path.write_text(text, encoding="utf-8")
    if found is None:
        with pytest.raises(BadInput, match="is no advice"):
            rows_asked(str(path))
    else:
        assert rows_asked(str(path)) == found


def test_stored_samples_are_fitted_again_without_measuring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A few rows of the bundled samples stand for all: what they do not tell stays."""
    before = find_machine("bundled")
    first, *lines = stored_samples(before)[0].read_text(encoding="utf-8").splitlines()
    rows = ("syscall", "clock", "fork-0", "vfork", "spread-vfork")
    few = [line for line in lines if json.loads(line).get("row") in rows]
    (tmp_path / "few.jsonl").write_text("\n".join([first, *few, ""]), encoding="utf-8")
    file = replace(
        before, provenance={**before.provenance, "samples": ["few"]}, costs=dearer(before.costs, "clock_gettime")
    )
    write_machine_file(file, tmp_path / "m.toml")
    out = tmp_path / "again.toml"
    assert cli.main(["calibrate", "--refit", str(tmp_path / "m.toml"), "--out", str(out), "--json"]) == 0
    assert "copy_huge_pmd" in json.loads(capsys.readouterr().out)["inherited"]
    after = find_machine(str(out))
    assert after.costs.price("clock_gettime") == pytest.approx(before.costs.price("clock_gettime"), rel=0.1)
    assert after.costs.price("copy_huge_pmd") == pytest.approx(before.costs.price("copy_huge_pmd"))
    assert after.machine.name == before.machine.name
    assert set(before.machine.facts) <= set(after.machine.facts)
    assert after.provenance["samples"] == ["few"]


def dearer(costs: CostTable, name: str) -> CostTable:
    return replace(costs, ns={**costs.ns, name: 3.0 * costs.ns[name]})
