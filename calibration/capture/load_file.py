"""A load in TOML (`spawncost.load/1`): what runs beside a spawn, and how long its child lives."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from calibration.capture.description import MAX_THREADS, Size
from calibration.capture.proc_files import read_bytes
from calibration.errors import BadInput, unfit
from model.locality import Locality
from model.scenario import Call, Calls, Khugepaged, Load, Mutators
from model.units import NS_PER_MS, NS_PER_S, NS_PER_US, pages_of

MAX_LIFETIME_NS = 86_400 * NS_PER_S
"""A day: what lives longer is no child of a spawn."""
_DURATION = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(ns|us|ms|s|min|h)\s*")
_UNITS_NS = {
    "ns": 1.0,
    "us": NS_PER_US,
    "ms": NS_PER_MS,
    "s": NS_PER_S,
    "min": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
}


def lifetime_ns(value: Any) -> float:
    """`exec`, or a duration such as `500ms`, in nanoseconds; ValueError if it is neither or more than a day."""
    return 0.0 if value == "exec" else _duration_ns(value, "neither exec nor a duration")


def _duration_ns(value: Any, what: str = "no duration") -> float:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is {what} such as 500ms or 2s")
    found_ns = float(match[1]) * _UNITS_NS[match[2]]
    if found_ns > MAX_LIFETIME_NS:
        raise ValueError(f"{value!r} is more than a day")
    return found_ns


class MutatorGroup(BaseModel):
    """`[[mutators]]`: threads of the parent that write; `writes_per_second` of all of them together."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    threads: Annotated[int, Field(ge=1, le=4096)] = 1
    writes_per_second: Annotated[float, Field(gt=0.0, le=1e12, allow_inf_nan=False)]
    locality: Locality = "uniform"
    working_set: Annotated[Size, Field(gt=0)]
    burst: Annotated[int, Field(ge=0)] = 0
    reads_per_write: Annotated[float, Field(ge=0.0, le=1e9, allow_inf_nan=False)] = 0.0


class CallGroup(BaseModel):
    """`[[calls]]`: threads that need a lock which a fork holds; `calls_per_second` of all of them together."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    call: Call
    threads: Annotated[int, Field(ge=1, le=4096)] = 1
    calls_per_second: Annotated[float, Field(gt=0.0, le=1e12, allow_inf_nan=False)]


class KhugepagedSettings(BaseModel):
    """`[khugepaged]`: what it is set to, the kernel's defaults if the table is empty."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    pages_to_scan: Annotated[int, Field(ge=1, le=1 << 40)] = Khugepaged().pages_to_scan
    scan_sleep: Annotated[float, BeforeValidator(lambda value: _duration_ns(value))] = Khugepaged().sleep_ns


class LoadDescription(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    schema_name: Literal["spawncost.load/1"] = Field(alias="schema")
    busy_cpus: Annotated[int, Field(ge=0, le=MAX_THREADS)] = 0
    child_lifetime: Annotated[float, BeforeValidator(lifetime_ns)] = 0.0
    unbacked: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = 0.0
    mutators: Annotated[tuple[MutatorGroup, ...], Field(strict=False, max_length=64)] = ()
    calls: Annotated[tuple[CallGroup, ...], Field(strict=False, max_length=64)] = ()
    khugepaged: KhugepagedSettings | None = None


def read_load(path: str | Path) -> Load:
    """The load that a file describes.

    Raises:
        BadInput: no such file, not readable, or not by its schema; it names the file and the key.
    """
    path = Path(path)
    try:
        described = LoadDescription.model_validate(tomllib.loads(read_bytes(path).decode("utf-8")))
    except ValidationError as error:
        raise unfit(str(path), error, "correct the file") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(str(path), f"no TOML: {error}", "correct the line") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadInput(str(path), "there is no such file", "give a load in TOML (spawncost.load/1)") from error
    except OSError as error:
        raise BadInput(str(path), f"cannot be read: {error.strerror or error}", "give a readable file") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(str(path), str(error) or "nested too deeply", "correct the file") from error
    return Load(
        busy_cpus=described.busy_cpus,
        child_lifetime_ns=described.child_lifetime,
        unbacked=described.unbacked,
        mutators=tuple(
            Mutators(
                threads=each.threads,
                writes_per_second=each.writes_per_second,
                locality=each.locality,
                working_set_pages=pages_of(each.working_set),
                burst=each.burst,
                reads_per_write=each.reads_per_write,
            )
            for each in described.mutators
        ),
        calls=tuple(
            Calls(call=each.call, threads=each.threads, calls_per_second=each.calls_per_second)
            for each in described.calls
        ),
        khugepaged=None
        if described.khugepaged is None
        else Khugepaged(pages_to_scan=described.khugepaged.pages_to_scan, sleep_ns=described.khugepaged.scan_sleep),
    )
