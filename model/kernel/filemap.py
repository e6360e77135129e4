"""What an execve with a cold page cache reads in: `mm/filemap.c` and `mm/readahead.c`.

A read of the storage has a price each and a price a KiB, both latencies: nobody works them off. The counts follow from
sizes and from what start-up touches; directories and inodes are taken to be cached.
"""

from __future__ import annotations

from model.elf_image import LOADER_CACHE, ElfImage, ElfObject
from model.kernel.task import Task
from model.units import PAGE_BYTES

HEADER_PAGES = 4
"""What a first read of less than a page reads in: get_init_ra_size of mm/readahead.c."""
READ_AHEAD_KIB = 128.0
"""Read-ahead of a disk unless the fact `read_ahead_kib` says otherwise: VM_READAHEAD_PAGES of linux/pagemap.h."""
KIB_OF_PAGE = PAGE_BYTES / 1024


def _pages(each: ElfObject) -> int:
    return -(-each.file_bytes // PAGE_BYTES)


def mapped_reads(each: ElfObject, read_ahead_pages: float) -> tuple[float, float]:
    """Reads, and KiB read, by the faults of a mapped file whose header is in.

    do_sync_mmap_readahead of mm/filemap.c: a fault on a page that is not there reads a whole window around it, on
    x86-64 for text as for data: no more reads than windows in the file, none without a fault. One for each 64 KiB that
    is read and each page that is written, at most.
    """
    left = max(0, _pages(each) - HEADER_PAGES)
    faults = each.readable_windows + each.dirtied_pages
    reads = min(float(-(-left // read_ahead_pages)), float(faults))
    return reads, KIB_OF_PAGE * min(float(left), reads * read_ahead_pages)


def read_header(task: Task, each: ElfObject) -> None:
    """The first pages of a file, by the read of its headers: page_cache_sync_ra of mm/readahead.c.

    Charges: those of read_storage.
    """
    cached = task.system.cached
    if cached is None or each.path in cached:
        return
    pages = min(HEADER_PAGES, _pages(each))
    read_storage(task, float(pages > 0), pages * KIB_OF_PAGE)


def read_storage(task: Task, reads: float, amount_kib: float) -> None:
    """Reads of files that came with the system, not just written: mm/filemap.c:filemap_fault@v6.18 and the storage.

    Charges: storage_read, storage_kib, storage_installed_kib.
    """
    task.latency("storage_read", reads)
    task.latency("storage_kib", amount_kib)
    task.latency("storage_installed_kib", amount_kib)


def read_mapped(task: Task, each: ElfObject) -> None:
    """The rest of a file, as its pages are first touched; from then on it is in the page cache.

    Charges: those of read_storage.
    Leaves out: read-ahead that goes on beside the program, which the next fault finds done.
    """
    cached = task.system.cached
    if cached is None or each.path in cached:
        return
    cached.add(each.path)
    read_storage(task, *mapped_reads(each, _read_ahead_pages(task)))


def read_loader_cache(task: Task, image: ElfImage) -> None:
    """ld.so.cache, which the loader maps and searches from its middle on: its first fault reads it.

    Charges: those of read_storage.
    """
    cached = task.system.cached
    if cached is None or not image.cache_bytes or LOADER_CACHE in cached:
        return
    cached.add(LOADER_CACHE)
    pages = -(-image.cache_bytes // PAGE_BYTES)
    read_storage(task, -(-pages // _read_ahead_pages(task)), pages * KIB_OF_PAGE)


def _read_ahead_pages(task: Task) -> float:
    return max(1.0, task.system.machine.facts.get("read_ahead_kib", READ_AHEAD_KIB) // KIB_OF_PAGE)


def read_scripts(task: Task, image: ElfImage) -> None:
    """The first page of each script on the way.

    Charges: those of read_storage.
    """
    if task.system.cached is not None:
        read_storage(task, image.script_depth, image.script_depth * KIB_OF_PAGE)
