"""One ELF file as kernel and loader read it: program headers and PT_DYNAMIC, never section headers.

`read_elf` reads the tables into numpy arrays and closes the file. Everything that the file says about sizes is checked
against the file before it is believed, so a cut or hostile file ends in `BadInput`, not in a traceback or a long loop.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from elftools.common.exceptions import ELFParseError
from elftools.common.utils import struct_parse
from elftools.construct import ConstructError
from elftools.elf.structs import ELFStructs

from calibration.capture.elf_headers import (
    Segment,
    build_id,
    check_header,
    check_ident,
    damaged,
    first_header,
    interpreter,
    program_segment,
    unreadable,
)
from calibration.capture.elf_tables import (
    DT_GNU_HASH,
    DT_HASH,
    DT_STRTAB,
    DT_VERSYM,
    NO_ADDRESSES,
    NO_RELOCATIONS,
    NO_SYMBOLS,
    Addresses,
    GnuHash,
    Halves,
    Records,
    SysvHash,
    TableReader,
    Version,
    read_gnu_hash,
    read_rela,
    read_symbols,
    read_sysv_hash,
    read_versions,
    string_at,
)
from calibration.capture.relr import read_relr
from calibration.errors import BadInput

DT_NEEDED, DT_STRSZ, DT_SONAME, DT_RPATH, DT_SYMBOLIC, DT_BIND_NOW, DT_RUNPATH, DT_FLAGS = 1, 10, 14, 15, 16, 24, 29, 30
DT_RELRSZ, DT_RELR, DT_RELACOUNT, DT_FLAGS_1 = 35, 36, 0x6FFFFFF9, 0x6FFFFFFB
ARRAY_SIZES = (27, 33)  # DT_INIT_ARRAYSZ, DT_PREINIT_ARRAYSZ
DT_AUXILIARY, DT_FILTER = 0x7FFFFFFD, 0x7FFFFFFF
NEEDED_TAGS = (DT_NEEDED, DT_AUXILIARY, DT_FILTER)
DF_SYMBOLIC, DF_BIND_NOW, DF_1_NOW, DF_1_NODEFLIB = 0x2, 0x8, 0x1, 0x800


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ElfFile:
    """What the loader needs of one file; addresses are link-time virtual addresses."""

    path: str
    position_independent: bool
    entry: int
    file_bytes: int
    segments: tuple[Segment, ...]
    interpreter: str = ""
    build_id: str = ""
    tls_bytes: int = 0
    relro: tuple[int, int] = (0, 0)
    """Address and bytes of PT_GNU_RELRO."""
    read_early: tuple[int, ...] = ()
    """Addresses that the loader reads apart from tables: program headers, PT_INTERP, PT_GNU_PROPERTY."""
    dynamic: Mapping[int, int] = field(default_factory=dict)
    """Tag to value; of repeated tags the last, as `elf_get_dynamic_info` keeps it."""
    dynamic_slots: Mapping[int, int] = field(default_factory=dict)
    """Tag to address of the entry that `dynamic` has."""
    needed: tuple[tuple[int, str], ...] = ()
    """DT_NEEDED, DT_AUXILIARY and DT_FILTER in file order: tag and name."""
    headers_end: int = 0
    """Offset behind the program headers."""
    soname: str = ""
    rpath: str = ""
    runpath: str = ""
    strings: bytes = b"\0"
    symbols: Records = field(default_factory=lambda: NO_SYMBOLS)
    rela: Records = field(default_factory=lambda: NO_RELOCATIONS)
    """DT_RELA without the part that DT_JMPREL covers."""
    jmprel: Records = field(default_factory=lambda: NO_RELOCATIONS)
    relr: Addresses = field(default_factory=lambda: NO_ADDRESSES)
    """Addresses that DT_RELR relocates."""
    gnu_hash: GnuHash | None = None
    sysv_hash: SysvHash | None = None
    versym: Halves | None = None
    versions: Mapping[int, Version] = field(default_factory=dict)
    version_needs: int = 0
    version_tables: Mapping[int, int] = field(default_factory=dict)
    """Address to bytes of DT_VERNEED and DT_VERDEF."""

    @property
    def bind_now(self) -> bool:
        """DT_BIND_NOW, DF_BIND_NOW or DF_1_NOW."""
        old = DT_BIND_NOW in self.dynamic or bool(self.dynamic.get(DT_FLAGS, 0) & DF_BIND_NOW)
        return old or bool(self.dynamic.get(DT_FLAGS_1, 0) & DF_1_NOW)

    @property
    def symbolic(self) -> bool:
        """DT_SYMBOLIC: its own scope comes before the global one."""
        return DT_SYMBOLIC in self.dynamic or bool(self.dynamic.get(DT_FLAGS, 0) & DF_SYMBOLIC)

    @property
    def relative_count(self) -> int:
        """DT_RELACOUNT, at most the length of the table."""
        return min(self.dynamic.get(DT_RELACOUNT, 0), len(self.rela))

    def name_of(self, symbol: int) -> bytes:
        """Name of one dynamic symbol."""
        return string_at(self.strings, int(self.symbols["name"][symbol])) or b""


def read_elf(path: str, shown: str | None = None) -> ElfFile:
    """Read one ELF file; results are kept in this process while path, size, inode and mtime stay the same.

    Args:
        path: file to open.
        shown: name for error messages, where it differs from `path`.

    Raises:
        BadInput: not found, no regular file, unreadable, truncated, no x86-64 ELF program or library, hostile tables.
    """
    shown = shown or path
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:
        raise unreadable(shown, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise BadInput(shown, "is not a regular file", "name an ELF program or a script")
    return _read_cached(path, shown, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=512)
def _read_cached(path: str, shown: str, size: int, _mtime_ns: int, _inode: int) -> ElfFile:
    try:
        with Path(path).open("rb") as stream:
            return _read(stream, path, shown, size)
    except (ELFParseError, ConstructError) as error:
        raise damaged(shown, f"is truncated or no ELF file: {error}") from None
    except (OSError, ValueError) as error:
        raise unreadable(shown, error) from None


def _read(stream: BinaryIO, path: str, shown: str, size: int) -> ElfFile:
    structs = ELFStructs(little_endian=True, elfclass=64)
    structs.create_basic_structs()
    ident = stream.read(64)
    check_ident(ident, shown)
    if len(ident) < 64:
        raise damaged(shown, "is truncated: shorter than an ELF header")
    structs.create_advanced_structs(None, None, None)
    header = struct_parse(structs.Elf_Ehdr, stream, 0)
    check_header(header, shown, size)
    headers = [
        struct_parse(structs.Elf_Phdr, stream, header["e_phoff"] + 56 * index) for index in range(header["e_phnum"])
    ]
    loads = tuple(program_segment(each, shown, size) for each in headers if each["p_type"] == "PT_LOAD")
    if not loads:
        raise damaged(shown, "has no PT_LOAD segment")
    if any(later.vaddr < sooner.vaddr + sooner.memory_bytes for sooner, later in itertools.pairwise(loads)):
        raise damaged(shown, "has PT_LOAD segments that overlap or are out of order")
    ranges = tuple((each.vaddr, each.offset, each.file_bytes) for each in loads)
    reader = TableReader(stream=stream, file_bytes=size, ranges=ranges, shown=shown)
    return _assemble(reader, path, header, headers, loads)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Dynamic:
    tags: Mapping[int, int]
    slots: Mapping[int, int]
    rows: tuple[tuple[int, int], ...]


def _dynamic(reader: TableReader, headers: list[Mapping[str, Any]]) -> _Dynamic:
    header = first_header(headers, "PT_DYNAMIC")
    if header is None:
        return _Dynamic(tags={}, slots={}, rows=())
    table = reader.array(header["p_vaddr"], header["p_filesz"] // 16 * 2, "<u8").reshape(-1, 2)
    ends = np.flatnonzero(table[:, 0] == 0)
    if len(ends):
        table = table[: int(ends[0])]
    rows = tuple((int(tag), int(value)) for tag, value in table)
    slots = {tag: header["p_vaddr"] + 16 * index for index, (tag, _) in enumerate(rows)}
    tags = dict(rows)
    if any(tags.get(tag, 0) > reader.file_bytes for tag in ARRAY_SIZES):
        raise reader.damaged("has a table of constructors that is longer than itself")
    return _Dynamic(tags=tags, slots=slots, rows=rows)


def _strings(reader: TableReader, tags: Mapping[int, int]) -> bytes:
    if DT_STRTAB not in tags:
        return b"\0"
    strings = reader.read(tags[DT_STRTAB], tags.get(DT_STRSZ, 0))
    if strings[-1:] != b"\0":
        raise reader.damaged("has a string table without end")
    return strings


def _assemble(
    reader: TableReader,
    path: str,
    header: Mapping[str, Any],
    headers: list[Mapping[str, Any]],
    loads: tuple[Segment, ...],
) -> ElfFile:
    dynamic = _dynamic(reader, headers)
    tags, strings = dynamic.tags, _strings(reader, dynamic.tags)
    relro, tls = first_header(headers, "PT_GNU_RELRO"), first_header(headers, "PT_TLS")
    read_early = ("PT_PHDR", "PT_INTERP", "PT_GNU_PROPERTY")

    def text(tag: int) -> str:
        return _text(reader, strings, tags[tag]) if tag in tags else ""

    without_tables = ElfFile(
        path=path,
        position_independent=header["e_type"] == "ET_DYN",
        entry=header["e_entry"],
        file_bytes=reader.file_bytes,
        segments=loads,
        interpreter=interpreter(reader, headers),
        build_id=build_id(reader, headers),
        tls_bytes=tls["p_memsz"] if tls else 0,
        relro=(relro["p_vaddr"], relro["p_memsz"]) if relro else (0, 0),
        read_early=tuple(each["p_vaddr"] for each in headers if each["p_type"] in read_early),
        dynamic=tags,
        dynamic_slots=dynamic.slots,
        needed=tuple((tag, _text(reader, strings, value)) for tag, value in dynamic.rows if tag in NEEDED_TAGS),
        headers_end=header["e_phoff"] + 56 * header["e_phnum"],
        soname=text(DT_SONAME),
        rpath=text(DT_RPATH),
        runpath=text(DT_RUNPATH),
        strings=strings,
    )
    return _with_tables(without_tables, reader)


def _with_tables(elf: ElfFile, reader: TableReader) -> ElfFile:
    tags = elf.dynamic
    rela, jmprel = read_rela(reader, tags)
    gnu = read_gnu_hash(reader, tags[DT_GNU_HASH]) if DT_GNU_HASH in tags else None
    sysv = read_sysv_hash(reader, tags[DT_HASH]) if DT_HASH in tags and gnu is None else None
    hashed = gnu.symbols if gnu else len(sysv.chain) if sysv else 0
    symbols = read_symbols(reader, tags, hashed, rela, jmprel)
    if len(symbols) and int(symbols["name"].max()) >= len(elf.strings):
        raise reader.damaged("has a symbol whose name lies outside its string table")
    versions, needs, tables = read_versions(reader, tags, elf.strings)
    return replace(
        elf,
        symbols=symbols,
        rela=rela,
        jmprel=jmprel,
        relr=read_relr(reader, tags[DT_RELR], tags.get(DT_RELRSZ, 0)) if DT_RELR in tags else NO_ADDRESSES,
        gnu_hash=gnu,
        sysv_hash=sysv,
        versym=reader.array(tags[DT_VERSYM], len(symbols), "<u2") if versions and DT_VERSYM in tags else None,
        versions=versions,
        version_needs=needs,
        version_tables=tables,
    )


def _text(reader: TableReader, strings: bytes, start: int) -> str:
    name = string_at(strings, start)
    if name is None:
        raise reader.damaged("has a name outside its string table")
    return os.fsdecode(name)
