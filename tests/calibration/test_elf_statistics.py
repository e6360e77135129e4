"""From the files alone the same counts as LD_DEBUG=statistics prints, for real programs of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import lru_cache

import pytest

from calibration.capture import capture_elf
from calibration.capture.elf_program import is_secure
from calibration.errors import BadInput
from tests.calibration.elf_support import counted, loader_statistics, quiet_environ

CANDIDATES = """
    true ls cat cp sort date env id expr tar gzip bash dash grep sed mawk gawk find diff file less nano vim
    perl python3 openssl curl wget ssh git make gcc cc1 ld.bfd as objdump readelf gdb strace ps top mount ip ss
    java javac node ruby php sqlite3 rsync bc dpkg rpm apt systemctl gpg convert ffmpeg cmake clang qemu-img perf
    nm strip awk m4 xz zstd bzip2 lsof socat nc dig rsync screen tmux emacs svn hg ctest ninja ld.gold lld udevadm
""".split()
ENOUGH = 30
"""Programs whose counts must have been compared where so many are installed."""
DEVIATIONS: dict[str, str] = {}
"""Program to the reason why its counts differ from the loader's own; none is known."""


def _path_of(name: str) -> str:
    """Where a candidate lies; empty if it is not installed."""
    if name == "python3":
        return os.path.realpath(sys.executable)
    found = shutil.which(name)
    if name == "cc1" and found is None and shutil.which("gcc"):
        asked = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=False)
        found = asked.stdout.strip()
    return os.path.realpath(found) if found and os.path.isfile(os.path.realpath(found)) else ""


@lru_cache(maxsize=1)
def _sorted_out() -> tuple[dict[str, str], dict[str, str]]:
    """Candidates that can be compared, name to path; and the others, name to the reason."""
    programs: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for name in dict.fromkeys(CANDIDATES):
        path = _path_of(name)
        reason = _reason_against(path)
        if reason or path in programs.values():
            reasons[name] = reason or "is another candidate by another name"
        else:
            programs[name] = path
    return programs, reasons


def _reason_against(path: str) -> str:
    if not path:
        return "is not installed"
    if is_secure(path):
        return "is set-user-ID: ld.so ignores LD_DEBUG"
    with open(path, "rb") as stream:
        if stream.read(4) != b"\x7fELF":
            return "is a script"
    image = capture_elf(path, environ=quiet_environ())
    return "" if image.kind == "elf-dynamic" and image.glibc else "has no glibc loader"


def _programs() -> list[str]:
    return list(_sorted_out()[0].values())


@pytest.mark.parametrize("bound", ["as it is", "LD_BIND_NOW=1"])
@pytest.mark.parametrize("name", dict.fromkeys(CANDIDATES))
def test_counts_equal_the_loaders_own(name: str, bound: str) -> None:
    programs, reasons = _sorted_out()
    if name in reasons:
        pytest.skip(f"{name} {reasons[name]}")
    if name in DEVIATIONS:
        pytest.skip(f"{name} deviates: {DEVIATIONS[name]}")
    path = programs[name]
    if bound == "as it is":
        image = capture_elf(path, environ=quiet_environ())
        measured = loader_statistics(path, ["--version"], quiet_environ())
    else:
        image = capture_elf(path, bind_now=True, environ=quiet_environ())
        measured = loader_statistics(path, ["--version"], quiet_environ(LD_BIND_NOW="1"))
        assert image == capture_elf(path, environ=quiet_environ(LD_BIND_NOW="1"))
    assert counted(image) == measured


def test_enough_programs_were_compared() -> None:
    programs, reasons = _sorted_out()
    if len(programs) < ENOUGH:
        pytest.skip(f"only {len(programs)} of the candidates can be compared here: {reasons}")
    assert len(set(programs) - set(DEVIATIONS)) >= ENOUGH


def test_binding_at_once_looks_up_what_lazy_binding_leaves() -> None:
    for path in _programs():
        lazy = capture_elf(path, bind_now=False, environ=quiet_environ())
        eager = capture_elf(path, bind_now=True, environ=quiet_environ())
        left = sum(each.lazy_jump_slots for each in lazy.objects)
        added = eager.symbol_lookups + eager.symbol_cache_hits - lazy.symbol_lookups - lazy.symbol_cache_hits
        extra = eager.ifunc_vdso_lookups - lazy.ifunc_vdso_lookups - lazy.tunable_lookups
        assert added == left + extra
        assert not any(each.lazy_jump_slots for each in eager.objects)
        assert eager.dirtied_pages <= lazy.dirtied_pages + len(lazy.objects)


def test_every_lookup_probes_at_least_one_object_and_rejections_are_probes() -> None:
    for path in _programs():
        for each in capture_elf(path, environ=quiet_environ()).objects:
            assert each.symbol_lookups <= each.lookup_probes or each.symbol_lookups == 0
            assert each.bloom_rejections <= each.lookup_probes
            assert each.dirtied_pages <= each.mapped_file_pages
            assert each.dirtied_bss_pages <= each.bss_pages
            assert each.readable_windows <= each.mapped_file_pages


def test_glibc_versions_change_the_loaders_own_lookups_and_the_cache_only() -> None:
    for path in _programs()[:5]:
        new = capture_elf(path, environ=quiet_environ(), glibc="2.36")
        old = capture_elf(path, environ=quiet_environ(), glibc="2.31")
        assert (old.malloc_lookups, old.tunable_lookups) == (0, 0)
        assert old.symbol_cache_hits <= new.symbol_cache_hits
        for before, after in zip(old.objects, new.objects, strict=True):
            asked = (each.symbol_lookups + each.symbol_cache_hits for each in (before, after))
            assert len(set(asked)) == 1
        assert capture_elf(path, environ=quiet_environ(), glibc="2.41").vdso_lookups > new.vdso_lookups
    with pytest.raises(BadInput):
        capture_elf("/bin/sh", environ=quiet_environ(), glibc="newest")
