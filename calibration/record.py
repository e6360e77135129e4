"""Validations kept: a JSON file a run in `calibration/validation/`, with date, machine, protocol; none is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from calibration.capture.host import fingerprint, host_facts
from calibration.capture.parent_file import write_atomically
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from calibration.samples import homeless

DIRECTORY = Path(__file__).resolve().parent / "validation"
SCHEMA = "spawncost.validation-record/1"
_HOST = (
    "cpu_name",
    "hypervisor",
    "kernel_release",
    "cpus_online",
    "memory_bytes",
    "glibc",
    "thp_enabled",
    "load_average",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How a validation was run.

    Attributes:
        kinds: of the programs; command: the words that repeat it.
        processes, reps: fresh processes of each case, and repetitions in each.
        order: in which they ran.
    """

    kinds: Sequence[str]
    command: str
    processes: int
    reps: int
    order: str = "all cases interleaved in random order, one process of each a round; not pinned"


def record(document: Mapping[str, Any], file: MachineFile, protocol: Protocol, directory: Path = DIRECTORY) -> Path:
    """Write a validation's document with what it was run on and how; the path.

    Raises:
        BadInput: the folder cannot be written, or a run of the same second is there.
    """
    now = datetime.now().astimezone()
    facts = host_facts(date=now.isoformat(timespec="seconds"))
    head = {
        "schema": SCHEMA,
        "date": facts.date,
        "machine": fingerprint(facts),
        "host": {name: getattr(facts, name) for name in _HOST},
        "machine_file": {
            "name": file.machine.name,
            "origin": file.origin,
            "samples": file.provenance.get("samples", []),
            "date": file.provenance.get("date", ""),
        },
        "protocol": {
            "kinds": list(protocol.kinds),
            "command": protocol.command,
            "processes": protocol.processes,
            "reps": protocol.reps,
            "order": protocol.order,
        },
        "validation": document,
    }
    text = json.dumps(homeless(json.dumps(head, allow_nan=False)), indent=1) + "\n"
    name = f"{fingerprint(facts)}.{now:%Y%m%dT%H%M%S}.{'-'.join(protocol.kinds)}.json"
    if (directory / name).exists():
        raise BadInput(str(directory / name), "a run of this second is already there", "store it again")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(directory / name, text)
    except OSError as error:
        remedy = "run it from a checkout that can be written"
        raise BadInput(str(directory), f"cannot be written: {error.strerror or error}", remedy) from error
    return directory / name
