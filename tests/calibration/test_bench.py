"""Each bench's claim about its own state holds in /proc, and what it prints is what the rest relies on."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from calibration.build import Builder, bench_names, is_spawn_bench
from calibration.run_bench import (
    BenchError,
    BenchOutput,
    BenchUnavailableError,
    held_bench,
    run_bench,
)
from calibration.targets import TargetSpec, build_target

CPU = max(os.sched_getaffinity(0))
PAGE_KB = 4
FACTS_AND_WAYS = ("wake", "loader_cpuids", "tlb_leaves")
VALUE_BENCHES = [name for name in bench_names() if not is_spawn_bench(name) and name not in FACTS_AND_WAYS]
SPAWN_BENCHES = [name for name in bench_names() if is_spawn_bench(name)]


@pytest.fixture(scope="module")
def tiny(builder: Builder) -> Path:
    return build_target(TargetSpec(kind="tiny_static"), builder)


def run(builder: Builder, name: str, *args: str, cpu: int | None = CPU) -> BenchOutput:
    try:
        return run_bench(builder.bench(name), args, cpu=cpu, timeout_s=300)
    except BenchUnavailableError as error:
        pytest.skip(str(error))


def timed(output: BenchOutput) -> list[dict[str, Any]]:
    return [record for record in output.records if not record["warmup"]]


class Held:
    """A held bench's process, as /proc shows it."""

    def __init__(self, pid: int) -> None:
        self.folder = Path(f"/proc/{pid}")
        self.smaps = (self.folder / "smaps").read_text()
        self.status = (self.folder / "status").read_text()

    def vmas(self) -> list[str]:
        return re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", self.smaps, flags=re.MULTILINE)[1:]

    def status_number(self, key: str) -> int:
        found = re.search(rf"^{key}:\s+(\d+)", self.status, re.MULTILINE)
        assert found is not None
        return int(found.group(1))


def number(vma: str, key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+)", vma, re.MULTILINE)
    assert found is not None
    return int(found.group(1))


@pytest.fixture
def hold(builder: Builder) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def start(name: str, *args: str) -> Held:
            try:
                header = stack.enter_context(held_bench(builder.bench(name), args, cpu=CPU))
            except BenchUnavailableError as error:
                pytest.skip(str(error))
            return Held(header["pid"])

        yield start


def largest(held: Held) -> str:
    return max(held.vmas(), key=lambda vma: number(vma, "Size"))


@pytest.mark.parametrize("order", ["seq", "random"])
def test_touched_pages_are_resident_small_and_written(hold: Any, order: str) -> None:
    vma = largest(hold("fork_touched", "--pages", "8192", "--order", order))
    assert number(vma, "Size") == number(vma, "Rss") == number(vma, "Anonymous") == 8192 * PAGE_KB
    assert number(vma, "AnonHugePages") == 0


def test_pages_touched_in_random_order_have_scattered_frames(builder: Builder) -> None:
    scattered = run(builder, "fork_touched", "--pages", "8192", "--order", "random", "--reps", "1").header["contiguous"]
    if scattered is None:
        pytest.skip("frames are hidden from this user")
    assert scattered < 0.1


def test_sparse_pages_cost_a_table_each(hold: Any) -> None:
    bare, sparse = hold("fork_sparse"), hold("fork_sparse", "--tables", "200")
    assert number(largest(sparse), "Rss") == 200 * PAGE_KB
    tables = (sparse.status_number("VmPTE") - bare.status_number("VmPTE")) / PAGE_KB
    assert 198 <= tables <= 203  # give or take where the kernel put the other mappings


def test_a_page_in_each_gib_costs_two_tables(hold: Any) -> None:
    bare, sparse = hold("fork_sparse"), hold("fork_sparse", "--gib", "8")
    tables = (sparse.status_number("VmPTE") - bare.status_number("VmPTE")) / PAGE_KB
    assert 14 <= tables <= 19


def test_huge_pages_are_mapped_by_pmds(hold: Any) -> None:
    assert number(largest(hold("fork_thp", "--huge", "6")), "AnonHugePages") == 6 * 2048


def test_split_huge_pages_are_mapped_by_ptes(hold: Any) -> None:
    vma = largest(hold("fork_folios", "--split", "--pages", "2048"))
    assert number(vma, "AnonHugePages") == 0
    assert number(vma, "Rss") == 2048 * PAGE_KB


def test_split_huge_pages_are_unmapped_page_by_page_and_their_folios_whole(builder: Builder) -> None:
    output = run(builder, "munmap", "--split", "--pages", "2048", "--reps", "1")
    assert output.header["compound"] is None or output.header["compound"] > 0.9
    assert all(record["value_ns"] > 0 for record in output.records)


def test_folio_sizes_are_put_back(builder: Builder) -> None:
    settings = sorted(Path("/sys/kernel/mm/transparent_hugepage").glob("hugepages-*kB/enabled"))
    before = [path.read_text() for path in settings]
    output = run(builder, "fork_folios", "--kib", "64", "--pages", "2048", "--reps", "1")
    assert [path.read_text() for path in settings] == before
    assert output.header["compound"] is None or output.header["compound"] >= 0.9


@pytest.mark.parametrize(
    "kind, marks",
    [
        ("anon_empty", {"Rss": 0, "Anonymous": 0}),
        ("anon_page", {"Rss": PAGE_KB, "Anonymous": PAGE_KB}),
        ("file_clean", {"Rss": PAGE_KB, "Anonymous": 0}),
        ("file_dirty", {"Rss": PAGE_KB, "Anonymous": PAGE_KB}),
        ("shared_anon", {"Rss": PAGE_KB, "Anonymous": 0}),
        ("guard", {"Rss": 0, "Anonymous": 0}),
        ("dontfork", {"Rss": PAGE_KB, "Anonymous": PAGE_KB}),
        ("wipeonfork", {"Rss": PAGE_KB, "Anonymous": PAGE_KB}),
    ],
)
def test_vmas_are_of_their_kind(hold: Any, kind: str, marks: dict[str, int]) -> None:
    flags = {"dontfork": "dc", "wipeonfork": "wf"}.get(kind, "")
    found = [
        vma
        for vma in hold("fork_vmas", "--kind", kind, "--vmas", "300").vmas()
        if number(vma, "Size") == PAGE_KB
        and all(number(vma, key) == value for key, value in marks.items())
        and (not flags or re.search(rf"^VmFlags:.*\b{flags}\b", vma, re.MULTILINE))
        and (kind != "guard" or " ---p " in vma)
        and (kind != "shared_anon" or " rw-s " in vma)
    ]
    assert 300 <= len(found) <= 310


def test_descriptors_reach_as_high_as_asked(hold: Any) -> None:
    high = {int(path.name) for path in (hold("fork_fds", "--high", "700").folder / "fd").iterdir()}
    assert max(high) == 700
    assert len(high) < 20
    many = {int(path.name) for path in (hold("fork_fds", "--open", "300").folder / "fd").iterdir()}
    assert 300 <= len(many) < 320


def test_threads_sleep_or_run_beside_the_caller(hold: Any) -> None:
    assert hold("fork_threads", "--threads", "30").status_number("Threads") == 31
    assert hold("fork_threads", "--running", "1").status_number("Threads") == 2


def test_the_chain_puts_ancestors_above_the_measuring_process(hold: Any) -> None:
    held = hold("fork_chain", "--depth", "3", "--vmas", "10")
    pid, generations = int(held.folder.name), 0
    while pid != os.getpid():
        pid = int(re.search(r"^PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])  # type: ignore[index]
        generations += 1
    assert generations == 4


def test_vfork_and_fork_find_the_same_parent(hold: Any) -> None:
    fork, vfork = (hold("fork_touched", "--mech", mech, "--pages", "512") for mech in ("fork", "vfork"))
    assert len(fork.vmas()) == len(vfork.vmas())
    assert abs(fork.status_number("RssAnon") - vfork.status_number("RssAnon")) <= 8 * PAGE_KB


NEED_TARGET = ("exec_target", "exec_threads", "exec_setid", "posix_spawn_exit")


@pytest.mark.parametrize("name", SPAWN_BENCHES)
def test_spawn_benches_print_milestones_in_order(builder: Builder, tiny: Path, name: str) -> None:
    target = ["--target-path", str(tiny)] if name in NEED_TARGET else []
    output = run(builder, name, "--reps", "4", *target)
    if reason := output.header.get("unavailable"):
        assert name == "exec_setid"
        pytest.skip(reason)
    assert output.header["bench"] == name
    assert output.header["cpu_pinned"] == CPU
    assert [record["rep"] for record in timed(output)] == [0, 1, 2, 3]
    for record in output.records:
        assert 0 < record["call_ns"] < record["reaped_ns"]
        assert record["child_cpu"] == CPU
        assert not target or 0 < record["main_ns"] < record["reaped_ns"]


@pytest.mark.parametrize("name", VALUE_BENCHES)
def test_value_benches_print_a_positive_value(builder: Builder, name: str) -> None:
    output = run(builder, name, "--reps", "3")
    assert len(timed(output)) == 3
    assert len(output.records) == 5
    assert all(record["value_ns"] > 0 and record["n"] > 0 for record in output.records)


@pytest.mark.parametrize(
    "name, args, faults",
    [
        ("touch", ("--pages", "1024"), 1024),
        ("touch", ("--pages", "16", "--sparse"), 16),
        ("touch", ("--pages", "4", "--thp"), 4),
        ("cow", ("--pages", "256"), 256),
        ("cow", ("--pages", "256", "--gone"), 256),
        ("cow", ("--pages", "256", "--writes", "60", "--burst", "7", "--gap-us", "100"), 60),
        ("cow", ("--pages", "4", "--thp", "--gone"), 4),
        ("cow", ("--pages", "4", "--thp", "--each"), 4 * 512),
        ("file_write", ("--pages", "256"), 256),
        ("file_write", ("--pages", "256", "--after-read"), 256),
    ],
)
def test_each_write_is_one_fault(builder: Builder, name: str, args: tuple[str, ...], faults: int) -> None:
    output = run(builder, name, *args, "--reps", "3")
    assert {record["n"] for record in output.records} == {faults}
    assert all(faults <= record["minflt_caller"] <= faults + 2 for record in timed(output))


def test_reading_a_cached_file_maps_several_pages_a_fault(builder: Builder) -> None:
    assert all(0 < record["minflt_caller"] < 512 for record in timed(run(builder, "file_fault", "--pages", "1024")))


@pytest.mark.parametrize("mech", ["fork", "fork_raw", "clone3"])
def test_fork_grows_with_pages_and_vfork_does_not(builder: Builder, mech: str) -> None:
    def quiet(how: str, pages: int) -> float:
        args = ("--mech", how, "--pages", str(pages), "--reps", "15")
        outputs = [run(builder, "fork_touched", *args) for _ in range(3)]
        return float(min(record["call_ns"] for output in outputs for record in timed(output)))

    assert quiet(mech, 32768) > 3 * quiet(mech, 0)
    assert quiet("vfork", 32768) < 3 * quiet("vfork", 0)


def test_first_fork_finds_writable_ptes(builder: Builder) -> None:
    output = run(builder, "fork_touched", "--pages", "1024", "--first", "--reps", "1")
    assert len(timed(output)) == 1
    assert len(output.records) == 3
    with pytest.raises(BenchError, match="--reps 1"):
        run(builder, "fork_touched", "--pages", "1024", "--first")


def test_wake_asks_for_one_of_its_two_ways(builder: Builder) -> None:
    assert all(record["value_ns"] > 0 for record in run(builder, "wake", "--same", "--reps", "5").records)
    if len(os.sched_getaffinity(0)) > 1:
        assert run(builder, "wake", "--other", "--reps", "5").header["sleeper_cpu"] != CPU
    with pytest.raises(BenchError, match="one of --same and --other"):
        run(builder, "wake")


def test_nothing_is_left_of_a_held_bench(builder: Builder) -> None:
    with held_bench(builder.bench("fork_chain"), ["--depth", "3"], cpu=None) as header:
        group = os.getpgid(header["pid"])
        assert group != os.getpgrp()
        assert len(alive(group)) == 4
    end_s = time.monotonic() + 60
    while alive(group) and time.monotonic() < end_s:
        time.sleep(0.01)
    assert not alive(group)


def alive(group: int) -> list[int]:
    """The processes of a group, without those that only wait to be reaped."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, after_name = int(path.parent.name), path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[2]) == group and after_name[0] != "Z":
            found.append(pid)
    return found
