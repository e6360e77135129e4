"""A CPython parent whose spawns are timed on command; run as a script, the protocol is SpawnLoop.java's."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import platform
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_DROPPED = 2
_PAGE_BYTES = 4096

Start = Callable[[], Any]
Reap = Callable[[Any], int]


def _nothing() -> None:
    """A preexec_fn that makes Popen fork rather than vfork."""


def _fork_exec(target: str) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            os.execv(target, [target])
        finally:
            os._exit(127)
    return pid


def _wait_pid(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _launcher(mechanism: str, target: str) -> tuple[Start, Reap]:
    """How a child is started and how it is reaped; what `start` returns is handed to `reap`."""
    popen: Reap = subprocess.Popen.wait
    launchers: dict[str, tuple[Start, Reap]] = {
        "cpython-subprocess": (lambda: subprocess.Popen([target]), popen),
        "cpython-fork": (lambda: subprocess.Popen([target], preexec_fn=_nothing), popen),
        "cpython-os-fork": (lambda: _fork_exec(target), _wait_pid),
        "posix_spawn": (lambda: os.posix_spawn(target, [target], os.environ), _wait_pid),
    }
    return launchers[mechanism]


def _fill(size_bytes: int, thp: bool) -> mmap.mmap | None:
    if not size_bytes:
        return None
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    advice = getattr(mmap, "MADV_HUGEPAGE" if thp else "MADV_NOHUGEPAGE", None)
    if advice is not None:
        # A kernel without THP refuses; what was mapped is looked up from outside.
        with contextlib.suppress(OSError):
            memory.madvise(advice)
    memory[0:size_bytes:_PAGE_BYTES] = b"\1" * -(-size_bytes // _PAGE_BYTES)
    return memory


def _park(count: int) -> None:
    forever = threading.Event()
    for _ in range(count):
        threading.Thread(target=forever.wait, daemon=True).start()


def _check(status: int) -> None:
    if status != 0:
        raise SystemExit(f"the target ended with status {status}")


def _time(start: Start, reap: Reap, reps: int, gap_ns: int) -> list[dict[str, int]]:
    rows = []
    for rep in range(-_DROPPED, reps):
        if gap_ns:
            time.sleep(gap_ns / 1e9)
        begin_ns = time.perf_counter_ns()
        child = start()
        called_ns = time.perf_counter_ns()
        status = reap(child)
        reaped_ns = time.perf_counter_ns()
        _check(status)
        if rep >= 0:
            rows.append({"rep": rep, "call_ns": called_ns - begin_ns, "reaped_ns": reaped_ns - begin_ns})
    return rows


def _faults() -> tuple[int, int, int]:
    whose = (resource.RUSAGE_THREAD, resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    caller, process, children = (resource.getrusage(who).ru_minflt for who in whose)
    return caller, process, children


def _count_faults(start: Start, reap: Reap, reps: int, gap_ns: int) -> list[dict[str, int]]:
    rows = []
    for rep in range(-_DROPPED, reps):
        if gap_ns:
            time.sleep(gap_ns / 1e9)
        _faults()  # takes the faults of reading itself
        before = _faults()
        _check(reap(start()))
        caller, process, children = (after - earlier for after, earlier in zip(_faults(), before, strict=True))
        if rep >= 0:
            row = {"minflt_caller": caller, "minflt_process": process, "minflt_children": children}
            rows.append({"fault_rep": rep, **row})
    return rows


def _serve(start: Start, reap: Reap) -> None:
    for line in sys.stdin:
        word, *numbers = line.split()
        if word != "measure" or len(numbers) != 3:
            raise SystemExit(f"not a command: {line}")
        reps, gap_ns, fault_reps = map(int, numbers)
        rows = _time(start, reap, reps, gap_ns)
        rows += _count_faults(start, reap, fault_reps, gap_ns) if fault_reps else []
        print("\n".join(map(json.dumps, rows)))
        print(json.dumps({"done": True}), flush=True)


def main() -> None:
    """Build the parent that the one argument, a JSON object, describes; then measure whenever told to."""
    options = json.loads(sys.argv[1])
    memory = _fill(options["heap_bytes"], options["thp"])
    _park(options["threads"])
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(options["fds"])]
    start, reap = _launcher(options["mechanism"], options["target"])
    for _ in range(options["warmups"]):
        _check(reap(start()))
    print(json.dumps({"ready": True, "version": platform.python_version(), "opened": len(files)}), flush=True)
    _serve(start, reap)
    if memory is not None:
        memory.close()


if __name__ == "__main__":
    main()
