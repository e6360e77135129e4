"""Each rule acts on a count or an error, and versions give the rules that they should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.address_space import Vma
from model.machine import Machine
from model.mechanisms import JDK_DEFAULT
from model.prediction import Aftermath
from model.process import Limits, Process
from model.rules import KERNEL_SINCE, Rules, differing, parse_version, rules_for, set_rule
from model.scenario import Load, Munmap, Mutators, Rewrite, Scenario, Step, Touch
from model.simulation import bill, simulate
from tests.model.builders import BARE, COST_TABLE, GIB, MIB, anon, dynamic_image, parent_of, scenario_of


def charged(mechanism: str, parent: Process, rules: Rules) -> Mapping[str, float]:
    return bill(scenario_of(mechanism, parent, rules=rules), BARE, COST_TABLE).counts


def changed(mechanism: str, parent: Process, **old: object) -> dict[str, float]:
    """What the old rule charges more (or less) than the new one."""
    new, before = (charged(mechanism, parent, each) for each in (Rules(), replace(Rules(), **old)))  # type: ignore[arg-type]
    difference = {name: before.get(name, 0) - new.get(name, 0) for name in {**new, **before}}
    return {name: count for name, count in difference.items() if count}


def steps(rules: Rules, *program: Step) -> Mapping[str, float]:
    return bill(Scenario(parent=parent_of(), program=program, rules=rules), BARE, COST_TABLE, "done").counts


def test_s1_protected_ptes_are_skipped() -> None:
    parent = parent_of(anon(100), writable=0.2)
    assert changed("clone3", parent, wrprotect_only_writable=False) == {"wrprotect_pte": 80}


@pytest.mark.parametrize(
    ("size", "guess_refuses", "obvious_refuses"), [(1, False, False), (4, True, False), (9, True, True)]
)
def test_s2_heuristic_overcommit_compares_with_what_is_free_or_with_all(
    size: int, guess_refuses: bool, obvious_refuses: bool
) -> None:
    limits = Limits(commit_mode=0, available_bytes=3 * GIB, ram_and_swap_bytes=8 * GIB)
    parent = parent_of(Vma(start=GIB, end=(1 + size) * GIB), limits=limits)
    for rule, refuses in (("per_vma_free", guess_refuses), ("only_obvious", obvious_refuses)):
        scenario = scenario_of("fork", parent, rules=set_rule(Rules(), "overcommit_guess", rule))
        error = simulate(scenario, BARE, COST_TABLE).error
        assert (error is not None) == refuses
        assert error is None or error.errno == "ENOMEM"


def test_s3_a_shared_pmd_mapping_is_split_or_copied() -> None:
    write = Rewrite(pages=7, huge=3)
    assert steps(Rules(), write) == {"split_huge_pmd": 3, "fault_cow_copy": 10}
    assert steps(Rules(thp_cow="copy_pmd"), write) == {"fault_cow_copy": 10, "page_copy": 3 * 511}
    alone = Rewrite(pages=7, huge=3, shared=False)
    for rules in (Rules(), Rules(thp_cow="copy_pmd")):
        assert steps(rules, alone) == {"fault_cow_reuse": 7, "huge_pmd_reuse": 3}


def test_s7_exclusive_marks_are_cleared() -> None:
    parent = parent_of(anon(100), writable=0.2)
    assert changed("clone3", parent, anon_exclusive=False) == {"locked_rmw": -20}


def test_s8_hugetlb_without_anon_vma_was_walked() -> None:
    parent = parent_of(Vma(start=GIB, end=2 * GIB, hugetlb_pages=12))
    assert changed("clone3", parent, hugetlb_lazy=False) == {"copy_hugetlb_pte": 12, "zap_pte": 12}


@pytest.mark.parametrize(("tree", "stores"), [("rbtree", 0), ("maple", 5)])
def test_s9_and_s13_the_vma_tree(tree: str, stores: int) -> None:
    vmas = [anon(1, start=GIB + index * MIB) for index in range(5)]
    parent = parent_of(*vmas, replace(vmas[0], start=2 * GIB, end=2 * GIB + MIB, dontcopy=True))
    expected = {"maple_store_vma": stores, "dontcopy_vma": -1}
    assert changed("clone3", parent, vma_tree=tree) == {name: count for name, count in expected.items() if count}


def test_s14_large_folios_are_copied_in_batches() -> None:
    difference = changed("clone3", parent_of(anon(160, folio_pages=16)), fork_batches_large_folios=False)
    assert difference == {
        "copy_folio": -10,
        "copy_folio_pte": -160,
        "copy_present_pte": 160,
        "zap_folio": -10,
        "zap_folio_pte": -160,
        "zap_pte": 160,
    }


def test_s14_ptes_of_folios_beyond_the_cache_have_a_price_of_their_own() -> None:
    machine = replace(BARE, facts={**BARE.facts, "far_lines": 1.0})
    scenario = scenario_of("clone3", parent_of(anon(160, folio_pages=16)))
    batched = bill(scenario, machine, COST_TABLE).counts
    single = bill(
        replace(scenario, rules=replace(scenario.rules, fork_batches_large_folios=False)), machine, COST_TABLE
    ).counts
    for kind in ("copy", "zap"):
        assert batched[f"{kind}_folio_pte_beyond_cache"] == 160
        assert batched.get(f"{kind}_pte_beyond_cache", 0) == 0
        assert single[f"{kind}_pte_beyond_cache"] == 160
        assert single.get(f"{kind}_folio_pte_beyond_cache", 0) == 0


def test_s15_a_cpu_that_another_program_took_stays_in_the_mask() -> None:
    load = Load(mutators=(Mutators(threads=3, writes_per_second=1e3, working_set_pages=64),), busy_cpus=1)
    asked = replace(scenario_of("clone3", parent_of(anon(64))), load=load)
    machine = replace(BARE, cpus=4)

    def others(rules: Rules) -> float:
        counts = bill(replace(asked, rules=rules), machine, COST_TABLE).counts
        return counts.get("ipi_round", 0.0) + counts.get("ipi_receiver", 0.0)

    assert (others(Rules()), others(Rules(lazy_mm_cpumask=False))) == (3, 2)
    assert [rules_for(kernel=each).lazy_mm_cpumask for each in ("6.12", "6.14")] == [False, True]
    running = scenario_of("clone3", parent_of(anon(10), threads=8, running_threads=3))
    assert changed_by(running, machine, lazy_mm_cpumask=False) == {}, "who runs is in the mask in any case"


def changed_by(asked: Scenario, machine: Machine, **old: object) -> dict[str, float]:
    """What an old rule charges more or less in one scenario."""
    before = replace(asked, rules=replace(Rules(), **old))  # type: ignore[arg-type]
    one, other = (bill(each, machine, COST_TABLE).counts for each in (asked, before))
    found = {name: other.get(name, 0) - one.get(name, 0) for name in {**one, **other}}
    return {name: count for name, count in found.items() if count}


def test_s17_a_split_interrupts_cpus_whose_thread_sleeps() -> None:
    huge = replace(anon(0, start=GIB, size=64 * MIB, huge_pmds=32), anon_vma=True)
    mutators = Mutators(threads=2, writes_per_second=1e3, working_set_pages=32 * 512)
    load = Load(mutators=(mutators,), child_lifetime_ns=1e9)
    asked = replace(scenario_of("clone3", parent_of(huge)), load=load)

    def after(**rules: bool) -> Aftermath:
        given = replace(asked, rules=replace(Rules(), **rules))  # type: ignore[arg-type]
        found = simulate(given, replace(BARE, cpus=2), COST_TABLE).aftermath
        assert found is not None
        return found

    now, before = after(), after(range_flush_reaches_lazy=False)
    assert now.splits == pytest.approx(before.splits, rel=0.05)
    assert before.ipis < 0.3 * before.splits, "threads that sleep are hardly ever caught running"
    assert now.ipis > before.ipis + 0.2 * now.splits
    assert now.ipis < before.ipis + now.splits + 2, "a flush reaches the only other CPU once"
    assert [rules_for(kernel=each).range_flush_reaches_lazy for each in ("6.14", "6.15")] == [False, True]


def test_s19_four_cpus_and_invlpgb_flush_without_interrupting() -> None:
    asked = scenario_of("clone3", parent_of(anon(10), threads=8, running_threads=7))

    def flushes(broadcast: str, cpus: int, **facts: float) -> dict[str, float]:
        machine = replace(BARE, cpus=cpus, facts={**BARE.facts, **facts})
        counts = bill(replace(asked, rules=set_rule(Rules(), "tlb_broadcast", broadcast)), machine, COST_TABLE).counts
        return {name: counts[name] for name in ("ipi_round", "ipi_receiver", "tlb_broadcast") if counts.get(name)}

    interrupts, broadcast = {"ipi_round": 1, "ipi_receiver": 6}, {"tlb_broadcast": 1}
    assert flushes("if_cpu_has", 8) == interrupts, "no machine has it that does not say so"
    assert flushes("if_cpu_has", 8, invlpgb=1.0) == flushes("always", 8) == broadcast
    assert flushes("never", 8, invlpgb=1.0) == interrupts
    assert flushes("always", 3) == {"ipi_round": 1, "ipi_receiver": 1}, "an mm on three CPUs keeps its local ASIDs"
    assert rules_for(kernel="6.14").tlb_broadcast == "never" != rules_for(kernel="6.15").tlb_broadcast


def test_s14_large_folios_of_an_own_mm_are_zapped_in_batches_too() -> None:
    own = Munmap(pages=160, folio_pages=16, tables=1)
    freed = {"munmap_touched": 1, "free_folio": 10, "free_folio_page": 160, "free_pte_table": 1}
    assert steps(Rules(), own) == {**freed, "zap_folio": 10, "zap_folio_pte": 160}
    assert steps(Rules(fork_batches_large_folios=False), own) == {**freed, "zap_pte": 160}


def test_s16_a_write_to_the_huge_zero_page_gives_a_huge_page_or_splits_it() -> None:
    write = Touch(pages=5, huge=3, after_read=True)
    assert steps(Rules(), write) == {"fault_zero_write": 5, "fault_huge": 3}
    assert steps(Rules(huge_zero_write="split"), write) == {"fault_zero_write": 8, "split_huge_pmd": 3}
    assert rules_for(kernel="6.12").huge_zero_write == "split" != rules_for(kernel="6.14").huge_zero_write
    read = Touch(pages=5, tables=1, huge=3, read=True)
    assert steps(Rules(), read) == {"fault_pte_table": 1, "fault_zero_page": 5, "fault_huge_zero": 3}
    folios = Touch(pages=32, tables=1, folio_pages=16)
    assert steps(Rules(), folios) == {"fault_pte_table": 1, "fault_folio": 2, "fault_folio_page": 32}


def test_s24_signal_dispositions_of_posix_spawn() -> None:
    assert changed("posix_spawn", parent_of(), posix_spawn_clear_sighand=False) == {"syscall": 121}
    assert changed("vfork", parent_of(), posix_spawn_clear_sighand=False) == {}


def test_s25_the_jdks_default_launch() -> None:
    for version, mechanism in (("12", "jdk-vfork"), ("13", "jdk-posix_spawn"), ("25", "jdk-posix_spawn")):
        rules = rules_for(jdk=version)
        default = scenario_of("jdk-posix_spawn", parent_of(), rules=rules)
        spawn = default.spawn
        assert spawn is not None
        asked = replace(default, program=(replace(spawn, mechanism=JDK_DEFAULT), default.program[1]))
        assert simulate(asked, BARE, COST_TABLE).mechanism == mechanism
        assert bill(asked, BARE, COST_TABLE).counts == charged(mechanism, parent_of(), rules)


def test_the_jdk_marks_descriptors_instead_of_closing_them() -> None:
    parent = parent_of(open_fds=23, highest_fd=63)
    assert changed("jdk-vfork", parent, jdk_closes_fds="cloexec") == {
        "syscall": 20,
        "filp_close": -20,
        "close_on_exec": 20,
    }


def test_popen_forked_before_cpython_3_10() -> None:
    difference = changed("cpython-subprocess", parent_of(anon(50)), cpython_vfork=False)
    assert difference["copy_present_pte"] == 50


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("6.18.44-fc-v769", (6, 18)),
        ("v5.15", (5, 15)),
        ("2.36", (2, 36)),
        ("17", (17, 0)),
        ("5.10-rc1", (5, 10)),
        ("4.18.0-348.el8.x86_64", (4, 18)),
        (" 6.1+ ", (6, 1)),
    ],
)
def test_versions_are_read(text: str, version: tuple[int, int]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "six", "x.1", "v"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a version"):
        parse_version(text)


def test_old_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"older than 4\.18"):
        rules_for(kernel="4.17")


def test_releases_have_the_rules_that_came_with_them() -> None:
    assert rules_for() == Rules(), "the defaults are those of a current system"
    assert not rules_for(kernel="4.18").wrprotect_only_writable
    assert [rules_for(kernel=k).vma_tree for k in ("6.0", "6.1", "6.7", "6.8")] == [
        "rbtree",
        "maple",
        "maple",
        "mt_dup",
    ]
    assert [rules_for(kernel=k).thp_cow for k in ("5.7", "5.8")] == ["copy_pmd", "split_pmd"]
    assert [rules_for(kernel=k).anon_exclusive for k in ("5.18", "5.19")] == [False, True]
    assert [rules_for(kernel=k).overcommit_guess for k in ("5.1", "5.2")] == ["per_vma_free", "only_obvious"]
    assert [rules_for(kernel=k).hugetlb_lazy for k in ("5.19", "6.0")] == [False, True]
    clear = [
        rules_for(kernel=k, glibc=g).posix_spawn_clear_sighand
        for k, g in (("5.4", "2.38"), ("5.5", "2.37"), ("5.5", "2.38"))
    ]
    assert clear == [False, False, True], "it takes both"
    assert [rules_for(jdk=j).jdk_closes_fds for j in ("25.0.1", "26")] == ["close", "cloexec"]
    assert [rules_for(cpython=v).cpython_vfork for v in ("3.9", "3.10")] == [False, True]


@given(st.tuples(st.integers(4, 7), st.integers(0, 30)), st.tuples(st.integers(4, 7), st.integers(0, 30)))
def test_no_rule_goes_back(one: tuple[int, int], other: tuple[int, int]) -> None:
    """Along the releases each rule takes its values in the order of its table."""
    low, high = sorted((max(one, (4, 18)), max(other, (4, 18))))
    before, after = (rules_for(kernel=f"{major}.{minor}") for major, minor in (low, high))
    for name, table in KERNEL_SINCE.items():
        values = [value for _, value in table]
        assert values.index(getattr(before, name)) <= values.index(getattr(after, name))


def test_single_rules_are_set() -> None:
    rules = set_rule(Rules(), "anon_exclusive", "FALSE")
    assert not rules.anon_exclusive
    assert set_rule(rules, "vma_tree", "maple").vma_tree == "maple"
    assert differing(rules, Rules()) == ("anon_exclusive",)
    assert differing(rules, rules) == ()


def test_unknown_rules_and_values_are_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no rule 'speed': the rules are .*vma_tree"):
        set_rule(Rules(), "speed", "fast")
    with pytest.raises(ValueError, match="one of rbtree, maple, mt_dup, not 'list'"):
        set_rule(Rules(), "vma_tree", "list")
    with pytest.raises(ValueError, match="one of true, false"):
        set_rule(Rules(), "anon_exclusive", "maybe")


def test_every_kernel_rule_has_its_history() -> None:
    names = {field.name for field in fields(Rules)}
    assert set(KERNEL_SINCE) <= names
    for table in KERNEL_SINCE.values():
        releases = [since for since, _ in table]
        assert releases[0] == (0, 0)
        assert releases == sorted(set(releases))


def test_mechanisms_do_not_share_their_rules() -> None:
    """A kernel's rules leave a spawn without copy alone."""
    target = dynamic_image(1)
    old = replace(rules_for(kernel="4.18"), posix_spawn_clear_sighand=True)
    for mechanism in ("vfork", "posix_spawn", "jdk-vfork"):
        new_bill, old_bill = (
            bill(scenario_of(mechanism, parent_of(anon(99)), target, rules=rules), BARE, COST_TABLE)
            for rules in (Rules(), old)
        )
        assert new_bill == old_bill
