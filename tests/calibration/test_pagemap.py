"""pagemap and kpageflags: tables, contiguity and folios, from made-up files and from live memory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from calibration.capture.pagemap import BUDGET_SPANS, survey
from model.address_space import Vma, VmaKind
from model.units import PAGE_BYTES, PMD_BYTES

PRESENT, SWAPPED, FILE = 1 << 63, 1 << 62, 1 << 61
BASE = 0x4000_0000


class Copy:
    """A directory with a sparse pagemap, and kpageflags beside it."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "1234"
        self.directory.mkdir()
        self.pagemap = self.directory / "pagemap"
        self.kpageflags = root / "kpageflags"
        self.pagemap.touch()

    def put(self, address: int, words: list[int], file: Path | None = None) -> None:
        """Words at the place of an address (or of a frame number, in kpageflags)."""
        descriptor = os.open(file or self.pagemap, os.O_RDWR | os.O_CREAT, 0o600)
        place = address if file else address // PAGE_BYTES
        os.pwrite(descriptor, np.array(words, dtype=np.uint64).tobytes(), place * 8)
        os.close(descriptor)

    def one(self, vma: Vma) -> tuple[Vma, float | None]:
        """The vma as surveyed, and the contiguity."""
        seen = survey([vma], self.directory)
        assert seen is not None
        return seen.vmas[0], seen.contiguous


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def anon(size_bytes: int, start: int = BASE, **counts: int) -> Vma:
    return Vma(start=start, end=start + size_bytes, anon_vma=True, **counts)  # type: ignore[arg-type]


def test_only_populated_spans_have_a_table(copy: Copy) -> None:
    copy.put(BASE + PMD_BYTES, [PRESENT | 5])
    copy.put(BASE + 3 * PMD_BYTES, [SWAPPED])
    vma, _ = copy.one(anon(8 * PMD_BYTES, anon_ptes=1, swap_ptes=1))
    assert (vma.pte_spans, vma.head_populated, vma.tail_populated) == (2, False, False)


def test_an_unaligned_vma_touches_its_first_and_last_span(copy: Copy) -> None:
    start = BASE + PMD_BYTES - PAGE_BYTES
    copy.put(start, [PRESENT | 9, PRESENT | 10])
    vma, contiguous = copy.one(anon(2 * PAGE_BYTES, start, anon_ptes=2))
    assert (vma.pte_spans, vma.head_populated, vma.tail_populated, contiguous) == (2, True, True, 1.0)


def test_pages_of_the_neighbours_are_not_counted(copy: Copy) -> None:
    copy.put(BASE, [PRESENT | 1] * 1024)
    vma, _ = copy.one(anon(PAGE_BYTES, BASE + 4 * PAGE_BYTES, anon_ptes=1))
    assert vma.pte_spans == 1


def test_contiguous_is_the_fraction_of_neighbouring_frames(copy: Copy) -> None:
    copy.put(BASE, [PRESENT | frame for frame in (10, 11, 40, 39, 70)])
    assert copy.one(anon(PMD_BYTES, anon_ptes=5))[1] == 0.5


def test_populated_gibs_are_counted(copy: Copy) -> None:
    copy.put(BASE, [PRESENT | 9])
    copy.put(BASE + (5 << 30), [PRESENT | 9])
    vma, _ = copy.one(anon(8 << 30, anon_ptes=2))
    assert (vma.pte_spans, vma.pmd_spans) == (2, 2)


def test_file_pages_and_holes_make_no_pairs(copy: Copy) -> None:
    copy.put(BASE, [PRESENT | 10, PRESENT | FILE | 11, PRESENT | 12, 0, PRESENT | 13, PRESENT | 14])
    assert copy.one(anon(PMD_BYTES, anon_ptes=4))[1] == 1.0


def test_hidden_frames_leave_contiguity_unknown(copy: Copy) -> None:
    copy.put(BASE, [PRESENT] * 600)
    seen = survey([anon(2 * PMD_BYTES, anon_ptes=600)], copy.directory)
    assert seen is not None
    assert (seen.contiguous, seen.folios_known, seen.vmas[0].pte_spans) == (None, False, 2)


@pytest.mark.parametrize("first_frame", [1024, 0])
def test_pmd_mappings_have_no_table_and_no_say_in_contiguity(copy: Copy, first_frame: int) -> None:
    frames = [PRESENT | (first_frame + offset if first_frame else 0) for offset in range(512)]
    copy.put(BASE, frames)
    copy.put(BASE + PMD_BYTES, [PRESENT | 7, PRESENT | 3, PRESENT | 9])
    vma, contiguous = copy.one(anon(2 * PMD_BYTES, anon_ptes=3, huge_pmds=1))
    assert (vma.pte_spans, contiguous) == (1, 0.0)


def test_folio_pages_follow_from_heads_and_tails(copy: Copy) -> None:
    head, tail = 1 << 15, 1 << 16
    copy.put(BASE, [PRESENT | frame for frame in range(64, 128)])
    copy.put(64, ([head] + [tail] * 15) * 4, copy.kpageflags)
    seen = survey([anon(PMD_BYTES, anon_ptes=64)], copy.directory)
    assert seen is not None
    assert (seen.folios_known, seen.vmas[0].folio_pages) == (True, 16)


def test_small_pages_are_folios_of_one(copy: Copy) -> None:
    copy.put(BASE, [PRESENT | frame for frame in (900, 5, 70000, 6)])
    copy.put(0, [0] * 1000, copy.kpageflags)
    assert copy.one(anon(PMD_BYTES, anon_ptes=4))[0].folio_pages == 1


@pytest.mark.parametrize("every", [1, 3])
def test_a_huge_vma_is_sampled_and_its_tables_extrapolated(copy: Copy, every: int) -> None:
    count = 2 * BUDGET_SPANS
    filled = -(-count // every)
    words = np.zeros((count, 512), dtype=np.uint64)
    words[::every, :2] = PRESENT
    descriptor = os.open(copy.pagemap, os.O_RDWR)
    os.pwrite(descriptor, words.tobytes(), BASE // PAGE_BYTES * 8)
    os.close(descriptor)
    seen = survey([anon(count * PMD_BYTES, anon_ptes=2 * filled)], copy.directory)
    assert seen is not None
    assert seen.sampled
    assert seen.vmas[0].pte_spans == pytest.approx(filled, rel=0.02)


def test_a_sample_that_meets_nothing_leaves_the_vma_as_dense(copy: Copy) -> None:
    vma, _ = copy.one(anon(1 << 40, anon_ptes=3))
    assert vma.pte_spans is None
    assert vma.tables == 1


def test_untouched_reservations_are_not_read(copy: Copy) -> None:
    seen = survey([anon(1 << 45), Vma(start=1 << 46, end=1 << 47, kind=VmaKind.GUARD)], copy.directory)
    assert seen is not None
    assert not seen.sampled
    assert all(vma.tables == 0 for vma in seen.vmas)


def test_a_vma_that_changed_since_smaps_was_read_keeps_sane_counts(copy: Copy) -> None:
    copy.put(BASE, [PRESENT | 1])
    vma, _ = copy.one(anon(4 * PMD_BYTES, anon_ptes=512, huge_pmds=3))
    assert vma.pte_spans == 1


def test_without_pagemap_there_is_no_survey(tmp_path: Path) -> None:
    assert survey([anon(PMD_BYTES)], tmp_path) is None
    (tmp_path / "pagemap").mkdir()
    seen = survey([anon(PMD_BYTES, anon_ptes=1)], tmp_path)
    assert seen is None or seen.vmas[0].tables == 1
