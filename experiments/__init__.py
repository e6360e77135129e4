"""What we want to know: questions to the model and their answers. Table of contents; imports are lazy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.answers import answer
    from experiments.scenarios import Question
    from experiments.store_files import read_store
    from experiments.sweep import run_sweep
    from experiments.sweep_spec import Sweep, read_sweep
    from experiments.trace import trace_document

_HOME = {
    "Question": "experiments.scenarios",
    "Sweep": "experiments.sweep_spec",
    "answer": "experiments.answers",
    "read_store": "experiments.store_files",
    "read_sweep": "experiments.sweep_spec",
    "run_sweep": "experiments.sweep",
    "trace_document": "experiments.trace",
}

__all__ = ["Question", "Sweep", "answer", "read_store", "read_sweep", "run_sweep", "trace_document"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
