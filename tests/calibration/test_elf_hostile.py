"""Cut, damaged and hostile files end in one line of BadInput, quickly; nothing else gets out."""

from __future__ import annotations

import os
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.capture import capture_elf
from calibration.capture.elf_file import read_elf
from calibration.errors import BadInput
from tests.calibration.elf_support import EXIT_C, compile_c, one_line, quiet_environ

SOURCE = """
#include <stdio.h>
int number = 1; int *where = &number;
int exported(int x) { return x + number; }
int main(void) { return puts("") + exported(2); }
"""
relaxed = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Contents(bytes):
    """A file's bytes that a failing test does not print."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes of a program>"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A dynamic program with exports, so that it has every table."""
    path = compile_c(tmp_path_factory.mktemp("whole") / "program", SOURCE, "-fPIE", "-pie", "-rdynamic")
    return Contents(path.read_bytes())


def _try(path: Path, data: bytes) -> str:
    """Capture must end in an image or in one line; says which."""
    path.write_bytes(data)
    path.chmod(0o755)
    try:
        image = capture_elf(path, environ=quiet_environ())
    except BadInput as error:
        return one_line(error)
    assert image.symbol_lookups >= 0
    return "image"


@relaxed
@given(data=st.data())
def test_a_truncated_file_is_bad_input(whole: bytes, tmp_path: Path, data: st.DataObject) -> None:
    cut = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    assert _try(tmp_path / "cut", whole[:cut]) != "image"


@relaxed
@given(data=st.data())
def test_random_damage_never_ends_in_a_traceback(whole: bytes, tmp_path: Path, data: st.DataObject) -> None:
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(min_value=1, max_value=8))):
        at = data.draw(st.integers(min_value=0, max_value=len(whole) - 9))
        damaged[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    _try(tmp_path / "damaged", bytes(damaged))


@relaxed
@given(data=st.data())
def test_damage_in_the_headers_and_the_dynamic_section(whole: bytes, tmp_path: Path, data: st.DataObject) -> None:
    damaged = bytearray(whole)
    places = [*range(16, 64, 2), *range(64, 64 + 56 * 12, 8), *_dynamic_offsets(whole)]
    for _ in range(data.draw(st.integers(min_value=1, max_value=3))):
        at = data.draw(st.sampled_from(places))
        value = data.draw(st.sampled_from([0, 1, 7, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62, (1 << 64) - 1]))
        damaged[at : at + 8] = struct.pack("<Q", value)
    _try(tmp_path / "damaged", bytes(damaged))


def _dynamic_offsets(data: bytes) -> list[int]:
    """File offsets of tags and values of PT_DYNAMIC."""
    for index in range(struct.unpack_from("<H", data, 56)[0]):
        kind, _, offset, _, _, size = struct.unpack_from("<IIQQQQ", data, 64 + 56 * index)
        if kind == 2:
            return list(range(offset, offset + size, 8))
    raise AssertionError("no PT_DYNAMIC")


def _table_offset(data: bytes, tag: int) -> int:
    """File offset of the table that a dynamic tag points to."""
    value = next(
        struct.unpack_from("<Q", data, at + 8)[0]
        for at in _dynamic_offsets(data)[::2]
        if struct.unpack_from("<Q", data, at)[0] == tag
    )
    for index in range(struct.unpack_from("<H", data, 56)[0]):
        kind, _, offset, vaddr, _, size = struct.unpack_from("<IIQQQQ", data, 64 + 56 * index)
        if kind == 1 and vaddr <= value < vaddr + size:
            return int(offset + value - vaddr)
    raise AssertionError("table in no segment")


def _set(data: bytes, at: int, form: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, at, value)
    return bytes(changed)


def _huge_bucket_count(data: bytes) -> bytes:
    return _set(data, _table_offset(data, 0x6FFFFEF5), "<I", 0xFFFFFFFF)


def _huge_bloom(data: bytes) -> bytes:
    return _set(data, _table_offset(data, 0x6FFFFEF5) + 8, "<I", 1 << 30)


def _odd_bloom(data: bytes) -> bytes:
    return _set(data, _table_offset(data, 0x6FFFFEF5) + 8, "<I", 3)


def _bucket_beyond(data: bytes) -> bytes:
    at = _table_offset(data, 0x6FFFFEF5)
    words = struct.unpack_from("<I", data, at + 8)[0]
    return _set(data, at + 16 + 8 * words, "<I", 0xFFFFFFF0)


def _relocation_symbol_beyond(data: bytes) -> bytes:
    return _set(data, _table_offset(data, 23) + 12, "<I", 0xFFFFFFFF)


def _name_beyond(data: bytes) -> bytes:
    return _set(data, _table_offset(data, 6) + 24, "<I", 0xFFFFFFFF)


def _versions_beyond(data: bytes) -> bytes:
    return _set(data, _table_offset(data, 0x6FFFFFFE) + 8, "<I", 0xFFFFFFFF)


@pytest.mark.parametrize(
    "spoil",
    [
        _huge_bucket_count,
        _huge_bloom,
        _odd_bloom,
        _bucket_beyond,
        _relocation_symbol_beyond,
        _name_beyond,
        _versions_beyond,
    ],
)
def test_counts_that_the_file_cannot_hold_are_refused(
    whole: bytes, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    began = time.process_time()
    assert _try(tmp_path / "spoilt", spoil(whole)) != "image"
    assert time.process_time() - began < 20.0, "a hostile count was believed"


def test_a_hash_chain_without_stop_bit_ends(whole: bytes, tmp_path: Path) -> None:
    at = _table_offset(whole, 0x6FFFFEF5)
    buckets, _, words, _ = struct.unpack_from("<IIII", whole, at)
    chain = at + 16 + 8 * words + 4 * buckets
    changed = bytearray(whole)
    first_segment = next(
        struct.unpack_from("<Q", whole, 64 + 56 * index + 32)[0]
        for index in range(12)
        if struct.unpack_from("<I", whole, 64 + 56 * index)[0] == 1
    )
    for place in range(chain, first_segment - 3, 4):
        struct.pack_into("<I", changed, place, struct.unpack_from("<I", whole, place)[0] & ~1)
    assert "hash table without end" in _try(tmp_path / "endless", bytes(changed))


def test_a_version_table_that_points_at_itself_ends(whole: bytes, tmp_path: Path) -> None:
    at = _table_offset(whole, 0x6FFFFFFE)
    aux = struct.unpack_from("<I", whole, at + 8)[0]
    changed = bytearray(whole)
    struct.pack_into("<I", changed, at + aux + 12, 0)
    struct.pack_into("<I", changed, at + 12, 0)
    _try(tmp_path / "ends", bytes(changed))
    struct.pack_into("<I", changed, at + 8, 0)  # vn_aux 0: the entry is read as its own vernaux
    _try(tmp_path / "itself", bytes(changed))


def test_wrong_machines_and_kinds_are_refused(whole: bytes, tmp_path: Path) -> None:
    assert "EM_AARCH64" in _try(tmp_path / "arm", _set(whole, 18, "<H", 183))
    assert "another machine" in _try(tmp_path / "narrow", _set(whole, 4, "<B", 1))
    assert "another machine" in _try(tmp_path / "big", _set(whole, 5, "<B", 2))
    assert "ET_REL" in _try(tmp_path / "object", _set(whole, 16, "<H", 1))
    assert "ET_CORE" in _try(tmp_path / "core", _set(whole, 16, "<H", 4))


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none", Path("/dev/null"), tmp_path / "none/below"):
        with pytest.raises(BadInput) as caught:
            capture_elf(path)
        assert str(path) in one_line(caught.value)
    for name in ("", "\0", "x" * 5000):
        with pytest.raises(BadInput):
            capture_elf(name)


def test_an_unreadable_file_is_refused(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(whole)
    path.chmod(0)
    if os.access(path, os.R_OK):
        assert not capture_elf(path, environ=quiet_environ()).executable  # root reads everything
    else:
        with pytest.raises(BadInput) as caught:
            capture_elf(path)
        assert "permission" in one_line(caught.value)


def test_a_readable_file_without_x_is_an_image_that_cannot_be_executed(tmp_path: Path) -> None:
    path = compile_c(tmp_path / "still", EXIT_C, "-nostdlib", "-static", "-no-pie")
    assert capture_elf(path).executable
    path.chmod(0o644)
    assert not capture_elf(path).executable


def test_a_missing_interpreter_is_bad_input(whole: bytes, tmp_path: Path) -> None:
    interpreter = read_elf(os.path.realpath(shutil.which("env") or "/usr/bin/env")).interpreter.encode()
    assert interpreter in whole
    gone = whole.replace(interpreter, b"/nowhere" + b"x" * (len(interpreter) - 8), 1)
    assert "interpreter" in _try(tmp_path / "gone", gone)


def test_a_library_that_is_cut_is_named(tmp_path: Path) -> None:
    library = compile_c(tmp_path / "libcut.so", "int cut(void) { return 0; }\n", "-shared", "-fPIC")
    program = compile_c(tmp_path / "program", "extern int cut(void); int main(void) { return cut(); }\n", str(library))
    library.write_bytes(library.read_bytes()[:2000])
    with pytest.raises(BadInput) as caught:
        capture_elf(program, environ=quiet_environ())
    assert "libcut.so" in one_line(caught.value)
