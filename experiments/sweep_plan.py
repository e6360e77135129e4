"""A sweep with all files that it names, read once, and the content that names each of its points."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import model
from calibration.capture.load_file import read_load
from calibration.capture.parent_file import read_parent
from calibration.errors import BadInput
from calibration.machine_file import MachineFile, find_machine
from experiments.load_changes import check_load
from experiments.scenarios import DEFAULT_PARENT, helpers_of, target_of
from experiments.sweep_spec import Sweep
from experiments.what_if import AS_IT_IS, LINKED, relinked
from model.elf_image import ElfImage
from model.mechanisms import HELPED
from model.process import Process
from model.scenario import Load

_WITH = {"exec": ("linked", "glibc")}
"""Fields that decide, beside that of its path, whether a file can be used."""
_FORMAT = "rows/5"
"""Changes when the same inputs make another row with the same model."""

Inputs = Mapping[str, Any]
Read = TypeVar("Read")


@cache
def model_version() -> str:
    """The content of the model's source: results of one version are not mixed with those of another."""
    root = Path(model.__file__).parent
    digest = hashlib.sha256(_FORMAT.encode())
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """A sweep with the contents of every file that it names; in place of one that cannot be used stands the refusal.

    Attributes:
        machines, parents: by name.
        targets: by path (None: the default), glibc and how it is linked (None: as its files say).
        helpers: by mechanism and glibc.
        loads: by path.
    """

    sweep: Sweep
    machines: Mapping[str, MachineFile | BadInput]
    parents: Mapping[str, Process | BadInput]
    targets: Mapping[tuple[str | None, str | None, str | None], ElfImage | BadInput]
    helpers: Mapping[tuple[str, str | None], ElfImage | BadInput]
    loads: Mapping[str, Load | BadInput]

    @cached_property
    def digests(self) -> dict[str, str]:
        """A digest of each file's content, by what the points call it."""
        found = {f"machine {name}": _machine_digest(each) for name, each in self.machines.items()}
        for kind, table in (
            ("parent", self.parents),
            ("target", self.targets),
            ("helper", self.helpers),
            ("load", self.loads),
        ):
            found |= {f"{kind} {name}": _digest(repr(each)) for name, each in table.items()}
        return found

    @cached_property
    def identity(self) -> str:
        """The digest of everything that decides what the rows hold."""
        return _digest(json.dumps([model_version(), self.sweep.canonical, sorted(self.digests.items())]))

    @cached_property
    def packed(self) -> bytes:
        """The plan as bytes for a worker."""
        return pickle.dumps(self)

    def key(self, inputs: Inputs) -> str:
        """Content of one point: model version, the files behind its inputs, the inputs, its seed among them."""
        glibc, path = inputs.get("glibc"), inputs.get("exec")
        names = [
            f"machine {inputs['machine']}",
            f"target {(path, glibc, inputs.get('linked'))}",
            *([f"helper {(inputs['via'], glibc)}"] if inputs["via"] in HELPED else []),
            *([f"load {inputs['load']}"] if "load" in inputs else []),
            *([] if "rss" in inputs else [f"parent {inputs.get('parent', DEFAULT_PARENT)}"]),
        ]
        digests = [self.digests[name] for name in names]
        return _digest(json.dumps([model_version(), self.sweep.breakdown, digests, sorted(inputs.items())]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _machine_digest(file: MachineFile | BadInput) -> str:
    if isinstance(file, BadInput):
        return _digest(str(file))
    content = file.path.read_bytes() if file.path is not None else repr(file).encode()
    return hashlib.sha256(content).hexdigest()[:32]


def plan_of(sweep: Sweep) -> Plan:
    """Read all files that a sweep names.

    Raises:
        BadInput: one that its base names cannot be used. One of an axis fails only the points that name it.
    """
    named = {name: _named(sweep, name) for name in ("machine", "parent", "exec", "glibc", "linked", "via", "load")}
    parents = [] if "rss" in sweep.fixed else [str(each or DEFAULT_PARENT) for each in named["parent"]]
    asked = list(product(named["exec"], named["glibc"], named["linked"]))
    helped = [(via, glibc) for via in named["via"] if via in HELPED for glibc in named["glibc"]]
    plan = Plan(
        sweep=sweep,
        machines={str(each): _tried(partial(find_machine, str(each))) for each in named["machine"]},
        parents={each: _tried(partial(read_parent, each)) for each in parents},
        targets={each: _tried(partial(_target, *each)) for each in asked},
        helpers={(str(via), glibc): _tried(partial(_helper, via, glibc)) for via, glibc in helped},
        loads={str(each): _tried(partial(_load, sweep, str(each))) for each in named["load"] if each is not None},
    )
    tables: dict[str, Mapping[Any, Any]] = {
        "machine": plan.machines,
        "parent": plan.parents,
        "exec": plan.targets,
        "load": plan.loads,
    }
    for field, table in tables.items():
        refused = next((each for each in table.values() if isinstance(each, BadInput)), None)
        if refused is not None and all(axis.name not in (field, *_WITH.get(field, ())) for axis in sweep.parsed):
            raise BadInput(f"{sweep.where}: base.{field}: {refused.what}", refused.why, refused.remedy)
    return plan


def _named(sweep: Sweep, name: str) -> Sequence[Any]:
    """All values that a text field takes in a sweep; None where it is left out."""
    axis = next((each for each in sweep.parsed if each.name == name), None)
    if axis is not None:
        return axis.values
    if name == "via":
        return sweep.mechanisms
    return [sweep.fixed.get(name, "bundled" if name == "machine" else None)]


def _tried(read: Callable[[], Read]) -> Read | BadInput:
    try:
        return read()
    except BadInput as error:
        return error


def _target(path: str | None, glibc: str | None, linked: str | None) -> ElfImage:
    what = LINKED[linked or "as-is"]
    return target_of(path, glibc=glibc)[0] if what == AS_IT_IS else relinked(path, what, glibc=glibc)


def _helper(mechanism: str, glibc: str | None) -> ElfImage:
    return helpers_of([mechanism], glibc=glibc)[0][mechanism]


def _load(sweep: Sweep, path: str) -> Load:
    """The load of a file; BadInput also where the sweep's own fields do not go with it."""
    found = read_load(path)
    try:
        names = (*sweep.fixed, *(each.name for each in sweep.parsed))
        check_load([name for name in names if name.startswith("load.")], found)
    except ValueError as error:
        raise BadInput(path, str(error), "correct the specification") from error
    return found


def usable(found: Read | BadInput) -> Read:
    """What was read, or the refusal that stands in its place, raised."""
    if isinstance(found, BadInput):
        raise BadInput(found.what, found.why, found.remedy)
    return found
