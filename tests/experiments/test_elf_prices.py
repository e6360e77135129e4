"""The prices of a start are the simulation's own entries, shared out: nothing added, nothing lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from calibration.capture import capture_elf
from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from experiments.bundled_images import bundled_image
from experiments.elf_prices import Start, start_of
from model.elf_image import ElfImage
from model.ledger import bill_of
from model.process import Caller
from model.scenario import Spawn, spawn_and_wait
from model.simulation import simulate

IMAGES = ("true", "sh", "curl")


def _simulated(image: ElfImage, file: MachineFile) -> tuple[float, float, dict[str, float]]:
    """Time from exec to main and in ld.so, and the counts from exec to main, of the same scenario."""
    parent = replace(synthetic_parent(0), caller=Caller.HOT, assumed=())
    scenario = spawn_and_wait(parent, Spawn(mechanism="posix_spawn", target=image), rules=file.machine.rules)
    prediction = simulate(scenario, file.machine, file.costs)
    assert prediction.loader is not None
    ledger = next(ledger for key, ledger in prediction.tasks.items() if key.endswith(" child"))
    exec_ns = prediction.milestones["main"].quiet_ns
    mine = [each for each in ledger if "do_execveat_common" in each.path or "_dl_start" in each.path]
    assert exec_ns > 0
    return sum(each.elapsed_ns for each in mine), prediction.loader.quiet_ns, dict(bill_of(mine).counts)


@pytest.mark.parametrize("name", IMAGES)
def test_parts_sum_to_the_simulated_start(name: str, machine_file: MachineFile) -> None:
    image = bundled_image(name)
    start = start_of(image, machine_file)
    upto, loader_ns, _ = _simulated(image, machine_file)
    assert start.loader_ns == pytest.approx(loader_ns)
    constructors_ns = image.constructors * machine_file.costs.price("constructor_call")
    assert start.main_ns == pytest.approx(upto + constructors_ns)
    assert start.whole_ns == pytest.approx(sum(each.ns for each in start.parts))
    assert start.whole_ns > start.main_ns > start.loader_ns > 0


@pytest.mark.parametrize("name", IMAGES)
def test_every_part_is_counts_times_prices(name: str, machine_file: MachineFile) -> None:
    for part in start_of(bundled_image(name), machine_file).parts:
        for cost, elapsed_ns in part.breakdown_ns.items():
            assert elapsed_ns == pytest.approx(part.counts[cost] * machine_file.costs.price(cost))


@pytest.mark.parametrize("name", IMAGES)
def test_an_object_pays_for_its_own_counts(name: str, machine_file: MachineFile) -> None:
    image = bundled_image(name)
    start = start_of(image, machine_file)
    priced = {each.name: each.counts for each in start.parts if each.of_object}
    assert {each.name for each in image.libraries} <= set(priced)
    for each in image.libraries:
        assert priced[each.name].get("ldso_lookup", 0) == each.symbol_lookups
        assert priced[each.name].get("fault_file_write", 0) == each.dirtied_pages
    lookups = sum(each.counts.get("ldso_lookup", 0.0) for each in start.parts)
    assert lookups == image.symbol_lookups


def test_the_dearest_part_comes_first(machine_file: MachineFile) -> None:
    times = [each.ns for each in start_of(bundled_image("curl"), machine_file).parts]
    assert times == sorted(times, reverse=True)


def test_a_cold_caller_pays_more_and_only_outside_of_objects(machine_file: MachineFile) -> None:
    hot, cold = (start_of(bundled_image("curl"), machine_file, caller=each) for each in ("hot", "cold"))
    assert cold.main_ns > hot.main_ns
    objects = [{each.name: each.ns for each in start.parts if each.of_object} for start in (hot, cold)]
    assert objects[0] == pytest.approx(objects[1])


def test_what_may_not_be_executed_is_priced_as_if_it_might(machine_file: MachineFile) -> None:
    image = bundled_image("true")
    as_if = start_of(replace(image, executable=False), machine_file)
    assert _shape(as_if) == _shape(start_of(image, machine_file))


def _shape(start: Start) -> dict[str, float]:
    return {each.name: each.ns for each in start.parts}


def test_no_such_caller(machine_file: MachineFile) -> None:
    with pytest.raises(BadInput, match="lukewarm"):
        start_of(bundled_image("true"), machine_file, caller="lukewarm")


def test_a_script_is_priced_with_its_interpreter(machine_file: MachineFile, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    program, plain = (start_of(capture_elf(path, environ={}), machine_file) for path in (script, "/bin/sh"))
    execve = [next(each for each in start.parts if each.name == "execve") for start in (program, plain)]
    assert execve[0].counts["execve_prepare"] == execve[1].counts["execve_prepare"] + 1
    assert program.main_ns > plain.main_ns
