"""The timeline of spawns as Chrome trace events: https://ui.perfetto.dev and chrome://tracing open it.

A mechanism is a process, a task a thread; functions are nested slices, the innermost is what was charged or waited for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from model.costs import COSTS
from model.ledger import Entry
from model.prediction import Prediction
from model.units import NS_PER_US

Event = dict[str, Any]
_DIGITS = 6
"""Of microseconds: picoseconds, so that slices that touch still touch."""


def trace_document(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The whole file, one process a prediction."""
    events = [event for pid, each in enumerate(predictions, start=1) for event in prediction_events(each, pid)]
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def trace_text(predictions: Sequence[Prediction]) -> str:
    """The file's text, an event a line."""
    document = trace_document(predictions)
    events = ",\n".join(json.dumps(event, allow_nan=False) for event in document["traceEvents"])
    return f'{{"displayTimeUnit": "ns", "traceEvents": [\n{events}\n]}}\n'


def prediction_events(prediction: Prediction, pid: int) -> Iterator[Event]:
    """Names, slices, wake-ups and milestones of one prediction, at the likeliest placement."""
    yield _named("process_name", pid, 0, prediction.mechanism)
    threads = {key: tid for tid, key in enumerate(prediction.tasks, start=1)}
    for key, tid in threads.items():
        yield _named("thread_name", pid, tid, key.partition(" ")[2])
        yield {"name": "thread_sort_index", "ph": "M", "pid": pid, "tid": tid, "args": {"sort_index": tid}}
        yield from task_slices(prediction.tasks[key], pid, tid)
    yield from _milestones(prediction, pid, threads)


def _named(kind: str, pid: int, tid: int, name: str) -> Event:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}


def task_slices(entries: Iterable[Entry], pid: int, tid: int) -> Iterator[Event]:
    """Slices of one task: a function spans all entries in a row that share it from the outermost in.

    A wait interrupts nothing: it lies within the function that waits. Parents come before their children.
    """
    opened: list[tuple[str, float]] = []
    slices: list[Event] = []
    last_end_ns = 0.0
    for entry in entries:
        shared = _shared(opened, entry.path) if entry.start_ns == last_end_ns else 0
        slices += _closed(opened, shared, last_end_ns, pid, tid)
        opened += [(function, entry.start_ns) for function in entry.path[shared:]]
        last_end_ns = entry.end_ns
        slices.append(_slice(_title(entry), entry.kind, entry.start_ns, entry.end_ns, pid, tid) | _counted(entry))
    slices += _closed(opened, 0, last_end_ns, pid, tid)
    yield from sorted(slices, key=lambda each: (each["ts"], -each["dur"], each["cat"] != "function"))


def _shared(opened: Sequence[tuple[str, float]], path: Sequence[str]) -> int:
    """How many functions from the outermost in are the same."""
    count = 0
    for (function, _), other in zip(opened, path, strict=False):
        if function != other:
            break
        count += 1
    return count


def _closed(opened: list[tuple[str, float]], keep: int, end_ns: float, pid: int, tid: int) -> list[Event]:
    """Slices of the functions beyond the first `keep`, which end now."""
    done = [_slice(function, "function", start_ns, end_ns, pid, tid) for function, start_ns in opened[keep:]]
    del opened[keep:]
    return done


def _title(entry: Entry) -> str:
    return f"wait for {entry.name}" if entry.kind == "wait" else entry.name


def _counted(entry: Entry) -> Event:
    """What the entry holds: of a charge how many, per what, and which kernel steps its price stands for."""
    args: dict[str, Any] = {}
    if entry.kind in ("charge", "latency"):
        spec = COSTS[entry.name]
        args = {"count": float(entry.count), "per": spec.per, "stands_for": spec.stands_for}
    if entry.ended_by is not None:
        args["ended_by"] = entry.ended_by.name
    return {"args": args}


def _us(elapsed_ns: float) -> float:
    return round(elapsed_ns / NS_PER_US, _DIGITS)


def _slice(name: str, kind: str, start_ns: float, end_ns: float, pid: int, tid: int) -> Event:
    start = _us(start_ns)
    duration = round(_us(end_ns) - start, _DIGITS)
    return {"name": name, "cat": kind, "ph": "X", "ts": start, "dur": duration, "pid": pid, "tid": tid}


def _milestones(prediction: Prediction, pid: int, threads: Mapping[str, int]) -> Iterator[Event]:
    """Each milestone as an instant on the task that reached it: the child for exec and main, else the caller."""
    for name, found in prediction.milestones.items():
        owner = "child" if name in ("exec", "main") else "caller"
        tid = next((tid for key, tid in threads.items() if key.partition(" ")[2] == owner), 1)
        yield {"name": name, "cat": "milestone", "ph": "i", "s": "p", "ts": _us(found.quiet_ns), "pid": pid, "tid": tid}
