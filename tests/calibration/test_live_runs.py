"""Real parents are started, captured and timed; nothing of them stays."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.drift import Probe
from calibration.errors import BadInput
from calibration.live import LiveCase, LiveProcess, LiveResult, run_case, run_matrix, runs
from calibration.live.cases import MECHANISMS, MIB_BYTES
from calibration.live.driver import started
from model.process import Process, Runtime

SMALL_BYTES = 16 * MIB_BYTES
JVM = LiveCase(kind="jvm", mechanism="jdk-posix_spawn", heap_bytes=64 * MIB_BYTES)

needs_jdk = pytest.mark.skipif(not (shutil.which("java") and shutil.which("javac")), reason="no JDK here")
needs_thp = pytest.mark.skipif(
    not any(
        word in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text() for word in ("[always]", "[madvise]")
    )
    if Path("/sys/kernel/mm/transparent_hugepage/enabled").exists()
    else True,
    reason="no transparent huge pages here",
)


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def _case(kind: str, mechanism: str) -> LiveCase:
    return LiveCase(kind=kind, mechanism=mechanism, heap_bytes=SMALL_BYTES)  # type: ignore[arg-type]


def _faults(result: LiveResult, whose: str) -> float:
    """Median minor faults of a repetition."""
    return float(statistics.median(count for each in result.processes for count in getattr(each, f"minflt_{whose}")))


def _check_samples(result: LiveResult, processes: int, reps: int) -> None:
    assert result.error is None
    assert len(result.processes) == len(result.snapshots) == processes
    for each in result.processes:
        assert len(each.call_ns) == len(each.reaped_ns) == reps
        assert all(0 < call < reaped for call, reaped in zip(each.call_ns, each.reaped_ns, strict=True))
        assert min(each.minflt_children) > 0
        assert len(each.minflt_caller) == len(each.minflt_process) == len(each.minflt_children) > 0
        assert each.rss_bytes >= result.case.heap_bytes
        assert each.envp_bytes > 0


@pytest.mark.parametrize("kind, mechanism", [(kind, each) for kind in ("c", "cpython") for each in MECHANISMS[kind]])
def test_a_parent_is_captured_and_timed(kind: str, mechanism: str) -> None:
    case = replace(_case(kind, mechanism), threads=3, fds=4)
    result = run_case(case, processes=1, reps=3)
    _check_samples(result, 1, 3)
    snapshot = result.snapshots[0]
    assert snapshot.runtime == Runtime(kind)
    assert snapshot.threads == 4
    assert snapshot.open_fds == 3 + 4
    assert sum(vma.anon_ptes for vma in snapshot.space.vmas) * 4096 >= SMALL_BYTES


def test_only_a_fork_makes_the_caller_fault() -> None:
    """A vfork child leaves no write-protected page behind."""
    fork, vfork = (run_case(_case("c", each), processes=1, reps=5) for each in ("fork", "vfork"))
    assert _faults(fork, "caller") > _faults(vfork, "caller") == 0
    assert _faults(fork, "children") > _faults(vfork, "children")


def test_the_matrix_is_run_in_rounds_in_an_order_that_the_seed_gives() -> None:
    cases = [_case("c", each) for each in MECHANISMS["c"]]
    orders: list[list[str]] = []
    for seed in (1, 1, 4):
        lines: list[str] = []
        results = run_matrix(cases, processes=2, reps=1, seed=seed, progress=lines.append, capture=None)
        assert [result.case for result in results] == cases
        assert all(len(result.processes) == 2 and result.snapshots == () for result in results)
        orders.append([line.split(": ")[1] for line in lines])
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0][:3]) == sorted(orders[0][3:]) == sorted(case.label[: -len(" hot")] for case in cases)


def test_hot_and_cold_callers_share_a_process() -> None:
    hot = _case("c", "vfork")
    lines: list[str] = []
    results = run_matrix([hot, replace(hot, caller="cold")], processes=1, reps=2, progress=lines.append)
    assert len(lines) == 1
    assert [result.snapshots[0].caller.value for result in results] == ["hot", "cold"]
    assert results[0].snapshots[0].space == results[1].snapshots[0].space


@needs_thp
@pytest.mark.parametrize("kind, mechanism", [("c", "fork"), ("cpython", "cpython-os-fork")])
def test_huge_pages_are_there_when_asked_for_and_only_then(kind: str, mechanism: str) -> None:
    results = run_matrix(
        [replace(_case(kind, mechanism), thp=thp) for thp in (False, True)], processes=1, reps=2, capture=None
    )
    if (why := results[1].error or "") and "transparent huge pages" in why:
        pytest.skip(why)
    without, with_thp = (result.processes[0].thp_bytes for result in results)
    assert without == 0
    assert with_thp >= 0.8 * SMALL_BYTES


@needs_jdk
@pytest.mark.parametrize("mechanism", MECHANISMS["jvm"])
def test_a_jvm_is_captured_and_timed(mechanism: str) -> None:
    result = run_case(replace(JVM, mechanism=mechanism, collector="serial"), processes=1, reps=3)
    _check_samples(result, 1, 3)
    snapshot = result.snapshots[0]
    assert snapshot.runtime == Runtime.JVM
    assert snapshot.threads > 5
    # A compiler thread that lags behind on a busy machine faults beside some of the spawns, not beside all.
    assert (min(result.processes[0].minflt_process) > 50) == (mechanism == "jdk-fork")


@needs_jdk
def test_jspawnhelper_doubles_the_faults_of_the_child() -> None:
    spawn, vfork = (
        run_case(replace(JVM, mechanism=each), processes=1, reps=2) for each in ("jdk-posix_spawn", "jdk-vfork")
    )
    assert _faults(spawn, "children") > 1.5 * _faults(vfork, "children")


def test_without_java_the_others_are_run_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibration.live.artefacts.shutil.which", lambda name: None)
    with pytest.raises(BadInput, match="JDK"):
        run_case(JVM, processes=1, reps=1)
    monkeypatch.undo()
    nowhere = replace(JVM, runtime="/nowhere/java")
    results = run_matrix([nowhere, _case("cpython", "posix_spawn")], processes=1, reps=1)
    assert results[0].processes == ()
    assert "JDK" in (results[0].error or "")
    _check_samples(results[1], 1, 1)


def test_a_jre_without_javac_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="javac"):
        run_case(JVM, processes=1, reps=1)


@pytest.mark.parametrize("kind, mechanism", [("c", "vfork"), ("cpython", "cpython-subprocess")])
def test_a_parent_without_memory_for_it_is_refused(kind: str, mechanism: str) -> None:
    with pytest.raises(BadInput, match="third of the"):
        run_case(replace(_case(kind, mechanism), heap_bytes=1 << 40), processes=1, reps=1)


def test_a_target_that_fails_is_reported_in_one_line() -> None:
    with pytest.raises(BadInput, match="status 1") as caught:
        run_case(replace(_case("cpython", "cpython-subprocess"), target="/bin/false"), processes=1, reps=1)
    assert "\n" not in str(caught.value)


def test_a_runtime_that_is_none_is_reported(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho hello\n")
    fake.chmod(0o755)
    with pytest.raises(BadInput, match="hello"):
        run_case(replace(_case("cpython", "posix_spawn"), runtime=str(fake)), processes=1, reps=1)
    with pytest.raises(BadInput, match="No such file"):
        run_case(replace(_case("cpython", "posix_spawn"), runtime=str(tmp_path / "none")), processes=1, reps=1)


@pytest.mark.parametrize("processes, reps", [(0, 1), (1, 0), (1000, 1), (1, 10**6)])
def test_counts_are_bounded(processes: int, reps: int) -> None:
    with pytest.raises(BadInput, match="out of bounds"):
        run_case(_case("c", "fork"), processes=processes, reps=reps)


def test_nothing_starts_after_the_budget() -> None:
    (result,) = run_matrix([_case("c", "fork")], processes=3, reps=1, budget_s=0.0)
    assert result.processes == ()
    assert "time" in (result.error or "")


def _capture_and_fail(pid: int) -> Process:
    raise RuntimeError(str(pid))


@pytest.mark.parametrize("kind, mechanism", [("c", "fork"), ("cpython", "cpython-fork")])
def test_no_parent_outlives_its_run(kind: str, mechanism: str) -> None:
    case = _case(kind, mechanism)
    with started(case, None, 60.0) as driver:
        pid = driver.pipe.process.pid
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(RuntimeError) as caught:
        run_case(case, processes=1, reps=1, capture=_capture_and_fail)
    assert not Path(f"/proc/{caught.value}").exists()


def test_a_parent_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    with (
        pytest.raises(BadInput, match="took over"),
        started(replace(_case("cpython", "cpython-subprocess"), target=str(slow)), None, 0.5),
    ):
        pass


@pytest.mark.parametrize(
    "loud, kept, left_out",
    [((), 3, 0), ((0,), 3, 1), ((0, 1), 3, 2), ((0, 2, 3), 4, 0)],
    ids=["none", "one", "two", "nearly all"],
)
def test_processes_beside_a_busy_neighbour_are_run_again_and_left_out(
    loud: tuple[int, ...], kept: int, left_out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three processes that were asked for; where nearly all are loud, nothing says what quiet would be."""
    looks = iter(range(1000))
    done = iter(range(1000))

    def run(cases: Sequence[LiveCase], reps: int, capture: object) -> list[LiveProcess]:
        ns = next(done)
        told = LiveProcess(snapshot=None, version="", envp_bytes=0, thp_bytes=0, rss_bytes=0, vmas=0, call_ns=(ns,))
        return [told for _ in cases]

    def look() -> Probe:
        return Probe(52.0 if next(looks) // 2 in loud else 38.0, 100.0)

    monkeypatch.setattr(runs, "_run_process", run)
    (result,) = run_matrix([_case("c", "fork")], processes=3, reps=1, probe=look)
    assert len(result.processes) == kept
    assert result.loud == left_out
    if left_out:
        assert not {each.call_ns[0] for each in result.processes} & set(loud)
