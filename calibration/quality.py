"""Is a row fit to be fitted? How far do two halves of the same measurement differ, that is: what is the noise floor?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calibration.quantiles import process_values, quantile, row_value
from calibration.samples import Milestone, Run

#: Half the processes may lie this far (a factor) above the quiet ones before a row counts as disturbed.
MOST_SPREAD = 1.6


@dataclass(frozen=True, slots=True, kw_only=True)
class RowQuality:
    """What a row's samples are worth.

    Attributes:
        usable: whether the fit may take it; why: the reason if not.
        processes: how many have the milestone; ns, stderr_ns: its quiet time and the error of that.
        spread: median over quiet time of the processes' values.
        halves: |ln| of the quiet times of odd and of even processes, NaN with fewer than four.
    """

    usable: bool
    why: str
    processes: int
    ns: float
    stderr_ns: float
    spread: float
    halves: float


def halves_apart(runs: Sequence[Run], milestone: Milestone) -> float:
    """|ln| of the ratio of the quiet times of odd and even processes, an interleaved A/A pair; NaN below four.

    Each half has half the processes, so this is an upper bound of what two whole measurements differ by.
    """
    values = process_values(runs, milestone)
    if len(values) < 4:
        return math.nan
    odd, even = quantile(values[1::2], 0.2), quantile(values[::2], 0.2)
    return abs(math.log(odd / even)) if odd > 0 and even > 0 else math.nan


def judge(runs: Sequence[Run], milestone: Milestone, least_processes: int = 2) -> RowQuality:
    """Judges one row at one milestone."""
    values = process_values(runs, milestone)
    ns, stderr_ns = row_value(runs, milestone)
    spread = quantile(values, 0.5) / ns if values and ns > 0 else math.nan
    why = ""
    if not values:
        why = "no process has this milestone"
    elif not ns > 0:
        why = "the quiet time is not positive"
    elif len(values) < least_processes:
        why = f"{len(values)} of at least {least_processes} processes"
    elif spread > MOST_SPREAD:
        why = f"disturbed: the median process takes {spread:.2f} times the quiet ones"
    return RowQuality(
        usable=not why,
        why=why,
        processes=len(values),
        ns=ns,
        stderr_ns=stderr_ns,
        spread=spread,
        halves=halves_apart(runs, milestone),
    )


def noise_floor(rows: Mapping[str, Sequence[Run]], milestones: Sequence[Milestone] = ("call", "reaped")) -> float:
    """The median |ln| of A/A pairs over rows and milestones: no prediction can be held to less. NaN without pairs."""
    pairs = (halves_apart(runs, milestone) for runs in rows.values() for milestone in milestones)
    return quantile((pair for pair in pairs if not math.isnan(pair)), 0.5)


def rows_apart(
    rows: Mapping[str, Sequence[Run]], milestone: Milestone = "call", tolerance: float = 0.03
) -> dict[str, float]:
    """The rows whose halves differ by more than the tolerance, with |ln|, worst first: those to measure again."""
    apart = {name: halves_apart(runs, milestone) for name, runs in rows.items()}
    worst = sorted(((value, name) for name, value in apart.items() if value > tolerance), reverse=True)
    return {name: value for value, name in worst}
