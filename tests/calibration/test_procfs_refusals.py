"""Processes and directories that cannot be read: one sentence, never a crash or a hang."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from calibration.capture import procfs
from calibration.capture.procfs import capture_process, read_procfs_dir
from calibration.errors import BadInput
from model.process import Process

CHURN = """
import mmap
print("ready", flush=True)
while True:
    maps = [mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for _ in range(50)]
    for one in maps[::2]:
        one[0] = 1
        one.close()
"""


@pytest.mark.parametrize("pid", [0, -1, 1 << 40, True])
def test_no_process_id(pid: int) -> None:
    with pytest.raises(BadInput, match="no process id"):
        capture_process(pid)


def test_a_process_that_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with pytest.raises(BadInput, match="no such process"):
        capture_process(child.pid)


def test_a_zombie() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(BadInput, match="zombie"):
        capture_process(child.pid)
    child.wait()


@pytest.mark.parametrize("status", ["Name:\tkthreadd\nState:\tS (sleeping)\nKthread:\t1\n", "State:\tS (sleeping)\n"])
def test_a_kernel_thread(status: str, tmp_path: Path) -> None:
    directory = tmp_path / "2"
    directory.mkdir()
    (directory / "status").write_text(status, encoding="utf-8")
    (directory / "smaps").touch()
    with pytest.raises(BadInput, match="kernel thread"):
        capture_process(2, procfs=tmp_path)


def test_no_user_memory_without_status(tmp_path: Path) -> None:
    (tmp_path / "smaps").touch()
    with pytest.raises(BadInput, match="no user memory"):
        read_procfs_dir(tmp_path)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (PermissionError(13, "Permission denied"), "may not be read .*sudo.*--rss"),
        (ProcessLookupError(3, "No such process"), "ended while"),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_what_the_kernel_refuses(error: OSError, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise error

    monkeypatch.setattr(procfs, "read_bytes", refuse)
    with pytest.raises(BadInput, match=why):
        capture_process(os.getpid())


def test_a_directory_that_is_none_or_empty(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such directory"):
        read_procfs_dir(tmp_path / "x")
    with pytest.raises(BadInput, match="neither smaps nor maps"):
        read_procfs_dir(tmp_path)


def test_a_fifo_or_device_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "smaps")
    with pytest.raises(BadInput, match="no regular file"):
        read_procfs_dir(tmp_path)
    (tmp_path / "smaps").unlink()
    (tmp_path / "smaps").symlink_to("/dev/zero")
    with pytest.raises(BadInput, match="no regular file"):
        read_procfs_dir(tmp_path)


@pytest.mark.parametrize("name", ["status", "limits", "task", "fd", "fdinfo", "pagemap", "statm"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"Threads:\t-3\nUid:\tx\nVmSize:\t1 kB\n" * 50, b"9" * 5000])
def test_damaged_minor_files_are_assumed_away(name: str, content: bytes, tmp_path: Path) -> None:
    for kept in ("smaps", "status"):
        (tmp_path / kept).write_bytes(Path(f"/proc/self/{kept}").read_bytes())
    (tmp_path / name).write_bytes(content)
    process = read_procfs_dir(tmp_path)
    assert process.threads >= 1
    assert process.space.anon_bytes > 0


def test_a_process_that_changes_while_it_is_read() -> None:
    with subprocess.Popen([sys.executable, "-c", CHURN], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            for _ in range(20):
                assert isinstance(capture_process(child.pid), Process)
        finally:
            child.kill()


def test_a_process_that_ends_while_it_is_read() -> None:
    for _ in range(10):
        child = subprocess.Popen([sys.executable, "-c", ""])
        with suppress(BadInput):
            while child.poll() is None:
                capture_process(child.pid)
        child.wait()
