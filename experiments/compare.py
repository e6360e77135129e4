"""Two machine files side by side: which prices moved, with what significance, and what that does to the catalogue.

For two hosts, two kernels, or before and after an upgrade. A price has moved if the difference stands out of both
standard errors although all prices were looked at (Holm's correction). What a spawn of the catalogue costs on each is
compared with the 90 % bounds that both predictions claim.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from calibration.capture.parent_file import bundled_parents, read_parent
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from experiments.answers import predict
from experiments.bundled_images import bundled_image
from experiments.scenarios import HELPER_NAMES, Question, mechanisms_of
from model.costs import COSTS
from model.ledger import Bill
from model.prediction import Milestone
from model.rules import Rules, differing
from model.spread import Z90

SCHEMA = "spawncost.comparison/1"
LEVEL = 0.05
"""Chance that any price is called moved though none is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceMove:
    """One price on both machines.

    Attributes:
        cost: its name.
        first_ns, second_ns, first_stderr_ns, second_stderr_ns: prices and their standard errors.
        z: difference in standard errors; NaN where neither file states an error, or one inherited the price.
        moved: whether it stands out of the errors of all.
    """

    cost: str
    first_ns: float
    second_ns: float
    first_stderr_ns: float
    second_stderr_ns: float
    z: float
    moved: bool = False

    @property
    def ratio(self) -> float:
        """Second ÷ first; infinite if the first is nothing."""
        if self.first_ns > 0.0:
            return self.second_ns / self.first_ns
        return math.inf if self.second_ns > 0.0 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioMove:
    """One spawn of the catalogue on both machines.

    Attributes:
        parent, mechanism, milestone: what is asked.
        first, second: the answers.
        z: ln(second / first) in standard errors of both intervals.
        cause, cause_ns: the price that contributes most to the difference of the quiet times, and how much.
    """

    parent: str
    mechanism: str
    milestone: str
    first: Milestone
    second: Milestone
    z: float
    cause: str
    cause_ns: float

    @property
    def beyond(self) -> bool:
        """Whether the two answers differ by more than their 90 % bounds claim."""
        return abs(self.z) > Z90


def prices(first: MachineFile, second: MachineFile) -> list[PriceMove]:
    """Every measured price that both files hold, the most significant first."""
    found = [
        _price(name, first, second)
        for name, spec in COSTS.items()
        if not spec.assumed and name in first.costs.ns and name in second.costs.ns
    ]
    ranked = sorted(found, key=lambda each: -abs(each.z) if math.isfinite(each.z) else math.inf)
    tested = [each for each in ranked if math.isfinite(each.z)]
    moved: set[str] = set()
    for index, each in enumerate(tested):
        if math.erfc(abs(each.z) / math.sqrt(2.0)) > LEVEL / (len(tested) - index):
            break
        moved.add(each.cost)
    return [replace(each, moved=each.cost in moved) for each in ranked]


def _price(name: str, first: MachineFile, second: MachineFile) -> PriceMove:
    values = [file.costs.ns[name] for file in (first, second)]
    errors = [file.costs.stderr_ns({name: 1.0}) for file in (first, second)]
    both = math.hypot(*errors)
    foreign = any(name in file.costs.inherited for file in (first, second))
    return PriceMove(
        cost=name,
        first_ns=values[0],
        second_ns=values[1],
        first_stderr_ns=errors[0],
        second_stderr_ns=errors[1],
        z=math.nan if foreign or both == 0.0 else (values[1] - values[0]) / both,
    )


def scenarios(first: MachineFile, second: MachineFile, parents: Sequence[str] | None = None) -> list[ScenarioMove]:
    """Every parent of the catalogue by its usual mechanisms, executing the bundled image of `true`.

    Raises:
        BadInput: a file lacks a price that is needed.
    """
    found: list[ScenarioMove] = []
    for name in bundled_parents() if parents is None else parents:
        mechanisms = mechanisms_of(None, read_parent(name), bundled_image("true"))
        asked = [_question(name, file.machine.rules, mechanisms) for file in (first, second)]
        for mechanism in mechanisms:
            answers = [predict(each, file, mechanism) for each, file in zip(asked, (first, second), strict=True)]
            cause, cause_ns = _cause(answers[0].bill, answers[1].bill, first, second)
            for milestone in ("call", "reaped"):
                pair = [each.milestones.get(milestone) for each in answers]
                if pair[0] is not None and pair[1] is not None:
                    found.append(
                        ScenarioMove(
                            parent=name,
                            mechanism=mechanism,
                            milestone=milestone,
                            first=pair[0],
                            second=pair[1],
                            z=_z(pair[0], pair[1]),
                            cause=cause,
                            cause_ns=cause_ns,
                        )
                    )
    if not found:
        raise BadInput("compare", "no spawn of the catalogue could be compared", "give other parents")
    return found


def _question(name: str, rules: Rules, mechanisms: tuple[str, ...]) -> Question:
    return Question(
        parent=read_parent(name),
        target=bundled_image("true"),
        mechanisms=mechanisms,
        rules=rules,
        helpers={mechanism: bundled_image(helper) for mechanism, helper in HELPER_NAMES.items()},
    )


def _z(first: Milestone, second: Milestone) -> float:
    widths = [math.log(each.hi_ns / each.lo_ns) / (2.0 * Z90) for each in (first, second)]
    both = math.hypot(*widths)
    return math.log(second.p50_ns / first.p50_ns) / both if both else 0.0


def _cause(before: Bill, after: Bill, first: MachineFile, second: MachineFile) -> tuple[str, float]:
    names = {**before.counts, **after.counts}
    parts = {
        name: second.costs.price(name) * after.counts.get(name, 0.0)
        - first.costs.price(name) * before.counts.get(name, 0.0)
        for name in names
    }  # fmt: skip
    cause = max(sorted(parts), key=lambda name: abs(parts[name]))
    return cause, parts[cause]


def comparison(first: MachineFile, second: MachineFile, parents: Sequence[str] | None = None) -> dict[str, Any]:
    """The document (`spawncost.comparison/1`). Raises BadInput."""
    moves = prices(first, second)
    spawns = scenarios(first, second, parents)
    return {
        "schema": SCHEMA,
        "first": _machine(first),
        "second": _machine(second),
        "rules": _differences(first, second),
        "facts": _facts(first.machine.facts, second.machine.facts),
        "only_first": sorted(set(first.costs.ns) - set(second.costs.ns)),
        "only_second": sorted(set(second.costs.ns) - set(first.costs.ns)),
        "costs": [_price_record(each) for each in moves],
        "scenarios": [_spawn_record(each) for each in spawns],
        "summary": _summary(moves, spawns),
    }


def _machine(file: MachineFile) -> dict[str, Any]:
    machine = file.machine
    return {
        "name": machine.name,
        "file": str(file.path) if file.path else "",
        "kernel": machine.kernel,
        "cpu": machine.cpu,
        "date": str(file.provenance.get("date", "")),
        "noise_floor": machine.noise_floor,
    }


def _differences(first: MachineFile, second: MachineFile) -> list[dict[str, Any]]:
    one, other = first.machine.rules, second.machine.rules
    return [
        {"rule": name, "first": getattr(one, name), "second": getattr(other, name)} for name in differing(one, other)
    ]


def _facts(first: Mapping[str, float], second: Mapping[str, float]) -> list[dict[str, Any]]:
    names = sorted({*first, *second})
    return [
        {"fact": name, "first": first.get(name), "second": second.get(name)}
        for name in names
        if first.get(name) != second.get(name)
    ]  # fmt: skip


def _price_record(each: PriceMove) -> dict[str, Any]:
    return {
        "cost": each.cost,
        "first_ns": each.first_ns,
        "second_ns": each.second_ns,
        "first_stderr_ns": each.first_stderr_ns,
        "second_stderr_ns": each.second_stderr_ns,
        "ratio": each.ratio if math.isfinite(each.ratio) else None,
        "z": each.z if math.isfinite(each.z) else None,
        "moved": each.moved,
    }


def _spawn_record(each: ScenarioMove) -> dict[str, Any]:
    return {
        "parent": each.parent,
        "mechanism": each.mechanism,
        "milestone": each.milestone,
        "first_us": each.first.p50_ns / 1e3,
        "second_us": each.second.p50_ns / 1e3,
        "ratio": each.second.p50_ns / each.first.p50_ns,
        "z": each.z,
        "beyond": each.beyond,
        "cause": each.cause,
        "cause_us": each.cause_ns / 1e3,
    }


def _summary(moves: Sequence[PriceMove], spawns: Sequence[ScenarioMove]) -> dict[str, Any]:
    apart = sorted(abs(math.log(each.second.p50_ns / each.first.p50_ns)) for each in spawns)
    ratios = sorted(abs(math.log(each.ratio)) for each in moves if 0.0 < each.ratio < math.inf)
    judged = [each for each in moves if math.isfinite(each.z)]
    return {
        "costs": len(moves),
        "costs_moved": sum(each.moved for each in moves),
        "costs_judged": len(judged),
        "costs_within": sum(abs(each.z) <= Z90 for each in judged),
        "cost_median_ln": ratios[len(ratios) // 2] if ratios else 0.0,
        "scenarios": len(spawns),
        "scenarios_beyond": sum(each.beyond for each in spawns),
        "scenario_median_ln": apart[len(apart) // 2],
    }
