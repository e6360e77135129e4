"""Programs built for the purpose: hash styles, symbolic and versioned libraries, copy relocations, static kinds."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from calibration.capture import capture_elf
from tests.calibration.elf_support import EXIT_C, compile_c, counted, loader_statistics, quiet_environ

LIBRARY_A = """
#include <stdlib.h>
#include <time.h>
int shared_number = 7; int other_number = 8; __thread int own = 3;
int twice(int x) { return 2 * x + shared_number; }
int thrice(int x) { return x + twice(x) + own; }
void *table_a[] = { twice, thrice, &shared_number, &shared_number, malloc, free };
long now_a(void) { return time(0); }
__attribute__((constructor)) static void first(void) { other_number++; }
__attribute__((constructor)) static void second(void) { other_number++; }
"""
LIBRARY_B = """
extern int twice(int); extern int thrice(int); extern int shared_number; extern long now_a(void);
int old_thing(void) { return 1; } int new_thing(void) { return 2; }
__asm__(".symver old_thing,thing@V1"); __asm__(".symver new_thing,thing@@V2");
int twice_b(int x) { return twice(x) + shared_number; }
void *table_b[] = { twice_b, twice, thrice, &shared_number, now_a };
"""
MAIN = """
#include <stdio.h>
#include <sys/time.h>
extern int twice(int); extern int thrice(int); extern int twice_b(int); extern int thing(void);
extern int shared_number; extern int other_number;
int *here = &shared_number; int (*call)(int) = thrice;
int (*clock_here)(struct timeval *, void *) = (void *)gettimeofday;
static char big[20000] = { 65 };
int main(void) { return twice(1) + twice_b(2) + thing() + *here + call(3) + other_number + big[0] == 0 && clock_here; }
"""
VERSIONS = "V1 { global: *; }; V2 { global: thing; } V1;\n"


def _build(folder: Path, style: str, main_flags: list[str], library_flags: list[str]) -> Path:
    (folder / "versions").write_text(VERSIONS)
    shared = ["-shared", "-fPIC", f"-Wl,--hash-style={style}", *library_flags]
    compile_c(folder / "liba.so", LIBRARY_A, *shared, "-Wl,-soname,liba.so")
    compile_c(
        folder / "libb.so",
        LIBRARY_B,
        *shared,
        "-Wl,-soname,libb.so",
        f"-Wl,--version-script={folder / 'versions'}",
        str(folder / "liba.so"),
    )
    link = [f"-L{folder}", "-Wl,--no-as-needed", "-lb", "-la", f"-Wl,-rpath,{folder}", f"-Wl,--hash-style={style}"]
    return compile_c(folder / "program", MAIN, *main_flags, *link)


SHAPES = {
    "gnu-hash-pie": ("gnu", ["-fPIE", "-pie"], []),
    "sysv-hash-pie": ("sysv", ["-fPIE", "-pie"], []),
    "both-hashes": ("both", ["-fPIE", "-pie"], []),
    "copy-relocations": ("gnu", ["-fno-pie", "-no-pie"], []),
    "sysv-copy-relocations": ("sysv", ["-fno-pie", "-no-pie"], []),
    "symbolic": ("gnu", ["-fPIE", "-pie"], ["-Wl,-Bsymbolic"]),
    "bind-now-library": ("gnu", ["-fPIE", "-pie", "-Wl,-z,lazy"], ["-Wl,-z,now"]),
    "no-relro": ("gnu", ["-fPIE", "-pie", "-Wl,-z,norelro", "-Wl,-z,lazy"], ["-Wl,-z,norelro", "-Wl,-z,lazy"]),
    "old-layout": ("gnu", ["-fPIE", "-pie", "-Wl,-z,noseparate-code"], ["-Wl,-z,noseparate-code"]),
    "sparse-layout": ("gnu", ["-fPIE", "-pie"], ["-Wl,-z,max-page-size=0x200000", "-Wl,-z,noseparate-code"]),
}


@pytest.fixture(scope="module", params=sorted(SHAPES))
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dynamic program with two libraries of its own."""
    style, main_flags, library_flags = SHAPES[request.param]
    return _build(tmp_path_factory.mktemp(request.param), style, main_flags, library_flags)


@pytest.mark.parametrize("now", [False, True])
def test_counts_of_a_built_program_equal_the_loaders_own(program: Path, now: bool) -> None:
    environ = quiet_environ(LD_BIND_NOW="1") if now else quiet_environ()
    image = capture_elf(program, environ=environ)
    assert not image.glibc or counted(image) == loader_statistics(str(program), [], environ)


def test_scope_is_breadth_first(program: Path) -> None:
    image = capture_elf(program, environ=quiet_environ())
    assert [each.role for each in image.objects[:2]] == ["executable", "interpreter"]
    assert [each.name for each in image.libraries][:2] == ["libb.so", "liba.so"]
    assert image.libraries[1].constructors >= 2


def test_vmas_of_a_running_program_are_as_counted(program: Path) -> None:
    source = compile_c(
        program.parent / "pause",
        MAIN.replace("{ return", "{ puts(big); fflush(stdout); getchar(); return", 1),
        *_links(program),
    )
    image = capture_elf(source, environ=quiet_environ())
    with subprocess.Popen([source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=quiet_environ()) as running:
        assert running.stdout is not None
        assert running.stdout.read(1) == b"A", "the program does not reach main"
        lines = [line.split() for line in Path(f"/proc/{running.pid}/maps").read_text().splitlines()]
        running.communicate(b"\n")
    for each in image.objects:
        mapped = sum(len(line) > 5 and line[5] == os.path.realpath(each.path) for line in lines)
        assert (each.name, mapped) == (each.name, each.file_vmas_clean + each.file_vmas_dirtied)


def _links(program: Path) -> list[str]:
    folder = program.parent
    return [f"-L{folder}", "-Wl,--no-as-needed", "-lb", "-la", f"-Wl,-rpath,{folder}", "-Wl,-z,now"]


def test_an_executable_at_its_link_address_needs_no_relative_relocations(tmp_path: Path) -> None:
    fixed = capture_elf(_build(tmp_path, "gnu", ["-fno-pie", "-no-pie"], []), environ=quiet_environ())
    assert fixed.objects[0].relative_relocations == 0
    assert fixed.objects[0].copy_relocations >= 1


@pytest.mark.parametrize(
    ("flags", "kind"),
    [(["-static", "-no-pie"], "elf-static"), (["-static-pie", "-fPIE"], "elf-static-pie")],
)
def test_static_programs_have_no_loader_and_look_up_nothing(tmp_path: Path, flags: list[str], kind: str) -> None:
    image = capture_elf(compile_c(tmp_path / "still", EXIT_C, "-nostdlib", "-ffreestanding", *flags))
    assert image.kind == image.loaded_kind == kind
    assert image.symbol_lookups == image.symbol_cache_hits == 0
    assert image.libraries == ()
    assert image.loader is None
    assert image.executable


def test_relr_words_are_counted_like_the_relative_relocations_that_they_replace(tmp_path: Path) -> None:
    source = "int a, b;\nvoid *table[] = {" + "&a, &b, table, " * 500 + "0};\n" + EXIT_C
    flags = ["-nostdlib", "-ffreestanding", "-static-pie", "-fPIE"]
    plain = capture_elf(compile_c(tmp_path / "plain", source, *flags))
    try:
        packed_file = compile_c(tmp_path / "packed", source, *flags, "-Wl,-z,pack-relative-relocs")
    except subprocess.CalledProcessError:
        packed_file = tmp_path / "plain"  # a linker before 2.38 knows no DT_RELR
    packed = capture_elf(packed_file)
    assert plain.relative_relocations == 1500
    assert packed.relr_relocations + packed.relative_relocations == 1500
    assert abs(packed.dirtied_pages - plain.dirtied_pages) <= 1


def test_stripped_section_headers_change_nothing(tmp_path: Path) -> None:
    program = _build(tmp_path, "gnu", ["-fPIE", "-pie"], [])
    before = capture_elf(program, environ=quiet_environ())
    data = bytearray(program.read_bytes())
    shoff = int.from_bytes(data[40:48], "little")
    data[40:48] = bytes(8)
    data[60:64] = bytes(4)
    program.write_bytes(data[:shoff])
    after = capture_elf(program, environ=quiet_environ())
    assert counted(after) == counted(before)
    assert after.dirtied_pages == before.dirtied_pages
    assert after.objects[1:] == before.objects[1:]
