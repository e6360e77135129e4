"""The answers to the questions against the reviewed ones in `experiments/expected`: what moved, and by how much.

A figure has moved beyond `TOLERANCE`; then its sentence has too. One that was there and is not, or the reverse, has
moved as well. Accepting writes the answers of now.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.capture.parent_file import write_bytes_atomically
from calibration.errors import BadInput
from experiments.questions import NAMES, answer_of

if TYPE_CHECKING:
    from experiments.questions.asking import Answer

DIRECTORY = Path(__file__).parent / "expected"
SCHEMA = "spawncost.expected/1"
TOLERANCE = 1e-5
"""Relative: far beyond rounding on another processor, far below what anybody would call a change."""
_DIGITS = 8
_ACCEPT = "review it, then `spawncost check --expected --accept` writes it"


@dataclass(frozen=True, slots=True)
class Moved:
    """A figure that is not what was reviewed; None: not there."""

    question: str
    figure: str
    expected: float | None
    found: float | None

    @property
    def change(self) -> float | None:
        """Relative change; None where one of the two is missing or nothing was expected."""
        if self.expected is None or self.found is None or self.expected == 0.0:
            return None
        return self.found / self.expected - 1.0


def moved_figures(names: Iterable[str] = NAMES, directory: Path = DIRECTORY) -> list[Moved]:
    """Answer questions anew and compare them with what was reviewed.

    Raises:
        BadInput: no expected answer of a question, or one that cannot be read.
    """
    return [each for name in names for each in compared(answer_of(name), read_expected(name, directory))]


def accept(names: Iterable[str] = NAMES, directory: Path = DIRECTORY) -> list[str]:
    """Write the answers of now as the expected ones, and return the names of those that changed.

    All are answered before one is written. Raises BadInput.
    """
    texts = {name: expected_text(answer_of(name)) for name in names}
    changed = []
    for name, text in texts.items():
        path = directory / f"{name}.json"
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        try:
            write_bytes_atomically(path, text.encode())
        except OSError as error:
            raise BadInput(str(path), f"cannot be written: {error.strerror or error}", "make room") from error
        changed.append(name)
    return changed


def expected_text(answer: Answer) -> str:
    """What is kept of an answer: its words and its figures, no rows."""
    document = {
        "schema": SCHEMA,
        "question": answer.question,
        "words": list(answer.words),
        "figures": {name: _rounded(value) for name, value in answer.figures.items()},
    }
    return json.dumps(document, indent=1) + "\n"


def read_expected(name: str, directory: Path = DIRECTORY) -> Mapping[str, float | None]:
    """The reviewed figures of a question. Raises BadInput."""
    path = directory / f"{name}.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(str(path), "there is no such file", _ACCEPT) from error
    except OSError as error:
        raise BadInput(str(path), f"cannot be read: {error.strerror or error}", "give a readable file") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(str(path), "is no JSON", _ACCEPT) from error
    figures = document.get("figures") if isinstance(document, dict) and document.get("schema") == SCHEMA else None
    if not isinstance(figures, dict) or not all(_is_figure(each) for each in figures.values()):
        raise BadInput(f"{path}: figures", f"it is no {SCHEMA}", _ACCEPT)
    return figures


def _is_figure(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value is None or number


def compared(answer: Answer, expected: Mapping[str, float | None]) -> Iterator[Moved]:
    """The figures of an answer that are not as expected."""
    for figure in {**expected, **answer.figures}:
        there, here = expected.get(figure), answer.figures.get(figure)
        known = figure in expected and figure in answer.figures
        if not known or not _close(there, here):
            yield Moved(answer.name, figure, there, here)


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=TOLERANCE)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def table_of(moved: Sequence[Moved]) -> str:
    """What moved, a line a figure."""
    lines = [f"{'question':<16}{'expected':>12}{'found':>12}{'change':>9}  figure"]
    for each in moved:
        change = f"{each.change:+.2%}" if each.change is not None else ""
        lines.append(
            f"{each.question:<16}{_shown(each.expected):>12}{_shown(each.found):>12}{change:>9}  {each.figure}"
        )
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.5g}"
