"""Closed forms: small parents whose bills are known by hand, and what must not matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.address_space import AddressSpace, PageTables, Vma, VmaKind, page_tables
from model.elf_image import NO_IMAGE
from model.ledger import bill_of
from model.machine import Placement
from model.process import Process, Runtime
from model.rules import Rules
from model.simulation import bill, run_once, simulate
from model.units import P4D_BYTES, PAGE_BYTES, PMD_BYTES, PUD_BYTES
from tests.model.builders import (
    BARE,
    COST_TABLE,
    GIB,
    HELPER,
    MIB,
    PLACEMENTS,
    RICH,
    TIB,
    anon,
    dynamic_image,
    elf_object,
    machine_with,
    parent_of,
    priced,
    row_of,
    scenario_of,
    static_image,
    with_space,
)

RAW = frozenset[str]()
EMPTY_FORK = {
    "copy_process_fixed": 1,
    "dup_fd_slot": 64,
    "dup_fd_file": 3,
    "dup_mm_fixed": 1,
    "context_switch": 2,
    "do_exit_entry": 1,
    "exit_mm_fixed": 1,
    "filp_close": 3,
    "do_exit_fixed": 1,
    "clock_gettime": 2,
}
VFORK_LIKE = ("vfork", "posix_spawn", "jdk-vfork", "jdk-posix_spawn", "cpython-subprocess", "shell")


def counts_of(mechanism: str, parent: Process, *, rules: Rules | None = None) -> dict[str, float]:
    """Bill of spawn, `_exit` and wait on one bare CPU."""
    return dict(bill(scenario_of(mechanism, parent, rules=rules or Rules()), BARE, COST_TABLE).counts)


def added(parent: Process, base: Process, mechanism: str = "clone3", *, rules: Rules | None = None) -> dict[str, float]:
    """What one parent is charged more than another."""
    counts, less = counts_of(mechanism, parent, rules=rules), counts_of(mechanism, base, rules=rules)
    difference = {name: counts.get(name, 0) - less.get(name, 0) for name in {**counts, **less}}
    return {name: count for name, count in difference.items() if count}


def test_fork_of_an_empty_space_is_its_fixed_costs() -> None:
    assert counts_of("clone3", parent_of()) == EMPTY_FORK
    prediction = simulate(scenario_of("clone3", parent_of()), BARE, COST_TABLE)
    assert prediction.milestones["reaped"].quiet_ns == priced(EMPTY_FORK), "each price is a prime of its own"
    call = {"copy_process_fixed": 1, "dup_fd_slot": 64, "dup_fd_file": 3, "dup_mm_fixed": 1, "clock_gettime": 1}
    assert prediction.milestones["call"].quiet_ns == priced(call)


def test_one_anonymous_vma_adds_its_own_costs_only() -> None:
    more = added(parent_of(anon(7)), parent_of())
    upper = more.pop("copy_table") - 1
    assert (upper, more.pop("free_upper_table")) == (2, 2), "a pmd and a pud table above one pte table"
    assert more == {
        "vm_area_dup": 1,
        "vma_account": 1,
        "anon_vma_fork": 1,
        "copy_present_pte": 7,
        "remove_vma": 1,
        "unlink_anon_vma": 1,
        "zap_pte": 7,
        "free_pte_table": 1,
    }


def test_writable_ptes_are_protected_and_lose_their_exclusive_mark() -> None:
    parent = parent_of(anon(100))
    assert added(replace(parent, writable=0.25), parent) == {"wrprotect_pte": 25, "locked_rmw": 25}
    read_only = with_space(parent, anon(100, writable_private=False))
    assert added(replace(read_only, writable=1.0), read_only) == {}


def test_vmas_without_anon_vma_are_not_walked() -> None:
    clean = Vma(start=GIB, end=GIB + 40 * PAGE_BYTES, kind=VmaKind.FILE_PRIVATE, file_ptes=40, account=False)
    assert added(parent_of(clean), parent_of()) == {
        "vm_area_dup": 1,
        "vma_link_file": 1,
        "remove_vma": 1,
        "unlink_file_vma": 1,
    }
    shared = replace(clean, kind=VmaKind.FILE_SHARED, file_ptes=0)
    assert added(parent_of(shared), parent_of()) == added(parent_of(replace(shared, file_ptes=40)), parent_of())
    dirtied = added(parent_of(replace(clean, anon_ptes=1, anon_vma=True, file_ptes=39)), parent_of())
    assert (dirtied["copy_file_pte"], dirtied["copy_present_pte"]) == (39, 1), "one written page: all are walked"


def test_dontfork_is_left_out_and_wipeonfork_is_emptied() -> None:
    kept = anon(50)
    gone = added(parent_of(replace(kept, dontcopy=True)), parent_of())
    assert gone == {"dontcopy_vma": 1}
    assert added(parent_of(replace(kept, dontcopy=True)), parent_of(), rules=Rules(vma_tree="maple")) == {}
    wiped = added(parent_of(replace(kept, wipeonfork=True)), parent_of())
    assert wiped == {"vm_area_dup": 1, "vma_account": 1, "remove_vma": 1}


def test_an_older_anon_vma_costs_its_chain() -> None:
    chained = added(parent_of(anon(5, anon_vma_chain=4)), parent_of(anon(5)))
    assert chained == {"anon_vma_chain_link": 3, "unlink_anon_vma_link": 3}


def test_other_kinds_of_entries() -> None:
    base = parent_of(anon(5))
    swapped = added(with_space(base, anon(5, swap_ptes=9, size=MIB)), base)
    assert swapped == {"copy_swap_pte": 9, "zap_pte": 9}
    hugetlb = added(with_space(base, anon(5, hugetlb_pages=6)), base)
    assert hugetlb == {"copy_hugetlb_pte": 6, "zap_pte": 6}
    folios = counts_of("clone3", parent_of(anon(160, folio_pages=16)))
    assert (folios["copy_folio"], folios["copy_folio_pte"], folios.get("copy_present_pte")) == (10, 160, None)
    skipped = added(with_space(base, anon(5, file_huge_pmds=4)), base)
    assert skipped == {}, "pmd mappings of files are faulted in again"


def test_thp_is_counted_by_pmd_with_its_deposited_table_in_the_price() -> None:
    small = parent_of(anon(8 * 512, start=GIB))
    huge = replace(small, space=small.space.with_thp(True))
    counts = counts_of("clone3", huge)
    assert (counts["copy_huge_pmd"], counts["zap_huge_pmd"]) == (8, 8)
    assert "copy_present_pte" not in counts
    assert "free_pte_table" not in counts
    back = replace(huge, space=huge.space.with_thp(False))
    assert counts_of("clone3", back) == counts_of("clone3", small)


def test_thp_takes_aligned_ranges_only() -> None:
    space = AddressSpace((anon(3 * 512, start=GIB + PAGE_BYTES),)).with_thp(True)
    assert space.total("huge_pmds") == 2
    assert space.total("anon_ptes") == 512
    assert space.anon_bytes == 3 * PMD_BYTES
    file = replace(anon(1024), kind=VmaKind.FILE_PRIVATE)
    assert AddressSpace((file,)).with_thp(True).vmas == (file,)


@given(st.lists(st.tuples(st.sampled_from((0, 1, 600, 512 * 512, 300_000_000)), st.integers(0, 3000)), max_size=8))
def test_page_tables_are_the_populated_spans_whoever_shares_them(shape: list[tuple[int, int]]) -> None:
    address, vmas, populated = GIB - PMD_BYTES, [], []
    for gap_pages, pages in shape:
        address += gap_pages * PAGE_BYTES
        vmas.append(anon(pages, start=address))
        if pages:
            populated += [address // PMD_BYTES, *range(address // PMD_BYTES, (vmas[-1].end - 1) // PMD_BYTES + 1)]
        address = vmas[-1].end
    spans = set(populated)
    uppers = [{span * PMD_BYTES // size for span in spans} for size in (PUD_BYTES, P4D_BYTES)]
    assert page_tables(vmas) == PageTables(pte=len(spans), pmd=len(uppers[0]), pud=len(uppers[1]), deposited=0)


def test_neighbours_share_a_table() -> None:
    apart = (anon(1, start=GIB), anon(1, start=GIB + PMD_BYTES))
    together = (anon(1, start=GIB), anon(1, start=GIB + PAGE_BYTES))
    assert [page_tables(each).pte for each in (apart, together)] == [2, 1]
    crossing = (anon(1, start=PUD_BYTES - PAGE_BYTES), anon(1, start=PUD_BYTES))
    assert page_tables(crossing) == PageTables(pte=2, pmd=2, pud=1, deposited=0)
    sparse = replace(anon(100, size=GIB), pte_spans=100)
    assert page_tables((sparse,)).pte == 100
    huge = Vma(start=GIB, end=2 * GIB, huge_pmds=512, anon_vma=True)
    assert page_tables((huge,)) == PageTables(pte=0, pmd=1, pud=1, deposited=512)


def test_vmas_may_not_overlap() -> None:
    with pytest.raises(ValueError, match="overlap"):
        AddressSpace((anon(2), anon(1, start=GIB + PAGE_BYTES)))


@pytest.mark.parametrize("mechanism", VFORK_LIKE)
@pytest.mark.parametrize("placement", PLACEMENTS, ids=lambda each: f"{each.child}-{each.waker}")
def test_vfork_does_not_depend_on_resident_pages(mechanism: str, placement: Placement) -> None:
    small, large = parent_of(anon(1)), parent_of(*row_of(50, 512), anon(40_000_000, start=TIB))
    runs = [run_once(scenario_of(mechanism, parent), RICH, COST_TABLE, placement) for parent in (small, large)]
    assert runs[0].milestones == runs[1].milestones


def test_fork_does_depend_on_them() -> None:
    small, large = (simulate(scenario_of("fork", parent_of(anon(n))), BARE, COST_TABLE) for n in (1, 40_000))
    assert large.bill.elapsed_ns > 100 * small.bill.elapsed_ns


@pytest.mark.parametrize("mechanism", ["fork", "jdk-fork", "posix_spawn", "cpython-fork"])
def test_a_tebibyte_needs_as_many_charges_and_events_as_a_mebibyte(mechanism: str) -> None:
    parents = [parent_of(anon(3), anon(size // PAGE_BYTES, start=TIB)) for size in (MIB, TIB)]
    small, large = (simulate(scenario_of(mechanism, parent), RICH, COST_TABLE) for parent in parents)
    assert (large.charges, large.events) == (small.charges, small.events)
    assert large.charges < 300


@given(st.integers(-1, 5000))
def test_descriptor_slots_round_up_to_whole_words(highest: int) -> None:
    slots = counts_of("clone3", parent_of(open_fds=0, highest_fd=highest)).get("dup_fd_slot", 0)
    assert slots % 64 == 0
    assert highest + 1 <= slots < highest + 65


def test_open_descriptors_are_copied_and_closed() -> None:
    base = parent_of(open_fds=3, highest_fd=63)
    assert added(replace(base, open_fds=40), base) == {"dup_fd_file": 37, "filp_close": 37}


def test_a_shared_descriptor_table_is_neither_copied_nor_closed() -> None:
    scenario = scenario_of("clone3", parent_of(open_fds=9))
    spawn = scenario.spawn
    assert spawn is not None
    shared = replace(scenario, program=(replace(spawn, flags=frozenset({"CLONE_FILES"})), scenario.program[1]))
    counts = bill(shared, BARE, COST_TABLE).counts
    assert not {"dup_fd_slot", "dup_fd_file", "filp_close"} & set(counts)
    executing = replace(
        shared, program=(replace(spawn, flags=frozenset({"CLONE_FILES"}), target=static_image()), scenario.program[1])
    )
    counts = bill(executing, BARE, COST_TABLE).counts
    assert (counts["dup_fd_file"], counts["filp_close"]) == (9, 9), "exec unshares the table"


def test_the_child_of_a_threaded_caller_walks_all_stacks() -> None:
    assert added(parent_of(threads=9), parent_of(), "fork") == {
        "reclaim_stack": 8,
        "fault_cow_copy": 8,
        "free_anon_page": 8,
    }
    for mechanism in ("clone3", "vfork", "posix_spawn"):
        assert added(parent_of(threads=9), parent_of(), mechanism) == {}


def test_running_threads_are_interrupted_once_whatever_their_number() -> None:
    parent = parent_of(anon(5), threads=8)
    base = bill(scenario_of("fork", parent), RICH, COST_TABLE, "call").counts
    for running in (1, 7):
        counts = bill(scenario_of("fork", replace(parent, running_threads=running)), RICH, COST_TABLE, "call").counts
        assert counts == {**base, "ipi_round": 1}
        assert (
            "ipi_round"
            not in bill(scenario_of("fork", replace(parent, running_threads=running)), BARE, COST_TABLE).counts
        )


def exec_added(change: Callable[[], dict[str, object]], target_more: dict[str, object]) -> dict[str, float]:
    """What a vfork and exec costs more by fields of the spawn and of its target."""
    plain = scenario_of("vfork", parent_of(), dynamic_image(2))
    spawn = plain.spawn
    assert spawn is not None
    changed = replace(spawn, target=replace(spawn.target, **target_more), **change())  # type: ignore[arg-type]
    other = replace(plain, program=(changed, plain.program[1]))
    counts, less = (bill(each, BARE, COST_TABLE).counts for each in (other, plain))
    return {name: counts[name] - less.get(name, 0) for name in counts if counts[name] != less.get(name, 0)}


def test_execve_by_its_arguments() -> None:
    assert exec_added(dict, {"script_depth": 2}) == {"execve_prepare": 2}
    assert exec_added(lambda: {"path_misses": 3}, {}) == {"execve_enoent": 3}
    assert exec_added(lambda: {"argv_bytes": 4096, "envp_bytes": 8193}, {}) == {"exec_arg_page": 3}
    assert exec_added(lambda: {"target_work": (("syscall", 4.0),)}, {}) == {"syscall": 4}


def test_the_kernel_maps_the_interpreter_as_it_maps_the_program() -> None:
    """fs/binfmt_elf.c:load_elf_interp@v6.18 maps each PT_LOAD of it, and clears the tail of its bss."""
    image = dynamic_image()
    program, loader = image.program, image.loader
    assert program is not None
    assert loader is not None
    more = replace(loader, load_segments=loader.load_segments + 3)
    grown = replace(image, objects=tuple(more if each is loader else each for each in image.objects))
    before, after = (bill(scenario_of("vfork", parent_of(), each), BARE, COST_TABLE).counts for each in (image, grown))
    assert before["elf_load_segment"] == program.load_segments + loader.load_segments
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
        "elf_load_segment": 3
    }


def test_exec_of_a_static_program_needs_no_loader() -> None:
    counts = bill(scenario_of("vfork", parent_of(), static_image()), BARE, COST_TABLE).counts
    assert counts["elf_load_segment"] == 4
    assert not {name for name in counts if name.startswith(("ldso", "libc"))} - {"libc_main_exit"}
    assert simulate(scenario_of("vfork", parent_of(), static_image()), BARE, COST_TABLE).loader is None
    assert simulate(scenario_of("shell", parent_of(), static_image()), BARE, COST_TABLE).loader is None, "the shell's"


def test_the_loader_is_charged_by_what_the_files_say() -> None:
    image = dynamic_image(3)
    counts = bill(scenario_of("vfork", parent_of(), image), machine_with(facts=RICH.facts), COST_TABLE).counts
    libraries = 3
    assert counts["ldso_object"] == libraries
    assert counts["cpuid"] == RICH.facts["loader_cpuids"]
    assert counts["constructor_call"] == libraries
    assert counts["ldso_relative"] == 30 * (libraries + 1), "ld.so's own are in its fixed part"
    assert counts["ldso_probe"] == 9 * (libraries + 1)
    assert counts["ldso_lookup"] == image.symbol_lookups


def test_loader_time_leaves_constructors_out() -> None:
    plain, many = (
        dynamic_image(objects=(*dynamic_image(0).objects, elf_object("lib.so", constructors=n))) for n in (0, 50)
    )
    quick, slow = (simulate(scenario_of("vfork", parent_of(), each), BARE, COST_TABLE) for each in (plain, many))
    assert quick.loader is not None
    assert slow.loader is not None
    assert quick.loader.quiet_ns == pytest.approx(slow.loader.quiet_ns)
    later = slow.milestones["main"].quiet_ns - quick.milestones["main"].quiet_ns
    assert later == pytest.approx(50 * COST_TABLE.price("constructor_call")), "they come before _start"


def test_fork_child_drops_the_copy_in_exec_and_a_vfork_child_nothing() -> None:
    parent = parent_of(anon(5000))
    fork, vfork = (
        run_once(scenario_of(mechanism, parent, static_image()), BARE, COST_TABLE, PLACEMENTS[0])
        for mechanism in ("clone3", "vfork")
    )
    for run, zapped in ((fork, 5000), (vfork, 0)):
        until_exec = sum(entry.count for entry in run.path_to("exec") if entry.name == "zap_pte")
        assert until_exec == zapped, "the milestone is the end of exec_mmap"


@pytest.mark.parametrize("mechanism", ["jdk-fork", "jdk-vfork", "jdk-posix_spawn"])
def test_the_jdk_closes_every_other_descriptor_before_the_target_starts(mechanism: str) -> None:
    few, many = (parent_of(open_fds=n, highest_fd=63, runtime=Runtime.JVM) for n in (3, 43))
    extra = added(many, few, mechanism)
    assert extra["filp_close"] == 40, "by close(2), not at the target's end"
    assert extra["syscall"] == 40
    assert "close_on_exec" not in extra
    target_exit = "do_exit"
    run = run_once(scenario_of(mechanism, many), BARE, COST_TABLE, PLACEMENTS[0])
    last = [entry for entry in run.path_to("reaped") if entry.name == "filp_close" and target_exit in entry.path]
    assert [entry.count for entry in last] == [3]


@pytest.mark.parametrize("mechanism", ["jdk-fork", "jdk-vfork", "jdk-posix_spawn"])
def test_the_jdk_prepares_its_child_once_by_every_mechanism(mechanism: str) -> None:
    counts = counts_of(mechanism, parent_of())
    assert counts["open_file"] == 5 + 1 + 1, "pipes, the child's /proc/self/fd, the caller's /proc/PID/stat"
    assert counts["jdk_start_fixed"] == counts["jdk_reap_fixed"] == 1


def test_descriptors_with_cloexec_are_closed_by_the_first_exec() -> None:
    base = parent_of(open_fds=43, highest_fd=63)
    extra = added(replace(base, cloexec_fds=40), base, "posix_spawn")
    assert extra == {"close_on_exec": 40, "filp_close": -40}
    helped = added(replace(base, cloexec_fds=40), base, "jdk-posix_spawn")
    assert (helped["close_on_exec"], helped["filp_close"], helped["syscall"]) == (40, -40, -40)


def test_popen_closes_descriptors_itself() -> None:
    few, many = (parent_of(open_fds=n, highest_fd=63) for n in (3, 43))
    assert added(many, few, "cpython-subprocess")["filp_close"] == 40
    run = run_once(scenario_of("cpython-subprocess", many), BARE, COST_TABLE, PLACEMENTS[0])
    before_call = sum(entry.count for entry in run.path_to("call") if entry.name == "filp_close")
    assert before_call == 40


def test_helpers_are_executed_first() -> None:
    for mechanism in ("jdk-posix_spawn", "shell"):
        counts = bill(scenario_of(mechanism, parent_of(), static_image()), BARE, COST_TABLE).counts
        assert counts["execve_fixed"] == 2
        assert counts["ldso_object"] == len(HELPER.libraries)
    assert counts_of("fork", parent_of()) == EMPTY_FORK
    assert NO_IMAGE.kind == "none"


def test_a_shell_vforks_its_command_and_reaps_it() -> None:
    run = run_once(scenario_of("shell", parent_of(), static_image()), BARE, COST_TABLE, PLACEMENTS[0])
    assert [task.name for task in run.system.tasks] == ["caller", "child", "command"]
    assert bill_of(run.path_to("reaped")).counts["copy_process_fixed"] == 2
    assert bill_of(run.path_to("reaped")).counts["do_exit_fixed"] == 2
    assert run.milestones["call"] < run.milestones["exec"] < run.milestones["main"] < run.milestones["reaped"]
    (command_ends,) = (task.clock_ns for task in run.system.tasks if task.name == "command")
    (shell_ends,) = (task.clock_ns for task in run.system.tasks if task.name == "child")
    assert command_ends < shell_ends, "the shell waits for its command"
