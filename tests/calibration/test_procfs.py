"""Live processes and copies of their /proc directories."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from calibration.capture.procfs import capture_process, read_procfs_dir
from calibration.errors import BadInput
from model.address_space import Vma, VmaKind
from model.process import Process, Runtime

Known = tuple[int, Process, int, int, dict[str, str]]
"""pid, capture, addresses of the layout and of the shared memory, status."""

LAYOUT = """
import ctypes, mmap, os, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
for call in (libc.mprotect, libc.madvise):
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
MIB, RW = 1 << 20, 3
area = -(-libc.mmap(None, 64 * MIB, 0, 0x22, -1, 0) // (2 * MIB)) * 2 * MIB + 2 * MIB
def rw(at, size, touch, advice=None):
    assert libc.mprotect(at, size, RW) == 0
    if advice is not None:
        assert libc.madvise(at, size, advice) == 0
    for page in touch:
        ctypes.memset(at + page * 4096, 1, 1)
rw(area, 4 * MIB, range(1024), 15)
rw(area + 8 * MIB, 8 * MIB, [0, 5, 1024], 15)
rw(area + 18 * MIB, MIB, [1], 10)
rw(area + 20 * MIB, MIB, [2], 18)
rw(area + 22 * MIB, 4 * MIB, range(1024), 14)
rw(area + 28 * MIB, 4 * MIB, range(512), 14)
assert libc.madvise(area + 30 * MIB - 4096, 4096, 4) == 0
shared = libc.mmap(None, 64 << 10, RW, 0x21, -1, 0)
ctypes.memset(shared, 1, 64 << 10)
os.dup2(1, 200, inheritable=True)
for _ in range(3):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print(area, shared, flush=True)
sys.stdin.read()
"""


@contextmanager
def running(code: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python child that runs `code`, and the first line it prints."""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        try:
            yield child, child.stdout.readline()
        finally:
            child.kill()


@pytest.fixture(scope="module")
def known() -> Iterator[Known]:
    """pid, capture, addresses of its layout, and its status at that time."""
    with running(LAYOUT) as (child, line):
        area, shared = map(int, line.split())
        process = capture_process(child.pid)
        lines = Path(f"/proc/{child.pid}/status").read_text(encoding="utf-8").splitlines()
        yield child.pid, process, area, shared, dict(one.split(":", 1) for one in lines)


def at(process: Process, address: int) -> Vma:
    """The vma that holds an address."""
    return next(vma for vma in process.space.vmas if vma.start <= address < vma.end)


def test_a_dense_mapping_is_counted_exactly(known: Known) -> None:
    _, process, area, _, _ = known
    vma = at(process, area)
    assert (vma.start, vma.size_bytes) == (area, 4 << 20)
    assert (vma.anon_ptes, vma.huge_pmds, vma.pte_spans, vma.anon_vma) == (1024, 0, 2, True)
    assert (vma.kind, vma.head_populated, vma.tail_populated) == (VmaKind.ANON, True, True)


def test_a_sparse_mapping_has_tables_only_where_it_was_touched(
    known: Known,
) -> None:
    _, process, area, _, _ = known
    vma = at(process, area + (8 << 20))
    assert (vma.anon_ptes, vma.pte_spans, vma.head_populated, vma.tail_populated) == (3, 2, True, False)


def test_advice_reserves_and_shared_memory(known: Known) -> None:
    _, process, area, shared, _ = known
    assert at(process, area + (18 << 20)).dontcopy
    assert at(process, area + (20 << 20)).wipeonfork
    assert at(process, area + (19 << 20)).kind is VmaKind.GUARD
    memory = at(process, shared)
    assert (memory.kind, memory.file_ptes, memory.anon_vma) == (VmaKind.FILE_SHARED, 16, False)


def test_advised_memory_is_whole_whether_huge_or_small(
    known: Known,
) -> None:
    _, process, area, _, _ = known
    vma = at(process, area + (22 << 20))
    assert vma.anon_ptes + 512 * vma.huge_pmds == 1024
    assert vma.tables + vma.huge_pmds == 2


def test_a_split_huge_page_is_a_large_folio_mapped_by_ptes(known: Known) -> None:
    _, process, area, _, _ = known
    vma = at(process, area + (28 << 20))
    assert (vma.anon_ptes, vma.huge_pmds, vma.tables) == (511, 0, 1)
    was_huge = at(process, area + (22 << 20)).huge_pmds > 0
    if was_huge and "folio_pages" not in process.assumed:
        assert vma.folio_pages > 1


def test_counted_tables_are_those_of_the_kernel(known: Known) -> None:
    _, process, _, _, status = known
    tables = process.space.tables
    counted = tables.pte + tables.deposited + tables.upper
    assert abs(counted - int(status["VmPTE"].split()[0]) // 4) <= 2


def test_resident_memory_is_that_of_the_kernel(known: Known) -> None:
    _, process, _, _, status = known
    assert process.space.anon_bytes // 1024 == int(status["RssAnon"].split()[0])
    assert sum(vma.size_bytes for vma in process.space.vmas) // 1024 == int(status["VmSize"].split()[0])


def test_threads_descriptors_and_runtime(known: Known) -> None:
    _, process, _, _, _ = known
    assert (process.threads, process.running_threads) == (4, 0)
    assert (process.open_fds, process.highest_fd, process.cloexec_fds) == (4, 200, 0)
    assert process.runtime is Runtime.CPYTHON
    assert process.origin == "live"
    assert process.limits.commit_mode in (0, 1, 2)
    assert process.limits.ram_and_swap_bytes


def test_a_copy_without_pagemap_tells_the_same_and_what_it_assumes(known: Known, tmp_path: Path) -> None:
    pid, live, _, _, _ = known
    copy = copied(pid, tmp_path, "smaps", "status")
    process = read_procfs_dir(copy)
    assert [(vma.start, vma.anon_ptes, vma.huge_pmds) for vma in process.space.vmas] == [
        (vma.start, vma.anon_ptes, vma.huge_pmds) for vma in live.space.vmas
    ]
    assert process.origin == "procfs"
    assert process.threads == live.threads
    assert {"contiguous", "folio_pages", "pte_spans", "open_fds", "cloexec_fds"} <= set(process.assumed)
    assert process.contiguous == 0.5
    assert process.limits.ram_and_swap_bytes is None


def test_maps_alone_spread_what_status_says_is_resident(known: Known, tmp_path: Path) -> None:
    pid, live, _, _, _ = known
    process = read_procfs_dir(copied(pid, tmp_path, "maps", "status"))
    assert process.space.anon_bytes == live.space.anon_bytes
    assert "resident" in process.assumed
    assert all(vma.ptes * 4096 <= vma.size_bytes for vma in process.space.vmas)


def test_smaps_alone_is_enough(known: Known, tmp_path: Path) -> None:
    pid, live, _, _, _ = known
    process = read_procfs_dir(copied(pid, tmp_path, "smaps"))
    assert process.space.anon_bytes == live.space.anon_bytes
    assert {"threads", "runtime", "open_fds"} <= set(process.assumed)
    assert process.name == tmp_path.name


def copied(pid: int, directory: Path, *names: str) -> Path:
    """Copies of some files of a /proc/PID directory."""
    for name in names:
        (directory / name).write_bytes(Path(f"/proc/{pid}/{name}").read_bytes())
    return directory


def cut_at_a_mapping(text: str) -> str:
    """The first half of a smaps text, whole mappings only."""
    at_line = text.index("VmFlags:", len(text) // 2)
    return text[: text.index("\n", at_line) + 1]


@pytest.mark.parametrize("witness", ["status", "maps"])
def test_smaps_cut_between_two_mappings_is_found_out(witness: str, tmp_path: Path) -> None:
    copied(os.getpid(), tmp_path, witness)
    text = Path("/proc/self/smaps").read_text(encoding="utf-8")
    (tmp_path / "smaps").write_text(cut_at_a_mapping(text), encoding="utf-8")
    with pytest.raises(BadInput, match="cut short"):
        read_procfs_dir(tmp_path)


def test_smaps_that_may_be_cut_is_said_so(tmp_path: Path) -> None:
    text = Path("/proc/self/smaps").read_text(encoding="utf-8")
    (tmp_path / "smaps").write_text(cut_at_a_mapping(text), encoding="utf-8")
    assert "vmas" in read_procfs_dir(tmp_path).assumed


def test_own_process_and_its_procfs_directory() -> None:
    idle = threading.Event()
    thread = threading.Thread(target=idle.wait)
    thread.start()
    try:
        process, same = capture_process(os.getpid()), read_procfs_dir(Path("/proc/self"))
    finally:
        idle.set()
        thread.join()
    assert process.threads >= 2
    assert same.runtime is process.runtime is Runtime.CPYTHON
    assert process.space.anon_bytes > 0
    assert "writable" in process.assumed


def test_descriptors_of_a_copy(tmp_path: Path) -> None:
    copied(os.getpid(), tmp_path, "smaps", "status")
    for number, flags in ((0, "0100002"), (1, "02100001"), (7, "02000000"), (40, "junk")):
        for folder in ("fd", "fdinfo"):
            (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / "fd" / str(number)).touch()
        (tmp_path / "fdinfo" / str(number)).write_text(f"pos:\t0\nflags:\t{flags}\n", encoding="utf-8")
    process = read_procfs_dir(tmp_path)
    assert (process.open_fds, process.highest_fd) == (4, 40)
    assert process.cloexec_fds == round(4 * 2 / 3)


@pytest.mark.parametrize(("slots", "fds"), [("64", 3), ("256", 3), ("1024", 513), ("junk", 3), ("9" * 30, 3)])
def test_without_fd_the_size_of_the_table_stands_in(slots: str, fds: int, tmp_path: Path) -> None:
    copied(os.getpid(), tmp_path, "smaps")
    (tmp_path / "status").write_text(f"Name:\tx\nFDSize:\t{slots}\n", encoding="utf-8")
    process = read_procfs_dir(tmp_path)
    assert (process.open_fds, process.highest_fd) == (fds, fds - 1)


@pytest.mark.parametrize(
    ("exe", "runtime"),
    [("/opt/jdk/bin/java", Runtime.JVM), ("/x/python3.12 (deleted)", Runtime.CPYTHON), ("/bin/javac", Runtime.C)],
)
def test_runtime_follows_from_the_executable(exe: str, runtime: Runtime, tmp_path: Path) -> None:
    copied(os.getpid(), tmp_path, "smaps")
    (tmp_path / "exe").symlink_to(exe)
    assert read_procfs_dir(tmp_path).runtime is runtime


def test_running_threads_leave_the_main_one_out(tmp_path: Path) -> None:
    copied(os.getpid(), tmp_path, "smaps")
    for tid, state in ((10, "R"), (11, "R"), (12, "S"), (13, "R")):
        (tmp_path / "task" / str(tid)).mkdir(parents=True)
        (tmp_path / "task" / str(tid) / "stat").write_text(f"{tid} (a) R (b) {state} 1 1", encoding="utf-8")
    process = read_procfs_dir(tmp_path)
    assert (process.threads, process.running_threads) == (4, 2)
