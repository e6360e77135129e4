"""Samples in the JSON format of pyperf (version 1.0), so that its tools show, compare and plot them.

One benchmark a row and milestone, one run a process: the repetitions as values, the warm-ups as warm-ups. What pyperf
would collect itself (cpu, kernel, compiler) comes from the circumstances of the file. See pyperf's documentation, "JSON
format" of `Benchmark.dump`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from calibration.errors import BadInput
from calibration.samples import Milestone, Run, SampleFile

VERSION = "1.0"
MILESTONES: tuple[Milestone, ...] = ("call", "main", "reaped", "value")
NS_PER_SECOND = 1e9


def pyperf_document(samples: SampleFile, rows: Collection[str] = ()) -> dict[str, Any]:
    """A suite of benchmarks named `ROW:MILESTONE`, times in seconds.

    Args:
        samples: those runs that count (`kept`) are exported.
        rows: only these; empty: all.

    Raises:
        BadInput: no such row, or nothing to export.
    """
    kept = samples.kept()
    unknown = sorted(set(rows) - set(kept))
    if unknown:
        raise BadInput(
            f"--row {unknown[0]}", "these samples hold no such row", f"there are {', '.join(list(kept)[:8])}, ..."
        )
    benchmarks = [
        benchmark
        for name, runs in kept.items()
        if not rows or name in rows
        for milestone in MILESTONES
        if (benchmark := _benchmark(name, milestone, runs))
    ]
    if not benchmarks:
        raise BadInput("export", "these samples hold no times", "name another file of samples")
    return {"version": VERSION, "metadata": _metadata(samples.circumstances), "benchmarks": benchmarks}


def _metadata(circumstances: Mapping[str, Any]) -> dict[str, Any]:
    """pyperf's own names where it has them."""
    host: Mapping[str, Any] = circumstances.get("host", {})
    named = {
        "cpu_model_name": host.get("cpu_name"),
        "cpu_count": host.get("cpus_online"),
        "platform": f"Linux-{host.get('kernel_release', '')}-{host.get('machine', '')}",
        "compiler": circumstances.get("compiler"),
        "hypervisor": host.get("hypervisor"),
        "thp_enabled": host.get("thp_enabled"),
        "glibc": host.get("glibc"),
    }
    return {"unit": "second", **{name: value for name, value in named.items() if value not in (None, "")}}


def _benchmark(name: str, milestone: Milestone, runs: Sequence[Run]) -> dict[str, Any] | None:
    found = [each for run in runs if (each := _run(run, milestone)) is not None]
    if not found:
        return None
    first = runs[0]
    command = " ".join((first.bench, *first.args))
    return {"metadata": {"name": f"{name}:{milestone}", "description": command}, "runs": found}


def _run(run: Run, milestone: Milestone) -> dict[str, Any] | None:
    """One process; pyperf takes positive values only."""
    taken = [(sample.rep, value) for sample in run.samples if (value := sample.milestone_ns(milestone)) is not None]
    values = [value / NS_PER_SECOND for rep, value in taken if rep >= 0 and value > 0.0]
    if not values:
        return None
    warmups = [[1, value / NS_PER_SECOND] for rep, value in taken if rep < 0 and value > 0.0]
    document: dict[str, Any] = {"values": values, "metadata": {"loops": 1, "pinned": str(run.pinned)}}
    return {**document, "warmups": warmups} if warmups else document
