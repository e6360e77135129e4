"""smaps and maps as text: what is counted, and that nothing but BadInput comes of damaged text."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.capture.smaps import parse_maps, parse_smaps
from calibration.errors import BadInput
from model.address_space import Vma, VmaKind

REAL = Path("/proc/self/smaps").read_text(encoding="utf-8")
VSYSCALL = "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"


def block(
    start: int = 0x7F0000000000,
    kib: int = 8192,
    perms: str = "rw-p",
    name: str = "",
    inode: int = 0,
    flags: str = "rd wr mr mw me ac",
    **kib_by_key: int | str,
) -> str:
    """One mapping as the kernel writes it, keys given by name in kB."""
    keys: dict[str, int | str] = {"Size": kib, "KernelPageSize": 4, "Rss": 0, "Anonymous": 0, "AnonHugePages": 0}
    keys |= {
        "ShmemPmdMapped": 0,
        "FilePmdMapped": 0,
        "Shared_Hugetlb": 0,
        "Private_Hugetlb": 0,
        "Swap": 0,
        **kib_by_key,
    }
    head = f"{start:x}-{start + kib * 1024:x} {perms} 00000000 00:00 {inode} {name:>10}".rstrip() + "\n"
    return head + "".join(f"{key + ':':16}{value:>8} kB\n" for key, value in keys.items()) + f"VmFlags: {flags} \n"


def one(**keys: int | str) -> Vma:
    """The only mapping of a text."""
    (vma,) = parse_smaps(block(**keys), "smaps").vmas  # type: ignore[arg-type]
    return vma


def test_pages_are_split_into_small_and_huge_and_file_ones() -> None:
    vma = one(Rss=4096 + 40, Anonymous=4096 + 8, AnonHugePages=4096, Swap=12)
    assert (vma.anon_ptes, vma.huge_pmds, vma.file_ptes, vma.swap_ptes, vma.anon_vma) == (2, 2, 8, 3, True)


@pytest.mark.parametrize(
    "keys", [{"Rss": 4, "Anonymous": 4}, {"Swap": 4}, {"Rss": 2048, "Anonymous": 2048, "AnonHugePages": 2048}]
)
def test_anon_vma_is_set_by_any_anonymous_page(keys: dict[str, int]) -> None:
    assert one(**keys).anon_vma
    assert not one(perms="rw-s", inode=7, name="/x", **{**keys, "Anonymous": 0, "AnonHugePages": 0}).anon_vma


def test_pages_of_a_file_alone_set_no_anon_vma() -> None:
    vma = one(Rss=64, perms="r-xp", inode=7, name="/usr/lib/libc.so.6", flags="rd ex mr mw me")
    assert (vma.kind, vma.file_ptes, vma.anon_vma, vma.account) == (VmaKind.FILE_PRIVATE, 16, False, False)


def test_swapped_shmem_leaves_no_pte() -> None:
    assert one(perms="rw-s", inode=9, name="/dev/zero (deleted)", Swap=40).swap_ptes == 0


def test_pmd_mapped_shmem_and_hugetlb() -> None:
    shmem = one(perms="rw-s", inode=9, name="/memfd:x (deleted)", Rss=4100, ShmemPmdMapped=4096)
    assert (shmem.kind, shmem.file_huge_pmds, shmem.file_ptes) == (VmaKind.FILE_SHARED, 2, 1)
    hugetlb = one(perms="rw-p", inode=9, name="/anon_hugepage (deleted)", KernelPageSize=2048, Private_Hugetlb=4096)
    assert (hugetlb.hugetlb_pages, hugetlb.anon_vma, hugetlb.ptes) == (2, True, 0)
    assert one(inode=9, name="/h", kib=1 << 20, KernelPageSize=1 << 20, Shared_Hugetlb=1 << 20).hugetlb_pages == 1


@pytest.mark.parametrize(
    ("perms", "name", "kind"),
    [
        ("rw-p", "", VmaKind.ANON),
        ("rw-p", "[heap]", VmaKind.ANON),
        ("rw-p", "[anon:glibc: malloc]", VmaKind.ANON),
        ("rw-p", "[stack]", VmaKind.STACK),
        ("---p", "", VmaKind.GUARD),
        ("r-xp", "[vdso]", VmaKind.SPECIAL),
        ("r--p", "[vvar_vclock]", VmaKind.SPECIAL),
        ("r--p", "/usr/bin/a b (deleted)", VmaKind.FILE_PRIVATE),
        ("rw-s", "/dev/shm/x", VmaKind.FILE_SHARED),
    ],
)
def test_kinds(perms: str, name: str, kind: VmaKind) -> None:
    vma = one(perms=perms, name=name)
    assert (vma.kind, vma.path) == (kind, name)


def test_a_protected_range_with_pages_is_no_guard() -> None:
    assert one(perms="---p", Rss=4, Anonymous=4).kind is VmaKind.ANON


def test_flags_of_madvise_and_mmap() -> None:
    vma = one(flags="rd wr mr mw me dc wf ac")
    assert (vma.dontcopy, vma.wipeonfork, vma.account, vma.writable_private) == (True, True, True, True)
    assert not one(flags="rd mr mw me").writable_private
    assert not one(flags="rd wr sh mr mw me", perms="rw-s", inode=3).writable_private


def test_vsyscall_belongs_to_no_mm() -> None:
    mapped = parse_smaps(block() + VSYSCALL + block(kib=4).split("\n", 1)[1], "smaps")
    assert len(mapped.vmas) == 1
    assert mapped.closed


def test_unknown_keys_are_skipped() -> None:
    text = block(Rss=4).replace("VmFlags", "NewKey:   12 kB\nTHPeligible:    1\nProtectionKey:  0\nVmFlags")
    assert parse_smaps(text, "smaps").vmas[0].file_ptes == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (block()[:-1], "cut short"),
        (block().rpartition("VmFlags")[0], "no VmFlags"),
        (block().partition("\n")[0] + "\n", "cut short"),
        (block(Rss=-4), "not a number of kB"),
        (block(Rss="9" * 40), "not a number of kB"),
        (block(Rss="1_0"), "not a number of kB"),
        (block(Rss=1 << 40), "more than"),
        (block(Anonymous=8, Rss=4), "contradict"),
        (block(AnonHugePages=2048, Rss=4, Anonymous=4), "contradict"),
        (block(Size=4), "the addresses say"),
        (block() + block(), "overlaps"),
        (block(start=0x7F0000001000) + block(start=0x7F0000000000, kib=4), "out of order"),
        (block().replace("Rss:", "Rss:   4 kB\nRss:", 1), "twice"),
        ("Rss:    4 kB\n", "belongs to no mapping"),
        ("\n", "no mapping"),
        ("garbage\n", "no mapping"),
        (block(start=0xFFFFFFFF80000000), "no user address"),
        (block().replace("7f0000000000", "7f0000000001", 1), "no range of pages"),
        (block().replace("7f0000000000-7f0000800000", "7f0000800000-7f0000000000", 1), "no range of pages"),
    ],
)
def test_damaged_text_is_refused_with_file_and_line(text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why) as caught:
        parse_smaps(text, "copy/smaps")
    assert caught.value.what.startswith("copy/smaps:")


@given(st.integers(0, len(REAL) - 1))
def test_a_real_file_cut_anywhere_is_refused_or_ends_between_mappings(length: int) -> None:
    text = REAL[:length]
    try:
        mapped = parse_smaps(text, "smaps")
    except BadInput:
        return
    assert text == "" or text.splitlines()[-1].startswith("VmFlags:")
    assert len(mapped.vmas) == text.count("VmFlags:") - text.count("[vsyscall]")


@given(st.text(alphabet="0123456789abcdef- \nrwxps:kBVmFlags[]/\x00é", max_size=300), st.integers(0, len(REAL)))
def test_no_text_raises_anything_but_bad_input(text: str, position: int) -> None:
    for candidate in (text, REAL[:position] + text + REAL[position:]):
        for parse in (parse_smaps, parse_maps):
            with suppress(BadInput):
                assert parse(candidate, "file").end >= 0


def test_smaps_and_maps_of_one_process_agree() -> None:
    maps = "".join(line for line in REAL.splitlines(keepends=True) if line[0] in "0123456789abcdef")
    whole, addresses = parse_smaps(REAL, "smaps"), parse_maps(maps, "maps")
    assert [(vma.start, vma.end, vma.path) for vma in whole.vmas] == [(v.start, v.end, v.path) for v in addresses.vmas]
    assert whole.end == addresses.end
    assert whole.resident_known
    assert not addresses.resident_known
    assert all(vma.ptes == 0 for vma in addresses.vmas)
