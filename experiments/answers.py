"""One parent, one target: the prediction document (`spawncost.prediction/1`), with nothing printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calibration.capture.host import HostFacts
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from experiments.aftermath import aftermath_record, compared_aftermaths
from experiments.headline import headline_of, words_of
from experiments.notices import STRICT, extrapolation, of_prediction, of_question
from experiments.scenarios import Notice, Question
from model.costs import COSTS, CostTable, MissingCost
from model.ledger import Bill
from model.prediction import MILESTONES, SPREAD_LINE, Aftermath, Milestone, Prediction
from model.scenario import Scenario
from model.simulation import bill, simulate
from model.units import NS_PER_US

SCHEMA = "spawncost.prediction/1"
_DIGITS = 7
_RETURNS_BEFORE_EXEC = frozenset({"fork", "clone3", "cpython-os-fork", "shell"})
"""Mechanisms whose call can return while the target's exec is still to come, so that its failure comes later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One mechanism's prediction with what the document says of it beyond.

    Attributes:
        prediction: as the model gave it.
        breakdowns: by milestone, elapsed time by cost, machine_spread included; each sums to that milestone's p50.
        notices: warnings that hold for it.
        beyond: by attribute of the parent or target, how often the largest measured it is; None: none was.
        compared: aftermaths of a child that execs at once, of one that lives, and without any fork.
    """

    prediction: Prediction
    breakdowns: Mapping[str, Mapping[str, float]]
    notices: tuple[Notice, ...]
    beyond: Mapping[str, float | None]
    compared: Mapping[str, Aftermath] = field(default_factory=dict)


def answer(
    question: Question, file: MachineFile, *, host: str = "", facts: HostFacts | None = None, strict: bool = False
) -> dict[str, Any]:
    """The document that answers a question on a machine.

    Args:
        host: the name that a machine file of this host would bear; empty: no warning if it is another.
        facts: this host now; None: no warning if it changed since the calibration.
        strict: refuse where the answer leaves measured ground.

    Raises:
        BadInput: the machine file lacks a price that is needed; with `strict`, one of the codes of `STRICT`.
    """
    answered = [answer_one(question, file, mechanism) for mechanism in question.mechanisms]
    notices = _merged(of_question(file, question, host, facts), answered)
    refused = next((each for each in notices if each.code in STRICT), None)
    if strict and refused is not None:
        raise BadInput("--strict", f"{refused.code}: {refused.text}", "calibrate this machine, or leave --strict out")
    document = {
        "schema": SCHEMA,
        "headline": "",
        "machine": machine_record(file),
        "warnings": [_notice(each) for each in notices],
        "parent": parent_record(question),
        "target": target_record(question),
        "predictions": [_record(each) for each in answered],
    }
    document["headline"] = headline_of(document)
    return document


def answer_one(question: Question, file: MachineFile, mechanism: str) -> Answered:
    """The answer for one mechanism.

    Raises:
        BadInput: the machine file lacks a price that is needed.
    """
    prediction = predict(question, file, mechanism)
    scenario = question.scenario(mechanism)
    return Answered(
        prediction=prediction,
        breakdowns={name: _breakdown(scenario, file, name, prediction) for name in reached(prediction, scenario)},
        notices=of_prediction(file, question, prediction),
        beyond={
            name: value / reached if reached else None
            for name, (value, reached) in extrapolation(file.machine, question, prediction).items()
        },
        compared=compared_aftermaths(question, file, prediction),
    )


def predict(question: Question, file: MachineFile, mechanism: str) -> Prediction:
    """The model's prediction for one mechanism.

    Raises:
        BadInput: the machine file lacks a price that is needed.
    """
    try:
        return simulate(question.scenario(mechanism), file.machine, file.costs)
    except MissingCost as error:
        where = str(file.path or file.machine.name)
        raise BadInput(where, f"it has no price of {error.args[0]}", "calibrate again") from error


def reached(prediction: Prediction, scenario: Scenario) -> tuple[str, ...]:
    """Milestones that count: with an error, only those before it."""
    names = tuple(name for name in MILESTONES if name in prediction.milestones)
    if prediction.error is None:
        return names
    waits = scenario.spawn is not None and "CLONE_VFORK" in scenario.spawn.flags
    early = prediction.mechanism in _RETURNS_BEFORE_EXEC and not waits
    return tuple(name for name in names if name == "call" and early)


def _breakdown(scenario: Scenario, file: MachineFile, milestone: str, prediction: Prediction) -> dict[str, float]:
    """Elapsed time by cost up to a milestone, in ns, the largest first and the spread last."""
    found = prediction.milestones[milestone]
    if milestone == list(prediction.milestones)[-1]:
        parts = {name: each for name, each in prediction.breakdown_ns.items() if name != SPREAD_LINE}
    else:
        parts = _priced(bill(scenario, file.machine, file.costs, milestone), file.costs)
    ordered = dict(sorted(parts.items(), key=lambda part: -part[1]))
    return {**ordered, SPREAD_LINE: found.p50_ns - found.quiet_ns}


def _priced(counted: Bill, costs: CostTable) -> dict[str, float]:
    parts = {name: count * costs.price(name) for name, count in counted.counts.items()}
    return {**parts, "sleep": counted.sleep_ns} if counted.sleep_ns else parts


def by_kind(breakdown: Mapping[str, float]) -> dict[str, float]:
    """The same sum as kernel, user, latency, sleep and machine_spread."""
    kinds = dict.fromkeys(("kernel", "user", "latency", "sleep", SPREAD_LINE), 0.0)
    for name, elapsed in breakdown.items():
        if name == SPREAD_LINE:
            kind = SPREAD_LINE
        elif name not in COSTS:
            kind = "sleep"
        elif COSTS[name].latency:
            kind = "latency"
        else:
            kind = "user" if COSTS[name].user else "kernel"
        kinds[kind] += elapsed
    return kinds


def _us(elapsed_ns: float) -> float:
    """Microseconds with seven significant digits: the parts sum far within 0.1 %, and the document stays readable."""
    return float(f"{elapsed_ns / NS_PER_US:.{_DIGITS}g}")


def _milestone(found: Milestone) -> dict[str, float]:
    names = ("quiet", "p10", "p50", "p90", "lo", "hi")
    return {name: _us(getattr(found, f"{name}_ns")) for name in names}


def _notice(each: Notice) -> dict[str, str]:
    return {"code": each.code, "text": each.text}


def _merged(common: Sequence[Notice], answered: Sequence[Answered]) -> list[Notice]:
    """All warnings, each once; those of mechanisms say which."""
    where: dict[Notice, list[str]] = {}
    for each in answered:
        for notice in each.notices:
            where.setdefault(notice, []).append(each.prediction.mechanism)
    named = [Notice(notice.code, f"{', '.join(names)}: {notice.text}") for notice, names in where.items()]
    return [*dict.fromkeys(common), *named]


def machine_record(file: MachineFile) -> dict[str, Any]:
    """What a document says of the machine file."""
    machine = file.machine
    return {
        "name": machine.name,
        "file": str(file.path) if file.path is not None else "",
        "origin": file.origin,
        "kind": file.kind,
        "kernel": machine.kernel,
        "cpu": machine.cpu,
        "noise_floor": machine.noise_floor,
    }


def parent_record(question: Question) -> dict[str, Any]:
    """What a document says of the parent."""
    parent = question.parent
    space = parent.space
    return {
        "name": parent.name,
        "origin": parent.origin,
        "runtime": str(parent.runtime),
        "vmas": len(space.vmas),
        "anon_ptes": space.total("anon_ptes"),
        "file_ptes": space.total("file_ptes"),
        "huge_pmds": space.total("huge_pmds"),
        "pte_tables": space.tables.pte,
        "anon_bytes": space.anon_bytes,
        "threads": parent.threads,
        "fds": parent.open_fds,
        "contiguous": parent.contiguous,
        "writable": parent.writable,
        "caller": str(parent.caller),
        "assumed": list(parent.assumed),
    }


def target_record(question: Question) -> dict[str, Any]:
    """What a document says of the target."""
    target = question.target
    return {
        "path": target.path,
        "kind": target.kind,
        "libraries": len(target.libraries),
        "relative_relocations": target.relative_relocations,
        "symbol_lookups": target.symbol_lookups,
        "constructors": target.constructors,
    }


def _record(each: Answered) -> dict[str, Any]:
    prediction, reached = each.prediction, list(each.breakdowns)
    last = each.breakdowns[reached[-1]] if reached else {}
    record: dict[str, Any] = {
        "mechanism": prediction.mechanism,
        "milestones_us": {name: _milestone(prediction.milestones[name]) for name in reached},
        "loader_us": _milestone(prediction.loader) if prediction.loader and "main" in reached else None,
        "breakdown_us": {name: _us(elapsed) for name, elapsed in last.items()},
        "by_kind": {f"{name}_us": _us(elapsed) for name, elapsed in by_kind(last).items()},
        "main_causes": {name: main_cause(each.breakdowns[name]) for name in reached},
        "extrapolation": {name: factor and float(f"{factor:.4g}") for name, factor in each.beyond.items()},
        "charges": prediction.charges,
        "events": prediction.events,
        "warnings": [_notice(notice) for notice in each.notices],
        "error": None,
    }
    if prediction.aftermath is not None:
        record["aftermath"] = aftermath_record(prediction.aftermath, each.compared)
    if prediction.error is not None:
        record["error"] = {"errno": prediction.error.errno, "why": prediction.error.why}
    return record


def main_cause(breakdown: Mapping[str, float]) -> dict[str, Any]:
    """The largest part of a milestone's p50, the machine's spread left out: its name, share and what it stands for."""
    parts = {name: elapsed for name, elapsed in breakdown.items() if name != SPREAD_LINE}
    name = max(parts, key=lambda each: parts[each])
    share = parts[name] / sum(breakdown.values())
    return {"name": name, "share": float(f"{share:.3g}"), "words": words_of(name)}
