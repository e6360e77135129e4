"""`spawncost advise-measurement`: what to measure next, so that the asked prediction becomes surer."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calibration.errors import BadInput
from experiments.cli.options import Asked, accepting, question_of
from model.spread import SPAWNS_ERROR

if TYPE_CHECKING:
    from calibration.advise import Advice
    from calibration.machine_file import MachineFile
    from model.prediction import Prediction

SCHEMA = "spawncost.advice/1"
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
Budget = Annotated[str, typer.Option(metavar="TIME", help="What measuring may take, such as 60s or 5m.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("advise-measurement")(accepting(advise_command))


def seconds(text: str) -> float:
    """A time such as 60s, 5m or 90. Raises BadInput."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip())
    if found is None or found[2] not in _UNITS or not float(found[1]) > 0.0:
        raise BadInput(f"--budget {text}", "it is no time", "give one such as 60s or 5m")
    return float(found[1]) * _UNITS[found[2]]


def advise_command(asked: Asked, budget: Budget = "60s", as_json: Json = False) -> int:
    """Which rows, measured again, would narrow the asked prediction most within a budget."""
    from calibration.advise import Asked as Wanted
    from calibration.advise import advise
    from calibration.check import stored_samples
    from calibration.samples import read_runs
    from experiments.answers import predict

    budget_s = seconds(budget)
    question, file = question_of(asked)
    predictions = [predict(question, file, mechanism) for mechanism in question.mechanisms]
    found = [each for each in predictions if each.error is None and each.milestones]
    if not found:
        raise BadInput("advise-measurement", "every mechanism fails", "ask for one that works")
    wanted = [
        Wanted(name=each.mechanism, counts=each.bill.counts, quiet_ns=each.bill.elapsed_ns) for each in found
    ]  # fmt: skip
    advice = advise(file, read_runs(stored_samples(file)[0]), wanted, budget_s)
    document = _document(advice, file, found, budget_s)
    print(json.dumps(document, indent=1, allow_nan=False) if as_json else _text(document))
    return 0


def _document(advice: Advice, file: MachineFile, found: list[Prediction], budget_s: float) -> dict[str, Any]:
    errors = file.machine.model_error
    model_error = max((each for name, each in errors.items() if name != SPAWNS_ERROR), default=0.0)
    return {
        "schema": SCHEMA,
        "machine": file.machine.name,
        "mechanisms": [each.mechanism for each in found],
        "budget_s": budget_s,
        "criterion": advice.criterion,
        "error_of_prices": advice.error,
        "model_error": model_error,
        "seconds": advice.seconds,
        "steps": [
            {
                "row": each.row,
                "bench": each.bench,
                "args": list(each.args),
                "processes": each.processes,
                "seconds": each.seconds,
                "error_of_prices": each.error,
                "costs": list(each.costs),
            }
            for each in advice.steps
        ],
    }


def _text(document: dict[str, Any]) -> str:
    lines = [
        f"{document['machine']}: {', '.join(document['mechanisms'])}"[:80],
        f"the prices leave {document['error_of_prices']:.1%} open (one standard error), "
        f"the model itself {document['model_error']:.1%}",
    ]
    if document["criterion"] == "D":
        lines.append("no row would narrow what was asked; these narrow all prices together:")
    if not document["steps"]:
        return "\n".join([*lines, "no measurement within the budget is worth its time"])
    lines.append(f"{'measure again':24}{'processes':>10}{'seconds':>9}{'then open':>11}  it narrows")
    lines += [
        f"{each['row'][:23]:24}{each['processes']:10}{each['seconds']:9.1f}{each['error_of_prices']:11.1%}"
        f"  {', '.join(each['costs'])}"[:80]
        for each in document["steps"]
    ]
    if document["steps"][-1]["error_of_prices"] < document["model_error"]:
        lines.append("beyond that the model's own error decides, which no measurement lowers")
    return "\n".join([*lines, f"{document['seconds']:.0f} s of {document['budget_s']:.0f} s"])
