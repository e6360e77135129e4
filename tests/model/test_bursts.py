"""Mutators that sleep between bursts, and CPUs that stream at once: what that adds, and where it adds nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.costs import CostTable
from model.machine import Placement
from model.process import Process
from model.scenario import Load, Mprotect, Mutators, Rewrite, Scenario, Step, Stream
from model.simulation import bill, run_once
from model.units import NS_PER_S
from tests.model.builders import COST_TABLE, TIB, anon, machine_with, parent_of, prime_costs, scenario_of

QUIET = prime_costs(ipi_round=0.0, flush_round=0.0, copy_beside=0.0)
"""Nothing but the bursts is dear."""


def heap(pages: int = 16_384) -> Process:
    return parent_of(replace(anon(pages, start=TIB), anon_vma=True), assumed=("writable",))


def counted(
    name: str, costs: CostTable = QUIET, *, cpus: int = 8, lives_ns: float = 3 * NS_PER_S, **more: object
) -> tuple[float, float]:
    """Units of a cost that all mutators were charged, and their copies."""
    spec = {"threads": 1, "writes_per_second": 1e5, "working_set_pages": 16_384, "locality": "sequential", **more}
    load = Load(mutators=(Mutators(**spec),), child_lifetime_ns=lives_ns)  # type: ignore[arg-type]
    done = run_once(scenario_of("clone3", heap(), load=load), machine_with(cpus), costs, Placement())
    entries = [e for group in done.groups for task in group.threads for e in task.ledger if e.name == name]
    return sum(e.count for e in entries), sum(b.faults.copies for group in done.groups for b in group.batches)


@pytest.mark.parametrize("burst", [1, 4, 64])
def test_each_burst_that_copies_begins_with_a_dear_copy(burst: int) -> None:
    bursts, copies = counted("fault_after_sleep", burst=burst)
    assert bursts == pytest.approx(copies / burst, rel=0.01)


@pytest.mark.parametrize("burst", [1, 4, 64])
def test_each_burst_that_only_reuses_begins_with_a_dear_fault_too(burst: int) -> None:
    bursts, copies = counted("fault_after_sleep", lives_ns=0.0, burst=burst)
    assert bursts <= copies * 1.001
    reuses, _ = counted("reuse_after_sleep", lives_ns=0.0, burst=burst)
    assert reuses > 10.0 * bursts, "the child is gone when nearly all of them write"
    assert counted("reuse_after_sleep", burst=burst)[0] < 0.01 * counted("fault_after_sleep", burst=burst)[0]


def test_a_thread_that_does_not_sleep_pays_for_no_burst() -> None:
    assert counted("fault_after_sleep")[0] == 0.0


def test_a_file_without_the_prices_leaves_them_out() -> None:
    kept = {name: ns for name, ns in QUIET.ns.items() if name not in ("fault_after_sleep", "copy_beside")}
    old = CostTable(ns=kept)
    assert counted("fault_after_sleep", old, burst=4)[0] == 0.0
    assert counted("fault_after_sleep", old, burst=4)[1] == counted("fault_after_sleep", burst=4)[1]


def test_a_file_without_the_price_of_a_single_page_flush_takes_a_part_of_the_forks() -> None:
    costs = CostTable(ns={name: ns for name, ns in COST_TABLE.ns.items() if name != "flush_round"})
    assert 0.0 < costs.price("flush_round") < costs.price("ipi_round")
    assert counted("flush_round", costs, threads=4, writes_per_second=4e6)[0] > 0.0


def step_bill(step: Step) -> dict[str, float]:
    found = bill(Scenario(parent=heap(), program=(step,)), machine_with(2), COST_TABLE, "done")
    return {name: count for name, count in found.counts.items() if name != "clock_gettime"}


def test_streams_beside_others_pay_for_the_bus() -> None:
    assert step_bill(Stream(copied=5)) == {"page_copy": 5.0}
    assert step_bill(Stream(copied=5, beside=1.0)) == {"page_copy": 5.0, "copy_beside": 5.0}
    assert step_bill(Stream(cleared=3, beside=1.0)) == {"page_clear": 3.0, "clear_beside": 3.0}


def test_a_protected_page_is_flushed_where_the_space_runs() -> None:
    assert step_bill(Mprotect(pairs=0, pages=2)) == {"protect_page": 2.0}
    assert step_bill(Mprotect(pairs=0, pages=2, beside=1.0)) == {"protect_page": 2.0, "flush_round": 2.0}


def test_writes_strewn_over_much_memory_are_far_though_few() -> None:
    machine = replace(machine_with(2), facts={"cow_lines": 1000.0})
    few, strewn = (
        bill(Scenario(parent=heap(), program=(step,)), machine, COST_TABLE, "done").counts
        for step in (Rewrite(pages=4), Rewrite(pages=4, of=1 << 20))
    )
    assert few.get("fault_cow_beyond_cache", 0.0) == 0.0
    assert strewn["fault_cow_beyond_cache"] == pytest.approx(4.0, rel=1e-3)


def test_a_negative_burst_is_refused() -> None:
    with pytest.raises(ValueError, match="burst"):
        Mutators(burst=-1)
