"""What a simulation answers: milestones with spread and interval, the breakdown of the critical path, the trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.ledger import Bill, Entry

MILESTONES = ("call", "exec", "main", "reaped")
"""In the order of the contract; all from the instant at which the caller calls."""
SPREAD_LINE = "machine_spread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """One milestone in ns: undisturbed time, quantiles with the machine's spread, and 90 % bounds of the p50."""

    quiet_ns: float
    p10_ns: float
    p50_ns: float
    p90_ns: float
    lo_ns: float
    hi_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnError:
    """The modelled spawn fails: errno name and reason."""

    errno: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Answer for one scenario.

    Attributes:
        mechanism: of the spawn; empty if the program spawns nothing.
        milestones: by name; those that do not apply are absent.
        loader: the loader's run, or None.
        breakdown_ns: by cost, of the last milestone's critical path, and `machine_spread`; sums to its p50.
        by_kind_ns: the same sum as kernel, user, latency, sleep and machine_spread.
        bill: of the last milestone's critical path.
        path: its entries.
        tasks: ledger of every task, for the timeline.
        charges, events: size of the simulation.
        error: why the spawn fails, or None.
    """

    mechanism: str
    milestones: Mapping[str, Milestone]
    loader: Milestone | None
    breakdown_ns: Mapping[str, float]
    by_kind_ns: Mapping[str, float]
    bill: Bill
    path: tuple[Entry, ...]
    tasks: Mapping[str, tuple[Entry, ...]]
    charges: int
    events: int
    error: SpawnError | None = None

    @property
    def elapsed_ns(self) -> float:
        """Quiet time of the last milestone; 0 if none was reached."""
        return max((each.quiet_ns for each in self.milestones.values()), default=0.0)
