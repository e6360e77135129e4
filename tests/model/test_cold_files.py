"""A cold page cache: what execve and ld.so read in, at most once a file, and that nobody works it off."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.elf_image import LOADER_CACHE, ElfImage
from model.kernel.filemap import HEADER_PAGES, KIB_OF_PAGE, mapped_reads
from model.scenario import Scenario, spawn_and_wait
from model.simulation import bill, simulate
from model.units import PAGE_BYTES
from tests.model.builders import BARE, COST_TABLE, anon, dynamic_image, elf_object, parent_of, spawn_of, static_image

STORAGE = ("storage_read", "storage_kib", "storage_installed_kib")


def sized(image: ElfImage, pages: int = 40) -> ElfImage:
    objects = (
        replace(each, path=f"/{index}/{each.path}", file_bytes=pages * PAGE_BYTES, readable_windows=3)
        for index, each in enumerate(image.objects)
    )
    return replace(image, objects=tuple(objects))


def cold(mechanism: str, image: ElfImage, *, helper: ElfImage | None = None) -> Scenario:
    spawn = spawn_of(mechanism, image)
    return spawn_and_wait(parent_of(anon(3)), replace(spawn, helper=helper or spawn.helper), cold_files=True)


@given(st.integers(0, 5000), st.integers(0, 300), st.integers(0, 300), st.integers(1, 4096))
def test_no_more_is_read_than_the_file_holds_and_no_more_often_than_it_faults(
    pages: int, windows: int, written: int, ahead: int
) -> None:
    each = elf_object(
        "lib.so", file_bytes=pages * PAGE_BYTES, readable_windows=windows, dirtied_pages=written, clears_bss_tail=False
    )
    reads, kib = mapped_reads(each, float(ahead))
    left = max(0, pages - HEADER_PAGES)
    assert 0 <= reads <= windows + written
    assert 0 <= kib <= left * KIB_OF_PAGE
    if windows + written >= left / ahead:
        assert kib == left * KIB_OF_PAGE
    wider, _ = mapped_reads(each, 2.0 * ahead)
    assert wider <= reads


@pytest.mark.parametrize("image", [dynamic_image(2), static_image()], ids=["dynamic", "static"])
def test_every_file_is_read_whole_once(image: ElfImage) -> None:
    scenario = cold("vfork", sized(image))
    counts = bill(scenario, BARE, COST_TABLE).counts
    assert counts["storage_kib"] == len(image.objects) * 40 * KIB_OF_PAGE
    assert counts["storage_read"] == len(image.objects) * 3, "the header, and 36 pages in windows of 32"
    ahead = replace(BARE, facts={**BARE.facts, "read_ahead_kib": 8192.0})
    assert bill(scenario, ahead, COST_TABLE).counts["storage_read"] == len(image.objects) * 2
    warm = bill(replace(scenario, cold_files=False), BARE, COST_TABLE).counts
    assert not set(STORAGE) & set(warm)
    assert {name: count for name, count in counts.items() if name not in STORAGE} == pytest.approx(warm)


def test_the_loaders_cache_is_read_once_if_its_size_is_known() -> None:
    image = sized(dynamic_image(2))
    without = bill(cold("vfork", image), BARE, COST_TABLE).counts
    found = replace(image, maps_cache=True, cache_bytes=9 * PAGE_BYTES - 1)
    counts = bill(cold("vfork", found), BARE, COST_TABLE).counts
    assert counts["storage_kib"] - without["storage_kib"] == 9 * KIB_OF_PAGE
    assert counts["storage_read"] - without["storage_read"] == 1
    kept = replace(cold("vfork", found), cached=frozenset({LOADER_CACHE}))
    warm = bill(kept, BARE, COST_TABLE).counts
    assert {name: warm[name] for name in STORAGE} == {name: without[name] for name in STORAGE}
    assert "storage_kib" not in bill(replace(kept, cold_files=False), BARE, COST_TABLE).counts


def test_a_vfork_caller_waits_for_the_headers_only() -> None:
    image = sized(dynamic_image(2))
    counts = bill(cold("vfork", image), BARE, COST_TABLE, "exec").counts
    assert counts["storage_read"] == 2, "program and interpreter"
    assert counts["storage_kib"] == 2 * HEADER_PAGES * KIB_OF_PAGE


def test_what_others_hold_in_the_page_cache_is_not_read() -> None:
    image = sized(dynamic_image(2))
    scenario = cold("vfork", image)
    kept = replace(scenario, cached=frozenset(each.path for each in image.objects[1:]))
    assert bill(kept, BARE, COST_TABLE).counts["storage_kib"] == 40 * KIB_OF_PAGE


def test_a_helper_leaves_its_libraries_in_the_page_cache() -> None:
    image = sized(dynamic_image(2))
    other = replace(image, objects=tuple(replace(each, path=f"/other{each.path}") for each in image.objects))
    once, twice = (
        bill(cold("shell", image, helper=helper), BARE, COST_TABLE).counts["storage_kib"] for helper in (image, other)
    )
    assert twice == 2 * once > 0


def test_reads_are_latencies_on_the_path() -> None:
    found = simulate(cold("posix_spawn", sized(dynamic_image(2))), BARE, COST_TABLE)
    priced = sum(found.breakdown_ns[name] for name in STORAGE)
    assert priced > 0
    assert {each.kind for each in found.path if each.name in STORAGE} == {"latency"}
