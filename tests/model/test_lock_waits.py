"""Who waits for the locks that a fork holds: which spawn holds which, how many wait how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.prediction import LockWait
from model.scenario import Call, Calls, Load
from model.simulation import simulate
from model.units import NS_PER_S
from tests.model.builders import BARE, COST_TABLE, anon, machine_with, parent_of, scenario_of

KINDS: tuple[Call, ...] = ("mmap", "munmap", "brk", "proc_maps", "malloc")


def waits(mechanism: str, *calls: Calls, pages: int = 100_000) -> tuple[LockWait, ...]:
    scenario = scenario_of(mechanism, parent_of(anon(pages), threads=4), load=Load(calls=calls))
    return simulate(scenario, BARE, COST_TABLE).lock_waits


def always(call: Call, threads: int = 1) -> Calls:
    return Calls(call=call, threads=threads, calls_per_second=threads * NS_PER_S)


def test_fork_holds_both_locks_a_bare_clone3_one_and_what_copies_nothing_none() -> None:
    calls = tuple(always(each) for each in KINDS)
    for mechanism, free in (
        ("fork", set()),
        ("clone3", {"malloc"}),
        ("vfork", set(KINDS)),
        ("posix_spawn", set(KINDS)),
    ):
        found = waits(mechanism, *calls)
        assert {each.call for each in found if each.held_ns == 0.0} == free
        for each in found:
            assert (each.waiting > 0.0) == (each.mean_ns > 0.0) == (each.longest_ns > 0.0) == (each.held_ns > 0.0)


def test_malloc_waits_for_the_whole_system_call_and_mmap_for_dup_mmap() -> None:
    mmap, malloc = waits("fork", always("mmap"), always("malloc"))
    assert 0.9 * malloc.held_ns < mmap.held_ns < malloc.held_ns
    call_ns = simulate(scenario_of("fork", parent_of(anon(100_000), threads=4)), BARE, COST_TABLE).milestones["call"]
    assert malloc.held_ns < call_ns.quiet_ns


def test_a_call_that_comes_seldom_meets_the_lock_in_proportion_and_waits_for_half_of_it() -> None:
    (seldom,) = waits("fork", Calls(call="mmap", threads=8, calls_per_second=1.0))
    assert seldom.waiting == pytest.approx(seldom.held_ns / NS_PER_S)
    assert seldom.mean_ns == pytest.approx(seldom.held_ns / 2.0, rel=1e-3)
    (always_there,) = waits("fork", always("mmap"))
    assert always_there.waiting == 1.0
    assert always_there.mean_ns == pytest.approx(always_there.held_ns, rel=1e-3)


def test_writers_go_through_one_after_the_other_and_readers_together() -> None:
    one, many = (waits("fork", always("mmap", threads))[0] for threads in (1, 50))
    assert many.longest_ns - many.held_ns == pytest.approx(49 * 0.5 * COST_TABLE.price("mmap_pair"))
    assert one.longest_ns == one.held_ns
    few, crowd = (waits("fork", always("proc_maps", threads))[0] for threads in (1, 50))
    assert few.longest_ns == crowd.longest_ns > few.held_ns, "a reader sleeps and has to be woken"


@given(st.sampled_from(KINDS), st.integers(1, 200), st.floats(1e-3, 1e9))
def test_no_more_threads_wait_than_there_are_and_none_longer_than_the_longest(
    call: Call, threads: int, rate: float
) -> None:
    (found,) = waits("fork", Calls(call=call, threads=threads, calls_per_second=rate), pages=1000)
    assert 0.0 < found.waiting <= threads
    assert 0.0 < found.mean_ns <= found.longest_ns
    assert found.delays_ns >= 0.0


def test_callers_are_threads_of_the_parent_which_the_flush_reaches_and_readers_of_proc_are_not() -> None:
    two = machine_with(2)
    cases: tuple[tuple[Call, float, float], ...] = (("malloc", 1.0, 5.0), ("proc_maps", 0.0, 0.0))
    for call, rounds, stacks in cases:
        load = Load(calls=(always(call, 5),))
        counts = simulate(scenario_of("fork", parent_of(anon(9)), load=load), two, COST_TABLE).bill.counts
        assert (counts.get("ipi_round", 0.0), counts.get("reclaim_stack", 0.0)) == (rounds, stacks)


def test_calls_that_cannot_be_are_refused() -> None:
    for wrong in ({"threads": 0}, {"calls_per_second": 0.0}, {"calls_per_second": float("inf")}):
        with pytest.raises(ValueError, match=r"threads|calls_per_second|thread"):
            Calls(call="mmap", **wrong)
