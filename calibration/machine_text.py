"""The text of a machine file: TOML laid out for readers, one table a coefficient, one line a row of the covariance."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from calibration.machine_schema import SCHEMA
from model.costs import COSTS, CostTable, fold_assumed
from model.machine import Machine

_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Where prices come from: the kind of the file, and of single prices what `MachineFile` says of them."""

    kind: str
    inherited_from: Mapping[str, str]
    published: Mapping[str, str]
    assumed: Mapping[str, str]


def machine_text(machine: Machine, costs: CostTable, provenance: Mapping[str, Any], origins: Origins) -> str:
    """The whole file.

    Raises:
        ValueError: a number that a machine file cannot hold.
    """
    return "\n".join(_lines(machine, costs, provenance, origins)) + "\n"


def _lines(machine: Machine, costs: CostTable, provenance: Mapping[str, Any], origins: Origins) -> Iterator[str]:
    yield f"schema = {value(SCHEMA)}"
    names = ("name", "cpu", "hypervisor", "kernel", "glibc", "cpus", "noise_floor")
    said = {} if origins.kind == "measured" else {"kind": origins.kind}
    yield from table("machine", {name: getattr(machine, name) for name in names} | said)
    yield from table("provenance", provenance)
    yield from table("facts", {name: each for name, each in machine.facts.items() if math.isfinite(each)})
    yield from table("measured", machine.measured)
    yield from table("rules", _fields(machine.rules))
    yield from table("model_error", machine.model_error)
    for mechanism, placements in machine.placements.items():
        for each in placements:
            yield from table(f"placements.{key(mechanism)}", _fields(each), array=True)
    for runtime, footprint in machine.footprints.items():
        yield from table(f"footprints.{key(runtime)}", _fields(footprint))
    for kind, spread in machine.spread.items():
        yield from table(f"spread.{key(kind)}", _fields(spread))
    for name in _priced(costs):
        yield from table(f"costs.{name}", _cost(name, costs, origins))
    yield from _covariance(costs)


def _fields(record: Any) -> dict[str, Any]:
    return {each.name: getattr(record, each.name) for each in fields(record)}


def _priced(costs: CostTable) -> Iterator[str]:
    """Costs that have a price, their own or one that is assumed, in the order in which they are declared.

    What only stands in for a price that is still to be measured is not written as one.
    """
    for name, spec in COSTS.items():
        if spec.otherwise is not None and name not in costs.ns:
            continue
        try:
            costs.price(name)
        except KeyError:
            continue
        yield name


def _cost(name: str, costs: CostTable, origins: Origins) -> dict[str, Any]:
    spec = COSTS[name]
    entry: dict[str, Any] = {"ns": costs.price(name), "stderr_ns": costs.stderr_ns({name: 1.0})}
    if name in origins.published:
        entry["published"] = origins.published[name]
    elif spec.assumed or name in origins.assumed:
        entry["assumed"] = origins.assumed.get(name, spec.assumed)
    else:
        entry["bench"] = spec.bench
    if spec.assumed and name in costs.names:
        entry["stderr_ns"] = _own_error(name, costs)
    base = next(iter(fold_assumed({name: 1.0})))
    if name in costs.inherited or (name not in costs.ns and base in costs.inherited):
        entry["inherited"] = True
        source = origins.inherited_from.get(name, origins.inherited_from.get(base, ""))
        entry |= {"from": source} if source else {}
    return entry


def _own_error(name: str, costs: CostTable) -> float:
    if costs.covariance is None:
        return 0.0
    index = costs.names.index(name)
    return math.sqrt(costs.covariance[index, index])


def _covariance(costs: CostTable) -> Iterator[str]:
    if costs.covariance is None or not costs.names:
        return
    yield from ("", "# ns squared: row i holds the covariances of name i with names 0 to i", "[covariance]")
    yield f"names = {value(list(costs.names))}"
    yield "rows = ["
    for index in range(len(costs.names)):
        yield f"    {value([float(each) for each in costs.covariance[index, : index + 1]])},"
    yield "]"


def table(name: str, entries: Mapping[str, Any], *, array: bool = False) -> Iterator[str]:
    """A table with its values, then its tables; nothing if it is empty."""
    if not entries:
        return
    plain = {each: entries[each] for each in entries if not isinstance(entries[each], Mapping)}
    yield ""
    yield f"[[{name}]]" if array else f"[{name}]"
    for each, content in plain.items():
        yield f"{key(each)} = {value(content)}"
    for each, content in entries.items():
        if isinstance(content, Mapping):
            yield from table(f"{name}.{key(each)}", content)


def key(name: str) -> str:
    """A key, quoted where TOML wants it."""
    bare = name.isascii() and name.replace("_", "a").replace("-", "a").isalnum()
    return name if bare else value(name)


def value(content: Any) -> str:
    """A value as TOML writes it; floats with eight significant digits.

    Raises:
        ValueError: not finite, or of a type that a machine file does not hold.
    """
    match content:
        case bool():
            return str(content).lower()
        case int():
            return str(content)
        case float():
            if not math.isfinite(content):
                raise ValueError(f"{content} cannot stand in a machine file")
            return repr(float(f"{content:.{_DIGITS}g}"))
        case str():
            return json.dumps(content, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return f"[{', '.join(value(each) for each in content)}]"
    raise ValueError(f"{content!r} cannot stand in a machine file")
