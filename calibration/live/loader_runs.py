"""How long ld.so says that it took: LD_DEBUG=statistics of real programs that end at their entry.

glibc prints its cycle figures without their last digit (sysdeps/generic/hp-timing-common.h:HP_TIMING_PRINT overwrites
it), so each is ten times what stands there, within nine cycles.
"""

from __future__ import annotations

import math
import os
import random
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.live.artefacts import tsc_rate_program
from calibration.live.programs import loader_environ
from calibration.quantiles import quantile

LOST_DIGIT = 10
_FIGURES = {
    "total": re.compile(rb"total startup time in dynamic loader: (\d+)"),
    "relocation": re.compile(rb"time needed for relocation: (\d+)"),
    "load": re.compile(rb"time needed to load objects: (\d+)"),
}
PHASES = tuple(_FIGURES)
WARM = 1
"""Runs of the same program right before each one that counts, as of a hot caller and of the fitted rows.

After other programs, relocation of one that looks up 5,000 symbols took up to 2.7 times as long.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderRuns:
    """Times that ld.so printed for one program.

    Attributes:
        path: the program; bind_now: whether LD_BIND_NOW was set.
        samples_ns: by phase (`total`, and of it `relocation` and `load`), a value an undisturbed run.
        disturbed: runs left out because another task took the CPU from the program (an involuntary switch): ld.so times
            itself by the clock, not by its own CPU time.
    """

    path: str
    bind_now: bool
    samples_ns: Mapping[str, tuple[float, ...]]
    disturbed: int = 0

    def p50_ns(self, phase: str) -> float:
        """Median of a phase; NaN without a run."""
        return quantile(self.samples_ns[phase], 0.5)

    def floor(self, phase: str) -> float:
        """|ln| of the medians of odd and even runs: what two halves of the same measurement differ by."""
        samples = self.samples_ns[phase]
        odd, even = quantile(samples[1::2], 0.5), quantile(samples[::2], 0.5)
        return abs(math.log(odd / even)) if odd > 0 and even > 0 else math.nan


def ticks_per_second() -> float:
    """Rate of the time stamp counter, measured for 50 ms.

    Raises:
        BadInput: no C compiler.
    """
    done = subprocess.run([str(tsc_rate_program())], capture_output=True, text=True, check=True, timeout=30)
    return float(done.stdout)


def run_loaders(
    programs: Sequence[tuple[str, bool]],
    *,
    runs: int,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[LoaderRuns]:
    """Start each program `runs` times, all in random order, and read what its ld.so prints; two warm-ups each.

    Args:
        programs: path and whether all is bound at once.
    """
    rate_hz = ticks_per_second()
    taken: list[list[tuple[dict[str, int] | None, int]]] = [[] for _ in programs]
    dice = random.Random(seed)
    with tempfile.TemporaryFile() as output:
        for turn in range(-2, runs):
            for index in dice.sample(range(len(programs)), len(programs)):
                path, bind_now = programs[index]
                for _ in range(WARM):
                    _statistics(path, bind_now, output.fileno())
                run = _statistics(path, bind_now, output.fileno())
                if turn >= 0:
                    taken[index].append(run)
            if progress is not None:
                progress(f"loader: turn {max(turn, 0) + 1} of {runs}")
    return [_runs_of(*each, 1e9 * LOST_DIGIT / rate_hz) for each in zip(programs, taken, strict=True)]


def _runs_of(program: tuple[str, bool], taken: Sequence[tuple[dict[str, int] | None, int]], ns: float) -> LoaderRuns:
    """A program's runs without the disturbed ones; `ns` of a printed unit.

    Where it starts on its parent's CPU the parent takes that back once, at the release of the vfork, before ld.so runs:
    one switch is then in every run.
    """
    usual = min(1, min((switches for _, switches in taken), default=0))
    kept = [cycles for cycles, switches in taken if switches <= usual and cycles is not None]
    return LoaderRuns(
        path=program[0],
        bind_now=program[1],
        samples_ns={phase: tuple(cycles[phase] * ns for cycles in kept) for phase in PHASES},
        disturbed=sum(switches > usual for _, switches in taken),
    )


def _statistics(path: str, bind_now: bool, output: int) -> tuple[dict[str, int] | None, int]:
    """Figures as printed by one run, None if it printed none; and its involuntary context switches."""
    more = {"LD_BIND_NOW": "1"} if bind_now else {}
    environ = loader_environ(LD_DEBUG="statistics", **more)
    os.ftruncate(output, 0)
    os.lseek(output, 0, os.SEEK_SET)
    child = os.posix_spawn(path, [Path(path).name], environ, file_actions=[(os.POSIX_SPAWN_DUP2, output, 2)])
    _, _, usage = os.wait4(child, 0)
    text = os.pread(output, 1 << 16, 0)
    figures = {phase: pattern.search(text) for phase, pattern in _FIGURES.items()}
    printed = {phase: int(match.group(1)) for phase, match in figures.items() if match}
    return (printed if len(printed) == len(PHASES) else None), usage.ru_nivcsw
