"""`spawncost claims`: what a text on process creation claims, judged."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from calibration.errors import BadInput
from calibration.machine_file import BUNDLED
from experiments.cli.options import Asked, accepting
from experiments.cli.predict import Json, document_of, json_text


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("claims")(claims_command)


def claims_command(
    ids: Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="This claim; repeatable.")] = None,
    verdict: Annotated[str | None, typer.Option(metavar="true|false|depends", help="Those judged so.")] = None,
    machine: Annotated[str, typer.Option(metavar="NAME|FILE", help="Machine file to predict with.")] = BUNDLED,
    measure: Annotated[bool, typer.Option("--measure", help="Measure here and now instead of the stored.")] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Keep what --measure finds.")] = None,
    as_json: Json = False,
) -> int:
    """Claims of a text on process creation, each judged by the model and by measurement."""
    from calibration.machine_file import find_machine
    from experiments.claims import catalogue, judged, measured

    _check_out(out, measure)
    claims = catalogue.chosen(tuple(ids or ()), verdict)
    file = find_machine(machine)
    found = measured.measure(judged.runs_of(claims), _progress) if measure else measured.read_measured()
    if out is not None:
        measured.write_measured(found, out)
    document = judged.document_of(claims, file, lambda options: asked_of(options, machine), found, machine)
    sys.stdout.write(json_text(document) if as_json else judged.text_of(document))
    return 0


def _check_out(out: Path | None, measure: bool) -> None:
    """Refuses before the work what cannot be kept after it."""
    if out is None:
        return
    if not measure:
        raise BadInput("--out", "nothing is measured", "give --measure too")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise BadInput(str(out), "no file can be written there", "name a file in a folder that there is")


def asked_of(options: tuple[str, ...], machine: str) -> Mapping[str, Any]:
    """The document of `spawncost predict --machine MACHINE OPTIONS`, by the same parser and the same path.

    Raises:
        BadInput: as predict does.
    """
    kept: list[Mapping[str, Any]] = []

    def keep(asked: Asked) -> int:
        kept.append(document_of(asked))
        return 0

    app = typer.Typer(add_completion=False)
    app.command("predict")(accepting(keep))
    try:
        typer.main.get_command(app).main(args=["--machine", machine, *options], standalone_mode=False)
    except typer.TyperException as error:
        raise BadInput(" ".join(options), error.format_message(), "see `spawncost predict --help`") from error
    return kept[0]


def _progress(name: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[Kmeasuring {name}", end="", file=sys.stderr, flush=True)
