"""How far do two halves of the same measurement differ, that is: what is the noise floor, and what to measure again?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import get_args

from calibration.observations import OUTER, process_differences
from calibration.quantiles import quantile
from calibration.samples import Milestone, Run

APART = 0.03
"""|ln| from which the halves of a row are worth more processes."""


def halves_apart(runs: Sequence[Run], milestone: Milestone) -> float:
    """|ln| of the ratio of the quiet times of odd and even processes, an interleaved A/A pair; NaN below four.

    Each half has half the processes, so this is an upper bound of what two whole measurements differ by.
    """
    values = process_differences(runs, "", milestone)
    if len(values) < 4:
        return math.nan
    odd, even = quantile(values[1::2], OUTER), quantile(values[::2], OUTER)
    return abs(math.log(odd / even)) if odd > 0 and even > 0 else math.nan


def noise_floor(rows: Mapping[str, Sequence[Run]], milestones: Sequence[Milestone] = ("call", "reaped")) -> float:
    """The median |ln| of A/A pairs over rows and milestones: no prediction can be held to less. NaN without pairs."""
    pairs = (halves_apart(runs, milestone) for runs in rows.values() for milestone in milestones)
    return quantile((pair for pair in pairs if not math.isnan(pair)), 0.5)


def rows_apart(rows: Mapping[str, Sequence[Run]]) -> dict[str, float]:
    """The rows whose halves differ by more than `APART` at a milestone, with |ln|, worst first."""
    found = [(halves_apart(runs, end), name) for name, runs in rows.items() for end in get_args(Milestone)]
    apart: dict[str, float] = {}
    for value, name in sorted((each for each in found if each[0] > APART), reverse=True):
        apart.setdefault(name, value)
    return apart
