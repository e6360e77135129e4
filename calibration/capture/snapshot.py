"""A captured process as JSON (`spawncost.process/1`): every field of `Process` and its vmas, as it was captured.

The schema follows the dataclasses of the model field by field; what equals its default is left out of a file.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, Literal, get_type_hints

import pydantic
from pydantic import BaseModel, ConfigDict, create_model

from model.address_space import AddressSpace, Vma
from model.process import Limits, Process
from model.units import PAGE_BYTES, PMD_BYTES, PTRS_PER_TABLE, PUD_BYTES, spans

SCHEMA = "spawncost.process/1"
_CONFIG = ConfigDict(extra="forbid", strict=True, frozen=True)
_Count = Annotated[int, pydantic.Field(ge=0, le=1 << 56)]
_Address = Annotated[int, pydantic.Field(ge=0, le=1 << 56, multiple_of=PAGE_BYTES)]
_Fraction = Annotated[float, pydantic.Field(ge=0.0, le=1.0, allow_inf_nan=False)]
_BY_TYPE: dict[Any, Any] = {int: _Count, float: _Fraction, int | None: _Count | None}
_BY_NAME: dict[str, Any] = {
    "start": _Address,
    "end": _Address,
    "highest_fd": Annotated[int, pydantic.Field(ge=-1, le=1 << 30)],
    "threads": Annotated[int, pydantic.Field(ge=1, le=1 << 22)],
    "folio_pages": Annotated[int, pydantic.Field(ge=1, le=1 << 18)],
    "commit_mode": Annotated[int, pydantic.Field(ge=0, le=2)] | None,
    "name": Annotated[str, pydantic.Field(min_length=1, max_length=200)],
}


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else ...


def _model(cls: type, left_out: tuple[str, ...] = (), **own: Any) -> type[BaseModel]:
    """The pydantic model of a dataclass: the same fields and defaults, bounded by their type or name."""
    hints = get_type_hints(cls)
    members = {
        field.name: (_BY_NAME.get(field.name, _BY_TYPE.get(hints[field.name], hints[field.name])), _default(field))
        for field in fields(cls)
        if field.name not in left_out
    }
    made: type[BaseModel] = create_model(f"{cls.__name__}Document", __config__=_CONFIG, **{**members, **own})
    return made


_VmaDocument = _model(Vma)
_LimitsDocument = _model(Limits)
_ProcessDocument = _model(
    Process,
    left_out=("space", "origin"),
    schema_name=(Literal["spawncost.process/1"], pydantic.Field(alias="schema")),
    limits=(_LimitsDocument, _LimitsDocument()),
    vmas=(tuple[_VmaDocument, ...], pydantic.Field(min_length=1)),  # type: ignore[valid-type]
)


def _check(vma: Vma, where: str) -> None:
    if vma.start >= vma.end:
        raise ValueError(f"{where}: start is not below end")
    small, huge = vma.ptes * PAGE_BYTES, (vma.huge_pmds + vma.file_huge_pmds) * PMD_BYTES
    if small + huge > vma.size_bytes:
        raise ValueError(f"{where}: more pages than there is room for between start and end")
    room = spans(vma.start, vma.end, PMD_BYTES)
    if vma.pte_spans is not None and (vma.pte_spans > room or vma.ptes > vma.pte_spans * PTRS_PER_TABLE):
        raise ValueError(f"{where}: pte_spans does not fit its size and pages")
    if vma.pmd_spans is not None and vma.pmd_spans > spans(vma.start, vma.end, PUD_BYTES):
        raise ValueError(f"{where}: pmd_spans does not fit its size")


def parse_snapshot(text: bytes) -> Process:
    """The process of a snapshot.

    Raises:
        pydantic.ValidationError: no JSON, or not by the schema.
        ValueError: numbers that contradict each other.
    """
    document = _ProcessDocument.model_validate_json(text)
    values = {name: getattr(document, name) for name in type(document).model_fields}
    vmas = tuple(Vma(**dict(each)) for each in values.pop("vmas"))
    for index, vma in enumerate(vmas):
        _check(vma, f"vmas[{index}]")
    del values["schema_name"]
    values["limits"] = Limits(**dict(values["limits"]))
    return Process(space=AddressSpace(vmas), origin="snapshot", **values)


def _told(record: Any, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Fields that differ from their defaults."""
    named = (field for field in fields(record) if field.name not in left_out)
    pairs = ((field, getattr(record, field.name)) for field in named)
    return {field.name: value for field, value in pairs if value != _default(field)}


def snapshot_text(process: Process) -> str:
    """The process as JSON, one vma a line. `origin` is left out: on reading it is `snapshot`."""
    head = {"schema": SCHEMA, **_told(process, ("space", "origin", "limits"))}
    limits = _told(process.limits)
    if limits:
        head["limits"] = limits
    vmas = ",\n  ".join(json.dumps(_told(vma)) for vma in process.space.vmas)
    return f'{json.dumps(head, indent=1)[:-2]},\n "vmas": [\n  {vmas}\n ]\n}}\n'


def process_from_document(document: dict[str, Any]) -> Process:
    """The process of a snapshot that is already parsed, as it stands in a file of samples.

    Raises: as `parse_snapshot`.
    """
    return parse_snapshot(json.dumps(document).encode())
