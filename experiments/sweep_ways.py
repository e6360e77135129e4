"""How a sweep is run and how far it is: nothing here changes what its rows hold."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from experiments.evaluate import Done, evaluate_block
from experiments.points import Point

Evaluate = Callable[[str, bytes, str, list[Point]], Done]


@dataclass(slots=True)
class Tally:
    """How far a run is.

    Attributes:
        total: points of the sweep (of the shard: about), those that constraints leave out included.
        passed: how many of them the run has looked at.
        found: rows that were there already.
        wanted: points to compute, of those that were looked at.
        computed, failed: rows of this run, those of them with an error.
        elapsed_s: since the run began.
    """

    total: int
    passed: int = 0
    found: int = 0
    wanted: int = 0
    computed: int = 0
    failed: int = 0
    elapsed_s: float = 0.0

    @property
    def done(self) -> int:
        """Rows that there are by now."""
        return self.found + self.computed

    @property
    def expected(self) -> int:
        """Rows that there will be, if constraints go on as they did."""
        seen = self.found + self.wanted
        return seen + round(max(0, self.total - self.passed) * (seen / self.passed if self.passed else 1.0))

    @property
    def left_s(self) -> float | None:
        """Time left at the rate so far; None while nothing tells."""
        if not self.computed:
            return None
        return max(0, self.expected - self.done) * self.elapsed_s / self.computed


Progress = Callable[[Tally], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a sweep is run; nothing here changes what its rows hold.

    Attributes:
        workers: local processes; None: as many as there are CPUs.
        executor: any of concurrent.futures instead of them; it stays open.
        dask: address of a Dask scheduler instead of them.
        shard: (i, n) with 1 <= i <= n: only the i-th of n parts.
        retry: compute points anew that failed before.
        only: compute only the point of this number or key, anew.
        progress: called several times a second.
        evaluate: what computes a block.
    """

    workers: int | None = None
    executor: Executor | None = None
    dask: str | None = None
    shard: tuple[int, int] = (1, 1)
    retry: bool = False
    only: str | None = None
    progress: Progress | None = None
    evaluate: Evaluate = evaluate_block
