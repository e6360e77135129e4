"""Where a figure comes from: predict's document, a stored measurement, the calibration's samples; or a ratio of two."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from calibration.check import stored_samples
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from calibration.quantiles import quantile
from calibration.samples import Milestone, Run, read_runs
from experiments.claims.measured import Measurements

Document = Mapping[str, Any]
Ask = Callable[[tuple[str, ...]], Document]
"""Answers predict's options with its document."""
SAMPLE = "sample:"
_MILESTONES = ("call", "exec", "main", "reaped")
_EACH = "value_each"


def parts_of(text: str) -> list[str]:
    """The one or two figures that a text names: numerator and denominator of a ratio."""
    return [part.strip() for part in text.split(" // ")]


def query_of(part: str) -> tuple[str, tuple[str, ...]]:
    """Path into the document, and predict's options."""
    path, _, options = part.partition("|")
    return path.strip(), tuple(shlex.split(options))


def predicted(text: str, ask: Ask) -> float:
    """A figure of the model.

    Raises:
        BadInput: predict refuses the options.
    """
    return _ratio([_found(ask(options), path) for path, options in map(query_of, parts_of(text))])


def interval(text: str, ask: Ask) -> tuple[float, float] | None:
    """The 90 % bounds of a predicted milestone's p50; None of any other figure. Raises as `predicted` does."""
    (path, options), *others = map(query_of, parts_of(text))
    if others or path not in _MILESTONES:
        return None
    bounds = ask(options)["predictions"][0]["milestones_us"][path]
    return float(bounds["lo"]), float(bounds["hi"])


def _found(document: Document, path: str) -> float:
    """`call` is the p50 of the first mechanism's milestone; else a member of its prediction, or of the document."""
    prediction = document["predictions"][0]
    words = path.split(".")
    if words[0] in _MILESTONES:
        return float(prediction["milestones_us"][words[0]][words[1] if len(words) > 1 else "p50"])
    if words[0] == "loader":
        return float(prediction["loader_us"]["p50"])
    at: Any = prediction if words[0] in prediction else document
    for word in words:
        at = at[word]
    return float(at)


def measured(text: str, stored: Measurements, samples: Callable[[], Mapping[str, Sequence[Run]]]) -> float | None:
    """A figure that was measured; None where this machine did not let it be."""
    values = [
        _of_sample(part.removeprefix(SAMPLE), samples()) if part.startswith(SAMPLE) else stored.p50(part)
        for part in parts_of(text)
    ]
    known = [value for value in values if value is not None]
    return _ratio(known) if len(known) == len(values) else None


def _of_sample(name: str, rows: Mapping[str, Sequence[Run]]) -> float | None:
    """Median of all timed samples of a row, in us; of what a bench gives in total, each unit's share."""
    row, _, milestone = name.partition(".")
    timed = [sample for run in rows.get(row, ()) for sample in run.timed]
    if milestone == _EACH:
        values = [sample.value_ns / (sample.n or 1) for sample in timed if sample.value_ns is not None]
    else:
        taken: Milestone = next(each for each in ("call", "main", "reaped", "value") if each == milestone)
        values = [value for sample in timed if (value := sample.milestone_ns(taken)) is not None]
    return quantile(values, 0.5) / 1e3 if values else None


def _ratio(values: Sequence[float]) -> float:
    """Seven significant digits: what a document shows of a figure."""
    value = values[0] / values[1] if len(values) == 2 else values[0]
    return float(f"{value:.7g}")


def sample_rows(file: MachineFile) -> Callable[[], Mapping[str, Sequence[Run]]]:
    """Reads the samples behind a machine file when first asked; no rows where they are not at hand."""

    @functools.cache
    def rows() -> Mapping[str, Sequence[Run]]:
        try:
            return read_runs(stored_samples(file)[0]).kept()
        except (BadInput, IndexError):
            return {}

    return rows
