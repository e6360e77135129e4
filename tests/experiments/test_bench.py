"""What an answer costs, by counts and ratios of one run: no test here knows how fast a machine is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.build import Builder, Compiler
from calibration.capture.parent_file import read_parent
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from calibration.targets import TargetSpec
from experiments import bench, bench_compiled, bench_elf, bench_sweep
from experiments.compiled_points import compiled_predictions
from experiments.evaluate import asked_of
from experiments.points import points_of
from experiments.scenarios import DEFAULT_PARENT
from experiments.sweep_plan import plan_of
from model.compiled import compile_scenario
from model.kernel.mm import mm_counts
from model.parent_arrays import ParentArrays
from model.rules import Rules
from model.scenario import spawn_and_wait
from model.simulation import simulate

CACHES = {"l2_lines": 16_384.0, "table_lines": 4_096.0, "scatter_lines": 12_288.0, "far_lines": 196_608.0}
FEW = {"rounds": 1, "points": 40, "simulated": 8, "loops": 1000}
LISTS = {"pcp_pages": 256.0, "pcp_tables": 32.0}
"""Sizes beyond which a large parent meets costs that a small one does not."""


def test_a_heap_of_a_tebibyte_needs_what_one_of_a_mebibyte_needs(machine_file: MachineFile) -> None:
    machine = replace(machine_file.machine, facts={**machine_file.machine.facts, **CACHES, **LISTS})
    found = bench.flat(replace(machine_file, machine=machine), rounds=1)
    assert [each.size for each in found] == ["1 MiB", "1 GiB", "1 TiB"]
    assert len({each.events for each in found}) == 1
    assert len({each.charges for each in found}) == 1


def test_the_jvm_of_the_bench_has_the_vmas_that_it_is_said_to_have() -> None:
    parent = bench.jvm_of(bench.JVM_VMAS)
    assert len(parent.space.vmas) == bench.JVM_VMAS
    assert mm_counts(parent.space, Rules()).vmas == bench.JVM_VMAS
    assert parent.runtime == "jvm"


def test_rates_are_of_one_run(machine_file: MachineFile) -> None:
    found = bench.rates(machine_file, rounds=1, timeouts=1000)
    assert found.charges > found.events > 0
    assert found.timeouts > 0


def test_works_take_turns_and_the_best_of_each_counts() -> None:
    order: list[str] = []
    best = bench.best_ns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 3
    assert set(best) == {"a", "b"}
    assert min(best.values()) > 0


def test_the_text_is_readable_and_its_ratios_are_those_of_its_figures(machine_file: MachineFile) -> None:
    text = bench.text_of(machine_file, rounds=1, commands=1, points=4000, sweep=FEW)
    assert max(map(len, text.splitlines())) <= 80
    figures = dict(re.findall(r"^  (\S.*?) {2,}([\d,.]+)(?: \S+)?$", text, re.MULTILINE))
    charges, timeouts = (float(figures[name].replace(",", "")) for name in ("charges", "bare timeouts"))
    assert float(figures["charges : bare timeouts"]) == pytest.approx(charges / timeouts, abs=0.01)
    predict, python = float(figures["spawncost predict"]), float(figures["python -c pass"])
    assert float(figures["ratio"]) == pytest.approx(predict / python, rel=0.15)
    assert {"events", "address space is new", "counted before", "charges alone : bare", "most memory"} <= set(figures)
    assert {"compiled gain : loops'", "simulated gain : loops'"} <= set(figures)
    points, simulated = (float(figures[name].replace(",", "")) for name in ("points with breakdown", "simulate()"))
    assert float(figures["points : simulate()"].replace(",", "")) == pytest.approx(points / simulated, rel=0.02, abs=1)
    assert re.findall(r"^  (\d+ [MGT]iB) ", text, re.MULTILINE) == list(bench.SIZES)


def test_an_unknown_machine_is_one_line_and_status_2(
    machine_file: MachineFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(["--machine", str(tmp_path / "none.toml")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("bench: error: ")


def test_points_of_the_bench_are_what_the_simulation_says(machine_file: MachineFile) -> None:
    scenario = spawn_and_wait(read_parent(DEFAULT_PARENT), bench.spawn_of("fork"), rules=machine_file.machine.rules)
    compiled = compile_scenario(scenario, machine_file.machine, machine_file.costs)
    found = compiled.evaluate(ParentArrays.of([scenario.parent], scenario.rules)).milestones["reaped"]
    expected = simulate(scenario, machine_file.machine, machine_file.costs).milestones["reaped"]
    assert found.quiet_ns[0] == pytest.approx(expected.quiet_ns, rel=1e-9)
    assert found.p90_ns[0] == pytest.approx(expected.p90_ns, rel=1e-9)
    arrays = bench_compiled.random_parents(scenario.parent, scenario.rules, 50, seed=1)
    total = bench_compiled.evaluated(compiled, [arrays[:20], arrays[20:]], ("reaped",))
    assert total == pytest.approx(compiled.evaluate(arrays).milestones["reaped"].p50_ns.sum())


def test_gains_of_a_sweep_are_beside_those_of_bare_loops(machine_file: MachineFile) -> None:
    found = bench_sweep.sweep_rates(machine_file, **FEW)
    for rates in (found.points, found.simulated, found.loops):
        assert set(rates) == {1, 2}
        assert min(rates.values()) > 0
    told = replace(
        found, points={1: 1000.0, 2: 1800.0}, simulated={1: 100.0, 2: 150.0}, loops={1: 1e6, 2: 2e6}
    )  # fmt: skip
    lines = bench_sweep.text_of(told)
    assert [each.split()[-1] for each in lines] == ["gain", "1.80", "1.50", "2.00", "0.90", "0.75"]


def test_a_sweep_of_the_bench_that_fails_is_no_rate(machine_file: MachineFile, tmp_path: Path) -> None:
    axes = {"parent.resident": {"low": 1 << 20, "high": 1 << 30}, "parent.vmas": {"low": 1, "high": 2}}
    with pytest.raises(BadInput, match="points fail"):
        bench_sweep.swept(bench_sweep.sweep_of(str(machine_file.path or "bundled"), 4, axes), 1)


def test_the_simulated_sweep_of_the_bench_is_simulated() -> None:
    kinds = {}
    for name, axes in (("compiled", bench_sweep.PARENT), ("simulated", bench_sweep.PARENT | bench_sweep.TARGET)):
        plan = plan_of(bench_sweep.sweep_of("bundled", 12, axes))
        asked = {point.number: each for point in points_of(plan.sweep) if (each := asked_of(plan, point)) is not None}
        assert len(asked) == 12
        kinds[name] = len(compiled_predictions(asked))
    assert kinds["simulated"] == 0 < kinds["compiled"]


def test_reading_a_program_is_beside_reading_it_again(tmp_path: Path) -> None:
    small = TargetSpec(kind="libs", libs=3, lookups=10)
    lines = bench_elf.text_of(bench.spawncost(), rounds=1, spec=small, builder=lambda: Builder(cache=tmp_path))
    assert lines[0].endswith("3 libraries, 30 look-ups")
    assert max(map(len, lines)) <= 80
    figures = [float(each.split()[-2]) for each in lines[1:]]
    assert figures[2] == pytest.approx(figures[0] - figures[1], abs=0.002)
    none = Builder(Compiler(("/bin/false",), "false 1.0"), tmp_path)
    assert "not measured" in bench_elf.text_of(bench.spawncost(), rounds=1, spec=small, builder=lambda: none)[1]
    assert bench_elf.LARGE.libs >= bench_elf.LIBRARIES
    assert bench_elf.LARGE.libs * bench_elf.LARGE.lookups >= bench_elf.RELOCATIONS
    with pytest.raises(BadInput, match="it ends with 2"):
        bench_elf.reading_ns(bench.spawncost(), tmp_path / "nothing", rounds=1)
