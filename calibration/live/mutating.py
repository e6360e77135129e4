"""A C parent or a JVM whose threads write while it forks children that live for a while: run, captured, counted."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from calibration.capture.procfs import capture_process
from calibration.errors import BadInput
from calibration.live.artefacts import c_program, find_java, java_classes
from model.process import Process

JAVA_MUTATORS = "MutateLoop"
JVM_ROOM_MIB = 64
"""Heap of the JVM beside the array that its threads write to."""
LIMIT_S = 120.0
"""A run that takes longer hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCase:
    """One parent with mutators.

    Attributes:
        pages: its memory, all of which its threads write to.
        threads, burst: mutator threads, and the writes that each does a millisecond.
        huge: whether the memory is mapped by pmds.
        locality: of the writes.
        life_ms, after_ms: how long the child lives, and how long the threads are watched beyond.
        jvm: whether the parent is a JVM whose threads write to a byte[], instead of a C program.
    """

    pages: int = 16_384
    threads: int = 2
    burst: int = 10
    huge: bool = False
    locality: Literal["uniform", "sequential"] = "uniform"
    life_ms: int = 0
    after_ms: int = 300
    jvm: bool = False

    @property
    def label(self) -> str:
        """A few words for a table."""
        life = f"child lives {self.life_ms} ms" if self.life_ms else "child exits"
        who = "JVM, " if self.jvm else ""
        return f"{who}{self.pages * 4 // 1024} MiB {'THP' if self.huge else '4K'}, {self.locality}, {life}"

    def words(self, rounds: int) -> list[str]:
        """The parent's options."""
        options = {
            "pages": self.pages,
            "threads": self.threads,
            "burst": self.burst,
            "thp": int(self.huge),
            "sequential": int(self.locality == "sequential"),
            "life_ms": self.life_ms,
            "after_ms": self.after_ms,
            "rounds": rounds,
        }
        return [f"{name}={value}" for name, value in options.items()]

    def command(self, rounds: int) -> list[str]:
        """The parent's command line. Raises BadInput: no compiler, no JDK."""
        if not self.jvm:
            return [str(c_program("mutate_loop")), *self.words(rounds)]
        java, heap = find_java(""), f"{self.pages * 4 // 1024 + JVM_ROOM_MIB}m"
        library = c_program("mutate_fork", "-shared", "-fPIC")
        pages = f"-XX:{'+' if self.huge else '-'}UseTransparentHugePages"
        how = ["-XX:+UseSerialGC", "-XX:+AlwaysPreTouch", "-XX:-UsePerfData", f"-Xms{heap}", f"-Xmx{heap}", pages]
        where = ["-cp", str(java_classes(java, JAVA_MUTATORS)), JAVA_MUTATORS, str(library)]
        return [str(java), *how, *where, *self.words(rounds)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRound:
    """One fork as the parent saw it; times in ns from its call.

    Attributes:
        rate: writes a second of all threads, before the fork; idle_write_ns: what one takes then.
        call_ns, gone_ns, end_ns: fork returned; child reaped; threads looked at for the last time.
        gone_faults, end_faults: minor faults of the threads until then; child_faults: of the child.
        end_writes, end_waited_ns: writes until the end, and the time that they took.
        longest_ns: the longest write.
        read_ns, grown_pages: when memory was read, and by how much it had grown; negative: it was not.
    """

    rate: float
    idle_write_ns: float
    call_ns: float
    gone_ns: float
    end_ns: float
    gone_faults: float
    end_faults: float
    child_faults: float
    end_writes: float
    end_waited_ns: float
    longest_ns: float
    read_ns: float
    grown_pages: float

    @property
    def lost_ns(self) -> float:
        """What the writes that faulted took, and how much longer the others than before the fork, all threads together.

        The price of a fault holds its write.
        """
        return self.end_waited_ns - (self.end_writes - self.end_faults) * self.idle_write_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRun:
    """A case, the parent as it was captured, and its rounds."""

    case: LoadCase
    parent: Process
    rounds: tuple[LoadRound, ...]


def load_matrix() -> list[LoadCase]:
    """Children that exit at once and that live a second, small and huge pages, strewn and sequential writes; a JVM."""
    c = [
        LoadCase(life_ms=life, huge=huge, locality=locality)
        for life in (0, 1000)
        for huge in (False, True)
        for locality in ("uniform", "sequential")
    ]
    return c + [LoadCase(life_ms=life, huge=huge, jvm=True) for life in (0, 1000) for huge in (False, True)]


def run_load_case(case: LoadCase, *, rounds: int = 3) -> LoadRun:
    """Start the parent, capture it before its first fork, let it fork `rounds` times (a JVM on huge pages: once).

    Raises:
        BadInput: no compiler, no huge pages where they were asked for, or a parent that fails.
    """
    if case.jvm and case.huge:
        rounds = 1  # its memory cannot be renewed, and a split page stays split
    limit_s = LIMIT_S + rounds * (case.life_ms + case.after_ms) / 1e3
    parent, rows = captured_run(case.label, case.command(rounds), rounds=rounds, limit_s=limit_s)
    if case.huge and parent.space.total("huge_pmds") * 512 < 0.8 * case.pages:
        raise BadInput(case.label, "its memory is not mapped by huge pages", "allow them (madvise), or make room")
    return LoadRun(case=case, parent=parent, rounds=tuple(_round(row) for row in rows))


def captured_run(
    label: str, command: Sequence[str], *, rounds: int, limit_s: float = LIMIT_S
) -> tuple[Process, list[dict[str, Any]]]:
    """Start a parent that says when it is ready, capture it, let it go, and give its capture and a row a round.

    Raises:
        BadInput: it fails, or takes longer than `limit_s`.
    """
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True)
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise _failed(label, stderr)
            parent = capture_process(process.pid)
            found, _ = process.communicate("go\n", timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise BadInput(label, "the parent takes too long", "try again on a quiet machine") from error
        finally:
            process.kill()
            process.wait()
        rows = [json.loads(line) for line in found.splitlines()]
        if process.returncode or len(rows) != rounds:
            raise _failed(label, stderr)
    return parent, rows


def _round(row: dict[str, Any]) -> LoadRound:
    return LoadRound(**{name: float(row[name]) for name in LoadRound.__slots__})


def _failed(label: str, stderr: Any) -> BadInput:
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").strip().splitlines() or ["it ended without a word"]
    return BadInput(label, f"the parent failed: {lines[0]}", "see whether it runs by itself")
