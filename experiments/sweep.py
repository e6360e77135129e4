"""Run a sweep: points in blocks to an executor, rows into a store, at least one commit a second.

The same call again resumes: points that have a row are passed over. What the rows hold does not depend on the executor.
"""

from __future__ import annotations

import itertools
import os
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.errors import BadInput
from experiments.evaluate import Done, Row, failed_row
from experiments.executors import dask_executor, default_workers, local_executor
from experiments.points import Point, points_of, size_of
from experiments.store import Store, open_store
from experiments.store_files import frame_of
from experiments.sweep_plan import Plan, model_version, plan_of
from experiments.sweep_spec import Sweep, read_sweep
from experiments.sweep_ways import How, Tally

if TYPE_CHECKING:
    import pandas as pd

COMMIT_S = 0.5
BLOCK_S = 0.25
"""What a block aims to take: short beside the second in which a commit is due, long beside a hand-over."""
MAX_BLOCK = 4096
_LOOKED_UP = 512
_ROUND_S = 0.2
_SMOOTH = 0.3


def run_sweep(sweep: Sweep | str | Path, *, store: str | Path | None = None, **how: Any) -> pd.DataFrame:
    """Run a sweep, or what is left of it, and return all its rows.

    Args:
        sweep: a `Sweep`, or the path of a specification.
        store: file to keep the rows in and to resume from; None: they are only returned.
        how: see `How`: workers, executor, dask, shard, retry, progress, ...

    Returns:
        A row a point in their order: a column each input, `call_us_p50` and the like, `cause`, `error`.

    Raises:
        BadInput: the specification, a file that it names, or the store cannot be used.
    """
    opened, _ = run_into_store(sweep, Path(store) if store is not None else None, How(**how))
    try:
        return frame_of(opened)
    finally:
        opened.close()


def run_into_store(sweep: Sweep | str | Path, path: Path | None, how: How) -> tuple[Store, Tally]:
    """The same with the open store. Raises what `run_sweep` raises."""
    sweep = sweep if isinstance(sweep, Sweep) else read_sweep(sweep)
    plan = plan_of(sweep)
    about = {"identity": plan.identity, "model": model_version(), "name": sweep.name, "specification": sweep.canonical}
    store = open_store(path, about)
    try:
        return store, _Run(plan, store, how).run()
    except BaseException:
        store.close()
        raise


@dataclass(slots=True)
class _Run:
    plan: Plan
    store: Store
    how: How
    tally: Tally = field(init=False)
    begin_s: float = field(default_factory=time.monotonic)
    committed_s: float = field(default_factory=time.monotonic)
    rate: float = 0.0
    row: int = 0
    rows: list[Row] = field(default_factory=list)
    alone: deque[Point] = field(default_factory=deque)
    """Points of blocks that a worker took down with it: one at a time from now on, to find which it was."""

    def run(self) -> Tally:
        how = self.how
        self.tally = Tally(total=-(-size_of(self.plan.sweep) // how.shard[1]))
        self.row = self.store.begin_run(self._facts() | _origin(how))
        with ExitStack() as stack:
            try:
                if how.dask is not None:
                    executor, window = stack.enter_context(dask_executor(how.dask))
                    self._work(lambda: executor, window)
                elif how.executor is not None:
                    self._work(_given(how.executor), lambda: 2 * (how.workers or default_workers()))
                else:
                    with _local(how.workers or default_workers()) as (fresh, window):
                        self._work(fresh, window)
            finally:
                self._commit()
        return self.tally

    def _work(self, fresh: Callable[[], Executor], window: Callable[[], int]) -> None:
        """Keep the executor busy until all points have rows; `fresh` gives it, or a new one after it broke."""
        executor, source = fresh(), self._wanted()
        pending: dict[Future[Done], list[Point]] = {}
        while True:
            while len(pending) < (1 if self.alone else window()) and (block := self._block(source)):
                pending[self._submit(executor, block)] = block
            if not pending:
                break
            if self._settle(pending, _ROUND_S):
                self.alone.extend(point for block in pending.values() for point in block)
                pending.clear()
                executor = fresh()

    def _submit(self, executor: Executor, block: list[Point]) -> Future[Done]:
        try:
            return executor.submit(self.how.evaluate, self.plan.identity, self.plan.packed, model_version(), block)
        except BrokenExecutor as error:
            future: Future[Done] = Future()
            future.set_exception(error)
            return future

    def _block(self, source: Iterator[Point]) -> list[Point]:
        if self.alone:
            return [self.alone.popleft()]
        size = min(MAX_BLOCK, max(1, int(self.rate * BLOCK_S)))
        return list(itertools.islice(source, size))

    def _settle(self, pending: dict[Future[Done], list[Point]], timeout_s: float) -> bool:
        """Take in what is done; whether the executor broke."""
        broken, sole = False, len(pending) == 1
        for future in wait(pending, timeout=timeout_s, return_when=FIRST_COMPLETED).done:
            block = pending.pop(future)
            try:
                done = future.result()
            except BrokenExecutor:
                broken = True
                self._lost(block, sole=sole)
                continue
            except (Exception, CancelledError) as error:
                self._refuse(error, block)
                continue
            self._take(done, len(block))
        if time.monotonic() - self.committed_s >= COMMIT_S:
            self._commit()
        if self.how.progress is not None:
            self.tally.elapsed_s = time.monotonic() - self.begin_s
            self.how.progress(self.tally)
        return broken

    def _take(self, done: Done, points: int) -> None:
        rate = points / max(done.elapsed_s, 1e-6)
        self.rate = rate if not self.rate else self.rate + _SMOOTH * (min(rate, 4 * self.rate) - self.rate)
        self.rows += done.rows
        self.tally.computed += len(done.rows)
        self.tally.failed += sum(each.error is not None for each in done.rows)

    def _lost(self, block: list[Point], *, sole: bool) -> None:
        """A worker died: all points that were out are tried one at a time; one that was out alone has failed."""
        if len(block) > 1 or not sole:
            self.alone.extend(block)
        else:
            why = "the worker died that computed it (killed, or out of memory)"
            self._take(Done([failed_row(self.plan, block[0], why)], 1.0), 1)

    def _refuse(self, error: BaseException, block: list[Point]) -> None:
        """What is no failure of a point ends the run; a cluster that gave a task up lost its workers."""
        if type(error).__name__ == "KilledWorker":
            self._lost(block, sole=True)
        elif isinstance(error, (BadInput, MemoryError)):
            raise error
        else:
            why = f"a block of points could not be computed: {type(error).__name__}: {error}"
            remedy = "workers need this version of spawncost and its dependencies"
            raise BadInput("executor", why, remedy) from error

    def _wanted(self) -> Iterator[Point]:
        """Points of this shard that need computing, in order."""
        batch: list[Point] = []
        for point in points_of(self.plan.sweep):
            batch.append(point)
            if len(batch) == _LOOKED_UP:
                yield from self._missing(batch)
                batch = []
        yield from self._missing(batch)
        self.tally.passed = self.tally.total

    def _missing(self, batch: list[Point]) -> Iterator[Point]:
        how = self.how
        index, parts = how.shard
        keyed = [(self.plan.key(each.inputs), each) for each in batch]
        if how.only is not None:
            yield from (each for key, each in keyed if how.only in (key, str(each.number)))
            return
        mine = [(key, each) for key, each in keyed if int(key[:8], 16) % parts == index - 1]
        known = self.store.known([key for key, _ in mine])
        wanted = []
        for key, each in mine:
            found = known.get(key)
            if found is None or (how.retry and found.failed):
                wanted.append(each)
                continue
            self.tally.found += 1
            if each.number < found.number:
                self.store.renumber(key, each.number)
        self.tally.wanted += len(wanted)
        self.tally.passed = (batch[-1].number + 1) // parts if batch else self.tally.total
        yield from wanted

    def _facts(self) -> dict[str, Any]:
        """What changes in the run's row of `runs`."""
        return {
            "updated": datetime.now(UTC).isoformat(),
            "elapsed_s": time.monotonic() - self.begin_s,
            "points": self.tally.computed,
            "failed": self.tally.failed,
        }

    def _commit(self) -> None:
        """Rows go to the file at once, so that it is locked for a moment only."""
        self.store.add(self.rows)
        self.rows = []
        self.store.commit(self.row, self._facts())
        self.committed_s = time.monotonic()


def _origin(how: How) -> dict[str, Any]:
    executor = "dask" if how.dask else type(how.executor).__name__ if how.executor is not None else "local"
    return {
        "started": datetime.now(UTC).isoformat(),
        "host": platform.node(),
        "pid": os.getpid(),
        "executor": executor,
        "workers": how.workers or default_workers(),
        "shard": f"{how.shard[0]}/{how.shard[1]}",
    }


def _given(executor: Executor) -> Callable[[], Executor]:
    """The caller's executor, once: a broken one cannot be replaced here."""
    left = [executor]

    def fresh() -> Executor:
        if not left:
            raise BadInput("executor", "it broke: a worker died", "give a new one; the rows so far are kept")
        return left.pop()

    return fresh


@contextmanager
def _local(workers: int) -> Iterator[tuple[Callable[[], Executor], Callable[[], int]]]:
    """Local processes, and new ones when they broke."""
    made: list[Executor] = []

    def fresh() -> Executor:
        made.append(local_executor(workers))
        return made[-1]

    try:
        yield fresh, lambda: 1 if workers == 1 else 2 * workers
    finally:
        for each in made:
            each.shutdown(wait=True, cancel_futures=True)
