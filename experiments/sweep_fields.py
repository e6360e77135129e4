"""What a sweep can vary: the fields of a scenario by the names of a specification, and which values they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from calibration.capture.description import MAX_FDS, MAX_THREADS, MAX_VMAS
from calibration.capture.sizes import MAX_SIZE_BYTES, parse_size
from calibration.errors import BadInput
from model.locality import Locality
from model.mechanisms import MECHANISMS
from model.process import Caller, Runtime
from model.rules import Rules, set_rule

Scalar = str | int | float | bool
Kind = Literal["text", "count", "size", "fraction"]
_DIGITS = 12
"""Of a fraction or a drawn number: the last bits differ between machines, keys must not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field that a specification can fix or vary.

    Attributes:
        name: as in the specification.
        kind: `text` takes lists only; numbers take ranges too.
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
    _fraction("parent.contiguous", "neighbouring ptes whose page frames are neighbours too"),
    _fraction("parent.writable", "private ptes written since the last fork"),
    _words("parent.runtime", "whose code runs around the spawn", *Runtime),
)
_AROUND = (
    _words("caller", "hot: spawns back to back; cold: comes from other work", *Caller),
    _words("thp", "its anonymous memory all in 4 KiB or in 2 MiB pages", "as-is", "off", "on"),
    _words("exec", "the program that the child executes, or none"),
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
)
_LOAD = (
    _count("load.busy_cpus", 0, MAX_THREADS, "CPUs on which a CPU-bound task of another process runs"),
    _count("load.child_lifetime_us", 0, 86_400 * 10**6, "how long a child with a copy of the memory lives"),
    _count("load.mutators", 0, MAX_THREADS, "threads of the parent that write to its memory"),
    _count("load.writes_per_second", 1, 10**12, "with load.mutators: writes of all of them together"),
    _bytes("load.working_set", "with load.mutators: the memory that they write to", "memory that is written to"),
    _words("load.locality", "with load.mutators: to which pages", *get_args(Locality)),
)
FIELDS: Mapping[str, Field] = {
    each.name: each
    for each in (
        *_PARENT,
        *_AROUND,
        *_LOAD,
        *(_words(f"rules.{each.name}", "a single rule", *_rule_words(each.name)) for each in fields(Rules)),
    )
}
"""All fields by name."""
ALIASES = {
    "mechanism": "via",
    "target": "exec",
    "contiguous": "parent.contiguous",
    "writable": "parent.writable",
    "parent.caller": "caller",
    "parent.thp": "thp",
}
"""Other names that are understood."""
UNBUILT = frozenset({"jdk_cold"})
NEEDS_RSS = frozenset({"vmas", "threads", "fds"})
MUTATORS = "load.mutators"
OF_MUTATORS = {"load.writes_per_second": True, "load.working_set": True, "load.locality": False}
"""What only threads that write have, and whether they must."""


def field_of(name: str) -> Field:
    """The field of that name or alias; ValueError if there is none or it is not built."""
    if name in UNBUILT:
        raise ValueError("it is not built yet")
    found = FIELDS.get(ALIASES.get(name, name))
    if found is None:
        plain = [each for each in FIELDS if not each.startswith("rules.")]
        raise ValueError(f"there is no such field: {', '.join(plain)}, rules.NAME")
    return found
