"""The one exception for input that the tool cannot use."""

from __future__ import annotations


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
