"""One live parent: started, captured when warm, told to measure, ended with all that it started."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from calibration.errors import BadInput
from calibration.live.cases import COLD_GAP_NS, GIB_BYTES, CallerState, LiveCase
from calibration.live.commands import check_memory, command_of, environment, strings_bytes
from calibration.live.results import LiveProcess
from model.process import Caller, Process

Capture = Callable[[int], Process]

_THP_PART = 0.8
"""Of the memory that must be mapped by pmds where that was asked for: the ends of a range are not aligned."""
_THP_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_PR_SET_THP_DISABLE = 41
_END_WAIT_S = 5.0


@dataclass(slots=True)
class Driver:
    """A running parent, warmed up and waiting for commands.

    Attributes:
        case: what was started; its `caller` is not looked at.
        found: what was seen of the process when it was warm, without samples.
    """

    case: LiveCase
    pipe: _Pipe
    found: LiveProcess

    def measure(self, caller: CallerState, reps: int, fault_reps: int) -> LiveProcess:
        """Time `reps` spawns, then count the faults of `fault_reps`.

        Raises:
            BadInput: the parent or its target failed, or took too long.
        """
        gap_ns = COLD_GAP_NS if caller == "cold" else 0
        rows = self.pipe.ask(f"measure {reps} {gap_ns} {fault_reps}")
        snapshot = self.found.snapshot
        return replace(
            self.found,
            snapshot=None if snapshot is None else replace(snapshot, caller=Caller(caller)),
            call_ns=_column(rows, "call_ns"),
            reaped_ns=_column(rows, "reaped_ns"),
            minflt_caller=_column(rows, "minflt_caller"),
            minflt_process=_column(rows, "minflt_process"),
            minflt_children=_column(rows, "minflt_children"),
        )


def _column(rows: list[dict[str, Any]], name: str) -> tuple[int, ...]:
    return tuple(int(row[name]) for row in rows if name in row)


@dataclass(slots=True)
class _Pipe:
    """The parent's standard streams; the protocol is described in SpawnLoop.java."""

    what: str
    process: subprocess.Popen[str]
    stderr: IO[bytes]
    limit_s: float
    expired: threading.Event

    def read(self) -> dict[str, Any]:
        """The next line of the parent, a JSON object."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise self._failure(line)
        if "unavailable" in row:
            raise BadInput(self.what, str(row["unavailable"]), "leave out this case")
        return row

    def ask(self, command: str) -> list[dict[str, Any]]:
        """Send a command; the rows up to `done`."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise self._failure("") from error
        rows: list[dict[str, Any]] = []
        while "done" not in (row := self.read()):
            rows.append(row)
        return rows

    def _failure(self, line: str) -> BadInput:
        if self.expired.is_set():
            return BadInput(self.what, f"it took over {self.limit_s:.0f} s", "choose a smaller parent")
        status = None if line else os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        self.stderr.seek(0)
        lines = [line, *self.stderr.read().decode(errors="replace").splitlines()]
        said = [each.strip() for each in lines if each.strip()]
        telling = next((each for each in said if "Error" in each or "Exception" in each), said[-1] if said else None)
        why = telling or f"it ended, status {status.si_status if status else None}, and said nothing"
        return BadInput(self.what, why, "start its runtime by hand to see more")


@contextlib.contextmanager
def started(case: LiveCase, capture: Capture | None, limit_s: float) -> Iterator[Driver]:
    """A parent of the case, warm and captured; at the end it is killed with its whole process group.

    Args:
        case: checked by `check_case`.
        capture: makes the snapshot, while the parent waits; None: no snapshot.
        limit_s: after this long it is killed, and what waits for it raises BadInput.

    Raises:
        BadInput: it cannot be started or set up: no java, too little memory, huge pages refused ...
    """
    check_memory(case)
    command = command_of(case)
    expired = threading.Event()
    with tempfile.TemporaryFile() as stderr, _process(case, command, stderr) as process:
        watchdog = threading.Timer(limit_s, _expire, (process.pid, expired))
        watchdog.daemon = True
        watchdog.start()
        try:
            pipe = _Pipe(case.label, process, stderr, limit_s, expired)
            ready = pipe.read()
            if "ready" not in ready:
                raise BadInput(case.label, f"it said {ready} instead of being ready", "report this")
            yield Driver(case, pipe, _look_at(case, process.pid, ready, capture))
        finally:
            watchdog.cancel()


@contextlib.contextmanager
def _process(case: LiveCase, command: list[str], stderr: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    try:
        # An own session: one signal ends it with all children. Should we be killed, it reads the end of its stdin.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment(),
            start_new_session=True,
            preexec_fn=_disable_thp if case.kind == "jvm" and not case.thp and _thp_always() else None,
        )
    except OSError as error:
        raise BadInput(command[0], error.strerror or str(error), "give the path of a runtime that runs") from error
    try:
        yield process
        _let_end(process)
    finally:
        _kill_group(process.pid)
        with contextlib.suppress(BrokenPipeError), process:
            # Leaving closes the pipes and reaps.
            pass


def _let_end(process: subprocess.Popen[str]) -> None:
    """End of stdin is the parent's sign to end: a JVM that is killed leaves its performance data in /tmp."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    until_s = time.monotonic() + _END_WAIT_S
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None and time.monotonic() < until_s:
        time.sleep(0.005)


def _expire(pid: int, expired: threading.Event) -> None:
    expired.set()
    _kill_group(pid)


def _kill_group(pid: int) -> None:
    # The leader is not reaped before, so its number still names this group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _thp_always() -> bool:
    try:
        return "[always]" in _THP_SETTING.read_text()
    except OSError:
        return False


def _disable_thp() -> None:
    """For a JVM without THP on a host that gives them unasked: of this process and its descendants only."""
    ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)


def _look_at(case: LiveCase, pid: int, ready: dict[str, Any], capture: Capture | None) -> LiveProcess:
    directory = Path("/proc") / str(pid)
    totals = {line.split()[0]: line.split()[1] for line in _rollup(directory).splitlines()[1:]}
    found = LiveProcess(
        snapshot=None if capture is None else capture(pid),
        version=str(ready.get("version", "")),
        envp_bytes=strings_bytes(environment()),
        thp_bytes=int(totals["AnonHugePages:"]) * 1024,
        rss_bytes=int(totals["Rss:"]) * 1024,
        vmas=(directory / "maps").read_text().count("\n"),
    )
    _check_thp(case, found.thp_bytes)
    return found


def _rollup(directory: Path) -> str:
    try:
        return (directory / "smaps_rollup").read_text()
    except OSError as error:
        why = f"smaps_rollup cannot be read: {error.strerror or error}"
        raise BadInput(str(directory), why, "run as the user who owns the process, on Linux 4.14 or later") from error


def _check_thp(case: LiveCase, thp_bytes: int) -> None:
    part = thp_bytes / case.heap_bytes if case.heap_bytes else 0.0
    if case.thp and part < _THP_PART:
        why = f"only {part:.0%} of its memory came as transparent huge pages"
        raise BadInput(case.label, why, f"free some memory, or set {_THP_SETTING} to madvise")
    if not case.thp and part > 1 - _THP_PART:
        why = f"{part:.0%} of its memory came as transparent huge pages, unasked"
        raise BadInput(case.label, why, f"set {_THP_SETTING} to madvise")


def limit_of(case: LiveCase, reps: int) -> float:
    """A generous bound for one process that measures `reps` repetitions, in seconds."""
    gib = case.heap_bytes / GIB_BYTES
    return 120.0 + 60.0 * gib + reps * (0.2 + 0.5 * gib)
