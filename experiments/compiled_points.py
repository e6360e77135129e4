"""Many points of a sweep at once, by the compiled model, where that says to the last digit what the simulation says.

Points that differ in their parents only share one compiled form. A number that lies so near the edge of its last digit
that the order of a sum could turn it is left to the simulation, and so is all that the compiled model refuses: a row
does not depend on which of the two was asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.machine_file import MachineFile
from experiments.answers import by_kind
from experiments.headline import DIGITS
from experiments.notices import TWO_MODES
from experiments.scenarios import Question
from model.bounds import Bounded, bounded
from model.compiled import Compiled, compile_scenario
from model.costs import MissingCost
from model.ledger import Bill
from model.mechanisms import NotBuilt
from model.parent_arrays import FRACTIONS, ParentArrays
from model.paths import NotCompiled
from model.prediction import SPREAD_LINE, Milestone, Prediction
from model.units import NS_PER_US

MARGIN = 1e-11
"""Relative distance that a sum in another order stays below by far, and that a rounded digit must keep."""
LEAST = 6
"""Points for which compiling pays."""
MOST = 512
"""Points that are worked on at once."""
_KEPT = 64

Array = NDArray[np.float64]
_FORMS: OrderedDict[Hashable, Compiled | None] = OrderedDict()
"""Compiled forms that this process knows, the latest last; None: refused."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A point with its question. Points of one `structure` differ in parent and seed only."""

    structure: Hashable
    question: Question
    file: MachineFile

    @property
    def kind(self) -> Hashable:
        """Points of one kind share a compiled form."""
        parent = self.question.parent
        assumed = tuple(name for name in FRACTIONS if name in parent.assumed)
        return self.structure, parent.runtime, parent.caller, parent.limits, assumed


def compiled_predictions(asked: Mapping[int, Asked], *, parts: bool = False) -> dict[int, Prediction]:
    """Predictions by the compiled model, for those points where it pays and its digits are sure.

    Tasks, path and loader are left out; the parts of the breakdown are by cost, those of none left out.

    Args:
        parts: whether every single part of the breakdown must be sure too. A price as a file has it may lie on such
            an edge itself, so this leaves much to the simulation.
    """
    groups: dict[Hashable, list[int]] = {}
    for number, each in asked.items():
        groups.setdefault(each.kind, []).append(number)
    found: dict[int, Prediction] = {}
    for kind, numbers in groups.items():
        if len(numbers) < LEAST and kind not in _FORMS:
            continue
        for at in range(0, len(numbers), MOST):
            part = numbers[at : at + MOST]
            found |= _together(kind, {number: asked[number] for number in part}, parts)
    return found


def _together(kind: Hashable, asked: Mapping[int, Asked], parts: bool) -> dict[int, Prediction]:
    """The sure ones among points of one kind; none if the compiled model refuses."""
    first = next(iter(asked.values()))
    compiled = _form(kind, first)
    if compiled is None:
        return {}
    assumed = [name for name in FRACTIONS if name in first.question.parent.assumed]
    try:
        parents = ParentArrays.of([each.question.parent for each in asked.values()], first.question.rules)
        answers = bounded(compiled, parents, assumed)
    except (NotCompiled, MissingCost, ValueError):
        _FORMS[kind] = None
        return {}
    sure = _sure(answers, len(asked), parts)
    predictions = zip(asked, sure, _predictions(answers, len(asked)), strict=True)
    return {number: prediction for number, good, prediction in predictions if good}


def _form(kind: Hashable, asked: Asked) -> Compiled | None:
    if kind not in _FORMS:
        question, file = asked.question, asked.file
        try:
            scenario = question.scenario(question.mechanisms[0])
            _FORMS[kind] = compile_scenario(scenario, file.machine, file.costs)
        except (NotCompiled, NotBuilt):
            _FORMS[kind] = None
        while len(_FORMS) > _KEPT:
            _FORMS.popitem(last=False)
    _FORMS.move_to_end(kind)
    return _FORMS[kind]


def _predictions(answers: Bounded, points: int) -> Iterator[Prediction]:
    result = answers.result
    times = {
        name: np.stack(
            [each.quiet_ns, each.p10_ns, each.p50_ns, each.p90_ns, answers.lo_ns[name], answers.hi_ns[name]], axis=1
        ).tolist()
        for name, each in result.milestones.items()
    }
    (parts,) = result.breakdowns_ns.values()
    breakdowns, counts = _rows(parts, points), _rows(answers.counts, points)
    for point, (breakdown, count) in enumerate(zip(breakdowns, counts, strict=True)):
        milestones = {name: _milestone(rows[point]) for name, rows in times.items()}
        breakdown.setdefault(SPREAD_LINE, 0.0)
        yield Prediction(
            mechanism=result.mechanism,
            milestones=milestones,
            loader=None,
            breakdown_ns=breakdown,
            bill=Bill(counts=count, sleep_ns=0.0, elapsed_ns=milestones[next(reversed(milestones))].quiet_ns),
            path=(),
            tasks={},
            charges=0,
            events=0,
        )


def _milestone(values: Sequence[float]) -> Milestone:
    quiet, p10, p50, p90, low, high = values
    return Milestone(quiet_ns=quiet, p10_ns=p10, p50_ns=p50, p90_ns=p90, lo_ns=low, hi_ns=high)


def _rows(columns: Mapping[str, Array], points: int) -> Iterator[dict[str, float]]:
    """The columns point by point, what is 0 left out."""
    names = list(columns)
    table = np.stack([np.broadcast_to(each, points) for each in columns.values()], axis=1).tolist()
    for row in table:
        yield {name: value for name, value in zip(names, row, strict=True) if value}


def _sure(answers: Bounded, points: int, each_part: bool) -> NDArray[np.bool_]:
    """Points none of whose numbers, causes and warnings could come out otherwise by the order of a sum."""
    unsure = np.zeros(points, dtype=bool)
    for name, each in answers.result.milestones.items():
        for values in (each.quiet_ns, each.p10_ns, each.p50_ns, each.p90_ns, answers.lo_ns[name], answers.hi_ns[name]):
            unsure |= _on_edge(values, 0.0)
        unsure |= np.abs(each.p90_ns - TWO_MODES * each.p10_ns) <= MARGIN * each.p90_ns
    ((last, breakdown),) = answers.result.breakdowns_ns.items()
    parts = {name: np.broadcast_to(each, points) for name, each in breakdown.items()}
    spread_ns = parts.pop(SPREAD_LINE)
    unsure |= _on_edge(spread_ns, MARGIN * answers.result.milestones[last].p50_ns)
    for values in (*(parts.values() if each_part else ()), *_kinds(parts, points).values()):
        unsure |= _on_edge(values, 0.0)
    largest = np.sort(np.stack(list(parts.values())), axis=0)[-2:]
    unsure |= largest[0] >= largest[-1] * (1 - MARGIN) if len(largest) > 1 else False
    return ~unsure


def _kinds(parts: Mapping[str, Array], points: int) -> dict[str, Array]:
    """The parts by kind, as a row has them."""
    kind = {name: next(each for each, value in by_kind({name: 1.0}).items() if value) for name in parts}
    found: dict[str, Array] = {}
    for name, values in parts.items():
        found[kind[name]] = found.get(kind[name], np.zeros(points)) + values
    return found


def _on_edge(values_ns: Array, slack_ns: Array | float) -> NDArray[np.bool_]:
    """Whether the last digit of a number in a row could turn if it moved by `MARGIN` of itself and the slack.

    What is exactly 0 is so by its making (nothing of the kind, or no spread) and does not move.
    """
    size = np.abs(values_ns) / NS_PER_US
    there = size > 0.0
    unit = 10.0 ** (np.floor(np.log10(np.where(there, size, 1.0))) - (DIGITS - 1))
    digits = size / unit
    reach = digits * MARGIN + slack_ns / NS_PER_US / unit
    turns = np.abs(digits - np.floor(digits) - 0.5) <= reach
    return np.asarray(there & turns)
