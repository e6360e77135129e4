"""The vmas of a process from the text of /proc/PID/smaps or /proc/PID/maps.

Both are text of the kernel, but a copy of them can be cut short or made up: whatever does not fit is refused with
file and line. Unknown keys are skipped, as every kernel release may add some.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from calibration.errors import BadInput
from model.address_space import Vma, VmaKind
from model.units import PAGE_BYTES

_HEADER = re.compile(
    r"([0-9a-f]{1,16})-([0-9a-f]{1,16}) ([r-])([w-])([x-])([ps]) "
    r"[0-9a-f]{1,16} [0-9a-f]+:[0-9a-f]+ ([0-9]{1,20})(?: +(.*))?"
)
_KIB = re.compile(r"\s*([0-9]{1,18}) kB\s*")
_COUNTS = frozenset(
    (
        *("Size", "KernelPageSize", "Rss", "Anonymous", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped"),
        *("Shared_Hugetlb", "Private_Hugetlb", "Swap"),
    )
)
_UNBOUNDED = ("KernelPageSize", "Swap")
_REQUIRED = ("Size", "Rss", "Anonymous", "Swap", "VmFlags")
_HEX = frozenset("0123456789abcdef")
_SPECIAL = ("[vdso]", "[vvar]", "[vvar_vclock]", "[uprobes]", "[vectors]")
_USER_END = 1 << 56
_PAGE_KIB = PAGE_BYTES // 1024
_PMD_KIB = 2048
_HINT = "copy the whole file again, as the user who owns the process"


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """What one smaps or maps file says.

    Attributes:
        vmas: the vmas of the mm in address order; vsyscall, which belongs to no mm, is left out.
        end: the last address that the file names, vsyscall included.
        closed: whether the file ends as that of a running process does, with [stack], vdso or vsyscall.
        resident_known: whether it says what is resident (smaps) or not (maps).
    """

    vmas: tuple[Vma, ...]
    end: int
    closed: bool
    resident_known: bool

    @property
    def size_bytes(self) -> int:
        """Length of all vmas: VmSize."""
        return sum(vma.size_bytes for vma in self.vmas)


@dataclass(frozen=True, slots=True)
class _Header:
    start: int
    end: int
    writable: bool
    reachable: bool
    shared: bool
    has_file: bool
    name: str
    line: int


def _refuse(where: str, line: int, why: str) -> NoReturn:
    raise BadInput(f"{where}:{line}", why, _HINT)


def _header(line: str, number: int, where: str) -> _Header:
    match = _HEADER.fullmatch(line)
    if match is None:
        _refuse(where, number, f"no mapping and no key: {line[:60]!r}")
    start, end, name = int(match[1], 16), int(match[2], 16), match[8] or ""
    if start >= end or start % PAGE_BYTES or end % PAGE_BYTES:
        _refuse(where, number, f"{match[1]}-{match[2]} is no range of pages")
    if end > _USER_END and name != "[vsyscall]":
        _refuse(where, number, f"{match[2]} is no user address")
    return _Header(
        start=start,
        end=end,
        writable=match[4] == "w",
        reachable=(match[3], match[4], match[5]) != ("-", "-", "-"),
        shared=match[6] == "s",
        has_file=match[7] != "0" or name.startswith("/"),
        name=name,
        line=number,
    )


def _kind(header: _Header, occupied: bool) -> VmaKind:
    if header.name in _SPECIAL:
        return VmaKind.SPECIAL
    if not header.reachable and not occupied:
        return VmaKind.GUARD
    if header.has_file or header.shared:
        return VmaKind.FILE_SHARED if header.shared else VmaKind.FILE_PRIVATE
    return VmaKind.STACK if header.name == "[stack]" else VmaKind.ANON


def _in_order(header: _Header, last_end: int, where: str) -> None:
    if header.start < last_end:
        _refuse(where, header.line, f"{header.start:x}-{header.end:x} overlaps the one before or is out of order")


class _SmapsReader:
    """Collects the keys of one mapping and turns them into a Vma; kB values repeat, so they are parsed once each."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._kib: dict[str, int] = {}

    def _value(self, key: str, text: str, header: _Header) -> int:
        match = _KIB.fullmatch(text)
        if match is None:
            _refuse(self._where, header.line, f"{key} of this mapping is {text.strip()[:40]!r}, not a number of kB")
        return self._kib.setdefault(text, int(match[1]))

    def vma(self, header: _Header, keys: dict[str, str]) -> Vma:
        """The mapping of `header`, checked for what no kernel writes."""
        for key in _REQUIRED:
            if key not in keys:
                _refuse(self._where, header.line, f"this mapping is cut short: it has no {key}")
        flags = keys.pop("VmFlags").split()
        size_kib = (header.end - header.start) // 1024
        known, kib = self._kib, {}
        for key, text in keys.items():
            kib[key] = known[text] if text in known else self._value(key, text, header)
        if kib["Size"] != size_kib:
            _refuse(self._where, header.line, f"Size is {kib['Size']} kB, the addresses say {size_kib} kB")
        for key, value in kib.items():
            if value > size_kib and key not in _UNBOUNDED:
                _refuse(self._where, header.line, f"{key} is {value} kB, more than the {size_kib} kB of the mapping")
        return self._counted(header, kib, flags)

    def _counted(self, header: _Header, kib: dict[str, int], flags: list[str]) -> Vma:
        anon, huge = kib["Anonymous"], kib.get("AnonHugePages", 0)
        file_huge = kib.get("ShmemPmdMapped", 0) + kib.get("FilePmdMapped", 0)
        hugetlb = kib.get("Shared_Hugetlb", 0) + kib.get("Private_Hugetlb", 0)
        # Swap of a shared mapping is what shmem swapped out: no pte is left of it.
        swap = 0 if header.shared else kib["Swap"]
        if anon > kib["Rss"] or huge > anon or file_huge > kib["Rss"] - anon:
            _refuse(self._where, header.line, "Rss, Anonymous and the huge pages of this mapping contradict each other")
        pages = (header.end - header.start) // PAGE_BYTES
        present = kib["Rss"] // _PAGE_KIB
        private = not header.shared
        return Vma(
            start=header.start,
            end=header.end,
            kind=_kind(header, kib["Rss"] + swap + hugetlb > 0),
            anon_ptes=(anon - huge) // _PAGE_KIB,
            file_ptes=(kib["Rss"] - anon - file_huge) // _PAGE_KIB,
            swap_ptes=min(swap // _PAGE_KIB, pages - present),
            huge_pmds=huge // _PMD_KIB,
            file_huge_pmds=file_huge // _PMD_KIB,
            hugetlb_pages=hugetlb // max(kib.get("KernelPageSize", _PMD_KIB), _PAGE_KIB),
            anon_vma=private and anon + swap + hugetlb > 0,
            dontcopy="dc" in flags,
            wipeonfork="wf" in flags,
            account="ac" in flags,
            writable_private=private and "wr" in flags,
            path=header.name,
        )


def _whole_lines(text: str, where: str) -> list[str]:
    lines = text.split("\n")
    if lines.pop():
        _refuse(where, len(lines) + 1, "the file is cut short: its last line has no end")
    return lines


def _closed(header: _Header) -> bool:
    return header.name in ("[stack]", "[vsyscall]", *_SPECIAL)


def parse_smaps(text: str, where: str) -> MemoryMap:
    """The mappings of a smaps file, `where` naming it in errors.

    anon_vma is taken as set where a private mapping holds anonymous pages, swapped ones included; the length of the
    anon_vma chain is in no file and taken as 1 (`mm/rmap.c:__anon_vma_prepare@v6.18`).

    Raises:
        BadInput: cut short, overlapping, or with numbers that no kernel writes.
    """
    reader = _SmapsReader(where)
    vmas: list[Vma] = []
    header: _Header | None = None
    keys: dict[str, str] = {}

    def finish() -> None:
        if header is not None and header.name != "[vsyscall]":
            vmas.append(reader.vma(header, keys))

    for number, line in enumerate(_whole_lines(text, where), 1):
        if line[:1] in _HEX:
            finish()
            fresh = _header(line, number, where)
            _in_order(fresh, header.end if header else 0, where)
            header, keys = fresh, {}
            continue
        key, colon, value = line.partition(":")
        if key in _COUNTS or key == "VmFlags":
            if header is None or key in keys:
                _refuse(where, number, f"{key} belongs to no mapping, or stands twice in one")
            keys[key] = value
        elif not colon or header is None:
            _refuse(where, number, f"no mapping and no key: {line[:60]!r}")
    finish()
    return MemoryMap(tuple(vmas), header.end if header else 0, header is not None and _closed(header), True)


def parse_maps(text: str, where: str) -> MemoryMap:
    """The mappings of a maps file: addresses and kinds, nothing resident.

    VM_ACCOUNT is not in the file: taken as set where a private mapping is writable (MAP_NORESERVE cannot be seen).

    Raises:
        BadInput: cut short, or overlapping.
    """
    vmas: list[Vma] = []
    header: _Header | None = None
    for number, line in enumerate(_whole_lines(text, where), 1):
        fresh = _header(line, number, where)
        _in_order(fresh, header.end if header else 0, where)
        header = fresh
        if header.name == "[vsyscall]":
            continue
        writable_private = header.writable and not header.shared
        vmas.append(
            Vma(
                start=header.start,
                end=header.end,
                kind=_kind(header, occupied=False),
                account=writable_private,
                writable_private=writable_private,
                path=header.name,
            )
        )
    return MemoryMap(tuple(vmas), header.end if header else 0, header is not None and _closed(header), False)
