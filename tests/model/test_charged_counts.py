"""How often a cost is charged, where no other test would see it doubled or lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import simpy

from model.elf_image import ElfImage
from model.kernel.cow import Cow
from model.kernel.filemap import HEADER_PAGES, KIB_OF_PAGE
from model.process import Caller
from model.scenario import Scenario, spawn_and_wait
from model.simulation import bill, run_once
from model.units import PAGE_BYTES, PMD_BYTES
from model.userland.jdk import HELPER_PAGES
from tests.model.builders import (
    BARE,
    COST_TABLE,
    GIB,
    HELPER,
    PLACEMENTS,
    RICH,
    anon,
    dynamic_image,
    parent_of,
    scenario_of,
    spawn_of,
)


def counts_of(scenario: Scenario) -> dict[str, float]:
    return dict(bill(scenario, BARE, COST_TABLE).counts)


def written_pages(image: ElfImage) -> int:
    """What dies with an image, ld.so's own pages left out."""
    return sum(each.dirtied_pages + each.dirtied_bss_pages for each in image.objects if each.role != "interpreter")


def test_a_set_user_id_file_gets_credentials_once_and_two_looks_for_debug_files() -> None:
    plain, secure = (counts_of(scenario_of("vfork", parent_of(), dynamic_image(2, secure=each))) for each in (0, 1))
    added = {name: count - plain.get(name, 0) for name, count in secure.items() if count != plain.get(name, 0)}
    assert added == {"exec_credentials": 1, "failed_open": 2}


@pytest.mark.parametrize("libraries", [0, 1, 2, 7])
def test_the_loader_compares_each_pair_of_libraries_once(libraries: int) -> None:
    counts = counts_of(scenario_of("vfork", parent_of(), dynamic_image(libraries)))
    assert counts.get("ldso_object_pair", 0) == len([(a, b) for a in range(libraries) for b in range(a)])


def test_a_cold_fork_pays_for_tables_and_huge_pages_both_ways() -> None:
    huge = replace(anon(0, start=4 * GIB, size=3 * PMD_BYTES), huge_pmds=3, anon_vma=True)
    counts = counts_of(scenario_of("fork", parent_of(anon(1500), huge, caller=Caller.COLD)))
    assert counts["copy_huge_pmd"] == 3
    tables = counts["free_pte_table"]
    assert tables == 3, "1,500 pages lie in three spans"
    assert counts["cold_pte_table"] == counts["cold_zap_table"] == tables + 3
    assert counts["cold_vma"] == counts["cold_remove_vma"] == 2


@pytest.mark.parametrize("libraries", [0, 3])
def test_written_pages_of_an_image_are_freed_with_it(libraries: int) -> None:
    image = dynamic_image(libraries)
    counts = counts_of(scenario_of("vfork", parent_of(), image))
    assert counts["free_anon_page"] == written_pages(image) > 0


def test_jspawnhelper_reads_what_it_is_told_and_its_pages_die_with_it() -> None:
    image = dynamic_image(2)
    run = run_once(scenario_of("jdk-posix_spawn", parent_of(), image), BARE, COST_TABLE, PLACEMENTS[0])
    calls, freed = (
        {
            task.name: sum(entry.count for entry in task.ledger if entry.name == cost)
            for task in run.system.tasks
            if task.name in ("caller", "child")
        }
        for cost in ("pipe_io", "free_anon_page")
    )
    assert calls == {"caller": 4 + 2, "child": 4 + 1}, "as many reads as writes, a ping, and the end of the fail pipe"
    assert freed["child"] == written_pages(HELPER) + HELPER_PAGES + written_pages(image)


@pytest.mark.parametrize("cost", ["zap_scattered_pte", "free_table_beyond_cache", "unlink_beyond_cache"])
def test_a_copy_is_dropped_at_one_price_whatever_the_caller_wrote_before_the_fork(cost: str) -> None:
    parents = [parent_of(anon(600), contiguous=0.0, writable=each) for each in (0.0, 1.0)]
    unwritten, written = (bill(scenario_of("fork", each), RICH, COST_TABLE).counts for each in parents)
    assert unwritten["copy_scattered_pte"] < written["copy_scattered_pte"]
    assert 0 < unwritten[cost] == written[cost]


def test_a_small_file_is_read_whole_by_its_header() -> None:
    pages = HEADER_PAGES - 1
    image = dynamic_image(0)
    objects = tuple(replace(each, file_bytes=pages * PAGE_BYTES) for each in image.objects)
    scenario = spawn_and_wait(parent_of(), spawn_of("vfork", replace(image, objects=objects)), cold_files=True)
    counts = counts_of(scenario)
    assert (counts["storage_read"], counts["storage_kib"]) == (2, 2 * pages * KIB_OF_PAGE)


def test_tables_are_copied_at_an_even_pace_by_the_child() -> None:
    cow = Cow(simpy.Environment().event())
    cow.protect(0.0, 100.0, later=True)
    assert cow.uncopied(150.0) == 1.0
    cow.tables_ns = 300.0
    assert [cow.uncopied(at) for at in (100.0, 150.0, 250.0, 300.0, 400.0)] == [1.0, 0.75, 0.25, 0.0, 0.0]
