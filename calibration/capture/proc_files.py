"""Small files of a /proc/PID directory: status, descriptors, threads, limits. Each may be missing in a copy."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from model.process import Limits, Runtime

MAX_FDINFO = 4096
"""Descriptors whose flags are read; beyond, the fraction that exec closes is taken from these."""
_O_CLOEXEC = 0o2000000
_PRIVILEGED = (1 << 21) | (1 << 24)
"""CAP_SYS_ADMIN and CAP_SYS_RESOURCE: RLIMIT_NPROC does not bind (`kernel/fork.c:copy_process@v6.18`)."""
_FIRST_FDTABLES = 256
"""FDSize up to which the table says nothing: 64 at first, 256 after the first expansion or copy of one."""


def read_bytes(path: Path) -> bytes:
    """Contents of a regular file; a fifo or device, on which reading could hang, counts as an OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is no regular file")
        return file.read()


def read_text(path: Path) -> str | None:
    """Contents as text, None where it cannot be read; bytes that are no UTF-8 are shown as escapes."""
    try:
        return read_bytes(path).decode("utf-8", "backslashreplace")
    except OSError:
        return None


def read_status(directory: Path) -> dict[str, str]:
    """Keys and values of the status file; empty if it is missing."""
    pairs = (line.partition(":") for line in (read_text(directory / "status") or "").splitlines())
    return {key: value.strip() for key, colon, value in pairs if colon}


def status_number(status: dict[str, str], key: str) -> int | None:
    """The number, or number of kB, of one key of status; None if missing or no number."""
    words = status.get(key, "").split()
    return _decimal(words[0]) if words else None


def _decimal(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _numbered(directory: Path) -> list[int] | None:
    try:
        names = [entry.name for entry in os.scandir(directory)]
    except OSError:
        return None
    return sorted(number for number in map(_decimal, names) if number is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptors:
    """Open descriptors; `assumed` names the attributes of Process that could not be read."""

    open_fds: int
    highest_fd: int
    cloexec_fds: int
    assumed: tuple[str, ...] = ()


def read_descriptors(directory: Path, status: dict[str, str], runtime: Runtime) -> Descriptors:
    """Open descriptors from fd/ and fdinfo/.

    Without fd/ the size of the table stands in: beyond 256 slots it was doubled for a descriptor in its upper half.
    Without fdinfo/ CPython's descriptors are taken as close-on-exec (PEP 446), all others as kept.
    """
    numbers = _numbered(directory / "fd")
    if numbers is None:
        slots = status_number(status, "FDSize") or 0
        count = min(slots, 1 << 20) // 2 + 1 if slots > _FIRST_FDTABLES else 3
        closed = max(0, count - 3) if runtime is Runtime.CPYTHON else 0
        return Descriptors(
            open_fds=count,
            highest_fd=count - 1,
            cloexec_fds=closed,
            assumed=("open_fds", "highest_fd", "cloexec_fds"),
        )
    sample = numbers[:: max(1, -(-len(numbers) // MAX_FDINFO))]
    flags = [flag for flag in (_fd_flags(directory / "fdinfo" / str(number)) for number in sample) if flag is not None]
    if numbers and not flags:
        closed = max(0, len(numbers) - 3) if runtime is Runtime.CPYTHON else 0
    else:
        closed = round(len(numbers) * sum(flag & _O_CLOEXEC > 0 for flag in flags) / max(1, len(flags)))
    return Descriptors(
        open_fds=len(numbers),
        highest_fd=numbers[-1] if numbers else -1,
        cloexec_fds=closed,
        assumed=("cloexec_fds",) if numbers and not flags else (),
    )


def _fd_flags(path: Path) -> int | None:
    for line in (read_text(path) or "").splitlines():
        if line.startswith("flags:"):
            digits = line[6:].strip()
            return int(digits, 8) if digits.isascii() and digits.isdigit() and not set(digits) & set("89") else None
    return None


def read_threads(directory: Path, status: dict[str, str]) -> tuple[int | None, int | None]:
    """Threads, and how many of them but the main one are on a CPU or wait for one; None where it cannot be read."""
    tids = _numbered(directory / "task")
    stated = status_number(status, "Threads") or None
    if not tids:
        return stated, None
    main = status_number(status, "Pid") or tids[0]
    states = [_state(read_text(directory / "task" / str(tid) / "stat")) for tid in tids if tid != main]
    running = None if states and not any(states) else states.count("R")
    return len(tids), running


def _state(stat_line: str | None) -> str:
    # The name in parentheses may itself hold blanks and parentheses.
    fields = (stat_line or "").rpartition(")")[2].split()
    return fields[0] if fields else ""


def read_runtime(directory: Path, status: dict[str, str]) -> Runtime | None:
    """Whose code runs, from the name of the executable, else of the process; None if neither is known."""
    try:
        name = (directory / "exe").readlink().name.removesuffix(" (deleted)")
    except OSError:
        name = status.get("Name", "")
    if not name:
        return None
    if name == "java":
        return Runtime.JVM
    return Runtime.CPYTHON if name.startswith("python") else Runtime.C


def read_limits(directory: Path, status: dict[str, str]) -> Limits:
    """What can make a spawn fail, from the files beside the directory; a lone copy has none of them."""
    procfs = directory.parent
    meminfo: dict[str, int] = {}
    for line in (read_text(procfs / "meminfo") or "").splitlines():
        key, _, value = line.partition(":")
        number = _decimal(value.removesuffix("kB").strip())
        if number is not None:
            meminfo[key] = number * 1024
    mode = _decimal((read_text(procfs / "sys/vm/overcommit_memory") or "").strip())

    def total(first: str, second: str, sign: int) -> int | None:
        return meminfo[first] + sign * meminfo[second] if first in meminfo and second in meminfo else None

    headroom = total("CommitLimit", "Committed_AS", -1)
    return Limits(
        commit_mode=mode if mode in (0, 1, 2) else None,
        ram_and_swap_bytes=total("MemTotal", "SwapTotal", 1),
        available_bytes=meminfo.get("MemAvailable"),
        commit_headroom_bytes=None if headroom is None else max(0, headroom),
        processes_left=_processes_left(directory, procfs, status),
    )


def _processes_left(directory: Path, procfs: Path, status: dict[str, str]) -> int | None:
    """Processes until RLIMIT_NPROC of the user, or threads-max or pid_max of the system; None where none is known."""
    left: list[int] = []
    running = _decimal((read_text(procfs / "loadavg") or "").partition("/")[2].partition(" ")[0])
    for name in ("threads-max", "pid_max"):
        ceiling = _decimal((read_text(procfs / "sys/kernel" / name) or "").strip())
        if ceiling is not None and running is not None:
            left.append(max(0, ceiling - running))
    uid = status.get("Uid", "").split()[:1]
    capabilities = status.get("CapEff", "0")
    privileged = uid == ["0"] or bool(int(capabilities, 16) & _PRIVILEGED if _is_hex(capabilities) else 0)
    for line in (read_text(directory / "limits") or "").splitlines():
        soft = _decimal((line.removeprefix("Max processes").split() or [""])[0])
        if line.startswith("Max processes") and soft is not None and uid and not privileged:
            left.append(max(0, soft - _threads_of_user(procfs, uid[0])))
    return min(left, default=None)


def _is_hex(text: str) -> bool:
    return 0 < len(text) <= 16 and not set(text.lower()) - set("0123456789abcdef")


def _threads_of_user(procfs: Path, uid: str) -> int:
    count = 0
    for pid in _numbered(procfs) or []:
        status = read_status(procfs / str(pid))
        if status.get("Uid", "").split()[:1] == [uid]:
            count += status_number(status, "Threads") or 1
    return count
