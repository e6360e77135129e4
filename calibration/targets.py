"""The programs that a bench executes: generated and compiled here, so that what is in them is known."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from zlib import crc32

from calibration.build import BENCH_DIR, Builder
from calibration.errors import BadInput
from model.units import PAGE_BYTES

_COMMON = ("-O2", "-std=gnu11", "-fno-stack-protector", "-Wl,-e,stamp_start", "-Wl,-z,now")
#: All start at an entry of their own that takes the time; *_glibc, static_pie and dynamic_main then go on into libc.
KINDS: dict[str, tuple[str, ...]] = {
    "tiny_static": ("-static", "-nostdlib", "-fno-pie", "-no-pie"),
    "tiny_pie": ("-static-pie", "-nostdlib", "-fPIE"),
    "static_glibc": ("-DWITH_LIBC", "-static", "-fno-pie", "-no-pie"),
    "static_pie": ("-DWITH_LIBC", "-static-pie", "-fPIE"),
    "dynamic": ("-DLINKS_LIBC", "-fPIE", "-pie", "-Wl,--no-as-needed"),
    "dynamic_main": ("-DWITH_LIBC", "-fPIE", "-pie", "-Wl,--no-as-needed"),
    "libs": ("-DLINKS_LIBC", "-fPIE", "-pie", "-Wl,--no-as-needed", "-Wl,--hash-style=gnu"),
}
_LIBRARY_FLAGS = ("-shared", "-nostdlib", "-Wl,-z,now", "-Wl,--hash-style=gnu", "-Wl,--allow-shlib-undefined")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """A target: its kind, and for `libs` what each of its libraries holds.

    Attributes:
        kind: one of KINDS.
        libs: number of libraries beside libc.
        exports: functions that each exports.
        relative: relative relocations of each.
        rel_spread: pages over which these are spread (0: densely packed).
        lookups: symbolic references of each, all to distinct symbols that the last library defines, so that a look-up
            passes the program and every library.
        repeats: further references to each of these symbols, next to the first, so that the loader's cache serves them.
        name_bytes: least length of the names of exports and symbolic references.
        bss_pages: pages of bss of each, an anonymous vma of its own.
        rodata: 1: each has read-only data, a segment more.
        versioned: 1: the last library's symbols bear a version, and the others ask for it.
        distinct: 1: each library refers to symbols of its own, so that what a look-up reads was not read before.
        mixed: 1: as in real programs names are of all lengths up to name_bytes, and any library may define a symbol.
        by_name: 1: the program knows its libraries by name alone, and they are found through its RPATH.
        calls: functions of the last library that each library calls through its procedure linkage table.
        lazy: 1: the libraries bind these at the first call, else at start-up; the benches have no such calls.
    """

    kind: str
    libs: int = 0
    exports: int = 0
    relative: int = 0
    rel_spread: int = 0
    lookups: int = 0
    repeats: int = 0
    name_bytes: int = 0
    bss_pages: int = 0
    rodata: int = 0
    versioned: int = 0
    distinct: int = 0
    mixed: int = 0
    by_name: int = 0
    calls: int = 0
    lazy: int = 0


_COUNTS = tuple(each.name for each in fields(TargetSpec) if each.name != "kind")


def target_of(args: Sequence[str]) -> TargetSpec | None:
    """The target that a bench's arguments name with --target and its kin, None if they name none.

    Raises:
        BadInput: an unknown kind, or a count that is no number.
    """
    given = dict(pairwise(args))
    kind = given.get("--target")
    if kind is None:
        return None
    if kind not in KINDS:
        raise BadInput(f"--target {kind}", "no such target", "one of: " + " ".join(KINDS))
    counts: dict[str, int] = {}
    for name in _COUNTS:
        text = given.get("--" + name.replace("_", "-"), "0")
        if not text.isdecimal():
            raise BadInput(f"--{name} {text}", "not a number", "give a count")
        counts[name] = int(text) if kind == "libs" else 0
    return TargetSpec(kind=kind, **counts)


def library_source(spec: TargetSpec, index: int) -> str:
    """Assembly of one library: exports, symbolic references, relative relocations."""
    lines = ["    .text"]
    names = [_padded(f"export_{index}_{i}", spec) for i in range(spec.exports)]
    of = range(spec.libs) if spec.distinct else (0,)
    targets = [[_padded(f"target_{group}_{i}", spec) for i in range(spec.lookups)] for group in of]
    called = [[_padded(f"called_{group}_{i}", spec) for i in range(spec.calls)] for group in of]
    if spec.mixed:
        names += [name for name in chain.from_iterable(targets) if crc32(name.encode()) % spec.libs == index]
    if index == spec.libs - 1:
        names += chain.from_iterable(called if spec.mixed else (*targets, *called))
    for name in names:
        lines += [f"    .globl {name}", f"    .type {name}, %function", f"{name}:", "    ret", f"    .size {name}, 1"]
    lines += [f"    call {name}@PLT" for name in called[index % len(called)]] if index < spec.libs - 1 else []
    lines += ["    .data", "    .balign 8", "anchor:", "    .quad 0"]
    lines += [f"    .quad {name}" for name in targets[index % len(targets)] for _ in range(1 + spec.repeats)]
    pages = max(spec.rel_spread, 1)
    for page in range(pages):
        if spec.rel_spread:
            lines.append("    .balign 4096")
        lines += ["    .quad anchor"] * (spec.relative * (page + 1) // pages - spec.relative * page // pages)
    if spec.rodata:
        lines += ["    .section .rodata", "    .quad 0"]
    if spec.bss_pages:
        lines += ["    .bss", f"    .space {spec.bss_pages * PAGE_BYTES}"]
    lines.append('    .section .note.GNU-stack,"",%progbits')
    return "\n".join(lines) + "\n"


def _padded(name: str, spec: TargetSpec) -> str:
    """A name of at least the length asked for; what tells it from others stands at its end, as in C++."""
    kind, _, number = name.partition("_")
    length = crc32(name.encode()) % (spec.name_bytes + 1) if spec.mixed else spec.name_bytes
    return f"{kind}_".ljust(length - len(number), "n") + number


def _build_library(
    builder: Builder, spec: TargetSpec, index: int, scratch: Path, final: Path, against: Sequence[Path] = ()
) -> Path:
    source, made = scratch / f"lib{index:03d}.s", scratch / f"lib{index:03d}.so"
    source.write_text(library_source(spec, index))
    # a name with a slash is opened as it is: no search path is tried
    soname = made.name if spec.by_name else str(final / made.name)
    options = ["-Wl,-z,lazy"] if spec.lazy else []
    if spec.versioned and index == spec.libs - 1:
        script = source.with_suffix(".map")
        script.write_text("TARGET_1 { global: *; };\n")
        options.append(f"-Wl,--version-script={script}")
    words = [*options, f"-Wl,-soname,{soname}", "-o", str(made), str(source), *map(str, against)]
    builder.compile([*_LIBRARY_FLAGS, *words])
    return made


def build_with(libraries: Sequence[str], builder: Builder) -> Path:
    """A dynamic target that needs the given shared libraries, which lie where they are.

    Raises: as `build_target`.
    """
    source = BENCH_DIR / "targets" / "target.c"
    flags = (*_COMMON, *KINDS["dynamic"], "-Wl,--allow-shlib-undefined")
    texts = (source.read_text(), (BENCH_DIR / "stamp.h").read_text(), *flags, *libraries)
    final = builder.make_folder("targets") / f"needs-{builder.key(*texts)}"
    if not final.exists():
        scratch = final.with_suffix(f".{os.getpid()}")
        builder.compile([*flags, "-o", str(scratch), str(source), *libraries])
        scratch.replace(final)
    return final


def build_target(spec: TargetSpec, builder: Builder) -> Path:
    """The executable of a target, built if need be; its libraries lie beside it.

    Raises:
        BuildError: the compiler cannot make this kind (say, there is no static libc).
        BadInput: no compiler, or a cache that cannot be written.
    """
    source = BENCH_DIR / "targets" / "target.c"
    texts = (source.read_text(), (BENCH_DIR / "stamp.h").read_text(), library_source(spec, max(spec.libs - 1, 0)))
    flags = (*_COMMON, *KINDS[spec.kind])
    if spec.by_name:
        flags += ("-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN")
    key = builder.key(*texts, *flags, *_LIBRARY_FLAGS, repr(astuple(spec)))
    final = builder.make_folder("targets") / f"{spec.kind}-{key}"
    if (final / "target").exists():
        return final / "target"
    scratch = Path(tempfile.mkdtemp(dir=final.parent))
    try:
        with ThreadPoolExecutor(max_workers=2) as pool:
            last = [_build_library(builder, spec, index, scratch, final) for index in range(spec.libs)[-1:]]
            against = last if spec.versioned else []
            build = partial(_build_library, builder, spec, scratch=scratch, final=final, against=against)
            libraries = [*pool.map(build, range(spec.libs - 1)), *last]
        builder.compile([*flags, "-o", str(scratch / "target"), str(source), *map(str, libraries)])
        try:
            scratch.rename(final)
        except OSError:
            if not (final / "target").exists():  # else somebody else was faster
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final / "target"
