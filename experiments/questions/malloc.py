"""jemalloc against glibc's malloc: what freed memory that stays, and heaps that are mappings, cost a fork.

Both hold the same live memory, from which a share was freed before. glibc keeps it: an arena other than the first trims
only the top of its heaps of 64 MiB, each two vmas, what is used and what is not yet
(`malloc/arena.c:new_heap@2.36`, HEAP_MAX_SIZE, M_TRIM_THRESHOLD). jemalloc purges it within its decay of 10 s
(`opt.dirty_decay_ms`), spread over the addresses, in few mappings that it retains (`opt.retain`, jemalloc(3) 5.3).
"""

from __future__ import annotations

from dataclasses import replace

from calibration.capture.synthetic import synthetic_parent
from experiments.headline import duration, size
from experiments.questions.asking import GIB, Answer, Row, asked, one
from experiments.variants import heap_of
from model.address_space import AddressSpace
from model.process import Process
from model.units import NS_PER_US, PAGE_BYTES, PMD_BYTES, PUD_BYTES

QUESTION = "What does a fork cost a server on glibc's malloc and on jemalloc, by how much memory it has freed?"
LIVE = int(4 * GIB)
FREED = (0.0, 0.1, 0.25, 0.5)
"""Shares of the memory once in use that have been freed."""
HEAP_MAX_BYTES = 64 << 20
VMAS_A_HEAP = 2
RETAINED_VMAS = 16
"""jemalloc's mappings: each grows by doubling (exponential growth of `opt.retain`), so a few hold any size."""


def answer(machine: str) -> Answer:
    """Both allocators, and by how many vmas jemalloc's advantage would be eaten up."""
    rows: list[Row] = []
    for freed in FREED:
        used = round(LIVE / (1.0 - freed))
        heaps = -(-used // HEAP_MAX_BYTES)
        rows.append(_row("glibc", freed, synthetic_parent(used, vmas=VMAS_A_HEAP * heaps), machine))
        rows.append(_row("jemalloc", freed, _purged(used), machine))
    figures: dict[str, float | None] = {}
    words = []
    for freed in FREED:
        calls = {name: one(rows, "call_us_p50", allocator=name, freed=freed) for name in ("glibc", "jemalloc")}
        figures |= {f"{name}, freed {freed:g}: call_us": call_us for name, call_us in calls.items()}
        words.append(
            f"{freed:.0%} freed: fork returns after {duration(calls['glibc'])} on glibc, "
            f"{duration(calls['jemalloc'])} on jemalloc ({calls['jemalloc'] / calls['glibc'] - 1:+.0%})."
        )
    split = _call_us(synthetic_parent(LIVE, vmas=1001), machine) - _call_us(synthetic_parent(LIVE), machine)
    saved = (figures["glibc, freed 0.25: call_us"] or 0.0) - (figures["jemalloc, freed 0.25: call_us"] or 0.0)
    figures["us of a thousand mappings apart"], figures["mappings worth a quarter freed"] = split, saved / split * 1000
    words.append(
        f"What a quarter freed and kept by glibc ({size(LIVE / 3)}) costs a fork, {saved / split * 1000:,.0f} more "
        f"mappings would cost that lie apart, each with a page table of its own."
    )
    return Answer(name="malloc", question=QUESTION, words=tuple(words), figures=figures, rows=rows)


def _purged(used: int) -> Process:
    """jemalloc's mappings, with the live memory left everywhere in them and holes between."""
    parent = synthetic_parent(used, vmas=RETAINED_VMAS)
    heap = parent.space.vmas[heap_of(parent.space)]
    kept = LIVE / used
    vmas = tuple(
        replace(
            vma,
            anon_ptes=round(vma.anon_ptes * kept),
            pte_spans=-(-vma.end // PMD_BYTES) - vma.start // PMD_BYTES,
            pmd_spans=-(-vma.end // PUD_BYTES) - vma.start // PUD_BYTES,
        )
        if vma.size_bytes >= heap.size_bytes - PAGE_BYTES and vma.anon_ptes
        else vma
        for vma in parent.space.vmas
    )
    return replace(parent, space=AddressSpace(vmas))


def _row(allocator: str, freed: float, parent: Process, machine: str) -> Row:
    return {
        "allocator": allocator,
        "freed": freed,
        "vmas": len(parent.space.vmas),
        "resident": parent.space.anon_bytes,
        "call_us_p50": _call_us(parent, machine),
    }


def _call_us(parent: Process, machine: str) -> float:
    return asked(parent, machine).milestones["call"].p50_ns / NS_PER_US
