"""Settings of the whole machine that a calibration changes, put back at its end, else by the next command.

Before the first change the words that were there are noted in the user's data directory. Whoever finds a note whose
writer is gone puts them back. The standard library only: every command looks for such a note.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

FOLIO_SETTINGS = Path("/sys/kernel/mm/transparent_hugepage")
WORDS = frozenset({"always", "inherit", "madvise", "never"})
_NOTE = "settings-to-restore.json"


def data_directory() -> Path:
    """Where this user's calibrations and samples lie: `$XDG_DATA_HOME/spawncost`, else `~/.local/share/spawncost`."""
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if data.startswith("/") else Path("~/.local/share").expanduser()
    return base / "spawncost"


@contextlib.contextmanager
def calibrating() -> Iterator[bool]:
    """Whether no other calibration of this user runs: a lock that ends with its process, however that ends."""
    data_directory().mkdir(parents=True, exist_ok=True)
    with (data_directory() / "calibrating.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except OSError:
            alone = False
        yield alone


@contextlib.contextmanager
def folio_settings_kept(root: Path = FOLIO_SETTINGS) -> Iterator[None]:
    """Puts the sizes of transparent huge pages back as they were, should a bench that was killed not have.

    Does nothing where they cannot be written. If this process is killed too, `restore_left` finds its note.
    """
    restore_left()
    paths = (path for path in sorted(root.glob("hugepages-*kB/enabled")) if os.access(path, os.W_OK))
    before = {path: word for path in paths if (word := _chosen(path)) is not None}
    note = _write_note(before) if before else None
    try:
        yield
    finally:
        _put_back(before)
        if note is not None:
            note.unlink(missing_ok=True)


def restore_left() -> bool:
    """Puts back what a killed calibration left changed; True if there was something to put back."""
    note = data_directory() / _NOTE
    try:
        text = note.read_text(encoding="utf-8")
    except OSError:
        return False
    try:
        document = json.loads(text)
        owner, started = int(document["pid"]), str(document["started"])
        before = {Path(path): str(word) for path, word in document["before"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        before, owner, started = {}, 0, ""
    if owner and _started(owner) == started:
        return False
    changed = _put_back(before)
    with contextlib.suppress(OSError):
        note.unlink()
    return changed


def _write_note(before: dict[Path, str]) -> Path | None:
    """The note, whole or not at all; None where the data directory cannot be written: then only the end restores."""
    note = data_directory() / _NOTE
    if note.exists():  # another calibration is at it, and knows better what was there before
        return None
    document = {
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "before": {str(path): word for path, word in before.items()},
    }
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        scratch = note.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(document), encoding="utf-8")
        scratch.replace(note)
    except OSError:
        return None
    return note


def _put_back(before: dict[Path, str]) -> bool:
    changed = False
    for path, word in before.items():
        if path.name == "enabled" and word in WORDS and _chosen(path) not in (None, word):
            with contextlib.suppress(OSError):
                path.write_text(word)
                changed = True
    return changed


def _started(pid: int) -> str:
    """When a process started, in ticks since boot: with its number it names it. Empty if it is gone."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _chosen(path: Path) -> str | None:
    """The word in brackets: always inherit madvise [never]."""
    with contextlib.suppress(OSError):
        text = path.read_text()
        if "[" in text:
            return text.partition("[")[2].partition("]")[0]
    return None
