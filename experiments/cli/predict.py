"""`spawncost predict` and `spawncost main-job`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from calibration.capture.host import fingerprint, host_facts
from calibration.machine_file import BUNDLED
from experiments.answers import answer
from experiments.cli.options import Asked, accepting, question_of
from experiments.report import job_text, prediction_text, warning_lines

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, and nothing else.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("predict")(accepting(predict_command))
    app.command("main-job")(main_job)


def document_of(asked: Asked) -> dict[str, Any]:
    """The document that the options ask for. Raises BadInput."""
    question, file = question_of(asked)
    facts = host_facts()
    return answer(question, file, host=fingerprint(facts), facts=facts, strict=asked.strict)


def json_text(document: Any) -> str:
    """A document as it stands on standard output."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def show(text: str, documents: Sequence[Mapping[str, Any]]) -> None:
    """The result on standard output, then the documents' warnings on standard error."""
    sys.stdout.write(text)
    sys.stdout.flush()
    for line in warning_lines(documents):
        print(line, file=sys.stderr)


def predict_command(asked: Asked, as_json: Json = False) -> int:
    """What a process pays to start a program."""
    document = document_of(asked)
    show(json_text(document) if as_json else prediction_text(document), [document])
    return 0


def main_job(as_json: Json = False) -> int:
    """What make predict prints: a JVM of 4 GiB, THP off and on."""
    documents = [document_of(Asked(thp=thp, machine=BUNDLED)) for thp in ("off", "on")]
    show(json_text(documents) if as_json else job_text(documents), documents)
    return 0
