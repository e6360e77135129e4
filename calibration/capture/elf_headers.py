"""ELF header and program headers of one file: what may be believed, and the one-line refusals."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calibration.capture.elf_tables import TableReader
from calibration.errors import BadInput
from model.units import PAGE_BYTES

MAX_PROGRAM_HEADERS = 65536 // 56  # fs/binfmt_elf.c:load_elf_phdrs refuses more than 64 KiB
MACHINE_X86_64 = "EM_X86_64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One PT_LOAD."""

    vaddr: int
    offset: int
    file_bytes: int
    memory_bytes: int
    flags: int
    align_bytes: int = PAGE_BYTES

    @property
    def writable(self) -> bool:
        """PF_W."""
        return bool(self.flags & 2)


def unreadable(shown: str, error: OSError | ValueError) -> BadInput:
    """BadInput for a failed open or read."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOENT, errno.ENOTDIR):
        return BadInput(shown, "cannot be found", "check the path")
    if number in (errno.EACCES, errno.EPERM):
        return BadInput(shown, "cannot be read: permission denied", "run as a user who may read it")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return BadInput(shown, f"cannot be read: {reason}", "check the path")


def damaged(shown: str, why: str) -> BadInput:
    """BadInput for a file whose contents contradict themselves."""
    return BadInput(shown, why, "reinstall the file or name another one")


def check_ident(ident: bytes, shown: str) -> None:
    """Raises BadInput unless the first bytes are those of a 64-bit little-endian ELF file."""
    if ident[:4] != b"\x7fELF":
        raise BadInput(shown, "is neither an ELF file nor a script with #!", "name an ELF program or a script")
    if ident[4:6] != b"\x02\x01":
        raise BadInput(shown, "is for another machine: not 64-bit little-endian", "name an x86-64 program")


def check_header(header: Mapping[str, Any], shown: str, size: int) -> None:
    """Raises BadInput unless the ELF header is one that execve takes on x86-64 and the file is whole."""
    if header["e_machine"] != MACHINE_X86_64:
        raise BadInput(shown, f"is for another machine: {header['e_machine']}", "name an x86-64 program")
    if header["e_type"] not in ("ET_EXEC", "ET_DYN"):
        raise BadInput(shown, f"is no program: {header['e_type']}", "name an executable, not an object or core file")
    if header["e_phentsize"] != 56 or not 0 < header["e_phnum"] <= MAX_PROGRAM_HEADERS:
        raise damaged(shown, "has an impossible program header table")
    if header["e_phoff"] + 56 * header["e_phnum"] > size:
        raise damaged(shown, "is truncated: program headers lie beyond its end")
    if header["e_shnum"] and header["e_shoff"] + header["e_shnum"] * header["e_shentsize"] > size:
        raise damaged(shown, "is truncated: section headers lie beyond its end")


def program_segment(header: Mapping[str, Any], shown: str, size: int) -> Segment:
    """A PT_LOAD header, checked; raises BadInput."""
    start, length = header["p_offset"], header["p_filesz"]
    if start + length > size:
        raise damaged(shown, "is truncated: a PT_LOAD segment lies beyond its end")
    if length > header["p_memsz"] or header["p_vaddr"] + header["p_memsz"] >= 1 << 47:
        raise damaged(shown, "has a PT_LOAD segment of impossible size")
    if (header["p_vaddr"] - start) % PAGE_BYTES:
        raise damaged(shown, "has a PT_LOAD segment whose address and offset do not agree")
    return Segment(
        vaddr=header["p_vaddr"],
        offset=start,
        file_bytes=length,
        memory_bytes=header["p_memsz"],
        flags=header["p_flags"],
        align_bytes=header["p_align"],
    )


def first_header(headers: list[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    """The first program header of a type."""
    return next((each for each in headers if each["p_type"] == kind), None)


def interpreter(reader: TableReader, headers: list[Mapping[str, Any]]) -> str:
    """PT_INTERP, empty if there is none; raises BadInput."""
    header = first_header(headers, "PT_INTERP")
    if header is None:
        return ""
    if not 2 <= header["p_filesz"] <= 4096:
        raise damaged(reader.shown, "has an impossible PT_INTERP")
    text = reader.at_offset(header["p_offset"], header["p_filesz"])
    if not text.endswith(b"\0"):
        raise damaged(reader.shown, "has a PT_INTERP without end")
    return os.fsdecode(text.split(b"\0", 1)[0])


def build_id(reader: TableReader, headers: list[Mapping[str, Any]]) -> str:
    """NT_GNU_BUILD_ID in hexadecimal, empty if there is none."""
    for header in headers:
        if header["p_type"] != "PT_NOTE" or not 16 <= header["p_filesz"] <= 65536:
            continue
        notes, at = reader.at_offset(header["p_offset"], header["p_filesz"]), 0
        while at + 12 <= len(notes):
            name, data, kind = (int.from_bytes(notes[at + 4 * k : at + 4 * k + 4], "little") for k in range(3))
            start = at + 12 + (name + 3) // 4 * 4
            if kind == 3 and notes[at + 12 : at + 16] == b"GNU\0":
                return notes[start : start + data].hex()
            at = start + (data + 3) // 4 * 4
    return ""
