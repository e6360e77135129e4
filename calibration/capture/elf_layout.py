"""Which vmas, copied pages and read windows one ELF file leaves in a new mm.

Kernel side: fs/binfmt_elf.c:elf_load; loader side: glibc elf/dl-map-segments.h:_dl_map_segments, elf/dl-reloc.c.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from calibration.capture.elf_file import ElfFile
from calibration.capture.elf_tables import Addresses
from calibration.capture.relocations import R_COPY, Bound
from model.elf_image import ElfObject, Role
from model.units import PAGE_BYTES

LINE_BYTES = 64
FAULT_AROUND_BYTES = 65536  # mm/memory.c:FAULT_AROUND_BYTES, its default
PROTECTION_BITS = 7
READ_AT_OPEN_BYTES = 832  # glibc elf/dl-load.h:struct filebuf
HEADER_PREADS = 2  # elf/dl-load.c:open_verify and _dl_map_object_from_fd
MAX_COPIED_BYTES = 1 << 20
DT_PLTGOT, DT_INIT, DT_DEBUG, DT_INIT_ARRAY, DT_INIT_ARRAYSZ, DT_PREINIT_ARRAYSZ = 3, 12, 21, 25, 27, 33
ADJUSTED_TAGS = (4, 3, 5, 6, 36, 23, 0x6FFFFFF0, 0x6FFFFEF5, 7, DT_DEBUG)
"""Entries of .dynamic that the loader rewrites (glibc elf/get-dynamic-info.h), and DT_DEBUG."""
DT_STRTAB, HASH_TAGS, NAME_TAGS = 5, (4, 0x6FFFFEF5), (1, 14, 15, 29)
"""DT_HASH and DT_GNU_HASH; DT_NEEDED, DT_SONAME, DT_RPATH and DT_RUNPATH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedVma:
    """One vma at link-time addresses."""

    start: int
    end: int
    offset: int
    flags: int
    file: bool
    dirtied: bool = False

    @property
    def pages(self) -> int:
        """Its size."""
        return (self.end - self.start) // PAGE_BYTES


def page_down(address: int) -> int:
    """Start of the page."""
    return address // PAGE_BYTES * PAGE_BYTES


def page_up(address: int) -> int:
    """Start of the next page unless it is one."""
    return -(-address // PAGE_BYTES) * PAGE_BYTES


def mapped_vmas(elf: ElfFile, role: Role) -> tuple[MappedVma, ...]:
    """Vmas right after mapping: file parts, bss, and for libraries the PROT_NONE holes between segments."""
    vmas: list[MappedVma] = []
    for segment in elf.segments:
        start, file_end = page_down(segment.vaddr), page_up(segment.vaddr + segment.file_bytes)
        end = page_up(segment.vaddr + segment.memory_bytes)
        flags, offset = segment.flags & PROTECTION_BITS, page_down(segment.offset)
        if vmas and role == "library" and start > vmas[-1].end:
            vmas.append(MappedVma(start=vmas[-1].end, end=start, offset=-1, flags=0, file=True))
        if segment.file_bytes and file_end > start:
            _append(vmas, MappedVma(start=start, end=file_end, offset=offset, flags=flags, file=True))
        bss = max(start, file_end) if segment.file_bytes else start
        if end > bss:
            _append(vmas, MappedVma(start=bss, end=end, offset=-1, flags=flags, file=False))
    return tuple(vmas)


def mapped_segments(elf: ElfFile) -> int:
    """PT_LOADs that are mapped: glibc's loader and the kernel pass over one that holds nothing; a first one counts."""
    others = elf.segments[1:]
    ends = ((page_down(each.vaddr), page_up(each.vaddr + each.file_bytes)) for each in others)
    return 1 + sum(end > start for start, end in ends)


def _append(vmas: list[MappedVma], new: MappedVma) -> None:
    """Add a vma, merged where flags, addresses and file offsets go on (mm/vma.c:vma_merge_new_range@v6.18)."""
    if vmas:
        last = vmas[-1]
        alike = last.flags == new.flags and last.file == new.file and last.end == new.start
        if alike and (not new.file or last.offset + last.end - last.start == new.offset):
            vmas[-1] = replace(last, end=new.end)
            return
    vmas.append(new)


def relro_range(elf: ElfFile) -> tuple[int, int]:
    """Whole pages that the loader write-protects after relocation (glibc elf/dl-reloc.c:_dl_protect_relro)."""
    start, size = elf.relro
    return page_down(start), page_down(start + size)


def split_relro(vmas: Iterable[MappedVma], start: int, end: int) -> tuple[MappedVma, ...]:
    """Vmas after mprotect of [start, end): parts of one that had an anon_vma all have one."""
    parts: list[MappedVma] = []
    for vma in vmas:
        cuts = [vma.start, *(cut for cut in (start, end) if start < end and vma.start < cut < vma.end), vma.end]
        for low, high in itertools.pairwise(cuts):
            offset = vma.offset + low - vma.start if vma.offset >= 0 else -1
            parts.append(replace(vma, start=low, end=high, offset=offset))
    return tuple(parts)


def written_pages(elf: ElfFile, role: Role, bound: Bound, *, lazy: bool) -> npt.NDArray[np.uint64]:
    """Page numbers that start-up writes in one object, ascending.

    Counted: relocations, RELR words, the .dynamic entries that the loader rewrites, the two GOT words of lazy binding,
    the cleared bss tail, targets of copy relocations; of ld.so every page of its writable segments, which hold
    its own state.
    """
    parts: list[Addresses] = [*bound.written]
    if elf.position_independent:
        relative = elf.rela["offset"][: elf.relative_count]
        parts += [relative, elf.relr, elf.relr + np.uint64(7), relative + np.uint64(7)]
    single = [_dynamic_writes(elf), _tail_writes(elf)]
    if lazy and len(elf.jmprel):
        single.append([elf.dynamic.get(DT_PLTGOT, 0) + 8, elf.dynamic.get(DT_PLTGOT, 0) + 16])
    parts += [_addresses(each) for each in single]
    parts.append(_copy_targets(elf))
    if role == "interpreter":
        parts += [_span(each.vaddr, each.file_bytes) for each in elf.segments if each.writable]
    return np.unique(np.concatenate(parts) // np.uint64(PAGE_BYTES))


def _addresses(values: Iterable[int]) -> Addresses:
    """Addresses as the 64-bit CPU computes them."""
    return np.array([each & 0xFFFFFFFFFFFFFFFF for each in values], np.uint64)


def _span(start: int, size_bytes: int) -> Addresses:
    """One address a page of a range in the file."""
    return np.arange(page_down(start), start + size_bytes, PAGE_BYTES, dtype=np.uint64)


def _copy_targets(elf: ElfFile) -> Addresses:
    """One address a page of what copy relocations write; of a single symbol at most the first 256 pages."""
    copies = elf.rela[elf.rela["type"] == R_COPY]
    if len(copies) == 0:
        return np.zeros(0, np.uint64)
    first = copies["offset"] // np.uint64(PAGE_BYTES)
    sizes = np.minimum(elf.symbols["size"][copies["symbol"]], np.uint64(MAX_COPIED_BYTES))
    last = (copies["offset"] + np.maximum(sizes, np.uint64(1)) - np.uint64(1)) // np.uint64(PAGE_BYTES)
    low, high = np.unique(np.stack([first, np.maximum(first, last)], axis=1), axis=0).T
    parts = [low + np.uint64(step) for step in range(int((high - low).max()) + 1)]
    return np.concatenate([np.minimum(each, high) for each in parts]) * np.uint64(PAGE_BYTES)


def _dynamic_writes(elf: ElfFile) -> list[int]:
    tags = ADJUSTED_TAGS if elf.position_independent else (DT_DEBUG,)
    return [elf.dynamic_slots[tag] + 8 for tag in tags if tag in elf.dynamic_slots]


def _tail_writes(elf: ElfFile) -> list[int]:
    """Last file page of a segment with bss behind it, where the file does not end with the page."""
    ends = [(each.vaddr + each.file_bytes, each.memory_bytes > each.file_bytes) for each in elf.segments]
    return [end for end, bss in ends if bss and end % PAGE_BYTES]


def _mapping_writes(elf: ElfFile, on_file: Iterable[MappedVma]) -> int:
    """Pages written when the object is mapped: see `ElfObject.mapping_dirtied_pages`."""
    pages = np.unique(_addresses([*_dynamic_writes(elf), *_tail_writes(elf)]) // np.uint64(PAGE_BYTES))
    return sum(pages_within(each, pages) for each in on_file)


def mark_dirtied(vmas: Iterable[MappedVma], pages: npt.NDArray[np.uint64]) -> tuple[MappedVma, ...]:
    """Vmas with `dirtied` set where a written page lies in them."""
    return tuple(replace(vma, dirtied=pages_within(vma, pages) > 0) for vma in vmas)


def pages_within(vma: MappedVma, pages: npt.NDArray[np.uint64]) -> int:
    """How many of the ascending page numbers lie in the vma."""
    low, high = np.searchsorted(pages, np.array([vma.start, vma.end], np.uint64) // np.uint64(PAGE_BYTES))
    return int(high - low)


def constructor_addresses(elf: ElfFile) -> tuple[int, list[int]]:
    """Number of DT_INIT and DT_INIT_ARRAY entries, and the addresses that relocations give them."""
    addresses = [elf.dynamic[DT_INIT]] if elf.dynamic.get(DT_INIT) else []
    start = elf.dynamic.get(DT_INIT_ARRAY, 0)
    count = elf.dynamic.get(DT_INIT_ARRAYSZ, 0) // 8 if start else 0
    inside = (elf.rela["offset"] >= start) & (elf.rela["offset"] < start + 8 * count)
    targets = [int(each) for each in elf.rela["addend"][inside] if each > 0]
    return len(addresses) + count, addresses + targets


def preinit_count(elf: ElfFile) -> int:
    """Entries of DT_PREINIT_ARRAY."""
    return elf.dynamic.get(DT_PREINIT_ARRAYSZ, 0) // 8


def mapping_reads(elf: ElfFile) -> Addresses:
    """What is read of an object when it is mapped: see `ElfObject.mapping_windows`."""
    heads = [elf.dynamic[tag] for tag in HASH_TAGS if tag in elf.dynamic]
    names = [elf.dynamic[DT_STRTAB] + elf.dynamic[tag] for tag in NAME_TAGS if {tag, DT_STRTAB} <= elf.dynamic.keys()]
    return _addresses([*elf.read_early, *elf.dynamic_slots.values(), *heads, *names])


def version_reads(elf: ElfFile) -> Addresses:
    """What the check of versions reads."""
    return np.concatenate([_addresses([]), *(_span(start, size) for start, size in elf.version_tables.items())])


def read_windows(elf: ElfFile, role: Role, bound: Bound, vmas: Sequence[MappedVma]) -> int:
    """Distinct 64 KiB windows a file vma that loader and start-up read: see `ElfObject.readable_windows`."""
    parts = [*bound.read, _addresses([elf.entry if role == "executable" else 0]), mapping_reads(elf)]
    parts.append(_addresses([*bound.ifuncs, *constructor_addresses(elf)[1]]))
    parts.append(version_reads(elf))
    spans: list[tuple[int, int]] = []
    for table, address_tag in ((elf.rela, 7), (elf.jmprel, 23)):
        if len(table):
            spans.append((elf.dynamic[address_tag], table.nbytes))
    if role == "interpreter":
        spans += [(each.vaddr, each.file_bytes) for each in elf.segments if not each.writable]
    parts += [_span(start, size) for start, size in spans]
    return windows_of(np.concatenate(parts), vmas)


def windows_of(addresses: Addresses, vmas: Sequence[MappedVma]) -> int:
    """Distinct windows of fault-around, a file vma, that addresses lie in."""
    pages = np.unique(addresses // np.uint64(PAGE_BYTES))
    total = 0
    for vma in vmas:
        if vma.file and vma.flags:
            low, high = np.array([vma.start, vma.end], np.uint64) // np.uint64(PAGE_BYTES)
            inside = pages[(pages >= low) & (pages < high)]
            total += len(np.unique(inside // np.uint64(FAULT_AROUND_BYTES // PAGE_BYTES)))
    return total


def distinct_lines(bound: Bound) -> int:
    """Cache lines of an object's tables that look-ups read, each counted once."""
    return len(np.unique(np.concatenate(bound.read) // np.uint64(LINE_BYTES))) if bound.read else 0


def laid_out(elf: ElfFile, role: Role, bound: Bound, *, lazy: bool) -> ElfObject:
    """The part of an `ElfObject` that vmas and pages decide."""
    pages = written_pages(elf, role, bound, lazy=lazy)
    relro_start, relro_end = relro_range(elf)
    vmas = split_relro(mark_dirtied(mapped_vmas(elf, role), pages), relro_start, relro_end)
    on_file = [each for each in vmas if each.file]
    anonymous = [each for each in vmas if not each.file]
    early = mapping_reads(elf)
    mapping_windows = windows_of(early, vmas)
    return ElfObject(
        name=elf.soname,
        path=elf.path,
        role=role,
        load_segments=mapped_segments(elf),
        header_preads=HEADER_PREADS if role == "library" and elf.headers_end > READ_AT_OPEN_BYTES else 0,
        over_aligned=role == "library" and any(each.align_bytes > PAGE_BYTES for each in elf.segments),
        holes=role == "library" and any(each.file and not each.flags for each in vmas),
        file_vmas_clean=sum(not each.dirtied for each in on_file),
        file_vmas_dirtied=sum(each.dirtied for each in on_file),
        anon_vmas=len(anonymous),
        mapped_file_pages=sum(each.pages for each in on_file),
        bss_pages=sum(each.pages for each in anonymous),
        relro=relro_end > relro_start,
        clears_bss_tail=bool(_tail_writes(elf)),
        dirtied_pages=sum(pages_within(each, pages) for each in on_file),
        dirtied_bss_pages=sum(pages_within(each, pages) for each in anonymous),
        readable_windows=read_windows(elf, role, bound, vmas),
        mapping_windows=mapping_windows,
        mapping_dirtied_pages=_mapping_writes(elf, on_file),
        version_windows=windows_of(np.concatenate([early, version_reads(elf)]), vmas) - mapping_windows,
        lookup_lines=distinct_lines(bound),
    )
