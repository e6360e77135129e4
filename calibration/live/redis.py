"""A real Redis that snapshots: filled, told to BGSAVE, asked how long its fork took (INFO: `latest_fork_usec`)."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calibration.capture.procfs import capture_process
from calibration.errors import BadInput
from model.process import Caller, Process
from model.units import NS_PER_US

VALUE_BYTES = 1024
_ENTRY_BYTES = 1280
"""What a key with such a value takes in Redis's heap, about."""
_START_S, _SAVE_S = 10.0, 120.0
_DROPPED = 2
_OPTIONS = ("--port", "0", "--save", "", "--appendonly", "no", "--rdbcompression", "no", "--daemonize", "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisCase:
    """A server with so many bytes of data, in values of 1 KiB."""

    data_bytes: int

    @property
    def label(self) -> str:
        """For reports."""
        return f"redis bgsave {self.data_bytes >> 20}MiB"


@dataclass(slots=True)
class RedisRuns:
    """What was measured: of each process its forks, the capture before them, and its resident memory."""

    case: RedisCase
    fork_ns: list[tuple[float, ...]] = field(default_factory=list)
    snapshots: list[Process] = field(default_factory=list)
    rss_bytes: list[int] = field(default_factory=list)
    error: str = ""


def run_redis(
    cases: Sequence[RedisCase],
    *,
    processes: int,
    reps: int,
    progress: Callable[[str], None] | None = None,
) -> list[RedisRuns]:
    """Run every case in fresh servers, in turn; one that cannot be run says why."""
    found = [RedisRuns(case) for case in cases]
    for number in range(1, processes + 1):
        for each in found:
            if each.error:
                continue
            if progress is not None:
                progress(f"round {number} of {processes}: {each.case.label}")
            try:
                _run(each, reps)
            except BadInput as error:
                each.error = str(error)
    return found


def _run(found: RedisRuns, reps: int) -> None:
    server = shutil.which("redis-server")
    if server is None:
        raise BadInput(found.case.label, "redis-server is not installed", "install it, or leave out --kind redis")
    with tempfile.TemporaryDirectory(prefix="spawncost-") as folder, _started(server, Path(folder)) as (pid, ask):
        ask("DEBUG", "POPULATE", str(found.case.data_bytes // _ENTRY_BYTES), "key", str(VALUE_BYTES))
        forks = [_fork_ns(ask) for _ in range(_DROPPED)]
        # Between two snapshots the server sleeps, and what it does not write stays write-protected.
        snapshot = replace(capture_process(pid), caller=Caller.COLD)
        forks = [_fork_ns(ask) for _ in range(reps)]
        found.rss_bytes.append(int(_info(ask, "memory", "used_memory_rss")))
    found.fork_ns.append(tuple(forks))
    found.snapshots.append(snapshot)


Ask = Callable[..., Any]


@contextlib.contextmanager
def _started(server: str, folder: Path) -> Iterator[tuple[int, Ask]]:
    path = folder / "redis.sock"
    command = [server, *_OPTIONS, "--unixsocket", str(path), "--dir", str(folder), "--enable-debug-command", "local"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        with _connected(process, path) as connection, connection.makefile("rb") as reader:

            def ask(*words: str) -> Any:
                parts = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
                try:
                    connection.sendall(f"*{len(words)}\r\n{parts}".encode())
                    return _reply(reader)
                except OSError as error:
                    raise BadInput("redis-server", f"does not answer: {error}", "try it by hand") from error

            yield process.pid, ask
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _connected(process: subprocess.Popen[bytes], path: Path) -> socket.socket:
    until_s = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < until_s:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            time.sleep(0.01)
        else:
            connection.settimeout(_SAVE_S)
            return connection
    raise BadInput("redis-server", "it does not start", "try it by hand, version 7 or later")


def _reply(reader: Any) -> Any:
    """One reply of the protocol RESP2: text, number or bulk string."""
    line = reader.readline()
    kind, rest = line[:1], line[1:].strip()
    if kind == b"$":
        size = int(rest)
        return reader.read(size + 2)[:-2].decode(errors="replace")
    if kind == b"-" or not kind:
        raise BadInput("redis-server", rest.decode(errors="replace") or "it ended", "try it by hand")
    return int(rest) if kind == b":" else rest.decode(errors="replace")


def _info(ask: Ask, section: str, key: str) -> str:
    lines = dict(line.partition(":")[::2] for line in str(ask("INFO", section)).splitlines())
    if key not in lines:
        raise BadInput("redis-server", f"INFO {section} has no {key}", "use version 7 or later")
    return lines[key]


def _fork_ns(ask: Ask) -> float:
    """One snapshot, to its end; the time that its fork took in the server."""
    ask("BGSAVE")
    until_s = time.monotonic() + _SAVE_S
    while _info(ask, "persistence", "rdb_bgsave_in_progress") != "0":
        if time.monotonic() > until_s:
            raise BadInput("redis-server", f"a snapshot took over {_SAVE_S:.0f} s", "choose less data")
        time.sleep(0.02)
    return float(_info(ask, "stats", "latest_fork_usec")) * NS_PER_US
