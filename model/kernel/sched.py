"""Who runs where: blocking, wake-up, the start of a new task, preemption by a wake-up.

Placement is calibrated, not derived: `system.placement` says where a child starts and how a caller is woken.
"""

from __future__ import annotations

import simpy

from model.hardware.cpu import Cpu, wake_latency
from model.kernel.task import Path, Task, Theft


def release_cpu(task: Task) -> None:
    """The task leaves its CPU at the simulation's present time; the next in the queue gets it.

    `kernel/sched/core.c:__schedule@v6.18`. The caller has met.
    """
    cpu, now = task.cpu, task.system.env.now
    if cpu.current is not task:
        return
    cpu.current, cpu.idle_since_ns, cpu.left_by = None, now, task
    if cpu.queue:
        _dispatch(cpu, cpu.queue.popleft(), by=task)


def _dispatch(cpu: Cpu[Task], task: Task, *, by: Task) -> None:
    cpu.current, task.cpu = task, cpu
    for theft in task.thefts:
        if theft.until_ns is None:
            theft.until_ns, theft.ended_by = task.system.env.now, by
    assert task.dispatched is not None
    task.dispatched.succeed(by)


def _enqueue(task: Task, cpu: Cpu[Task], *, front: bool = False) -> simpy.Event:
    task.dispatched = task.system.env.event()
    if front:
        cpu.queue.appendleft(task)
    else:
        cpu.queue.append(task)
    return task.dispatched


def _idle_cpu(task: Task) -> Cpu[Task] | None:
    """An idle CPU, the one that the task ran on last preferred (`kernel/sched/fair.c:select_idle_sibling@v6.18`)."""
    if task.cpu.idle:
        return task.cpu
    return next((cpu for cpu in task.system.cpus if cpu.idle), None)


def block_on(task: Task, event: simpy.Event, what: str) -> Path:
    """Sleep until `event`, whose value is the task that ends the wait; then get a CPU again."""
    yield from task.meet()
    if event.triggered:
        return
    release_cpu(task)
    waker = yield event
    task.record_wait(task.system.env.now, what, waker)
    yield from try_to_wake_up(task, waker)


def nanosleep(task: Task, time_ns: float) -> Path:
    """Workload time asleep, the CPU given away: `kernel/sched/core.c:__schedule@v6.18`."""
    yield from task.meet()
    release_cpu(task)
    yield task.system.env.timeout(time_ns)
    task.sleep(time_ns)
    yield from try_to_wake_up(task, task)


def try_to_wake_up(task: Task, waker: Task) -> Path:
    """Give a woken task a CPU: an idle one after its wake-up latency, the waker's at once, or a place in the queue.

    `kernel/sched/core.c:try_to_wake_up@v6.18`.
    Charges: context_switch, wake_idle_*.
    Leaves out: migration later than the wake-up. Busy CPUs: see `join_busy`.
    """
    system, now = task.system, task.system.env.now
    cpu = task.cpu
    with task.at("try_to_wake_up"):
        if cpu.idle and cpu.left_by is waker and cpu.idle_since_ns == now:
            cpu.current = task
            task.charge("context_switch")
            return
        if cpu.current is waker and waker is not task:
            yield from _wake_beside_waker(task, waker)
            return
        idle = _idle_cpu(task)
        if idle is not None:
            _take_idle(task, idle, now)
            return
        if cpu.current is None:
            join_busy(task, cpu)
            return
        by = yield _enqueue(task, cpu)
        task.record_wait(system.env.now, "cpu", by)
        join_busy(task, task.cpu)


def join_busy(task: Task, cpu: Cpu[Task], waits_ns: float = 0.0) -> None:
    """Get a CPU that no task of the simulation holds, `waits_ns` after now if a CPU-bound one runs there.

    A woken task waits for nothing: it slept, so its lag lets it preempt (`kernel/sched/fair.c:place_entity@v6.18`).
    Charges: context_switch.
    """
    cpu.current, task.cpu = task, cpu
    if cpu.busy:
        task.record_wait(task.clock_ns + waits_ns, "cpu", None)
    task.charge("context_switch")
    task.runs_from_ns = task.clock_ns


def _take_idle(task: Task, cpu: Cpu[Task], now: float) -> None:
    cpu.current, task.cpu = task, cpu
    task.latency(wake_latency(now - cpu.idle_since_ns))


def _wake_beside_waker(task: Task, waker: Task) -> Path:
    """The waker holds the CPU on which the task slept: preempt it, queue behind it, or go elsewhere."""
    system, cpu = task.system, task.cpu
    how = system.placement.waker
    if how == "other":
        idle = _idle_cpu(task)
        if idle is not None:
            _take_idle(task, idle, system.env.now)
            return
    if how == "preempt":
        waker.thefts.append(Theft(at_ns=system.env.now))
        _enqueue(waker, cpu, front=True)
        cpu.current = task
        task.charge("context_switch")
        task.runs_from_ns = task.clock_ns
        return
    by = yield _enqueue(task, cpu)
    task.record_wait(system.env.now, "cpu", by)
    join_busy(task, task.cpu)


def wake_up_new_task(parent: Task, child: Task) -> Path:
    """Place a new task; it starts when it gets its CPU. The parent goes on.

    `kernel/sched/core.c:wake_up_new_task@v6.18`. Its own work is in copy_process_fixed. Where all CPUs have a CPU-bound
    task, the caller's has one more than the others, so the child goes to one of those
    (`kernel/sched/fair.c:sched_balance_find_dst_cpu@v6.18`). There it does not preempt: it runs from the next tick
    on, as measured (99 % of 300 spawns).
    Charges: wake_new_remote if the child starts on another CPU.
    """
    system = parent.system
    yield from parent.meet()
    child.clock_ns = parent.clock_ns
    other = next((cpu for cpu in system.cpus if cpu.idle), None)
    crowded = parent.cpu.busy and other is None
    if system.placement.child == "other" and other is not None:
        _take_idle(child, other, system.env.now)
        child.remote = True
        parent.charge("wake_new_remote")
    elif (crowded or system.placement.child == "other") and (taken := _free_busy_cpu(parent)) is not None:
        ticks = system.ticks
        with child.at("ret_from_fork"):
            join_busy(child, taken, ticks.next_ns(child.clock_ns) - child.clock_ns)
        child.remote = True
        parent.charge("wake_new_remote")
    else:
        child.cpu = parent.cpu
        _enqueue(child, parent.cpu)


def sched_setaffinity(task: Task) -> Path:
    """The task moves to an idle CPU at its own wish: sched_setaffinity(2).

    Charges: sched_migrate.
    """
    yield from task.meet()
    other = next((cpu for cpu in task.system.cpus if cpu.idle), None)
    if other is not None:
        release_cpu(task)
        other.current, task.cpu, task.remote = task, other, True
        task.charge("sched_migrate")


def _free_busy_cpu(parent: Task) -> Cpu[Task] | None:
    """Another CPU on which only a task of another process runs."""
    cpus = (cpu for cpu in parent.system.cpus if cpu is not parent.cpu)
    return next((cpu for cpu in cpus if cpu.busy and cpu.current is None), None)


def first_run(child: Task) -> Path:
    """The child's side of its start: wait for the CPU if it was queued."""
    if child.cpu.current is child:
        return
    assert child.dispatched is not None
    by = yield child.dispatched
    with child.at("ret_from_fork"):
        child.record_wait(child.system.env.now, "cpu", by)
        waits_ns = child.system.ticks.queued_after_ns(child.clock_ns) if child.cpu.busy else 0.0
        join_busy(child, child.cpu, waits_ns)
