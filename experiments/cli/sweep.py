"""`spawncost sweep` and `spawncost merge`."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from calibration.errors import BadInput
from experiments.cli.predict import Json, json_text
from experiments.store_files import export_store, merge_stores
from experiments.sweep import run_into_store
from experiments.sweep_spec import read_sweep
from experiments.sweep_ways import How, Progress, Tally

_LINE_S = 10.0
_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("sweep")(sweep_command)
    app.command("merge")(merge_command)


def sweep_command(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.toml", help="What to vary; see experiments/specs.")],
    store: Annotated[Path, typer.Option("--store", metavar="FILE", help="Where the rows go, and resume from.")],
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, max=4096, help="Processes (one a CPU).")
    ] = None,
    dask: Annotated[str | None, typer.Option("--dask", metavar="ADDRESS", help="A Dask scheduler instead.")] = None,
    shard: Annotated[str, typer.Option("--shard", metavar="I/N", help="Only the I-th of N parts.")] = "1/1",
    retry: Annotated[bool, typer.Option("--retry", help="Compute points again that failed.")] = False,
    point: Annotated[
        str | None, typer.Option("--point", metavar="NUMBER|KEY", help="Compute this point alone, again.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Then write the rows as .csv or .parquet too.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Predict every point of a specification. The same command again resumes."""
    if dask is not None and workers is not None:
        raise BadInput("--workers and --dask", "a cluster has its own workers", "give one of them")
    sweep = read_sweep(spec)
    with progress(sweep.name) as told:
        how = How(workers=workers, dask=dask, shard=_shard(shard), retry=retry, only=point, progress=told)
        opened, tally = run_into_store(sweep, store, how)
    rows, failed = opened.counts()
    first = opened.first_error()
    opened.close()
    if point is not None and not tally.computed:
        raise BadInput(f"--point {point}", "the sweep has no such point", "give a number or key of the store")
    if export is not None:
        export_store(store, export)
    document = {
        "schema": "spawncost.sweep-run/1",
        "name": sweep.name,
        "store": str(store),
        "rows": rows,
        "failed": failed,
        "computed_now": tally.computed,
        "failed_now": tally.failed,
        "found": tally.found,
        "first_error": {"number": first[0], "key": first[1], "error": first[2]} if first is not None else None,
    }
    sys.stdout.write(json_text(document) if as_json else _text(document))
    return 0


def _shard(text: str) -> tuple[int, int]:
    found = _SHARD.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise BadInput(f"--shard {text}", "it is no part of a whole", "write I/N with I from 1 to N")
    return int(found[1]), int(found[2])


def _text(document: dict[str, Any]) -> str:
    lines = [
        f"{document['name']}: {document['rows']} rows in {document['store']}, {document['computed_now']} of them new, "
        f"{document['failed']} failed"
    ]
    first = document["first_error"]
    if first is not None:
        lines.append(f"  point {first['number']}: {first['error']}")
        lines.append(f"  --point {first['number']} computes it again alone, --retry all that failed")
    return "\n".join(lines) + "\n"


@contextmanager
def progress(name: str) -> Iterator[Progress]:
    """Progress on standard error: a bar on a terminal, else a line every ten seconds."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console, name) as told:
            yield told
    else:
        yield _lines(name)


@contextmanager
def _bar(console: Any, name: str) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[failed]} failed")
    texts = tuple(TextColumn(each) if isinstance(each, str) else each for each in columns)
    # No thread of its own: workers are forked meanwhile.
    with Bar(
        *texts, TimeElapsedColumn(), TextColumn("{task.fields[left]}"), console=console, auto_refresh=False
    ) as bar:
        task = bar.add_task(name, total=None, failed=0, left="")

        def told(tally: Tally) -> None:
            bar.update(
                task, total=tally.expected, completed=tally.done, failed=tally.failed, left=_left(tally), refresh=True
            )

        yield told


def _lines(name: str) -> Progress:
    last = time.monotonic()

    def told(tally: Tally) -> None:
        nonlocal last
        if time.monotonic() - last < _LINE_S:
            return
        last = time.monotonic()
        print(
            f"{name}: {tally.done} of {tally.expected} points, {tally.failed} failed, {_left(tally)}", file=sys.stderr
        )

    return told


def _left(tally: Tally) -> str:
    left_s = tally.left_s
    if left_s is None:
        return "time left unknown"
    hours, rest = divmod(round(left_s), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02} left"


def merge_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Stores of shards of one sweep.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="The store of all their rows.")],
    as_json: Json = False,
) -> int:
    """Put the stores of a sweep's shards together."""
    rows, failed = merge_stores(files, out)
    document = {"schema": "spawncost.merge/1", "store": str(out), "rows": rows, "failed": failed}
    sys.stdout.write(json_text(document) if as_json else f"{out}: {rows} rows, {failed} failed\n")
    return 0
