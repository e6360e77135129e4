"""Scripts: `#!` lines followed to the ELF file that the kernel maps in the end (fs/binfmt_script.c:load_script)."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from calibration.capture.binfmt_misc import handler_of
from calibration.capture.elf_headers import unreadable
from calibration.errors import BadInput

SCRIPT_HEAD_BYTES = 256  # BINPRM_BUF_SIZE
MAX_REWRITES = 5  # fs/exec.c:exec_binprm


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What `#!` lines make of a path (fs/binfmt_script.c:load_script)."""

    interpreters: tuple[str, ...]
    arguments: tuple[str, ...]
    """Between argv[0] and the caller's own arguments."""
    program: str
    """The ELF file that is mapped in the end."""


def read_script(path: str) -> Script:
    """Follow `#!` lines to an ELF file.

    Raises:
        BadInput: not found, no regular file, unreadable, a script nested too deeply or without interpreter.
    """
    interpreters: list[str] = []
    arguments: list[str] = []
    current = path
    for _ in range(MAX_REWRITES + 1):
        head = _head(current, path)
        if head[:2] != b"#!":
            _refuse_registered(current, head)
            return Script(interpreters=tuple(interpreters), arguments=tuple(arguments), program=current)
        interpreter, argument = _script_line(head, current)
        arguments = [*argument, current, *arguments]
        interpreters.append(interpreter)
        current = interpreter
    raise BadInput(path, f"its script interpreters are nested more than {MAX_REWRITES} deep", "name the program itself")


def _refuse_registered(path: str, head: bytes) -> None:
    """A file for another kind of machine that binfmt_misc takes is refused by the name of who would run it."""
    ours = head[:6] == b"\x7fELF\x02\x01" and head[18:20] == b"\x3e\x00"
    handler = None if ours else handler_of(path, head)
    if handler is not None:
        why = f"is run by {handler.interpreter} (binfmt_misc entry {handler.name}), which is not followed"
        raise BadInput(path, why, "name that interpreter itself")


def _head(path: str, shown: str) -> bytes:
    if path != shown and not Path(path).exists():
        raise BadInput(shown, f"its interpreter {path} cannot be found", "correct its #! line or install it")
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise BadInput(path, "is not a regular file", "name an ELF program or a script")
        with Path(path).open("rb") as stream:
            return stream.read(SCRIPT_HEAD_BYTES)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


def _script_line(head: bytes, path: str) -> tuple[str, list[str]]:
    line, newline, _ = head[2:].partition(b"\n")
    line = line.partition(b"\0")[0].strip(b" \t")
    name, separator, rest = line.replace(b"\t", b" ").partition(b" ")
    cut = not newline and len(head) == SCRIPT_HEAD_BYTES and not separator
    if not name or cut:
        why = "its #! line names no interpreter" if not name else "its #! line is longer than 256 bytes"
        raise BadInput(path, why, "correct its #! line")
    return os.fsdecode(name), [os.fsdecode(line[len(name) + 1 :].strip(b" \t"))] if rest.strip(b" ") else []
