"""What /proc/PID/pagemap and /proc/kpageflags show beyond smaps: page tables, contiguous frames, folio sizes.

Which pages are present, every user can read of his own processes. Page frame numbers read as zero without
CAP_SYS_ADMIN, and kpageflags belongs to root: contiguity and folio sizes stay unknown then.

Counts of pages come from smaps, which is exact; from here come only populated spans and fractions, so a mapping that
changes or vanishes between the two reads shifts an estimate and breaks nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.address_space import Vma, VmaKind
from model.units import PAGE_BYTES, PMD_BYTES, PTRS_PER_TABLE, PUD_BYTES, spans

Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

BUDGET_SPANS = 16 * 1024
"""Spans of 2 MiB whose pagemap is read in all (64 MiB of it: 32 GiB of addresses). Larger processes are sampled."""
_CHUNK_SPANS = 64
_PIECE_SPANS = 16
_FOLIO_ROWS = 4
_FOLIO_ROWS_IN_ALL = 256
_UNTOUCHED_BYTES = 16 << 20
"""Mappings without resident pages are only read up to this size: pages of zeroes can have populated their tables."""

_PRESENT = np.uint64(1 << 63)
_FILE = np.uint64(1 << 61)
# Present, swapped, guard marker, userfaultfd marker (`fs/proc/task_mmu.c:pte_to_pagemap_entry@v6.18`).
_POPULATED = np.uint64((1 << 63) | (1 << 62) | (1 << 58) | (1 << 57))
_PFN = np.uint64((1 << 55) - 1)
_COMPOUND_TAIL = np.uint64(1 << 16)
_NEXT = np.uint64(1)
_ALIGNED = np.uint64(PTRS_PER_TABLE - 1)


@dataclass(frozen=True, slots=True)
class Survey:
    """Result of a survey.

    Attributes:
        vmas: the vmas with pte_spans, pmd_spans, head_populated, tail_populated and, where readable, folio_pages.
        contiguous: fraction of neighbouring private anonymous ptes with neighbouring frames, in rising or in falling
            order, or None: not readable.
        folios_known: whether folio sizes could be read.
        sampled: whether some vma was too large to be read in whole.
    """

    vmas: tuple[Vma, ...]
    contiguous: float | None
    folios_known: bool
    sampled: bool


@dataclass(slots=True)
class _Tally:
    """Sums over the pieces of one vma that were read."""

    spans_read: int = 0
    populated_spans: int = 0
    ptes: int = 0
    pairs: int = 0
    neighbours: int = 0
    gibs: set[int] = field(default_factory=set)
    gibs_read: set[int] = field(default_factory=set)
    has_frames: bool = False
    huge_left: int = 0
    rows: list[Words] = field(default_factory=list)


def _read_words(descriptor: int, first: int, count: int) -> Words:
    """Words `first` to `first + count` of a file of 64-bit words; zeroes where it has none."""
    words = np.zeros(count, dtype=np.uint64)
    with suppress(OSError, OverflowError):  # gone, or beyond the end
        data = os.pread(descriptor, count * 8, first * 8)
        whole = len(data) // 8
        words[:whole] = np.frombuffer(data[: whole * 8], dtype=np.uint64)
    return words


def _pieces(vma: Vma, allowance: int) -> list[tuple[int, int]]:
    """Ranges of spans to read of a vma: all of them, or evenly spread ones with the first and the last."""
    first, count = vma.start // PMD_BYTES, spans(vma.start, vma.end, PMD_BYTES)
    if count <= max(allowance, 2 * _PIECE_SPANS):
        return [(at, min(at + _CHUNK_SPANS, first + count)) for at in range(first, first + count, _CHUNK_SPANS)]
    pieces = max(2, allowance // _PIECE_SPANS)
    last = count - _PIECE_SPANS
    starts = sorted({first + last * piece // (pieces - 1) for piece in range(pieces)})
    return [(at, at + _PIECE_SPANS) for at in starts]


def _table_rows(descriptor: int, vma: Vma, piece: tuple[int, int]) -> Words:
    """Pagemap entries of the spans of a piece, a row for each span, zeroes outside the vma."""
    low, high = piece[0] * PTRS_PER_TABLE, piece[1] * PTRS_PER_TABLE
    first, end = max(low, vma.start // PAGE_BYTES), min(high, vma.end // PAGE_BYTES)
    if (first, end) == (low, high):
        return _read_words(descriptor, first, end - first).reshape(-1, PTRS_PER_TABLE)
    words = np.zeros(high - low, dtype=np.uint64)
    words[first - low : end - low] = _read_words(descriptor, first, end - first)
    return words.reshape(-1, PTRS_PER_TABLE)


def _small_rows(rows: Words, tally: _Tally) -> Words:
    """Rows without those of pmd mappings: aligned runs of 512 frames, as many as smaps counted huge pmds."""
    if not tally.huge_left:
        return rows
    frames = rows & _PFN
    full = ((rows & _PRESENT) != 0).all(axis=1)
    runs = (np.diff(frames, axis=1) == _NEXT).all(axis=1) & (frames[:, 0] & _ALIGNED == 0)
    huge = np.flatnonzero(full & (runs | (frames[:, 0] == 0)))[: tally.huge_left]
    tally.huge_left -= len(huge)
    return np.delete(rows, huge, axis=0)


def _count_frames(rows: Words, tally: _Tally) -> None:
    """Add the neighbouring frames of a piece, and keep one row of it for the folio sizes."""
    small = _small_rows(rows, tally)
    anon = (small & (_PRESENT | _FILE)) == _PRESENT
    filled = anon.sum(axis=1)
    if not filled.any():
        return
    frames = (small & _PFN).ravel()
    tally.has_frames = tally.has_frames or bool(frames.any())
    flat = anon.ravel()
    pairs = flat[1:] & flat[:-1]
    tally.pairs += int(np.count_nonzero(pairs))
    beside = (frames[1:] == frames[:-1] + _NEXT) | (frames[1:] + _NEXT == frames[:-1])
    tally.neighbours += int(np.count_nonzero(pairs & beside))
    fullest = int(filled.argmax())
    tally.rows.append(frames.reshape(-1, PTRS_PER_TABLE)[fullest][anon[fullest]])


def _tally(descriptor: int, vma: Vma, pieces: Sequence[tuple[int, int]]) -> tuple[_Tally, bool, bool]:
    """Sums over the pieces, and whether the first and the last span of the vma are populated."""
    tally = _Tally(huge_left=vma.huge_pmds)
    head = tail = False
    for piece in pieces:
        rows = _table_rows(descriptor, vma, piece)
        stands = (rows & _POPULATED) != 0
        populated = stands.any(axis=1)
        tally.spans_read += len(rows)
        tally.populated_spans += int(np.count_nonzero(populated))
        tally.ptes += int(np.count_nonzero(stands))
        tally.gibs_read.update(at * PMD_BYTES // PUD_BYTES for at in piece)
        tally.gibs.update(((piece[0] + np.flatnonzero(populated)) * PMD_BYTES // PUD_BYTES).tolist())
        if piece is pieces[0]:
            head = bool(populated[0])
        tail = bool(populated[-1])
        if vma.anon_vma:
            _count_frames(rows, tally)
    return tally, head, tail


def _pte_spans(vma: Vma, tally: _Tally) -> int:
    """Populated spans that have a pte table; of a sampled vma, its pages by the pages in a populated span."""
    count = spans(vma.start, vma.end, PMD_BYTES)
    huge = vma.huge_pmds + vma.file_huge_pmds
    populated = tally.populated_spans
    if tally.spans_read < count:
        pages = vma.ptes + huge * PTRS_PER_TABLE
        filling = tally.ptes / populated if populated else PTRS_PER_TABLE
        populated = min(count, pages, max(round(pages / filling), -(-pages // PTRS_PER_TABLE)))
    return max(1 if vma.ptes else 0, min(populated - huge, count))


def _pmd_spans(vma: Vma, tally: _Tally, tables: int) -> int:
    """Populated spans of 1 GiB; of a sampled vma, as many of all as of those that were read."""
    count = spans(vma.start, vma.end, PUD_BYTES)
    populated = len(tally.gibs)
    if tally.spans_read < spans(vma.start, vma.end, PMD_BYTES):
        populated = round(count * populated / max(1, len(tally.gibs_read)))
    return min(populated, tables + vma.huge_pmds + vma.file_huge_pmds)


def _allowances(vmas: Sequence[Vma]) -> dict[int, int]:
    """Spans to read of each vma, by its index: all of the small ones, and what is left shared by the large ones."""
    wanted = {
        index: spans(vma.start, vma.end, PMD_BYTES)
        for index, vma in enumerate(vmas)
        if not vma.hugetlb_pages
        and vma.kind is not VmaKind.GUARD
        and (vma.ptes or vma.huge_pmds or vma.file_huge_pmds or vma.size_bytes <= _UNTOUCHED_BYTES)
    }
    left, allowed = BUDGET_SPANS, {}
    for place, (index, want) in enumerate(sorted(wanted.items(), key=lambda item: item[1])):
        allowed[index] = min(want, left // (len(wanted) - place))
        left -= allowed[index]
    return allowed


def _ranges(frames: Words) -> Iterator[Words]:
    """Sorted frames, cut where the next one is more than a table's worth away."""
    return iter(np.split(frames, np.flatnonzero(np.diff(frames) > PTRS_PER_TABLE) + 1))


def _tails(kpageflags: int, frames: Words) -> Flags:
    """Which of these page frames are tail pages of a folio."""
    ordered = np.unique(frames)
    found = [
        _read_words(kpageflags, int(run[0]), int(run[-1] - run[0]) + 1)[(run - run[0]).astype(np.intp)]
        for run in _ranges(ordered)
    ]
    flags = np.concatenate(found) & _COMPOUND_TAIL != 0
    return np.asarray(flags[np.searchsorted(ordered, frames)], dtype=np.bool_)


def _folio_pages(kpageflags: int, rows: Sequence[Words]) -> int:
    """Pages of the folios behind some rows of ptes: all pages by the folios that begin among them."""
    pages = begun = 0
    for frames in rows:
        tails = _tails(kpageflags, frames)
        begun += 1 + int(np.count_nonzero(~tails[1:] | (frames[1:] != frames[:-1] + _NEXT)))
        pages += len(frames)
    return max(1, round(pages / begun))


def _with_folios(vmas: list[Vma], tallies: dict[int, _Tally], procfs: Path) -> bool:
    """Set folio_pages of the vmas with most anonymous ptes, as far as the budget reaches; False: not readable."""
    try:
        kpageflags = os.open(procfs / "kpageflags", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        left = _FOLIO_ROWS_IN_ALL
        for index in sorted(tallies, key=lambda at: vmas[at].anon_ptes, reverse=True):
            rows = tallies[index].rows
            chosen = rows[:: -(-len(rows) // _FOLIO_ROWS) or 1]
            if left < len(chosen) or not tallies[index].has_frames:
                continue
            left -= len(chosen)
            if chosen:
                vmas[index] = replace(vmas[index], folio_pages=_folio_pages(kpageflags, chosen))
    finally:
        os.close(kpageflags)
    return True


def _contiguous(vmas: Sequence[Vma], tallies: dict[int, _Tally]) -> float | None:
    """Mean over the vmas, weighted with their anonymous ptes; None if no frame number could be read."""
    weights = neighbours = 0.0
    for index, tally in tallies.items():
        if tally.has_frames and tally.pairs:
            weights += vmas[index].anon_ptes
            neighbours += vmas[index].anon_ptes * tally.neighbours / tally.pairs
    if weights:
        return neighbours / weights
    return 1.0 if any(tally.has_frames for tally in tallies.values()) else None


def survey(vmas: Sequence[Vma], directory: Path) -> Survey | None:
    """Read the pagemap of a /proc/PID directory for these vmas; None where there is none to read.

    At most BUDGET_SPANS spans are read; vmas beyond their share of it are sampled at even distances, and their tables
    follow from the pages that a populated span of the sample holds. Untouched large vmas are not read.
    """
    try:
        descriptor = os.open(directory / "pagemap", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    surveyed, tallies, sampled = list(vmas), {}, False
    try:
        for index, allowance in _allowances(vmas).items():
            vma = vmas[index]
            tally, head, tail = _tally(descriptor, vma, _pieces(vma, allowance))
            if vma.ptes + vma.huge_pmds and not tally.populated_spans:
                continue  # gone since smaps was read, or sparser than the sample: dense is as good a guess
            tallies[index] = tally
            sampled = sampled or tally.spans_read < spans(vma.start, vma.end, PMD_BYTES)
            count = _pte_spans(vma, tally)
            gibs = _pmd_spans(vma, tally, count)
            surveyed[index] = replace(vma, pte_spans=count, pmd_spans=gibs, head_populated=head, tail_populated=tail)
    finally:
        os.close(descriptor)
    contiguous = _contiguous(vmas, tallies)
    frames = contiguous is not None
    folios_known = frames and _with_folios(surveyed, tallies, directory.parent)
    return Survey(tuple(surveyed), contiguous, folios_known, sampled)
