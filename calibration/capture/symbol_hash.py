"""Hash values of many symbol names at once, one column of characters at a time."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from calibration.capture.elf_tables import MAX_NAME_BYTES
from calibration.errors import BadInput

Indices: TypeAlias = npt.NDArray[np.int64]
Hashes: TypeAlias = npt.NDArray[np.uint32]

MAX_NAMES_BYTES = 64 << 20


def name_lengths(strings: bytes, starts: Indices, path: str) -> Indices:
    """Bytes of the names that start at `starts` in a string table.

    Raises:
        BadInput: a name of more than 64 KiB, or names of more than 64 MiB in all.
    """
    ends = np.flatnonzero(np.frombuffer(strings, np.uint8) == 0)
    lengths = ends[np.searchsorted(ends, starts)] - starts
    if len(lengths) and int(lengths.max()) > MAX_NAME_BYTES:
        raise BadInput(path, "has a symbol name of more than 64 KiB", "reinstall the file or name another one")
    if int(lengths.sum()) > MAX_NAMES_BYTES:
        raise BadInput(path, "looks up names of more than 64 MiB in all", "reinstall the file or name another one")
    return lengths


def gnu_digests(strings: bytes, starts: Indices, lengths: Indices) -> Hashes:
    """glibc _dl_new_hash of many names, one column of characters at a time."""
    data = np.frombuffer(strings, np.uint8)
    order = np.argsort(-lengths, kind="stable")
    begin, length = starts[order], lengths[order]
    digest = np.full(len(starts), 5381, np.uint32)
    for column in range(int(length[0]) if len(length) else 0):
        alive = int(np.searchsorted(-length, -column, side="left"))
        digest[:alive] = digest[:alive] * np.uint32(33) + data[begin[:alive] + column]
    result = np.empty_like(digest)
    result[order] = digest
    return result


def sysv_digests(strings: bytes, starts: Indices, lengths: Indices) -> Hashes:
    """glibc sysdeps/generic/dl-hash.h:_dl_elf_hash of many names."""
    data = np.frombuffer(strings, np.uint8)
    digest = np.zeros(len(starts), np.uint32)
    for column in range(int(lengths.max()) if len(lengths) else 0):
        alive = np.flatnonzero(lengths > column)
        shifted = (digest[alive] << np.uint32(4)) + data[starts[alive] + column]
        high = shifted & np.uint32(0xF0000000)
        digest[alive] = (shifted ^ (high >> np.uint32(24))) & ~high
    return digest
