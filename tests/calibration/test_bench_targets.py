"""Targets hold what their specification says; building is cached; what cannot be done is refused by name."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from calibration.build import BENCH_DIR, Builder, BuildError, Compiler, bench_names, find_compiler, is_spawn_bench
from calibration.capture import capture_elf
from calibration.errors import BadInput
from calibration.run_bench import BenchUnavailableError, bench_environment, run_bench
from calibration.targets import KINDS, TargetSpec, build_target, library_source, target_of
from model.elf_image import ElfObject
from tests.calibration.elf_support import counted, loader_statistics, quiet_environ

LIBRARIES = TargetSpec(kind="libs", libs=3, exports=7, relative=40, rel_spread=4, lookups=11)
R_RELATIVE, R_64 = 8, 1


def relocations(path: Path, kind: int) -> list[int]:
    with path.open("rb") as file:
        sections = [section for section in ELFFile(file).iter_sections() if isinstance(section, RelocationSection)]
        every = [relocation for section in sections for relocation in section.iter_relocations()]
        return [one["r_offset"] for one in every if one["r_info_type"] == kind]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="relocation numbers of x86-64")
def test_libraries_hold_the_relocations_asked_for(builder: Builder) -> None:
    folder = build_target(LIBRARIES, builder).parent
    libraries = sorted(folder.glob("*.so"))
    assert len(libraries) == 3
    for library in libraries:
        relative = relocations(library, R_RELATIVE)
        assert len(relative) == 40
        assert len({offset >> 12 for offset in relative}) == 4
        assert len(relocations(library, R_64)) == 11


def test_look_ups_end_in_the_last_library(builder: Builder) -> None:
    folder = build_target(LIBRARIES, builder).parent
    for index in range(3):
        with (folder / f"lib{index:03d}.so").open("rb") as file:
            section = ELFFile(file).get_section_by_name(".dynsym")
            assert isinstance(section, SymbolTableSection)
            defined = {symbol.name for symbol in section.iter_symbols() if symbol["st_shndx"] != "SHN_UNDEF"}
        assert len({name for name in defined if name.startswith("export_")}) == 7
        assert len({name for name in defined if name.startswith("target_")}) == (11 if index == 2 else 0)


REALISTIC = TargetSpec(kind="libs", libs=3, exports=5, lookups=10, repeats=4, name_bytes=50, bss_pages=3, by_name=1)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the loader of x86-64")
def test_realistic_libraries_are_counted_as_asked(builder: Builder) -> None:
    plain = build_target(TargetSpec(kind="libs", libs=3, exports=5, lookups=10), builder)
    path = build_target(REALISTIC, builder)
    before, after = (capture_elf(each, environ=bench_environment()) for each in (plain, path))
    made = [each for each in after.libraries if each.name.startswith("lib0")]
    assert [each.name for each in made] == ["lib000.so", "lib001.so", "lib002.so"]
    assert all("/" in each.name for each in before.libraries if each.path.endswith("lib000.so"))
    for each in made:
        assert (each.symbol_lookups, each.symbol_cache_hits) == (10, 40)
        assert each.lookup_name_bytes == 10 * 50
        assert (each.anon_vmas, each.bss_pages) == (1, 3)
    assert after.origin_reads == 1
    assert sum(each.failed_opens for each in made) > 0
    assert not sum(
        each.failed_opens + each.anon_vmas for each in before.libraries if each.path.startswith(str(plain.parent))
    )
    done = subprocess.run([path], env=bench_environment(), capture_output=True, check=False)
    assert b"error while loading" not in done.stderr


def test_distinct_references_are_each_looked_up_once_and_found(builder: Builder) -> None:
    spec = TargetSpec(kind="libs", libs=3, lookups=20, distinct=1)
    sources = [library_source(spec, index) for index in range(3)]
    referred = [{line.split()[1] for line in each.splitlines() if ".quad target" in line} for each in sources]
    assert [len(each) for each in referred] == [20, 20, 20]
    assert len(set.union(*referred)) == 60
    image = capture_elf(build_target(spec, builder), environ=bench_environment())
    assert sum(each.symbol_lookups for each in image.libraries if "lib00" in each.name) == 60


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the loader of x86-64")
def test_versions_and_segments_are_there_as_asked(builder: Builder) -> None:
    plain = TargetSpec(kind="libs", libs=3, exports=1, lookups=20)
    richer = replace(plain, rodata=1, versioned=1)
    paths = [build_target(each, builder) for each in (plain, richer)]
    before, after = (_made(path) for path in paths)
    assert [each.load_segments for each in before] == [3, 3, 3], "an empty PT_LOAD of read-only data is not mapped"
    assert [each.load_segments for each in after] == [4, 4, 4]
    assert [each.version_compares for each in before] == [0, 0, 0]
    assert [each.version_compares for each in after[:-1]] == [20, 20]
    assert [each.symbol_lookups for each in after] == [each.symbol_lookups for each in before]
    for path in paths:
        image = capture_elf(path, environ=quiet_environ())
        assert counted(image) == loader_statistics(str(path), [], quiet_environ())


def _made(path: Path) -> list[ElfObject]:
    image = capture_elf(path, environ=bench_environment())
    return [each for each in image.libraries if each.path.startswith(str(path.parent))]


def test_mixed_look_ups_are_as_irregular_as_asked(builder: Builder) -> None:
    """Each reference ends elsewhere than the one before or has a name of another length; unmixed ones do not."""
    regular = replace(LIBRARIES, libs=6, lookups=80, distinct=1, name_bytes=32)
    turns, own = [], replace(regular, lookups=0)
    for spec in (own, regular, replace(regular, mixed=1)):
        image = capture_elf(str(build_target(spec, builder)), environ=quiet_environ())
        turns.append(sum(each.lookup_turns for each in image.libraries))
        assert all(each.lookup_turns <= max(0, each.symbol_lookups - 1) for each in image.objects)
        assert all(each.vain_probes <= each.lookup_probes - each.bloom_rejections for each in image.objects)
    assert turns[1] - turns[0] <= 6
    assert turns[2] - turns[0] > 0.8 * 6 * 80


def test_names_of_any_length_stay_apart() -> None:
    for length in (0, 8, 50):
        source = library_source(TargetSpec(kind="libs", libs=1, exports=120, lookups=120, name_bytes=length), 0)
        defined = [line.split()[1] for line in source.splitlines() if ".globl" in line]
        assert len(set(defined)) == 240
        assert min(map(len, defined)) >= length


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_targets_start_stamp_and_end(builder: Builder, kind: str) -> None:
    try:
        path = build_target(LIBRARIES if kind == "libs" else TargetSpec(kind=kind), builder)
    except BuildError as error:
        pytest.skip(str(error))
    for mech in ("vfork", "fork", "posix_spawn"):
        args = ("--mech", mech, "--target", kind, "--target-path", str(path), "--reps", "2")
        records = run_bench(builder.bench("exec_target"), args, cpu=None).records
        assert all(0 < record["main_ns"] < record["reaped_ns"] for record in records)
        assert {record["child_cpu"] for record in records} <= set(range(os.cpu_count() or 1))


def test_the_loader_executes_the_same_cpuids_each_time(builder: Builder) -> None:
    counts = []
    for kind in ("dynamic", "dynamic", "tiny_static"):
        path = build_target(TargetSpec(kind=kind), builder)
        try:
            record = run_bench(builder.bench("loader_cpuids"), ["--target-path", str(path)], cpu=None).records[0]
        except BenchUnavailableError as error:
            pytest.skip(str(error))
        assert record["complete"]
        assert 0 <= record["cpuids"] <= record["cpuids_total"] <= record["steps_total"]
        counts.append((record["cpuids"], record["steps"]))
    assert counts[0][0] == counts[1][0]
    assert counts[0][1] > counts[2][1]
    assert counts[2] == (0, 0)  # a static program's first instruction is its entry


def test_a_target_is_read_from_a_rows_arguments() -> None:
    assert target_of(("--mech", "fork")) is None
    assert target_of(("--target", "dynamic", "--libs", "9")) == TargetSpec(kind="dynamic")
    args = ("--target", "libs", "--libs", "3", "--exports", "7", "--relative", "40", "--rel-spread", "4")
    assert target_of((*args, "--lookups", "11")) == LIBRARIES
    with pytest.raises(BadInput, match="no such target"):
        target_of(("--target", "teapot"))
    with pytest.raises(BadInput, match="not a number"):
        target_of(("--target", "libs", "--libs", "few"))


def test_a_build_is_done_once(builder: Builder) -> None:
    first = builder.bench("clock")
    before = first.stat().st_mtime_ns
    assert Builder(cache=builder.cache).bench("clock") == first
    assert first.stat().st_mtime_ns == before
    other = Compiler((*builder.compiler.command, "-g0"), builder.compiler.version)
    assert Builder(other, builder.cache).bench("clock") != first


def test_no_compiler_is_bad_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(BadInput) as caught:
        Builder(cache=tmp_path).bench("clock")
    assert str(caught.value) == "cc: no C compiler found (install gcc or set CC)"
    monkeypatch.setenv("CC", "/nonexistent/cc")
    with pytest.raises(BadInput, match="/nonexistent/cc: no C compiler found"):
        find_compiler()


def test_a_compiler_that_cannot_compile_is_bad_input(tmp_path: Path) -> None:
    false = Compiler(("/bin/false",), "false 1.0")
    with pytest.raises(BadInput, match="bench clock does not compile"):
        Builder(false, tmp_path).bench("clock")
    with pytest.raises(BuildError):
        build_target(TargetSpec(kind="dynamic"), Builder(false, tmp_path))
    assert not list((tmp_path / "targets").iterdir())


def test_a_cache_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="XDG_CACHE_HOME"):
        Builder(Compiler(("/bin/true",), "true"), tmp_path / "file").bench("clock")


def test_an_unknown_bench_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such bench"):
        Builder(Compiler(("/bin/true",), "true"), tmp_path).bench("nothing")


@pytest.mark.parametrize(
    "args, why",
    [
        (("--pagez", "1"), "unknown option --pagez"),
        (("--pages", "many"), "is not a number"),
        (("--pages", "-1"), "is not a number"),
        (("--pages", "268435456"), "more than a third"),
        (("--mech", "spoon"), "is none of"),
        (("--mech", "posix_spawn"), "needs --exec"),
        (("--exec", "/nonexistent"), "No such file"),
        (("--order", "upwards"), "is none of"),
        (("--clone-flags", "vm,what"), "no flag what"),
    ],
)
def test_what_a_bench_cannot_do_is_refused_in_one_line(builder: Builder, args: tuple[str, ...], why: str) -> None:
    bench = builder.bench("fork_touched")
    done = subprocess.run([bench, *args], capture_output=True, text=True, env=bench_environment(), check=False)
    assert done.returncode == 2
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_every_bench_states_one_claim() -> None:
    for name in bench_names():
        text = (BENCH_DIR / f"{name}.c").read_text()
        assert text.startswith("// ")
        assert f'bench_start("{name}", argc, argv)' in text
    assert is_spawn_bench("fork_touched")
    assert is_spawn_bench("exec_target")
    assert not is_spawn_bench("cow")


def test_benches_compile_without_a_warning(builder: Builder) -> None:
    for name in ("fork_touched", "fork_folios", "wake", "loader_cpuids", "exec_target", "cow"):
        command = [*builder.compiler.command, "-O2", "-std=gnu11", "-Wall", "-Wextra", "-fsyntax-only"]
        done = subprocess.run([*command, BENCH_DIR / f"{name}.c"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
