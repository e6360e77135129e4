"""Formats that an administrator registered: which interpreter the kernel would start for a file that it cannot load.

Plays fs/binfmt_misc.c:search_binfmt_handler@v6.18; only to tell why a file is no program of ours, not to follow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REGISTERED = Path("/proc/sys/fs/binfmt_misc")
_CONTROL_FILES = ("register", "status")


@dataclass(frozen=True, slots=True)
class Handler:
    """One enabled entry: its name and the interpreter that it starts."""

    name: str
    interpreter: str


def handler_of(path: str, head: bytes, registered: Path | None = None) -> Handler | None:
    """The enabled entry that takes a file by its extension or its first bytes; None if none does.

    Args:
        path: of the file; head: its first 256 bytes.
        registered: where the entries stand; None: in /proc.
    """
    try:
        entries = sorted(each for each in (registered or REGISTERED).iterdir() if each.name not in _CONTROL_FILES)
    except OSError:
        return None
    for entry in entries:
        try:
            lines = entry.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except OSError:
            continue
        told = {name.rstrip(":"): text for name, _, text in (line.partition(" ") for line in lines[1:])}
        if lines[:1] == ["enabled"] and _takes(told, path, head):
            return Handler(entry.name, told.get("interpreter", ""))
    return None


def _takes(told: dict[str, str], path: str, head: bytes) -> bool:
    if "extension" in told:
        return path.rpartition("/")[2].endswith(told["extension"])
    try:
        magic, offset = bytes.fromhex(told["magic"]), int(told.get("offset", "0"))
        mask = bytes.fromhex(told["mask"]) if "mask" in told else b"\xff" * len(magic)
    except (KeyError, ValueError):
        return False
    found = head[offset : offset + len(magic)]
    return len(found) == len(magic) and all((a ^ b) & m == 0 for a, b, m in zip(found, magic, mask, strict=False))
