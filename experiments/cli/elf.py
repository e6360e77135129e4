"""`spawncost elf`."""

from __future__ import annotations

from typing import Annotated

import typer

from calibration.machine_file import find_machine
from experiments.cli.imagined import BareMetal, BindNow, Lazy, Libraries, PageCache, Prelink, Relr, Static
from experiments.cli.predict import Json, json_text, show
from experiments.elf_prices import start_of
from experiments.elf_report import elf_document, start_record
from experiments.report import elf_text
from experiments.scenarios import cold_files_of
from experiments.what_if import WhatIf, image_if, machine_if, notices_if


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("elf")(elf_command)


def elf_command(
    path: Annotated[str, typer.Argument(metavar="PATH", help="An ELF file or a script; it is not executed.")],
    bind_now: BindNow = False,
    lazy: Lazy = False,
    prelink: Prelink = False,
    relr: Relr = False,
    static: Static = False,
    libraries: Libraries = None,
    bare_metal: BareMetal = False,
    page_cache: PageCache = "warm",
    machine: Annotated[str | None, typer.Option(metavar="NAME|FILE", help="Machine file of the prices.")] = None,
    caller: Annotated[str, typer.Option(metavar="hot|cold", help="Who starts it.")] = "hot",
    as_json: Json = False,
) -> int:
    """What the model sees in a program and its libraries, and what starting it costs, part by part."""
    what = WhatIf(
        bind_now=bind_now,
        lazy=lazy,
        prelink=prelink,
        relr=relr,
        static=static,
        libraries=libraries,
        bare_metal=bare_metal,
    )
    image = image_if(path, what)
    file = find_machine(machine)
    cold_files = cold_files_of(page_cache)
    start = start_of(image, machine_if(file, what), caller=caller, cold_files=cold_files)
    record = start_record(
        start,
        machine=file.machine.name,
        caller=caller,
        what_if=what.names,
        page_cache=page_cache,
        constructors=image.constructors,
    )
    document = {**elf_document(image), "start": record}
    document["warnings"] = [{"code": each.code, "text": each.text} for each in notices_if(what)]
    show(json_text(document) if as_json else elf_text(document), [document])
    return 0
