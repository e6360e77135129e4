"""`spawncost export`: samples for other tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from calibration.errors import BadInput


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def export(
        pyperf: Annotated[bool, typer.Option("--pyperf", help="As JSON that pyperf reads.")] = False,
        machine: Annotated[str | None, typer.Option(help="The samples of this machine file.")] = None,
        samples: Annotated[Path | None, typer.Option(metavar="FILE", help="Or this file of samples.")] = None,
        row: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this row; repeatable.")] = None,
        out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Default: stdout.")] = None,
    ) -> int:
        """Raw samples in another tool's format: pyperf's show, stats, compare_to and hist take it."""
        from calibration.capture.parent_file import write_atomically
        from calibration.pyperf_export import pyperf_document
        from calibration.samples import read_runs

        if not pyperf:
            raise BadInput("export", "no format is named", "add --pyperf")
        if machine is not None and samples is not None:
            raise BadInput("--machine and --samples", "samples come from one of them", "give one")
        document = pyperf_document(read_runs(samples if samples is not None else _stored(machine)), row or ())
        text = json.dumps(document, allow_nan=False) + "\n"
        if out is None:
            print(text, end="")
            return 0
        try:
            write_atomically(out, text)
        except OSError as error:
            raise BadInput(str(out), f"cannot be written: {error.strerror or error}", "give another file") from error
        print(f"{out}: {len(document['benchmarks'])} benchmarks; see `python -m pyperf stats {out}`")
        return 0


def _stored(machine: str | None) -> Path:
    from calibration.check import stored_samples
    from calibration.machine_file import find_machine

    return stored_samples(find_machine(machine))[0]
