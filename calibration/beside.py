"""CPU-bound programs beside what is measured; none outlives its block, or this process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from calibration.run_bench import BenchUnavailableError

SETTLE_S = 0.3
"""Until the busy programs have spread over the CPUs."""
_SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(10**6): pass"


@contextlib.contextmanager
def busy(cpus: int) -> Iterator[None]:
    """So many CPU-bound programs beside; they end with the block, or with this process."""
    spinning = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(cpus)]
    try:
        if spinning:
            time.sleep(SETTLE_S)
        yield
    finally:
        for each in spinning:
            each.kill()
            each.wait()


@contextlib.contextmanager
def one_cpu_left() -> Iterator[None]:
    """What is started within has two CPUs, which it shares with one CPU-bound program: no other CPU is ever idle.

    Two CPUs stand for all: one spinning program is enough on any host. This process's affinity is put back.

    Raises:
        BenchUnavailableError: this process may use one CPU only.
    """
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        raise BenchUnavailableError("there is one CPU: a task cannot find another one busy")
    os.sched_setaffinity(0, set(sorted(before)[-2:]))
    try:
        with busy(1):
            yield
    finally:
        os.sched_setaffinity(0, before)
