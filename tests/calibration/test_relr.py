"""DT_RELR is decoded as the loader does, and its length for given addresses is that of the shortest encoding."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calibration.capture.elf_tables import Addresses
from calibration.capture.relr import WORD_BYTES, WORDS_PER_BITMAP, decode_relr, relr_words


def _encoded(addresses: list[int]) -> list[int]:
    """The encoding that linkers write: an address, then bitmaps as long as the next one holds anything."""
    words: list[int] = []
    left = sorted(addresses)
    while left:
        base = left.pop(0)
        words.append(base)
        base += WORD_BYTES
        while left and left[0] < base + WORDS_PER_BITMAP * WORD_BYTES:
            bitmap = 1
            while left and left[0] < base + WORDS_PER_BITMAP * WORD_BYTES:
                bitmap |= 1 << ((left.pop(0) - base) // WORD_BYTES + 1)
            words.append(bitmap)
            base += WORDS_PER_BITMAP * WORD_BYTES
    return words


@given(st.sets(st.integers(min_value=0, max_value=3000), max_size=400))
def test_the_length_is_that_of_the_encoding_and_decoding_gives_the_addresses_back(numbers: set[int]) -> None:
    addresses: Addresses = np.array(sorted(0x4000 + WORD_BYTES * each for each in numbers), np.uint64)
    words = _encoded([int(each) for each in addresses])
    assert relr_words(addresses) == len(words)
    decoded = np.sort(decode_relr(np.array(words, np.uint64)))
    assert decoded.tolist() == addresses.tolist()
