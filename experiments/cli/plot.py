"""`spawncost plot`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibration.capture.parent_file import write_bytes_atomically
from calibration.errors import BadInput
from experiments.store_files import read_store

if TYPE_CHECKING:
    import pandas as pd

    from experiments.sweep_fields import Field, Scalar


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plot")(plot_command)


def plot_command(
    stores: Annotated[list[Path], typer.Argument(metavar="STORE...", help="Stores that `sweep` wrote.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The figure, as .png or .svg.")],
    x: Annotated[str | None, typer.Option("--x", metavar="FIELD", help="Along x (the finest number).")] = None,
    milestone: Annotated[
        str | None, typer.Option("--milestone", metavar="NAME", help="call, exec, main or reaped (call).")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="FIELD=VALUE", help="Only such points; repeatable.")
    ] = None,
    measured: Annotated[
        Path | None, typer.Option("--measured", metavar="FILE.csv", help="Measured points to draw over the lines.")
    ] = None,
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="Above the figure.")] = "",
) -> int:
    """Draw the rows of a sweep with their intervals."""
    from experiments.figure_layout import layout_of
    from experiments.figures import rendered, sweep_figure

    ending = ending_of(out)
    whole = _frame(stores)
    wanted = _wanted(whole, where or ())
    frame = _chosen(whole, wanted)
    layout = layout_of(frame, x=x, milestone=milestone)
    points = _chosen(_measured(measured), wanted) if measured is not None else None
    figure = sweep_figure(frame, layout, title=title or ", ".join(each.stem for each in stores), measured=points)
    save(rendered(figure, ending), out)
    kind = "points" if layout.scattered else "lines"
    sys.stdout.write(f"{out}: {len(frame)} points as {kind} of {layout.milestone} over {layout.x}\n")
    return 0


def ending_of(out: Path) -> str:
    """png or svg. Raises BadInput for another name."""
    ending = out.suffix.removeprefix(".").lower()
    if ending not in ("png", "svg"):
        raise BadInput(str(out), "figures are written as PNG or SVG", "name the file .png or .svg")
    return ending


def save(content: bytes, out: Path) -> None:
    """Write a figure; it appears whole or not at all. Raises BadInput."""
    try:
        write_bytes_atomically(out, content)
    except OSError as error:
        raise BadInput(str(out), f"cannot be written: {error.strerror or error}", "give another file") from error


def _frame(stores: list[Path]) -> pd.DataFrame:
    import pandas as pd

    frames = [read_store(each) for each in stores]
    if len(frames) == 1:
        return frames[0]
    return pd.concat([each.assign(store=path.stem) for path, each in zip(stores, frames, strict=True)])


def _wanted(frame: pd.DataFrame, where: Sequence[str]) -> dict[str, Scalar]:
    """Values asked for by field, which are read as a specification reads them."""
    from experiments.sweep_fields import ALIASES, FIELDS

    found: dict[str, Scalar] = {}
    for each in where:
        name, separator, text = each.partition("=")
        name = ALIASES.get(name.strip(), name.strip())
        known = FIELDS.get(name)
        if not separator or known is None or name not in frame:
            raise BadInput(f"--where {each}", "the store has no such field", "write FIELD=VALUE")
        try:
            found[name] = _read(known, text)
        except ValueError as error:
            raise BadInput(f"--where {each}", str(error), "give a value of the field") from error
    return found


def _chosen(frame: pd.DataFrame, wanted: Mapping[str, Scalar]) -> pd.DataFrame:
    """Rows with these values, as far as there are such columns."""
    for name, value in wanted.items():
        frame = frame[frame[name] == value] if name in frame else frame
    if frame.empty:
        raise BadInput("--where", "no point is like that", "leave some out")
    return frame


def _read(known: Field, text: str) -> Scalar:
    """A value as a specification has it, from text; ValueError."""
    return known.parse(text.strip() if known.kind in ("text", "size") else float(text))


def _measured(path: Path) -> pd.DataFrame:
    """Measured points: fields as in a specification, times as in a store. Raises BadInput."""
    import pandas as pd

    from experiments.sweep_fields import FIELDS

    try:
        given = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise BadInput(str(path), f"cannot be read: {error}", "give a CSV file") from error
    for name in given:
        try:
            if name in FIELDS:
                given[name] = [_read(FIELDS[str(name)], each) for each in given[name]]
            elif str(name).endswith("_us"):
                given[name] = [float(each) for each in given[name]]
        except ValueError as error:
            raise BadInput(
                f"{path}: {name}", str(error), "write values as a specification and times as a store"
            ) from error
    return given
