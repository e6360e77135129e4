"""What we want to know: questions to the model and their answers. Table of contents; imports are lazy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.answers import answer
    from experiments.scenarios import Question
    from experiments.trace import trace_document

_HOME = {
    "Question": "experiments.scenarios",
    "answer": "experiments.answers",
    "trace_document": "experiments.trace",
}

__all__ = ["Question", "answer", "trace_document"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
