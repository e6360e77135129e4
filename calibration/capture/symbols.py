"""The look-ups that ld.so does at start-up, simulated exactly on whole tables.

`bind` plays glibc elf/dl-lookup.c:do_lookup_x and elf/dl-reloc.c:resolve_map for all objects of a program at once: for
each object of the scope in turn it asks, for all look-ups still open, bloom word, bucket and chain. What is counted is
what the loader does; nothing is executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.capture.elf_file import ElfFile
from calibration.capture.elf_tables import GnuHash, SysvHash, Version
from calibration.capture.relocations import (
    CLASS_COPY,
    CLASS_PLT,
    Bound,
    ScopeObject,
    eager_relocations,
    planned_lookups,
)
from calibration.capture.symbol_hash import Hashes, Indices, gnu_digests, name_lengths, sysv_digests
from calibration.errors import BadInput

STT_TLS, STT_GNU_IFUNC, SHN_UNDEF, SHN_ABS = 6, 10, 0, 0xFFF1
ALLOWED_TYPES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << STT_TLS | 1 << STT_GNU_IFUNC
GLOBAL_BINDINGS = (1, 2, 10)  # STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE
MAX_CHAIN = 4096
MAX_LOOKUPS = 2_000_000
STEPS_PER_LOOKUP, SPARE_STEPS = 16, 1 << 20
"""Chain words that one object may be asked for: far more than any linker's tables need, and bounded in time."""
STILL_OPEN, PASSED_OVER = -1, -2


@dataclass(slots=True, kw_only=True, eq=False)
class _Rows:
    """All look-ups of all objects, one row each, in columns."""

    owner: Indices
    symbol: Indices
    type_class: Indices
    digest: Hashes
    sysv_digest: Hashes
    names: list[bytes]
    versions: list[Version | None]
    found: Indices
    found_symbol: Indices


def bind(scope: Sequence[ScopeObject], *, glob_dat_class: int = 0) -> list[Bound]:
    """Bind all objects of a scope as start-up does.

    Args:
        scope: objects in scope order, the executable first.
        glob_dat_class: class of GLOB_DAT relocations: `CLASS_EXTERN_PROTECTED_DATA` before glibc 2.36, 0 since.

    Raises:
        BadInput: more look-ups, hash chains or symbol names longer than any linker makes.
    """
    bound = [Bound() for _ in scope]
    tables = [eager_relocations(each, result) for each, result in zip(scope, bound, strict=True)]
    plans = [
        planned_lookups(each.elf, table, result, glob_dat_class)
        for each, table, result in zip(scope, tables, bound, strict=True)
    ]
    if sum(len(symbols) for symbols, _, _ in plans) > MAX_LOOKUPS:
        raise BadInput(scope[0].elf.path, f"needs more than {MAX_LOOKUPS} symbol look-ups", "name another program")
    rows = _rows(scope, [symbols for symbols, _, _ in plans], [classes for _, classes, _ in plans], bound)
    for index, each in enumerate(scope):
        if each.elf.symbolic:
            _probe(scope, bound, rows, index, np.flatnonzero(rows.owner == index))
    for index in range(len(scope)):
        _probe(scope, bound, rows, index, np.flatnonzero(rows.found == STILL_OPEN))
    _count_turns(bound, rows)
    _distribute(scope, bound, rows, [indices for _, _, indices in plans])
    return bound


def _rows(scope: Sequence[ScopeObject], symbols: list[Indices], classes: list[Indices], bound: list[Bound]) -> _Rows:
    names: list[bytes] = []
    versions: list[Version | None] = []
    gnu: list[Hashes] = []
    old: list[Hashes] = []
    sysv = any(each.elf.gnu_hash is None for each in scope)
    for each, wanted, result in zip(scope, symbols, bound, strict=True):
        elf = each.elf
        starts = elf.symbols["name"][wanted].astype(np.int64)
        lengths = name_lengths(elf.strings, starts, elf.path)
        result.lookup_name_bytes = int(lengths.sum())
        names.extend(elf.strings[a : a + n] for a, n in zip(starts.tolist(), lengths.tolist(), strict=True))
        gnu.append(gnu_digests(elf.strings, starts, lengths))
        old.append(sysv_digests(elf.strings, starts, lengths) if sysv else np.zeros(len(wanted), np.uint32))
        versions.extend(_wanted_version(elf, int(symbol)) for symbol in wanted)
        _note_reads(elf, wanted, result)
    count = len(names)
    return _Rows(
        owner=np.repeat(np.arange(len(scope)), [len(each) for each in symbols]),
        symbol=np.concatenate([*symbols, np.zeros(0, np.int64)]),
        type_class=np.concatenate([*classes, np.zeros(0, np.int64)]),
        digest=np.concatenate([*gnu, np.zeros(0, np.uint32)]),
        sysv_digest=np.concatenate([*old, np.zeros(0, np.uint32)]),
        names=names,
        versions=versions,
        found=np.full(count, STILL_OPEN, np.int64),
        found_symbol=np.full(count, -1, np.int64),
    )


def _wanted_version(elf: ElfFile, symbol: int) -> Version | None:
    if elf.versym is None:
        return None
    version = elf.versions.get(int(elf.versym[symbol]) & 0x7FFF)
    return version if version is not None and version.hash else None


def _note_reads(elf: ElfFile, symbols: Indices, result: Bound) -> None:
    """Symbol, version and name of each symbol in the object's own tables."""
    wide = symbols.astype(np.uint64)
    result.read.append(np.uint64(elf.dynamic.get(6, 0)) + wide * np.uint64(24))
    result.read.append(np.uint64(elf.dynamic.get(5, 0)) + elf.symbols["name"][symbols].astype(np.uint64))
    if elf.versym is not None:
        result.read.append(np.uint64(elf.dynamic.get(0x6FFFFFF0, 0)) + wide * np.uint64(2))


def _probe(scope: Sequence[ScopeObject], bound: list[Bound], rows: _Rows, target: int, open_rows: Indices) -> None:
    """Ask one object of the scope for all open look-ups: do_lookup_x's loop body."""
    each = scope[target]
    if each.executable:
        open_rows = open_rows[rows.type_class[open_rows] & CLASS_COPY == 0]
    table = each.elf.gnu_hash or each.elf.sysv_hash
    if table is None or len(table.buckets) == 0 or len(open_rows) == 0:
        return
    for owner, count in enumerate(np.bincount(rows.owner[open_rows], minlength=len(scope))):
        bound[owner].lookup_probes += int(count)
    walk = _Walk(scope=scope, bound=bound, rows=rows, target=target)
    if isinstance(table, GnuHash):
        _walk_gnu(walk, table, open_rows)
    else:
        _walk_sysv(walk, table, open_rows)
    walk.settle()


def _walk_gnu(walk: _Walk, table: GnuHash, open_rows: Indices) -> None:
    rows, result = walk.rows, walk.bound[walk.target]
    digest = rows.digest[open_rows]
    wide = digest.astype(np.uint64)
    word_at = (wide >> np.uint64(6)) & np.uint64(len(table.bloom) - 1)
    word = table.bloom[word_at]
    hit = (word >> (wide & np.uint64(63))) & (word >> ((wide >> np.uint64(table.shift)) & np.uint64(63))) & np.uint64(1)
    result.read.append(np.uint64(table.address + 16) + word_at * np.uint64(8))
    passed = hit.astype(bool)
    for owner, count in enumerate(np.bincount(rows.owner[open_rows[~passed]], minlength=len(walk.scope))):
        walk.bound[owner].bloom_rejections += int(count)
    active, digest = open_rows[passed], digest[passed]
    bucket = digest % np.uint32(len(table.buckets))
    result.read.append(np.uint64(table.buckets_address) + bucket.astype(np.uint64) * np.uint64(4))
    symbol = table.buckets[bucket].astype(np.int64)
    for _ in range(MAX_CHAIN):
        alive = (symbol >= table.first_symbol) & (symbol < table.symbols) & (rows.found[active] == STILL_OPEN)
        active, digest, symbol = active[alive], digest[alive], symbol[alive]
        if len(active) == 0:
            return
        walk.step(len(active))
        at = symbol - table.first_symbol
        chain = table.chain[at]
        result.read.append(np.uint64(table.chain_address) + at.astype(np.uint64) * np.uint64(4))
        same = (chain ^ digest) >> np.uint32(1) == 0
        walk.check(active[same], symbol[same])
        last = chain & np.uint32(1) != 0
        active, digest, symbol = active[~last], digest[~last], symbol[~last] + 1
    raise walk.endless()


def _walk_sysv(walk: _Walk, table: SysvHash, open_rows: Indices) -> None:
    rows, active = walk.rows, open_rows
    bucket = rows.sysv_digest[active] % np.uint32(len(table.buckets))
    walk.bound[walk.target].read.append(np.uint64(table.address + 8) + bucket.astype(np.uint64) * np.uint64(4))
    symbol = table.buckets[bucket].astype(np.int64)
    for _ in range(MAX_CHAIN):
        alive = (symbol > 0) & (symbol < len(table.chain)) & (rows.found[active] == STILL_OPEN)
        active, symbol = active[alive], symbol[alive]
        if len(active) == 0:
            return
        walk.step(len(active))
        walk.check(active, symbol)
        symbol = table.chain[symbol].astype(np.int64)
    raise walk.endless()


@dataclass(slots=True, kw_only=True, eq=False)
class _Walk:
    """One object being asked; `check` is glibc elf/dl-lookup.c:check_match for many candidates."""

    scope: Sequence[ScopeObject]
    bound: list[Bound]
    rows: _Rows
    target: int
    other_versions: dict[int, list[int]] = field(default_factory=dict)
    """For unversioned look-ups: candidates that bear a version other than the base one."""
    passed_over: list[int] = field(default_factory=list)
    """Rows whose definition here is hidden: the loader goes on with the next object."""

    steps: int = 0
    """Chain words looked at."""

    @property
    def elf(self) -> ElfFile:
        """The object being asked."""
        return self.scope[self.target].elf

    def endless(self) -> BadInput:
        """BadInput for chains that no linker makes."""
        return BadInput(self.elf.path, "has a hash chain without end", "reinstall the file or name another one")

    def step(self, words: int) -> None:
        """Count chain words; raises BadInput beyond what look-ups can need."""
        self.steps += words
        if self.steps > STEPS_PER_LOOKUP * len(self.rows.found) + SPARE_STEPS:
            raise self.endless()

    def check(self, rows: Indices, symbols: Indices) -> None:
        """Try candidates; marks a row as found where its candidate fits and is visible."""
        elf = self.elf
        entry: npt.NDArray[Any] = elf.symbols[symbols]
        kind, undefined = entry["info"] & 15, entry["shndx"] == SHN_UNDEF
        useless = (entry["value"] == 0) & (entry["shndx"] != SHN_ABS) & (kind != STT_TLS)
        useless |= undefined & (self.rows.type_class[rows] & CLASS_PLT != 0)
        useful = ~useless & (ALLOWED_TYPES >> kind.astype(np.int64) & 1 != 0)
        rows, symbols, entry = rows[useful], symbols[useful], entry[useful]
        _note_reads(elf, symbols, self.bound[self.target])
        for row, symbol, start in zip(rows.tolist(), symbols.tolist(), entry["name"].tolist(), strict=True):
            owner, name = int(self.rows.owner[row]), self.rows.names[row]
            if owner != self.target or int(self.rows.symbol[row]) != symbol:
                self.bound[owner].string_compares += 1
                if elf.strings[start : start + len(name) + 1] != name + b"\0":
                    continue
            if self._version_fits(row, symbol):
                self._found(row, symbol)

    def _version_fits(self, row: int, symbol: int) -> bool:
        elf, wanted = self.elf, self.rows.versions[row]
        if elf.versym is None:
            return True
        mark = int(elf.versym[symbol])
        if wanted is None:
            if mark & 0x7FFF < 3:
                return True
            if not mark & 0x8000:
                self.other_versions.setdefault(row, []).append(symbol)
            return False
        self.bound[int(self.rows.owner[row])].version_compares += 1
        have = elf.versions.get(mark & 0x7FFF)
        if have is not None and have.hash == wanted.hash and have.name == wanted.name:
            return True
        return not (wanted.hidden or (have is not None and have.hash) or mark & 0x8000)

    def _found(self, row: int, symbol: int) -> None:
        entry = self.elf.symbols[symbol]
        if int(entry["other"]) & 3 in (1, 2) or int(entry["info"]) >> 4 not in GLOBAL_BINDINGS:
            self.rows.found[row] = PASSED_OVER
            self.passed_over.append(row)
            return
        self.rows.found[row], self.rows.found_symbol[row] = self.target, symbol

    def settle(self) -> None:
        """End of the object's chain: an unversioned look-up takes a sole versioned definition."""
        for row, symbols in self.other_versions.items():
            if len(symbols) == 1 and self.rows.found[row] == STILL_OPEN:
                self._found(row, symbols[0])
        self.rows.found[self.passed_over] = STILL_OPEN


def _count_turns(bound: list[Bound], rows: _Rows) -> None:
    """Look-ups that differ from their object's one before in where they end or in how long their name is."""
    lengths = np.array([len(name) for name in rows.names], np.int64)
    turned = (np.diff(rows.found) != 0) | (np.diff(lengths) != 0)
    turned &= np.diff(rows.owner) == 0
    for owner, count in enumerate(np.bincount(rows.owner[1:][turned], minlength=len(bound))):
        bound[owner].lookup_turns = int(count)


def _distribute(scope: Sequence[ScopeObject], bound: list[Bound], rows: _Rows, serving: list[Indices]) -> None:
    """Give each object the definitions of its relocations, and each definer the resolvers that it runs."""
    first = 0
    for result, indices in zip(bound, serving, strict=True):
        pairs = np.stack([rows.found[first + indices], rows.found_symbol[first + indices]], axis=1)
        result.definitions = pairs
        first += result.symbol_lookups
        found, symbols = pairs[pairs[:, 0] >= 0].T
        for target in np.unique(found).tolist():
            chosen = np.unique(symbols[found == target])
            entry = scope[target].elf.symbols[chosen]
            resolvers = entry["value"][(entry["info"] & 15 == STT_GNU_IFUNC) & (entry["shndx"] != SHN_UNDEF)]
            bound[target].ifuncs.extend(int(each) for each in resolvers)
