"""`spawncost elf`."""

from __future__ import annotations

from typing import Annotated

import typer

from calibration.capture.elf import capture_elf
from experiments.cli.predict import Json, json_text, show
from experiments.elf_report import elf_document
from experiments.report import elf_text


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("elf")(elf_command)


def elf_command(
    path: Annotated[str, typer.Argument(metavar="PATH", help="An ELF file or a script; it is not executed.")],
    bind_now: Annotated[bool, typer.Option("--bind-now", help="As with LD_BIND_NOW=1.")] = False,
    as_json: Json = False,
) -> int:
    """What the model sees in a program and its libraries."""
    document = elf_document(capture_elf(path, bind_now=True if bind_now else None))
    show(json_text(document) if as_json else elf_text(document), [])
    return 0
