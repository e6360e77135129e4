"""A cluster gives the rows that one process gives, even if one of its workers is killed meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from calibration.errors import BadInput
from experiments.sweep import run_sweep
from experiments.sweep_spec import Sweep
from experiments.sweep_ways import Tally
from tests.experiments.sweep_support import ROOT, rows

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three worker processes on this machine, as `dask worker` starts them."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([before] if before else [])])
    made = distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    )
    yield made
    made.close()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def _sweep(machine_path: Path, **more: Any) -> Sweep:
    base = {"machine": str(machine_path), "parent": "cpython", "exec": "/bin/true", "via": ["fork", "posix_spawn"]}
    resident = {"low": "16MiB", "high": "8GiB", "scale": "log", "count": 150}
    axes = {"parent.resident": resident, "parent.huge": [0.0, 1.0]}
    return Sweep(**{"base": base, "axes": axes, **more})


def test_a_cluster_gives_the_same_rows_though_a_worker_is_killed(
    machine_path: Path, tmp_path: Path, cluster: Any
) -> None:
    sweep = _sweep(machine_path)
    run_sweep(sweep, store=tmp_path / "local", workers=1)
    victims = [worker.pid for worker in cluster.workers.values()]
    killed: list[int] = []

    def kill_one(tally: Tally) -> None:
        if not killed and tally.computed:  # the first blocks are single points
            killed.append(tally.computed)
            os.kill(victims[0], signal.SIGKILL)

    run_sweep(sweep, store=tmp_path / "dask", dask=cluster.scheduler_address, progress=kill_one)
    assert killed
    assert killed[0] < 600
    assert rows(tmp_path / "dask") == rows(tmp_path / "local")


def test_a_cluster_resumes_what_one_process_began(machine_path: Path, tmp_path: Path, cluster: Any) -> None:
    sweep = _sweep(machine_path)
    run_sweep(sweep, store=tmp_path / "a", workers=1, shard=(1, 2))
    begun = len(rows(tmp_path / "a"))
    frame = run_sweep(sweep, store=tmp_path / "a", dask=cluster.scheduler_address)
    assert 0 < begun < len(frame) == 600
    assert frame["error"].isna().all()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense"])
def test_an_address_without_a_scheduler_is_refused(
    machine_path: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments import executors

    monkeypatch.setattr(executors, "CONNECT_S", 1)
    with pytest.raises(BadInput, match="no scheduler answers"):
        run_sweep(_sweep(machine_path), store=tmp_path / "a", dask=address)
