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
from model.simulation import Run, bill, run_once
from model.spread import model_errors
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


def by_task(run: Run, cost: str) -> dict[str, float]:
    """What each task of a run was charged of a cost, those without any left out."""
    sums = {task.name: sum(each.count for each in task.ledger if each.name == cost) for task in run.system.tasks}
    return {name: count for name, count in sums.items() if count}


def run_of(mechanism: str, image: ElfImage) -> Run:
    return run_once(scenario_of(mechanism, parent_of(), image), BARE, COST_TABLE, PLACEMENTS[0])


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
    run = run_of("jdk-posix_spawn", image)
    calls = by_task(run, "pipe_io")
    assert calls == {"caller": 4 + 2, "child": 4 + 1}, "as many reads as writes, a ping, and the end of the fail pipe"
    assert by_task(run, "free_anon_page")["child"] == written_pages(HELPER) + HELPER_PAGES + written_pages(image)


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


SYSTEM_CALLS = {
    "shell": {"caller": 2 + 3 + 3, "child": 2 + 20 + 3, "command": 1},
    "posix_spawn": {"caller": 2, "child": 2},
    "cpython-subprocess": {"caller": 4, "child": 67},
    "cpython-fork": {"caller": 4, "child": 8},
    "cpython-os-fork": {"child": 3},
    "jdk-vfork": {"caller": 8, "child": 22},
}
"""As strace counts them with glibc 2.36, dash 0.5.12 and CPython 3.11, the JDK's as its sources have them; those left
out that have a price of their own, and the signal dispositions that CLONE_CLEAR_SIGHAND spares."""


@pytest.mark.parametrize("mechanism", SYSTEM_CALLS)
def test_each_task_does_the_system_calls_that_strace_counts(mechanism: str) -> None:
    run = run_of(mechanism, dynamic_image(1))
    assert by_task(run, "syscall") == SYSTEM_CALLS[mechanism]
    forks = mechanism in ("cpython-fork", "cpython-os-fork")
    assert by_task(run, "cpython_after_fork") == ({"child": 1} if forks else {}), "only a fork runs Python in the child"


def test_a_cold_caller_pays_once_for_a_process_and_once_for_its_memory() -> None:
    names = ("cold_copy_process", "cold_dup_mm", "cold_exit", "cold_exit_mm")
    for mechanism, expected in (("fork", (1, 1, 1, 1)), ("vfork", (1, 0, 1, 0))):
        counts = counts_of(scenario_of(mechanism, parent_of(anon(9), caller=Caller.COLD)))
        assert tuple(counts.get(name, 0) for name in names) == expected


def test_look_ups_that_the_cache_answers_have_a_price_of_their_own() -> None:
    image = dynamic_image(1)
    objects = tuple(replace(each, symbol_cache_hits=5) for each in image.objects)
    counts = counts_of(scenario_of("vfork", parent_of(), replace(image, objects=objects)))
    assert counts["ldso_cached"] == 5 * 2, "of the program and its library; the loader's own are in ldso_fixed"


def test_a_path_has_the_error_of_its_length_and_that_of_placement_where_there_is_one() -> None:
    errors = {"plain": 0.1, "long": 0.3, "unpinned-copies": 0.2}
    pinned, placed = (replace(each, model_error=errors) for each in (BARE, RICH))
    assert model_errors(placed, "long", "copies") == (0.3, 0.2)
    assert model_errors(placed, "medium-wakes", "bare") == (0.1, 0.0)
    assert model_errors(replace(placed, model_error={**errors, "medium": 0.4}), "medium-wakes", "bare")[0] == 0.4
    assert model_errors(pinned, "long", "copies") == (0.3, 0.0)
