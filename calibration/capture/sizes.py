"""Sizes as people write them: `64MiB`, `3.5GiB`, `4096`."""

from __future__ import annotations

import re
from fractions import Fraction

from calibration.errors import BadInput

_SIZE = re.compile(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*(?:B|([KMGT])(?:iB)?)?\s*", re.IGNORECASE)
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
MAX_SIZE_BYTES = 1 << 47
"""User half of a four-level x86-64 address space: nothing that is mapped can be larger."""


def parse_size(text: str | int, *, what: str | None = None) -> int:
    """Bytes of a size such as `64MiB`, `3.5GiB`, `64M` (binary too) or a plain number of bytes.

    Args:
        text: the size as given.
        what: the option or file and key to name in the error; the text itself if None.

    Raises:
        BadInput: no size, negative, or more than the 128 TiB that a process can map.
    """
    shown = _shown(text)
    named = shown if what is None else what
    match = _SIZE.fullmatch(text if isinstance(text, str) else shown)
    if match is None:
        raise BadInput(named, f"{shown} is no size", "write a number of bytes, or one with KiB, MiB, GiB or TiB")
    size_bytes = round(Fraction(match[1]) * _FACTORS[(match[2] or "").upper()])
    if size_bytes > MAX_SIZE_BYTES:
        raise BadInput(named, f"{shown} is more than a process can map", "give at most 128TiB")
    return size_bytes


def _shown(text: str | int) -> str:
    """The size as given, for a message; a number with thousands of digits cannot be printed."""
    if isinstance(text, str):
        return repr(text if len(text) <= 40 else f"{text[:40]}...")
    return str(text) if abs(text) < 1 << 64 else "a number of more than 64 bits"
