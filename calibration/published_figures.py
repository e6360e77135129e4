"""What was published of a machine (`spawncost.published/1`): figures with sources, each as a scenario or a bill."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from calibration.capture.description import MAX_VMAS, Fraction, Size
from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput, unfit
from calibration.machine_schema import Amount, MachineEntry, Text
from calibration.plan import bench_machine
from model.address_space import AddressSpace
from model.costs import COSTS, CostTable
from model.machine import Machine
from model.process import Process
from model.scenario import Munmap, Scenario, Spawn, spawn_and_wait
from model.simulation import bill
from model.units import PAGE_BYTES

DIRECTORY = Path(__file__).resolve().parent / "published"
_CONFIG = ConfigDict(extra="forbid", strict=True, frozen=True)
Cited = Annotated[str, Field(min_length=10, max_length=1000)]


class SpawnFigure(BaseModel):
    """A spawn by a C program with `rss` written bytes in `vmas` mappings, in folios of one size, whose child exits."""

    model_config = _CONFIG

    mechanism: Literal["fork", "vfork"]
    milestone: Literal["call", "reaped"]
    rss: Size = 0
    vmas: Annotated[int, Field(ge=1, le=MAX_VMAS)] = 1
    folio_kib: Annotated[int, Field(ge=4, le=2048)] = 4
    writable: Fraction = 0.0
    contiguous: Fraction = 1.0


class MunmapFigure(BaseModel):
    """munmap of memory that was this mm's alone, in folios of one size.

    `batched`: the rule fork_batches_large_folios.
    """

    model_config = _CONFIG

    pages: Annotated[int, Field(ge=1)]
    tables: Annotated[int, Field(ge=1)]
    folio_kib: Annotated[int, Field(ge=4, le=2048)] = 4
    batched: bool = True


class Figure(BaseModel):
    """`[[figure]]`: a time in ns of one CPU with its relative standard error, and what took it.

    `error` is what the figure may be wrong by as one of this machine and of what is counted for it, its own scatter
    included. `held_out`: it is not used, but compared with.
    """

    model_config = _CONFIG

    name: Cited
    value_ns: Annotated[float, Field(gt=0.0, allow_inf_nan=False, strict=False)]
    error: Annotated[float, Field(gt=0.0, le=2.0)]
    source: Cited
    held_out: bool = False
    spawn: SpawnFigure | None = None
    munmap: MunmapFigure | None = None
    costs: dict[str, Annotated[float, Field(gt=0.0, strict=False)]] = {}

    @model_validator(mode="after")
    def _is_one_thing(self) -> Figure:
        if bool(self.spawn) + bool(self.munmap) + bool(self.costs) != 1:
            raise ValueError("one of spawn, munmap and costs says what took the time")
        unknown = [name for name in self.costs if name not in COSTS]
        if unknown:
            raise ValueError(f"the model has no cost {unknown[0]}")
        return self

    @property
    def scenario(self) -> Scenario | None:
        """What was run; None of a figure that names its costs."""
        if self.spawn is not None:
            return spawn_and_wait(_parent(self.spawn), Spawn(mechanism=self.spawn.mechanism))
        if self.munmap is not None:
            folio_pages = self.munmap.folio_kib * 1024 // PAGE_BYTES
            step = Munmap(pages=self.munmap.pages, tables=self.munmap.tables, folio_pages=folio_pages)
            return Scenario(parent=Process(name="munmap", space=AddressSpace(())), program=(step,))
        return None

    def counts(self, machine: Machine, costs: CostTable) -> Mapping[str, float]:
        """Counts of costs on its path, on one CPU of the machine."""
        scenario = self.scenario
        if scenario is None:
            return self.costs
        milestone = self.spawn.milestone if self.spawn is not None else "done"
        unbatched = self.munmap is not None and not self.munmap.batched
        rules = replace(machine.rules, fork_batches_large_folios=False) if unbatched else machine.rules
        asked = replace(scenario, rules=rules)
        return bill(asked, bench_machine(machine, pinned=True), costs, milestone).counts


def _parent(asked: SpawnFigure) -> Process:
    parent = synthetic_parent(asked.rss, vmas=asked.vmas)
    pages = asked.folio_kib * 1024 // PAGE_BYTES
    vmas = (replace(vma, folio_pages=pages) if vma.anon_ptes >= pages > 1 else vma for vma in parent.space.vmas)
    given = {"writable": asked.writable, "contiguous": asked.contiguous}
    return replace(parent, space=AddressSpace(tuple(vmas)), assumed=(), **given)  # type: ignore[arg-type]


class Fact(BaseModel):
    """`[[fact]]`: a size or count of the machine."""

    model_config = _CONFIG

    name: Text
    value: Annotated[Amount, Field(strict=False)]
    source: Cited


class Published(BaseModel):
    """The whole file. `like`: the measured machine whose placements, spread, footprints and facts are taken."""

    model_config = _CONFIG

    schema_name: Annotated[Literal["spawncost.published/1"], Field(alias="schema")]
    like: Text
    machine: MachineEntry
    fact: list[Fact] = []
    figure: Annotated[list[Figure], Field(min_length=1)]


def read_published(path: Path) -> Published:
    """Read and check such a file.

    Raises:
        BadInput: it cannot be read or is not by its schema; it names file and key.
    """
    try:
        return Published.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise unfit(str(path), error, "correct the file") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise BadInput(str(path), why, "give a file of published figures") from error
