"""Machine files: reading, writing and finding them. They hold the only numbers that the model ever sees.

A file holds every price, those of assumed costs too, so that it can be read without the model. An assumed price that
still equals what it is tied to is left out of the table on reading: it follows the measured one that it is tied to.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from calibration.capture.host import fingerprint, host_facts
from calibration.capture.parent_file import write_atomically
from calibration.errors import BadInput, unfit
from calibration.machine_schema import MachineDocument
from calibration.machine_text import Origins, machine_text
from calibration.settings import data_directory
from model.costs import COSTS, CostTable
from model.machine import Footprint, Machine, Placement, Spread
from model.rules import Rules, rules_for

BUNDLED = "bundled"
LITERATURE = "literature"
"""Kind of a machine file that was derived from published figures."""
BUNDLED_DIRECTORY = Path(__file__).resolve().parent / "machines"
_REMEDY = "correct the file, or calibrate again"
_TIED = 1e-6
"""Relative difference up to which an assumed price is taken to follow the one that it is tied to."""
_NOT_POSITIVE = -1e-6
"""Least eigenvalue of a correlation matrix that rounding can explain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFile:
    """What a machine file holds.

    Attributes:
        machine, costs: what the model takes.
        provenance: where the numbers come from: versions, dates, names of the runs of samples.
        path: the file; None before it is written.
        origin: `bundled`, `calibrated` (this user's own calibrations) or `given` (a file by its path).
        inherited_from: of inherited prices, the machine that supplied them.
        kind: `measured`, or `literature`: derived from published figures.
        published, assumed: in a file from the literature, the source of each price that has one, and what the others
            are assumed by.
    """

    machine: Machine
    costs: CostTable
    provenance: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    origin: str = "given"
    inherited_from: Mapping[str, str] = field(default_factory=dict)
    kind: str = "measured"
    published: Mapping[str, str] = field(default_factory=dict)
    assumed: Mapping[str, str] = field(default_factory=dict)


def read_machine_file(path: Path, *, origin: str = "given") -> MachineFile:
    """Read and check a machine file.

    Raises:
        BadInput: no such file, not readable, not by its schema, a number that cannot be, a covariance that is none; it
            names the file and the key.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInput(str(path), "there is no such file", "see `spawncost calibrate --help`") from error
    except OSError as error:
        raise BadInput(str(path), f"cannot be read: {error.strerror or error}", "give a readable file") from error
    except ValueError as error:
        raise BadInput(str(path), "is no text in UTF-8", "give a machine file") from error
    try:
        document = MachineDocument.model_validate(tomllib.loads(text))
        return _machine_file(document, path, origin)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(str(path), f"is no TOML: {error}", "give a machine file") from error
    except ValidationError as error:
        raise unfit(str(path), error, _REMEDY) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(str(path), str(error) or "is nested too deeply", _REMEDY) from error


def _machine_file(document: MachineDocument, path: Path, origin: str) -> MachineFile:
    prices = _prices(document)
    inherited = {name: document.costs[name].inherited_from for name in prices if document.costs[name].inherited}
    return MachineFile(
        machine=_machine(document),
        costs=CostTable(
            ns=prices,
            names=tuple(document.covariance.names),
            covariance=_covariance(document) if document.covariance.names else None,
            inherited=frozenset(inherited),
        ),
        provenance=document.provenance,
        path=path,
        origin=origin,
        inherited_from={name: source for name, source in inherited.items() if source},
        kind=document.machine.kind,
        published={name: document.costs[name].published for name in prices if document.costs[name].published},
        assumed={
            name: document.costs[name].assumed
            for name in prices
            if document.costs[name].assumed and not COSTS[name].assumed
        },
    )


def _prices(document: MachineDocument) -> dict[str, float]:
    """Prices of the file without assumed ones that follow a measured one."""
    prices = {name: each.ns for name, each in document.costs.items()}
    measured = CostTable(ns={name: ns for name, ns in prices.items() if COSTS[name].assumed_as is None})
    for name in [name for name in prices if COSTS[name].assumed_as is not None]:
        try:
            tied_ns = measured.price(name)
        except KeyError:
            continue
        if abs(prices[name] - tied_ns) <= _TIED * tied_ns:
            del prices[name]
    return prices


def _covariance(document: MachineDocument) -> NDArray[np.float64]:
    """The symmetric matrix of the triangle.

    Raises:
        ValueError: it is no covariance: some combination of prices would have a negative variance.
    """
    size = len(document.covariance.names)
    matrix = np.zeros((size, size))
    for index, row in enumerate(document.covariance.rows):
        matrix[index, : index + 1] = row
        matrix[: index + 1, index] = row
    scale = np.sqrt(np.diag(matrix))
    known = scale > 0.0
    if np.any(matrix[~known]):
        name = document.covariance.names[int(np.flatnonzero(~known & np.any(matrix != 0.0, axis=1))[0])]
        raise ValueError(f"covariance.rows: {name} has no variance but covariances")
    if known.any():
        correlation = matrix[np.ix_(known, known)] / np.outer(scale[known], scale[known])
        least = float(np.linalg.eigvalsh(correlation)[0])
        if least < _NOT_POSITIVE * size:
            raise ValueError(f"covariance.rows: not positive, the least eigenvalue of its correlations is {least:.3g}")
    return matrix


def _machine(document: MachineDocument) -> Machine:
    return Machine(
        **document.machine.model_dump(exclude={"kind"}),
        rules=_rules(document),
        placements={name: _placements(entries) for name, entries in document.placements.items()},
        spread={
            name: Spread(levels=tuple(each.levels), ratios=tuple(each.ratios)) for name, each in document.spread.items()
        },
        footprints={name: Footprint(**dict(each)) for name, each in document.footprints.items()},
        facts=document.facts,
        measured=document.measured,
        model_error=document.model_error,
    )


def _placements(entries: list[Any]) -> tuple[Placement, ...]:
    """Likeliest first; the weights, rounded in the file, sum to 1 again."""
    total = sum(each.weight for each in entries)
    found = [Placement(child=each.child, waker=each.waker, weight=min(1.0, each.weight / total)) for each in entries]
    return tuple(sorted(found, key=lambda each: -each.weight))


def _rules(document: MachineDocument) -> Rules:
    """The rules of the file; one that it does not name is that of its kernel and glibc."""
    entry = document.machine
    given: dict[str, Any] = dict(document.rules)
    named = {name: value for name, value in given.items() if value is not None}
    versions = {name: version for name in ("kernel", "glibc") if (version := getattr(entry, name))}
    base = rules_for(**versions)
    return Rules(**{each.name: named.get(each.name, getattr(base, each.name)) for each in fields(Rules)})


def write_machine_file(file: MachineFile, path: Path) -> None:
    """Write a machine file that `read_machine_file` reads back with the same numbers (8 significant digits).

    The file appears whole or not at all: on failure the old one stays as it is.

    Raises:
        BadInput: it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, machine_text(file.machine, file.costs, file.provenance, origins_of(file)))
    except OSError as error:
        why = f"cannot be written: {error.strerror or error}"
        raise BadInput(str(path), why, "make room or give another file") from error


def origins_of(file: MachineFile) -> Origins:
    """Where a file's prices come from."""
    return Origins(
        kind=file.kind, inherited_from=file.inherited_from, published=file.published, assumed=file.assumed
    )  # fmt: skip


def user_directory() -> Path:
    """Where this user's calibrations lie: `$XDG_DATA_HOME/spawncost/machines`, else under `~/.local/share`."""
    return data_directory() / "machines"


def host_name() -> str:
    """The name that a machine file of this host bears."""
    return fingerprint(host_facts())


def bundled_machines() -> list[str]:
    """Names of the bundled machine files, sorted."""
    return sorted(path.stem for path in BUNDLED_DIRECTORY.glob("*.toml"))


def find_machine(name: str | None = None) -> MachineFile:
    """The machine file asked for.

    Args:
        name: `bundled`, the name of a file in the user's or the bundled directory, or a path (with `/` or ending in
            .toml). None: this host's own calibration if there is one, matched by fingerprint, else the bundled file.

    Raises:
        BadInput: there is none, or it cannot be used.
    """
    if name is None:
        own = user_directory() / f"{host_name()}.toml"
        return read_machine_file(own, origin="calibrated") if own.is_file() else find_machine(BUNDLED)
    if not name:
        raise BadInput("--machine", "the name is empty", "give a name or a file")
    if "/" in name or name.endswith(".toml"):
        return read_machine_file(Path(name))
    places = [(BUNDLED_DIRECTORY, "bundled")]
    if name != BUNDLED:
        places.insert(0, (user_directory(), "calibrated"))
    for directory, origin in places:
        path = directory / f"{name}.toml"
        if path.is_file():
            return read_machine_file(path, origin=origin)
    known = ", ".join(sorted({*bundled_machines(), *(path.stem for path in user_directory().glob("*.toml"))}))
    raise BadInput(name, "there is no machine file of that name", f"known: {known or 'none'}; or give a path")


def load_machine(name: str | None = None) -> tuple[Machine, CostTable]:
    """Machine and prices of `find_machine(name)`. Raises BadInput."""
    found = find_machine(name)
    return found.machine, found.costs
