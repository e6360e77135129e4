"""Where libraries are found, what the failed attempts cost, and what `#!` lines make of a path."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.capture import capture_elf
from calibration.capture.ld_so_cache import cached_path
from calibration.capture.loader_search import (
    AVX512_1_FLAGS,
    HASWELL_FLAGS,
    HWCAPS_LEVELS,
    XEON_PHI_FLAGS,
    capabilities,
    path_components,
    system_directories,
)
from calibration.errors import BadInput
from tests.calibration.elf_support import EXIT_C, compile_c, one_line, quiet_environ

LEAF = "int leaf(void) { return 0; }\n"
USES_LEAF = "extern int leaf(void); int branch(void) { return leaf(); }\n"
MAIN = "extern int branch(void); int main(void) { return branch(); }\n"


def _library(folder: Path, name: str, source: str, *flags: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return compile_c(folder / name, source, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-Wl,--no-as-needed", *flags)


def _tree(root: Path, *link: str, dtags: str = "--enable-new-dtags") -> Path:
    """program -> libbranch.so (in lib/) -> libleaf.so (in lib/deep/)."""
    leaf = _library(root / "lib/deep", "libleaf.so", LEAF)
    branch = _library(root / "lib", "libbranch.so", USES_LEAF, str(leaf))
    flags = [str(branch), f"-Wl,{dtags}", "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined", *link]
    return compile_c(root / "program", MAIN, *flags)


def _libraries(program: Path, **environ: str) -> dict[str, str]:
    image = capture_elf(program, environ=quiet_environ(**environ))
    return {each.name: each.path for each in image.libraries}


def _listed_by_the_loader(program: Path, **environ: str) -> dict[str, str]:
    """What ld.so itself lists in trace mode: it then runs no program."""
    environ = quiet_environ(**environ) | {"LD_TRACE_LOADED_OBJECTS": "1"}
    text = subprocess.run([program], env=environ, capture_output=True, text=True, check=True).stdout
    pairs = [line.split(" => ") for line in text.splitlines() if " => " in line]
    return {name.strip(): path.split(" (")[0] for name, path in pairs}


def test_runpath_with_origin_serves_the_object_alone(tmp_path: Path) -> None:
    program = _tree(tmp_path, "-Wl,-rpath,$ORIGIN/lib")
    with pytest.raises(BadInput) as caught:
        capture_elf(program, environ=quiet_environ())
    assert "libleaf.so" in one_line(caught.value)
    assert "libbranch.so" in one_line(caught.value)


def test_rpath_serves_the_libraries_of_libraries_too(tmp_path: Path) -> None:
    program = _tree(tmp_path, "-Wl,-rpath,${ORIGIN}/lib:$ORIGIN/lib/deep", dtags="--disable-new-dtags")
    assert _libraries(program)["libleaf.so"] == f"{tmp_path}/lib/deep/libleaf.so"
    assert _libraries(program) == _listed_by_the_loader(program)


def test_library_path_comes_before_runpath_and_after_rpath(tmp_path: Path) -> None:
    other = _library(tmp_path / "other", "libleaf.so", LEAF)
    rpath = f"-Wl,-rpath,{tmp_path}/lib:{tmp_path}/lib/deep"
    old = _tree(tmp_path / "old", rpath, dtags="--disable-new-dtags")
    new = _tree(tmp_path / "new", rpath)
    for each in ("lib", "lib/deep"):
        (tmp_path / each).mkdir(parents=True, exist_ok=True)
    (tmp_path / "lib/libbranch.so").write_bytes((tmp_path / "old/lib/libbranch.so").read_bytes())
    (tmp_path / "lib/deep/libleaf.so").write_bytes((tmp_path / "old/lib/deep/libleaf.so").read_bytes())
    assert _libraries(old, LD_LIBRARY_PATH=str(other.parent))["libleaf.so"] == f"{tmp_path}/lib/deep/libleaf.so"
    assert _libraries(new, LD_LIBRARY_PATH=str(other.parent))["libleaf.so"] == str(other)
    for program in (old, new):
        expected = _listed_by_the_loader(program, LD_LIBRARY_PATH=str(other.parent))
        assert _libraries(program, LD_LIBRARY_PATH=str(other.parent)) == expected


def test_a_directory_that_does_not_exist_is_asked_only_once(tmp_path: Path) -> None:
    program = _tree(tmp_path, f"-Wl,-rpath,{tmp_path}/lib:{tmp_path}/lib/deep", dtags="--disable-new-dtags")
    plain = capture_elf(program, environ=quiet_environ())
    image = capture_elf(program, environ=quiet_environ(LD_LIBRARY_PATH=f"{tmp_path}/nowhere"))
    more = [
        (after.failed_opens - before.failed_opens, after.directory_stats - before.directory_stats)
        for before, after in zip(plain.libraries, image.libraries, strict=True)
    ]
    changed = [(opens, stats) for opens, stats in more if opens or stats]
    assert len(changed) == 1, "only the first search finds out that the directory is missing"
    assert changed[0][0] == changed[0][1] > 0


def test_hardware_subdirectories_are_preferred_best_first(tmp_path: Path) -> None:
    program = _tree(tmp_path, f"-Wl,-rpath,{tmp_path}/lib:{tmp_path}/lib/deep", dtags="--disable-new-dtags")
    _library(tmp_path / "lib/deep/glibc-hwcaps/x86-64-v2", "libleaf.so", LEAF)
    _library(tmp_path / "lib/deep/glibc-hwcaps/x86-64-v4", "libleaf.so", LEAF)
    assert _libraries(program) == _listed_by_the_loader(program)


def test_preloaded_objects_come_right_after_the_program(tmp_path: Path) -> None:
    program = _tree(tmp_path, f"-Wl,-rpath,{tmp_path}/lib:{tmp_path}/lib/deep", dtags="--disable-new-dtags")
    extra = _library(tmp_path / "extra", "libextra.so", "int leaf(void) { return 3; }\n")
    image = capture_elf(program, environ=quiet_environ(LD_PRELOAD=f"{extra}:missing.so"))
    assert image.libraries[0].path == str(extra)
    assert image.objects[0].failed_opens > 0, "the search for missing.so failed"


def test_needs_in_a_circle_end(tmp_path: Path) -> None:
    leaf = _library(tmp_path, "libleaf.so", LEAF)
    branch = _library(tmp_path, "libbranch.so", USES_LEAF, str(leaf))
    _library(tmp_path, "libleaf.so", LEAF, str(branch))
    program = compile_c(tmp_path / "program", MAIN, str(branch), "-Wl,--disable-new-dtags", f"-Wl,-rpath,{tmp_path}")
    assert {"libleaf.so", "libbranch.so"} <= set(_libraries(program))


def test_a_library_under_two_names_is_mapped_once(tmp_path: Path) -> None:
    leaf = _library(tmp_path, "libleaf.so", LEAF)
    (tmp_path / "libalias.so").symlink_to(leaf)
    environ = quiet_environ(LD_PRELOAD=f"{tmp_path}/libalias.so {leaf}")
    image = capture_elf(compile_c(tmp_path / "program", "int main(void) { return 0; }\n"), environ=environ)
    assert sum(os.path.realpath(each.path) == str(leaf) for each in image.libraries) == 1


def _script(path: Path, line: str) -> Path:
    path.write_text(line)
    path.chmod(0o755)
    return path


def test_scripts_nest_as_the_kernel_rewrites_them(tmp_path: Path) -> None:
    static = compile_c(tmp_path / "still", EXIT_C, "-nostdlib", "-static", "-no-pie")
    inner = _script(tmp_path / "inner", f"#!\t{static}  -a  -b \nrest\n")
    outer = _script(tmp_path / "outer", f"#! {inner}\n")
    image = capture_elf(outer)
    assert (image.kind, image.loaded_kind, image.script_depth) == ("script", "elf-static", 2)
    assert image.interpreter == (str(inner), str(static))
    assert image.argv0 == str(static)
    assert image.script_arguments == ("-a  -b", str(inner), str(outer))
    assert image.executable
    inner.chmod(0o644)
    assert not capture_elf(outer).executable


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("#!\n", "names no interpreter"),
        ("#!/nowhere/at/all\n", "cannot be found"),
        ("#!" + "/" + "x" * 300, "longer than 256"),
        ("echo no magic\n", "neither an ELF file nor a script"),
        ("", "neither an ELF file nor a script"),
    ],
)
def test_scripts_that_cannot_run_are_bad_input(tmp_path: Path, line: str, part: str) -> None:
    with pytest.raises(BadInput) as caught:
        capture_elf(_script(tmp_path / "script", line))
    assert part in one_line(caught.value)


def test_a_script_that_is_its_own_interpreter_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        capture_elf(_script(tmp_path / "loop", f"#!{tmp_path}/loop\n"))
    assert "nested" in one_line(caught.value)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = _script(tmp_path / "script", "#!/bin/sh\n")
    assert capture_elf(path) is capture_elf(path)
    static = compile_c(tmp_path / "still", EXIT_C, "-nostdlib", "-static", "-no-pie")
    path.write_bytes(static.read_bytes())
    assert capture_elf(path).kind == "elf-static"


def _cache(entries: list[tuple[str, str, int]], levels: list[str]) -> bytes:
    """A cache file in the new format: (name, path, hwcap)."""
    names = b"".join(f"{each}\0".encode() for entry in entries for each in entry[:2]) + b"".join(
        f"{each}\0".encode() for each in levels
    )
    start = 48 + 24 * len(entries)
    rows, at = b"", start
    for name, path, hwcap in entries:
        rows += struct.pack("<iIIIQ", 0x0303, at, at + len(name) + 1, 0, hwcap)
        at += len(name) + len(path) + 2
    extension = (start + len(names) + 3) // 4 * 4
    offsets = b""
    for level in levels:
        offsets += struct.pack("<I", at)
        at += len(level) + 1
    tail = struct.pack("<II", 0xEAA42174, 1) + struct.pack("<IIII", 1, 0, extension + 24, len(offsets)) + offsets
    header = b"glibc-ld.so.cache1.1" + struct.pack("<IIB3xI12x", len(entries), len(names), 2, extension)
    return header + rows + names.ljust(extension - start, b"\0") + tail


def test_the_cache_prefers_the_best_level_that_the_cpu_has(tmp_path: Path) -> None:
    levels = ["x86-64-v2", "x86-64-v3"]
    entries = [
        ("libx.so", "/v2/libx.so", 1 << 62),
        ("libx.so", "/v3/libx.so", 1 << 62 | 1),
        ("libx.so", "/plain/libx.so", 0),
        ("liby.so", "/plain/liby.so", 0),
    ]
    file = tmp_path / "cache"
    file.write_bytes(_cache(entries, levels))
    assert cached_path("libx.so", ["x86-64-v3", "x86-64-v2"], str(file)) == "/v3/libx.so"
    assert cached_path("libx.so", ["x86-64-v2"], str(file)) == "/v2/libx.so"
    assert cached_path("libx.so", [], str(file)) == "/plain/libx.so"
    assert cached_path("liby.so", ["x86-64-v3"], str(file)) == "/plain/liby.so"
    assert cached_path("libz.so", [], str(file)) == ""
    assert cached_path("libx.so", [], str(tmp_path / "none")) == ""


@given(st.integers(min_value=0, max_value=300), st.binary(max_size=8))
def test_a_damaged_cache_never_breaks_the_search(cut: int, noise: bytes) -> None:
    data = _cache([("libx.so", "/plain/libx.so", 0)], ["x86-64-v2"])
    data = data[:cut] + noise + data[cut + len(noise) :] if noise else data[:cut]
    file = Path(os.environ.get("TMPDIR", "/tmp")) / f"spawncost-cache-{os.getpid()}-{abs(hash(data))}"
    file.write_bytes(data)
    try:
        assert isinstance(cached_path("libx.so", ["x86-64-v2"], str(file)), str)
    finally:
        file.unlink()


def test_search_subdirectories_follow_cpu_and_glibc_version() -> None:
    every = frozenset().union(*(flags for _, flags in HWCAPS_LEVELS), HASWELL_FLAGS, AVX512_1_FLAGS)
    assert capabilities(every, (2, 37), intel=True).subdirectories == (
        "glibc-hwcaps/x86-64-v4/",
        "glibc-hwcaps/x86-64-v3/",
        "glibc-hwcaps/x86-64-v2/",
        "",
    )
    assert capabilities(frozenset(), (2, 40), intel=True).subdirectories == ("",)
    legacy = capabilities(every, (2, 31), intel=True).subdirectories
    assert legacy[0] == "tls/haswell/avx512_1/x86_64/"
    assert legacy[-1] == ""
    assert len(legacy) == len(set(legacy)) == 16
    assert len(capabilities(every, (2, 36), intel=True).subdirectories) == 19
    assert capabilities(every, (2, 36), intel=True).platform == "haswell"


def test_platforms_of_intel_are_not_sought_on_other_cpus() -> None:
    every = frozenset().union(*(flags for _, flags in HWCAPS_LEVELS), HASWELL_FLAGS, AVX512_1_FLAGS, XEON_PHI_FLAGS)
    other = capabilities(every, (2, 36), intel=False)
    assert other.platform == "x86_64"
    assert other.subdirectories[3:] == (
        *("tls/x86_64/x86_64/", "tls/x86_64/", "tls/x86_64/", "tls/"),
        *("x86_64/x86_64/", "x86_64/", "x86_64/", ""),
    )
    assert other.levels == capabilities(every, (2, 36), intel=True).levels


def test_default_directories_are_those_compiled_into_the_loader() -> None:
    assert system_directories(b"x\0/lib/a/\0/usr/lib/a/\0/lib/\0/usr/lib/\0y") == (
        "/lib/a/",
        "/usr/lib/a/",
        "/lib/",
        "/usr/lib/",
    )
    assert "/lib64/" in system_directories(b"nothing here")


def test_path_components_follow_symbolic_links(tmp_path: Path) -> None:
    base = path_components(str(tmp_path))
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    assert path_components(f"{tmp_path}/file") == base + 1
    assert path_components(f"{tmp_path}//./file") == base + 1
    assert path_components(f"{tmp_path}/link") == base + 2
    assert path_components(f"{tmp_path}/loop") <= base + 50
