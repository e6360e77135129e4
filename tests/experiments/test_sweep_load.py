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
from experiments.evaluate import asked_of, question_of, rows_of
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


FILE = """schema = "spawncost.load/1"
busy_cpus = 1
child_lifetime = "5ms"
[[mutators]]
threads = 2
writes_per_second = 50000
working_set = "4MiB"
[[calls]]
call = "mmap"
calls_per_second = 1000
"""
INSIDE = {
    "load.busy_cpus": 1,
    "load.child_lifetime": "5ms",
    "load.mutators": 2,
    "load.writes_per_second": 50_000,
    "load.working_set": "4MiB",
    "load.calls.0.call": "mmap",
    "load.calls.0.calls_per_second": 1000,
}


@pytest.fixture
def load_file(tmp_path: Path) -> str:
    path = tmp_path / "load.toml"
    path.write_text(FILE)
    return str(path)


def results_of(sweep: Sweep) -> list[dict[str, Any]]:
    rows = rows_of(plan_of(sweep), points_of(sweep))
    assert [each.error for each in rows] == [None] * len(rows)
    return [json.loads(str(each.results)) for each in rows]


def test_a_file_and_the_same_load_by_its_fields_give_one_row(machine_path: Path, load_file: str) -> None:
    by_fields = results_of(of_load(machine_path, {"thp": ["off"]}, **INSIDE))
    assert results_of(of_load(machine_path, {"load": [load_file], "thp": ["off"]})) == by_fields
    table = {"busy_cpus": 1, "child_lifetime": "5ms", "mutators": [{"threads": 2, "writes_per_second": 50_000}]}
    table["mutators"][0]["working_set"] = "4MiB"  # type: ignore[index]
    table["calls"] = [{"call": "mmap", "calls_per_second": 1000}]
    assert results_of(of_load(machine_path, {"thp": ["off"]}, load=table)) == by_fields
    assert by_fields != results_of(of_load(machine_path, {"thp": ["off"]}))


VARIED: dict[str, list[Any]] = {
    "load.busy_cpus": [0, 1],
    "load.child_lifetime": ["exec", "50ms"],
    "load.mutators": [0, 2, 4],
    "load.mutators.0.working_set": ["2MiB", "8MiB"],
    "load.mutators.0.locality": ["uniform", "sequential"],
    "load.mutators.0.burst": [0, 8],
    "load.mutators.1.threads": [0, 1],
    "load.calls.0.threads": [0, 1],
    "load.calls.0.calls_per_second": [10, 10_000],
    "load.calls.0.call": ["mmap", "malloc"],
    "load.calls.1.threads": [0, 2],
}
ANOTHER = {
    "load.mutators.1.writes_per_second": 90_000,
    "load.mutators.1.working_set": "1MiB",
    "load.calls.1.call": "brk",
    "load.calls.1.calls_per_second": 100,
}


@pytest.mark.parametrize("name", VARIED)
def test_every_field_of_a_load_file_can_be_an_axis_and_acts(machine_path: Path, load_file: str, name: str) -> None:
    kind = name.rpartition(".")[0]
    more = {other: each for other, each in ANOTHER.items() if kind.endswith(".1") and other.startswith(kind)}
    sweep = of_load(machine_path, {name: VARIED[name]}, load=load_file, via=["fork"], **more)
    found = [json.dumps(each) for each in results_of(sweep)]
    assert len(set(found)) == len(VARIED[name])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("load.mutators.0.reads_per_write", [0, 16]),
        ("load.batch_share", [0.0, 0.25]),
        ("load.khugepaged", ["off", "on"]),
        ("load.khugepaged.pages_to_scan", [512, 4096]),
        ("load.khugepaged.scan_sleep", ["1s", "10s"]),
    ],
)
def test_a_point_asks_with_the_load_that_its_fields_say(
    machine_path: Path, load_file: str, name: str, values: list[Any]
) -> None:
    """These leave a row of this small parent as it is (no huge pages, all in the TLB): the question is compared."""
    sweep = of_load(machine_path, {name: values}, load=load_file, via=["fork"])
    plan = plan_of(sweep)
    loads = {question_of(plan, each.inputs).load for each in points_of(sweep)}
    assert len(loads) == len(values)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"load.calls.0.via": "fork"}, "there is no such field"),
        ({"load.mutators.N.threads": 1}, "there is no such field"),
        ({"load.calls.99.threads": 1}, "there is no such field"),
        ({"load.calls.0.call": "sleep"}, "is none of mmap"),
        ({"load.calls.0.call": "mmap"}, "give load.calls.0.calls_per_second too"),
        ({"load.calls.1.call": "mmap", "load.calls.1.calls_per_second": 1}, "load.calls.0 is not"),
        ({"load.child_lifetime": "soon"}, "neither exec nor a duration"),
        ({"load": "/nowhere/load.toml"}, "there is no such file"),
        ({"parent.limits.commit_mode": 3}, "does not lie between"),
    ],
)
def test_a_wrong_name_or_half_a_group_is_told_in_one_line(machine_path: Path, more: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput) as refused:
        plan_of(of_load(machine_path, {"thp": ["off", "on"]}, **more))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_the_machine_has_not_is_a_row_with_its_reason(machine_path: Path, load_file: str) -> None:
    """As `predict --load` refuses it; the other points have their results, and warnings are those of `predict`."""
    sweep = of_load(machine_path, {"load.busy_cpus": [0, 4096]}, load=load_file, via=["fork"], rss="1MiB")
    good, bad = rows_of(plan_of(sweep), points_of(sweep))
    assert "working_set" in json.loads(str(good.results))["warnings"]
    assert bad.results is None
    assert "busy_cpus is 4096" in str(bad.error)


def test_another_load_in_the_same_file_is_another_point(machine_path: Path, load_file: str) -> None:
    sweep = of_load(machine_path, {"load": [load_file]}, via=["fork"])
    keys = []
    for lifetime in ("5ms", "6ms"):
        Path(load_file).write_text(FILE.replace("5ms", lifetime))
        plan = plan_of(sweep)
        keys += [plan.key(each.inputs) for each in points_of(sweep)]
    assert len(set(keys)) == 2


def test_a_constraint_can_name_a_numbered_group(machine_path: Path) -> None:
    axes = {"load.calls.0.threads": [1, 2, 3], "load.calls.0.call": ["mmap"]}
    sweep = of_load(machine_path, axes, **{"load.calls.0.calls_per_second": 10, "via": ["fork"]})
    kept = Sweep(base=sweep.base, axes=sweep.axes, constraints=("load.calls.0.threads >= 2",))
    assert [each.inputs["load.calls.0.threads"] for each in points_of(kept)] == [2, 3]
