"""Sizes and factors of x86-64 that never change: pages, page-table spans, nanoseconds."""

from __future__ import annotations

PAGE_BYTES = 4096
PTRS_PER_TABLE = 512
PMD_BYTES = PAGE_BYTES * PTRS_PER_TABLE
"""Span of one pte table, and of one pmd mapping: 2 MiB."""
PUD_BYTES = PMD_BYTES * PTRS_PER_TABLE
"""Span of one pmd table: 1 GiB."""
P4D_BYTES = PUD_BYTES * PTRS_PER_TABLE
"""Span of one pud table: 512 GiB."""
PMD_SHIFT, PTE_BITS = 21, 9
"""An address shifted by the first is the number of its 2 MiB span; shifted by the second once more, that of its 1 GiB
span, and so on (`arch/x86/include/asm/pgtable_64_types.h`)."""
FDS_PER_WORD = 64
"""`fs/file.c:sane_fdtable_size@v6.18` rounds the copied part of the fd table up to whole words of the bitmap."""

NS_PER_US = 1_000.0
NS_PER_MS = 1_000_000.0
NS_PER_S = 1_000_000_000.0


def pages_of(size_bytes: int) -> int:
    """Pages of 4 KiB that hold `size_bytes`, rounded up."""
    return -(-size_bytes // PAGE_BYTES)


def spans(start: int, end: int, span_bytes: int) -> int:
    """Number of aligned spans of `span_bytes` that the range [start, end) touches; 0 for an empty range."""
    if end <= start:
        return 0
    return (end - 1) // span_bytes - start // span_bytes + 1
