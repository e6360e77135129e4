"""What we want to know: one module a question, with QUESTION, SWEEP (or what stands for it) and answer(machine)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from calibration.errors import BadInput

if TYPE_CHECKING:
    from experiments.questions.asking import Answer

NAMES = (
    "fork_rss",
    "fork_vmas",
    "break_even",
    "jvm",
    "thp_bargain",
    "libraries",
    "kernel_upgrade",
    "page_tables",
    "malloc",
    "snapshot",
)
"""All questions, each a module of this package."""


def answer_of(name: str, machine: str = "bundled") -> Answer:
    """The answer to one question on a machine.

    Raises:
        BadInput: no such question or machine.
    """
    if name not in NAMES:
        raise BadInput(name, "there is no such question", f"choose from {', '.join(NAMES)}")
    found: Answer = import_module(f"experiments.questions.{name}").answer(machine)
    return found
