"""Images kept on disk: reading a program of sixty libraries again takes a file and a few stat calls.

An entry is found by everything that was asked for, by the CPU's flags, which choose among libraries, and by the code
that reads. It holds only as long as every file that was opened has its size, time and mode, and what the search for
libraries missed is still missing. What does not fit in any way is read anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path

import pydantic

from calibration.capture.parent_file import write_atomically
from model import elf_image
from model.elf_image import ElfImage, ElfObject

SCHEMA = "spawncost.image/1"
MAX_ENTRIES = 200
MAX_ENTRY_BYTES = 4 << 20

Signature = tuple[tuple[str, int, int, int], ...]
_ENTRY = pydantic.TypeAdapter(tuple[str, str, Signature, ElfImage])


def cache_dir() -> Path:
    """Where what can be made again is kept: $XDG_CACHE_HOME/spawncost, by default ~/.cache/spawncost."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path("~/.cache").expanduser()) / "spawncost"


def signature(paths: Iterable[str]) -> Signature:
    """Path, size, mtime and mode of each file; zeros for one that is gone."""
    rows = []
    for path in paths:
        try:
            status = Path(path).stat()
            rows.append((path, status.st_size, status.st_mtime_ns, status.st_mode))
        except (OSError, ValueError):
            rows.append((path, 0, 0, 0))
    return tuple(rows)


@cache
def _code() -> str:
    """Hash of the sources that read and hold an image: counts of other code are not these."""
    digest = hashlib.sha256()
    for path in [*sorted(Path(__file__).parent.glob("*.py")), Path(elf_image.__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _entry(key: tuple[object, ...]) -> tuple[Path, str]:
    asked = repr((*key, _code()))
    return cache_dir() / "images" / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.json", asked


def stored_image(key: tuple[object, ...]) -> tuple[Signature, ElfImage | None]:
    """The image of an entry whose files are as they were, with their signature; None if there is no sound one."""
    try:
        path, asked = _entry(key)
        if path.stat().st_size > MAX_ENTRY_BYTES:
            return (), None
        schema, told, files, image = _ENTRY.validate_json(path.read_bytes(), strict=True)
    except (OSError, ValueError, RecursionError):
        return (), None
    if (schema, told) != (SCHEMA, asked) or not _sound(image) or signature(each[0] for each in files) != files:
        return (), None
    return files, image


def _sound(image: ElfImage) -> bool:
    """Whether no count is negative."""
    held: list[ElfImage | ElfObject] = [image, *image.objects]
    counts = [getattr(each, field.name) for each in held for field in fields(each)]
    return all(value >= 0 for value in counts if isinstance(value, int))


def store_image(key: tuple[object, ...], files: Signature, image: ElfImage) -> None:
    """Keep an image; a folder that cannot be written, or a full disk, is no matter."""
    try:
        path, asked = _entry(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps([SCHEMA, asked, files, asdict(image)]))
        entries = sorted(path.parent.glob("*.json"), key=lambda each: each.stat().st_mtime_ns)
        for old in entries[:-MAX_ENTRIES]:
            old.unlink()
    except (OSError, ValueError):
        return
