"""A sweep that is killed loses at most what its last second computed, and goes on to the same store.

SPAWNCOST_KILLS says at how many random instants (`make stress`: 20), SPAWNCOST_POINTS how many points the memory of a
long sweep is measured with.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.experiments.sweep_support import ROOT, Rows, rows, specification

KILLS = int(os.environ.get("SPAWNCOST_KILLS", "3"))
POINTS = int(os.environ.get("SPAWNCOST_POINTS", "40000"))
COMPUTED = POINTS if "SPAWNCOST_POINTS" in os.environ else 4000
WORKERS = 2
INTERRUPTED = 4000
COMMAND = [sys.executable, "-m", "experiments.cli.main", "sweep"]


def _start(spec: Path, store: Path, *more: str) -> subprocess.Popen[str]:
    command = [*COMMAND, str(spec), "--store", str(store), *more]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts
    )


def _heed_interrupts() -> None:
    """A job in the background starts with SIGINT ignored, and its children with it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _finish(spec: Path, store: Path, *more: str) -> str:
    process = _start(spec, store, *more)
    output, errors = process.communicate(timeout=1800)
    assert process.returncode == 0, errors
    return output


def _await_rows(process: subprocess.Popen[str], store: Path) -> None:
    """Until the first rows are in the store, which is its middle: it commits twice a second."""
    while process.poll() is None:
        with contextlib.suppress(sqlite3.Error):
            if store.exists() and rows(store):
                return
        time.sleep(0.005)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _await_end(pids: list[int]) -> None:
    """Workers look for their parent twice a second."""
    until = time.monotonic() + 300
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids):
        assert time.monotonic() < until, "a worker outlived its parent"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, machine_path: Path) -> tuple[Path, Rows, float]:
    """A specification of some failing points too, its rows, and how long it takes."""
    directory = tmp_path_factory.mktemp("undisturbed")
    spec = specification(directory / "spec.toml", machine_path, points=500, axes='"parent.vmas" = [3, 40, 400]')
    begin = time.monotonic()
    _finish(spec, directory / "store", "--workers", "2")
    return spec, rows(directory / "store"), time.monotonic() - begin


def test_a_killed_sweep_goes_on_to_the_same_store(tmp_path: Path, undisturbed: tuple[Path, Rows, float]) -> None:
    spec, expected, elapsed_s = undisturbed
    instants = random.Random(20_251_124)
    kept = []
    for number in range(KILLS):
        store = tmp_path / f"store{number}"
        process = _start(spec, store, "--workers", "2")
        if number % 3:
            time.sleep(instants.uniform(0.3, 1.0) * elapsed_s)
        else:
            _await_rows(process, store)
        workers = _children(process.pid) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=600)
        left = rows(store) if store.exists() and store.stat().st_size else []
        assert set(left) <= set(expected)
        kept.append(len(left))
        _await_end(workers)
        _finish(spec, store, "--workers", "1" if number % 2 else "2")
        assert rows(store) == expected
    assert any(0 < each < len(expected) for each in kept), f"no kill hit the middle: {kept} of {len(expected)}"


def test_an_interrupt_keeps_what_was_computed(tmp_path: Path, machine_path: Path) -> None:
    """So many points that the first commit, half a second after the start, is long before the end."""
    spec = specification(tmp_path / "spec.toml", machine_path, points=INTERRUPTED, axes='"parent.vmas" = [3, 300]')
    store, number = tmp_path / "store", 2 * INTERRUPTED
    process = _start(spec, store, "--workers", "1")
    _await_rows(process, store)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    left = rows(store)
    assert 0 < len(left) < number
    told = json.loads(_finish(spec, store, "--workers", "2", "--json"))
    assert told["found"] == len(left)
    whole = rows(store)
    assert len(whole) == number
    assert set(left) < set(whole)


MEASURED = """
import json, resource, sys
from pathlib import Path
from experiments.evaluate import Done, Row
from experiments.sweep import run_into_store
from experiments.sweep_plan import plan_of
from experiments.sweep_spec import Sweep
from experiments.sweep_ways import How

count, path, machine = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
axes = {name: {"low": 0, "high": 1} for name in ("parent.huge", "parent.contiguous", "parent.writable")}
axes["parent.resident"] = {"low": 1 << 20, "high": 1 << 40, "scale": "log"}
sweep = Sweep(
    base={"machine": machine, "exec": "none", "via": "fork"}, axes=axes, method=sys.argv[4], samples=count
)
real = sys.argv[5] == "model"
plan = plan_of(sweep)
results = json.dumps({f"{name}_us": dict.fromkeys(("quiet", "p10", "p50", "p90", "lo", "hi"), 1234.567)
                      for name in ("call", "reaped")})

def instant(identity, packed, version, points):
    rows = [Row(each.number, plan.key(each.inputs), json.dumps(each.inputs), results, None) for each in points]
    return Done(rows, 1e-3)

how = How(workers=WORKERS) if real else How(workers=1, evaluate=instant)
store, tally = run_into_store(sweep, path, how)
assert store.counts() == (count, 0), store.counts()
store.close()
own, largest = (resource.getrusage(each).ru_maxrss for each in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print((own + (how.workers if real else 0) * largest) * 1024)
""".replace("WORKERS", str(WORKERS))
"""A sweep and the most memory that its processes can have had at once: pages that they share are counted in each.

With `stub`, everything but the model: points, keys, rows, SQLite.
"""


def _peak_bytes(points: int, store: Path, machine_path: Path | str, method: str, what: str = "stub") -> int:
    command = [sys.executable, "-c", MEASURED, str(points), str(store), str(machine_path), method, what]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=3600)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("method", ["sobol", "latin-hypercube"])
def test_memory_does_not_grow_with_the_points(tmp_path: Path, machine_path: Path, method: str) -> None:
    few = _peak_bytes(POINTS // 10, tmp_path / "few", machine_path, method)
    many = _peak_bytes(POINTS, tmp_path / "many", machine_path, method)
    # A Latin hypercube holds its four coordinates of 8 bytes, its permutations and one copy.
    assert many - few < (24 << 20) + (POINTS * 4 * 8 * 4 if method == "latin-hypercube" else 0)
    assert many < 1 << 30


def test_a_sweep_by_the_model_itself_needs_less_than_a_gibibyte(tmp_path: Path) -> None:
    few = _peak_bytes(COMPUTED // 10, tmp_path / "few", "bundled", "sobol", "model")
    many = _peak_bytes(COMPUTED, tmp_path / "many", "bundled", "sobol", "model")
    tell = " and ".join(f"{each / (1 << 20):.0f} MiB" for each in (few, many))
    print(f"{COMPUTED // 10:,} and {COMPUTED:,} points, {WORKERS} workers: at most {tell}")
    # Blocks of hundreds of points and the caches of a worker are full by a few thousand.
    assert many - few < 64 << 20
    assert many < 1 << 30
