"""The specification of a sweep (`spawncost.sweep/1`): what is fixed, what varies, how the points are chosen."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from calibration.capture.parent_file import read_parent
from calibration.capture.synthetic import C_PROGRAM
from calibration.errors import BadInput, unfit
from experiments.axes import RANGE_ENDS, REMEDY, SAMPLED, Axis, Range, axis_of, refused
from experiments.constraints import constraint
from experiments.load_changes import check_load
from experiments.scenarios import DEFAULT_PARENT, mechanisms_of
from experiments.sweep_fields import ALIASES, NEEDS_RSS, Scalar, field_of
from model.elf_image import NO_IMAGE, ElfImage

SCHEMA = "spawncost.sweep/1"
DEFAULTS: Mapping[str, Scalar] = {"machine": "bundled"}
MAX_POINTS = 1 << 40


class _Document(BaseModel):
    """The whole file; tables below `base` and `axes` are flattened to dotted names before."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    schema_name: Annotated[Literal["spawncost.sweep/1"], Field(alias="schema")]
    name: Annotated[str, Field(max_length=200)] = ""
    base: dict[str, Any] = {}
    axes: dict[str, list[Any] | Range] = {}
    method: Literal["grid", "zip", "latin-hypercube", "sobol"] = "grid"
    samples: Annotated[int, Field(ge=1, le=1 << 30)] | None = None
    constraints: list[str] = []
    replicates: Annotated[int, Field(ge=1, le=1 << 20)] = 1
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    breakdown: bool = False

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        tables = {key: dict(_flattened(given[key])) for key in ("base", "axes") if isinstance(given.get(key), Mapping)}
        return {**given, **tables}


def _flattened(table: Mapping[str, Any], head: str = "") -> Iterator[tuple[str, Any]]:
    """`parent.huge = ...` is a table of tables to TOML unless the name is quoted: both are one dotted name here.

    A list of tables, as `[[base.load.mutators]]`, has numbers for names.
    """
    for key, value in table.items():
        if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
            value = dict(zip(map(str, range(len(value))), value, strict=True))
        if isinstance(value, Mapping) and not RANGE_ENDS & value.keys():
            yield from _flattened(value, f"{head}{key}.")
        else:
            yield f"{head}{key}", value


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A set of points, each one parent, target and mechanism on one machine.

    Attributes:
        base: what all points share, by the names of `experiments.sweep_fields.FIELDS`; `via` takes a list, and every
            point is then asked for each of its mechanisms.
        axes: what varies: a list of values, or a mapping with low, high, scale (linear, log) and count.
        method: `grid` all combinations; `zip` the values side by side; `latin-hypercube` and `sobol` `samples` points.
        samples: of a Latin hypercube or Sobol sequence; None: the `count` that its ranges share.
        constraints: conditions that a point must meet.
        replicates: how often each point is taken, each with a seed of its own; a sampled design is drawn anew.
        seed: of the first replicate.
        breakdown: whether results carry the time by cost.
        name: for reports; of a file its stem.
        where: the file, for messages.

    Raises:
        BadInput: the first thing that is wrong, by file and key.
    """

    base: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, Any] = field(default_factory=dict)
    method: str = "grid"
    samples: int | None = None
    constraints: Sequence[str] = ()
    replicates: int = 1
    seed: int = 0
    breakdown: bool = False
    name: str = ""
    where: str = "sweep"
    fixed: Mapping[str, Scalar] = field(init=False, repr=False)
    mechanisms: tuple[str, ...] = field(init=False, repr=False)
    parsed: tuple[Axis, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        given = {each.name: getattr(self, each.name) for each in fields(self) if each.init and each.name != "where"}
        document = _document({**given, "constraints": list(self.constraints), "schema": SCHEMA}, self.where)
        _settle(self, document)

    @property
    def canonical(self) -> str:
        """The specification as one text: equal for equal sweeps, whatever the order of keys in the file."""
        document = {
            "base": {**DEFAULTS, **self.fixed, "via": list(self.mechanisms)},
            "axes": {each.name: [*each.values] or [each.low, each.high, each.log] for each in self.parsed},
            "order": [each.name for each in self.parsed],
            "method": self.method,
            "samples": self.samples,
            "constraints": list(self.constraints),
            "replicates": self.replicates,
            "seed": self.seed,
            "breakdown": self.breakdown,
        }
        return json.dumps(document, sort_keys=True)


def read_sweep(path: str | Path) -> Sweep:
    """The sweep of a TOML file.

    Raises:
        BadInput: no such file, not readable, or not by its schema; it names the file and the key.
    """
    path = Path(path)
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(str(path), "there is no such file", "ready ones lie in experiments/specs") from error
    except OSError as error:
        raise BadInput(str(path), f"cannot be read: {error.strerror or error}", "give a readable file") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(str(path), f"is no TOML: {error}", REMEDY) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(str(path), "is no text in UTF-8 or nested too deeply", "give a specification") from error
    document = _document(given, str(path))
    told = {name: getattr(document, name) for name in type(document).model_fields if name in given}
    axes = {name: each if isinstance(each, list) else each.model_dump() for name, each in document.axes.items()}
    return Sweep(**{"name": path.stem, **told, "axes": axes, "where": str(path)})


def _document(given: Mapping[str, Any], where: str) -> _Document:
    try:
        return _Document.model_validate(given)
    except ValidationError as error:
        raise unfit(where, error, REMEDY, union=("Range", "list[any]")) from error


def _settle(sweep: Sweep, document: _Document) -> None:
    """Fill in what follows from the document: parsed values, mechanisms, axes, the number of samples."""
    where = sweep.where
    fixed, mechanisms = _base(document, where)
    axes = tuple(axis_of(name, each, document.method, where) for name, each in document.axes.items())
    samples = _samples(document, where)
    for name, value in (
        ("fixed", fixed),
        ("parsed", axes),
        ("samples", samples),
        ("constraints", document.constraints),
    ):
        object.__setattr__(sweep, name, tuple(value) if isinstance(value, list) else value)
    varied = [each.name for each in axes]
    object.__setattr__(sweep, "mechanisms", () if "via" in varied else mechanisms or _asked(fixed, varied))
    _agree(document, fixed, varied, mechanisms, where)
    if document.method == "zip" and len({len(each.values) for each in axes}) > 1:
        lengths = ", ".join(f"{each.name} {len(each.values)}" for each in axes)
        raise refused(where, "axes", f"zip needs axes of one length, not {lengths}")
    if math.prod(len(each.values) or 1 for each in axes) > MAX_POINTS:
        raise refused(where, "axes", f"more than {MAX_POINTS} points")
    for index, text in enumerate(document.constraints):
        try:
            constraint(text, {*DEFAULTS, *fixed, *varied, "via", "seed"})
        except ValueError as error:
            raise refused(where, f"constraints.{index}", error) from error


def _agree(
    document: _Document, fixed: Mapping[str, Scalar], varied: Sequence[str], mechanisms: Sequence[str], where: str
) -> None:
    """What base and axes must not both say, or may say only together."""
    twice = next((each for each in varied if varied.count(each) > 1 or each in fixed), None)
    if twice is not None or ("via" in varied and mechanisms):
        raise refused(where, f"axes.{twice or 'via'}", "it is given twice, in base or under another name")
    named = {*fixed, *varied}
    if {"rss", "parent"} <= named:
        raise refused(where, "rss", "a sweep has parents or rss, not both")
    alone = sorted((NEEDS_RSS & named) if "rss" not in named else ())
    if alone:
        raise refused(where, alone[0], f"it describes a synthetic parent: give rss too, or parent.{alone[0]}")
    if "load" not in named:
        try:
            check_load([name for name in named if name.startswith("load.")])
        except ValueError as error:
            raise refused(where, "load", error) from error
    if not document.axes and not document.base:
        raise refused(where, "axes", "nothing is fixed and nothing varies")


def _asked(fixed: Mapping[str, Scalar], varied: Sequence[str]) -> tuple[str, ...]:
    """The mechanisms that `predict` compares for such a parent and target."""
    target = NO_IMAGE if fixed.get("exec") == "none" else ElfImage(path="", kind="elf-dynamic")
    synthetic = "rss" in fixed or "rss" in varied or "parent" in varied
    parent = C_PROGRAM if synthetic else str(fixed.get("parent", DEFAULT_PARENT))
    return mechanisms_of(None, read_parent(parent), target)


def _base(document: _Document, where: str) -> tuple[dict[str, Scalar], tuple[str, ...]]:
    """Parsed values of the base, and its mechanisms; none: those that predict asks for."""
    fixed: dict[str, Scalar] = {}
    mechanisms: tuple[str, ...] = ()
    for given, value in document.base.items():
        name = ALIASES.get(given, given)
        try:
            known = field_of(name)
            if name == "via":
                listed = value if isinstance(value, list) else str(value).split(",")
                mechanisms = tuple(dict.fromkeys(str(known.parse(each)).strip() for each in listed))
                if not mechanisms:
                    raise ValueError("no mechanism is named")
            else:
                fixed[name] = known.parse(value)
        except ValueError as error:
            raise refused(where, f"base.{given}", error) from error
    return fixed, mechanisms


def _samples(document: _Document, where: str) -> int | None:
    """How many points a sampled design has."""
    if document.method not in SAMPLED:
        if document.samples is not None:
            raise refused(where, "samples", f"{document.method} takes all points: leave samples out")
        return None
    if document.samples is not None:
        return document.samples
    counts = {each.count for each in document.axes.values() if isinstance(each, Range) and each.count is not None}
    if len(counts) != 1:
        raise refused(where, "samples", f"{document.method} needs it, or one count that its ranges share")
    return counts.pop()
