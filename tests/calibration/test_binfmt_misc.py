"""Entries of binfmt_misc are matched as the kernel matches them, and named where they would take a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration.capture import binfmt_misc, capture_elf
from calibration.capture.binfmt_misc import handler_of
from calibration.errors import BadInput
from tests.calibration.elf_support import EXIT_C, compile_c, one_line, quiet_environ

ARM = "7f454c460201010000000000000000000200b700"
MASK = "ffffffffffffff00fffffffffffffffffeffffff"


@pytest.fixture
def registered(tmp_path: Path) -> Path:
    """A directory as the kernel shows it."""
    folder = tmp_path / "binfmt_misc"
    folder.mkdir()
    (folder / "register").touch()
    (folder / "status").write_text("enabled\n")
    (folder / "qemu-aarch64").write_text(
        f"enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: OCF\noffset 0\nmagic {ARM}\nmask {MASK}\n"
    )
    (folder / "jar").write_text("enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n")
    (folder / "off").write_text("disabled\ninterpreter /usr/bin/wine\nflags: \noffset 0\nmagic 4d5a\n")
    (folder / "later").write_text("enabled\ninterpreter /usr/bin/later\nflags: \noffset 3\nmagic 5a5a\n")
    return folder


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.out", bytes.fromhex(ARM), "qemu-aarch64"),
        ("a.out", bytes.fromhex(ARM.replace("0200b7", "0300b7")), "qemu-aarch64"),
        ("a.out", bytes.fromhex(ARM.replace("b700", "3e00")), ""),
        ("a.out", bytes.fromhex(ARM)[:10], ""),
        ("x.jar", b"PK", "jar"),
        ("x.jars", b"PK", ""),
        ("x.exe", b"MZ", ""),
        ("x", b"abcZZ", "later"),
        ("x", b"ZZ", ""),
    ],
)
def test_entries_match_by_extension_or_masked_magic(registered: Path, name: str, head: bytes, expected: str) -> None:
    found = handler_of(f"/some/{name}", head, registered)
    assert (found.name if found else "") == expected


def test_nothing_is_registered_where_there_is_no_directory(tmp_path: Path) -> None:
    assert handler_of("/x.jar", b"PK", tmp_path / "none") is None


def test_a_file_that_another_program_would_run_says_which(
    registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binfmt_misc, "REGISTERED", registered)
    path = tmp_path / "x.jar"
    path.write_bytes(b"PK\3\4")
    with pytest.raises(BadInput) as caught:
        capture_elf(path)
    assert "/usr/bin/jexec" in one_line(caught.value)
    program = compile_c(tmp_path / "program", EXIT_C, "-nostdlib", "-static", "-no-pie")
    assert capture_elf(program, environ=quiet_environ()).kind == "elf-static"
