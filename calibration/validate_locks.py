"""What a thread waits for that calls beside a fork: predicted beside measured here and now, call by call.

A C parent (`live/lock_loop.c`) forks while one of its threads calls every GAP_NS, so that it always comes upon the lock
and its longest call is about as long as the fork holds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

from calibration.live.artefacts import c_program
from calibration.live.mutating import captured_run
from calibration.machine_file import MachineFile
from calibration.quantiles import quantile
from model.process import Caller, Process
from model.scenario import Call, Calls, Load, Spawn, spawn_and_wait
from model.simulation import simulate
from model.units import NS_PER_S

PAGES = 65_536
"""Of the parent's heap, in 4 KiB pages: a fork long enough that a tick more or less does not matter."""
ROUNDS = 8
QUIET = 0.5
"""Quantile of the rounds: a thread that does not run when the fork comes waits less, disturbances make it wait more."""
GAP_NS = 50e3
"""Between two calls of the thread, as the parent has it."""
TOLERANCE, FLOORS = 0.20, 1.5
"""Relative error that is still right; beyond, 1.5 times the floor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockComparison:
    """One kind of call: its longest wait, and the fork's own time, of which it is a part.

    Attributes:
        floor: half the range of ln over the processes.
        fork_ns, fork_predicted_ns: until the fork returned.
    """

    call: str
    measured_ns: float
    predicted_ns: float
    floor: float
    fork_ns: float
    fork_predicted_ns: float

    @property
    def error(self) -> float:
        """ln(predicted / measured)."""
        return math.log(self.predicted_ns / self.measured_ns)

    @property
    def right(self) -> bool:
        """Whether the wait, as a share of the fork's time, is predicted within the tolerance or the floor."""
        share = self.error - math.log(self.fork_predicted_ns / self.fork_ns)
        return abs(share) <= max(math.log1p(TOLERANCE), FLOORS * self.floor)


def validate_locks(
    file: MachineFile, *, processes: int = 3, pages: int = PAGES, progress: Callable[[str], None] | None = None
) -> list[LockComparison]:
    """Run every kind of call in fresh processes and predict it.

    Raises:
        BadInput: no compiler, or a parent that fails.
    """
    program = str(c_program("lock_loop"))
    found: list[LockComparison] = []
    for number, call in enumerate(get_args(Call)):
        apart: list[float] = []
        forks: list[float] = []
        parent: Process | None = None
        for index in range(processes):
            if progress is not None:
                progress(f"{call}, process {index + 1}")
            words = [f"pages={pages}", f"call={number}", f"rounds={ROUNDS}"]
            parent, rows = captured_run(call, [program, *words], rounds=ROUNDS)
            apart.append(quantile(sorted(float(row["longest_ns"]) for row in rows), QUIET))
            forks.append(quantile(sorted(float(row["call_ns"]) for row in rows), QUIET))
        assert parent is not None
        wait_ns, fork_ns = predicted_waits(file, parent, call)
        found.append(
            LockComparison(
                call=call,
                measured_ns=quantile(sorted(apart), 0.5),
                predicted_ns=wait_ns,
                floor=math.log(max(apart) / min(apart)) / 2,
                fork_ns=quantile(sorted(forks), 0.5),
                fork_predicted_ns=fork_ns,
            )
        )
    return found


def predicted_waits(file: MachineFile, parent: Process, call: Call) -> tuple[float, float]:
    """Longest wait of a thread that calls every GAP_NS beside a fork of the captured parent, and the fork's time."""
    # It writes nothing: what the forks before have left write-protected stays so.
    parent = replace(parent, caller=Caller.COLD, writable=0.0, assumed=())
    load = Load(calls=(Calls(call=call, calls_per_second=NS_PER_S / GAP_NS),))
    scenario = spawn_and_wait(parent, Spawn(mechanism="fork"), rules=file.machine.rules, load=load)
    found = simulate(scenario, file.machine, file.costs)
    return found.lock_waits[0].longest_ns, found.milestones["call"].quiet_ns
