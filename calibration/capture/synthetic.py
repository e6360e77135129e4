"""A parent by its size alone: written memory, vmas, threads and descriptors beside what any C program has."""

from __future__ import annotations

from dataclasses import replace

from calibration.capture.description import MAX_FDS, MAX_THREADS, MAX_VMAS, lay_out
from calibration.capture.parent_file import read_parent
from calibration.capture.procfs import ASSUMED_CONTIGUOUS
from calibration.capture.sizes import MAX_SIZE_BYTES
from calibration.errors import BadInput
from model.address_space import AddressSpace, Vma, VmaKind
from model.process import Caller, Process
from model.units import PAGE_BYTES, PMD_BYTES, pages_of

C_PROGRAM = "c-program"
"""The bundled capture whose vmas every synthetic parent has."""
_MMAP_AREA = 0x7000_0000_0000
_STACK_BYTES = 8 << 20
_TOUCHED_PAGES = 2
"""Of a sleeping thread's stack: the one with its struct pthread, and one of frames."""


def synthetic_parent(rss_bytes: int, vmas: int = 1, threads: int = 1, fds: int = 3) -> Process:
    """A C program with `rss_bytes` of written private anonymous memory, spread evenly over `vmas` mappings.

    They lie below its libraries as `mmap` puts them: on 2 MiB boundaries if as large, else a page apart. Each thread
    beyond the first brings what glibc maps for it (`nptl/allocatestack.c:allocate_stack@2.36`): a stack of 8 MiB with
    two touched pages, and a guard. The caller is hot; contiguous and writable are assumed.

    Raises:
        BadInput: a number out of range, or more than an address space holds.
    """
    _refuse_outside("rss", rss_bytes, 0, MAX_SIZE_BYTES)
    _refuse_outside("vmas", vmas, 1, MAX_VMAS)
    _refuse_outside("threads", threads, 1, min(MAX_THREADS, MAX_VMAS // 2))
    _refuse_outside("fds", fds, 0, MAX_FDS)
    own = read_parent(C_PROGRAM)
    top = min(vma.start for vma in own.space.vmas if vma.start >= _MMAP_AREA)
    stacks = _thread_stacks(threads - 1, top)
    memory = _memory(rss_bytes, vmas, stacks[0].start if stacks else top)
    below = max(vma.end for vma in own.space.vmas if vma.end < _MMAP_AREA)
    if memory[0].start <= below:
        raise BadInput(f"rss {rss_bytes}", "it does not fit beside the C program's own mappings", "give a smaller one")
    return replace(
        own,
        name="synthetic",
        space=AddressSpace(tuple(sorted((*own.space.vmas, *stacks, *memory), key=lambda vma: vma.start))),
        threads=threads,
        open_fds=fds,
        highest_fd=fds - 1,
        caller=Caller.HOT,
        contiguous=ASSUMED_CONTIGUOUS,
        writable=0.0,
        assumed=("contiguous", "writable"),
        origin="synthetic",
    )


def _refuse_outside(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise BadInput(f"{name} {value}", "out of range", f"give a number from {least} to {most}")


def _memory(rss_bytes: int, count: int, top: int) -> list[Vma]:
    """The written mappings below `top`; the first ones get the pages that do not divide evenly."""
    each, more = divmod(pages_of(rss_bytes), count)
    size_bytes = max(1, each + (more > 0)) * PAGE_BYTES
    starts = lay_out(size_bytes, count, 0)
    first = (top - starts[-1] - size_bytes - PAGE_BYTES) // PMD_BYTES * PMD_BYTES
    return [_written(first + start, each + (index < more)) for index, start in enumerate(starts)]


def _written(start: int, pages: int) -> Vma:
    return Vma(
        start=start,
        end=start + max(1, pages) * PAGE_BYTES,
        anon_ptes=pages,
        anon_vma=pages > 0,
        tail_populated=pages > 0,
    )


def _thread_stacks(count: int, top: int) -> list[Vma]:
    stacks: list[Vma] = []
    for index in range(count, 0, -1):
        guard = top - index * (_STACK_BYTES + PAGE_BYTES)
        start, end = guard + PAGE_BYTES, guard + PAGE_BYTES + _STACK_BYTES
        stacks.append(
            Vma(start=guard, end=start, kind=VmaKind.GUARD, account=False, writable_private=False),
        )
        stacks.append(
            Vma(
                start=start,
                end=end,
                anon_ptes=_TOUCHED_PAGES,
                anon_vma=True,
                pte_spans=1 + ((end - 1) // PMD_BYTES != (end - _TOUCHED_PAGES * PAGE_BYTES) // PMD_BYTES),
                head_populated=False,
                tail_populated=True,
                path="[thread stack]",
            )
        )
    return stacks
