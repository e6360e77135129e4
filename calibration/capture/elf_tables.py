"""Bulk tables of one ELF file as numpy arrays: symbols, relocations, hash tables, version tables.

Every size is checked against the file's PT_LOAD segments before anything is read.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from calibration.errors import BadInput

Records: TypeAlias = npt.NDArray[np.void]
Words: TypeAlias = npt.NDArray[np.uint32]
Addresses: TypeAlias = npt.NDArray[np.uint64]
Halves: TypeAlias = npt.NDArray[np.uint16]

SYMBOL_DTYPE = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("shndx", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
RELA_DTYPE = np.dtype([("offset", "<u8"), ("type", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])
NO_SYMBOLS: Records = np.zeros(0, SYMBOL_DTYPE)
NO_RELOCATIONS: Records = np.zeros(0, RELA_DTYPE)
NO_ADDRESSES: Addresses = np.zeros(0, np.uint64)

DT_HASH, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ, DT_JMPREL, DT_PLTRELSZ = 4, 5, 6, 7, 8, 23, 2
DT_GNU_HASH, DT_VERSYM, DT_VERDEF, DT_VERDEFNUM, DT_VERNEED, DT_VERNEEDNUM = (
    0x6FFFFEF5,
    0x6FFFFFF0,
    0x6FFFFFFC,
    0x6FFFFFFD,
    0x6FFFFFFE,
    0x6FFFFFFF,
)
VER_FLG_BASE = 1
MAX_VERSIONS = 32768  # vna_other and vd_ndx have 15 bits
MAX_NAME_BYTES = 65536


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableReader:
    """Reads a file by offset or by link-time address; refuses what is not wholly in the file."""

    stream: BinaryIO
    file_bytes: int
    ranges: tuple[tuple[int, int, int], ...]
    """(address, offset, bytes in the file) of each PT_LOAD, ascending."""
    shown: str

    def damaged(self, why: str) -> BadInput:
        """BadInput about this file."""
        return BadInput(self.shown, why, "reinstall the file or name another one")

    def at_offset(self, offset: int, size_bytes: int) -> bytes:
        """`size_bytes` bytes at a file offset."""
        if offset + size_bytes > self.file_bytes:
            raise self.damaged("is truncated: a table lies beyond its end")
        self.stream.seek(offset)
        data = self.stream.read(size_bytes)
        if len(data) != size_bytes:
            raise self.damaged("is truncated: a table lies beyond its end")
        return data

    def rest(self, address: int) -> int:
        """Bytes from `address` to the end of its segment in the file; 0 if it lies in none."""
        at = bisect.bisect_right(self.ranges, (address, 1 << 64, 0)) - 1
        if at < 0:
            return 0
        start, _, length = self.ranges[at]
        return max(0, start + length - address)

    def read(self, address: int, size_bytes: int) -> bytes:
        """`size_bytes` bytes at a link-time address."""
        if size_bytes == 0:
            return b""
        if self.rest(address) < size_bytes:
            raise self.damaged(f"has a table at {address:#x} of {size_bytes} bytes outside its segments")
        start, offset, _ = self.ranges[bisect.bisect_right(self.ranges, (address, 1 << 64, 0)) - 1]
        return self.at_offset(offset + address - start, size_bytes)

    def array(self, address: int, count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """`count` items at a link-time address."""
        kind = np.dtype(dtype)
        return np.frombuffer(self.read(address, count * kind.itemsize), kind, count)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GnuHash:
    """DT_GNU_HASH."""

    address: int
    shift: int
    first_symbol: int
    bloom: Addresses
    buckets: Words
    chain: Words

    @property
    def symbols(self) -> int:
        """Symbols that the table spans, unhashed ones included."""
        return self.first_symbol + len(self.chain)

    @property
    def buckets_address(self) -> int:
        """Address of the first bucket."""
        return self.address + 16 + 8 * len(self.bloom)

    @property
    def chain_address(self) -> int:
        """Address of the first chain word."""
        return self.buckets_address + 4 * len(self.buckets)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SysvHash:
    """DT_HASH."""

    address: int
    buckets: Words
    chain: Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """`struct r_found_version`: what a version index of DT_VERSYM stands for."""

    name: bytes
    hash: int
    hidden: bool = False


def read_gnu_hash(reader: TableReader, address: int) -> GnuHash:
    """DT_GNU_HASH (glibc elf/dl-setup_hash.c:_dl_setup_hash); its chain is read up to the last bucket's end."""
    count, first, bloom_words, shift = (int(each) for each in reader.array(address, 4, "<u4"))
    if bloom_words == 0 or bloom_words & (bloom_words - 1) or shift >= 32:
        raise reader.damaged("has a hash table with an impossible bloom filter")
    bloom = reader.array(address + 16, bloom_words, "<u8")
    buckets = reader.array(address + 16 + 8 * bloom_words, count, "<u4")
    chain_address = address + 16 + 8 * bloom_words + 4 * count
    last = int(buckets.max()) if count else 0
    if last == 0:
        chain = np.zeros(0, np.uint32)
    else:
        if last < first:
            raise reader.damaged("has a hash table whose buckets lie before its first symbol")
        chain = _chain(reader, chain_address, last - first)
    return GnuHash(address=address, shift=shift, first_symbol=first, bloom=bloom, buckets=buckets, chain=chain)


def _chain(reader: TableReader, address: int, sure: int) -> Words:
    """Chain words 0 to the first one with the stop bit at or after index `sure`."""
    available = reader.rest(address) // 4
    if sure >= available:
        raise reader.damaged("has a hash table that ends beyond its segment")
    count = min(available, sure + 1024)
    while True:
        chain = reader.array(address, count, "<u4")
        stops = np.flatnonzero(chain[sure:] & 1)
        if len(stops):
            return chain[: sure + int(stops[0]) + 1]
        if count == available:
            raise reader.damaged("has a hash table without end")
        count = min(available, count * 4)


def read_sysv_hash(reader: TableReader, address: int) -> SysvHash:
    """DT_HASH."""
    buckets, chains = (int(each) for each in reader.array(address, 2, "<u4"))
    return SysvHash(
        address=address,
        buckets=reader.array(address + 8, buckets, "<u4"),
        chain=reader.array(address + 8 + 4 * buckets, chains, "<u4"),
    )


def read_rela(reader: TableReader, dynamic: Mapping[int, int]) -> tuple[Records, Records]:
    """DT_RELA and DT_JMPREL, overlap taken off the first (glibc elf/dynamic-link.h:_ELF_DYNAMIC_DO_RELOC)."""
    start, size = dynamic.get(DT_RELA, 0), dynamic.get(DT_RELASZ, 0)
    jump, jump_size = dynamic.get(DT_JMPREL, 0), dynamic.get(DT_PLTRELSZ, 0)
    if start == 0:
        size = 0
    if jump == 0:
        jump_size = 0
    if jump_size and start + size == jump + jump_size and size >= jump_size:
        size -= jump_size
    item = RELA_DTYPE.itemsize
    return reader.array(start, size // item, RELA_DTYPE), reader.array(jump, jump_size // item, RELA_DTYPE)


def read_symbols(reader: TableReader, dynamic: Mapping[int, int], hashed: int, *tables: Records) -> Records:
    """DT_SYMTAB: as many symbols as hash table, or relocations, speak of."""
    count = max([hashed] + [int(table["symbol"].max()) + 1 for table in tables if len(table)])
    if DT_SYMTAB not in dynamic:
        if count > 1:
            raise reader.damaged("speaks of symbols but has no symbol table")
        return np.zeros(1, SYMBOL_DTYPE)  # symbol 0, which relocations without symbol name
    return reader.array(dynamic[DT_SYMTAB], count, SYMBOL_DTYPE)


def read_versions(
    reader: TableReader, dynamic: Mapping[int, int], strings: bytes
) -> tuple[dict[int, Version], int, dict[int, int]]:
    """DT_VERNEED and DT_VERDEF (glibc elf/dl-version.c:_dl_check_map_versions).

    Returns: version by index; number of versions needed (vernaux entries); address and bytes of the tables read.
    """
    versions: dict[int, Version] = {}
    extents: dict[int, int] = {}
    needs = _read_needed(reader, dynamic.get(DT_VERNEED, 0), strings, versions, extents)
    _read_defined(reader, dynamic.get(DT_VERDEF, 0), strings, versions, extents)
    return versions, needs, extents


def string_at(strings: bytes, start: int) -> bytes | None:
    """The name at an offset of a string table; None if it lies outside, has no end, or is longer than 64 KiB."""
    end = strings.find(b"\0", start, start + MAX_NAME_BYTES + 1) if start < len(strings) else -1
    return strings[start:end] if end >= 0 else None


def _string(reader: TableReader, strings: bytes, start: int) -> bytes:
    name = string_at(strings, start)
    if name is None:
        raise reader.damaged("has a name outside its string table")
    return name


def _fields(reader: TableReader, address: int, *sizes: int) -> list[int]:
    data, at, found = reader.read(address, sum(sizes)), 0, []
    for size in sizes:
        found.append(int.from_bytes(data[at : at + size], "little"))
        at += size
    return found


def _read_needed(
    reader: TableReader, address: int, strings: bytes, versions: dict[int, Version], extents: dict[int, int]
) -> int:
    count, entry, start, end = 0, address, address, address
    while entry:
        _, _, _, aux, following = _fields(reader, entry, 2, 2, 4, 4, 4)
        at = entry + aux
        while True:
            digest, _, other, name, step = _fields(reader, at, 4, 2, 2, 4, 4)
            text = _string(reader, strings, name)
            versions[other & 0x7FFF] = Version(name=text, hash=digest, hidden=bool(other & 0x8000))
            count += 1
            end = max(end, at + 16)
            if count > MAX_VERSIONS:
                raise reader.damaged("has a version table without end")
            if step == 0:
                break
            at += step
        entry = entry + following if following else 0
    if end > start:
        extents[start] = end - start
    return count


def _read_defined(
    reader: TableReader, address: int, strings: bytes, versions: dict[int, Version], extents: dict[int, int]
) -> None:
    count, entry, end = 0, address, address
    while entry:
        _, flags, index, _, digest, aux, following = _fields(reader, entry, 2, 2, 2, 2, 4, 4, 4)
        name, _ = _fields(reader, entry + aux, 4, 4)
        if not flags & VER_FLG_BASE:
            versions[index & 0x7FFF] = Version(name=_string(reader, strings, name), hash=digest)
        count += 1
        end = max(end, entry + aux + 8)
        if count > MAX_VERSIONS:
            raise reader.damaged("has a version table without end")
        entry = entry + following if following else 0
    if end > address:
        extents[address] = end - address
