"""Real programs to try the loader on, as far as they are installed, and copies of them that end at their entry."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from calibration.capture.credentials import is_secure
from calibration.capture.elf import capture_elf
from calibration.capture.elf_file import read_elf
from calibration.errors import BadInput

PROGRAM_NAMES = """
    true ls cat cp sort date env id expr tar gzip bash dash grep sed mawk gawk find diff file less nano vim
    perl python3 openssl curl wget ssh git make gcc cc1 ld.bfd as objdump readelf gdb strace ps top mount ip ss
    java javac node ruby php sqlite3 rsync bc dpkg rpm apt systemctl gpg convert ffmpeg cmake clang qemu-img perf
    nm strip awk m4 xz zstd bzip2 lsof socat nc dig screen tmux emacs svn hg ctest ninja ld.gold lld udevadm
""".split()
EXIT_CODE = bytes.fromhex("31ff b8e7000000 0f05")
"""xor %edi, %edi; mov $231, %eax (exit_group); syscall."""
STAMP_CODE = bytes.fromhex(
    "4883ec10 bf01000000 4889e6 b8e4000000 0f05"  # sub $16, %rsp; clock_gettime(CLOCK_MONOTONIC, %rsp)
    "48690424 00ca9a3b 4803442408 48890424"  # imul $1000000000, (%rsp), %rax; add 8(%rsp), %rax; mov %rax, (%rsp)
    "bf09000000 4889e6 ba08000000 b801000000 0f05"  # write(9, %rsp, 8): bench/stamp.h
)
"""Writes the time in ns to the descriptor of stamps; `EXIT_CODE` follows."""
_SCRIPT = b"#!"


@dataclass(frozen=True, slots=True)
class Programs:
    """Programs of this system: name to path; and names that were passed over, with the reason."""

    found: dict[str, str]
    passed_over: dict[str, str]

    def among(self, names: Sequence[str] | None) -> Programs:
        """Those of some names, or all for None."""
        if names is None:
            return self
        kept = (
            {name: each for name, each in those.items() if name in names} for those in (self.found, self.passed_over)
        )
        return Programs(*kept)


@lru_cache(maxsize=1)
def find_programs() -> Programs:
    """Dynamic glibc programs of `PROGRAM_NAMES`, each file once; looked for once a process."""
    found: dict[str, str] = {}
    passed_over: dict[str, str] = {}
    for name in PROGRAM_NAMES:
        path = path_of(name)
        reason = _reason_against(path)
        if reason or path in found.values():
            passed_over[name] = reason or "is another of the programs by another name"
        else:
            found[name] = path
    return Programs(found, passed_over)


def path_of(name: str) -> str:
    """Where a program lies, links followed; empty if it is not installed."""
    if name == "python3":
        return os.path.realpath(sys.executable)
    found = shutil.which(name)
    if name == "cc1" and found is None and shutil.which("gcc"):
        asked = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=False)
        found = asked.stdout.strip()
    path = os.path.realpath(found) if found else ""
    return path if Path(path).is_file() else ""


def _reason_against(path: str) -> str:
    if not path:
        return "is not installed"
    try:
        if is_secure(path):
            return "is set-user-ID: ld.so ignores LD_DEBUG"
        with Path(path).open("rb") as stream:
            if stream.read(2) == _SCRIPT:
                return "is a script"
        image = capture_elf(path, environ=loader_environ())
    except (BadInput, OSError) as error:
        return f"cannot be read: {error}"
    return "" if image.kind == "elf-dynamic" and image.glibc else "has no glibc loader"


def loader_environ(**more: str) -> dict[str, str]:
    """This process's environment without what steers ld.so, and `more`."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LD_")} | more


def stopped_copy(path: str, folder: Path) -> Path:
    """A copy of a program whose first own instruction ends it: ld.so does all that it does, the program nothing.

    Raises:
        BadInput: its library search depends on where it lies, or its entry is not in the file.
    """
    return _copy(path, folder / Path(path).name, EXIT_CODE)


def stamped_copy(path: str, folder: Path) -> Path:
    """The same, but before its end it writes the time to descriptor 9; its name ends in `.stamped`.

    What it overwrites beyond `_start` is code that runs after it, if at all. Raises as `stopped_copy`.
    """
    return _copy(path, folder / f"{Path(path).name}.stamped", STAMP_CODE + EXIT_CODE)


def _copy(path: str, copy: Path, code: bytes) -> Path:
    elf = read_elf(path)
    if "$" in elf.rpath + elf.runpath:
        raise BadInput(path, "it seeks libraries beside itself, which a copy would not find", "leave it out")
    offset = next(
        (
            each.offset + elf.entry - each.vaddr
            for each in elf.segments
            if each.vaddr <= elf.entry and elf.entry + len(code) <= each.vaddr + each.file_bytes
        ),
        -1,
    )
    if offset < 0:
        raise BadInput(path, "its entry lies outside its file", "leave it out")
    shutil.copyfile(path, copy)
    with copy.open("r+b") as stream:
        stream.seek(offset)
        stream.write(code)
    copy.chmod(stat.S_IRWXU)
    return copy
