"""TOML descriptions and synthetic parents: where the vmas lie and what they hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.capture.parent_file import read_parent
from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from model.address_space import VmaKind
from model.process import Caller, Process, Runtime
from model.units import PMD_BYTES

HEAD = 'schema = "spawncost.parent/1"\nname = "x"\n'
VMA = '[[vma]]\nkind = "anon"\nsize = "4MiB"\n'


def described(tmp_path: Path, text: str) -> Process:
    path = tmp_path / "parent.toml"
    path.write_text(text, encoding="utf-8")
    return read_parent(path)


def test_the_documented_description(tmp_path: Path) -> None:
    process = described(
        tmp_path,
        HEAD + "threads = 40\nfds = 120\n"
        '[[vma]]\ncount = 1\nkind = "anon"\nsize = "4GiB"\nresident = "3.5GiB"\nhuge = 0.0\n',
    )
    (vma,) = process.space.vmas
    assert (vma.size_bytes, vma.anon_ptes, vma.huge_pmds, vma.anon_vma) == (4 << 30, 7 << 17, 0, True)
    assert vma.start % PMD_BYTES == 0
    assert process.space.tables.pte == 1792
    assert (process.threads, process.open_fds, process.highest_fd) == (40, 120, 119)
    assert (process.caller, process.contiguous, process.writable) == (Caller.COLD, 0.5, 0.0)
    assert set(process.assumed) == {"contiguous", "writable"}


def test_optional_keys(tmp_path: Path) -> None:
    keys = 'threads = 3\ncontiguous = 0.25\nwritable = 1\ncaller = "hot"\nruntime = "jvm"\nrunning_threads = 2\n'
    process = described(tmp_path, HEAD + keys + "highest_fd = 900\ncloexec_fds = 3\n" + VMA)
    assert (process.contiguous, process.writable, process.caller) == (0.25, 1.0, Caller.HOT)
    assert (process.runtime, process.running_threads, process.highest_fd) == (Runtime.JVM, 2, 900)
    assert process.assumed == ()


def test_huge_is_the_fraction_mapped_by_pmd(tmp_path: Path) -> None:
    for huge, pmds in ((1.0, 1792), (0.5, 896), (0, 0)):
        text = HEAD + f'[[vma]]\nkind = "anon"\nsize = "4GiB"\nresident = "3.5GiB"\nhuge = {huge}\n'
        (vma,) = described(tmp_path, text).space.vmas
        assert (vma.huge_pmds, vma.anon_ptes) == (pmds, (1792 - pmds) * 512)
        assert vma.tables == 1792 - pmds


def test_kinds_hold_what_they_can(tmp_path: Path) -> None:
    text = HEAD + "".join(
        f'[[vma]]\nkind = "{kind}"\nsize = "64KiB"\nresident = {0 if kind == "guard" else 8192}\n'
        for kind in ("anon", "file-private", "file-shared", "stack", "guard")
    )
    by_kind = {vma.kind: vma for vma in described(tmp_path, text).space.vmas}
    assert by_kind[VmaKind.FILE_PRIVATE].anon_ptes == 2
    assert (by_kind[VmaKind.FILE_SHARED].file_ptes, by_kind[VmaKind.FILE_SHARED].anon_vma) == (2, False)
    assert (by_kind[VmaKind.STACK].tail_populated, by_kind[VmaKind.STACK].tables) == (True, 1)
    assert (by_kind[VmaKind.GUARD].account, by_kind[VmaKind.GUARD].ptes) == (False, 0)


def test_small_neighbours_share_tables_and_large_ones_do_not(tmp_path: Path) -> None:
    small = described(tmp_path, HEAD + '[[vma]]\ncount = 256\nkind = "anon"\nsize = 4096\nresident = 4096\n')
    assert (len(small.space.vmas), small.space.tables.pte) == (256, 1)
    large = described(tmp_path, HEAD + '[[vma]]\ncount = 10\nkind = "anon"\nsize = "3MiB"\nresident = "3MiB"\n')
    assert large.space.tables.pte == 20
    groups = described(tmp_path, HEAD + '[[vma]]\nkind = "anon"\nsize = 4096\nresident = 4096\n' * 7)
    assert groups.space.tables.pte == 7


def test_vmas_with_addresses_stand_where_they_say(tmp_path: Path) -> None:
    text = HEAD + VMA + "start = 0x7f0000001000\n" + VMA + VMA + "start = 0x10000\n"
    assert [vma.start for vma in described(tmp_path, text).space.vmas] == [0x10000, 1 << 44, 0x7F0000001000]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "schema"),
        (HEAD, "vma"),
        (HEAD.replace("/1", "/2") + VMA, "schema"),
        (HEAD + "surprise = 1\n" + VMA, "surprise"),
        (HEAD + VMA + "surprise = 1\n", r"vma\[0\].surprise"),
        (HEAD + VMA + VMA.replace("4MiB", "4 megs"), r"vma\[1\].size: .* is no size"),
        (HEAD + VMA.replace('"4MiB"', "-4096"), r"vma\[0\].size"),
        (HEAD + VMA.replace('"4MiB"', "0"), r"vma\[0\].size"),
        (HEAD + VMA.replace('"4MiB"', "4.5"), r"vma\[0\].size"),
        (HEAD + VMA.replace('"4MiB"', "true"), r"vma\[0\].size"),
        (HEAD + VMA.replace('"4MiB"', "9" * 5000), "parent.toml"),
        (HEAD + VMA + 'resident = "5MiB"\n', r"vma\[0\]: resident is more than size"),
        (HEAD + VMA + "huge = 1.5\n", r"vma\[0\].huge"),
        (HEAD + VMA + "huge = nan\n", r"vma\[0\].huge"),
        (HEAD + VMA + "huge = -0.1\n", r"vma\[0\].huge"),
        (HEAD + VMA + "count = 0\n", r"vma\[0\].count"),
        (HEAD + VMA + "count = 2000000000\n", r"vma\[0\].count"),
        (HEAD + VMA + "count = 1.0\n", r"vma\[0\].count"),
        (HEAD + (VMA + "count = 1000000\n") * 2, "more than 1048576 vmas"),
        (HEAD + VMA.replace("4MiB", "100TiB") + "count = 2\n", "128 TiB"),
        (HEAD + VMA.replace("anon", "rug"), r"vma\[0\].kind"),
        (HEAD + VMA.replace("anon", "guard") + "resident = 4096\n", "guard"),
        (HEAD + VMA + "start = 4097\n", r"vma\[0\].start"),
        (HEAD + VMA + "start = 4096\ncount = 2\n", "leave count out"),
        (HEAD + (VMA + "start = 4096\n") * 2, "overlap"),
        (HEAD + VMA + "pte_spans = 99\n", "pte_spans"),
        (HEAD + VMA + "pmd_spans = 99\n", "pmd_spans"),
        (HEAD + VMA + "swap_ptes = 99999\n", "room"),
        (HEAD + "threads = 0\n" + VMA, "threads"),
        (HEAD + "threads = nan\n" + VMA, "threads"),
        (HEAD + "fds = -1\n" + VMA, "fds"),
        (HEAD + "fds = 9\nhighest_fd = 3\n" + VMA, "highest_fd"),
        (HEAD + "running_threads = 1\n" + VMA, "running_threads"),
        (HEAD + "contiguous = inf\n" + VMA, "contiguous"),
        (HEAD + "[[vma]\n", "neither TOML nor JSON"),
        ("\ufeff\x00", "parent.toml"),
    ],
)
def test_an_error_names_file_and_key(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why) as caught:
        described(tmp_path, text)
    assert caught.value.what.startswith(str(tmp_path / "parent.toml"))
    assert "\n" not in str(caught.value)


def test_synthetic_memory_is_spread_evenly_beside_the_program() -> None:
    own = read_parent("c-program")
    process = synthetic_parent(64 << 20, vmas=7)
    added = [vma for vma in process.space.vmas if vma not in own.space.vmas]
    assert len(added) == 7
    assert sum(vma.anon_ptes for vma in added) == 16384
    assert max(vma.anon_ptes for vma in added) - min(vma.anon_ptes for vma in added) <= 1
    assert (process.threads, process.open_fds, process.highest_fd, process.caller) == (1, 3, 2, Caller.HOT)


def test_a_synthetic_thread_brings_a_stack_and_a_guard() -> None:
    one, ten = synthetic_parent(1 << 20), synthetic_parent(1 << 20, threads=10, fds=0)
    assert len(ten.space.vmas) - len(one.space.vmas) == 18
    assert ten.space.total("anon_ptes") - one.space.total("anon_ptes") == 18
    assert (ten.open_fds, ten.highest_fd, ten.fd_slots) == (0, -1, 0)
    # Stacks of 8 MiB touched at their upper end share no table.
    assert ten.space.tables.pte - one.space.tables.pte in (8, 9, 10)


@given(st.integers(0, 1 << 44), st.integers(1, 200), st.integers(1, 50))
def test_every_synthetic_parent_holds_what_was_asked_for(rss_bytes: int, vmas: int, threads: int) -> None:
    own = read_parent("c-program")
    process = synthetic_parent(rss_bytes, vmas, threads)
    pages = process.space.total("anon_ptes") - own.space.total("anon_ptes") - 2 * (threads - 1)
    assert pages == -(-rss_bytes // 4096)
    assert len(process.space.vmas) == len(own.space.vmas) + vmas + 2 * (threads - 1)
    assert replace(process.limits) == own.limits


@pytest.mark.parametrize("asked", [(-1,), (1, 0), (1, 1, 0), (1, 1, 1, -1), (1 << 60,), (1 << 47,), (1, 1 << 21)])
def test_impossible_synthetic_parents_are_refused(asked: tuple[int, ...]) -> None:
    with pytest.raises(BadInput):
        synthetic_parent(*asked)
