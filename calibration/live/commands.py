"""The words and the environment that start a case's parent, and the memory that it may take."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from calibration.errors import BadInput
from calibration.live.artefacts import JAVA_CLASS, c_parent, find_java, java_classes, python_script
from calibration.live.cases import MIB_BYTES, LiveCase
from model.units import PAGE_BYTES, PMD_BYTES

JVM_WARMUPS = 200
JVM_SLOW_WARMUPS = 40
JVM_SLOW_NS = 20_000_000
"""A JVM whose starts take over 20 ms warms up with 40 of them, else with 200."""
WARMUPS = 20
"""Of a C or CPython parent."""
_JVM_FILLED = 0.4
"""Part of a JVM's heap in live arrays: below the 45 % at which G1 starts to mark concurrently."""
_LONGEST_RUN_S = 3600
_JAVA_OPTION_VARIABLES = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS")


def environment() -> dict[str, str]:
    """What parents, and so their children, get: ours, without options that would change a JVM unseen."""
    return {name: value for name, value in os.environ.items() if name not in _JAVA_OPTION_VARIABLES}


def strings_bytes(variables: dict[str, str]) -> int:
    """Bytes of the environment's strings as execve copies them: NAME=VALUE and a zero each."""
    return sum(len(os.fsencode(f"{name}={value}")) + 1 for name, value in variables.items())


def check_memory(case: LiveCase) -> None:
    """Refuse a parent that would take more than a third of the memory that is available.

    Raises:
        BadInput: it would.
    """
    lines = Path("/proc/meminfo").read_text().splitlines()
    available_bytes = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    if case.heap_bytes > available_bytes / 3:
        why = f"more than a third of the {available_bytes // MIB_BYTES} MiB available"
        raise BadInput(case.label, why, "choose a smaller heap, or end what holds the memory")


def command_of(case: LiveCase) -> list[str]:
    """The words that start the case's parent.

    Raises:
        BadInput: no java, no javac, no C compiler, or a parent that cannot be compiled.
    """
    if case.kind == "jvm":
        return _jvm_command(case)
    if case.kind == "c":
        return _c_command(case)
    names = ("heap_bytes", "thp", "threads", "fds", "mechanism", "target")
    options = {**{name: getattr(case, name) for name in names}, "warmups": WARMUPS}
    return [case.runtime or sys.executable, "-I", str(python_script()), json.dumps(options)]


def _c_command(case: LiveCase) -> list[str]:
    size = ("--huge", case.heap_bytes // PMD_BYTES) if case.thp else ("--pages", case.heap_bytes // PAGE_BYTES)
    options = ("--mech", case.mechanism, "--exec", case.target, "--threads", case.threads, "--open", case.fds)
    bounds = ("--warmups", WARMUPS, "--timeout-s", _LONGEST_RUN_S)
    return [str(c_parent()), *map(str, (*size, *options, *bounds))]


def _jvm_command(case: LiveCase) -> list[str]:
    java = find_java(case.runtime)
    heap_mib = case.heap_bytes // MIB_BYTES
    state = (int(heap_mib * _JVM_FILLED), case.threads, case.fds)
    warm_up = (JVM_WARMUPS, JVM_SLOW_WARMUPS, JVM_SLOW_NS)
    return [
        str(java),
        f"-Xms{heap_mib}m",
        f"-Xmx{heap_mib}m",
        "-XX:+AlwaysPreTouch",
        "-XX:+UseSerialGC" if case.collector == "serial" else "-XX:+UseG1GC",
        f"-XX:{'+' if case.thp else '-'}UseTransparentHugePages",
        f"-Djdk.lang.Process.launchMechanism={case.mechanism.removeprefix('jdk-').upper()}",
        "-cp",
        str(java_classes(java)),
        JAVA_CLASS,
        *map(str, (*state, *warm_up, case.target)),
    ]
