"""From a scenario to its answer: run the program of the calling thread once for each placement, then read the ledgers.

The only place that makes a `simpy.Environment`.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import simpy

from model.aftermath import aftermath_of, recovery_of
from model.costs import CostTable
from model.hardware.cpu import LONG_IDLE_NS, SHORT_IDLE_NS, Cpu
from model.hardware.tick import PHASES, Ticks
from model.kernel.exit import do_wait
from model.kernel.fork import SpawnFailed
from model.kernel.locks import RwLock
from model.kernel.sched import release_cpu
from model.kernel.task import Mm, System, Task
from model.ledger import Bill, Entry, bill_of, critical_path
from model.machine import Machine, Placement
from model.mechanisms import IN_PLACE, MECHANISMS, NotBuilt, Waiter, family_of, placements_seen, resolved
from model.prediction import Aftermath, Prediction
from model.process import Caller, Process
from model.scenario import Scenario, Spawn, Wait
from model.spread import assemble, median_spread
from model.userland import libc, program
from model.userland.libc import Launch
from model.userland.lock_waits import lock_waits
from model.userland.mutators import Group, start_mutators
from model.userland.working_set import mutable_pages, under_load

QUIET_PHASE = 0.75
"""Share of a tick that has passed when the quiet run begins: all slices are used up, so a newcomer runs at once."""
SPAWNS_BEFORE = 4
"""So many spawns of a loop are followed until its phases of the tick are those that it keeps."""


@dataclass(slots=True)
class Run:
    """One finished run under one placement; `groups` are the load's mutators, `paths` the critical paths walked,
    `stretched` how many times its prices were the quiet ones."""

    system: System
    caller: Task
    begin_ns: float = 0.0
    milestones: dict[str, float] = field(default_factory=dict)
    owners: dict[str, Task] = field(default_factory=dict)
    error: SpawnFailed | None = None
    groups: list[Group] = field(default_factory=list)
    paths: dict[str, list[Entry]] = field(default_factory=dict)
    stretched: float = 1.0

    def path_to(self, milestone: str) -> list[Entry]:
        """Critical path from the caller's call to a milestone; it is walked once."""
        if milestone not in self.paths:
            end_ns = self.milestones[milestone] + self.begin_ns
            self.paths[milestone] = critical_path(self.owners[milestone], self.begin_ns, end_ns)
        return self.paths[milestone]

    def copied(self) -> bool:
        """Whether an mm was copied: only then do the attributes act that may be assumed."""
        return any(entry.name == "dup_mm_fixed" for task in self.system.tasks for entry in task.ledger)


def simulate(scenario: Scenario, machine: Machine, costs: CostTable) -> Prediction:
    """Predict one scenario on one machine.

    Runs it once for each placement that the machine was seen to use; the likeliest gives the quiet times, the others
    are modes of the spread. Deterministic: no random number is drawn.

    Raises:
        MissingCost: the machine file lacks a price that the scenario needs.
        NotBuilt: unknown mechanism or clone flag, a launcher's first start.
    """
    scenario = resolved(scenario)
    family = family_of(scenario.spawn)
    if family == IN_PLACE and (scenario.load.mutators or scenario.load.child_lifetime_ns):
        raise NotBuilt("exec by a process whose own threads write is not built: they end, and no child lives")
    placements = placements_seen(scenario, machine)
    first = run_once(scenario, machine, costs, placements[0])
    runs = [(placements[0], first)]
    if scenario.load.busy_cpus:
        runs[0] = (replace(placements[0], weight=0.0), first)
        runs += _phased(scenario, machine, costs, placements, first)
    else:
        runs += [(each, run_once(scenario, machine, costs, each, like=first)) for each in placements[1:]]
    ends = _variants(scenario) if first.copied() else []
    variants = [run_once(each, machine, costs, placements[0], like=first) for each in ends]
    found = assemble(scenario, machine, costs, runs, variants)
    if scenario.load.calls:
        found = replace(found, lock_waits=lock_waits(scenario, found.mechanism, first.caller.ledger, costs))
    return replace(found, aftermath=_aftermath(first, scenario)) if scenario.load.mutators else found


def _phased(
    scenario: Scenario, machine: Machine, costs: CostTable, placements: Sequence[Placement], first: Run
) -> list[tuple[Placement, Run]]:
    """Every placement at every phase of the tick.

    A cold caller comes from a sleep of any length: all phases are as likely. A hot one spawns in a loop, and whoever
    waits for a tick begins the next round where it ended, so the loop falls in step with the ticks.
    Longer work meets more ticks, so all runs take as long as half of the spawns do, not the quiet time.
    """
    found: list[tuple[Placement, Run]] = []
    hot = scenario.parent.caller is Caller.HOT
    stretched = median_spread(machine, first, beside=scenario.load.leaves_none(machine.cpus))
    costs = replace(costs, ns={name: ns * stretched for name, ns in costs.ns.items()})
    for each in placements:
        for index in range(PHASES):
            phase = (index + 0.5) / PHASES
            run = run_once(scenario, machine, costs, each, like=first, phase=phase)
            for _ in range(SPAWNS_BEFORE if hot else 0):
                phase = run.system.ticks.since_ns(run.milestones["done"]) / run.system.ticks.tick_ns
                run = run_once(scenario, machine, costs, each, like=first, phase=phase)
            run.stretched = stretched
            found.append((replace(each, weight=each.weight / PHASES), run))
    return found


def _aftermath(run: Run, scenario: Scenario) -> Aftermath:
    found = aftermath_of(
        run.groups,
        run.caller.mm.cow,
        begin_ns=run.begin_ns,
        system=run.system,
        lifetime_ns=scenario.load.child_lifetime_ns,
    )
    scanned = mutable_pages(scenario.parent.space)
    return replace(found, recovery=recovery_of(found, scanned, scenario.load.khugepaged, run.system.costs))


def _variants(scenario: Scenario) -> list[Scenario]:
    """The scenario with each attribute that was assumed at either end of its range."""
    parent = scenario.parent
    ends: list[Process] = []
    for end in (0.0, 1.0):
        if "contiguous" in parent.assumed:
            ends.append(replace(parent, contiguous=end))
        if "writable" in parent.assumed:
            ends.append(replace(parent, writable=end))
    return [replace(scenario, parent=each) for each in ends]


def bill(scenario: Scenario, machine: Machine, costs: CostTable, milestone: str = "reaped") -> Bill:
    """Counts on the critical path to a milestone at the likeliest placement: a row of the design matrix.

    Raises:
        KeyError: the scenario does not reach the milestone; `done`, the end of the program, is always reached.
    """
    scenario = resolved(scenario)
    placement = placements_seen(scenario, machine)[0]
    return bill_of(run_once(scenario, machine, costs, placement, settle=False).path_to(milestone))


def run_once(
    scenario: Scenario,
    machine: Machine,
    costs: CostTable,
    placement: Placement,
    *,
    like: Run | None = None,
    settle: bool = True,
    phase: float = QUIET_PHASE,
) -> Run:
    """Run the program under one placement.

    `like`: a run of the same load, whose mutators left to the child what this one's would: none are started. `settle`:
    whether mutators go on beyond the program's end until every page is written again.
    `phase`: share of a tick that has passed since the last one; it matters on busy CPUs.
    """
    parent = under_load(scenario.parent, scenario.load)
    env = simpy.Environment()
    idle_ns = LONG_IDLE_NS if scenario.parent.caller is Caller.COLD else SHORT_IDLE_NS
    system = System(
        env=env,
        costs=costs,
        machine=machine,
        rules=scenario.rules,
        placement=placement,
        returned=_returned(scenario, machine),
        cpus=[Cpu(index, idle_since_ns=-idle_ns) for index in range(max(1, machine.cpus))],
        load=scenario.load,
        cached=set(scenario.cached) if scenario.cold_files else None,
        ticks=Ticks.of(machine, phase),
    )
    for cpu in system.cpus[::-1][: scenario.load.busy_cpus]:
        cpu.busy = True
    caller = Task(system, "caller", Mm(RwLock(env), users=parent.threads), cold=parent.caller is Caller.COLD)
    caller.open_fds, caller.fd_slots, caller.cloexec_fds = parent.open_fds, parent.fd_slots, parent.cloexec_fds
    caller.cpu.current = caller
    run = Run(system=system, caller=caller)
    if like is None:
        run.groups = start_mutators(system, caller.mm, parent, scenario.load)
    elif like.caller.mm.cow is not None:
        caller.mm.cow = like.caller.mm.cow.left(env.event())
    env.run(env.process(_program(run, scenario if parent is scenario.parent else replace(scenario, parent=parent))))
    if settle or not run.groups:
        env.run()
    _collect(run)
    return run


def _returned(scenario: Scenario, machine: Machine) -> float:
    """How likely the child before this one ran on another CPU: as often as this one does."""
    spawn = scenario.spawn
    if spawn is None or spawn.migrates:
        return float(spawn is not None)
    return math.fsum(each.weight for each in placements_seen(scenario, machine) if each.child == "other")


def _program(run: Run, scenario: Scenario) -> Generator[simpy.Event, Any, None]:
    child: Task | None = None
    wait: Waiter = do_wait
    for step in scenario.program:
        if isinstance(step, Spawn) and step.mechanism == IN_PLACE:
            run.begin_ns = run.caller.clock_ns
            yield from libc.exec_in_place(run.caller, Launch(scenario.parent, step))
            _mark(run, "done")
            return
        if isinstance(step, Spawn):
            start, wait, _ = MECHANISMS[step.mechanism]
            run.begin_ns = run.caller.clock_ns
            try:
                child = yield from start(run.caller, Launch(scenario.parent, step))
            except SpawnFailed as failed:
                run.error = failed
                break
            run.caller.charge("clock_gettime")
            if run.caller.cpu.busy:
                yield from run.caller.meet()
            _mark(run, "call")
        elif isinstance(step, Wait):
            if child is None:
                raise ValueError("the program waits for a child that it did not start")
            yield from wait(run.caller, child)
            run.caller.charge("clock_gettime")
            if run.caller.cpu.busy:
                yield from run.caller.meet()
            _mark(run, "reaped")
        else:
            yield from program.do_step(run.caller, step)
    yield from run.caller.meet()
    _mark(run, "done")
    release_cpu(run.caller)


def _mark(run: Run, milestone: str) -> None:
    run.milestones[milestone] = run.caller.clock_ns - run.begin_ns
    run.owners[milestone] = run.caller


def _collect(run: Run) -> None:
    """Milestones that the child reached, on the clock of the caller's call; after an error only `done` is one."""
    for name, (task, at_ns) in run.system.milestones.items():
        run.milestones[name] = at_ns - run.begin_ns
        run.owners[name] = task
    if run.system.errors and run.error is None:
        errno, why, at_ns = run.system.errors[0]
        run.error = SpawnFailed(errno, why)
        late = [name for name, after_ns in run.milestones.items() if after_ns > at_ns - run.begin_ns]
        for name in late:
            if name != "done":
                del run.milestones[name], run.owners[name]
