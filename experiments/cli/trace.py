"""`spawncost trace`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calibration.capture.host import fingerprint, host_facts
from calibration.capture.parent_file import write_atomically
from calibration.errors import BadInput
from experiments.answers import answer, predict
from experiments.cli.options import Asked, accepting, question_of
from experiments.cli.predict import show
from experiments.trace import trace_text


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("trace")(accepting(trace_command))


def trace_command(
    asked: Asked,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Written as Chrome trace-event JSON.")],
) -> int:
    """The timeline of each spawn, for https://ui.perfetto.dev."""
    question, file = question_of(asked)
    facts = host_facts()
    document = answer(question, file, host=fingerprint(facts), facts=facts, strict=asked.strict)
    try:
        write_atomically(out, trace_text([predict(question, file, each) for each in question.mechanisms]))
    except OSError as error:
        raise BadInput(str(out), f"cannot be written: {error.strerror or error}", "give another file") from error
    show(f"{out}: {', '.join(question.mechanisms)}; open it at https://ui.perfetto.dev\n", [document])
    return 0
