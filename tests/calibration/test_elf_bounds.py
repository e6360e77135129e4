"""Hostile files that ask for much time or memory: one line, within a bounded address space, in bounded time."""

from __future__ import annotations

import os
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.capture import capture_elf
from calibration.errors import BadInput
from tests.calibration.elf_support import compile_c, one_line, quiet_environ

ADDRESS_SPACE_BYTES = 3 << 30
"""numpy and the interpreter reserve about 1 GiB of it."""
GUARD_S = 600
"""What never ends is found out by then; no measure of speed."""
STRTAB, SYMTAB, RELA, RELASZ, STRSZ, HASH, NEEDED, RPATH = 5, 6, 7, 8, 10, 4, 1, 15
INIT_ARRAYSZ, RELRSZ, RELR, VERNEED = 27, 35, 36, 0x6FFFFFFE


def elf_bytes(
    tables: Mapping[int, bytes], values: Mapping[int, int], *, interpreter: bytes = b"", memory: int = 0
) -> bytes:
    """A PIE of one PT_LOAD over the whole file: tags of `tables` point to their bytes, `values` stand as they are."""
    headers = 3 if interpreter else 2
    at = 64 + 56 * headers
    blob, tags = b"", []
    for tag, table in tables.items():
        blob += b"\0" * (-len(blob) % 16)
        tags.append((tag, at + len(blob)))
        blob += table
    interpreter_at = at + len(blob)
    blob += interpreter
    blob += b"\0" * (-len(blob) % 16)
    dynamic_at = at + len(blob)
    rows = [*tags, *((tag, value) for tag, value in values.items()), (0, 0)]
    blob += b"".join(struct.pack("<QQ", *row) for row in rows)
    size = at + len(blob)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, headers, 64, 0, 0
    )
    load = struct.pack("<IIQQQQQQ", 1, 7, 0, 0, 0, size, max(size, memory), 4096)
    dynamic = struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, dynamic_at, dynamic_at, 16 * len(rows), 16 * len(rows), 8)
    interp = struct.pack(
        "<IIQQQQQQ", 3, 4, interpreter_at, interpreter_at, interpreter_at, len(interpreter), len(interpreter), 1
    )
    return head + load + dynamic + (interp if interpreter else b"") + blob


def _interpreter() -> bytes:
    """PT_INTERP of a program that is here."""
    image = capture_elf(shutil.which("env") or "/usr/bin/env", environ=quiet_environ())
    if not image.elf_interpreter:
        pytest.skip("no dynamic program here tells an interpreter")
    return os.fsencode(image.elf_interpreter) + b"\0"


def _symbol(name: int) -> bytes:
    return struct.pack("<IBBHQQ", name, 0x12, 0, 1, 0x1000, 1)


def _relocations(count: int) -> bytes:
    return b"".join(struct.pack("<QIIq", 0, 6, 1 + index % 1000, 0) for index in range(count))


def _sysv_circle() -> bytes:
    """100,000 look-ups of 1,000 names; every chain of the hash table goes round in a circle through all of them."""
    symbols = bytes(24) + b"".join(_symbol(1 + 8 * index) for index in range(1000))
    names = b"\0" + b"".join(f"s{index:06d}\0".encode() for index in range(1000))
    chain = [0, *range(2, 1001), 1]
    table = struct.pack("<II", 1, 1001) + struct.pack("<I", 1) + struct.pack("<1001I", *chain)
    tables = {SYMTAB: symbols, STRTAB: names, HASH: table, RELA: _relocations(100_000)}
    return elf_bytes(tables, {STRSZ: len(names), RELASZ: 24 * 100_000}, interpreter=_interpreter())


def _relr_of_ones() -> bytes:
    words = struct.pack("<Q", 0x1000) + b"\xff" * (8 << 20)
    return elf_bytes({RELR: words}, {RELRSZ: len(words)}, interpreter=_interpreter(), memory=1 << 40)


def _names_without_end() -> bytes:
    """Symbols whose names are suffixes of one name of 64 KiB."""
    symbols = bytes(24) + b"".join(_symbol(1 + index % 100) for index in range(10_000))
    names = b"\0" + b"n" * 65_000 + b"\0"
    relocations = b"".join(struct.pack("<QIIq", 0, 6, 1 + index, 0) for index in range(10_000))
    tables = {SYMTAB: symbols, STRTAB: names, RELA: relocations}
    return elf_bytes(tables, {STRSZ: len(names), RELASZ: len(relocations)}, interpreter=_interpreter())


def _one_huge_name() -> bytes:
    names = b"\0" + b"n" * (64 << 20) + b"\0"
    return elf_bytes({STRTAB: names}, {STRSZ: len(names), NEEDED: 1}, interpreter=_interpreter())


def _versions_of_huge_names() -> bytes:
    """A version table whose 30,000 entries all bear the same huge name."""
    names = b"\0" + b"n" * (8 << 20) + b"\0"
    entries = struct.pack("<HHIII", 1, 30_000, 0, 16, 0)
    entries += b"".join(struct.pack("<IHHII", 1, 0, 2 + i, 1, 16 if i < 29_999 else 0) for i in range(30_000))
    return elf_bytes({STRTAB: names, VERNEED: entries}, {STRSZ: len(names)}, interpreter=_interpreter())


def _huge_counts() -> bytes:
    return elf_bytes({}, {INIT_ARRAYSZ: 1 << 62, 25: 64}, interpreter=_interpreter())


def _endless_rpath() -> bytes:
    names = b"\0" + b"missing.so\0" + b":".join(b"/%x" % index for index in range(11_000)) + b"\0"
    return elf_bytes({STRTAB: names}, {STRSZ: len(names), NEEDED: 1, RPATH: 12}, interpreter=_interpreter())


def _pipe_as_interpreter(folder: Path) -> bytes:
    os.mkfifo(folder / "pipe")
    return elf_bytes({}, {}, interpreter=os.fsencode(folder / "pipe") + b"\0")


def _asked(path: Path, library_path: str = "") -> tuple[int, str]:
    """Exit status and error line of `spawncost elf` in a bounded address space."""

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))

    words = [sys.executable, "-m", "experiments.cli.main", "elf", str(path), "--machine", "bundled"]
    here = os.pathsep.join(each for each in sys.path if each)
    environ = quiet_environ(OPENBLAS_NUM_THREADS="1", PYTHONPATH=here, LD_LIBRARY_PATH=library_path)
    done = subprocess.run(
        words, env=environ, capture_output=True, text=True, timeout=GUARD_S, check=False, preexec_fn=bounded
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (_sysv_circle, "hash chain without end"),
        (_relr_of_ones, "relocates more words"),
        (_names_without_end, "names of more than 64 MiB"),
        (_one_huge_name, "outside its string table"),
        (_versions_of_huge_names, "outside its string table"),
        (_huge_counts, "longer than itself"),
        (_endless_rpath, "places"),
        (_pipe_as_interpreter, "not a regular file"),
    ],
)
def test_what_asks_for_much_ends_in_one_line(tmp_path: Path, make: Callable[..., bytes], part: str) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(make(tmp_path) if make is _pipe_as_interpreter else make())
    path.chmod(0o755)
    # a CPU and glibc with few subdirectories to search need more directories than one string holds
    status, said = _asked(path, ":".join(f"/x{index:x}" for index in range(15_000 if make is _endless_rpath else 0)))
    assert status == 2, said
    assert part in said
    assert said.startswith("spawncost: error: ")
    assert said.count("\n") == 1


def test_the_plain_file_of_these_tests_is_taken(tmp_path: Path) -> None:
    """So that the refusals above are for what they say."""
    path = tmp_path / "plain"
    path.write_bytes(elf_bytes({}, {}, interpreter=_interpreter()))
    path.chmod(0o755)
    assert capture_elf(path, environ=quiet_environ()).kind == "elf-dynamic"
    assert _asked(path)[0] == 0


def test_overlapping_segments_are_refused(tmp_path: Path) -> None:
    data = bytearray(compile_c(tmp_path / "whole", "int main(void) { return 0; }\n").read_bytes())
    loads = [64 + 56 * i for i in range(data[56]) if data[64 + 56 * i] == 1]
    first_end = struct.unpack_from("<Q", data, loads[0] + 40)[0]
    assert first_end > 4096 or len(loads) > 1
    struct.pack_into("<Q", data, loads[0] + 40, 1 << 30)  # its memory size now covers all the others
    path = tmp_path / "overlap"
    path.write_bytes(bytes(data))
    with pytest.raises(BadInput) as caught:
        capture_elf(path, environ=quiet_environ())
    assert "overlap" in one_line(caught.value)


class Tables(bytes):
    """A library's bytes that a failing test does not print."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes of a library>"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Tables]:
    """A program, its library, and the library's own bytes."""
    folder = tmp_path_factory.mktemp("pair")
    source = '#include <stdio.h>\nint used(int x) { return puts("") + x; }\nint a; int *b = &a; int unused;\n'
    library = compile_c(folder / "libused.so", source, "-shared", "-fPIC", "-Wl,--hash-style=both", "-Wl,-z,lazy")
    main = "extern int used(int); int main(void) { return used(2); }\n"
    program = compile_c(folder / "program", main, str(library))
    return program, library, Tables(library.read_bytes())


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_a_damaged_library_never_ends_in_a_traceback(pair: tuple[Path, Path, Tables], data: st.DataObject) -> None:
    program, library, whole = pair
    damaged = bytearray(whole)
    first_code = 0x1000  # headers, hash, symbol, string, version and relocation tables come before
    for _ in range(data.draw(st.integers(min_value=1, max_value=6))):
        at = data.draw(st.integers(min_value=64, max_value=first_code - 8))
        size = data.draw(st.sampled_from([1, 2, 4, 8]))
        value = data.draw(st.one_of(st.sampled_from([0, 1, 0xFF, 0x7FFFFFFF, (1 << 63) - 1]), st.integers(0, 1 << 63)))
        damaged[at : at + size] = (value % (1 << (8 * size))).to_bytes(size, "little")
    library.write_bytes(bytes(damaged))
    try:
        image = capture_elf(program, bind_now=True, environ=quiet_environ())
        assert image.symbol_lookups >= 0
    except BadInput as error:
        one_line(error)
    finally:
        library.write_bytes(whole)
