"""Who runs when: queues, preemption, wake-ups, the hand-overs of a launcher, and mmap_lock."""

from __future__ import annotations

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from model.hardware.cpu import Cpu, wake_latency
from model.kernel.locks import RwLock
from model.kernel.sched import block_on, first_run, nanosleep, release_cpu, wake_up_new_task
from model.kernel.task import Mm, Path, System, Task, Theft
from model.ledger import critical_path
from model.machine import Machine, Placement
from model.process import Runtime
from model.rules import Rules
from model.scenario import Load
from model.simulation import Run, run_once
from tests.model.builders import (
    COST_TABLE,
    PLACEMENTS,
    RICH,
    SAME,
    anon,
    dynamic_image,
    machine_with,
    parent_of,
    scenario_of,
    work_ns,
)

NS = 1000.0
SWITCH = COST_TABLE.price("context_switch")
QUEUE = Placement(child="same", waker="queue")
OTHER = Placement(child="same", waker="other")
APART = Placement(child="other", waker="preempt")


def system_of(cpus: int = 1, placement: Placement = SAME) -> System:
    env = simpy.Environment()
    machine = Machine(name="tested", cpus=cpus)
    cores: list[Cpu[Task]] = [Cpu(index) for index in range(cpus)]
    return System(env=env, costs=COST_TABLE, machine=machine, rules=Rules(), placement=placement, cpus=cores)


def task_of(system: System, name: str, cpu: int | None = 0) -> Task:
    """A task that holds a CPU."""
    task = Task(system, name, Mm(RwLock(system.env)))
    if cpu is not None:
        task.cpu = system.cpus[cpu]
        task.cpu.current = task
    return task


def work(task: Task, units: float) -> None:
    task.charge("syscall", units)


UNIT = COST_TABLE.price("syscall")


def spawn_run(mechanism: str, placement: Placement, cpus: int = 2) -> Run:
    scenario = scenario_of(mechanism, parent_of(anon(20), threads=2, runtime=Runtime.JVM), dynamic_image(1))
    return run_once(scenario, machine_with(cpus, footprints=RICH.footprints), COST_TABLE, placement)


def test_a_cpu_runs_its_queue_in_order() -> None:
    system = system_of()
    parent = task_of(system, "parent")
    children = [Task(system, f"child {index}", parent.mm, created_by=parent) for index in range(3)]
    ends: list[tuple[str, float]] = []

    def child_path(child: Task) -> Path:
        yield from first_run(child)
        work(child, 2)
        yield from child.meet()
        release_cpu(child)
        ends.append((child.name, child.clock_ns))

    def parent_path() -> Path:
        for child in children:
            yield from wake_up_new_task(parent, child)
            system.env.process(child_path(child))
            work(parent, 1)
        yield from parent.meet()
        release_cpu(parent)

    system.env.process(parent_path())
    system.env.run()
    step = SWITCH + 2 * UNIT
    assert [name for name, _ in ends] == [f"child {index}" for index in range(3)]
    assert [end_ns for _, end_ns in ends] == pytest.approx([3 * UNIT + (index + 1) * step for index in range(3)])
    ended_by = [entry.ended_by for child in children for entry in child.ledger if entry.kind == "wait"]
    assert ended_by == [parent, *children[:2]], "each wait knows who gave the CPU away"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 9), st.integers(0, 9))
def test_preempted_work_is_done_later_and_none_is_lost(pieces: list[int], wake_after: int, other_work: int) -> None:
    """The waker's pieces of work are cut where the woken task took the CPU, and sum to the same."""
    system = system_of()
    waker, sleeper = task_of(system, "waker"), task_of(system, "sleeper", None)
    event = system.env.event()

    def waker_path() -> Path:
        work(waker, wake_after)
        yield from waker.meet()
        event.succeed(waker)
        for piece in pieces:
            work(waker, piece)
        yield from waker.meet()
        release_cpu(waker)

    def sleeper_path() -> Path:
        yield from block_on(sleeper, event, "event")
        work(sleeper, other_work)
        yield from sleeper.meet()
        release_cpu(sleeper)

    system.env.process(sleeper_path())
    system.env.process(waker_path())
    system.env.run()
    worked = [entry for entry in waker.ledger if entry.name == "syscall"]
    assert sum(entry.count for entry in worked) == pytest.approx(wake_after + sum(pieces))
    stolen = [entry for entry in waker.ledger if entry.kind == "wait"]
    assert [entry.ended_by for entry in stolen] == [sleeper]
    assert stolen[0].path[-1] == "preempted"
    assert stolen[0].elapsed_ns == pytest.approx(SWITCH + other_work * UNIT)
    assert waker.clock_ns == pytest.approx((wake_after + sum(pieces) + other_work) * UNIT + 2 * SWITCH)
    path = critical_path(waker, 0.0, waker.clock_ns)
    assert work_ns(path) == pytest.approx(waker.clock_ns), "one CPU: everything is on the path"


def test_a_preempted_task_comes_before_those_that_queued() -> None:
    system = system_of()
    waker, sleeper = task_of(system, "waker"), task_of(system, "sleeper", None)
    queued = Task(system, "queued", waker.mm, created_by=waker)
    event = system.env.event()

    def waker_path() -> Path:
        yield from wake_up_new_task(waker, queued)
        system.env.process(queued_path())
        event.succeed(waker)
        work(waker, 5)
        yield from waker.meet()
        release_cpu(waker)

    def queued_path() -> Path:
        yield from first_run(queued)
        work(queued, 1)
        yield from queued.meet()
        release_cpu(queued)

    def sleeper_path() -> Path:
        yield from block_on(sleeper, event, "event")
        yield from sleeper.meet()
        release_cpu(sleeper)

    system.env.process(sleeper_path())
    system.env.process(waker_path())
    system.env.run()
    assert waker.clock_ns == pytest.approx(2 * SWITCH + 5 * UNIT)
    assert queued.clock_ns == pytest.approx(waker.clock_ns + SWITCH + UNIT)


def test_an_entry_is_cut_where_the_cpu_was_taken() -> None:
    system = system_of()
    task, thief = task_of(system, "task"), task_of(system, "thief", None)
    work(task, 4)
    work(task, 6)
    task.thefts.append(Theft(at_ns=3 * UNIT, until_ns=3 * UNIT + 500.0, ended_by=thief))
    system.env.process(task.meet())
    system.env.run()
    worked = [(entry.count, entry.end_ns) for entry in task.ledger if entry.name == "syscall"]
    late = 500.0 + SWITCH
    assert worked == [(3, 3 * UNIT), (1, pytest.approx(4 * UNIT + late)), (6, pytest.approx(10 * UNIT + late))]
    assert system.env.now == pytest.approx(task.clock_ns)


def test_a_sleeper_frees_its_cpu_and_pays_for_waking() -> None:
    system = system_of()
    task = task_of(system, "task")

    def path() -> Path:
        yield from nanosleep(task, 3e6)

    system.env.process(path())
    system.env.run(1e6)
    assert system.cpus[0].idle
    system.env.run()
    assert [(e.kind, e.name) for e in task.ledger] == [("sleep", "sleep"), ("latency", "wake_idle_2ms")]
    assert system.cpus[0].current is task


@pytest.mark.parametrize(
    ("idle_ns", "name"),
    [(0.0, "wake_idle_hot"), (1e5, "wake_idle_200us"), (2e6, "wake_idle_2ms"), (2e7, "wake_idle_20ms")],
)
def test_the_longer_a_cpu_idles_the_deeper_it_sleeps(idle_ns: float, name: str) -> None:
    assert wake_latency(idle_ns) == name


@pytest.mark.parametrize("mechanism", ["vfork", "jdk-vfork", "cpython-subprocess", "posix_spawn"])
def test_a_vfork_caller_runs_on_when_it_gets_its_cpu_back(mechanism: str) -> None:
    preempt, queue, other = (spawn_run(mechanism, placement) for placement in (SAME, QUEUE, OTHER))
    child = queue.system.tasks[1]
    exit_ns = child.clock_ns
    assert queue.milestones["call"] > exit_ns, "queued behind the child, it waits for the child's end"
    for run in (preempt, other):
        assert run.milestones["call"] < run.system.milestones["main"][1]
    woken = {entry.name for entry in other.path_to("call") if entry.kind == "latency"}
    assert "wake_idle_20ms" in woken or woken <= {"wake_idle_hot", "wake_idle_200us"}
    assert woken
    assert not [entry for entry in preempt.path_to("call") if entry.kind == "latency"]


def test_preempting_the_child_delays_it_by_what_was_stolen() -> None:
    preempt, queue = (spawn_run("vfork", placement) for placement in (SAME, QUEUE))
    stolen = [e for task in preempt.system.tasks for e in task.ledger if e.path[-1:] == ("preempted",)]
    waits = [entry for entry in stolen if entry.kind == "wait"]
    assert [entry.task for entry in waits] == ["child"]
    assert [entry.name for entry in stolen] == ["cpu", "context_switch"]
    later = preempt.milestones["main"] - queue.milestones["main"]
    assert later == pytest.approx(waits[0].elapsed_ns + SWITCH)
    charged = [
        sum(entry.elapsed_ns for entry in run.system.tasks[1].ledger if entry.kind == "charge")
        for run in (queue, preempt)
    ]
    assert charged[1] == pytest.approx(charged[0] + SWITCH), "nothing of the child's own work is lost"


def test_a_child_on_another_cpu_runs_beside_its_parent() -> None:
    same, apart = (spawn_run("fork", placement) for placement in (SAME, APART))
    kick = sum(entry.elapsed_ns for entry in apart.caller.ledger if entry.name == "wake_new_remote")
    brought_back = sum(entry.elapsed_ns for entry in apart.caller.ledger if entry.name.startswith("returned_"))
    assert kick > 0.0
    assert apart.milestones["call"] == pytest.approx(same.milestones["call"] + kick + brought_back)
    child = apart.system.tasks[1]
    assert child.ledger[0].kind == "latency"
    assert child.cpu is apart.system.cpus[1]
    assert child.ledger[0].start_ns < apart.milestones["call"], "it does not wait for the parent's own work"
    alone = spawn_run("fork", APART, cpus=1)
    assert alone.milestones["reaped"] == pytest.approx(spawn_run("fork", SAME, cpus=1).milestones["reaped"])


@pytest.mark.parametrize("placement", PLACEMENTS, ids=lambda each: f"{each.child}-{each.waker}")
@pytest.mark.parametrize("cpus", [1, 2])
def test_the_jdks_hand_overs_come_in_their_order(placement: Placement, cpus: int) -> None:
    """Helper's exec, what it is told, its ping, the target's exec, start()'s return: whoever runs where."""
    run = spawn_run("jdk-posix_spawn", placement, cpus)
    caller, child = run.system.tasks[:2]
    helper = [entry for entry in child.ledger if "jspawnhelper" in entry.path]
    writes = [e.end_ns for e in caller.ledger if e.name == "pipe_io" and e.path[-1] == "ProcessImpl.start"]
    reads = [entry.start_ns for entry in helper if entry.name == "pipe_io"]
    closing = [entry.start_ns for entry in helper if "childProcess" in entry.path]
    assert writes[0] <= reads[0] * (1 + 1e-9), "the helper cannot read what was not written"
    assert reads[-1] <= closing[0] < run.milestones["exec"] < run.milestones["main"]
    assert run.milestones["exec"] < run.milestones["call"], "start() returns at the end of the fail pipe"
    assert run.milestones["call"] < run.milestones["reaped"]


def test_a_queued_caller_is_let_in_when_the_helper_blocks() -> None:
    run = spawn_run("jdk-posix_spawn", QUEUE, cpus=1)
    child = run.system.tasks[1]
    blocked = [e for e in child.ledger if e.kind == "wait" and "jspawnhelper" in e.path]
    assert [entry.name for entry in blocked][:1] == ["pipe"]
    assert blocked[0].ended_by is run.caller


@pytest.mark.parametrize(
    "mechanism", ["jdk-fork", "jdk-vfork", "jdk-posix_spawn", "cpython-fork", "cpython-subprocess"]
)
def test_launchers_return_after_the_targets_exec(mechanism: str) -> None:
    for placement in PLACEMENTS:
        run = spawn_run(mechanism, placement)
        assert run.milestones["call"] > run.milestones["exec"]


@pytest.mark.parametrize("mechanism", ["fork", "cpython-os-fork"])
def test_a_bare_fork_returns_before(mechanism: str) -> None:
    run = spawn_run(mechanism, SAME)
    assert run.milestones["call"] < run.milestones["exec"]


def test_the_jvm_is_woken_by_its_reaper_thread() -> None:
    run = spawn_run("jdk-vfork", OTHER)
    reaper = run.system.tasks[2]
    futex = [entry for entry in run.caller.ledger if entry.name == "futex"]
    assert [entry.ended_by for entry in futex] == [reaper]
    waited = [entry for entry in reaper.ledger if entry.kind == "wait" and entry.name == "child"]
    assert [entry.ended_by for entry in waited] == [run.system.tasks[1]]


def lock_run(steps: list[tuple[float, bool, float]]) -> list[Task]:
    """Tasks on CPUs of their own: (when it comes, whether it writes, how long it holds)."""
    system = system_of(len(steps))
    lock = RwLock(system.env)
    tasks = [task_of(system, f"task {index}", index) for index in range(len(steps))]

    def path(task: Task, comes: float, write: bool, holds: float) -> Path:
        work(task, comes)
        yield from lock.acquire(task, write=write)
        with task.at("held"):
            work(task, holds)
        yield from lock.release(task)

    for task, (comes, write, holds) in zip(tasks, steps, strict=True):
        system.env.process(path(task, comes, write, holds))
    system.env.run()
    assert lock.writer is None
    assert not lock.readers
    assert not lock.waiting
    return tasks


def held(task: Task) -> tuple[float, float]:
    entries = [entry for entry in task.ledger if entry.path == ("held",)]
    return entries[0].start_ns, entries[-1].end_ns


def waited_for(task: Task) -> list[Task | None]:
    return [entry.ended_by for entry in task.ledger if entry.name == "mmap_lock"]  # type: ignore[misc]


def test_the_lock_is_taken_in_the_order_of_time_not_of_asking() -> None:
    """A task whose own clock runs ahead does not hold the lock before it comes there."""
    late, early = lock_run([(20, True, 5), (1, True, 5)])
    assert held(early) == pytest.approx((UNIT, 6 * UNIT))
    assert (waited_for(late), waited_for(early)) == ([], [])


def test_readers_share_and_a_writer_does_not() -> None:
    first, second, writer = lock_run([(1, False, 10), (2, False, 10), (3, True, 5)])
    assert held(second)[0] < held(first)[1], "side by side"
    assert held(writer)[0] >= max(held(first)[1], held(second)[1])
    assert (waited_for(first), waited_for(second)) == ([], [])
    assert waited_for(writer) == [second], "the last reader lets it in"


def test_readers_wait_for_a_writer_and_come_in_together() -> None:
    writer, one, two = lock_run([(1, True, 20), (3, False, 5), (4, False, 5)])
    assert waited_for(one) == [writer]
    assert waited_for(two) == [writer]
    assert held(one)[0] < held(two)[1]
    assert held(two)[0] < held(one)[1]


def test_a_reader_does_not_overtake_a_waiting_writer() -> None:
    reader, writer, late = lock_run([(1, False, 20), (2, True, 5), (3, False, 5)])
    assert held(reader)[1] <= held(writer)[0]
    assert held(writer)[1] <= held(late)[0]
    assert waited_for(late) == [writer]


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.integers(1, 30)), min_size=1, max_size=6))
def test_nobody_is_inside_with_a_writer(steps: list[tuple[float, bool, float]]) -> None:
    tasks = lock_run(steps)
    spans = [(*held(task), write) for task, (_, write, _) in zip(tasks, steps, strict=True)]
    for index, (start, end, write) in enumerate(spans):
        for other_start, other_end, other_write in spans[index + 1 :]:
            apart = end <= other_start + 1e-6 or other_end <= start + 1e-6
            assert apart or not (write or other_write)
    for task in tasks:
        assert work_ns(critical_path(task, 0.0, task.clock_ns)) == pytest.approx(task.clock_ns)


def test_cpus_and_tasks_are_left_in_order() -> None:
    for mechanism in ("fork", "jdk-posix_spawn"):
        for placement in PLACEMENTS:
            run = spawn_run(mechanism, placement)
            assert not [theft for task in run.system.tasks for theft in task.thefts]
            caller, child = run.system.tasks[:2]
            assert caller.mm.users == parent_of(threads=2).threads
            assert child.mm.users == 0


def test_a_sleeper_wakes_on_the_cpu_that_it_left_though_another_idles() -> None:
    """Its caches are there: the child of a fork elsewhere sleeps, while its caller's CPU idles too."""
    scenario = scenario_of("fork", parent_of(anon(9)), load=Load(child_lifetime_ns=1e6))
    run = run_once(scenario, machine_with(2), COST_TABLE, Placement(child="other"))
    assert [task.cpu.index for task in run.system.tasks if task.name == "child"] == [1]
