"""Which relocations of an object start-up resolves, and which of them need a look-up (glibc elf/do-rel.h)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from calibration.capture.elf_file import ElfFile
from calibration.capture.elf_tables import Records
from calibration.capture.symbol_hash import Indices
from calibration.errors import BadInput

R_64, R_COPY, R_GLOB_DAT, R_JUMP_SLOT, R_RELATIVE, R_TLSDESC, R_IRELATIVE, R_RELATIVE64 = 1, 5, 6, 7, 8, 36, 37, 38
TLS_TYPES = (16, 17, 18, R_TLSDESC)  # DTPMOD64, DTPOFF64, TPOFF64
MAX_COPIES = 65536
CLASS_PLT, CLASS_COPY, CLASS_EXTERN_PROTECTED_DATA = 1, 2, 4  # ELF_RTYPE_CLASS_*


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeObject:
    """One object of the global scope and how it is bound."""

    elf: ElfFile
    lazy: bool
    executable: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Bound:
    """What start-up binding does for one object."""

    symbol_lookups: int = 0
    symbol_cache_hits: int = 0
    lookup_probes: int = 0
    bloom_rejections: int = 0
    string_compares: int = 0
    version_compares: int = 0
    lookup_name_bytes: int = 0
    lookup_turns: int = 0
    other_relocations: int = 0
    irelative_relocations: int = 0
    copy_relocations: int = 0
    lazy_jump_slots: int = 0
    written: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    """Addresses that its relocations write, RELATIVE and RELR blocks left out."""
    read: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    """Addresses in its own tables that look-ups read, its own or those of others."""
    ifuncs: list[int] = field(default_factory=list)
    """Addresses of its IFUNC resolvers that are run."""
    definitions: Indices = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    """Scope index and symbol, or -1 twice, for each relocation that was looked up or served from the cache."""


def eager_relocations(each: ScopeObject, result: Bound) -> Records:
    """Relocations resolved at start-up, in the loader's order; counts and notes all others."""
    jump = each.elf.jmprel
    if each.lazy:
        now = np.isin(jump["type"], (R_TLSDESC, R_IRELATIVE))
        result.lazy_jump_slots = int(np.count_nonzero(~now))
        result.written.append(jump["offset"][~now])
        jump = jump[now]
    table = np.concatenate([each.elf.rela[each.elf.relative_count :], jump])
    table = table[table["type"] != 0]
    result.written.append(table["offset"])
    irelative = table["type"] == R_IRELATIVE
    result.irelative_relocations = int(np.count_nonzero(irelative))
    result.ifuncs.extend(int(each) for each in table["addend"][irelative])
    stray = irelative | (table["type"] == R_RELATIVE) | (table["type"] == R_RELATIVE64)
    result.other_relocations = int(np.count_nonzero(stray & ~irelative))
    looked_up: Records = table[~stray]
    return looked_up


def planned_lookups(
    elf: ElfFile, table: Records, result: Bound, glob_dat_class: int
) -> tuple[Indices, Indices, Indices]:
    """Look-ups that an object needs: symbols, classes, and which look-up serves each of its global relocations.

    Raises:
        BadInput: more copy relocations than any program has.
    """
    symbols = table["symbol"].astype(np.int64)
    info, other = elf.symbols["info"][symbols], elf.symbols["other"][symbols] & 3
    local = (info >> 4 == 0) | (other == 1) | (other == 2)
    result.other_relocations += int(np.count_nonzero(local))
    result.copy_relocations = int(np.count_nonzero(table["type"] == R_COPY))
    if result.copy_relocations > MAX_COPIES:
        raise BadInput(elf.path, f"has more than {MAX_COPIES} copy relocations", "name another program")
    table, symbols = table[~local], symbols[~local]
    kind = table["type"]
    classes = np.zeros(len(table), np.int64)
    classes[(kind == R_JUMP_SLOT) | np.isin(kind, TLS_TYPES)] = CLASS_PLT
    classes[kind == R_COPY] = CLASS_COPY
    classes[kind == R_GLOB_DAT] = glob_dat_class
    fresh = np.ones(len(table), bool)
    fresh[1:] = (symbols[1:] != symbols[:-1]) | (classes[1:] != classes[:-1])
    result.symbol_lookups = int(np.count_nonzero(fresh))
    result.symbol_cache_hits = len(table) - result.symbol_lookups
    return symbols[fresh], classes[fresh], np.cumsum(fresh) - 1
