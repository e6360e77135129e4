"""Compiles the microbenchmarks with the user's C compiler, once: the results are kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from calibration.capture.image_cache import cache_dir
from calibration.errors import BadInput

#: -z now: no symbol is looked up inside a timed interval.
BENCH_FLAGS = ("-O2", "-std=gnu11", "-pthread", "-Wl,-z,now")
BENCH_DIR = Path(__file__).parent / "bench"
SPAWN_HEADERS = ('"spawn.h"', '"exec.h"')


class BuildError(Exception):
    """This machine's compiler cannot make one particular program (say, there is no static libc); others may work."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """The C compiler in use: the command's words and the first line of its --version."""

    command: tuple[str, ...]
    version: str


def find_compiler() -> Compiler:
    """The compiler that $CC names, else cc, gcc or clang.

    Raises:
        BadInput: there is none, or it does not run.
    """
    named = os.environ.get("CC", "").strip()
    for candidate in [named] if named else ["cc", "gcc", "clang"]:
        words = shlex.split(candidate)
        found = shutil.which(words[0])
        if found is None:
            continue
        command = (found, *words[1:])
        try:
            done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise BadInput(candidate, f"the C compiler does not run: {error}", "install gcc or set CC") from error
        return Compiler(command, (done.stdout.splitlines() or ["unknown"])[0])
    raise BadInput(named or "cc", "no C compiler found", "install gcc or set CC")


def bench_names() -> tuple[str, ...]:
    """All benches that there are, by name."""
    return tuple(sorted(path.stem for path in BENCH_DIR.glob("*.c")))


def is_spawn_bench(name: str) -> bool:
    """Whether the bench times a spawn (then its process is a parent worth capturing) or a piece of work."""
    text = bench_source(name).read_text()
    return any(f"#include {header}" in text for header in SPAWN_HEADERS)


def bench_source(name: str) -> Path:
    """The bench's source.

    Raises:
        BadInput: there is no bench of this name.
    """
    path = BENCH_DIR / f"{name}.c"
    if not path.is_file():
        raise BadInput(name, "no such bench", "one of: " + " ".join(bench_names()))
    return path


class Builder:
    """Builds programs into a cache folder; the same source, compiler and flags are built once.

    Args:
        compiler: by default the one that `find_compiler` finds, looked for when first needed.
        cache: by default `cache_dir()`.
    """

    def __init__(self, compiler: Compiler | None = None, cache: Path | None = None) -> None:
        self._compiler = compiler
        self.cache = cache if cache is not None else cache_dir()

    @property
    def compiler(self) -> Compiler:
        """The compiler in use. Raises BadInput if there is none."""
        if self._compiler is None:
            self._compiler = find_compiler()
        return self._compiler

    def key(self, *texts: str) -> str:
        """The cache key of a build: all of its input, the compiler and the kind of machine."""
        digest = hashlib.sha256()
        for text in (*texts, *self.compiler.command, self.compiler.version, platform.machine(), str(self.cache)):
            digest.update(text.encode())
            digest.update(b"\0")
        return digest.hexdigest()[:16]

    def make_folder(self, name: str) -> Path:
        """A folder of the cache.

        Raises:
            BadInput: it cannot be made.
        """
        folder = self.cache / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            remedy = "set XDG_CACHE_HOME to a folder that can be written"
            raise BadInput(str(folder), error.strerror or str(error), remedy) from error
        return folder

    def compile(self, arguments: Sequence[str]) -> None:
        """Runs the compiler.

        Raises:
            BuildError: it reports an error, of which the first line is given.
        """
        try:
            done = subprocess.run(
                [*self.compiler.command, *arguments], capture_output=True, text=True, timeout=120, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise BuildError(str(error)) from error
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
            raise BuildError(lines[0] if lines else f"the compiler exits with {done.returncode}")

    def bench(self, name: str) -> Path:
        """The executable of a bench, built if need be.

        Raises:
            BadInput: no such bench, no compiler, or a compiler that cannot build it.
        """
        headers = sorted(BENCH_DIR.glob("*.h"))
        return self.program(bench_source(name), headers, BENCH_FLAGS, folder="bench", what=f"bench {name}")

    def program(
        self, source: Path, headers: Sequence[Path], flags: Sequence[str], *, folder: str, what: str = ""
    ) -> Path:
        """The executable of one C file, built into a folder of the cache if it is not there; `what` it is for messages.

        Raises:
            BadInput: no compiler, or one that cannot build it.
        """
        key = self.key(source.read_text(), *(path.read_text() for path in headers), *flags)
        target = self.make_folder(folder) / f"{source.stem}-{key}"
        if target.exists():
            return target
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / source.stem
            try:
                self.compile([*flags, "-o", str(made), str(source)])
            except BuildError as error:
                why = f"{what or source.name} does not compile: {error}"
                raise BadInput(self.compiler.command[0], why, "install gcc and libc's headers, or set CC") from error
            made.replace(target)
        return target

    def benches(self, names: Iterable[str]) -> dict[str, Path]:
        """The executables of several benches, compiled side by side. Raises as `bench` does."""
        wanted = sorted(set(names))
        self.compiler  # noqa: B018  # looked for once, before the threads ask for it
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            return dict(zip(wanted, pool.map(self.bench, wanted), strict=True))
