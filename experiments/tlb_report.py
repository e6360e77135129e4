"""`spawncost tlb` as a document (`spawncost.tlb-report/1`) and as text: stated, documented, measured side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from model.hardware.page_walk import walk_references

if TYPE_CHECKING:
    from calibration.tlb.chases import Chase, Estimate, Level
    from calibration.tlb.geometry import Found
    from calibration.tlb.leaves import TlbLevel
    from calibration.tlb.runs import TlbRuns

SCHEMA = "spawncost.tlb-report/1"
_GUEST_LEVELS = 4
_MOST, _FAR = 0.5, 0.25
"""Share from which something is the rule; relative difference from which a size is another than the documented one."""


def tlb_document(runs: TlbRuns, found: Found | None, source: str) -> dict[str, Any]:
    """The report of one measurement; `fitted` is null if it holds no chase over 4 KiB pages."""
    from calibration.tlb.leaves import documented, read_leaves

    stated = read_leaves(runs.leaves)
    core, levels = documented(runs.leaves)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "machine": runs.machine,
        "cpu": runs.cpu,
        "date": runs.date,
        "source": source,
        "cpuid": {
            "vendor": stated.vendor,
            "family": stated.family,
            "model": stated.model,
            "levels": [_stated(each) for each in stated.levels],
            "remarks": list(stated.remarks),
        },
        "documented": {"core": core, "levels": [_stated(each) for each in levels]},
        "fitted": None if found is None else _fitted(found),
        "facts": {} if found is None else found.facts,
        "unavailable": list(runs.unavailable),
    }
    document["remarks"] = list(_remarks(document, runs.cpus))
    return document


def _stated(level: TlbLevel) -> dict[str, Any]:
    return {
        "level": level.level,
        "pages": list(level.pages),
        "entries": level.entries,
        "ways": level.ways,
        "stores": level.stores,
        "source": level.source,
    }


def _fitted(found: Found) -> dict[str, Any]:
    walk = found.small.second
    return {
        "4K": _chase(found.small),
        "2M": _chase(found.huge) if found.huge else None,
        "refill_ns": _estimate(found.refill_ns),
        "page_flush_empties": _estimate(found.page_flush_empties),
        "fractured": found.fractured,
        "pcid_keeps": _estimate(found.pcid_keeps),
        "cache_ns": found.cache_ns,
        "walk_in_cached_references": walk.miss_ns.value / found.cache_ns if walk and found.cache_ns else None,
        "walk_references": {
            "bare": walk_references(_GUEST_LEVELS),
            "nested": walk_references(_GUEST_LEVELS, nested_levels=_GUEST_LEVELS),
        },
        "shootdown_rounds_ns": {str(running): ns for running, ns in found.rounds_ns.items()},
        "shootdown_victim_ns": found.victim_ns,
    }


def _chase(chase: Chase) -> dict[str, Any]:
    return {
        "first": _level(chase.first),
        "second": _level(chase.second),
        "beyond": _level(chase.beyond),
        "rms": chase.rms,
        "points": [
            {"pages": pages, "spread_ns": spread, "packed_ns": packed, "model_ns": packed + extra}
            for pages, spread, packed, extra in chase.points
        ],
    }


def _level(level: Level | None) -> dict[str, Any] | None:
    if level is None:
        return None
    return {"entries": _estimate(level.entries), "miss_ns": _estimate(level.miss_ns), "kind": level.kind}


def _estimate(each: Estimate | None) -> dict[str, float | None] | None:
    if each is None:
        return None
    return {"value": each.value, "stderr": None if math.isnan(each.stderr) else each.stderr}


def _remarks(document: dict[str, Any], cpus: int) -> Iterator[str]:
    """What a reader must know: where CPUID, the documents and the benches differ, and what could not be measured."""
    yield from (f"CPUID: {each}" for each in document["cpuid"]["remarks"])
    fitted = document["fitted"]
    if fitted is None:
        yield "no chase over 4 KiB pages was measured: nothing is fitted"
        return
    yield from _compared(document)
    if (fitted["fractured"] or 0.0) > _MOST:
        yield "2 MiB pages are held as 4 KiB translations: the hypervisor backs guest memory with 4 KiB pages"
    if fitted["page_flush_empties"] and fitted["page_flush_empties"]["value"] > _MOST:
        yield (
            "a flush of one page empties the TLB as a full one does, as it is where a hypervisor backs the guest's "
            "huge pages with smaller ones (N. Amit, Page fracturing, 2018)"
        )
    if fitted["2M"] is None or fitted["2M"]["second"] is None:
        yield "2 MiB pages: memory does not hold enough of them to find the second level's size"
    if fitted["4K"]["beyond"] is not None:
        yield "dearer walks: page tables, the host's too, and cold data cannot be told apart there"
    if cpus < 3:
        yield "flushes beside more than one running thread could not be measured: there are two CPUs at most"
    yield from (f"not measured: {each}" for each in document["unavailable"])


def _compared(document: dict[str, Any]) -> Iterator[str]:
    fitted = document["fitted"]
    for each in [*document["cpuid"]["levels"], *document["documented"]["levels"]]:
        for size in ("4K", "2M"):
            chase = fitted[size]
            level = chase and chase["first" if each["level"] == 1 else "second"]
            if size not in each["pages"] or each["stores"] or not level:
                continue
            measured = level["entries"]["value"]
            if abs(measured / each["entries"] - 1.0) > _FAR:
                yield (
                    f"{size}, level {each['level']}: {measured:.0f} entries measured, "
                    f"{each['entries']} by {each['source']}"
                )


def tlb_text(document: dict[str, Any]) -> str:
    """The document as tables of 80 columns."""
    cpuid = document["cpuid"]
    lines = [
        f"{document['machine']}, measured {document['date']}: {document['cpu']}",
        f"CPUID: {cpuid['vendor']}, family {cpuid['family']}, model {cpuid['model']}",
    ]
    core = document["documented"]["core"]
    stated = [("CPUID", each) for each in cpuid["levels"]]
    stated += [(core, each) for each in document["documented"]["levels"]]
    lines.append(f"{'data TLB':34}{'level':>6}  {'pages':10}{'entries':>8}{'ways':>6}")
    lines += [
        f"{who:34}{each['level']:6}  {'+'.join(each['pages']):10}{each['entries']:8}{each['ways'] or '-':>6}"
        for who, each in stated
    ]
    fitted = document["fitted"]
    if fitted is not None:
        lines += list(_fitted_lines(fitted))
    sources = dict.fromkeys(each["source"] for _, each in stated)
    lines += [f"source: {each}" for each in sources]
    return "\n".join([*lines, *(f"note: {each}" for each in document["remarks"])])


def _fitted_lines(fitted: dict[str, Any]) -> Iterator[str]:
    yield f"{'measured':34}{'entries':>16}{'miss ns':>18}  picks a set by"
    names = (("first", "first level"), ("second", "second level, then a page walk"), ("beyond", "walks beyond caches"))
    for size in ("4K", "2M"):
        for key, name in names:
            level = fitted[size] and fitted[size][key]
            if level:
                entries, miss = _pm(level["entries"], 0), _pm(level["miss_ns"], 2)
                yield f"{size + ' ' + name:34}{entries:>16}{miss:>18}  {level['kind']}"
        if fitted[size]:
            yield f"{size + ' rms of the fit':34}{fitted[size]['rms']:16.1%}"
    rows = (
        ("refill after a full flush, a page", "refill_ns", " ns"),
        ("a page's flush empties, share", "page_flush_empties", ""),
        ("kept over a switch (PCID), share", "pcid_keeps", ""),
    )
    yield from (f"{name:34}{_pm(fitted[key], 2):>16}{unit}" for name, key, unit in rows if fitted[key])
    if fitted["fractured"] is not None:
        yield f"{'2M held in 4K pieces, share':34}{fitted['fractured']:16.2f}"
    if fitted["walk_in_cached_references"]:
        most = fitted["walk_references"]
        yield (
            f"{'a walk, in second-level-cache hits':34}{fitted['walk_in_cached_references']:16.1f}"
            f"  (at most {most['bare']} references bare, {most['nested']} nested)"
        )
    for running, ns in fitted["shootdown_rounds_ns"].items():
        yield f"{'flush beside running threads: ' + running:34}{ns:16.0f} ns more than beside none"
    if fitted["shootdown_victim_ns"]:
        yield f"{'taken from such a thread':34}{fitted['shootdown_victim_ns']:16.0f} ns a flush"


def _pm(each: dict[str, float | None], digits: int) -> str:
    stderr = "" if each["stderr"] is None else f" +-{each['stderr']:.{digits}f}"
    return f"{each['value']:.{digits}f}{stderr}"
