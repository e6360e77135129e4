"""What a machine file must look like (`spawncost.machine/1`): types and bounds of every key."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from model.costs import COSTS
from model.machine import Footprint
from model.rules import Rules

SCHEMA = "spawncost.machine/1"
_CONFIG = ConfigDict(extra="forbid", strict=True, frozen=True)
MAX_PRICE_NS = 1e12
"""A thousand seconds: no single step costs that."""
_WEIGHTS_SLACK = 1e-3
_ERROR_SLACK = 0.01

Finite = Annotated[float, Field(allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0.0, le=MAX_PRICE_NS, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Scalar = str | bool | int | Finite
Text = Annotated[str, Field(max_length=1000)]


class CostEntry(BaseModel):
    """`[costs.NAME]`: exactly one of `bench`, `published` and `assumed` says where the price comes from."""

    model_config = _CONFIG

    ns: Price
    stderr_ns: Price = 0.0
    bench: Text = ""
    published: Text = ""
    assumed: Text = ""
    inherited: bool = False
    inherited_from: Annotated[Text, Field(alias="from")] = ""

    @model_validator(mode="after")
    def _has_one_origin(self) -> CostEntry:
        if bool(self.bench) + bool(self.published) + bool(self.assumed) != 1:
            raise ValueError("one of bench, published and assumed says where the price comes from")
        return self


class CovarianceEntry(BaseModel):
    """`[covariance]`: lower-triangular rows in ns², in the order of `names`."""

    model_config = _CONFIG

    names: list[str]
    rows: list[list[Finite]]

    @model_validator(mode="after")
    def _is_triangular(self) -> CovarianceEntry:
        if len(set(self.names)) != len(self.names):
            raise ValueError("a name stands twice")
        if len(self.rows) != len(self.names):
            raise ValueError(f"{len(self.names)} names need as many rows, not {len(self.rows)}")
        for index, row in enumerate(self.rows):
            if len(row) != index + 1:
                raise ValueError(f"row {index} (from 0) of the lower triangle has {index + 1} numbers, not {len(row)}")
        return self


class PlacementEntry(BaseModel):
    """`[[placements.MECHANISM]]`."""

    model_config = _CONFIG

    child: Literal["same", "other"]
    waker: Literal["preempt", "queue", "other"]
    weight: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class SpreadEntry(BaseModel):
    """`[spread.CLASS]`: `model.machine.Spread` checks that levels and ratios increase."""

    model_config = _CONFIG

    levels: list[Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]]
    ratios: list[Finite]


class MachineEntry(BaseModel):
    """`[machine]`."""

    model_config = _CONFIG

    name: Annotated[str, Field(min_length=1, max_length=200)]
    cpu: Text
    hypervisor: Text
    kernel: Text
    glibc: Text
    cpus: Annotated[int, Field(ge=1, le=1 << 16)]
    noise_floor: Amount
    kind: Literal["measured", "literature"] = "measured"


RulesEntry = create_model(
    "RulesEntry",
    __config__=_CONFIG,
    **{each.name: (get_type_hints(Rules)[each.name] | None, None) for each in fields(Rules)},  # type: ignore[call-overload]
)
FootprintEntry = create_model(
    "FootprintEntry",
    __config__=_CONFIG,
    **{each.name: (Amount, 0.0) for each in fields(Footprint)},  # type: ignore[call-overload]
)


class MachineDocument(BaseModel):
    """The whole file."""

    model_config = _CONFIG

    schema_name: Annotated[Literal["spawncost.machine/1"], Field(alias="schema")]
    provenance: dict[str, Scalar | list[Scalar] | dict[str, Scalar]] = {}
    machine: MachineEntry
    facts: dict[str, Amount] = {}
    measured: dict[str, Amount] = {}
    rules: RulesEntry = RulesEntry()  # type: ignore[valid-type]
    placements: dict[str, Annotated[list[PlacementEntry], Field(min_length=1)]] = {}
    footprints: dict[str, FootprintEntry] = {}  # type: ignore[valid-type]
    spread: dict[str, SpreadEntry] = {}
    model_error: dict[str, Amount] = {}
    costs: Annotated[dict[str, CostEntry], Field(min_length=1)]
    covariance: CovarianceEntry = CovarianceEntry(names=[], rows=[])

    @model_validator(mode="after")
    def _agrees(self) -> MachineDocument:
        unknown = [name for name in self.costs if name not in COSTS]
        if unknown:
            raise ValueError(f"costs.{unknown[0]}: the model has no such cost")
        for mechanism, entries in self.placements.items():
            total = sum(each.weight for each in entries)
            if abs(total - 1.0) > _WEIGHTS_SLACK:
                raise ValueError(f"placements.{mechanism}: the weights sum to {total:.4g}, not to 1")
        for index, name in enumerate(self.covariance.names):
            if name not in self.costs:
                raise ValueError(f"covariance.names: {name} has no price in this file")
            self._check_error(name, self.covariance.rows[index][index])
        return self

    def _check_error(self, name: str, variance: float) -> None:
        """A standard error and the covariance's diagonal say the same thing twice; they must agree."""
        stated = self.costs[name].stderr_ns
        if variance < 0.0:
            raise ValueError(f"covariance.rows: the variance of {name} is negative")
        if abs(stated - variance**0.5) > _ERROR_SLACK * max(stated, variance**0.5):
            raise ValueError(f"costs.{name}.stderr_ns: {stated:g} is not the root of its variance, {variance**0.5:g}")
