"""The load of a point: that of a file, none without one, with what the point says of it by the names of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from calibration.capture.load_file import read_load
from calibration.errors import BadInput
from experiments.scenarios import Notice
from experiments.sweep_fields import ALIASES, GROUPS
from model.machine import Machine
from model.process import Process
from model.scenario import Calls, Khugepaged, Load, Mutators
from model.units import NS_PER_US, pages_of
from model.userland.working_set import mutable_pages

_NONE = Load()
_DOTTED = {name: dotted for dotted, name in ALIASES.items() if dotted.startswith("load.")}
"""`load.mutators` and the like, which are older than the dotted names of the first group of mutators."""
_KINDS: Mapping[str, Callable[..., Mutators | Calls]] = {"mutators": Mutators, "calls": Calls}
_CHANGED: Mapping[str, tuple[str, Callable[..., Any]]] = {
    "working_set": ("working_set_pages", pages_of),
    "writes_per_second": ("writes_per_second", float),
}
_OF_KHUGEPAGED = "khugepaged"
Groups = dict[int, dict[str, Any]]


def check_load(names: Collection[str], load: Load = _NONE) -> None:
    """Whether a sweep's fields say a load whole, on top of that of a file.

    Raises:
        ValueError: a group of threads has no number before it, or lacks what its kind must have.
    """
    for kind, groups in _groups(dict.fromkeys(names)).items():
        there = len(getattr(load, kind))
        for index in sorted(groups):
            if index > there:
                raise ValueError(f"load.{kind}.{index} is given, load.{kind}.{there} is not: number them from 0")
            lost = [name for name in GROUPS[kind] if name not in groups[index]] if index == there else []
            if lost:
                raise ValueError(f"load.{kind}.{index} is not said whole: give {_name(kind, index, lost[0])} too")
            there = max(there, index + 1)


def changed_load(load: Load, about: Mapping[str, Any]) -> Load:
    """The load with a point's fields `load.NAME`; a group of no threads is left out. Raises as `check_load` does."""
    if not about:
        return load
    check_load(about, load)
    groups = _groups(about)
    plain = {name.removeprefix("load."): each for name, each in about.items()}
    if "child_lifetime_us" in plain:
        plain["child_lifetime_ns"] = plain["child_lifetime_us"] * NS_PER_US
    own = {name: plain[name] for name in ("busy_cpus", "child_lifetime_ns", "unbacked", "batch_share") if name in plain}
    return replace(
        load,
        mutators=tuple(_made("mutators", load.mutators, groups["mutators"])),
        calls=tuple(_made("calls", load.calls, groups["calls"])),
        khugepaged=_khugepaged(load.khugepaged, plain),
        **own,
    )


def _groups(about: Mapping[str, Any]) -> dict[str, Groups]:
    """What is said of each group of threads, by kind and number."""
    found: dict[str, Groups] = {kind: {} for kind in GROUPS}
    for name, value in about.items():
        _, kind, *rest = _DOTTED.get(name, name).split(".")
        if kind in found and len(rest) == 2:
            found[kind].setdefault(int(rest[0]), {})[rest[1]] = value
    return found


def _name(kind: str, index: int, name: str) -> str:
    dotted = f"load.{kind}.{index}.{name}"
    return ALIASES.get(dotted, dotted)


def _made(kind: str, there: Sequence[Mutators | Calls], said: Groups) -> Iterator[Any]:
    """The groups of one kind, those of the file first."""
    for index in range(max(len(there), 1 + max(said, default=-1))):
        given = dict(said.get(index, {}))
        if given.get("threads") == 0:
            continue
        changes = dict(_field(name, value) for name, value in given.items())
        yield replace(there[index], **changes) if index < len(there) else _KINDS[kind](**changes)


def _field(name: str, value: Any) -> tuple[str, Any]:
    if name not in _CHANGED:
        return name, value
    attribute, read = _CHANGED[name]
    return attribute, read(value)


def _khugepaged(there: Khugepaged | None, plain: Mapping[str, Any]) -> Khugepaged | None:
    """Its settings; it runs if it is on, or if a setting is given and it is not off."""
    given = {name.partition(".")[2]: each for name, each in plain.items() if name.startswith(f"{_OF_KHUGEPAGED}.")}
    runs = plain.get(_OF_KHUGEPAGED, "on" if there is not None or given else "off")
    if runs == "off":
        return None
    settings = asdict(there or Khugepaged())
    if "scan_sleep_us" in given:
        settings["sleep_ns"] = given["scan_sleep_us"] * NS_PER_US
    if "pages_to_scan" in given:
        settings["pages_to_scan"] = given["pages_to_scan"]
    return Khugepaged(**settings)


def load_of(path: Path | None, parent: Process, machine: Machine) -> tuple[Load, tuple[Notice, ...]]:
    """The load that a file describes, none without one; with a notice where the parent is too small for it.

    Raises:
        BadInput: the file cannot be used, or keeps more CPUs busy than the machine has.
    """
    if path is None:
        return Load(), ()
    return fitting_load(read_load(path), parent, machine, str(path))


def fitting_load(load: Load, parent: Process, machine: Machine, where: str) -> tuple[Load, tuple[Notice, ...]]:
    """The load, with a notice where the parent is too small for it; `where`: who says so, for messages.

    Raises:
        BadInput: it keeps more CPUs busy than the machine has.
    """
    if load.busy_cpus > machine.cpus:
        why = f"busy_cpus is {load.busy_cpus}, {machine.name} has {machine.cpus}"
        raise BadInput(where, why, f"give at most {machine.cpus}")
    if not load.mutators:
        return load, ()
    asked, there = sum(each.working_set_pages for each in load.mutators), mutable_pages(parent.space)
    if asked <= there:
        return load, ()
    text = (
        f"the working sets are {asked:,} pages, the parent has {there:,} private anonymous ones: the rest is left out"
    )
    return load, (Notice("working_set", text),)
