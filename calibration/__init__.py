"""What this machine charges: capture, measurement, fit, machine files. Table of contents; imports are lazy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calibration.capture.elf import capture_elf
    from calibration.capture.procfs import capture_process
    from calibration.machine_file import load_machine

_HOME = {
    "capture_elf": "calibration.capture.elf",
    "capture_process": "calibration.capture.procfs",
    "load_machine": "calibration.machine_file",
}

__all__ = ["capture_elf", "capture_process", "load_machine"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
