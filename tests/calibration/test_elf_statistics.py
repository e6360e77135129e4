"""From the files alone the same counts as LD_DEBUG=statistics prints, for real programs of this machine."""

from __future__ import annotations

import os
import shutil

import pytest

from calibration.capture import capture_elf
from calibration.capture.elf_program import is_secure
from calibration.errors import BadInput
from tests.calibration.elf_support import counted, loader_statistics, quiet_environ

CANDIDATES = """
    true ls cat cp sort date env id expr tar gzip bash dash grep sed mawk gawk find diff file less nano vim
    perl python3 openssl curl wget ssh git make gcc cc1 ld.bfd as objdump readelf gdb strace ps top mount ip ss
    java javac node ruby php sqlite3 rsync bc dpkg rpm apt systemctl gpg convert ffmpeg cmake clang qemu-img
""".split()


def _dynamic_programs() -> list[str]:
    """Candidates that are here, dynamic, linked against glibc, and not set-user-ID (ld.so ignores LD_DEBUG then)."""
    found = []
    for name in CANDIDATES:
        path = os.path.realpath(shutil.which(name) or "")
        if not os.path.isfile(path) or path in found or is_secure(path):
            continue
        with open(path, "rb") as stream:
            if stream.read(4) != b"\x7fELF":
                continue
        image = capture_elf(path, environ=quiet_environ())
        if image.kind == "elf-dynamic" and image.glibc:
            found.append(path)
    return found


PROGRAMS = _dynamic_programs()


@pytest.mark.parametrize("path", PROGRAMS)
def test_counts_equal_the_loaders_own(path: str) -> None:
    measured = loader_statistics(path, ["--version"], quiet_environ())
    assert counted(capture_elf(path, environ=quiet_environ())) == measured


@pytest.mark.parametrize("path", PROGRAMS)
def test_counts_equal_the_loaders_own_when_all_is_bound_at_once(path: str) -> None:
    measured = loader_statistics(path, ["--version"], quiet_environ(LD_BIND_NOW="1"))
    image = capture_elf(path, bind_now=True, environ=quiet_environ())
    assert counted(image) == measured
    assert image == capture_elf(path, environ=quiet_environ(LD_BIND_NOW="1"))


def test_enough_programs_were_compared() -> None:
    env = capture_elf(shutil.which("env") or "/usr/bin/env", environ=quiet_environ())
    assert len(PROGRAMS) >= 5 or env.kind != "elf-dynamic" or not env.glibc


def test_binding_at_once_looks_up_what_lazy_binding_leaves() -> None:
    for path in PROGRAMS:
        lazy = capture_elf(path, bind_now=False, environ=quiet_environ())
        eager = capture_elf(path, bind_now=True, environ=quiet_environ())
        left = sum(each.lazy_jump_slots for each in lazy.objects)
        added = eager.symbol_lookups + eager.symbol_cache_hits - lazy.symbol_lookups - lazy.symbol_cache_hits
        extra = eager.ifunc_vdso_lookups - lazy.ifunc_vdso_lookups - lazy.tunable_lookups
        assert added == left + extra
        assert not any(each.lazy_jump_slots for each in eager.objects)
        assert eager.dirtied_pages <= lazy.dirtied_pages + len(lazy.objects)


def test_every_lookup_probes_at_least_one_object_and_rejections_are_probes() -> None:
    for path in PROGRAMS:
        for each in capture_elf(path, environ=quiet_environ()).objects:
            assert each.symbol_lookups <= each.lookup_probes or each.symbol_lookups == 0
            assert each.bloom_rejections <= each.lookup_probes
            assert each.dirtied_pages <= each.mapped_file_pages
            assert each.dirtied_bss_pages <= each.bss_pages
            assert each.readable_windows <= each.mapped_file_pages


def test_glibc_versions_change_the_loaders_own_lookups_and_the_cache_only() -> None:
    for path in PROGRAMS[:5]:
        new = capture_elf(path, environ=quiet_environ(), glibc="2.36")
        old = capture_elf(path, environ=quiet_environ(), glibc="2.31")
        assert (old.malloc_lookups, old.tunable_lookups) == (0, 0)
        assert old.symbol_cache_hits <= new.symbol_cache_hits
        for before, after in zip(old.objects, new.objects, strict=True):
            asked = (each.symbol_lookups + each.symbol_cache_hits for each in (before, after))
            assert len(set(asked)) == 1
        assert capture_elf(path, environ=quiet_environ(), glibc="2.41").vdso_lookups > new.vdso_lookups
    with pytest.raises(BadInput):
        capture_elf(PROGRAMS[0] if PROGRAMS else "/bin/sh", environ=quiet_environ(), glibc="newest")
