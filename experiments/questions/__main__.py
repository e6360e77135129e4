"""`python -m experiments.questions [NAME...]`: the answers in words; `--json`: figures and rows too."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from calibration.errors import BadInput
from experiments.questions import NAMES, answer_of
from experiments.questions.asking import Answer


def main(arguments: Sequence[str]) -> int:
    """Print the answers asked for, all without a name; the return value is the exit status."""
    options = {each for each in arguments if each.startswith("-")}
    names = [each for each in arguments if not each.startswith("-")] or NAMES
    try:
        if options - {"--json"}:
            raise BadInput(min(options - {"--json"}), "no such option", "give names of questions, or --json")
        answers = [answer_of(each) for each in names]
    except BadInput as error:
        print(f"questions: error: {error}", file=sys.stderr)
        return 2
    shown = json.dumps([_record(each) for each in answers], indent=1) if options else "\n\n".join(map(text_of, answers))
    print(shown)
    return 0


def text_of(each: Answer) -> str:
    """The question and its answer, a sentence a line."""
    return "\n".join([f"{each.name}: {each.question}", *(f"  {word}" for word in each.words)])


def _record(each: Answer) -> dict[str, Any]:
    return {
        "name": each.name,
        "question": each.question,
        "words": each.words,
        "figures": dict(each.figures),
        "rows": list(each.rows),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
