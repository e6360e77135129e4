"""Parents in files: TOML descriptions, JSON snapshots, and the catalogue of bundled ones."""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from calibration.capture.description import ParentDescription, described_process
from calibration.capture.proc_files import read_bytes
from calibration.capture.procfs import ASSUMED_CONTIGUOUS
from calibration.capture.snapshot import parse_snapshot, snapshot_text
from calibration.errors import BadInput, unfit
from model.process import Process

CATALOGUE = Path(__file__).resolve().parents[2] / "experiments" / "parents"
"""Data only: nothing is imported from there."""
_SUFFIXES = (".toml", ".json")


def bundled_parents() -> list[str]:
    """Names of the bundled parents, sorted; each can stand for a file in `read_parent`."""
    return sorted(path.stem for path in CATALOGUE.iterdir() if path.suffix in _SUFFIXES)


def read_parent(path_or_name: str | Path) -> Process:
    """The process of a TOML description, a JSON snapshot, or a bundled parent.

    A bare name of the catalogue means the bundled parent; write `./NAME` for a file of the same name.

    Raises:
        BadInput: no such file, not readable, or not by its schema; it names the file and the key.
    """
    name = str(path_or_name)
    bundled = [CATALOGUE / f"{name}{suffix}" for suffix in _SUFFIXES if name in bundled_parents()]
    for path in bundled:
        if path.is_file():
            return replace(_parse(path), origin="bundled")
    return _parse(Path(path_or_name))


def _parse(path: Path) -> Process:
    text = _contents(path)
    parse: Callable[[bytes], Process] = parse_snapshot if text.lstrip()[:1] == b"{" else _parse_description
    try:
        return parse(text)
    except ValidationError as error:
        raise unfit(str(path), error, "correct the file") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(str(path), f"neither TOML nor JSON: {error}", "correct the line") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(str(path), str(error) or "nested too deeply", "correct the file") from error


def _contents(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        known = ", ".join(bundled_parents())
        raise BadInput(str(path), "there is no such file", f"give a file or a bundled parent: {known}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(str(path), f"cannot be read: {reason}", "give a readable file") from error


def _parse_description(text: bytes) -> Process:
    document = tomllib.loads(text.decode("utf-8"))
    return described_process(ParentDescription.model_validate(document), assumed_contiguous=ASSUMED_CONTIGUOUS)


def write_snapshot(process: Process, path: Path) -> None:
    """Write a snapshot that `read_parent` reads back as the same process; only `origin` becomes `snapshot`.

    The file appears whole or not at all.

    Raises:
        BadInput: the file cannot be written.
    """
    try:
        write_atomically(Path(path), snapshot_text(process))
    except OSError as error:
        raise BadInput(str(path), f"cannot be written: {error.strerror or error}", "give another file") from error


def write_atomically(path: Path, text: str) -> None:
    """Replace the file in one step, with the permissions that a new file would have."""
    write_bytes_atomically(path, text.encode("utf-8"))


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """The same for a file that is no text."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
