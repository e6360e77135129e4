"""Claims judged: each whole, its figures computed or measured, its verdict borne out, its command running."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import experiments
from calibration.build import Builder
from calibration.errors import BadInput
from calibration.machine_file import BUNDLED, find_machine, write_machine_file
from experiments.claims.catalogue import DIRECTORY, PARTS, VERDICTS, Claim, chosen, claims, read_part
from experiments.claims.figures import SAMPLE, parts_of, query_of
from experiments.claims.judged import command_of, document_of, runs_of, text_of
from experiments.claims.measured import RUNS, STORED, read_measured
from experiments.claims.programs import SOURCES, audit
from experiments.cli.claims import asked_of
from experiments.cli.main import main
from tests.test_house import CITATION, kernel_symbols

SCHEMA = json.loads((Path(experiments.__file__).parent / "schemas" / "claims.json").read_text())
PLAN = Path(__file__).resolve().parents[2] / "calibration/plan_rows.py"
QUICK = ("flags", "inherit", "failures", "pages", "stack", "pidfds", "calls", "facts", "audit")
"""Runs that take less than a second each."""


@cache
def document() -> dict[str, Any]:
    file = find_machine(BUNDLED)
    return document_of(claims(), file, lambda options: asked_of(options, BUNDLED), read_measured())


def named(claim_id: str) -> dict[str, Any]:
    return next(each for each in document()["claims"] if each["id"] == claim_id)


def test_the_document_fits_its_schema() -> None:
    jsonschema.validate(document(), SCHEMA)
    assert json.loads(json.dumps(document(), allow_nan=False)) == document()
    assert len(document()["claims"]) == len(claims()) > 60


def test_every_part_of_the_text_has_claims_of_every_verdict() -> None:
    assert {path.stem for path in DIRECTORY.iterdir()} == set(PARTS)
    assert {each.verdict for each in claims()} == set(VERDICTS)
    assert [each.id for each in claims() if each.id.startswith("exercise-")] == [
        "exercise-1-cow-cost",
        "exercise-2-clone-files",
        "exercise-3-auxv",
        "exercise-4-setuid-audit",
        "exercise-5-pidfd",
    ]


@pytest.mark.parametrize("claim", claims(), ids=lambda claim: claim.id)
def test_a_claim_has_a_basis(claim: Claim) -> None:
    """A figure, or a source: a function of a version, a commit, a file, a release."""
    source = re.search(r"[\w/]+\.(c|h|go|java|py)\b|commit [0-9a-f]{12}|CONFIG_\w+|std/src|io_uring_spawn", claim.why)
    assert claim.judged_by in ("model", "measurement", "model and measurement") or source
    for check in claim.checks:
        assert check.figure in claim.predict or check.figure in claim.measure
    for text in claim.measure.values():
        for part in parts_of(text):
            run, _, figure = part.removeprefix(SAMPLE).rpartition(".")
            assert figure
            assert run in RUNS or (part.startswith(SAMPLE) and f"\n{run}: " in PLAN.read_text())


def test_figures_bear_the_verdicts_out() -> None:
    wrong = [
        f"{claim['id']}: {check}"
        for claim in document()["claims"]
        for check in claim["checks"]
        if check["predicted"] is False
        or check["measured"] is False
        or (check["predicted"] is None and check["measured"] is None and not claim["not_measured"])
    ]
    assert wrong == []


def test_a_verdict_with_figures_rests_on_a_bound_of_one() -> None:
    assert [each.id for each in claims() if (each.predict or each.measure) and not each.checks] == []


def test_a_check_can_fail() -> None:
    check = next(each for each in chosen(("ten-thousand-vmas",), None)[0].checks)
    assert check.holds(check.bound * 1.01)
    assert not check.holds(check.bound * 0.99)


def test_what_is_said_of_exercise_1_is_so() -> None:
    """The call does not depend on what the child does; /bin/true adds about the same to either size."""
    for figures in (named("exercise-1-cow-cost")["predicted"], named("exercise-1-cow-cost")["measured"]):
        assert figures["exec_call_1gib_us"] == pytest.approx(figures["call_1gib_us"], rel=0.5)
        small = figures["exec_reaped_10mib_us"] - figures["reaped_10mib_us"]
        assert small > 0.5 * figures["exec_reaped_10mib_us"]
        assert figures["exec_reaped_1gib_us"] - figures["reaped_1gib_us"] < 0.2 * figures["reaped_1gib_us"]
        assert figures["reaped_1gib_us"] > 1.5 * figures["call_1gib_us"]
        assert figures["second_fork_call_1gib_us"] < figures["call_1gib_us"]


def test_cited_functions_exist() -> None:
    symbols = kernel_symbols()
    cited = [match for claim in claims() for match in CITATION.finditer(claim.why)]
    assert len(cited) > 40
    wrong = [each[0] for each in cited if each["function"] not in symbols.get((each["version"], each["file"]), ())]
    assert wrong == []


def test_predicted_figures_are_computed(tmp_path: Path) -> None:
    """A dearer pte: every figure with ptes in it rises, and nothing measured moves."""
    file = find_machine(BUNDLED)
    prices = {name: price * (3 if name == "copy_present_pte" else 1) for name, price in file.costs.ns.items()}
    costs = dataclasses.replace(file.costs, ns=prices)
    path = tmp_path / "dear.toml"
    write_machine_file(dataclasses.replace(file, costs=costs), path)
    picked = chosen(("fork-2gb-microseconds", "vfork-no-page-tables"), None)
    dear = find_machine(str(path))
    changed = document_of(picked, dear, lambda options: asked_of(options, str(path)), read_measured())["claims"]
    before = named("fork-2gb-microseconds")
    assert changed[0]["predicted"]["fork_call_us"] > 1.5 * before["predicted"]["fork_call_us"]
    assert changed[0]["measured"] == before["measured"]
    assert changed[1]["predicted"] == named("vfork-no-page-tables")["predicted"]


def test_text_fits_80_columns() -> None:
    text = text_of(document())
    assert max(map(len, text.splitlines())) < 80
    for claim in claims():
        assert claim.id in text
        assert max(map(len, (*claim.predict, *claim.measure)), default=0) <= 36


def test_bounds_hold_the_predicted_figure() -> None:
    bounded = [(each, name) for each in document()["claims"] for name in each["predicted_interval"]]
    assert len(bounded) > 20
    for claim, name in bounded:
        low, high = claim["predicted_interval"][name]
        assert low <= claim["predicted"][name] <= high


@pytest.mark.parametrize("command", sorted({command_of(each) for each in claims() if each.predict}))
def test_a_command_that_predicts_runs(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *words = shlex.split(command)
    assert program == "spawncost"
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "spawncost.prediction/1"


def test_the_command_reproduces_the_figure(capsys: pytest.CaptureFixture[str]) -> None:
    for claim in claims():
        if not claim.predict:
            continue
        name, text = next(iter(claim.predict.items()))
        path, _ = query_of(parts_of(text)[0])
        assert main([*shlex.split(named(claim.id)["command"])[1:], "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        if path in ("call", "exec", "main", "reaped") and len(parts_of(text)) == 1:
            shown = found["predictions"][0]["milestones_us"][path]["p50"]
            assert named(claim.id)["predicted"][name] == pytest.approx(shown, rel=1e-6)


def test_commands_that_measure_run(capsys: pytest.CaptureFixture[str]) -> None:
    """All claims whose programs are quick in one go; a machine may refuse some of it and says why."""
    picked = [each for each in claims() if runs_of([each]) and set(runs_of([each])) <= set(QUICK)]
    ids = [word for each in picked for word in ("--id", each.id)]
    assert main(["claims", *ids, "--measure", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, SCHEMA)
    assert [each["id"] for each in found["claims"]] == [each.id for each in picked]
    for each in found["claims"]:
        assert set(each["measured"] or {}) | set(each["not_measured"]) >= {
            name for name, text in chosen((each["id"],), None)[0].measure.items() if not text.startswith(SAMPLE)
        }


def test_every_command_names_its_own_claim_or_predicts() -> None:
    for claim in document()["claims"]:
        words = shlex.split(claim["command"])
        assert words[:2] in (["spawncost", "predict"], ["spawncost", "claims"])
        assert words[1] == "predict" or words[words.index("--id") + 1] == claim["id"]


def test_what_is_measured_is_stored_whole() -> None:
    stored = read_measured()
    assert set(stored.runs) == set(RUNS)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d\+00:00", stored.date)
    assert {planned.program for planned in RUNS.values()} >= {path.stem for path in SOURCES.glob("*.c")}
    timed = [taken for name, taken in stored.runs.items() if RUNS[name].program == "spawn_time"]
    assert min(len(taken.figures["call_us"]) for taken in timed) >= 5


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    damaged = json.loads(STORED.read_text())
    del damaged["runs"]["flags"]["figures"]
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(damaged))
    with pytest.raises(BadInput, match=r"runs\.flags\.figures"):
        read_measured(path)
    part = tmp_path / "part.toml"
    part.write_text((DIRECTORY / "calls.toml").read_text().replace('verdict = "true"', 'verdict = "maybe"', 1))
    with pytest.raises(BadInput, match="verdict"):
        read_part(part)


@pytest.mark.parametrize(
    "options", [["--id", "none-such"], ["--verdict", "maybe"], ["--out", "a.json"], ["--machine", "none-such"]]
)
def test_bad_options_are_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", *options]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert options[1] in shown.err or options[0] in shown.err


def test_measurements_can_be_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.json"
    assert main(["claims", "--id", "exercise-3-auxv", "--measure", "--out", str(path)]) == 0
    assert "exercise-3-auxv" in capsys.readouterr().out
    assert set(read_measured(path).runs) == {"stack"}


def test_a_verdict_picks_its_claims(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "--verdict", "false", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["claims"]
    assert {each["verdict"] for each in found} == {"false"}
    assert len(found) == sum(each.verdict == "false" for each in claims())


def test_the_audit_sees_a_setuid_file_with_a_writable_run_path(tmp_path: Path) -> None:
    """Made by hand, since no system should have one; beside it a closed run path, and a text with the bit set."""
    source = tmp_path / "program.c"
    source.write_text("int main(void) { return 0; }")
    for name, mode in (("open", 0o777), ("closed", 0o755)):
        folder = tmp_path / name
        folder.mkdir()
        folder.chmod(mode)
        Builder(cache=tmp_path).compile(["-o", str(folder / "program"), str(source), "-Wl,-rpath,$ORIGIN"])
        (folder / "program").chmod(0o4755)
    plain = tmp_path / "plain"
    plain.write_text("no ELF file")
    plain.chmod(0o4755)
    found = audit([str(tmp_path)])
    assert found == {
        "setuid_files": 3,
        "setuid_dynamic": 2,
        "setuid_with_run_path": 2,
        "setuid_writable_run_path": 1,
    }
