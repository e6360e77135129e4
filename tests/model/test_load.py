"""Mutators beside a fork: counts in the limits, batches against single writes, conservation, who waits for what."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.locality import Locality
from model.machine import Machine, Placement
from model.prediction import Aftermath
from model.process import Process
from model.rules import Rules, rules_for
from model.scenario import BATCH_ERROR, Khugepaged, Load, Mutators, Scenario
from model.simulation import Run, bill, run_once, simulate
from model.units import NS_PER_MS, NS_PER_S
from model.userland.mutators import WALK
from model.userland.refill import IPI_INTERRUPTED, TLB_MISS
from tests.model.builders import COST_TABLE, MIB, TIB, anon, machine_with, parent_of, prime_costs, scenario_of

TWO = machine_with(2)
QUIET = prime_costs(ipi_round=0.0)
"""Interrupts for nothing: what remains is faults."""
PAGES = 16_384
PLACED = Placement()


def parent(pages: int = PAGES, *, huge: int = 0, **more: object) -> Process:
    """A parent with one heap of small pages or pmd mappings, which it has written since its last fork."""
    size = max(pages, huge * 512) * 4096
    heap_vma = replace(anon(pages, start=TIB, size=size, huge_pmds=huge), anon_vma=True)
    return parent_of(heap_vma, assumed=("writable",), **more)


def load_of(**more: object) -> Load:
    """Four uniform mutators over the whole heap, 10,000 writes a second; other fields of Load by name."""
    names = {"child_lifetime_ns", "busy_cpus", "batch_share"}
    outer = {name: more.pop(name) for name in list(more) if name in names}
    spec = {"threads": 4, "writes_per_second": 10_000.0, "working_set_pages": PAGES, **more}
    return Load(mutators=(Mutators(**spec),), **outer)  # type: ignore[arg-type]


def scenario(load: Load, who: Process | None = None, mechanism: str = "clone3", **more: object) -> Scenario:
    return scenario_of(mechanism, who or parent(), load=load, **more)  # type: ignore[arg-type]


def aftermath(load: Load, who: Process | None = None, machine: Machine = TWO, **more: object) -> Aftermath:
    found = simulate(scenario(load, who, **more), machine, QUIET).aftermath  # type: ignore[arg-type]
    assert found is not None
    return found


def run(load: Load, who: Process | None = None, machine: Machine = TWO, **more: object) -> Run:
    return run_once(scenario(load, who, **more), machine, COST_TABLE, PLACED)  # type: ignore[arg-type]


def test_without_mutators_there_is_no_aftermath_and_without_a_copy_nothing_happens() -> None:
    assert simulate(scenario(Load()), TWO, COST_TABLE).aftermath is None
    found = aftermath(load_of(), mechanism="vfork")
    assert (found.copied, found.cow_copies, found.reuse_faults, found.lost_writes) == (False, 0, 0, 0)


@pytest.mark.parametrize("locality", ["uniform", "zipf", "sequential"])
def test_every_page_is_written_once_again(locality: Locality) -> None:
    for life in (0.0, NS_PER_S):
        found = aftermath(load_of(locality=locality, child_lifetime_ns=life))
        assert found.cow_copies + found.reuse_faults == pytest.approx(PAGES, abs=1.0)


def test_a_child_that_outlives_the_storm_leaves_nothing_to_reuse() -> None:
    found = aftermath(load_of(child_lifetime_ns=1e6 * NS_PER_S))
    assert found.reuse_faults == 0.0
    assert found.peak_pages == pytest.approx(PAGES, abs=1.0), "every page is there twice"
    assert found.kept_pages == 0.0


def test_copies_follow_the_closed_form_while_the_child_lives() -> None:
    life, rate = 0.5 * NS_PER_S, 10_000.0
    free = prime_costs(ipi_round=0.0, fault_cow_copy=0.0)
    found = simulate(scenario(load_of(child_lifetime_ns=life)), TWO, free).aftermath
    assert found is not None
    writes = rate * (found.shared_until_ns - found.growth[0].at_ns) / NS_PER_S
    assert found.cow_copies == pytest.approx(PAGES * (1 - np.exp(-writes / PAGES)), rel=0.01)


def drawn(load: Load, done: Run, seed: int) -> dict[str, float]:
    """The storm of a finished run once more, write by write, pages drawn: (copies, reuses, splits, reuses of pmds).

    Threads start when the run's own did; the child's teardown comes at the same time and in address order.
    """
    rng = np.random.default_rng(seed)
    spec, cow = load.mutators[0], done.caller.mm.cow
    assert cow is not None
    assert cow.gone_begin_ns is not None
    assert cow.gone_end_ns is not None
    memory = done.groups[0].memory
    huge_pages = int(memory.huge_pmds) * 512
    pages = int(memory.small_pages) + huge_pages
    gone_ns = cow.gone_begin_ns + rng.permutation(pages) / pages * (cow.gone_end_ns - cow.gone_begin_ns)
    price = QUIET.price
    written, opened, owned = [False] * pages, [False] * (pages // 512 + 1), [False] * (pages // 512 + 1)
    counts = dict.fromkeys(("copies", "reuses", "splits", "pmd_reuses"), 0.0)
    starts = [min(each.begin_ns for each in done.groups[0].batches)] * spec.threads
    heap = [(start + rng.random() * spec.interval_ns, index) for index, start in enumerate(starts)]
    stretches = [_stretch(rng, index, pages // spec.threads) for index in range(spec.threads)]
    drawn_pages = stretches if spec.locality == "sequential" else [_uniform(rng, pages)] * spec.threads
    left = pages
    while left > 0:
        now, index = heapq.heappop(heap)
        page = next(drawn_pages[index])
        cost, pmd, huge = 0.0, page // 512, page < huge_pages
        if not written[page] and not (huge and owned[pmd]):
            shared = now < gone_ns[pmd * 512 if huge else page]
            left -= 1
            if huge and not opened[pmd] and not shared:
                owned[pmd], counts["pmd_reuses"], cost = True, counts["pmd_reuses"] + 1, price("huge_pmd_reuse")
                left -= 511
            else:
                if huge and not opened[pmd]:
                    opened[pmd], counts["splits"], cost = True, counts["splits"] + 1, price("split_huge_pmd")
                kind = "copies" if shared else "reuses"
                counts[kind] += 1
                cost += price("fault_cow_copy" if shared else "fault_cow_reuse")
        written[page] = True
        heapq.heappush(heap, (now + cost + spec.interval_ns, index))
    return counts


def _stretch(rng: np.random.Generator, index: int, length: int) -> Iterator[int]:
    """A thread's own pages, round and round, from wherever it stands when the fork comes."""
    first = int(rng.integers(length))
    return (index * length + (first + step) % length for step in itertools.count())


def _uniform(rng: np.random.Generator, pages: int) -> Iterator[int]:
    while True:
        yield from rng.integers(pages, size=4096).tolist()


@pytest.mark.parametrize("huge", [0, 32])
@pytest.mark.parametrize("locality", ["uniform", "sequential"])
def test_batches_meet_a_run_write_by_write(locality: Locality, huge: int) -> None:
    load = load_of(locality=locality, child_lifetime_ns=0.6 * NS_PER_S)
    who = parent(0 if huge else PAGES, huge=huge)
    done = run_once(scenario(load, who), TWO, QUIET, PLACED)
    runs = [drawn(load, done, seed) for seed in range(12 if huge and locality == "sequential" else 3)]
    mean = {name: np.mean([each[name] for each in runs]) for name in ("copies", "reuses")}
    found = aftermath(load, who)
    assert found.cow_copies == pytest.approx(mean["copies"], rel=0.02)
    started = 512 if huge and locality == "sequential" else 0.005 * PAGES
    assert found.reuse_faults == pytest.approx(mean["reuses"], rel=0.02, abs=started), "a pmd may be half written"


@pytest.mark.parametrize("locality", ["uniform", "zipf", "sequential"])
def test_batches_meet_single_writes(locality: Locality) -> None:
    pages = 128
    batched = load_of(locality=locality, working_set_pages=pages, child_lifetime_ns=50 * NS_PER_MS)
    single = replace(batched, batch_share=0.0)
    who = parent(pages)
    one, many = aftermath(single, who), aftermath(batched, who)
    assert one.stall.count == pytest.approx(many.stall.count, rel=0.02)
    for name in ("cow_copies", "reuse_faults", "peak_pages", "lost_writes", "settled_ns"):
        assert getattr(many, name) == pytest.approx(getattr(one, name), rel=BATCH_ERROR), name
    assert many.stall.mean_ns == pytest.approx(one.stall.mean_ns, rel=0.02)


def test_events_do_not_grow_with_pages() -> None:
    sizes = (16 * MIB // 4096, 16 * MIB)
    small, large = (run_once(scenario(_storm(each), parent(each)), TWO, COST_TABLE, PLACED).system for each in sizes)
    assert large.events < 3 * small.events, "64 GiB against 16 MiB"
    assert large.charges < 3 * small.charges


def _storm(pages: int) -> Load:
    return load_of(threads=16, working_set_pages=pages, writes_per_second=1e6, child_lifetime_ns=NS_PER_S)


def test_a_shared_pmd_is_split_and_copied_page_by_page_and_an_own_one_taken_back_whole() -> None:
    who = parent(0, huge=32)
    lives = aftermath(load_of(child_lifetime_ns=1e6 * NS_PER_S), who)
    assert lives.splits == pytest.approx(32, rel=1e-3)
    assert lives.cow_copies == pytest.approx(PAGES, abs=1.0)
    assert lives.kept_pages == pytest.approx(PAGES, abs=1.0), "old pages stay with their folio"
    execs = aftermath(load_of(writes_per_second=10.0), who)
    assert execs.pmd_reuses == pytest.approx(32, rel=1e-2)
    assert execs.cow_copies + execs.reuse_faults < 0.01 * PAGES, "one fault for 512 pages"


def test_before_5_8_one_write_copies_two_megabytes() -> None:
    who = parent(0, huge=32)
    load = load_of(child_lifetime_ns=1e6 * NS_PER_S)
    old, new = aftermath(load, who, rules=rules_for(kernel="5.7")), aftermath(load, who)
    assert (old.splits, old.cow_copies) == (0.0, 0.0)
    assert old.pmd_copies == pytest.approx(32, rel=1e-3)
    assert old.peak_pages == pytest.approx(new.peak_pages, rel=0.01)
    assert old.stall.mean_ns > 100 * new.stall.mean_ns


@pytest.mark.parametrize("kernel", ["5.7", "6.18"])
def test_a_shared_page_of_the_hugetlb_pool_is_copied_whole_by_every_kernel(kernel: str) -> None:
    pool = replace(anon(0, start=TIB, size=PAGES * 4096, hugetlb_pages=32), anon_vma=True)
    who, rules = parent_of(pool, assumed=("writable",)), rules_for(kernel=kernel)
    lives = aftermath(load_of(child_lifetime_ns=1e6 * NS_PER_S), who, rules=rules)
    assert (lives.splits, lives.cow_copies, lives.reuse_faults) == (0.0, 0.0, 0.0)
    assert lives.pmd_copies == pytest.approx(32, rel=1e-3)
    assert lives.peak_pages == pytest.approx(PAGES, rel=1e-3)
    assert lives.stall.longest_ns > 512 * QUIET.price("page_copy")
    execs = aftermath(load_of(writes_per_second=10.0), who, rules=rules)
    assert execs.pmd_reuses == pytest.approx(32, rel=1e-2)


def test_pages_of_a_split_folio_are_copied_even_by_their_only_owner_from_5_9_to_6_14() -> None:
    who, load = parent(0, huge=32), load_of(child_lifetime_ns=20 * NS_PER_MS)
    new, old = aftermath(load, who), aftermath(load, who, rules=rules_for(kernel="6.12"))
    assert new.reuse_faults > 1000
    assert old.reuse_faults == 0.0
    assert old.cow_copies == pytest.approx(new.cow_copies + new.reuse_faults, rel=1e-3)


def test_pages_of_large_folios_leave_the_old_ones_behind_and_are_reused_by_their_only_owner_since_6_15() -> None:
    small, who = parent(), parent()
    heap_vma = replace(who.space.vmas[0], folio_pages=16)
    who = replace(who, space=replace(who.space, vmas=(heap_vma,)))
    lives = load_of(child_lifetime_ns=1e6 * NS_PER_S)
    assert aftermath(lives, who).kept_pages == pytest.approx(PAGES, abs=1.0)
    assert aftermath(lives, small).kept_pages == 0.0
    short = load_of(child_lifetime_ns=20 * NS_PER_MS)
    new, old = (aftermath(short, who, rules=rules_for(kernel=each)) for each in ("6.18", "6.12"))
    assert new.reuse_faults > 1000
    assert old.reuse_faults == 0.0
    assert aftermath(short, small, rules=rules_for(kernel="6.12")).reuse_faults > 1000


def test_khugepaged_goes_over_the_memory_at_its_pace_once_the_child_is_gone() -> None:
    who, life = parent(0, huge=32), 2 * NS_PER_S
    load = load_of(child_lifetime_ns=life)
    assert aftermath(load, who).recovery is None
    slow, fast = (aftermath(replace(load, khugepaged=Khugepaged(pages_to_scan=each)), who) for each in (4096, 65536))
    assert slow.recovery is not None
    assert fast.recovery is not None
    assert slow.recovery.collapses == slow.splits > 30
    assert slow.recovery.freed_pages == slow.kept_pages > 0
    assert slow.recovery.until_ns - slow.shared_until_ns == pytest.approx(PAGES / 4096 * 10 * NS_PER_S)
    assert fast.recovery.until_ns < slow.recovery.until_ns
    assert slow.recovery.stall_ns == 512 * QUIET.price("page_copy")
    assert aftermath(replace(load, khugepaged=Khugepaged()), parent()).recovery is None, "nothing was split"


def test_every_stalled_thread_waits_until_the_fork_has_unlocked_everything() -> None:
    done = run(load_of(writes_per_second=1e6))
    cow = done.caller.mm.cow
    assert cow is not None
    waits = [entry for task in done.groups[0].threads for entry in task.ledger if entry.name == "mmap_lock"]
    assert len(waits) == 4
    assert {entry.end_ns for entry in waits} == {cow.end_ns}
    assert all(entry.ended_by is done.caller and entry.start_ns >= cow.begin_ns for entry in waits)


def test_without_per_vma_locks_a_fault_waits_wherever_it_is() -> None:
    written = replace(parent(), assumed=(), writable=0.0)
    waits = []
    for rule in (True, False):
        found = run(load_of(threads=64, writes_per_second=2e5), written, rules=Rules(per_vma_lock=rule))
        waits.append(found.groups[0].lock_wait_ns)
    assert waits[1] > 1.2 * waits[0]


def test_what_mutators_write_is_writable_when_fork_comes() -> None:
    counts = simulate(scenario(load_of(working_set_pages=PAGES // 4)), TWO, COST_TABLE).bill.counts
    assert counts["wrprotect_pte"] == pytest.approx(PAGES // 4)


def test_a_child_frees_what_its_parent_has_copied_away() -> None:
    load = load_of(child_lifetime_ns=1e6 * NS_PER_S)
    small, split = (simulate(scenario(load, who), TWO, COST_TABLE) for who in (parent(), parent(0, huge=32)))
    old = simulate(scenario(load, parent(0, huge=32), rules=rules_for(kernel="5.7")), TWO, COST_TABLE)
    assert small.bill.counts["free_anon_page"] == pytest.approx(PAGES, abs=1.0)
    assert split.bill.counts.get("free_anon_page", 0.0) == pytest.approx(0.0, abs=1e-6), "pages go with their folio"
    assert old.bill.counts["free_huge_page"] == pytest.approx(32, rel=1e-3)


def test_frames_that_the_hypervisor_has_yet_to_back_cost_a_fault_of_their_own() -> None:
    long = load_of(child_lifetime_ns=1e6 * NS_PER_S)
    backed, half = (aftermath(replace(long, unbacked=share)) for share in (0.0, 0.5))
    assert half.cow_copies == pytest.approx(backed.cow_copies, rel=1e-3)
    lost_ns = [each.stall.mean_ns * each.stall.count for each in (backed, half)]
    assert lost_ns[1] - lost_ns[0] == pytest.approx(0.5 * PAGES * QUIET.price("unbacked_page"), rel=0.05)
    counts = simulate(scenario(Load(unbacked=1.0)), TWO, COST_TABLE).bill.counts
    assert counts["unbacked_page"] == counts["copy_table"]
    with pytest.raises(ValueError, match="unbacked"):
        Load(unbacked=1.5)


def test_writes_to_split_mappings_walk_to_their_pte_when_nothing_faults_any_more() -> None:
    load = load_of(child_lifetime_ns=1e6 * NS_PER_S, burst=10)
    walks = []
    for who in (parent(), parent(0, huge=32)):
        done = run(load, who)
        walks.append(sum(e.count for t in done.groups[0].threads for e in t.ledger if e.name == WALK))
    assert walks[0] == 0.0, "they went through ptes before"
    assert walks[1] > PAGES, "all mappings are split long before the last page is written"


loads = st.builds(
    load_of,
    threads=st.integers(1, 40),
    writes_per_second=st.floats(1.0, 1e7),
    locality=st.sampled_from(["uniform", "zipf", "sequential"]),
    working_set_pages=st.integers(1, 3000),
    child_lifetime_ns=st.sampled_from([0.0, 1e6, 1e9]),
)
heaps = st.builds(parent, st.sampled_from([1, 600, 3000]), huge=st.just(0)) | st.builds(
    parent, st.just(0), huge=st.integers(1, 5)
)


@settings(max_examples=10, deadline=None)
@given(loads, heaps)
def test_every_nanosecond_of_a_mutator_is_in_one_entry(load: Load, who: Process) -> None:
    done = run(load, who)
    for task in (task for group in done.groups for task in group.threads):
        assert task.ledger[0].start_ns == 0.0
        for before, after in zip(task.ledger, task.ledger[1:], strict=False):
            assert after.start_ns == before.end_ns
        assert task.ledger[-1].end_ns == task.clock_ns
    for group in done.groups:
        assert group.weight == group.spec.threads / len(group.threads)
        stalled = sum(duration * many for duration, many in group.stalls)
        none = {"between_writes", TLB_MISS, IPI_INTERRUPTED, WALK}
        working = sum(e.elapsed_ns for t in group.threads for e in t.ledger if e.name not in none)
        working *= group.weight
        assert stalled == pytest.approx(working, rel=1e-6, abs=0.1), (
            "whatever is no thinking, nor taken by a flush of others, is a stall"
        )


@settings(max_examples=10, deadline=None)
@given(loads, heaps)
def test_runs_without_mutators_reach_the_same_milestones_and_every_run_is_the_same(load: Load, who: Process) -> None:
    asked = scenario(load, who)
    first = run_once(asked, TWO, COST_TABLE, PLACED)
    assert run_once(asked, TWO, COST_TABLE, PLACED, like=first).milestones == first.milestones
    for name in ("call", "reaped"):
        assert bill(asked, TWO, COST_TABLE, name).elapsed_ns == pytest.approx(first.milestones[name])
    one, other = (simulate(asked, TWO, COST_TABLE) for _ in range(2))
    assert replace(one, tasks={}, path=()) == replace(other, tasks={}, path=())


@settings(max_examples=10, deadline=None)
@given(loads, heaps)
def test_a_longer_life_costs_more_copies_and_more_memory(load: Load, who: Process) -> None:
    short, long = (
        aftermath(load, who),
        aftermath(replace(load, child_lifetime_ns=load.child_lifetime_ns * 2 + 1e6), who),
    )
    not_fewer = long.cow_copies >= short.cow_copies * (1 - 0.01) - 0.5
    assert not_fewer, (load, short.cow_copies, long.cow_copies)
    assert long.peak_pages >= short.peak_pages * (1 - 0.01) - 0.5
    assert long.shared_until_ns >= short.shared_until_ns * (1 - 0.01)


def test_busy_threads_are_bounded_by_the_cpus() -> None:
    load = load_of(threads=64, writes_per_second=1e9, child_lifetime_ns=1e6 * NS_PER_S)
    found = aftermath(load)
    assert found.cow_copies > 0
    storm_ns = found.settled_ns - found.growth[0].at_ns
    assert storm_ns >= PAGES * QUIET.price("fault_cow_copy") / 2 * 0.99, "two CPUs share the work"


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_who_writes_more_often_writes_no_less(threads: int) -> None:
    """However dear a flush: the time that it takes keeps other CPUs running the mm, at low rates too."""
    dear = prime_costs(flush_round=70_000.0, ipi_interrupted=16_000.0)
    grown = []
    for rate in (1e4, 1e5, 3e5, 1e6, 1e7):
        load = load_of(threads=threads, writes_per_second=rate, child_lifetime_ns=NS_PER_S / 10)
        found = simulate(scenario(load), TWO, dear).aftermath
        assert found is not None
        grown.append(found.peak_pages)
    assert all(more >= less * 0.99 for less, more in itertools.pairwise(grown)), grown
    assert grown[-1] > grown[0]


def test_a_broadcast_flush_interrupts_no_mutator() -> None:
    many = replace(TWO, cpus=8)
    load = load_of(threads=8, writes_per_second=1e7, child_lifetime_ns=NS_PER_S)
    asked = scenario(load)
    dear = prime_costs(ipi_interrupted=16_000.0)
    interrupted, broadcast = (
        simulate(replace(asked, rules=replace(asked.rules, tlb_broadcast=rule)), many, dear).aftermath
        for rule in ("never", "always")
    )
    assert interrupted is not None
    assert broadcast is not None
    assert broadcast.ipis < 0.1 * interrupted.ipis
    assert broadcast.cow_copies > 0
