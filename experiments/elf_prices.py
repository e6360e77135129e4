"""What the start of one program costs, part by part: read off the ledger of a simulated child, with no formula here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from model.costs import MissingCost
from model.elf_image import ElfImage
from model.ledger import Entry
from model.process import Caller
from model.scenario import Spawn, spawn_and_wait
from model.simulation import simulate

OBJECT_FUNCTIONS = ("_dl_map_object", "_dl_relocate_object", "_dl_init")
"""Functions of the loader behind which the object that they work on stands on an entry's path."""
PART_FUNCTIONS = {
    "_dl_start": "ld.so",
    "do_exit": "exit",
    "__libc_start_main": "libc start",
    "do_execveat_common": "execve",
}
"""Function of an entry's path to the part that it belongs to, where it is no object's."""
BEFORE_START = frozenset({"execve", "ld.so"})


@dataclass(slots=True, kw_only=True)
class Part:
    """One part of a start: `execve`, `ld.so` (its own work), `libc start`, `exit`, or an object by its name.

    Attributes:
        name: the part.
        of_object: whether it is an object's.
        ns: its quiet time.
        breakdown_ns: the same by cost.
        counts: units by cost.
    """

    name: str
    of_object: bool
    ns: float = 0.0
    breakdown_ns: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Take in one entry of the ledger."""
        self.ns += entry.elapsed_ns
        self.breakdown_ns[entry.name] = self.breakdown_ns.get(entry.name, 0.0) + entry.elapsed_ns
        self.counts[entry.name] = self.counts.get(entry.name, 0.0) + entry.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start in parts, the dearest first.

    Attributes:
        parts: they sum to `whole_ns`.
        main_ns: from the call of execve to the program's `_start`.
        loader_ns: of it, ld.so's run without constructors; 0 if static.
        whole_ns: from the call of execve to the end of the process, with a main that returns at once.
        stderr_ns: of `main_ns`, by the covariance of the prices.
    """

    parts: Sequence[Part]
    main_ns: float
    loader_ns: float
    whole_ns: float
    stderr_ns: float


def start_of(image: ElfImage, file: MachineFile, *, caller: str = "hot", cold_files: bool = False) -> Start:
    """The start of an image by a small C program's posix_spawn, undisturbed and at the likeliest placement.

    A file that may not be executed is priced as if it might. `cold_files`: all of them are read in from the storage.

    Raises:
        BadInput: the machine file lacks a price, or there is no such caller.
    """
    ledger = _child_of(image, file, caller, cold_files)
    parts: dict[str, Part] = {}
    before: dict[str, float] = {}
    main_ns = loader_ns = 0.0
    for entry in ledger:
        name, of_object = part_of(entry.path)
        if not name or "preempted" in entry.path or entry.kind not in ("charge", "latency"):
            continue
        parts.setdefault(name, Part(name=name, of_object=of_object)).add(entry)
        if of_object or name in BEFORE_START:
            main_ns += entry.elapsed_ns
            before[entry.name] = before.get(entry.name, 0.0) + entry.count
        if "_dl_start" in entry.path:
            loader_ns += entry.elapsed_ns
    return Start(
        parts=sorted(parts.values(), key=lambda each: -each.ns),
        main_ns=main_ns,
        loader_ns=loader_ns,
        whole_ns=sum(each.ns for each in parts.values()),
        stderr_ns=file.costs.stderr_ns(before),
    )


def part_of(path: Sequence[str]) -> tuple[str, bool]:
    """Name of the part that an entry belongs to, and whether that is an object; empty before execve."""
    for function in OBJECT_FUNCTIONS:
        if function in path:
            return path[path.index(function) + 1], True
    return next((name for function, name in PART_FUNCTIONS.items() if function in path), ""), False


def _child_of(image: ElfImage, file: MachineFile, caller: str, cold_files: bool) -> Sequence[Entry]:
    if caller not in tuple(Caller):
        raise BadInput(f"--caller {caller}", "there is no such state", "hot or cold")
    parent = replace(synthetic_parent(0), caller=Caller(caller), assumed=())
    spawn = Spawn(mechanism="posix_spawn", target=replace(image, executable=True))
    scenario = spawn_and_wait(parent, spawn, rules=file.machine.rules, cold_files=cold_files)
    try:
        prediction = simulate(scenario, file.machine, file.costs)
    except MissingCost as error:
        where = str(file.path or file.machine.name)
        raise BadInput(where, f"it has no price of {error.args[0]}", "calibrate again") from error
    children: Mapping[str, tuple[Entry, ...]] = prediction.tasks
    return next(ledger for key, ledger in children.items() if key.partition(" ")[2] == "child")
