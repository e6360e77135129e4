"""DT_RELR, the packed form of relative relocations: read and decoded, and how long it would be for given addresses."""

from __future__ import annotations

import numpy as np

from calibration.capture.elf_tables import Addresses, TableReader

WORD_BYTES = 8
BITS_PER_WORD = 64
WORDS_PER_BITMAP = 63


def read_relr(reader: TableReader, address: int, size_bytes: int) -> Addresses:
    """Addresses that DT_RELR relocates; raises BadInput for more words than the file has: each holds its addend."""
    words = reader.array(address, size_bytes // 8, "<u8")
    bits = int(np.bitwise_count(words[words & np.uint64(1) != 0]).sum())
    if bits > reader.file_bytes // 8:
        raise reader.damaged("has a DT_RELR that relocates more words than its segments hold")
    return decode_relr(words)


def decode_relr(words: Addresses) -> Addresses:
    """Addresses that DT_RELR relocates, in no particular order (glibc elf/dynamic-link.h:ELF_DYNAMIC_DO_RELR)."""
    if len(words) == 0:
        return words
    bitmap = (words & 1).astype(bool)
    index = np.arange(len(words))
    last = np.maximum.accumulate(np.where(bitmap, -1, index))
    known = bitmap & (last >= 0)
    span = np.uint64(8 * (BITS_PER_WORD - 1))
    steps = (index - last - 1)[known].astype(np.uint64)
    base = words[last[known]] + np.uint64(8) + steps * span
    maps = words[known]
    parts = [words[~bitmap]]
    for bit in range(1, BITS_PER_WORD):
        chosen = (maps >> np.uint64(bit)) & np.uint64(1) != 0
        parts.append(base[chosen] + np.uint64(8 * (bit - 1)))
    return np.concatenate(parts)


def relr_words(addresses: Addresses) -> int:
    """Words of a DT_RELR table for ascending addresses: an even word starts a run, each bitmap covers the next 63."""
    words = at = 0
    while at < len(addresses):
        words += 1
        base = int(addresses[at]) + WORD_BYTES
        at += 1
        while True:
            end = base + WORDS_PER_BITMAP * WORD_BYTES
            after = int(np.searchsorted(addresses, np.uint64(min(end, 0xFFFFFFFFFFFFFFFF))))
            if after == at:
                break
            words, at, base = words + 1, after, end
    return words
