"""ld.so.cache, read as glibc elf/dl-cache.c:search_cache reads it (format glibc-ld.so.cache1.1)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

OLD_MAGIC, NEW_MAGIC = b"ld.so-1.7.0", b"glibc-ld.so.cache1.1"
ENTRY_DTYPE = np.dtype([("flags", "<i4"), ("key", "<u4"), ("value", "<u4"), ("osversion", "<u4"), ("hwcap", "<u8")])
OLD_ENTRY_BYTES, OLD_HEADER_BYTES, HEADER_BYTES = 12, 16, 48
FLAGS_ELF_LIBC6_X86_64 = 0x0303
HWCAP_EXTENSION = 1 << 62
ISA_LEVEL_MASK = 0x3FF << 32
EXTENSION_MAGIC = 0xEAA42174
TAG_GLIBC_HWCAPS = 1

Entry = tuple[str, str, bool]
"""Path, glibc-hwcaps level or empty, and whether legacy hardware capabilities are asked for."""


def cached_path(name: str, levels: Sequence[str], file: str) -> str:
    """Path that the cache gives for a library name; empty if none.

    Args:
        name: DT_NEEDED.
        levels: glibc-hwcaps names that the CPU supports, best first.
        file: the cache; one that is missing or damaged counts as empty, as it does for ld.so.
    """
    try:
        status = Path(file).stat()
    except OSError:
        return ""
    best, best_rank = "", len(levels)
    for path, level, legacy in _entries(file, status.st_size, status.st_mtime_ns).get(name, ()):
        if legacy:
            continue
        if not level:
            return best or path
        if level in levels and levels.index(level) < best_rank:
            best, best_rank = path, levels.index(level)
    return best


@lru_cache(maxsize=4)
def _entries(file: str, _size: int, _mtime_ns: int) -> Mapping[str, tuple[Entry, ...]]:
    try:
        with Path(file).open("rb") as stream:
            data = stream.read()
    except OSError:
        return {}
    start = _start(data)
    if start < 0:
        return {}
    count = int.from_bytes(data[start + 20 : start + 24], "little")
    if start + HEADER_BYTES + count * ENTRY_DTYPE.itemsize > len(data) or data[start + 28] & 3 == 1:
        return {}
    levels = _levels(data, start)
    table = np.frombuffer(data, ENTRY_DTYPE, count, start + HEADER_BYTES)
    found: dict[str, list[Entry]] = {}
    for flags, key, value, _, hwcap in table.tolist():
        if flags != FLAGS_ELF_LIBC6_X86_64:
            continue
        level = ""
        named = hwcap & ~ISA_LEVEL_MASK & ~0xFFFFFFFF == HWCAP_EXTENSION
        if named:
            index = hwcap & 0xFFFFFFFF
            level = levels[index] if index < len(levels) else "unknown"
        path = _text(data, start + value)
        found.setdefault(_text(data, start + key), []).append((path, level, bool(hwcap) and not named))
    return {name: tuple(entries) for name, entries in found.items()}


def _start(data: bytes) -> int:
    """Offset of the new-format header; -1 if there is none."""
    if data.startswith(NEW_MAGIC):
        return 0 if len(data) >= HEADER_BYTES else -1
    if not data.startswith(OLD_MAGIC):
        return -1
    count = int.from_bytes(data[12:16], "little")
    start = (OLD_HEADER_BYTES + count * OLD_ENTRY_BYTES + 7) // 8 * 8
    return start if data[start : start + len(NEW_MAGIC)] == NEW_MAGIC and len(data) >= start + HEADER_BYTES else -1


def _levels(data: bytes, start: int) -> list[str]:
    """glibc-hwcaps names of the extension directory, by index."""
    offset = int.from_bytes(data[start + 32 : start + 36], "little")
    if offset == 0 or offset % 4 or int.from_bytes(data[offset : offset + 4], "little") != EXTENSION_MAGIC:
        return []
    count = min(int.from_bytes(data[offset + 4 : offset + 8], "little"), (len(data) - offset) // 16)
    for index in range(count):
        at = offset + 8 + 16 * index
        tag, _, where, size = (int.from_bytes(data[at + 4 * k : at + 4 * k + 4], "little") for k in range(4))
        if tag == TAG_GLIBC_HWCAPS and where + size <= len(data):
            names = np.frombuffer(data, "<u4", size // 4, where)
            return [_text(data, int(each)) for each in names]
    return []


def _text(data: bytes, start: int) -> str:
    end = data.find(b"\0", start)
    return os.fsdecode(data[start:end]) if 0 <= start < len(data) and end >= 0 else ""
