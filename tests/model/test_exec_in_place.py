"""A process that executes a program itself, without a child: its threads end, and its own memory is freed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.compiled import compile_scenario
from model.mechanisms import MECHANISMS, NotBuilt
from model.paths import NotCompiled
from model.process import Process
from model.scenario import Load, Mutators, Scenario
from model.simulation import bill, simulate
from model.units import PTRS_PER_TABLE
from tests.model.builders import BARE, COST_TABLE, RICH, anon, dynamic_image, parent_of, scenario_of


def in_place(parent: Process) -> Scenario:
    return scenario_of("exec", parent, dynamic_image(1))


@pytest.mark.parametrize("threads", [1, 2, 40])
def test_each_other_thread_is_killed_once_and_before_the_new_memory(threads: int) -> None:
    counts = bill(in_place(parent_of(anon(9), threads=threads)), BARE, COST_TABLE, "exec").counts
    assert counts.get("de_thread_kill", 0) == threads - 1
    assert counts.get("de_thread_fixed", 0) == (threads > 1)


def test_threads_are_killed_once_nothing_can_fail_any_more() -> None:
    """Program and interpreter have been opened by then: an execve that fails before returns to a whole process."""
    image = replace(dynamic_image(1), elf_interpreter="/lib64/ld-linux-x86-64.so.2")
    found = simulate(scenario_of("exec", parent_of(anon(9), threads=3), image), BARE, COST_TABLE)
    order = list(dict.fromkeys(entry.name for entry in found.path))
    steps = ["execve_prepare", "elf_interpreter", "de_thread_fixed", "de_thread_kill", "execve_open", "exit_mm_fixed"]
    assert [name for name in order if name in steps] == steps


@pytest.mark.parametrize("mechanism", sorted(MECHANISMS))
def test_a_child_has_no_other_thread_to_kill(mechanism: str) -> None:
    """A fork's child is one thread; a vfork's is a thread group of its own, although it shares the memory."""
    parent = parent_of(anon(9), threads=40)
    found = simulate(scenario_of(mechanism, parent, dynamic_image(1)), BARE, COST_TABLE)
    assert not {"de_thread_kill", "de_thread_fixed"} & set(found.breakdown_ns)


def test_nothing_returns_to_the_caller() -> None:
    found = simulate(in_place(parent_of(anon(9), threads=3)), RICH, COST_TABLE)
    assert list(found.milestones) == ["exec", "main"]
    assert "copy_process_fixed" not in found.breakdown_ns
    assert sum(found.breakdown_ns.values()) == pytest.approx(found.milestones["main"].p50_ns)


def test_all_its_own_pages_are_freed_where_a_child_leaves_them_to_its_parent() -> None:
    parent = parent_of(anon(700))
    own = bill(in_place(parent), BARE, COST_TABLE, "exec").counts
    copied = bill(scenario_of("fork", parent, dynamic_image(1)), BARE, COST_TABLE, "exec").counts
    assert own["free_anon_page"] == own["zap_pte"] == copied["zap_pte"] == 700
    assert copied.get("free_anon_page", 0) < 700
    mapped = replace(anon(5 * PTRS_PER_TABLE), anon_ptes=0, huge_pmds=5)
    huge = bill(in_place(parent_of(mapped)), BARE, COST_TABLE, "exec").counts
    assert huge["free_huge_page"] == huge["zap_huge_pmd"] == 5


def test_what_cannot_be_said_is_refused() -> None:
    scenario = in_place(parent_of(anon(9), threads=3))
    with pytest.raises(NotBuilt, match="whose own threads write"):
        simulate(replace(scenario, load=Load(mutators=(Mutators(),))), BARE, COST_TABLE)
    with pytest.raises(NotCompiled, match="exec"):
        compile_scenario(scenario, BARE, COST_TABLE)
