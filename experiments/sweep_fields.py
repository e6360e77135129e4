"""What a sweep can vary: the fields of a scenario by the names of a specification, and which values they take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args

from calibration.capture.description import MAX_FDS, MAX_THREADS, MAX_VMAS
from calibration.capture.load_file import MAX_LIFETIME_NS, lifetime_ns
from calibration.capture.sizes import MAX_SIZE_BYTES, parse_size
from calibration.errors import BadInput
from model.locality import Locality
from model.mechanisms import MECHANISMS
from model.process import Caller, Runtime
from model.rules import Rules, set_rule
from model.scenario import Call
from model.units import NS_PER_US

Scalar = str | int | float | bool
Kind = Literal["text", "count", "size", "fraction", "duration"]
LINKINGS = ("as-is", "lazy", "bind-now", "relr", "prelink", "static")
"""How a program can be taken to be linked, as the options of `predict` are spelt."""
_DIGITS = 12
"""Of a fraction or a drawn number: the last bits differ between machines, keys must not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field that a specification can fix or vary.

    Attributes:
        name: as in the specification.
        kind: `text` takes lists only; numbers take ranges too, a duration in whole microseconds.
        meaning: one line for people.
        low, high: bounds of a number.
        words: the values that a text may have; empty: any.
        unit: of a number, for axes of figures.
        label: short, for figures; empty: the name.
    """

    name: str
    kind: Kind
    meaning: str
    low: float = 0
    high: float = 0
    words: tuple[str, ...] = ()
    unit: str = ""
    label: str = ""

    def parse(self, given: Any) -> Scalar:
        """The value as it stands in inputs and keys; ValueError says what is wrong with it."""
        if self.kind == "text":
            return self._text(given)
        if self.kind == "size":
            given = _size(given)
        if self.kind == "duration" and isinstance(given, str):
            given = lifetime_ns(given) / NS_PER_US
        if isinstance(given, bool) or not isinstance(given, (int, float)):
            raise ValueError(f"{given!r} is no number")
        return self._number(given)

    def _text(self, given: Any) -> str:
        if isinstance(given, bool) and self.words:
            given = str(given).lower()
        if not isinstance(given, str) or not given:
            raise ValueError(f"{given!r} is no text: write it in quotes")
        if self.words and given not in self.words:
            raise ValueError(f"{given!r} is none of {', '.join(self.words)}")
        return given

    def _number(self, given: float) -> int | float:
        if not self.low <= given <= self.high:
            raise ValueError(f"{given:g} does not lie between {self.low:g} and {self.high:g}")
        if self.kind == "fraction":
            return float(f"{given:.{_DIGITS}g}")
        if given != int(given):
            raise ValueError(f"{given:g} is no whole number")
        return int(given)

    def drawn(self, number: float) -> int | float:
        """A number between the bounds as a value of this field: counts and sizes are rounded."""
        nearest = float(f"{number:.{_DIGITS}g}")
        return self._number(nearest if self.kind == "fraction" else min(max(round(nearest), self.low), self.high))


def _size(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise ValueError(f"{given!r} is no size")
    try:
        return parse_size(given)
    except BadInput as error:
        raise ValueError(f"{error.why}; {error.remedy}") from error


def _count(name: str, low: int, high: int, meaning: str) -> Field:
    return Field(name=name, kind="count", low=low, high=high, meaning=meaning)


def _fraction(name: str, meaning: str) -> Field:
    return Field(name=name, kind="fraction", low=0, high=1, meaning=meaning)


def _bytes(name: str, meaning: str, label: str) -> Field:
    return Field(name=name, kind="size", low=0, high=MAX_SIZE_BYTES, meaning=meaning, unit="bytes", label=label)


def _duration(name: str, meaning: str) -> Field:
    return Field(name=name, kind="duration", low=0, high=MAX_LIFETIME_NS / NS_PER_US, meaning=meaning)


def _words(name: str, meaning: str, *words: str) -> Field:
    return Field(name=name, kind="text", meaning=meaning, words=words)


def _rule_words(name: str) -> tuple[str, ...]:
    """The values of a rule, as the refusal of a wrong one lists them."""
    try:
        set_rule(Rules(), name, "?")
    except ValueError as error:
        return tuple(str(error).partition(" is one of ")[2].rpartition(", not ")[0].split(", "))
    raise AssertionError(f"rule {name} takes anything")


_PARENT = (
    _words("parent", "a bundled parent or a file"),
    _bytes("rss", "instead of parent: synthetic, so much written memory", "written memory of the parent"),
    _count("vmas", 1, MAX_VMAS, "with rss: spread over so many vmas"),
    _count("threads", 1, MAX_THREADS, "with rss: threads"),
    _count("fds", 0, MAX_FDS, "with rss: open descriptors"),
    _bytes(
        "parent.resident", "resident memory of the largest anonymous vma, whose size grows with it", "resident heap"
    ),
    _fraction("parent.huge", "fraction of the largest anonymous vma that is mapped by pmd"),
    _count("parent.folio_pages", 1, 512, "pages of a folio of the largest anonymous vma (16: 64 KiB mTHP)"),
    _fraction("parent.hugetlb", "fraction of the largest anonymous vma's memory in hugetlb pages of 2 MiB"),
    _count("parent.vmas", 1, MAX_VMAS, "all vmas; what is missing is split off the largest anonymous one"),
    _count("parent.threads", 1, MAX_THREADS, "all threads, the caller included"),
    _count("parent.running_threads", 0, MAX_THREADS, "other threads on a CPU"),
    _count("parent.fds", 0, MAX_FDS, "open descriptors, without gaps"),
    _count("parent.highest_fd", 0, MAX_FDS, "the largest descriptor, with gaps below it"),
    _count("parent.cloexec_fds", 0, MAX_FDS, "descriptors that exec closes"),
    _fraction("parent.contiguous", "neighbouring ptes whose page frames are neighbours too"),
    _fraction("parent.writable", "private ptes written since the last fork"),
    _words("parent.runtime", "whose code runs around the spawn", *Runtime),
)
_AROUND = (
    _words("caller", "hot: spawns back to back; cold: comes from other work", *Caller),
    _words("thp", "its anonymous memory all in 4 KiB or in 2 MiB pages", "as-is", "off", "on"),
    _fraction("thp_fallback", "with thp on: ranges too fragmented for a huge page"),
    _words("exec", "the program that the child executes, or none"),
    _words("linked", "how that program is taken to be linked, whatever its files say", *LINKINGS),
    _words("via", "the mechanism", *MECHANISMS),
    _words("clone_flags", "flags of clone3, comma-separated"),
    _words("machine", "machine file, by name or path"),
    _words("kernel", "rules of that kernel"),
    _words("glibc", "rules of that glibc"),
    _words("jdk", "rules of that JDK"),
    _count("target.libraries", 0, 4096, "libraries of the target; more are copies of its smallest"),
    _count("target.library_lookups", 0, 1 << 30, "symbol look-ups of each added library"),
    _count("target.library_relocations", 0, 1 << 30, "relative relocations of each added library"),
    _count("target.symbol_lookups", 0, 1 << 30, "symbol look-ups of the target's start-up"),
    _count("target.relative_relocations", 0, 1 << 30, "relative relocations of the target's start-up"),
    _count("spawn.argv_bytes", 0, 1 << 21, "strings of argv"),
    _count("spawn.envp_bytes", 0, 1 << 21, "strings of the environment"),
    _count("spawn.path_misses", 0, 4096, "failed execve calls of a PATH search"),
    _words("spawn.migrates", "whether the child moves to another CPU before anything else", "true", "false"),
    _words("spawn.runs_main", "whether the target runs a main that returns at once", "true", "false"),
    _words("page_cache", "whether files are executed from memory or read in first", "warm", "cold"),
)
_LIMITS = (
    _count("parent.limits.commit_mode", 0, 2, "vm.overcommit_memory: 0 guess, 1 always, 2 never"),
    _bytes("parent.limits.ram_and_swap", "memory and swap of the machine, for mode 0", "memory and swap"),
    _bytes("parent.limits.available", "memory that can still be had", "available memory"),
    _bytes("parent.limits.commit_headroom", "memory that may still be committed, for mode 2", "commit headroom"),
    _count("parent.limits.processes_left", 0, 1 << 22, "processes that may still be made"),
)
_LOAD = (
    _words("load", "a file that says what else runs; the fields below change what it says"),
    _count("load.busy_cpus", 0, MAX_THREADS, "CPUs on which a CPU-bound task of another process runs"),
    _duration("load.child_lifetime_us", "how long a child with a copy of the memory lives"),
    _fraction("load.unbacked", "page frames newly taken that the hypervisor has yet to back"),
    _fraction("load.batch_share", "writes done between two looks at the simulation; 0: one at a time"),
    _count("load.mutators", 0, MAX_THREADS, "threads of the parent that write to its memory"),
    _count("load.writes_per_second", 1, 10**12, "with load.mutators: writes of all of them together"),
    _bytes("load.working_set", "with load.mutators: the memory that they write to", "memory that is written to"),
    _words("load.locality", "with load.mutators: to which pages", *get_args(Locality)),
    _count("load.mutators.N.threads", 0, MAX_THREADS, "of group N (0, 1, ...) of threads that write: how many"),
    _count("load.mutators.N.writes_per_second", 1, 10**12, "writes of the whole group"),
    _bytes("load.mutators.N.working_set", "the memory that the group writes to", "memory that is written to"),
    _words("load.mutators.N.locality", "to which pages", *get_args(Locality)),
    _count("load.mutators.N.burst", 0, 1 << 30, "writes of a thread between two sleeps; 0: it does not sleep"),
    _count("load.mutators.N.reads_per_write", 0, 10**9, "references to other pages beside each write"),
    _words("load.calls.N.call", "of group N of threads that need a lock which a fork holds: for what", *get_args(Call)),
    _count("load.calls.N.threads", 0, MAX_THREADS, "how many"),
    _count("load.calls.N.calls_per_second", 1, 10**12, "calls of the whole group"),
    _words("load.khugepaged", "whether it makes split huge pages whole again", "on", "off"),
    _count("load.khugepaged.pages_to_scan", 1, 1 << 40, "pages that it looks at before it sleeps"),
    _duration("load.khugepaged.scan_sleep_us", "how long it sleeps then"),
)
GROUPS: Mapping[str, tuple[str, ...]] = {
    "mutators": ("writes_per_second", "working_set"),
    "calls": ("call", "calls_per_second"),
}
"""Kinds of groups of threads, and what each must say."""
_NUMBERED = re.compile(r"load\.(mutators|calls)\.([0-9]|[1-5][0-9]|6[0-3])\.")
"""As many groups as a load file may have."""


class _Fields(Mapping[str, Field]):
    """All fields by name; a field of a numbered group of threads stands once, with N for its number."""

    def __init__(self, given: tuple[Field, ...]) -> None:
        self._by_name = {each.name: each for each in given}

    def __getitem__(self, name: str) -> Field:
        if name in self._by_name:
            return self._by_name[name]
        return replace(self._by_name[_NUMBERED.sub(r"load.\1.N.", name)], name=name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


FIELDS: Mapping[str, Field] = _Fields(
    (
        *_PARENT,
        *_LIMITS,
        *_AROUND,
        *_LOAD,
        *(_words(f"rules.{each.name}", "a single rule", *_rule_words(each.name)) for each in fields(Rules)),
    )
)
ALIASES = {
    "mechanism": "via",
    "target": "exec",
    "contiguous": "parent.contiguous",
    "writable": "parent.writable",
    "parent.caller": "caller",
    "parent.thp": "thp",
    "load.child_lifetime": "load.child_lifetime_us",
    "load.khugepaged.scan_sleep": "load.khugepaged.scan_sleep_us",
    "load.mutators.0.threads": "load.mutators",
    "load.mutators.0.writes_per_second": "load.writes_per_second",
    "load.mutators.0.working_set": "load.working_set",
    "load.mutators.0.locality": "load.locality",
}
"""Other names that are understood."""
_HEADS = ("parent", "rss", "via", "exec", "thp", "caller", "kernel", "machine", "load", "parent.NAME", "rules.NAME")
UNBUILT = frozenset({"jdk_cold", "spawn.warm"})
NEEDS_RSS = frozenset({"vmas", "threads", "fds"})


def field_of(name: str) -> Field:
    """The field of that name or alias; ValueError if there is none or it is not built."""
    if name in UNBUILT:
        raise ValueError("it is not built yet")
    found = FIELDS.get(ALIASES.get(name, name))
    if found is None or ".N." in name:
        near = get_close_matches(name, FIELDS, n=4, cutoff=0.5)
        told = f"near it are {', '.join(near)}" if near else f"there are {', '.join(_HEADS)}, ..."
        raise ValueError(f"there is no such field; {told} (make docs lists all)")
    return found
