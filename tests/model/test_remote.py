"""A child on another CPU: what its end and the next fork pay for lines and free pages that lie elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.kernel.memory import LINES, drop_remote, dup_returned, held
from model.kernel.mm import mm_counts
from model.machine import Placement
from model.process import Process
from model.rules import Rules
from model.scenario import spawn_and_wait
from model.simulation import run_once, simulate
from tests.model.builders import (
    COST_TABLE,
    FACTS,
    SAME,
    anon,
    machine_with,
    parent_of,
    parents,
    row_of,
    scenario_of,
    spawn_of,
)

APART = Placement(child="other")
PARENT = parent_of(*row_of(20, 100))


def charged(parent: Process, placements: tuple[Placement, ...], *, migrates: bool = False) -> dict[str, float]:
    """Counts of the remote and returned costs of a fork under the first of the placements."""
    machine = machine_with(2, placements, facts=FACTS)
    scenario = spawn_and_wait(parent, spawn_of("fork", migrates=migrates))
    run = run_once(scenario, machine, COST_TABLE, placements[0])
    found: dict[str, float] = {}
    for task in run.system.tasks:
        for entry in task.ledger:
            if entry.name.startswith(("remote_", "returned_")):
                found[entry.name] = found.get(entry.name, 0.0) + entry.count
    return found


def test_a_child_on_its_callers_cpu_pays_nothing_more() -> None:
    assert charged(PARENT, (SAME,)) == {}


def test_a_child_elsewhere_pays_at_its_end_and_the_next_fork_too() -> None:
    found = charged(PARENT, (APART,))
    mm = mm_counts(PARENT.space, Rules())
    held_ptes = held(mm.small_ptes, "pte", FACTS["l2_lines"])
    assert found["remote_pte"] == found["returned_pte"] == held_ptes > 0.0
    assert found["remote_anon_vma"] == found["returned_anon_vma"] == mm.with_anon_vma
    assert found["returned_mm"] == 1.0


def test_the_next_fork_pays_as_often_as_children_run_elsewhere() -> None:
    mixed = (replace(SAME, weight=0.75), replace(APART, weight=0.25))
    found = charged(PARENT, mixed)
    assert found["returned_mm"] == pytest.approx(0.25)
    assert not any(name.startswith("remote_") for name in found), "this child is at home"


def test_a_child_that_moves_pays_like_one_that_was_sent() -> None:
    sent, moved = charged(PARENT, (APART,)), charged(PARENT, (SAME,), migrates=True)
    assert moved == sent


@given(st.integers(1, 10**7), st.sampled_from(sorted(LINES)), st.floats(1.0, 1e6))
def test_a_cache_holds_no_more_than_it_has_lines_for(count: int, kind: str, lines: float) -> None:
    kept = held(count, kind, lines)
    assert kept <= count
    assert kept * LINES[kind] <= lines * (1 + 1e-12) or kept == count


@given(parents())
def test_what_is_elsewhere_never_outgrows_that_cpus_cache(parent: Process) -> None:
    machine = machine_with(2, facts=FACTS)
    mm = mm_counts(parent.space, Rules())
    away, back = drop_remote(mm, machine), dup_returned(mm, machine, 0.5)
    lines = machine.fact("l2_lines")
    assert away["remote_pte"] <= min(mm.small_ptes, lines)
    assert all(back[f"returned_{name[7:]}"] == pytest.approx(count / 2) for name, count in away.items())


def test_large_heaps_pay_no_more_for_it_than_a_cache_holds() -> None:
    machine = machine_with(2, (APART,), facts=FACTS)
    small, large, larger = (
        simulate(scenario_of("fork", parent_of(anon(pages))), machine, COST_TABLE).breakdown_ns["remote_pte"]
        for pages in (100, 2_000_000, 4_000_000)
    )
    assert small < large == larger
