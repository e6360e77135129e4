"""`spawncost sensitivity`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calibration.errors import BadInput
from experiments.cli.plot import ending_of, save
from experiments.cli.predict import Json, json_text
from experiments.executors import default_workers, local_executor
from experiments.headline import duration
from experiments.sweep_spec import Sweep, read_sweep

if TYPE_CHECKING:
    from experiments.sensitivity import Sensitivity
    from experiments.sobol_indices import Index

_SAMPLES = 512
_PRICES = 10
_LEAST = 16


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sensitivity")(sensitivity_command)


def sensitivity_command(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.toml", help="Its axes are the factors.")],
    samples: Annotated[
        int | None, typer.Option("--samples", metavar="N", min=_LEAST, max=1 << 20, help="Rows of the design (512).")
    ] = None,
    milestone: Annotated[
        str | None, typer.Option("--milestone", metavar="NAME", help="call, exec, main or reaped (call).")
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="Explain the logarithm of the time.")] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, max=4096, help="Processes (one a CPU).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="The tornado, as .png or .svg.")
    ] = None,
    as_json: Json = False,
) -> int:
    """What the answer hangs on: Sobol' indices over axes and prices."""
    from experiments.sensitivity import sensitivities
    from model.prediction import MILESTONES

    ending = ending_of(out) if out is not None else ""
    if milestone is not None and milestone not in MILESTONES:
        raise BadInput(f"--milestone {milestone}", "there is no such milestone", f"choose from {', '.join(MILESTONES)}")
    sweep = read_sweep(spec)
    rows = samples or max(_LEAST, sweep.samples or _SAMPLES)
    with local_executor(workers or default_workers()) as executor:
        found = sensitivities(sweep, executor, samples=rows, milestone=milestone, log=log)
    if out is not None:
        from experiments.figures import rendered
        from experiments.tornado import tornado_figure

        save(rendered(tornado_figure(found, title=sweep.name), ending), out)
    sys.stdout.write(json_text(_document(sweep, found, log)) if as_json else "\n".join(_text(found)) + "\n")
    return 0


def _document(sweep: Sweep, found: Sequence[Sensitivity], log: bool) -> dict[str, Any]:
    return {
        "schema": "spawncost.sensitivity/1",
        "name": sweep.name,
        "of": "log(time)" if log else "time",
        "mechanisms": [asdict(each) for each in found],
    }


def _text(found: Sequence[Sensitivity]) -> Iterator[str]:
    for each in found:
        yield (
            f"{each.mechanism} to {each.milestone}: {duration(each.mean_us)} on average, standard deviation "
            f"{duration(each.deviation_us)}, {each.samples} rows"
        )
        yield f"  {'share of the variance':<28} {'first':>6} {'90 % bounds':>14}   {'total':>6} {'90 % bounds':>14}"
        yield from map(_line, each.axes)
        yield f"  error of the prices, at the centre ({duration(each.centre_us)})"
        yield from map(_line, each.prices[:_PRICES])
        if len(each.prices) > _PRICES:
            yield f"    and {len(each.prices) - _PRICES} smaller ones"
        if each.path_error > 1e-6:
            yield f"  other prices change the critical path: bills are up to {each.path_error:.1%} off"
        yield ""


def _line(index: Index) -> str:
    first, first_lo, first_hi, total, total_lo, total_hi = (
        f"{round(getattr(index, name), 2) + 0.0:.2f}"
        for name in ("first", "first_lo", "first_hi", "total", "total_lo", "total_hi")
    )
    bounds = (f"{first_lo} to {first_hi}", f"{total_lo} to {total_hi}")
    return f"    {index.factor:<26} {first:>6} {bounds[0]:>14}   {total:>6} {bounds[1]:>14}"
