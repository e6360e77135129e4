"""Programs that stand in where a file of the host is missing: captures of real ones as JSON (`spawncost.image/1`)."""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import pydantic
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from calibration.errors import BadInput, unfit
from model.elf_image import ElfImage, ElfObject

SCHEMA = "spawncost.image/1"
DIRECTORY = Path(__file__).resolve().parent / "images"
_CONFIG = ConfigDict(extra="forbid", strict=True, frozen=True)
_COUNT = Annotated[int, pydantic.Field(ge=0, le=1 << 56)]


def _default(field: Field[Any]) -> Any:
    return ... if field.default is MISSING else field.default


def _model(cls: type, **own: Any) -> type[BaseModel]:
    """The pydantic model of a dataclass: the same fields and defaults, numbers not negative."""
    hints = get_type_hints(cls)
    members = {
        field.name: (_COUNT if hints[field.name] is int else hints[field.name], _default(field))
        for field in fields(cls)
    }
    made: type[BaseModel] = create_model(f"{cls.__name__}Document", __config__=_CONFIG, **{**members, **own})
    return made


_ObjectDocument = _model(ElfObject)
_ImageDocument = _model(
    ElfImage,
    schema_name=(Literal["spawncost.image/1"], pydantic.Field(alias="schema")),
    objects=(tuple[_ObjectDocument, ...], ()),  # type: ignore[valid-type]
)


def bundled_images() -> list[str]:
    """Names of the bundled images, sorted."""
    return sorted(path.stem for path in DIRECTORY.glob("*.json"))


def read_image(path: Path) -> ElfImage:
    """The image of a document.

    Raises:
        BadInput: it cannot be read or is not by its schema.
    """
    try:
        document = _ImageDocument.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(str(path), f"cannot be read: {error.strerror or error}", "give another file") from error
    except ValidationError as error:
        raise unfit(str(path), error, "correct the file") from error
    values = {name: getattr(document, name) for name in type(document).model_fields if name != "schema_name"}
    return ElfImage(**{**values, "objects": tuple(ElfObject(**dict(each)) for each in values["objects"])})


def bundled_image(name: str) -> ElfImage:
    """The bundled image of that name; BadInput if there is none."""
    if name not in bundled_images():
        raise BadInput(name, "there is no bundled image of it", f"bundled: {', '.join(bundled_images())}")
    return read_image(DIRECTORY / f"{name}.json")


def _told(record: Any) -> dict[str, Any]:
    """Fields that differ from their defaults, objects left out."""
    named = [field for field in fields(record) if field.name != "objects"]
    return {
        field.name: getattr(record, field.name) for field in named if getattr(record, field.name) != _default(field)
    }


def image_text(image: ElfImage) -> str:
    """The document of an image, an object a line."""
    head = json.dumps({"schema": SCHEMA, **_told(image)}, indent=1)[:-2]
    objects = ",\n  ".join(json.dumps(_told(each)) for each in image.objects)
    return f'{head},\n "objects": [\n  {objects}\n ]\n}}\n'
