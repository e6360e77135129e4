"""A sweep over what else runs: its rows are what the model says of the same load, and half a load is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from calibration.machine_file import find_machine
from experiments import run_sweep
from experiments.answers import predict
from experiments.compiled_points import compiled_predictions
from experiments.evaluate import asked_of, rows_of
from experiments.points import points_of
from experiments.scenarios import Question
from experiments.sweep_plan import plan_of
from experiments.sweep_spec import Sweep
from model.elf_image import NO_IMAGE
from model.scenario import Load, Mutators
from model.units import NS_PER_MS, NS_PER_US, PAGE_BYTES

SIZE = 16 << 20
WRITERS = {"load.mutators": 2, "load.writes_per_second": 100_000, "load.working_set": SIZE}


def of_load(machine: Path, axes: dict[str, Any], **more: Any) -> Sweep:
    base = {"machine": str(machine), "rss": SIZE, "threads": 3, "exec": "none", "via": ["fork", "vfork"], **more}
    return Sweep(base=base, axes=axes)


def test_a_row_is_what_the_model_says_of_the_same_load(machine_path: Path) -> None:
    sweep = of_load(machine_path, {"load.child_lifetime_us": [20_000], "load.locality": ["zipf"]}, **WRITERS)
    row = json.loads(str(rows_of(plan_of(sweep), points_of(sweep))[0].results))
    pages = SIZE // PAGE_BYTES
    writers = Mutators(threads=2, writes_per_second=100_000.0, locality="zipf", working_set_pages=pages)
    file = find_machine(str(machine_path))
    question = Question(
        parent=synthetic_parent(SIZE, threads=3),
        target=NO_IMAGE,
        mechanisms=("fork",),
        rules=file.machine.rules,
        helpers={},
        load=Load(child_lifetime_ns=20 * NS_PER_MS, mutators=(writers,)),
    )
    told = predict(question, file, "fork")
    assert told.aftermath is not None
    assert row["call_us"]["p50"] == pytest.approx(told.milestones["call"].p50_ns / NS_PER_US, rel=1e-6)
    assert 0 < row["writes"]["cow_copies"] == pytest.approx(told.aftermath.cow_copies, rel=1e-6)
    assert 0 < row["writes"]["peak_pages"] == pytest.approx(told.aftermath.peak_pages, rel=1e-6)


def test_a_child_that_lives_longer_makes_more_copies_and_vfork_none(machine_path: Path) -> None:
    lives = [0, 10_000, 100_000]
    frame = run_sweep(of_load(machine_path, {"load.child_lifetime_us": lives}, **WRITERS))
    assert frame["error"].isna().all()
    copies = {via: list(found["writes_cow_copies"]) for via, found in frame.groupby("via")}
    assert copies["fork"] == sorted(copies["fork"])
    assert copies["fork"][0] < copies["fork"][-1]
    assert copies["vfork"] == [0.0] * len(lives)


def test_no_writer_is_no_load_and_a_busy_cpu_is_one(machine_path: Path) -> None:
    axes = {"load.mutators": [0], "load.busy_cpus": [0, 1]}
    sweep = of_load(machine_path, axes, **{"load.writes_per_second": 1, "load.working_set": SIZE})
    idle, _, busy, _ = (json.loads(str(each.results)) for each in rows_of(plan_of(sweep), points_of(sweep)))
    bare = of_load(machine_path, {"thp": ["as-is"]})
    plain = json.loads(str(rows_of(plan_of(bare), points_of(bare))[0].results))
    assert idle == plain
    assert "writes" not in idle
    assert busy["reaped_us"] != idle["reaped_us"]


def test_the_compiled_model_answers_nothing_of_a_load(machine_path: Path) -> None:
    """It knows no contention: rows of many such points are those of points asked alone."""
    axes: dict[str, Any] = {"load.busy_cpus": [1], "parent.contiguous": {"low": 0.0, "high": 1.0, "count": 8}}
    sweep = of_load(machine_path, axes)
    plan, points = plan_of(sweep), list(points_of(sweep))
    asked = {each.number: found for each in points if (found := asked_of(plan, each)) is not None}
    assert len(asked) == len(points)
    assert compiled_predictions(asked) == {}
    assert rows_of(pickle.loads(pickle.dumps(plan)), points) == [rows_of(plan, [each])[0] for each in points]


@pytest.mark.parametrize("given", [name for name in WRITERS if name != "load.mutators"])
def test_writers_are_said_whole(machine_path: Path, given: str) -> None:
    left = {name: each for name, each in WRITERS.items() if name != given}
    with pytest.raises(BadInput, match=given):
        of_load(machine_path, {"thp": ["off", "on"]}, **left)
    with pytest.raises(BadInput, match=r"load\.mutators"):
        of_load(machine_path, {"thp": ["off", "on"]}, **{given: WRITERS[given]})
