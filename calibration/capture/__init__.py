"""What real processes, hosts and programs look like to the model; each reader is loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calibration.capture.elf import capture_elf

__all__ = ["capture_elf"]

_HOME = {"capture_elf": "calibration.capture.elf"}


def __getattr__(name: str) -> Any:
    """Load a reader on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
