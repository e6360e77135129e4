"""`spawncost snapshot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calibration.capture.parent_file import write_snapshot
from calibration.capture.procfs import capture_process
from calibration.capture.snapshot import snapshot_text
from experiments.cli.predict import show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("snapshot")(snapshot_command)


def snapshot_command(
    pid: Annotated[int, typer.Argument(metavar="PID", help="A live process.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Instead of standard output.")] = None,
) -> int:
    """What the model sees in a process; predict --parent reads it."""
    process = capture_process(pid)
    if out is None:
        show(snapshot_text(process), [])
    else:
        write_snapshot(process, out)
    return 0
