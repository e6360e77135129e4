"""Sizes: what is read, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.capture.sizes import MAX_SIZE_BYTES, parse_size
from calibration.errors import BadInput


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("64MiB", 64 << 20),
        ("4GiB", 4 << 30),
        ("3.5GiB", 7 << 29),
        ("1TiB", 1 << 40),
        ("512 KiB", 512 << 10),
        ("64m", 64 << 20),
        ("0", 0),
        ("4096", 4096),
        ("17B", 17),
        ("0.3KiB", 307),
        (4096, 4096),
        ("128TiB", 128 << 40),
    ],
)
def test_sizes(text: str | int, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "-4GiB",
        "4GB",
        "GiB",
        "1e9",
        "nan",
        "inf",
        "0x10",
        "1_000",
        "٤",
        "4 G i B",
        "9" * 5000,
        "129TiB",
        "½GiB",
        -1,
        1 << 60,
        1 << 20000,
        True,
    ],
    ids=lambda text: str(text)[:9] if isinstance(text, str) else "number",
)
def test_what_is_no_size(text: str | int) -> None:
    with pytest.raises(BadInput):
        parse_size(text)


def test_the_error_names_what_it_was_asked_to() -> None:
    with pytest.raises(BadInput, match=r"^--rss: '4GB' is no size"):
        parse_size("4GB", what="--rss")


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_bad_input(text: str) -> None:
    try:
        size_bytes = parse_size(text)
    except BadInput:
        return
    assert 0 <= size_bytes <= MAX_SIZE_BYTES


@given(st.integers(0, MAX_SIZE_BYTES))
def test_plain_numbers_are_bytes(size_bytes: int) -> None:
    assert parse_size(str(size_bytes)) == parse_size(f"{size_bytes}B") == size_bytes
