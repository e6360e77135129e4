"""Entries of a task's ledger, the critical path through several ledgers, and the bill.

Every nanosecond of a task is in exactly one entry, so whatever path is walked back between two instants, its entries
sum to the time between them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["charge", "latency", "wait", "sleep"]


class HasLedger(Protocol):
    """What the critical path needs of a task."""

    @property
    def ledger(self) -> Sequence[Entry]: ...
    @property
    def created_by(self) -> HasLedger | None: ...
    @property
    def name(self) -> str: ...


class Entry(NamedTuple):
    """One stretch of a task's time.

    Attributes:
        start_ns, end_ns: simulated time.
        kind: charge, latency, wait or sleep.
        name: cost of a charge or latency; what was waited for otherwise.
        count: units charged; 0 for waits and sleeps.
        path: kernel and library functions from the outermost in.
        ended_by: of a wait: the task that ended it.
        task: name of the task.
    """

    start_ns: float
    end_ns: float
    kind: Kind
    name: str
    count: float  # type: ignore[assignment]  # hides tuple.count, which nobody asks of an entry
    path: tuple[str, ...]
    ended_by: HasLedger | None = None
    task: str = ""

    @property
    def elapsed_ns(self) -> float:
        """Length of the stretch."""
        return self.end_ns - self.start_ns


Row = tuple[float, float, Kind, str, float, tuple[str, ...], HasLedger | None, str]
"""The fields of an `Entry` in their order: what a run leaves."""


class NoPath(RuntimeError):
    """The critical path cannot be walked: a ledger has a gap. A defect of the model, not of its input."""


def critical_path(task: HasLedger, begin_ns: float, end_ns: float) -> list[Entry]:
    """Entries that explain the time from `begin_ns` to `end_ns` of `task`, in time order.

    From the end back along the ledger; where the task waited, over to the task that ended the wait; at a task's birth,
    over to its creator. The entries do not overlap and sum to `end_ns - begin_ns`.

    Raises:
        NoPath: a ledger has a gap.
    """
    path: list[Entry] = []
    now = end_ns
    tolerance = 1e-9 * max(1.0, end_ns)
    ledger, index = _until(task, now, tolerance)
    while now - begin_ns > tolerance:
        if index < 0:
            if task.created_by is None:
                raise NoPath(f"{task.name} has no ledger before {now} ns")
            task = task.created_by
            ledger, index = _until(task, now, tolerance)
            continue
        entry = ledger[index]
        if entry.end_ns < now - 2 * tolerance:
            raise NoPath(f"{task.name} has no ledger from {entry.end_ns} to {now} ns")
        if entry.kind == "wait" and entry.ended_by is not None and entry.elapsed_ns > tolerance:
            task = entry.ended_by
            ledger, index = _until(task, now, tolerance)
            continue
        whole = entry.start_ns >= begin_ns and entry.end_ns <= now
        start = entry.start_ns if whole else max(entry.start_ns, begin_ns)
        path.append(entry if whole else _clip(entry, start, now))
        now = min(now, start)
        index -= 1
    while index >= 0 and ledger[index].start_ns >= begin_ns - tolerance:
        path.append(ledger[index])
        index -= 1
    path.reverse()
    return path


def _until(task: HasLedger, now: float, tolerance: float) -> tuple[Sequence[Entry], int]:
    """A task's ledger, and the index of its last entry before `now`, those that take no time (a price of 0) too."""
    entries = task.ledger
    index = bisect_left(entries, now - tolerance, key=lambda entry: entry.start_ns) - 1
    while index + 1 < len(entries) and entries[index + 1].end_ns <= now + tolerance:
        index += 1
    return entries, index


def _clip(entry: Entry, start_ns: float, end_ns: float) -> Entry:
    end_ns = min(end_ns, entry.end_ns)
    if (start_ns == entry.start_ns and end_ns == entry.end_ns) or entry.elapsed_ns == 0.0:
        return entry
    share = (end_ns - start_ns) / entry.elapsed_ns
    return entry._replace(start_ns=start_ns, end_ns=end_ns, count=entry.count * share)


@dataclass(frozen=True, slots=True)
class Bill:
    """Counts of every cost on a path, and the time on it that no cost prices.

    Attributes:
        counts: units by cost or latency.
        sleep_ns: workload time and waits that nobody ended.
        elapsed_ns: length of the path.
    """

    counts: Mapping[str, float]
    sleep_ns: float
    elapsed_ns: float


def bill_of(path: Iterable[Entry]) -> Bill:
    """The bill of a path."""
    counts: dict[str, float] = {}
    sleep_ns = elapsed_ns = 0.0
    for start_ns, end_ns, kind, name, count, *_ in path:
        elapsed_ns += end_ns - start_ns
        if kind in ("charge", "latency"):
            counts[name] = counts.get(name, 0.0) + count
        else:
            sleep_ns += end_ns - start_ns
    return Bill(counts=counts, sleep_ns=sleep_ns, elapsed_ns=elapsed_ns)


def shifted(entries: Iterable[Entry], by_ns: float) -> Iterator[Entry]:
    """The same entries later by `by_ns`."""
    for entry in entries:
        yield entry._replace(start_ns=entry.start_ns + by_ns, end_ns=entry.end_ns + by_ns)
