"""The aftermath of a spawn in a document and as text: what the parent's other threads pay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from calibration.machine_file import MachineFile
from experiments.headline import duration, size
from experiments.scenarios import Question
from model.prediction import Aftermath, LockWait, Prediction, Recovery
from model.scenario import BATCH_ERROR, BATCH_SHARE
from model.simulation import simulate
from model.units import NS_PER_S, NS_PER_US, PAGE_BYTES

SNAPSHOT_NS = 2 * NS_PER_S
"""Life of the child that a child which execs at once is compared with: a small snapshot, as Redis writes them."""
_DIGITS = 7
_ROW = "  {:<14}{:>9}{:>9}{:>8}{:>12}{:>11}{:>9}{:>6}"


def compared_aftermaths(question: Question, file: MachineFile, prediction: Prediction) -> dict[str, Aftermath]:
    """The aftermath if the child execs at once, if it lives, and if nothing is forked; none without mutators."""
    asked = prediction.aftermath
    if asked is None:
        return {}
    none = Aftermath(copied=False, lifetime_ns=0.0)
    lifetimes = {"exec": 0.0, "lives": asked.lifetime_ns or SNAPSHOT_NS}
    if not asked.copied:
        return {**{name: replace(none, lifetime_ns=each) for name, each in lifetimes.items()}, "no_fork": none}
    found = {}
    for name, lifetime_ns in lifetimes.items():
        if lifetime_ns == asked.lifetime_ns:
            found[name] = asked
            continue
        load = replace(question.load, child_lifetime_ns=lifetime_ns)
        scenario = replace(question, load=load).scenario(prediction.mechanism)
        found[name] = simulate(scenario, file.machine, file.costs).aftermath or none
    return {**found, "no_fork": none}


def aftermath_record(asked: Aftermath, compared: Mapping[str, Aftermath]) -> dict[str, Any]:
    """What a document says of it: the case asked for, and the others beside it."""
    batching = {"share_of_writes": BATCH_SHARE, "error": BATCH_ERROR}
    return {
        **_record(asked),
        "batching": batching,
        "compared": {name: _record(each) for name, each in compared.items()},
    }


def writes_record(each: Aftermath) -> dict[str, float]:
    """What a row of a sweep says of it."""
    recovery = {} if each.recovery is None else _recovery(each.recovery)
    return {
        "cow_copies": _rounded(each.cow_copies),
        "reuse_faults": _rounded(each.reuse_faults),
        "splits": _rounded(each.splits),
        "ipis": _rounded(each.ipis),
        "peak_pages": _rounded(each.peak_pages),
        "stalled_us": _us(each.stall.count * each.stall.mean_ns),
        "lost_share": _rounded(each.lost_share),
        "tlb_misses": _rounded(each.tlb_misses),
        **{f"recovery_{name}": value for name, value in recovery.items()},
    }


def waits_record(waits: Sequence[LockWait]) -> dict[str, float]:
    """What a row of a sweep says of the load's calls, all groups together."""
    return {
        "waiting_threads": _rounded(sum(each.waiting for each in waits)),
        "mean_us": _us(max(each.mean_ns for each in waits)),
        "longest_us": _us(max(each.longest_ns for each in waits)),
        "delays_spawn_us": _us(sum(each.delays_ns for each in waits)),
    }


def _record(each: Aftermath) -> dict[str, Any]:
    return {
        "copied": each.copied,
        "child_lifetime_us": _us(each.lifetime_ns),
        "cow_copies": _rounded(each.cow_copies),
        "reuse_faults": _rounded(each.reuse_faults),
        "splits": _rounded(each.splits),
        "pmd_copies": _rounded(each.pmd_copies),
        "pmd_reuses": _rounded(each.pmd_reuses),
        "table_copies": _rounded(each.table_copies),
        "ipis": _rounded(each.ipis),
        "tlb_misses": _rounded(each.tlb_misses),
        "memory_growth": {
            "peak_pages": _rounded(each.peak_pages),
            "peak_bytes": round(each.peak_pages * PAGE_BYTES),
            "kept_pages": _rounded(each.kept_pages),
            "kept_bytes": round(each.kept_pages * PAGE_BYTES),
            "by_time": [
                {"at_us": _us(point.at_ns), "pages": _rounded(point.pages), "bytes": round(point.pages * PAGE_BYTES)}
                for point in each.growth
            ],
        },
        "stall_us": {
            "count": _rounded(each.stall.count),
            "mean": _us(each.stall.mean_ns),
            "p99": _us(each.stall.p99_ns),
            "longest": _us(each.stall.longest_ns),
            "lock_wait": _us(each.lock_wait_ns),
        },
        "throughput_lost": {
            "writes": _rounded(each.lost_writes),
            "share": _rounded(each.lost_share),
            "until_us": _us(each.shared_until_ns),
        },
        "settled_us": _us(each.settled_ns),
        **({"recovery": _recovery(each.recovery)} if each.recovery is not None else {}),
    }


def _recovery(found: Recovery) -> dict[str, Any]:
    return {
        "collapses": _rounded(found.collapses),
        "until_us": _us(found.until_ns),
        "stall_us": _us(found.stall_ns),
        "freed_pages": _rounded(found.freed_pages),
    }


def lock_waits_record(waits: Sequence[LockWait]) -> list[dict[str, Any]]:
    """What a document says of the load's calls."""
    return [
        {
            "call": each.call,
            "lock": each.lock,
            "held_us": _us(each.held_ns),
            "waiting_threads": _rounded(each.waiting),
            "mean_us": _us(each.mean_ns),
            "longest_us": _us(each.longest_ns),
            "delays_spawn_us": _us(each.delays_ns),
        }
        for each in waits
    ]


def lock_waits_lines(prediction: Mapping[str, Any]) -> Iterator[str]:
    """The section of the text report on the load's calls; nothing without any."""
    found = prediction.get("lock_waits", ())
    if not found:
        return
    yield ""
    yield f"{prediction['mechanism']}, who waits for its locks:"
    for each in found:
        if not each["held_us"]:
            yield f"  {each['call']:<10} {each['lock']:<10} not held"
            continue
        yield (
            f"  {each['call']:<10} {each['lock']:<10} held {duration(each['held_us'])}: {each['waiting_threads']:.2g} "
            f"threads wait {duration(each['mean_us'])}, at most {duration(each['longest_us'])}"
        )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _us(elapsed_ns: float) -> float:
    return _rounded(elapsed_ns / NS_PER_US)


def aftermath_lines(prediction: Mapping[str, Any]) -> Iterator[str]:
    """The section of the text report for one prediction of a document; nothing without a load."""
    found = prediction.get("aftermath")
    if found is None:
        return
    yield ""
    if not found["copied"]:
        yield f"{prediction['mechanism']}, aftermath: none, it copies no memory"
        return
    yield f"{prediction['mechanism']}, what its mutator threads meet:"
    yield _ROW.format("child", "copies", "reused", "splits", "memory", "stall p99", "longest", "lost")
    names = {"exec": "execs at once", "lives": f"lives {duration(found['compared']['lives']['child_lifetime_us'])}"}
    for name, words in names.items():
        each = found["compared"][name]
        stall = each["stall_us"]
        yield _ROW.format(
            words,
            _many(each["cow_copies"]),
            _many(each["reuse_faults"] + each["pmd_reuses"]),
            _many(each["splits"] + each["pmd_copies"]),
            f"+{size(each['memory_growth']['peak_bytes'])}",
            duration(stall["p99"]),
            duration(stall["longest"]),
            f"{each['throughput_lost']['share']:.0%}",
        )
    yield _ROW.format("no fork", "0", "0", "0", "0", "0", "0", "0%")
    until = duration(found["throughput_lost"]["until_us"])
    yield f"  lost: share of the writes not done until the last shared page is gone ({until})"
    batching = found["batching"]
    yield (
        f"  reckoned in batches of 1/{1 / batching['share_of_writes']:.0f} of the writes before: within "
        f"{batching['error']:.0%} of single ones"
    )
    recovery = found.get("recovery")
    if recovery is not None:
        freed = size(recovery["freed_pages"] * PAGE_BYTES)
        yield (
            f"  khugepaged: {_many(recovery['collapses'])} huge pages whole, {freed} freed after "
            f"{duration(recovery['until_us'])}, {duration(recovery['stall_us'])} each"
        )


def _many(count: float) -> str:
    for limit, unit, factor in ((1e4, "", 1.0), (1e7, "k", 1e3)):
        if count < limit:
            return f"{count / factor:.0f}{unit}"
    return f"{count / 1e6:.0f}M"
