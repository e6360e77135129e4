"""The loader's system calls and mappings, counted from the files alone, are those that strace sees."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from calibration.capture import capture_elf
from calibration.errors import BadInput
from calibration.live.programs import find_programs, stopped_copy
from model.userland.ldso import file_mappings, loader_system_calls
from tests.calibration.elf_support import compile_c, quiet_environ

NAMES = "true ls bash git perl curl wget ssh gdb python3 cmake vim ffmpeg apt perf node".split()
ENOUGH = 10
KNOWN_GLIBC = "2.36"
"""Other versions make other calls (the order and number of those for threads and headers)."""
HEAP = re.compile(r"mmap\([^)]*PROT_READ\|PROT_WRITE, MAP_PRIVATE\|MAP_ANONYMOUS, -1, 0\)")
"""ld.so's own malloc and the TLS block: left out of the counts."""


def _traced(path: str, log: Path, environ: Mapping[str, str]) -> dict[str, int]:
    """Calls by name up to the last one before constructors: the munmap of the cache that follows prlimit64."""
    words = ["strace", "-o", str(log), path]
    done = subprocess.run(words, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False)
    calls: Counter[str] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        name = line.partition("(")[0]
        if name in ("execve", "exit_group") or not name.isidentifier() or HEAP.match(line):
            continue
        calls[name] += 1
        if name == "munmap" and calls["prlimit64"]:
            break
    if not calls:
        pytest.skip(f"strace cannot trace here: {done.stderr.decode(errors='replace').strip()}")
    return dict(calls)


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@needs_strace
@pytest.mark.parametrize("name", NAMES)
def test_calls_equal_what_strace_sees(name: str, tmp_path: Path) -> None:
    programs = find_programs()
    if name not in programs.found:
        pytest.skip(f"{name} {programs.passed_over[name]}")
    try:
        copy = str(stopped_copy(programs.found[name], tmp_path))
    except BadInput as error:
        pytest.skip(str(error))
    image = capture_elf(copy, environ=quiet_environ())
    if image.glibc != KNOWN_GLIBC:
        pytest.skip(f"glibc {image.glibc}: the calls are those of {KNOWN_GLIBC}")
    assert loader_system_calls(image) == _traced(copy, tmp_path / "log", quiet_environ())


@needs_strace
def test_enough_programs_were_traced() -> None:
    found = [name for name in NAMES if name in find_programs().found]
    if len(found) < ENOUGH:
        pytest.skip(f"only {found} are installed")
    images = [capture_elf(find_programs().found[name], environ=quiet_environ()) for name in found]
    assert sum(len(each.libraries) for each in images) > len(images)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """program -> libbranch.so -> libleaf.so, found through RPATH with $ORIGIN."""
    folder = tmp_path_factory.mktemp("tree")
    compile_c(folder / "libleaf.so", "int leaf(void) { return 0; }\n", "-shared", "-fPIC")
    source = "extern int leaf(void); char big[9000]; int branch(void) { return leaf(); }\n"
    options = ("-Wl,-rpath-link,.", "-Wl,-soname,libbranch.so", "-Wl,--no-as-needed")
    compile_c(folder / "libbranch.so", source, "-shared", "-fPIC", *options, f"-L{folder}", "-l:libleaf.so")
    main = "extern int branch(void); int main(void) { return branch(); }\n"
    rpath = ("-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN", "-Wl,--allow-shlib-undefined")
    return compile_c(folder / "program", main, f"-L{folder}", "-l:libbranch.so", *rpath, f"-Wl,-rpath-link,{folder}")


@needs_strace
@pytest.mark.parametrize("library_path", [None, "/nowhere:/usr", "/nowhere:/nowhere/either:."])
@pytest.mark.parametrize("preload", [None, "missing.so"])
def test_failed_opens_and_stats_of_the_search_are_seen_too(
    program: Path, tmp_path: Path, library_path: str | None, preload: str | None
) -> None:
    given = {"LD_LIBRARY_PATH": library_path, "LD_PRELOAD": preload}
    environ = quiet_environ(**{name: value for name, value in given.items() if value})
    image = capture_elf(program, environ=environ)
    if image.glibc != KNOWN_GLIBC:
        pytest.skip(f"glibc {image.glibc}: the calls are those of {KNOWN_GLIBC}")
    # strace itself is not to seek its libraries there
    sets = [f"-E{name}={value}" for name, value in given.items() if value]
    log = tmp_path / "log"
    words = ["strace", "-o", str(log), *sets, str(program)]
    subprocess.run(words, env=quiet_environ(), stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False)
    lines = log.read_text(errors="replace").splitlines()
    upto = next(index for index, line in enumerate(lines) if line.startswith("prlimit64"))
    opens = [line for line in lines[:upto] if line.startswith("openat(")]
    stats = [line for line in lines[:upto] if line.startswith("newfstatat(")]
    calls = loader_system_calls(image)
    assert calls["openat"] == len(opens)
    assert calls["newfstatat"] == len(stats)
    assert calls["readlink"] == sum(line.startswith("readlink(") for line in lines[:upto])
    assert sum(each.failed_opens for each in image.objects) == sum("ENOENT" in line for line in opens)


def test_mappings_follow_the_segments(program: Path) -> None:
    image = capture_elf(program, environ=quiet_environ())
    by_name = {each.name: each for each in image.libraries}
    branch, leaf = by_name["libbranch.so"], by_name["libleaf.so"]
    assert file_mappings(branch) == branch.load_segments + 1, "its bss is longer than the page of its data"
    assert file_mappings(leaf) == leaf.load_segments
    assert image.origin_reads == 1


def test_a_static_program_has_no_loader_to_call(tmp_path: Path) -> None:
    still = compile_c(tmp_path / "still", "void _start(void) { for (;;); }\n", "-nostdlib", "-static", "-no-pie")
    assert loader_system_calls(capture_elf(still, environ=quiet_environ())) == {}
