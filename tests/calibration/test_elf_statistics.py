"""From the files alone the same counts as LD_DEBUG=statistics prints, for real programs of this machine."""

from __future__ import annotations

import pytest

from calibration.capture import capture_elf
from calibration.errors import BadInput
from calibration.live.programs import PROGRAM_NAMES, find_programs
from tests.calibration.elf_support import counted, loader_statistics, quiet_environ

ENOUGH = 30
"""Programs whose counts must have been compared where so many are installed."""
DEVIATIONS: dict[str, str] = {}
"""Program to the reason why its counts differ from the loader's own; none is known."""


def _programs() -> list[str]:
    return list(find_programs().found.values())


@pytest.mark.parametrize("bound", ["as it is", "LD_BIND_NOW=1"])
@pytest.mark.parametrize("name", PROGRAM_NAMES)
def test_counts_equal_the_loaders_own(name: str, bound: str) -> None:
    programs = find_programs()
    if name in programs.passed_over:
        pytest.skip(f"{name} {programs.passed_over[name]}")
    if name in DEVIATIONS:
        pytest.skip(f"{name} deviates: {DEVIATIONS[name]}")
    path = programs.found[name]
    if bound == "as it is":
        image = capture_elf(path, environ=quiet_environ())
        measured = loader_statistics(path, ["--version"], quiet_environ())
    else:
        image = capture_elf(path, bind_now=True, environ=quiet_environ())
        measured = loader_statistics(path, ["--version"], quiet_environ(LD_BIND_NOW="1"))
        assert image == capture_elf(path, environ=quiet_environ(LD_BIND_NOW="1"))
    assert counted(image) == measured


def test_enough_programs_were_compared() -> None:
    programs = find_programs()
    if len(programs.found) < ENOUGH:
        pytest.skip(f"only {len(programs.found)} programs can be compared here: {programs.passed_over}")
    assert len(set(programs.found) - set(DEVIATIONS)) >= ENOUGH


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
