"""One number predicted and measured in several processes: error, noise floor, coverage, and why it is off, in words.

The measured p50 is that of all repetitions of all processes. Where the processes were predicted apart, their
repetitions are a mixture of as many distributions, so what is compared is the p50 of the mixture of the predictions:
neither the mean of their p50, nor that of one of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.quantiles import quantile
from model.machine import Spread
from model.prediction import Milestone, Prediction
from model.quantiles import mixture_quantiles

FLOORS = 1.5
"""An error up to so many floors is the measurement's own."""
LEVELS = (0.1, 0.5, 0.9)
_GAP = 0.2
"""Distance, |ln|, of two neighbouring samples around the median from which there are two modes."""
_MIDDLE = (0.3, 0.7)
_NEAR = 0.05
_TINY = 1e-9
"""Where half of the mixture lies below a gap and half above, the median of samples is the middle of the gap."""
_LEAST_ERROR = 0.05
"""Below it an error needs no cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One milestone of one case.

    Attributes:
        case, milestone: what was run.
        group: the class whose errors are judged together for one-sidedness.
        samples_ns: of each process its repetitions.
        predictions: of each process, or one for all.
        remark: what is known of the case beforehand: its largest cost, how far it extrapolates.
        rss_bytes: of the parent; copied: whether the spawn copies that memory.
    """

    case: str
    milestone: str
    group: str
    samples_ns: tuple[tuple[float, ...], ...]
    predictions: tuple[Milestone, ...]
    remark: str = ""
    rss_bytes: float = 0.0
    copied: bool = False

    def __post_init__(self) -> None:
        if not any(self.samples_ns) or len(self.predictions) not in (1, len(self.samples_ns)):
            raise ValueError("a comparison has samples, and a prediction for all processes or one for each")

    @property
    def pooled_ns(self) -> list[float]:
        """All repetitions of all processes, least first."""
        return sorted(sample for each in self.samples_ns for sample in each)

    def measured_ns(self, level: float) -> float:
        """A quantile of all repetitions."""
        return quantile(self.pooled_ns, level)

    @property
    def pairs(self) -> list[tuple[tuple[float, ...], Milestone]]:
        """Samples and prediction of each process that has some."""
        predictions = self.predictions if len(self.predictions) > 1 else self.predictions * len(self.samples_ns)
        return [(samples, each) for samples, each in zip(self.samples_ns, predictions, strict=True) if samples]

    @property
    def predicted(self) -> Milestone:
        """Prediction for all repetitions together."""
        return mixture_of([each for _, each in self.pairs])

    @property
    def error(self) -> float:
        """ln(predicted p50 / measured p50)."""
        return math.log(self.predicted.p50_ns / self.measured_ns(0.5))

    @property
    def quiet_error(self) -> float:
        """ln(predicted quiet time / measured p10): prices and counts, without the spread."""
        return math.log(self.predicted.quiet_ns / self.measured_ns(0.1))

    @property
    def floor(self) -> float:
        """|ln| of the p50 of odd against even processes; NaN with fewer than two."""
        halves = [[each for samples in self.samples_ns[first::2] for each in samples] for first in (0, 1)]
        return abs(math.log(quantile(halves[0], 0.5) / quantile(halves[1], 0.5))) if all(halves) else math.nan

    @property
    def held(self) -> tuple[int, int]:
        """Processes whose p50 lies in their [lo, hi], which is for one process of twenty spawns; and processes."""
        inside = [each.lo_ns <= quantile(samples, 0.5) <= each.hi_ns for samples, each in self.pairs]
        return sum(inside), len(inside)

    @property
    def within_p10_p90(self) -> tuple[int, int]:
        """Repetitions within p10 to p90 of their process's prediction, and repetitions."""
        inside = [each.p10_ns <= sample <= each.p90_ns for samples, each in self.pairs for sample in samples]
        return sum(inside), len(inside)

    @property
    def cause(self) -> str:
        """Why the p50 is off, in words; empty where the error is small."""
        return cause_of(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a validation compared on a machine file, and what was passed over, with the reason.

    `loud`: processes of cases that were left out, as a neighbour of the host was busy beside them.
    """

    machine: str
    comparisons: tuple[Comparison, ...]
    skipped: tuple[tuple[str, str], ...]
    loud: int = 0


def mixture_of(milestones: Sequence[Milestone]) -> Milestone:
    """What repetitions of several processes, equally many of each, are predicted to show together.

    A prediction is taken as piecewise linear through its p10, p50 and p90, its tails as going on like the parts beside
    them. Quiet time: the mean. `lo` and `hi`: as far from the p50, in logarithms, as they are on the mean.
    """
    if all(each == milestones[0] for each in milestones):
        return milestones[0]
    scales = [np.array([each.p50_ns]) for each in milestones]
    spreads = [_spread(each) for each in milestones]
    levels = (LEVELS[0], 0.5 - _TINY, 0.5 + _TINY, LEVELS[2])
    p10, under, over, p90 = (
        float(each) for each in mixture_quantiles(levels, [1.0] * len(scales), scales, spreads)[:, 0]
    )
    p50 = (under + over) / 2.0
    below, above = (
        math.fsum(math.log(getattr(each, name) / each.p50_ns) for each in milestones) / len(milestones)
        for name in ("lo_ns", "hi_ns")
    )
    return Milestone(
        quiet_ns=math.fsum(each.quiet_ns for each in milestones) / len(milestones),
        p10_ns=p10,
        p50_ns=p50,
        p90_ns=p90,
        lo_ns=p50 * math.exp(below),
        hi_ns=p50 * math.exp(above),
    )


def _spread(each: Milestone) -> Spread:
    low, high = each.p10_ns / each.p50_ns, each.p90_ns / each.p50_ns
    least = max(low - (1.0 - low) / 4.0, low / 2.0)
    return Spread(levels=(0.0, *LEVELS, 1.0), ratios=(least, low, 1.0, high, high + (high - 1.0) / 4.0))


def cause_of(each: Comparison) -> str:
    """The first of these that holds: the floor, two modes, processes that differ, the spread, the prices."""
    error = abs(each.error)
    if error < _LEAST_ERROR:
        return ""
    if math.isfinite(each.floor) and error <= FLOORS * each.floor:
        return f"floor {each.floor:.2f}: two halves of its processes differ as much"
    modes = two_modes(each.pooled_ns)
    if modes is not None:
        low, high = modes
        return f"measured p50 sits between two modes, of {low / 1e3:.0f} and {high / 1e3:.0f} us"
    medians = [quantile(samples, 0.5) for samples, _ in each.pairs]
    if min(medians) <= each.predicted.p50_ns <= max(medians):
        return f"its processes differ: p50 from {min(medians) / 1e3:.0f} to {max(medians) / 1e3:.0f} us"
    if each.predicted.p90_ns > 2.0 * each.predicted.p10_ns and not _wide(each):
        return "predicted with two modes, measured with one: placement"
    if abs(each.quiet_error) <= max(_NEAR, error / 3.0):
        return f"the spread: its quiet time is right within {abs(math.expm1(each.quiet_error)):.0%}"
    side = "low" if each.quiet_error < 0 else "high"
    prices = f"prices or counts: its quiet time is {abs(math.expm1(each.quiet_error)):.0%} too {side}"
    return f"{prices}; {each.remark}" if each.remark else prices


def _wide(each: Comparison) -> bool:
    return each.measured_ns(0.9) > 2.0 * each.measured_ns(0.1)


def two_modes(ordered: Sequence[float]) -> tuple[float, float] | None:
    """Medians of the two parts that a gap near the median leaves; None without such a gap."""
    n = len(ordered)
    at = range(max(1, int(_MIDDLE[0] * n)), min(n - 1, int(_MIDDLE[1] * n)) + 1)
    gaps = {index: math.log(ordered[index] / ordered[index - 1]) for index in at if n > 3}
    widest = max(gaps, key=lambda index: gaps[index], default=0)
    if not gaps or gaps[widest] < _GAP:
        return None
    return quantile(ordered[:widest], 0.5), quantile(ordered[widest:], 0.5)


def dearest(prediction: Prediction, milestone: str) -> str:
    """What most of the time to a milestone is, with its share."""
    path = prediction.path
    end_ns = path[0].start_ns + prediction.milestones[milestone].quiet_ns
    parts: dict[str, float] = {}
    for each in path:
        if each.start_ns < end_ns:
            parts[each.name] = parts.get(each.name, 0.0) + min(each.end_ns, end_ns) - each.start_ns
    name = max(parts, key=lambda name: parts[name])
    return f"{parts[name] / math.fsum(parts.values()):.0%} of it is {name}"


def one_sided(errors: Iterable[float]) -> bool:
    """Whether so many errors of one sign come by chance less than once in a hundred (sign test, both sides)."""
    signs = [error > 0 for error in errors]
    n, more = len(signs), max(sum(signs), len(signs) - sum(signs))
    return 2.0 * math.fsum(math.comb(n, k) for k in range(more, n + 1)) / 2.0**n < 0.01 if n else False
