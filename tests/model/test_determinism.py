"""The same question has the same answer, in this process and in any other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from model.ledger import Entry
from model.machine import Machine, Placement, Spread
from model.mechanisms import MECHANISMS
from model.prediction import Prediction
from model.process import Caller
from model.scenario import Scenario
from model.simulation import simulate
from tests.model.builders import (
    COST_TABLE,
    PLACEMENTS,
    RICH,
    anon,
    dynamic_image,
    machines,
    parent_of,
    scenario_of,
    scenarios,
)

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "from tests.model.test_determinism import all_answers\nprint(*all_answers(), sep='\\n')"


def printed(prediction: Prediction) -> str:
    """A prediction as text, tasks by name instead of by address."""

    def plain(entry: Entry) -> str:
        ended_by = entry.ended_by.name if entry.ended_by is not None else None
        return f"{entry.start_ns!r} {entry.end_ns!r} {entry.name} {entry.count!r} {entry.path} {ended_by}"

    parts = [f"{f.name}={getattr(prediction, f.name)!r}" for f in fields(prediction) if f.name not in ("path", "tasks")]
    parts += [plain(entry) for entry in prediction.path]
    parts += [f"{name}: {plain(entry)}" for name, ledger in prediction.tasks.items() for entry in ledger]
    return "; ".join(parts)


def modal_machine() -> Machine:
    modes = tuple(replace(each, weight=1 / len(PLACEMENTS)) for each in PLACEMENTS)
    spread = {"plain": Spread(levels=(0.0, 0.5, 1.0), ratios=(0.9, 1.0, 3.0))}
    return replace(RICH, placements={"*": modes}, spread=spread, model_error={"plain": 0.1})


def all_answers() -> Iterator[str]:
    """Every mechanism from a parent whose frames were assumed."""
    parent = parent_of(anon(3000), threads=5, assumed=("contiguous", "writable"), caller=Caller.COLD, contiguous=0.5)
    for mechanism in MECHANISMS:
        scenario = scenario_of(mechanism, parent, dynamic_image(3))
        yield f"{mechanism}: {printed(simulate(scenario, modal_machine(), COST_TABLE))}"
    flags = frozenset({"CLONE_VM", "CLONE_VFORK", "CLONE_FILES", "CLONE_FS", "CLONE_PIDFD"})
    scenario = scenario_of("clone3", parent)
    spawn = scenario.spawn
    assert spawn is not None
    flagged = replace(scenario, program=(replace(spawn, flags=flags), scenario.program[1]))
    yield printed(simulate(flagged, modal_machine(), COST_TABLE))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios(), machines())
def test_twice_the_same(scenario: Scenario, machine: Machine) -> None:
    once, again = (printed(simulate(scenario, machine, COST_TABLE)) for _ in range(2))
    assert once == again


def test_equal_values_give_equal_answers() -> None:
    """A scenario is a value: another one that is equal, built apart, is the same question."""
    assert list(all_answers()) == list(all_answers())
    one, other = (scenario_of("fork", parent_of(anon(9), threads=2)) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)


def test_hashing_does_not_matter() -> None:
    """Sets are iterated in an order that depends on PYTHONHASHSEED; no answer may."""
    texts = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        texts.append(done.stdout)
    assert texts[0] == texts[1]
    assert texts[0].splitlines() == list(all_answers())


def test_the_order_of_equal_placements_decides_nothing_but_the_quiet_time() -> None:
    scenario = scenario_of("vfork", parent_of(), dynamic_image(1))
    modes = [Placement(child="same", waker=waker, weight=0.5) for waker in ("queue", "other")]
    there, back = (
        simulate(scenario, replace(RICH, placements={"*": tuple(order)}), COST_TABLE).milestones["call"]
        for order in (modes, modes[::-1])
    )
    assert (there.p10_ns, there.p50_ns, there.p90_ns) == (back.p10_ns, back.p50_ns, back.p90_ns)
    assert there.quiet_ns != back.quiet_ns
