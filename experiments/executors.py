"""Where blocks of points are computed: in this process, in processes of this machine, or on a Dask cluster.

All are executors of `concurrent.futures`, so that the sweep does not know which it has.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from calibration.errors import BadInput

P = ParamSpec("P")
T = TypeVar("T")
_LOOK_AT_PARENT_S = 0.5
CONNECT_S = 20
_PER_THREAD = 3
"""Blocks in flight for each thread of a cluster: it has the next one while the last one's rows travel."""


class SerialExecutor(Executor):
    """Does the work at once, in the caller."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """A future that is done."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def default_workers() -> int:
    """As many as this process may use CPUs."""
    return max(1, len(os.sched_getaffinity(0)))


def local_executor(workers: int) -> Executor:
    """Processes of this machine; one worker is this process itself.

    Workers are forked, so that a script that calls this needs no guard around its main part.
    """
    if workers == 1:
        return SerialExecutor()
    fork = multiprocessing.get_context("fork")
    return ProcessPoolExecutor(workers, mp_context=fork, initializer=_follow, initargs=(os.getpid(),))


def _follow(parent: int) -> None:
    """Let a worker end when its parent was killed: nobody would ever tell it to."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_AT_PARENT_S)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


@contextmanager
def dask_executor(address: str) -> Iterator[tuple[Executor, Callable[[], int]]]:
    """An executor on the cluster whose scheduler is at `address`, and how many blocks it can have in flight by now.

    A task whose worker dies is done again elsewhere. The cluster may grow and shrink meanwhile.

    Raises:
        BadInput: distributed is not installed, or no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise BadInput("--dask", "dask.distributed is not installed", "install spawncost[dask]") from error
    connect: Callable[..., Any] = Client
    try:
        client = connect(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        why = f"no scheduler answers: {str(error) or 'timeout'}"
        raise BadInput(f"--dask {address}", why, "start one there") from error

    def window() -> int:
        threads: int = sum(client.nthreads().values())
        return max(2, _PER_THREAD * threads)

    try:
        yield client.get_executor(pure=False), window
    finally:
        client.close()
