"""Real programs are run to their entry and no further, and predicted for what they are."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from calibration.capture import capture_elf
from calibration.errors import BadInput
from calibration.live.artefacts import c_program
from calibration.live.exec_runs import ExecCase, copies, run_execs
from calibration.live.programs import find_programs, stamped_copy
from calibration.machine_file import find_machine
from calibration.validate_exec import validate_exec
from tests.calibration.elf_support import counted, quiet_environ

needs_programs = pytest.mark.skipif("true" not in find_programs().found, reason="no dynamic glibc program is installed")


@needs_programs
def test_a_stamped_copy_writes_the_time_at_its_entry_and_ends(tmp_path: Path) -> None:
    copy = stamped_copy(find_programs().found["true"], tmp_path)
    assert counted(capture_elf(copy, environ=quiet_environ())) == counted(
        capture_elf(find_programs().found["true"], environ=quiet_environ())
    )
    stamp = tmp_path / "stamp"
    # the clock read before and after encloses what the copy wrote
    before = time.monotonic_ns()
    done = subprocess.run(["sh", "-c", 'exec "$0" 9>"$1"', str(copy), str(stamp)], check=False)
    assert done.returncode == 0
    assert before < int.from_bytes(stamp.read_bytes(), "little") < time.monotonic_ns()


@needs_programs
def test_start_comes_before_the_end_and_a_failing_case_is_named(tmp_path: Path) -> None:
    good = copies("true", find_programs().found["true"], tmp_path)
    bad = ExecCase(name="nowhere", stopped=str(tmp_path / "none"), stamped=good.stamped)
    done = run_execs([good, bad], processes=2, reps=20)
    assert [len(each) for each in done[0].samples_ns["start"]] == [20, 20]
    assert not done[0].error
    pooled = {name: sorted(sum(values, ())) for name, values in done[0].samples_ns.items()}
    # They are different starts: a moment in which only one of them was disturbed does not turn least and median round.
    assert 0 < pooled["start"][0] < pooled["reaped"][20]
    assert "none" in done[1].error
    assert done[1].samples_ns["start"] == []


@needs_programs
def test_files_leave_the_page_cache_where_nobody_else_maps_them(tmp_path: Path) -> None:
    case = copies("true", find_programs().found["true"], tmp_path)
    os.sync()
    evicted = ExecCase(name="cold", stopped=case.stopped, stamped=case.stamped, evicted=(case.stopped, case.stamped))
    (warm, cold) = run_execs([case, evicted], processes=1, reps=8)
    if not any(cold.major_faults):
        pytest.skip("the file system keeps its pages in memory")
    assert sum(warm.major_faults) < sum(cold.major_faults)


@needs_programs
def test_programs_are_compared_as_they_are_and_bound_at_once() -> None:
    done = validate_exec(find_machine("bundled"), processes=2, reps=3, names=["true", "git", "no-such-program"])
    cases = {each.case for each in done.comparisons}
    assert {"true", "true LD_BIND_NOW"} <= cases
    assert len(done.comparisons) == 2 * len(cases)
    for each in done.comparisons:
        assert 0 < each.predicted.lo_ns <= each.predicted.p50_ns <= each.predicted.hi_ns
        assert "of it is" in each.remark


def test_nothing_to_run_is_bad_input() -> None:
    with pytest.raises(BadInput, match="nothing could be compared"):
        validate_exec(find_machine("bundled"), names=["no-such-program"])


def test_the_caller_refuses_what_is_missing() -> None:
    done = subprocess.run([c_program("exec_loop")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--stopped" in done.stderr
