"""What fifty libraries cost, as a document and as text; nothing is computed here."""

from __future__ import annotations

import math
from typing import Any

from calibration.summaries import summary
from calibration.validate_libraries import ALONE, TENS_NS, LibraryCase, LibraryValidation

SCHEMA = "spawncost.library-validation/1"
CLAIM = "With 50 shared libraries, relocation adds tens of milliseconds."


def library_document(done: LibraryValidation) -> dict[str, Any]:
    """`spawncost.library-validation/1`: a row a program and way of binding; times from execve to `_start`."""
    return {
        "schema": SCHEMA,
        "machine": done.machine,
        "claim": CLAIM,
        "summary": summary([each.comparison for each in done.cases]),
        "cases": [_row(each) for each in done.cases],
        "skipped": [{"case": case, "why": why} for case, why in done.skipped],
    }


def _row(each: LibraryCase) -> dict[str, Any]:
    compared = each.comparison
    return {
        "case": each.name,
        "binding": "now" if each.now else "as linked",
        "libraries": len(each.image.libraries),
        "relative_relocations": each.image.relative_relocations,
        "symbol_lookups": each.image.symbol_lookups,
        "measured_us": compared.measured_ns(0.5) / 1e3,
        "predicted_us": compared.predicted.p50_ns / 1e3,
        "predicted_bare_metal_us": each.bare_ns / 1e3,
        "measured_evicted_us": _finite(each.cold_ns / 1e3),
        "predicted_evicted_us": each.cold_predicted_ns / 1e3,
        "major_faults_evicted": _finite(each.major_faults),
        "adds_us": {
            "measured": each.adds_ns / 1e3,
            "evicted": _finite(each.cold_adds_ns / 1e3),
            "bare_metal": each.bare_adds_ns / 1e3,
        },
        "tens_of_milliseconds": each.adds_ns >= TENS_NS,
        "symbol_lookups_for_tens_of_milliseconds": _finite(each.lookups_for_tens),
        "error": compared.error,
        "floor": _finite(compared.floor),
        "cause": compared.cause,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def library_text(done: LibraryValidation) -> str:
    """A line a case, then when the claim is true."""
    head = f"{'from execve to _start, ms':30}{'libs':>5}{'look-ups':>9}{'measured':>9}{'predicted':>10}"
    lines = [f"{head}{'floor':>6}{'evicted':>8}{'predicted':>10}{'bare':>6}{'adds':>6}"]
    for each in done.cases:
        name = f"{each.name}{', bound at once' if each.now else ''}"
        floor = f"{each.comparison.floor:.0%}" if math.isfinite(each.comparison.floor) else "-"
        lines.append(
            f"{name[:30]:30}{len(each.image.libraries):5}{each.image.symbol_lookups:9}"
            f"{each.comparison.measured_ns(0.5) / 1e6:9.2f}{each.comparison.predicted.p50_ns / 1e6:10.2f}{floor:>6}"
            f"{each.cold_ns / 1e6:8.2f}{each.cold_predicted_ns / 1e6:10.2f}"
            f"{each.bare_ns / 1e6:6.2f}{each.adds_ns / 1e6:6.1f}"
        )
    return "\n".join([*lines, *_verdict(done), *(f"skipped {case}: {why}" for case, why in done.skipped)])


def _verdict(done: LibraryValidation) -> list[str]:
    fifty = [each for each in done.cases if each.name != ALONE]
    true = [each for each in fifty if each.adds_ns >= TENS_NS]
    needed = sorted(each.lookups_for_tens for each in fifty if math.isfinite(each.lookups_for_tens))
    total = summary([each.comparison for each in done.cases])
    lines = [
        f"{CLAIM!r} Warm: true in {len(true)} of {len(fifty)} cases; "
        f"evicted: in {sum(each.cold_adds_ns >= TENS_NS for each in fifty)}; "
        f"bare metal (predicted): in {sum(each.bare_adds_ns >= TENS_NS for each in fifty)}",
    ]
    if needed:
        lines.append(
            f"scaled up, these programs would add ten of them from {needed[0]:,.0f} to {needed[-1]:,.0f} look-ups on"
        )
    lines.append(f"median error {total['median_error']:.3f}, worst {total['worst_error']:.2f}; worst:")
    lines += [
        f"  {each['case']} {math.expm1(each['error']):+.0%}: {each['cause'] or '-'}" for each in total["worst"][:3]
    ]
    return lines
