"""The small programs behind the measurements: C sources in `programs/`, built once, and an audit of setuid files."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.build import Builder
from calibration.errors import BadInput

SOURCES = Path(__file__).parent / "programs"
FLAGS = ("-O2", "-std=gnu11", "-pthread")
AUDIT, LOADERS = "setuid_audit", "loader_of_many_libraries"
PLACES = ("/usr/bin", "/usr/sbin", "/usr/libexec", "/usr/lib", "/usr/local")
TIMEOUT_S = 120
_LOADER_RUNS, _MANY = 15, 50
_STATISTICS = {
    "loader_us": re.compile(r"total startup time in dynamic loader: (\d+)"),
    "relocation_us": re.compile(r"time needed for relocation: (\d+)"),
}
"""What LD_DEBUG=statistics prints, in cycles without their last digit (calibration.live.loader_runs)."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a program printed: the values of each figure, and why others could not be measured."""

    figures: dict[str, list[float]]
    unavailable: dict[str, str]


def run_program(name: str, arguments: Sequence[str], builder: Builder) -> Output:
    """One run of a program.

    Raises:
        BadInput: it cannot be built, or it fails.
    """
    if name == AUDIT:
        return Output({key: [value] for key, value in audit(PLACES).items()}, {})
    if name == LOADERS:
        return _loaders()
    path = builder.program(SOURCES / f"{name}.c", [SOURCES / "figures.h"], FLAGS, folder="claims")
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [str(path), *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, env=environment, cwd="/"
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BadInput(name, str(error), "see whether this system lets it run") from error
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"it ends with {done.returncode}"])[-1]
        raise BadInput(name, why, "see whether this system lets it run")
    return _parsed(done.stdout)


def _parsed(text: str) -> Output:
    figures: dict[str, list[float]] = {}
    unavailable: dict[str, str] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        if name == "unavailable":
            figure, _, why = rest.partition(" ")
            unavailable[figure] = why
        else:
            figures.setdefault(name, []).append(float(rest))
    return Output(figures, unavailable)


def audit(places: Sequence[str]) -> dict[str, float]:
    """Exercise 4: how many setuid files there are, are dynamic, have a run path, have one that anybody can write."""
    from elftools.common.exceptions import ELFError

    found = dict.fromkeys(("setuid_files", "setuid_dynamic", "setuid_with_run_path", "setuid_writable_run_path"), 0.0)
    for path in _setuid_files(places):
        found["setuid_files"] += 1
        try:
            dynamic, folders = _run_path(path)
        except (OSError, ELFError):
            continue
        found["setuid_dynamic"] += dynamic
        found["setuid_with_run_path"] += bool(folders)
        found["setuid_writable_run_path"] += any(_others_write(folder, path) for folder in folders)
    return found


def _setuid_files(places: Sequence[str]) -> Iterator[Path]:
    for place in places:
        for folder, _, names in os.walk(place):
            for path in (Path(folder, name) for name in names):
                try:
                    mode = path.lstat().st_mode
                except OSError:
                    continue
                if stat.S_ISREG(mode) and mode & stat.S_ISUID:
                    yield path


def _run_path(path: Path) -> tuple[bool, list[str]]:
    """Whether a file has a dynamic section, and the folders of its RPATH and RUNPATH."""
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as stream:
        segments = [each for each in ELFFile(stream).iter_segments() if isinstance(each, DynamicSegment)]
        tags = [tag for each in segments for tag in each.iter_tags()]
        texts = [getattr(tag, "rpath", "") or getattr(tag, "runpath", "") for tag in tags]
    return bool(segments), [folder for text in texts for folder in text.split(":") if folder]


def _others_write(folder: str, program: Path) -> bool:
    """Whether anybody may write where the loader would look; $ORIGIN of a setuid program is its own folder."""
    path = Path(folder.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", str(program.parent)))
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH)


def _loaders() -> Output:
    """ld.so's own time for the installed program whose libraries come nearest to fifty, and of it for relocation.

    Runs that another task disturbed are kept: the median passes over a few, and a busy machine has hardly any others.
    """
    from calibration.capture.elf import capture_elf
    from calibration.live.loader_runs import LOST_DIGIT, ticks_per_second
    from calibration.live.programs import find_programs, loader_environ, stopped_copy

    images = [capture_elf(path) for path in find_programs().found.values()]
    nearest = min(images, key=lambda image: abs(len(image.libraries) - _MANY))
    us_per_printed = LOST_DIGIT / ticks_per_second() * 1e6
    figures: dict[str, list[float]] = {"libraries": [float(len(nearest.libraries))]}
    with tempfile.TemporaryDirectory() as scratch:
        command = [str(stopped_copy(nearest.path, Path(scratch)))]
        environment = loader_environ(LD_DEBUG="statistics")
        for _ in range(_LOADER_RUNS):
            text = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=True).stderr
            for name, pattern in _STATISTICS.items():
                found = pattern.search(text)
                if found is not None:
                    figures.setdefault(name, []).append(int(found[1]) * us_per_printed)
    return Output(figures, {} if "loader_us" in figures else {"loader_us": "its ld.so prints no statistics"})
