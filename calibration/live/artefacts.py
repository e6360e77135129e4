"""The C parent and the Java class of the live runs: compiled at run time with the user's tools, cached by content."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from calibration.build import BENCH_DIR, BENCH_FLAGS, Builder, BuildError
from calibration.capture.image_cache import cache_dir
from calibration.errors import BadInput

_HERE = Path(__file__).parent
_JAVAC_TIMEOUT_S = 120.0
JAVA_CLASS = "SpawnLoop"


def python_script() -> Path:
    """The CPython parent, run as a script."""
    return _HERE / "spawn_loop.py"


def c_parent() -> Path:
    """The compiled C parent. Raises as `c_program` does."""
    return c_program("spawn_loop")


def c_program(name: str, *more: str) -> Path:
    """A compiled C program of this folder, or with the flags `more` a library.

    Raises:
        BadInput: no C compiler, one that refuses the source, or a cache that cannot be written.
    """
    builder = Builder()
    source = _HERE / f"{name}.c"
    headers = [path.read_text() for path in sorted(BENCH_DIR.glob("*.h"))]
    # -iquote, not -I: the benches have a spawn.h of their own, which must not hide the system's <spawn.h>.
    flags = (*BENCH_FLAGS, "-iquote", str(BENCH_DIR), *more)
    key = builder.key(source.read_text(), *headers, *flags)

    def make(folder: Path) -> None:
        try:
            builder.compile([*flags, "-o", str(folder / name), str(source)])
        except BuildError as error:
            why = f"the live parent does not compile: {error}"
            raise BadInput(builder.compiler.command[0], why, "install gcc and libc's headers, or set CC") from error

    return _cached(f"c-{key}", make) / name


def tsc_rate_program() -> Path:
    """The compiled program that prints the rate of the time stamp counter.

    Raises:
        BadInput: no C compiler, one that refuses the source (no x86-64), or a cache that cannot be written.
    """
    builder = Builder()
    source = _HERE / "tsc_rate.c"

    def make(folder: Path) -> None:
        try:
            builder.compile(["-O2", "-o", str(folder / "tsc_rate"), str(source)])
        except BuildError as error:
            why = f"the time stamp counter cannot be read: {error}"
            raise BadInput(builder.compiler.command[0], why, "validate on x86-64, with gcc") from error

    return _cached(f"tsc-{builder.key(source.read_text())}", make) / "tsc_rate"


def find_java(runtime: str) -> Path:
    """The java launcher: `runtime` if given, else the one on PATH, links followed.

    Raises:
        BadInput: there is none.
    """
    found = shutil.which(runtime or "java")
    if found is None:
        remedy = "install a JDK, such as openjdk-17-jdk-headless, or leave out the JVM cases"
        raise BadInput(runtime or "java", "no Java launcher was found", remedy)
    return Path(found).resolve()


def java_classes(java: Path, name: str = JAVA_CLASS) -> Path:
    """The directory with a compiled class of this folder, by the javac beside `java`, else by the one on PATH.

    Raises:
        BadInput: no javac, one that refuses the source, or a cache that cannot be written.
    """
    beside = java.parent / "javac"
    found = str(beside) if beside.is_file() else shutil.which("javac")
    if found is None:
        remedy = "install a JDK, not only a JRE, or leave out the JVM cases"
        raise BadInput(str(java), "there is a Java launcher but no javac", remedy)
    javac = Path(found).resolve()
    source = _HERE / f"{name}.java"
    identity = javac.stat()
    digest = hashlib.sha256(source.read_bytes())
    # Asking javac for its version would start a JVM at each run.
    digest.update(repr((str(javac), identity.st_size, identity.st_mtime_ns)).encode())
    return _cached(f"java-{digest.hexdigest()[:16]}", lambda folder: _run_javac(javac, source, folder))


def _run_javac(javac: Path, source: Path, folder: Path) -> None:
    command = [str(javac), "-d", str(folder), str(source)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_JAVAC_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BadInput(str(javac), f"it does not run: {error}", "install a working JDK") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"it ends with status {done.returncode}"]
        raise BadInput(str(javac), lines[0], "install another JDK, 11 or later")


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """The cache folder `name`, filled by `make` under another name and then renamed: it is whole or not there."""
    final = cache_dir() / "live" / name
    if final.is_dir():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=final.parent) as scratch:
            made = Path(scratch) / name
            made.mkdir()
            make(made)
            try:
                made.rename(final)
            except OSError:
                if not final.is_dir():  # else another run was faster, with the same result
                    raise
    except OSError as error:
        remedy = "make room there, or set XDG_CACHE_HOME to a folder that can be written"
        raise BadInput(str(final.parent), error.strerror or str(error), remedy) from error
    return final
