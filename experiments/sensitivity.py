"""What an answer hangs on: Sobol' indices over the axes of a sweep and over the calibrated prices, and a tornado.

A simulation gives the bill of a point, and the bill its time under any prices, as long as the critical path stays the
same: so only the axes cost simulations. How far that is from true is reported as `path_error`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration.errors import BadInput
from experiments.drawn_prices import Counted, Prices, Swing, Values, halves, price_indices, swapped
from experiments.evaluate import known_plan, question_of
from experiments.sobol_indices import Index, sobol_indices
from experiments.sweep_plan import Plan, plan_of, usable
from experiments.sweep_spec import DEFAULTS, Sweep
from model.costs import CostTable, fold_assumed
from model.prediction import MILESTONES
from model.simulation import bill
from model.units import NS_PER_US

ALL_PRICES = "prices"
"""The factor of all calibrated prices together."""
_BLOCK = 64
_CHECKED = 16
_ENDS = (0.05, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """One mechanism.

    Attributes:
        milestone: the time that is explained.
        centre: the point in the middle of all axes; centre_us its time.
        mean_us, deviation_us: over the axes and the prices.
        axes: indices of the axes, and of all prices together.
        prices: indices of each price at the centre: which to measure better.
        swings: the tornado, the widest first.
        path_error: largest relative difference between a simulation under drawn prices and its bill.
        samples: rows of the design.
    """

    mechanism: str
    milestone: str
    centre: Mapping[str, Any]
    centre_us: float
    mean_us: float
    deviation_us: float
    axes: Sequence[Index]
    prices: Sequence[Index]
    swings: Sequence[Swing]
    path_error: float
    samples: int


def sensitivities(
    sweep: Sweep, executor: Executor, *, samples: int, milestone: str | None = None, log: bool = False
) -> list[Sensitivity]:
    """The sensitivity of each mechanism of a sweep.

    Args:
        samples: rows of the design, best a power of two; each costs two simulations and one more an axis.
        milestone: None: `call`, or the first that is reached.
        log: explain the logarithm of the time: for axes over which it grows by orders of magnitude.

    Raises:
        BadInput: the sweep has constraints or several machines, a point fails, or the milestone is not reached.
    """
    if sweep.constraints:
        raise BadInput(f"{sweep.where}: constraints", "indices need axes that vary freely", "leave constraints out")
    if any(each.name == "machine" for each in sweep.parsed):
        raise BadInput(f"{sweep.where}: axes.machine", "the prices of one machine are drawn", "name it in base")
    plan = plan_of(sweep)
    mechanisms: Sequence[str | None] = sweep.mechanisms or (None,)
    return [_Analysis(plan, executor, each, milestone, samples, log).run() for each in mechanisms]


@dataclass(slots=True)
class _Analysis:
    plan: Plan
    executor: Executor
    mechanism: str | None
    milestone: str | None
    samples: int
    log: bool

    def run(self) -> Sensitivity:
        axes = self.plan.sweep.parsed
        middle = [0.5] * len(axes)
        centre = self._inputs(middle)
        self.milestone = self.milestone or first_milestone(self.plan, centre)
        a, b = halves(self.samples, len(axes), self.plan.sweep.seed)
        bills_a, bills_b = self._bills(a), self._bills(b)
        own = {axis.name: self._bills(swapped(a, b, column)) for column, axis in enumerate(axes)}
        (at_centre,) = self._bills(np.array([middle]))
        names = sorted({name for each in (*bills_a, *bills_b, at_centre) for name in each.counts})
        prices = Prices.of(usable(self.plan.machines[centre["machine"]]).costs, names)
        # Not from another Sobol' sequence: row by row it would depend on that of the axes.
        source = np.random.default_rng(self.plan.sweep.seed)
        drawn_a, drawn_b = source.standard_normal((2, self.samples, len(prices.names)))
        y_a, y_b = prices.times_us(bills_a, drawn_a), prices.times_us(bills_b, drawn_b)
        y_ab = {name: prices.times_us(each, drawn_a) for name, each in own.items()}
        if prices.names:
            y_ab[ALL_PRICES] = prices.times_us(bills_a, drawn_b)
        if self.log:
            y_a, y_b, y_ab = np.log(y_a), np.log(y_b), {name: np.log(each) for name, each in y_ab.items()}
        both = prices.times_us([*bills_a, *bills_b], np.concatenate([drawn_a, drawn_b]))
        return Sensitivity(
            mechanism=str(centre["via"]),
            milestone=self.milestone,
            centre=centre,
            centre_us=at_centre.elapsed_ns / NS_PER_US,
            mean_us=float(both.mean()),
            deviation_us=float(both.std()),
            axes=sobol_indices(y_a, y_b, y_ab, seed=self.plan.sweep.seed),
            prices=price_indices(at_centre, prices, self.plan.sweep.seed),
            swings=sorted((*self._swings(middle), *prices.swings(at_centre)), key=lambda each: -each.width_us),
            path_error=self._path_error(a[:_CHECKED], bills_a, prices, drawn_a),
            samples=self.samples,
        )

    def _inputs(self, shares: Sequence[float]) -> dict[str, Any]:
        sweep = self.plan.sweep
        varied = {axis.name: axis.at(float(share)) for axis, share in zip(sweep.parsed, shares, strict=True)}
        fixed = {**DEFAULTS, **sweep.fixed, "seed": sweep.seed}
        return {**fixed, **({"via": self.mechanism} if self.mechanism else {}), **varied}

    def _bills(self, shares: Values) -> list[Counted]:
        """The bills of rows of shares, in their order."""
        points = [self._inputs(row) for row in shares.tolist()]
        asked = (self.plan.identity, self.plan.packed, str(self.milestone))
        parts = (points[start : start + _BLOCK] for start in range(0, len(points), _BLOCK))
        blocks = [self.executor.submit(bills_of, *asked, part) for part in parts]
        return [each for block in blocks for each in block.result()]

    def _swings(self, middle: Sequence[float]) -> Iterable[Swing]:
        """Each axis from its 5 % to its 95 % point."""
        axes = self.plan.sweep.parsed
        for column, axis in enumerate(axes):
            ends = np.array([middle, middle])
            ends[:, column] = _ENDS
            low, high = self._bills(ends)
            yield Swing(
                factor=axis.name,
                price=False,
                at_low=str(axis.at(_ENDS[0])),
                at_high=str(axis.at(_ENDS[1])),
                low_us=low.elapsed_ns / NS_PER_US,
                high_us=high.elapsed_ns / NS_PER_US,
            )

    def _path_error(self, shares: Values, bills: Sequence[Counted], prices: Prices, drawn: Values) -> float:
        """Simulate some points under the prices drawn for them, and compare with their bills."""
        worst = 0.0
        for row, counted, draw in zip(shares.tolist(), bills, drawn, strict=False):
            costs = prices.table(draw)
            simulated_ns = _elapsed_ns(self.plan, self._inputs(row), costs, str(self.milestone))
            billed_ns = float(prices.times_us([counted], draw[None, :])[0]) * NS_PER_US
            worst = max(worst, abs(billed_ns / simulated_ns - 1.0))
        return worst


def bills_of(identity: str, packed: bytes, milestone: str, inputs: Sequence[Mapping[str, Any]]) -> list[Counted]:
    """Bills of points: what a worker does.

    Raises:
        BadInput: a point fails or does not reach the milestone.
    """
    plan = known_plan(identity, packed)
    return [_counted(plan, each, milestone) for each in inputs]


def _counted(plan: Plan, inputs: Mapping[str, Any], milestone: str) -> Counted:
    try:
        question = question_of(plan, inputs)
        file = usable(plan.machines[inputs["machine"]])
        found = bill(question.scenario(question.mechanisms[0]), file.machine, file.costs, milestone)
    except KeyError as error:
        why = f"{inputs['via']} does not reach it at {_told(inputs)}"
        raise BadInput(f"--milestone {milestone}", why, "choose another") from error
    except ValueError as error:
        raise BadInput(f"point {_told(inputs)}", str(error), "narrow the axes") from error
    return Counted(found.elapsed_ns, fold_assumed(found.counts, known=file.costs.ns))


def _told(inputs: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={each}" for name, each in inputs.items() if name not in ("seed", "machine"))


def _elapsed_ns(plan: Plan, inputs: Mapping[str, Any], costs: CostTable, milestone: str) -> float:
    question = question_of(plan, inputs)
    machine = usable(plan.machines[inputs["machine"]]).machine
    return bill(question.scenario(question.mechanisms[0]), machine, costs, milestone).elapsed_ns


def first_milestone(plan: Plan, inputs: Mapping[str, Any]) -> str:
    """The first milestone that a point reaches. Raises BadInput if it reaches none or fails."""
    for milestone in MILESTONES:
        try:
            _counted(plan, inputs, milestone)
        except BadInput as refused:
            if not refused.what.startswith("--milestone"):
                raise
        else:
            return milestone
    raise BadInput(f"point {_told(inputs)}", "it reaches no milestone", "choose another mechanism")
