"""`spawncost validate`: predicted beside measured for real programs, here and now."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from calibration.machine_file import MachineFile
    from calibration.validate import Comparison, Validation

MOST_ERROR = 0.25
"""Median |ln| from which a validation has found a deviation."""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def validate(
        machine: Annotated[str | None, typer.Option(help="bundled, a name, or a machine file.")] = None,
        kind: Annotated[
            list[str] | None, typer.Option(help="jvm, c, cpython, loader or load; may be repeated.")
        ] = None,
        large: Annotated[bool, typer.Option("--large", help="Heaps of 2 GiB and 200 threads as well.")] = False,
        processes: Annotated[int, typer.Option(min=1, max=20, help="Fresh processes of each case.")] = 3,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    ) -> int:
        """Run real parents that the fit never saw and print predicted beside measured; 1 if an error is too large.

        --kind loader, which stands alone, runs real programs' ld.so with LD_DEBUG=statistics.
        """
        from calibration.machine_file import find_machine
        from calibration.validate import cases_of, summary
        from calibration.validate import validate as run

        file = find_machine(machine)
        if "loader" in (kind or []):
            return _loader(file, kind or [], as_json)
        if kind and "load" in kind:
            return _validate_load(file, kind, processes=processes, as_json=as_json)
        cases = cases_of(kind or ["jvm", "c", "cpython"], large=large)
        done = run(file, cases, processes=processes, progress=_progress)
        print(json.dumps(_document(done), indent=1) if as_json else _text(done))
        return 0 if summary(done.comparisons)["median_error"] <= MOST_ERROR else 1


def _loader(file: MachineFile, kinds: list[str], as_json: bool) -> int:
    from calibration.errors import BadInput
    from calibration.validate_loader import loader_summary, validate_loader
    from experiments.loader_report import loader_document, loader_text

    if len(set(kinds)) > 1:
        raise BadInput("--kind loader", "it stands alone: what it compares is no spawn", "run the others apart")
    done = validate_loader(file, progress=_progress)
    print(json.dumps(loader_document(done), indent=1) if as_json else loader_text(done))
    return 0 if float(loader_summary(done.comparisons)["median_error"]) <= MOST_ERROR else 1


def _validate_load(file: MachineFile, kinds: list[str], *, processes: int, as_json: bool) -> int:
    """Mutators beside a fork: what is compared are counts, not milestones, so it stands for itself."""
    from calibration.errors import BadInput
    from calibration.live.mutating import load_matrix
    from calibration.validate_load import validate_load
    from experiments.load_validation import load_document, load_text

    if set(kinds) != {"load"}:
        raise BadInput("--kind load", "it has figures of its own", "ask for the other kinds in a run of their own")
    found, skipped = validate_load(file, load_matrix(), rounds=processes, progress=_progress)
    document = load_document(file.machine.name, found, skipped)
    print(json.dumps(document, indent=1, allow_nan=False) if as_json else load_text(found, skipped))
    return 0 if all(each.right for each in found) else 1


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def _row(each: Comparison) -> dict[str, Any]:
    return {
        "case": each.case.label,
        "milestone": each.milestone,
        "measured_us": {
            "p10": each.measured_p10_ns / 1e3,
            "p50": each.measured_p50_ns / 1e3,
            "p90": each.measured_p90_ns / 1e3,
        },
        "predicted_us": {
            name: getattr(each.predicted, f"{name}_ns") / 1e3 for name in ("quiet", "p10", "p50", "p90", "lo", "hi")
        },
        "error": each.error,
        "floor": each.floor if math.isfinite(each.floor) else None,
        "covered": each.covered,
    }


def _document(done: Validation) -> dict[str, Any]:
    from calibration.validate import summary

    return {
        "schema": "spawncost.validation/1",
        "machine": done.machine,
        "summary": summary(done.comparisons),
        "comparisons": [_row(each) for each in done.comparisons],
        "skipped": [{"case": case, "why": why} for case, why in done.skipped],
    }


def _text(done: Validation) -> str:
    from calibration.validate import summary

    lines = [f"{'case':46}{'to':>7}{'measured':>10}{'predicted':>11}{'error':>8}{'floor':>7}  (p50, us)"]
    for each in done.comparisons:
        floor = f"{each.floor:.0%}" if math.isfinite(each.floor) else "-"
        lines.append(
            f"{each.case.label:46}{each.milestone:>7}{each.measured_p50_ns / 1e3:10.0f}"
            f"{each.predicted.p50_ns / 1e3:11.0f}{math.expm1(each.error):+8.0%}{floor:>7}"
        )
    total = summary(done.comparisons)
    lines.append(
        f"{total['n']} compared: median error {total['median_error']:.1%}, p90 {total['p90_error']:.1%}, "
        f"worst {total['worst_error']:.1%}; within 20 %: {total['within_20_percent']:.0%}"
    )
    lines.append(
        f"too low in {total['too_low']:.0%}; the 90 % interval holds {total['coverage']:.0%} of the measured p50; "
        f"median floor {total['median_floor'] or 0:.1%}"
    )
    lines += [f"skipped {case}: {why}" for case, why in done.skipped]
    return "\n".join(lines)
