"""A guess at what each vma holds where only maps is there: what the whole process holds, spread by size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from calibration.capture.proc_files import read_text, status_number
from model.address_space import Vma, VmaKind
from model.units import PAGE_BYTES

_PAGE_KIB = PAGE_BYTES // 1024


@dataclass(frozen=True, slots=True)
class _Stated:
    """Resident and swapped pages of a whole process; None: nothing says, so all that could be resident is taken."""

    anon: int | None
    file: int | None
    shmem: int | None
    swap: int


def _stated(directory: Path, status: dict[str, str]) -> _Stated:
    keys = ("RssAnon", "RssFile", "RssShmem", "VmSwap")
    anon, file, shmem, swap = (status_number(status, key) for key in keys)
    if anon is not None:
        return _Stated(anon // _PAGE_KIB, (file or 0) // _PAGE_KIB, (shmem or 0) // _PAGE_KIB, (swap or 0) // _PAGE_KIB)
    statm = (read_text(directory / "statm") or "").split()
    if len(statm) >= 3 and all(word.isascii() and word.isdecimal() and len(word) < 16 for word in statm[:3]):
        resident, shared = int(statm[1]), int(statm[2])
        return _Stated(max(0, resident - shared), shared, 0, 0)
    return _Stated(None, None, None, 0)


def _share(vmas: Sequence[Vma], pages: int | None, eligible: Callable[[Vma], bool]) -> list[int]:
    """`pages` over the eligible vmas in proportion to their size, none getting more than it has room for."""
    room = [vma.size_bytes // PAGE_BYTES if eligible(vma) else 0 for vma in vmas]
    whole = sum(room)
    if pages is None or pages >= whole:
        return room
    bounds, before = [0], 0
    for size in room:
        before += size
        bounds.append(before * pages // whole)
    return [high - low for low, high in pairwise(bounds)]


def spread_resident(directory: Path, vmas: Sequence[Vma], status: dict[str, str]) -> tuple[Vma, ...]:
    """Each vma with its share of what status, else statm, says is resident; all that can be where neither is there.

    Anonymous and swapped pages go to writable private mappings, file pages to the other private file mappings, shmem
    pages to shared ones. Pmd mappings cannot be seen: all pages are taken as 4 KiB.
    """
    stated = _stated(directory, status)
    anon = _share(vmas, stated.anon, lambda vma: vma.writable_private)
    file = _share(vmas, stated.file, lambda vma: vma.kind is VmaKind.FILE_PRIVATE and not vma.writable_private)
    shmem = _share(vmas, stated.shmem, lambda vma: vma.kind is VmaKind.FILE_SHARED)
    swap = _share(vmas, stated.swap, lambda vma: vma.writable_private)
    spread = []
    for vma, anon_ptes, file_ptes, shmem_ptes, swapped in zip(vmas, anon, file, shmem, swap, strict=True):
        swap_ptes = min(swapped, vma.size_bytes // PAGE_BYTES - anon_ptes)
        spread.append(
            replace(
                vma,
                anon_ptes=anon_ptes,
                file_ptes=file_ptes + shmem_ptes,
                swap_ptes=swap_ptes,
                anon_vma=anon_ptes + swap_ptes > 0,
            )
        )
    return tuple(spread)
