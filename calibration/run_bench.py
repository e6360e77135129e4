"""Runs one bench as a fresh process, or holds it still to be looked at; leaves no process behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 120.0


class BenchError(Exception):
    """A bench did not do what it was asked for; the text is its own line, or how it ended."""


class BenchUnavailableError(Exception):
    """The bench runs, but this machine does not have what it measures; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class BenchOutput:
    """A bench's header, and one record a repetition."""

    header: dict[str, Any]
    records: tuple[dict[str, Any], ...]


def bench_environment() -> dict[str, str]:
    """The environment of every bench: short and always the same, since it is part of the parent that is measured."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TMPDIR": tempfile.gettempdir()}


def remove_left() -> list[Path]:
    """Removes the temporary files of benches that were killed: those of ours that no bench can live to use any more.

    One is set-user-ID, so they are not left to whoever cleans up the folder.
    """
    left: list[Path] = []
    for path in Path(tempfile.gettempdir()).glob("spawncost-??????"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if (
                stat.S_ISREG(found.st_mode)
                and found.st_uid == os.geteuid()
                and time.time() - found.st_ctime > TIMEOUT_S
            ):
                path.unlink()
                left.append(path)
    return left


def _start(path: Path, args: Sequence[str], cpu: int | None, stdin: int) -> subprocess.Popen[str]:
    pin = () if cpu is None else ("--pin", str(cpu))
    try:
        return subprocess.Popen(
            [str(path), *args, *pin],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=bench_environment(),
            start_new_session=True,  # a group of its own, so that it can be ended with all its children
        )
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror or error}") from error


def _end(process: subprocess.Popen[str]) -> None:
    """Ends the bench and its children, whatever state they are in."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()


def _parse(name: str, stdout: str) -> BenchOutput:
    try:
        lines = [json.loads(line) for line in stdout.splitlines()]
        header, *records = lines
    except ValueError as error:
        raise BenchError(f"{name}: its output is not JSON lines") from error
    if "unavailable" in header:
        raise BenchUnavailableError(str(header["unavailable"]))
    return BenchOutput(header, tuple(records))


def run_bench(path: Path, args: Sequence[str], *, cpu: int | None, timeout_s: float = TIMEOUT_S) -> BenchOutput:
    """Runs a bench to its end.

    Args:
        path: the executable; args: its arguments; cpu: the one that it is pinned to, None for none.

    Raises:
        BenchUnavailableError: the machine lacks what it measures.
        BenchError: it refused, crashed or took too long.
    """
    process = _start(path, args, cpu, subprocess.DEVNULL)
    try:
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{path.name}: not done after {timeout_s:.0f} s") from error
        if process.returncode:
            lines = stderr.splitlines()
            raise BenchError(lines[0] if lines else f"{path.name}: ended with {process.returncode}")
        return _parse(path.name, stdout)
    finally:
        _end(process)


@contextlib.contextmanager
def held_bench(path: Path, args: Sequence[str], *, cpu: int | None) -> Iterator[dict[str, Any]]:
    """A bench set up and warmed, blocked before its first timed repetition; gives its header (with "pid").

    Raises: as `run_bench`.
    """
    process = _start(path, [*args, "--hold"], cpu, subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        if not line:
            lines = process.stderr.read().splitlines()
            raise BenchError(lines[0] if lines else f"{path.name}: ended before it was set up")
        yield _parse(path.name, line).header
    finally:
        _end(process)
