"""What is run: one live parent and one way in which it spawns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from calibration.errors import BadInput

Kind = Literal["jvm", "c", "cpython"]
CallerState = Literal["hot", "cold"]

MIB_BYTES = 1 << 20
GIB_BYTES = 1 << 30
COLD_GAP_NS = 20_000_000
"""Sleep before each spawn of a cold caller; a hot one loops."""

MECHANISMS: dict[Kind, tuple[str, ...]] = {
    "jvm": ("jdk-fork", "jdk-vfork", "jdk-posix_spawn"),
    "c": ("fork", "vfork", "posix_spawn"),
    "cpython": ("cpython-subprocess", "cpython-fork", "cpython-os-fork", "posix_spawn"),
}
COLLECTORS = ("g1", "serial")
_MOST_THREADS = 20_000
_MOST_FDS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCase:
    """A parent as it is set up, and the spawn that it times.

    Attributes:
        kind: the runtime: `jvm`, `c` or `cpython`.
        mechanism: one of `MECHANISMS[kind]`.
        heap_bytes: written anonymous memory: of a JVM its whole heap (-Xms = -Xmx, touched, two fifths full of arrays).
        thp: whether that memory is mapped by pmds (checked in smaps, refused where it cannot be had).
        threads: sleeping threads beside the runtime's own.
        fds: open descriptors beside the runtime's own.
        target: the program that the child executes.
        caller: hot: in a loop; cold: 20 ms of sleep before each spawn.
        collector: of a JVM: `g1` or `serial`.
        runtime: path of the java or python to use; empty: java on PATH, this interpreter.
    """

    kind: Kind
    mechanism: str
    heap_bytes: int
    thp: bool = False
    threads: int = 0
    fds: int = 0
    target: str = "/bin/true"
    caller: CallerState = "hot"
    collector: str = "g1"
    runtime: str = ""

    @property
    def label(self) -> str:
        """For reports: unique within a matrix."""
        parts = [self.kind, self.mechanism, f"{self.heap_bytes // MIB_BYTES}MiB", "thp" if self.thp else "4k"]
        parts += [f"{self.threads}t"] if self.threads else []
        parts += [f"{self.fds}fd"] if self.fds else []
        parts += [self.collector] if self.collector != "g1" else []
        return " ".join([*parts, self.caller])

    @property
    def parent(self) -> LiveCase:
        """The case without its caller's state: cases with the same parent can be measured in one process."""
        return replace(self, caller="hot")


def check_case(case: LiveCase) -> None:
    """Refuse what cannot be run, before anything is started.

    Raises:
        BadInput: an unknown kind, mechanism or collector, a size out of bounds, or a target that cannot be executed.
    """
    if case.kind not in MECHANISMS:
        raise BadInput(f"live parent {case.kind!r}", "unknown", f"use one of {', '.join(MECHANISMS)}")
    if case.mechanism not in MECHANISMS[case.kind]:
        known = ", ".join(MECHANISMS[case.kind])
        raise BadInput(f"mechanism {case.mechanism!r}", f"a {case.kind} parent has no such one", f"use one of {known}")
    if case.collector not in COLLECTORS:
        raise BadInput(f"collector {case.collector!r}", "unknown", f"use one of {', '.join(COLLECTORS)}")
    if case.caller not in ("hot", "cold"):
        raise BadInput(f"caller {case.caller!r}", "unknown", "use hot or cold")
    if case.kind == "jvm" and case.heap_bytes < 64 * MIB_BYTES:
        raise BadInput(case.label, "its heap is too small for a JVM", "give it at least 64 MiB")
    bounds = {
        "heap": (case.heap_bytes, 1 << 40),
        "threads": (case.threads, _MOST_THREADS),
        "fds": (case.fds, _MOST_FDS),
    }
    for name, (value, most) in bounds.items():
        if not 0 <= value <= most:
            raise BadInput(case.label, f"{name} {value} is out of bounds", f"give 0 to {most}")
    if not (os.path.isfile(case.target) and os.access(case.target, os.X_OK)):  # noqa: PTH113
        raise BadInput(case.target, "it cannot be executed", "give the path of a program, such as /bin/true")


def jvm_matrix(
    heap_sizes_bytes: Sequence[int] = (512 * MIB_BYTES, 2 * GIB_BYTES),
    threads: Sequence[int] = (0, 200),
    thp: Sequence[bool] = (False, True),
    callers: Sequence[CallerState] = ("hot", "cold"),
    *,
    mechanisms: Sequence[str] = MECHANISMS["jvm"],
    target: str = "/bin/true",
    collector: str = "g1",
    runtime: str = "",
) -> tuple[LiveCase, ...]:
    """Every combination for a JVM; `threads` are those beside its own (about twenty)."""
    return tuple(
        replace(case, collector=collector, runtime=runtime)
        for case in _grid("jvm", mechanisms, heap_sizes_bytes, thp, threads, callers, target)
    )


def c_matrix(
    heap_sizes_bytes: Sequence[int] = (64 * MIB_BYTES, 512 * MIB_BYTES),
    threads: Sequence[int] = (0,),
    thp: Sequence[bool] = (False, True),
    callers: Sequence[CallerState] = ("hot", "cold"),
    *,
    mechanisms: Sequence[str] = MECHANISMS["c"],
    target: str = "/bin/true",
) -> tuple[LiveCase, ...]:
    """Every combination for a C program."""
    return tuple(_grid("c", mechanisms, heap_sizes_bytes, thp, threads, callers, target))


def cpython_matrix(
    heap_sizes_bytes: Sequence[int] = (64 * MIB_BYTES, 512 * MIB_BYTES),
    threads: Sequence[int] = (0,),
    thp: Sequence[bool] = (False,),
    callers: Sequence[CallerState] = ("hot", "cold"),
    *,
    mechanisms: Sequence[str] = MECHANISMS["cpython"],
    target: str = "/bin/true",
    runtime: str = "",
) -> tuple[LiveCase, ...]:
    """Every combination for a CPython interpreter."""
    cases = _grid("cpython", mechanisms, heap_sizes_bytes, thp, threads, callers, target)
    return tuple(replace(case, runtime=runtime) for case in cases)


def _grid(
    kind: Kind,
    mechanisms: Sequence[str],
    heap_sizes_bytes: Sequence[int],
    thp: Sequence[bool],
    threads: Sequence[int],
    callers: Sequence[CallerState],
    target: str,
) -> list[LiveCase]:
    return [
        LiveCase(
            kind=kind,
            mechanism=mechanism,
            heap_bytes=heap_bytes,
            thp=huge,
            threads=count,
            target=target,
            caller=caller,
        )
        for heap_bytes, huge, count, mechanism, caller in product(heap_sizes_bytes, thp, threads, mechanisms, callers)
    ]
