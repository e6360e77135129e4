"""Spawns that fail: the errno and its reason, and only the milestones that were reached before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.address_space import Vma, VmaKind
from model.machine import Placement
from model.mechanisms import MECHANISMS, NotBuilt
from model.process import Limits, Process
from model.scenario import Scenario, Sleep, Spawn, Wait
from model.simulation import bill, run_once, simulate
from tests.model.builders import (
    BARE,
    COST_TABLE,
    GIB,
    PLACEMENTS,
    RICH,
    anon,
    dynamic_image,
    machine_with,
    parent_of,
    scenario_of,
    spawn_of,
)

NEVER = Limits(commit_mode=2, commit_headroom_bytes=GIB)
FORKING = ("fork", "jdk-fork", "cpython-fork", "cpython-os-fork", "clone3")
SHARING = tuple(sorted(set(MECHANISMS) - set(FORKING)))


def two_gib(**more: object) -> Vma:
    return Vma(start=GIB, end=3 * GIB, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("mechanism", FORKING)
def test_a_copy_beyond_the_commit_limit_is_refused(mechanism: str) -> None:
    prediction = simulate(scenario_of(mechanism, parent_of(two_gib(), limits=NEVER)), RICH, COST_TABLE)
    assert prediction.error is not None
    assert prediction.error.errno == "ENOMEM"
    assert str(2 * GIB) in prediction.error.why
    assert str(GIB) in prediction.error.why
    assert prediction.milestones == {}
    assert prediction.bill.counts["copy_process_fixed"] == 1, "what was done before is known"
    assert "vm_area_dup" not in prediction.bill.counts


@pytest.mark.parametrize("mechanism", SHARING)
def test_without_a_copy_nothing_is_committed(mechanism: str) -> None:
    prediction = simulate(scenario_of(mechanism, parent_of(two_gib(), limits=NEVER)), RICH, COST_TABLE)
    assert prediction.error is None
    assert "reaped" in prediction.milestones


@pytest.mark.parametrize(
    "parent",
    [
        parent_of(two_gib(account=False), limits=NEVER),
        parent_of(two_gib(dontcopy=True), limits=NEVER),
        parent_of(two_gib(kind=VmaKind.SPECIAL), limits=NEVER),
        parent_of(two_gib(), limits=replace(NEVER, commit_mode=1)),
        parent_of(two_gib(), limits=replace(NEVER, commit_headroom_bytes=2 * GIB)),
        parent_of(two_gib(), limits=replace(NEVER, commit_headroom_bytes=None)),
        parent_of(two_gib(), limits=Limits(commit_mode=0)),
        parent_of(two_gib(), limits=Limits(commit_mode=0, ram_and_swap_bytes=2 * GIB)),
        parent_of(two_gib()),
    ],
)
def test_what_does_not_count_or_is_not_known_refuses_nothing(parent: Process) -> None:
    assert simulate(scenario_of("fork", parent), BARE, COST_TABLE).error is None


def test_strict_overcommit_adds_vmas_up_and_the_heuristic_does_not() -> None:
    vmas = [Vma(start=index * GIB, end=(index + 1) * GIB) for index in range(1, 5)]
    strict = parent_of(*vmas, limits=replace(NEVER, commit_headroom_bytes=3 * GIB))
    heuristic = parent_of(*vmas, limits=Limits(commit_mode=0, ram_and_swap_bytes=3 * GIB))
    errors = [simulate(scenario_of("fork", parent), BARE, COST_TABLE).error for parent in (strict, heuristic)]
    assert [error is not None for error in errors] == [True, False]


@pytest.mark.parametrize("mechanism", sorted(MECHANISMS))
def test_the_last_process_of_a_user_starts_no_other(mechanism: str) -> None:
    full, one_left = (parent_of(anon(1), limits=Limits(processes_left=left)) for left in (0, 1))
    prediction = simulate(scenario_of(mechanism, full), RICH, COST_TABLE)
    assert prediction.error is not None
    assert prediction.error.errno == "EAGAIN"
    assert prediction.milestones == {}
    assert simulate(scenario_of(mechanism, one_left), RICH, COST_TABLE).error is None


def test_the_lock_is_given_back_when_fork_fails() -> None:
    scenario = scenario_of("fork", parent_of(two_gib(), limits=NEVER))
    run = run_once(scenario, BARE, COST_TABLE, PLACEMENTS[0])
    lock = run.caller.mm.mmap_lock
    assert lock.writer is None
    assert not lock.readers
    assert len(run.system.tasks) == 1, "there is no child"


@pytest.mark.parametrize("mechanism", sorted(MECHANISMS))
@pytest.mark.parametrize("placement", PLACEMENTS, ids=lambda each: f"{each.child}-{each.waker}")
def test_what_may_not_be_executed_ends_the_child_and_no_caller_hangs(mechanism: str, placement: Placement) -> None:
    target = dynamic_image(1, executable=False)
    for cpus in (1, 2):
        scenario = scenario_of(mechanism, parent_of(anon(3), threads=2), target)
        run = run_once(scenario, replace(RICH, cpus=cpus), COST_TABLE, placement)
        assert run.error is not None
        assert run.error.errno == "EACCES"
        assert target.path in run.error.why
        failed_ns = run.system.errors[0][2] - run.begin_ns
        contract = {name: at for name, at in run.milestones.items() if name in ("call", "exec", "main", "reaped")}
        assert all(at_ns <= failed_ns for at_ns in contract.values())
        assert not {"exec", "main", "reaped"} & set(contract)
        assert run.milestones["done"] >= failed_ns


def test_fork_had_returned_before_its_child_failed_and_vfork_had_not() -> None:
    target = dynamic_image(1, executable=False)
    reached = {
        mechanism: set(simulate(scenario_of(mechanism, parent_of(), target), BARE, COST_TABLE).milestones)
        for mechanism in ("fork", "vfork", "posix_spawn", "jdk-fork")
    }
    assert reached == {"fork": {"call"}, "vfork": set(), "posix_spawn": set(), "jdk-fork": set()}


def test_unknown_mechanisms_and_flags_are_refused() -> None:
    parent = parent_of()
    with pytest.raises(NotBuilt, match=r"'spoon' is not built; there are fork, vfork"):
        simulate(Scenario(parent=parent, program=(Spawn(mechanism="spoon"), Wait())), BARE, COST_TABLE)
    flagged = replace(spawn_of("clone3"), flags=frozenset({"CLONE_NEWNET"}))
    for asked in (simulate, bill):
        with pytest.raises(NotBuilt, match="CLONE_NEWNET is not built"):
            asked(Scenario(parent=parent, program=(flagged, Wait())), BARE, COST_TABLE)


def test_what_no_path_knows_yet_is_refused() -> None:
    scenario = scenario_of("jdk-fork", parent_of())
    spawn = scenario.spawn
    assert spawn is not None
    with pytest.raises(NotBuilt, match="first start"):
        simulate(replace(scenario, program=(replace(spawn, warm=False), Wait())), BARE, COST_TABLE)


def test_a_program_that_waits_for_nobody_is_wrong() -> None:
    with pytest.raises(ValueError, match="did not start"):
        run_once(Scenario(parent=parent_of(), program=(Wait(),)), BARE, COST_TABLE, PLACEMENTS[0])
    with pytest.raises(ValueError, match="Negative delay"):
        run_once(Scenario(parent=parent_of(), program=(Sleep(time_ns=-1.0),)), BARE, COST_TABLE, PLACEMENTS[0])


@pytest.mark.parametrize("wrong", [{"contiguous": 1.1}, {"writable": -0.1}, {"threads": 0}, {"open_fds": -1}])
def test_an_impossible_parent_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        parent_of(**wrong)


def test_a_bill_needs_a_milestone_that_was_reached() -> None:
    scenario = scenario_of("fork", parent_of(limits=Limits(processes_left=0)))
    with pytest.raises(KeyError):
        bill(scenario, machine_with(), COST_TABLE)
    assert bill(scenario, machine_with(), COST_TABLE, "done").counts == {}
