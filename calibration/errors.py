"""The one exception for input that the tool cannot use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class BadInput(Exception):
    """Something given to the tool cannot be used.

    Args:
        what: the file, option or process at fault, as the user named it.
        why: what is wrong with it.
        remedy: what the user can do about it.
    """

    def __init__(self, what: str, why: str, remedy: str) -> None:
        super().__init__(what, why, remedy)
        self.what = what
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}: {self.why} ({self.remedy})"


def unfit(where: str, error: ValidationError, remedy: str, *, union: Sequence[str] = ()) -> BadInput:
    """What a document of another shape is refused with: its first finding with its key, as `vma[3].size`.

    Args:
        where: the file.
        union: how pydantic names the members of a union in keys; only what the first finds is told.
    """
    findings = error.errors(include_url=False, include_input=False)
    found = [each for each in findings if not set(union[1:]) & set(map(str, each["loc"]))]
    first = next((each for each in found if each["loc"] == ("schema",)), found[0])
    key = ""
    for part in first["loc"]:
        if part not in union:
            key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    message = first["msg"].removeprefix("Value error, ")
    return BadInput(f"{where}: {key}" if key else where, f"{message}{more}", remedy)
