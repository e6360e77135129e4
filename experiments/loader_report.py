"""The loader's validation as a document and as text; nothing is computed here."""

from __future__ import annotations

import math
from typing import Any

from calibration.validate_loader import LoaderComparison, LoaderValidation, loader_summary

SCHEMA = "spawncost.loader-validation/1"


def loader_document(done: LoaderValidation) -> dict[str, Any]:
    """`spawncost.loader-validation/1`: a row a program; errors are ln(predicted / measured)."""
    return {
        "schema": SCHEMA,
        "machine": done.machine,
        "summary": {name: _finite(value) for name, value in loader_summary(done.comparisons).items()},
        "comparisons": [_row(each) for each in done.comparisons],
        "skipped": [{"case": case, "why": why} for case, why in done.skipped],
    }


def _finite(value: float | str) -> float | str | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _row(each: LoaderComparison) -> dict[str, Any]:
    return {
        "case": each.name,
        "libraries": len(each.image.libraries),
        "symbol_lookups": each.image.symbol_lookups,
        "relative_relocations": each.image.relative_relocations,
        "measured_us": {phase: each.measured.p50_ns(phase) / 1e3 for phase in each.measured.samples_ns},
        "predicted_us": {
            "total": each.predicted.p50_ns / 1e3,
            "quiet": each.predicted.quiet_ns / 1e3,
            "lo": each.predicted.lo_ns / 1e3,
            "hi": each.predicted.hi_ns / 1e3,
            "load": each.load_ns / 1e3,
            "relocation": each.relocation_ns / 1e3,
        },
        "disturbed": each.measured.disturbed,
        "error": each.error,
        "quiet_error": each.quiet_error,
        "floor": _finite(each.floor),
    }


def loader_text(done: LoaderValidation) -> str:
    """A line a program, the worst last, then the summary."""
    head = f"{'ld.so of':28}{'libs':>5}{'measured':>9}{'predicted':>10}"
    lines = [f"{head}{'error':>7}{'floor':>6}{'quiet':>7}{'load':>6}{'reloc':>7}"]
    for each in sorted(done.comparisons, key=lambda each: abs(each.error)):
        load, relocation = (_percent(each.phase_error(phase)) for phase in ("load", "relocation"))
        lines.append(
            f"{each.name[:28]:28}{len(each.image.libraries):5}{each.measured.p50_ns('total') / 1e3:9.0f}"
            f"{each.predicted.p50_ns / 1e3:10.0f}{_percent(each.error):>7}"
            f"{_floor(each.floor):>6}{_percent(each.quiet_error):>7}{load:>6}{relocation:>7}"
        )
    total = loader_summary(done.comparisons)
    lines += [
        f"{total['n']} compared (p50, us): median error {total['median_error']:.1%}, "
        f"worst {total['worst_error']:.1%} ({total['worst']}); median floor {_floor(float(total['median_floor']))}",
        f"without spread: median {total['median_quiet_error']:.1%}, worst {total['worst_quiet_error']:.1%} "
        f"({total['worst_quiet']})",
        f"{total['disturbed_runs']} runs left out that other tasks disturbed",
        f"p50 over quiet: measured {total['measured_p50_over_quiet']:.3f}, "
        f"predicted {total['predicted_p50_over_quiet']:.3f}",
        f"too low in {total['too_low']:.0%}; median of the load alone {total['median_load_error']:+.0%}, "
        f"of relocation alone {total['median_relocation_error']:+.0%} (ln predicted / measured)",
    ]
    return "\n".join([*lines, *(f"skipped {case}: {why}" for case, why in done.skipped)])


def _floor(value: float) -> str:
    """A dash where too few runs were left for two halves."""
    return f"{value:.1%}" if math.isfinite(value) else "-"


def _percent(error: float) -> str:
    return f"{math.expm1(error):+.0%}" if math.isfinite(error) else "-"
