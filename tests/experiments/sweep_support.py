"""Small sweeps for the tests, and what their stores hold."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from experiments.sweep_spec import Sweep

ROOT = Path(__file__).resolve().parents[2]
Rows = list[tuple[Any, ...]]


def small(machine: Path, **more: Any) -> Sweep:
    """A grid of a few points in milliseconds each."""
    base = {"machine": str(machine), "exec": "none", "via": ["fork", "vfork"]}
    axes: dict[str, Any] = {"rss": ["1MiB", "64MiB"], "thp": ["off", "on"]}
    return Sweep(**{"base": base, "axes": axes, **more})


def specification(path: Path, machine: Path, *, points: int = 8, axes: str = "", more: str = "") -> Path:
    """The same as a file, by a range of `points` sizes."""
    path.write_text(
        f"""schema = "spawncost.sweep/1"
base = {{ machine = "{machine}", exec = "none", via = ["fork"] }}
{more}
[axes]
rss = {{ low = "1MiB", high = "8GiB", scale = "log", count = {points} }}
{axes}
""",
        encoding="utf-8",
    )
    return path


def rows(path: Path) -> Rows:
    """Everything in `points`, in the order in which it lies there."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute("select * from points").fetchall()
    finally:
        connection.close()
