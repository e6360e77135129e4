"""The loader's own figures are read right, and the comparison says what it says."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.capture import capture_elf
from calibration.errors import BadInput
from calibration.live import loader_runs
from calibration.live.loader_runs import LoaderRuns, run_loaders
from calibration.live.programs import find_programs, loader_environ, stopped_copy
from calibration.machine_file import find_machine
from calibration.validate_loader import LoaderComparison, compared, loader_summary, validate_loader
from tests.calibration.elf_support import compile_c, counted, loader_statistics, quiet_environ

needs_x86 = pytest.mark.skipif(not find_programs().found, reason="no dynamic glibc program is installed")


@needs_x86
def test_a_stopped_copy_loads_as_the_program_and_does_nothing(tmp_path: Path) -> None:
    path = find_programs().found.get("ls") or next(iter(find_programs().found.values()))
    copy = stopped_copy(path, tmp_path)
    assert counted(capture_elf(copy, environ=quiet_environ())) == counted(capture_elf(path, environ=quiet_environ()))
    assert loader_statistics(str(copy), [], quiet_environ()) == loader_statistics(path, ["--version"], quiet_environ())


def test_a_program_that_seeks_libraries_beside_itself_is_not_copied(tmp_path: Path) -> None:
    program = compile_c(tmp_path / "program", "int main(void) { return 0; }\n", "-Wl,-rpath,$ORIGIN/lib")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(BadInput, match="beside itself"):
        stopped_copy(str(program), tmp_path / "elsewhere")


@needs_x86
def test_times_are_ten_times_what_is_printed_and_phases_lie_within_the_total(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = stopped_copy(find_programs().found["true"], tmp_path)
    printed: list[dict[str, int]] = []
    each = 1 + loader_runs.WARM
    asked = loader_runs._statistics

    def noted(path: str, bind_now: bool, output: int) -> tuple[dict[str, int] | None, int]:
        found, _ = asked(path, bind_now, output)
        assert found is not None
        printed.append(found)
        return found, int(len(printed) == each * 6)  # the last of two warm-ups and four runs is disturbed

    monkeypatch.setattr(loader_runs, "_statistics", noted)
    monkeypatch.setattr(loader_runs, "ticks_per_second", lambda: 2e9)
    (result,) = run_loaders([(str(copy), False)], runs=4)
    kept = printed[each - 1 :: each][2:5]
    assert result.disturbed == 1
    assert result.samples_ns["total"] == tuple(run["total"] * 5.0 for run in kept)
    for total, *parts in zip(*result.samples_ns.values(), strict=True):
        assert 0 < sum(parts) < total


def test_the_counter_runs_at_a_plausible_rate() -> None:
    assert 1e8 < loader_runs.ticks_per_second() < 1e10


def _runs(total: float, load: float, relocation: float) -> LoaderRuns:
    phases = {"total": total, "load": load, "relocation": relocation}
    return LoaderRuns(
        path=shutil.which("true") or "/bin/true",
        bind_now=False,
        samples_ns={name: (value, value * 1.1, value, value * 1.1) for name, value in phases.items()},
    )


def test_errors_are_logarithms_of_predicted_over_measured() -> None:
    file = find_machine("bundled")
    first = compared(file, "true", _runs(1e6, 1e5, 2e5))
    assert first.load_ns > 0
    assert first.relocation_ns > 0
    assert first.load_ns + first.relocation_ns < first.predicted.quiet_ns
    p50_ns = first.measured.p50_ns("total")
    exact = replace(first, predicted=replace(first.predicted, p50_ns=p50_ns))
    twice = replace(first, name="twice", predicted=replace(first.predicted, p50_ns=2 * p50_ns))
    assert exact.error == 0.0
    assert twice.error == pytest.approx(math.log(2))
    assert exact.floor == pytest.approx(math.log(1.1))
    total = loader_summary([exact, twice])
    assert (total["n"], total["worst"], total["too_low"]) == (2, "twice", 0.0)
    assert total["worst_error"] == pytest.approx(math.log(2))
    assert total["measured_p50_over_quiet"] == pytest.approx(1.05), "the middle of 1 and 1.1"
    expected = math.log(first.load_ns / 1e5)
    assert exact.phase_error("load") == pytest.approx(expected), "the low quantile of two values is the lower"
    assert exact.quiet_error == pytest.approx(math.log(exact.predicted.quiet_ns / 1e6))


def test_nothing_to_compare_is_bad_input() -> None:
    with pytest.raises(BadInput, match="nothing could be compared"):
        validate_loader(find_machine("bundled"), names=["no-such-program"])


@needs_x86
def test_real_programs_are_compared_as_they_are_and_bound_at_once() -> None:
    try:
        done = validate_loader(find_machine("bundled"), runs=6, names=["true", "ls", "git"])
    except BadInput as error:
        if "took the CPU" not in str(error):
            raise
        pytest.skip(f"this machine is too busy: {error}")
    names = [each.name for each in done.comparisons]
    given_up = [name for name, why in done.skipped if "took the CPU" in why]
    assert len(names) + len(given_up) == 2 * len({each.partition(" ")[0] for each in (*names, *given_up)}) > 0
    for each in done.comparisons:
        assert isinstance(each, LoaderComparison)
        assert each.measured.p50_ns("total") > 0
        assert each.predicted.lo_ns <= each.predicted.p50_ns <= each.predicted.hi_ns
    assert loader_environ(LD_X="1")["LD_X"] == "1"
