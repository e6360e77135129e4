"""From one run of the simulation to the path that it took: its bills as linear forms, and who else takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from model.address_space import AddressSpace
from model.costs import CostTable
from model.kernel.mm import counts_key
from model.machine import Machine, Placement
from model.mechanisms import IN_PLACE, family_of, resolved
from model.parent_arrays import NAMES, mm_of
from model.prediction import MILESTONES
from model.process import Caller, Limits, Process, Runtime
from model.rules import Rules
from model.scenario import Load, Scenario
from model.simulation import Run, run_once
from model.spread import manner_of
from model.symbolic import Columns, Count, Guard, Moment, Trace, Weights


class NotCompiled(ValueError):
    """The compiled model cannot express the scenario; the text names what of it. `simulate` may still answer."""


@dataclass(frozen=True, slots=True)
class Path:
    """One way through a scenario under one placement: who waits for whom, and what is charged on the way.

    Attributes:
        guards: what a parent must answer as the representative did to take it.
        bills: by milestone in the order of the contract, count of each cost as a linear form in the columns.
        loader: the bill of the loader's run; None without one.
        manner: index among `spread.MANNERS` of the path to the last milestone.
    """

    guards: tuple[Guard, ...]
    bills: Mapping[str, Weights]
    loader: Weights | None
    manner: int


@dataclass(slots=True)
class _SymbolicParent:
    """What a run reads of its parent, with expressions for all that varies."""

    space: AddressSpace
    runtime: Runtime
    caller: Caller
    limits: Limits
    threads: Count
    running_threads: Count
    open_fds: Count
    fd_slots: Count
    cloexec_fds: Count
    contiguous: Count
    writable: Count


class _Price:
    """Price of a cost that, times a count, is a time that knows both."""

    __slots__ = ("cost", "price", "trace")

    def __init__(self, trace: Trace, cost: str, price: float) -> None:
        self.trace, self.cost, self.price = trace, cost, price

    def __mul__(self, count: Count | float) -> Moment:
        return self.trace.charge(self.cost, self.price, count)


class _Prices(dict[str, _Price]):
    def __init__(self, trace: Trace, costs: CostTable) -> None:
        self.trace, self.costs = trace, costs

    def __missing__(self, cost: str) -> _Price:
        found = self[cost] = _Price(self.trace, cost, self.costs.price(cost))
        return found


@dataclass(slots=True)
class _SymbolicCosts:
    """What a task asks of the prices."""

    prices: _Prices


def checked(scenario: Scenario) -> Scenario:
    """The scenario with what a compiled form can express, its launch mechanism resolved, its vmas left out.

    Raises:
        NotCompiled: what it cannot express: a load, a parent whose limits may act, a program that spawns nothing.
        NotBuilt: unknown mechanism or clone flag.
    """
    scenario = resolved(scenario)
    limits = scenario.parent.limits
    if scenario.load != Load():
        raise NotCompiled("load: what else runs decides who waits, and that is simulated")
    if scenario.spawn is None:
        raise NotCompiled("program: it spawns nothing")
    if scenario.spawn.mechanism == IN_PLACE:
        raise NotCompiled("exec: the caller's own memory is dropped, and that is simulated")
    if limits.commit_mode in (0, 2) or (limits.processes_left is not None and limits.processes_left < 1):
        raise NotCompiled("parent.limits: sizes that may be refused are no attribute here; clear them if they fit")
    family_of(scenario.spawn)
    return replace(scenario, parent=replace(scenario.parent, space=AddressSpace(())))


def trace_path(
    scenario: Scenario,
    machine: Machine,
    costs: CostTable,
    placement: Placement,
    columns: Columns,
    representative: Mapping[str, float],
) -> Path:
    """Run a checked scenario once, for a parent with the representative's attributes, and keep its path.

    Raises:
        NotCompiled: the spawn fails.
    """
    trace = Trace(columns)
    attributes = {
        name: Count(trace, columns.node("input", name), representative[name], 1.0 if name == "threads" else 0.0)
        for name in NAMES
    }
    parent = _parent(scenario.parent, scenario.rules, attributes)
    symbolic = replace(scenario, parent=cast(Process, parent))
    run = run_once(symbolic, machine, cast(CostTable, _SymbolicCosts(_Prices(trace, costs))), placement)
    if run.error is not None:
        raise NotCompiled(f"a spawn that fails: {run.error.errno}, {run.error.why}")
    bills = {name: trace.weights(_moment(run, name)) for name in MILESTONES if name in run.milestones}
    loader = None
    if scenario.spawn is not None and scenario.spawn.target.loader is not None:
        loader = trace.weights(_moment(run, "loader_end") - _moment(run, "loader_begin"))
    last = bills[list(bills)[-1]]
    return Path(tuple(trace.guards.values()), bills, loader, manner_of(cost for cost, _ in last))


def _parent(parent: Process, rules: Rules, attributes: Mapping[str, Count]) -> _SymbolicParent:
    space = AddressSpace(())
    space.counted[counts_key(rules)] = mm_of(cast("Mapping[str, float]", attributes))
    return _SymbolicParent(
        space=space,
        runtime=parent.runtime,
        caller=parent.caller,
        limits=parent.limits,
        threads=attributes["threads"],
        running_threads=attributes["running_threads"],
        open_fds=attributes["open_fds"],
        fd_slots=attributes["fd_slots"],
        cloexec_fds=attributes["cloexec_fds"],
        contiguous=attributes["contiguous"],
        writable=attributes["writable"],
    )


def _moment(run: Run, milestone: str) -> Moment:
    return cast(Moment, run.milestones[milestone])
