"""What CPUID's leaves say about the data TLB, and what the vendor's documents say of the core.

Sources of the encodings: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A, CPUID, tables of leaf
02H and leaf 18H; AMD64 Architecture Programmer's Manual, volume 3 (24594), appendix E.4, Fn8000_0005, 6 and 19.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from calibration.errors import BadInput

SMALL, HUGE, GIANT = "4K", "2M", "1G"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlbLevel:
    """One structure that holds data translations.

    Attributes:
        level: 1 or 2.
        pages: sizes of page that it holds: some of 4K, 2M, 1G.
        entries: how many translations.
        ways: associativity; 0: fully associative, or not said.
        stores: whether it serves stores only.
        source: the CPUID leaf or the document.
    """

    level: int
    pages: tuple[str, ...]
    entries: int
    ways: int = 0
    stores: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaves:
    """CPUID's TLB leaves decoded: what they state, and remarks on what is missing or cannot be right."""

    vendor: str
    family: int
    model: int
    levels: tuple[TlbLevel, ...]
    remarks: tuple[str, ...]


_DESCRIPTORS: Mapping[int, tuple[tuple[int, tuple[str, ...], int, int], ...]] = {
    0x03: ((1, (SMALL,), 64, 4),), 0x04: ((1, (HUGE,), 8, 4),), 0x05: ((1, (HUGE,), 32, 4),),
    0x56: ((1, (HUGE,), 16, 4),), 0x57: ((1, (SMALL,), 16, 4),), 0x59: ((1, (SMALL,), 16, 0),),
    0x5A: ((1, (HUGE,), 32, 4),), 0x5B: ((1, (SMALL, HUGE), 64, 0),), 0x5C: ((1, (SMALL, HUGE), 128, 0),),
    0x5D: ((1, (SMALL, HUGE), 256, 0),), 0x63: ((1, (HUGE,), 32, 4), (1, (GIANT,), 4, 4)),
    0x64: ((1, (SMALL,), 512, 4),), 0x6A: ((1, (SMALL,), 64, 8),), 0x6B: ((1, (SMALL,), 256, 8),),
    0x6C: ((1, (HUGE,), 128, 8),), 0x6D: ((1, (GIANT,), 16, 0),), 0xA0: ((1, (SMALL,), 32, 0),),
    0xB3: ((1, (SMALL,), 128, 4),), 0xB4: ((1, (SMALL,), 256, 4),), 0xBA: ((1, (SMALL,), 64, 4),),
    0xC0: ((1, (SMALL, HUGE), 8, 4),), 0xC1: ((2, (SMALL, HUGE), 1024, 8),), 0xC2: ((1, (SMALL, HUGE), 16, 4),),
    0xC3: ((2, (SMALL, HUGE), 1536, 6), (2, (GIANT,), 16, 4)), 0xC4: ((1, (HUGE,), 32, 4),),
    0xCA: ((2, (SMALL,), 512, 4),),
}  # fmt: skip
"""Descriptors of leaf 02H that speak of data or unified TLBs; 4M stands for the page size of 2M or 4M."""
_SEE_LEAF_18 = 0xFE
_AMD_WAYS = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 16, 10: 32, 11: 48, 12: 64, 13: 96, 14: 128, 15: 0}


def read_leaves(leaves: Mapping[str, str]) -> Leaves:
    """Decode the header of the bench `tlb_leaves`: "LEAF.SUBLEAF" to "eax ebx ecx edx", all in hex.

    Raises:
        BadInput: not such a mapping.
    """
    try:
        words = {name: [int(word, 16) for word in text.split()] for name, text in leaves.items()}
        basic, version = words["0.0"], words["1.0"]
        vendor = b"".join(word.to_bytes(4, "little") for word in (basic[1], basic[3], basic[2])).decode("ascii")
    except (KeyError, ValueError, IndexError, OverflowError, AttributeError) as error:
        raise BadInput("CPUID leaves", f"not what the bench prints: {error!r}", "measure again") from error
    family = (version[0] >> 8 & 15) + (version[0] >> 20 & 255 if (version[0] >> 8 & 15) == 15 else 0)
    model = (version[0] >> 4 & 15) + (version[0] >> 12 & 0xF0)
    levels = [*_intel(words), *_amd(words)]
    remarks = list(_remarks(words, levels, hypervised=bool(version[2] >> 31)))
    return Leaves(vendor=vendor, family=family, model=model, levels=tuple(levels), remarks=tuple(remarks))


def descriptors(registers: list[int]) -> list[int]:
    """The descriptor bytes of leaf 02H; a register whose top bit is set holds none, nor does the lowest byte of eax."""
    found = []
    for index, word in enumerate(registers):
        if not word >> 31:
            found += [word >> shift & 255 for shift in range(8 if index == 0 else 0, 32, 8)]
    return [each for each in found if each]


def _intel(words: Mapping[str, list[int]]) -> Iterator[TlbLevel]:
    for each in descriptors(words.get("2.0", [])):
        for level, pages, entries, ways in _DESCRIPTORS.get(each, ()):
            source = f"CPUID 02H, descriptor {each:02X}H"
            yield TlbLevel(level=level, pages=pages, entries=entries, ways=ways, source=source)
    for name, (_, ebx, ecx, edx) in words.items():
        kind = edx & 31
        if not name.startswith("18.") or kind not in (1, 3, 4, 5):  # data, unified, loads, stores
            continue
        pages = tuple(size for size, bits in ((SMALL, 1), (HUGE, 6), (GIANT, 8)) if ebx & bits)
        yield TlbLevel(
            level=edx >> 5 & 7,
            pages=pages,
            entries=(ebx >> 16) * ecx,
            ways=0 if edx >> 8 & 1 else ebx >> 16,
            stores=kind == 5,
            source=f"CPUID 18H.{name.partition('.')[2]}",
        )


def _amd(words: Mapping[str, list[int]]) -> Iterator[TlbLevel]:
    """Data TLBs of Fn8000_0005 (eax 2M, ebx 4K), 6 (the same, second level) and 19 (eax, ebx: 1G)."""
    first, second, giant = (words.get(f"{leaf:x}.0", [0, 0, 0, 0]) for leaf in (0x80000005, 0x80000006, 0x80000019))
    for pages, word in ((SMALL, first[1]), (HUGE, first[0])):
        if word >> 16 & 255:
            ways = word >> 24
            yield TlbLevel(
                level=1, pages=(pages,), entries=word >> 16 & 255, ways=0 if ways == 255 else ways,
                source="CPUID 80000005H",
            )  # fmt: skip
    rows = ((2, SMALL, second[1], 6), (2, HUGE, second[0], 6), (1, GIANT, giant[0], 0x19), (2, GIANT, giant[1], 0x19))
    for level, pages, word, leaf in rows:
        if word >> 16 & 0xFFF and word >> 28:
            ways = _AMD_WAYS.get(word >> 28, 0)
            source = f"CPUID {0x80000000 + leaf:X}H"
            yield TlbLevel(level=level, pages=(pages,), entries=word >> 16 & 0xFFF, ways=ways, source=source)


def _remarks(words: Mapping[str, list[int]], levels: list[TlbLevel], *, hypervised: bool) -> Iterator[str]:
    whose = "the hypervisor answers CPUID" if hypervised else "no hypervisor"
    if _SEE_LEAF_18 in descriptors(words.get("2.0", [])) and not any(
        each.source.startswith("CPUID 18") for each in levels
    ):
        yield f"leaf 02H refers to leaf 18H, which says nothing ({whose})"
    if not levels:
        yield f"no leaf describes a data TLB ({whose})"
    if _has_amx(words) and _model_of(words) in _WITHOUT_AMX:
        named = _WITHOUT_AMX[_model_of(words)]
        yield f"model {_model_of(words)} is {named}, which has no AMX, but AMX is there ({whose})"


_WITHOUT_AMX = {85: "Skylake-SP", 106: "Ice Lake-SP", 167: "Rocket Lake"}


def _model_of(words: Mapping[str, list[int]]) -> int:
    return (words["1.0"][0] >> 4 & 15) + (words["1.0"][0] >> 12 & 0xF0)


def _has_amx(words: Mapping[str, list[int]]) -> bool:
    return bool(words.get("7.0", [0, 0, 0, 0])[3] >> 24 & 1)


_INTEL_GUIDE = "Intel 64 and IA-32 Architectures Optimization Reference Manual (248966)"
_AMD_GUIDE = "Software Optimization Guide for the AMD {} Microarchitecture ({})"


def documented(leaves: Mapping[str, str]) -> tuple[str, tuple[TlbLevel, ...]]:
    """Core and its data TLB by the vendor's optimization guide; ("", ()) if this one is not in the list.

    A core with AMX is Golden Cove or a later one, whatever model its CPUID states.
    """
    words = {name: [int(word, 16) for word in text.split()] for name, text in leaves.items()}
    found = read_leaves(leaves)
    if found.vendor == "GenuineIntel":
        if _has_amx(words) or found.model in (143, 151, 154, 173, 207):
            return "Golden Cove or Redwood Cove", _levels(96, 32, 2048, _INTEL_GUIDE + ", Golden Cove")
        if found.model in (106, 108, 125, 126, 167):
            return "Sunny Cove or Cypress Cove", _levels(64, 32, 2048, _INTEL_GUIDE + ", Sunny Cove")
        if found.model in (78, 85, 94, 142, 158):
            return "Skylake", _levels(64, 32, 1536, _INTEL_GUIDE + ", Skylake")
    if found.vendor == "AuthenticAMD" and found.family == 25:
        if 16 <= found.model < 32 or found.model >= 96:
            return "Zen 4", _levels(72, 72, 3072, _AMD_GUIDE.format("Zen4", 57647))
        return "Zen 3", _levels(64, 64, 2048, _AMD_GUIDE.format("Zen3", 56665))
    return "", ()


def _levels(small: int, huge: int, second: int, source: str) -> tuple[TlbLevel, ...]:
    first: tuple[TlbLevel, ...]
    if small == huge:
        first = (TlbLevel(level=1, pages=(SMALL, HUGE), entries=small, source=source),)
    else:
        first = (
            TlbLevel(level=1, pages=(SMALL,), entries=small, source=source),
            TlbLevel(level=1, pages=(HUGE,), entries=huge, source=source),
        )
    return (*first, TlbLevel(level=2, pages=(SMALL, HUGE), entries=second, source=source))
