"""From a point of a sweep to its row: a function of a block of points, the same whoever calls it and where."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from experiments.aftermath import waits_record, writes_record
from experiments.answers import by_kind, main_cause, milestone_record, predict, reached
from experiments.compiled_points import Asked, compiled_predictions
from experiments.headline import microseconds
from experiments.load_changes import changed_load, fitting_load
from experiments.notices import of_prediction, of_question
from experiments.points import Point
from experiments.scenarios import (
    DEFAULT_PARENT,
    RULED_BY,
    Notice,
    Question,
    adjusted,
    cold_files_of,
    flags_of,
    mechanisms_of,
    rules_of,
)
from experiments.sweep_plan import Inputs, Plan, model_version, usable
from experiments.variants import varied_parent, varied_target
from experiments.what_if import LINKED, notices_if
from model.prediction import Prediction
from model.process import Process
from model.rules import Rules
from model.scenario import Load, Scenario, Spawn

_SYNTHETIC = ("vmas", "threads", "fds")
_ABOUT_PARENT = frozenset({"rss", "parent", "caller", "thp", "thp_fallback", "seed", *_SYNTHETIC})
"""Inputs that act on the parent or on nothing; all others decide the structure of a compiled form."""
_NO_LOAD = Load()
_YES = {"true": True, "false": False}
_PROCESS_CACHE = 16
_RULES_CACHE = 64


@dataclass(frozen=True, slots=True)
class Row:
    """What the store keeps of a point; inputs and results are JSON, exactly one of results and error is there."""

    number: int
    key: str
    inputs: str
    results: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Done:
    """A block's rows and how long it took, in seconds of the worker's clock."""

    rows: list[Row]
    elapsed_s: float


_PLANS: dict[str, Plan] = {}
"""Plans that this process knows, by identity; a worker unpacks each once."""


def evaluate_block(identity: str, packed: bytes, version: str, points: Sequence[Point]) -> Done:
    """The rows of a block of points: what a worker does, on this machine or another.

    Raises:
        BadInput: this worker has another version of the model than who started the sweep.
    """
    if version != model_version():
        raise BadInput("worker", f"its model is {model_version()}, not {version}", "install the same spawncost there")
    begin = time.perf_counter()
    return Done(rows_of(known_plan(identity, packed), points), time.perf_counter() - begin)


def known_plan(identity: str, packed: bytes) -> Plan:
    """The plan of that identity; a worker unpacks it once."""
    if identity not in _PLANS:
        _PLANS.clear()
        _PLANS[identity] = pickle.loads(packed)
    return _PLANS[identity]


def rows_of(plan: Plan, points: Iterable[Point]) -> list[Row]:
    """The rows of points, those of the compiled model where it answers. A point that fails is a row too."""
    numbered = dict(enumerate(points))
    asked = {number: each for number, point in numbered.items() if (each := asked_of(plan, point)) is not None}
    known = compiled_predictions(asked, parts=plan.sweep.breakdown)
    return [
        row_of(plan, point, (asked[number].question, known[number]) if number in known else None)
        for number, point in numbered.items()
    ]


def asked_of(plan: Plan, point: Point) -> Asked | None:
    """What the compiled model would be asked; None if the point fails, which its row will tell."""
    inputs = point.inputs
    structure = tuple(sorted((name, each) for name, each in inputs.items() if not _of_parent(name)))
    try:
        question = question_of(plan, inputs)
        return Asked((plan.identity, structure), question, usable(plan.machines[str(inputs["machine"])]))
    except Exception:  # whatever it is: the point is tried again for its row, which says so
        return None


def _of_parent(name: str) -> bool:
    return name in _ABOUT_PARENT or name.startswith("parent.")


def row_of(plan: Plan, point: Point, known: tuple[Question, Prediction] | None = None) -> Row:
    """The row of one point; `known`: its question and prediction."""
    results = error = None
    try:
        results = json.dumps(results_of(plan, point.inputs, known), sort_keys=True, allow_nan=False)
    except MemoryError:
        raise
    except BadInput as refused:
        error = str(refused)
    except Exception as failed:
        # A sweep of a million points does not end at the one that meets a defect: its row says what happened.
        error = f"{type(failed).__name__}: {failed}"
    return failed_row(plan, point, error) if results is None else _row(plan, point, results, None)


def failed_row(plan: Plan, point: Point, error: str | None) -> Row:
    """The row of a point that has no results."""
    return _row(plan, point, None, error or "it has no results")


def _row(plan: Plan, point: Point, results: str | None, error: str | None) -> Row:
    inputs = json.dumps(point.inputs, sort_keys=True, allow_nan=False)
    return Row(point.number, plan.key(point.inputs), inputs, results, error)


def results_of(plan: Plan, inputs: Inputs, known: tuple[Question, Prediction] | None = None) -> dict[str, Any]:
    """What a row says of a point: milestones in microseconds, the main cause of the last one, what writes met
    beside a fork, how long calls waited for its locks, and the codes of the warnings that `predict` would give.

    Raises:
        BadInput: the point cannot be asked, or the machine file lacks a price.
        ValueError: its parent or target cannot be.
    """
    file = usable(plan.machines[inputs["machine"]])
    if known is None:
        question = question_of(plan, inputs)
        prediction = predict(question, file, question.mechanisms[0])
    else:
        question, prediction = known
    names = reached(prediction, question.scenario(prediction.mechanism))
    results: dict[str, Any] = {f"{name}_us": milestone_record(prediction.milestones[name]) for name in names}
    if names and prediction.error is None:
        results["cause"] = main_cause(prediction.breakdown_ns)["name"]
        results["by_kind_us"] = {name: microseconds(each) for name, each in by_kind(prediction.breakdown_ns).items()}
        if prediction.aftermath is not None:
            results["writes"] = writes_record(prediction.aftermath)
        if prediction.lock_waits:
            results["waits"] = waits_record(prediction.lock_waits)
        if plan.sweep.breakdown:
            results["breakdown_us"] = {
                name: microseconds(each) for name, each in prediction.breakdown_ns.items() if each
            }
    # Not of this host: rows do not depend on where they were computed.
    notices = (*of_question(file, question, ""), *of_prediction(file, question, prediction))
    results["warnings"] = " ".join(sorted({each.code for each in notices}))
    if prediction.error is not None:
        results["errno"] = prediction.error.errno
    return results


def question_of(plan: Plan, inputs: Inputs) -> Question:
    """The question of one point, as `predict` would ask it. Raises what `results_of` raises."""
    glibc = inputs.get("glibc")
    linked = inputs.get("linked")
    target = usable(plan.targets[inputs.get("exec"), glibc, linked])
    target = varied_target(target, _below("target", inputs))
    named = tuple((name, each) for name, each in inputs.items() if name in RULED_BY or name.startswith("rules."))
    _PLANS.setdefault(plan.identity, plan)
    rules = _rules(plan.identity, inputs["machine"], named)
    parent = _parent(plan, inputs)
    mechanisms = mechanisms_of(inputs["via"], parent, target)
    helper = plan.helpers.get((inputs["via"], glibc))
    load, notices = _load(plan, inputs, parent)
    return _Spawned(
        parent=parent,
        target=target,
        mechanisms=mechanisms,
        rules=rules,
        helpers={inputs["via"]: usable(helper)} if helper is not None else {},
        flags=flags_of(inputs.get("clone_flags") if inputs["via"] == "clone3" else None, mechanisms),
        kernel=inputs.get("kernel", ""),
        seed=inputs["seed"],
        load=load,
        notices=(*notices, *notices_if(LINKED[linked or "as-is"])),
        cold_files=cold_files_of(inputs.get("page_cache", "warm")),
        spawned=tuple(sorted((name, _YES.get(each, each)) for name, each in _below("spawn", inputs).items())),
    )


def _load(plan: Plan, inputs: Inputs, parent: Process) -> tuple[Load, tuple[Notice, ...]]:
    """What runs beside the spawn, nothing if nothing is said; with what `predict` would note of it."""
    about = {name: each for name, each in inputs.items() if name.startswith("load.")}
    if not about and "load" not in inputs:
        return _NO_LOAD, ()
    load = changed_load(usable(plan.loads[inputs["load"]]) if "load" in inputs else _NO_LOAD, about)
    machine = usable(plan.machines[inputs["machine"]]).machine
    return fitting_load(load, parent, machine, str(inputs.get("load", "load")))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spawned(Question):
    """A question whose spawn has fields that the command line has no option for."""

    spawned: tuple[tuple[str, Any], ...] = ()

    def scenario(self, mechanism: str) -> Scenario:
        """The scenario with those fields."""
        scenario = Question.scenario(self, mechanism)
        steps = (replace(each, **dict(self.spawned)) if isinstance(each, Spawn) else each for each in scenario.program)
        return replace(scenario, program=tuple(steps))


@lru_cache(maxsize=_RULES_CACHE)
def _rules(identity: str, machine: str, named: tuple[tuple[str, Any], ...]) -> Rules:
    versions = {name: each for name, each in named if name in RULED_BY}
    settings = [f"{name}={each}" for name, each in _below("rules", dict(named)).items()]
    return rules_of(usable(_PLANS[identity].machines[machine]).machine, settings=settings, **versions)


def _below(head: str, inputs: Inputs) -> dict[str, Any]:
    """The inputs named `head.NAME`, by NAME."""
    return {name.removeprefix(f"{head}."): each for name, each in inputs.items() if name.startswith(f"{head}.")}


def _parent(plan: Plan, inputs: Inputs) -> Process:
    _PLANS.setdefault(plan.identity, plan)
    about = {name: each for name, each in inputs.items() if name.startswith("parent.")}
    about |= {
        name: inputs[name] for name in ("rss", "parent", "caller", "thp", "thp_fallback", *_SYNTHETIC) if name in inputs
    }
    return _varied(plan.identity, tuple(sorted(about.items())))


@lru_cache(maxsize=_PROCESS_CACHE)
def _varied(identity: str, about: tuple[tuple[str, Any], ...]) -> Process:
    """A parent is built once for the points in a row that share it: with thousands of vmas that takes its time."""
    inputs = dict(about)
    if "rss" in inputs:
        parent = synthetic_parent(inputs["rss"], **{name: inputs[name] for name in _SYNTHETIC if name in inputs})
    else:
        parent = usable(_PLANS[identity].parents[inputs.get("parent", DEFAULT_PARENT)])
    parent = varied_parent(parent, _below("parent", inputs))
    return adjusted(
        parent,
        caller=inputs.get("caller"),
        thp=inputs.get("thp", "as-is"),
        thp_fallback=inputs.get("thp_fallback", 0.0),
    )
