"""kill -9 at any instant: what was measured stays, the rest is measured when it goes on, and nothing is left behind.

In the suite a plan of some seconds is killed at a few instants; with SPAWNCOST_KILLS=N a whole `calibrate --quick` is
killed at N instants instead, SPAWNCOST_SEED=S choosing them, which takes minutes and a quiet machine.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from calibration import runtimes
from calibration.build import find_compiler
from calibration.errors import BadInput
from calibration.plan import PlannedRow, planned_rows
from calibration.run_bench import TIMEOUT_S, remove_left
from calibration.samples import Run, Sample, SampleWriter, append_run, read_runs
from calibration.settings import data_directory, folio_settings_kept, restore_left

KILLS = int(os.environ.get("SPAWNCOST_KILLS", "0"))
SEED = int(os.environ.get("SPAWNCOST_SEED", "5"))
ROOT = Path(__file__).resolve().parents[2]
MEASURE = """
import sys
from pathlib import Path
from calibration.calibrate import measure
from calibration.capture.host import host_facts
from calibration.plan import planned_rows
names = ("syscall", "touch-64", "fork-256", "vfork", "spread-vfork")
rows = [row for row in planned_rows() if row.row.name in names]
measure(rows, Path(sys.argv[1]), quick=False, facts=host_facts(), progress=lambda done, total, what: None)
"""


def words_in(root: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in root.glob("hugepages-*kB/enabled")}


def left_behind(own: Path) -> list[str]:
    """Processes that run something out of our own folder, or that have it as their folder of temporary files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            target = os.readlink(process / "exe")
            ours = target.startswith(str(own)) or f"TMPDIR={own}/".encode() in (process / "environ").read_bytes()
        except OSError:
            continue
        if ours:
            found.append(target)
    return found


def command_of(samples: Path, tmp_path: Path) -> list[str]:
    if not KILLS:
        return [sys.executable, "-c", MEASURE, str(samples)]
    start = [sys.executable, "-m", "experiments.cli.main", "calibrate", "--quick", "--out", str(tmp_path / "m.toml")]
    return [*start, "--resume", str(samples)]


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def interrupted(
    command: list[str], environment: dict[str, str], after_s: float, samples: Path | None = None, more: int = 0
) -> bool:
    """Whether the command was still running when it was killed, `after_s` after it had written so many lines more."""
    before = lines_of(samples) if samples is not None else 0
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while samples is not None and lines_of(samples) < before + more and process.poll() is None:
            time.sleep(0.002)
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    finally:
        assert process.stderr is not None
        text = process.stderr.read()
        process.stderr.close()
    assert process.returncode == 0, text
    return False


def at_a_random_instant(command: list[str], environment: dict[str, str], samples: Path, dice: random.Random) -> bool:
    """Whether the command was killed: of a whole calibration within its minute, of the short plan soon after a line."""
    if KILLS:
        return interrupted(command, environment, dice.uniform(0.0, 58.0))
    return interrupted(command, environment, dice.uniform(0.0, 0.05), samples, dice.randint(1, 4))


def test_kill_9_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    try:
        find_compiler()
    except BadInput as error:
        pytest.skip(str(error))
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_DATA_HOME": str(tmp_path / "data")}
    environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "scratch") + "/"}
    (tmp_path / "scratch").mkdir()
    folios = words_in(Path("/sys/kernel/mm/transparent_hugepage"))
    samples = tmp_path / "samples.jsonl"
    command = command_of(samples, tmp_path)
    dice, before, killed = random.Random(SEED), b"", 0
    for _ in range(3 * (KILLS or 4)):
        if killed == (KILLS or 4):
            break
        if not at_a_random_instant(command, environment, samples, dice):  # it had been measured whole: the next one
            check_whole(samples, before)
            samples.unlink()
            before = b""
            continue
        killed += 1
        end_s = time.monotonic() + 120.0  # a compiler, or the last repetitions of a bench
        while left_behind(tmp_path) and time.monotonic() < end_s:
            time.sleep(0.02)
        assert not left_behind(tmp_path)
        after = samples.read_bytes() if samples.exists() else b""
        assert after.startswith(before[: before.rfind(b"\n") + 1]), "a whole line was lost or changed"
        before = after
    assert killed == (KILLS or 4)
    assert not interrupted(command, environment, 900.0)
    check_whole(samples, before)
    assert words_in(Path("/sys/kernel/mm/transparent_hugepage")) == folios


def check_whole(samples: Path, before: bytes) -> None:
    """A calibration that came to its end holds every whole line of those that were killed, and each process once."""
    assert samples.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    found = read_runs(samples)
    rounds = {each.round for each in found.rounds if not each.quiet}
    measured = [(run.row, run.process) for run in found.runs if run.round not in rounds and run.bench[:5] != "live/"]
    assert len(measured) == len(set(measured)) or rounds, "a process was measured twice though its round was quiet"
    taken = Counter(name for name, _ in {(run.row, run.process) for run in found.runs})
    if KILLS:  # within its minute it may not reach every row
        assert "fork-0" in taken
    else:
        expected = {row.row.name: row.row.processes for row in planned_rows() if row.row.name in MEASURE}
        # A row whose halves differ is measured again, which a busy host brings about: then it has more.
        assert all(taken[name] >= least for name, least in expected.items()), (taken, expected)


def test_files_of_killed_benches_are_removed_once_none_can_use_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("spawncost-aB3xYz", "spawncost-check-1", "other-aB3xYz"):
        (tmp_path / name).write_text("")
    (tmp_path / "spawncost-folder").mkdir()
    (tmp_path / "spawncost-linked").symlink_to(tmp_path / "other-aB3xYz")
    assert not remove_left(), "a bench may still use it"
    later_s = time.time() + 2 * TIMEOUT_S
    monkeypatch.setattr(time, "time", lambda: later_s)
    assert [path.name for path in remove_left()] == ["spawncost-aB3xYz"]
    assert len(list(tmp_path.iterdir())) == 4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings as sysfs shows them; a write replaces the file's text, which stands for choosing."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    root = tmp_path / "thp"
    for size in (16, 64):
        (root / f"hugepages-{size}kB").mkdir(parents=True)
        (root / f"hugepages-{size}kB" / "enabled").write_text("always inherit madvise [never]")
    return root


CHANGED = "[always] inherit madvise never"


def test_settings_of_a_killed_calibration_are_put_back_by_the_next_command(folder: Path) -> None:
    script = (
        "import sys, time, pathlib\nfrom calibration.settings import folio_settings_kept\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "with folio_settings_kept(root):\n"
        f"    (root / 'hugepages-64kB' / 'enabled').write_text({CHANGED!r})\n"
        "    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert not restore_left(), "its owner still lives"
    assert (folder / "hugepages-64kB" / "enabled").read_text() == CHANGED
    process.kill()
    process.wait()
    process.stdout.close()
    command = [sys.executable, "-m", "experiments.cli.main", "--version"]
    subprocess.run(command, env=environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert (folder / "hugepages-64kB" / "enabled").read_text() == "never"
    assert (folder / "hugepages-16kB" / "enabled").read_text() == "always inherit madvise [never]"
    assert not list(data_directory().glob("settings*"))


def test_settings_are_put_back_at_the_end(folder: Path) -> None:
    with folio_settings_kept(folder):
        (folder / "hugepages-16kB" / "enabled").write_text(CHANGED)
    assert (folder / "hugepages-16kB" / "enabled").read_text() == "never"
    assert not restore_left()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": 0, "started": "", "before": {"/etc/x": "y"}}'])
def test_a_note_that_is_none_changes_nothing(folder: Path, text: str) -> None:
    data_directory().mkdir(parents=True)
    (data_directory() / "settings-to-restore.json").write_text(text)
    assert not restore_left()
    assert not list(data_directory().glob("settings*"))


def test_a_runtime_that_was_cut_short_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parent and one of its processes were on the disk when the calibration was killed."""
    row = next(each for each in planned_rows() if each.row.name == "cpython-popen")
    out = tmp_path / "samples.jsonl"
    asked: list[tuple[int, bool]] = []
    run = Run(
        row=row.row.name, bench=row.row.bench, args=row.row.args, process=0, round=0, pinned=True, pass_="quiet",
        header={}, samples=(Sample(rep=0, call_ns=1.0, reaped_ns=2.0),),
    )  # fmt: skip

    def note(again: PlannedRow, writer: SampleWriter, *, process: int, noted: bool, number: int) -> None:
        asked.append((process, noted))

    monkeypatch.setattr(runtimes, "_measure", note)
    monkeypatch.setattr(runtimes, "_note_helper", lambda writer: None)
    with SampleWriter(out, {}) as writer:
        writer.append({"kind": "parent", "row": row.row.name, "state": {}})
        append_run(writer, run)
    runtimes.measure_runtimes([row], out=out, progress=lambda done, total, what: None)
    assert [process for process, _ in asked] == list(range(1, row.row.processes))
    assert asked[0] == (1, False), "its parent was noted, its target was not"
    with SampleWriter(out, {}) as writer:
        for process in range(1, row.row.processes):
            append_run(
                writer, Run(**{name: getattr(run, name) for name in Run.__dataclass_fields__} | {"process": process})
            )
    asked.clear()
    runtimes.measure_runtimes([row], out=out, progress=lambda done, total, what: None)
    assert not asked
    assert json.loads(out.read_text().splitlines()[0])["schema"]
