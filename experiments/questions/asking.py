"""What questions share: points of a sweep as rows, loads beside a fork, where two curves cross, slopes.

Programs are the bundled images and the machine is a file, so an answer is the same on every host.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.errors import BadInput
from calibration.machine_file import find_machine
from experiments.answers import predict
from experiments.bundled_images import bundled_image
from experiments.evaluate import rows_of
from experiments.points import points_of
from experiments.scenarios import HELPER_NAMES, Question
from experiments.sweep_plan import plan_of
from experiments.sweep_spec import Sweep
from model.elf_image import NO_IMAGE
from model.prediction import Aftermath, Prediction
from model.process import Process
from model.scenario import Load

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
MIB, GIB = float(1 << 20), float(1 << 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer: `words`, sentences with the figures in them; `figures` by name, what is compared with the expected.

    Attributes:
        name: of the question.
        question: as a sentence.
        words, figures: see above; a figure is None where there is none (two curves that do not cross).
        rows: what a figure is drawn from and the table shows.
    """

    name: str
    question: str
    words: tuple[str, ...]
    figures: Mapping[str, float | None]
    rows: Sequence[Row] = field(repr=False)

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a table."""
        import pandas as pd

        return pd.DataFrame(list(self.rows))


def swept(sweep: Sweep, machine: str) -> list[dict[str, Any]]:
    """The points of a sweep with their results, milestones as `call_us_p50`; programs are bundled images.

    Raises:
        BadInput: no such machine, or a point that fails: a question has none that may.
    """
    plan = plan_of(replace(sweep, base={**sweep.base, "machine": machine}))
    targets = {key: NO_IMAGE if key[0] == "none" else bundled_image("true") for key in plan.targets}
    helpers = {key: bundled_image(HELPER_NAMES[key[0]]) for key in plan.helpers}
    plan = replace(plan, targets=targets, helpers=helpers)
    found = []
    for number, each in enumerate(rows_of(plan, points_of(plan.sweep))):
        if each.results is None:
            raise BadInput(f"point {number} of {sweep.name or 'a question'}", str(each.error), "correct its sweep")
        found.append(_flat(json.loads(each.inputs), json.loads(each.results)))
    return found


def _flat(inputs: Row, results: Row) -> dict[str, Any]:
    flat: dict[str, Any] = {**inputs, "error": None}
    for name, value in results.items():
        flat |= {f"{name}_{part}": each for part, each in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def under_load(parent: Process, load: Load, machine: str, mechanism: str = "fork") -> tuple[Prediction, Aftermath]:
    """A child that exits at once, or after the load's lifetime, and what the parent's threads meet.

    Raises:
        BadInput: no such machine, or the machine file lacks a price.
    """
    file = find_machine(machine)
    rules = file.machine.rules
    question = Question(parent=parent, target=NO_IMAGE, mechanisms=(mechanism,), rules=rules, helpers={}, load=load)
    prediction = predict(question, file, mechanism)
    assert prediction.aftermath is not None, "a load with mutators"
    return prediction, prediction.aftermath


def asked(parent: Process, machine: str, mechanism: str = "fork") -> Prediction:
    """A spawn of a child that exits at once, for a parent that no sweep can describe. Raises what `under_load` does."""
    file = find_machine(machine)
    rules = file.machine.rules
    question = Question(parent=parent, target=NO_IMAGE, mechanisms=(mechanism,), rules=rules, helpers={})
    return predict(question, file, mechanism)


def some(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The rows with these inputs; `__` stands for the dot of a name."""
    named = {name.replace("__", "."): value for name, value in wanted.items()}
    return [row for row in rows if all(row.get(name) == value for name, value in named.items())]


def column(rows: Iterable[Row], name: str) -> list[float]:
    """One number of each row."""
    return [float(row[name]) for row in rows]


def one(rows: Iterable[Row], name: str, **wanted: Any) -> float:
    """A number of the only row with these inputs."""
    (row,) = some(rows, **wanted)
    return float(row[name])


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Rise of y a unit of x, by least squares."""
    return float(np.polyfit(np.asarray(x), np.asarray(y), 1)[0])


def crossing(x: Sequence[float], one_y: Sequence[float], other_y: Sequence[float]) -> float | None:
    """Where the first of two curves rises above the second: between two points on lines of log x; None if nowhere.

    The least x if it is above from there on.
    """
    apart = np.asarray(one_y) - np.asarray(other_y)
    if apart[0] > 0:
        return float(x[0])
    above = np.flatnonzero(apart > 0)
    if not len(above):
        return None
    after = int(above[0])
    before = after - 1
    share = -apart[before] / (apart[after] - apart[before])
    low, high = np.log(x[before]), np.log(x[after])
    return float(np.exp(low + share * (high - low)))
