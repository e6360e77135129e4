"""Write a process as a TOML description: how the bundled parents were made from captures."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from calibration.capture.description import ParentDescription, VmaGroup, group_vma
from model.address_space import Vma, VmaKind
from model.process import Process
from model.units import PAGE_BYTES, PTRS_PER_TABLE

_ALWAYS = frozenset({"contiguous", "writable"})


def describe(process: Process, comment: str = "") -> str:
    """The description that `read_parent` reads back as this process: one `[[vma]]` a vma, each with its address.

    Limits are left out, as a described parent is taken to fit; so are attributes named in `Process.assumed`.
    `comment` is put in front, line by line.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [f"{key} = {_literal(value)}" for key, value in _head(process).items()]
    for vma in process.space.vmas:
        lines += ["", "[[vma]]"]
        lines += [f"{key} = {_literal(value, hexadecimal=key == 'start')}" for key, value in _keys(vma).items()]
    return "\n".join(lines) + "\n"


def _head(process: Process) -> dict[str, Any]:
    head: dict[str, Any] = {"schema": "spawncost.parent/1", "name": process.name, "threads": process.threads}
    head["fds"] = process.open_fds
    if process.highest_fd != process.open_fds - 1:
        head["highest_fd"] = process.highest_fd
    for key in ("running_threads", "cloexec_fds", "runtime", "caller", "contiguous", "writable"):
        value = getattr(process, key)
        told = key not in process.assumed if key in _ALWAYS else value != ParentDescription.model_fields[key].default
        if told:
            head[key] = value
    return head


def _keys(vma: Vma) -> dict[str, Any]:
    """Keys of the group that stands for this vma; those that follow from the kind are left out."""
    shared = vma.kind is VmaKind.FILE_SHARED
    small, huge = (vma.file_ptes, vma.file_huge_pmds) if shared else (vma.anon_ptes, vma.huge_pmds)
    pages = small + huge * PTRS_PER_TABLE
    keys: dict[str, Any] = {"kind": vma.kind, "start": vma.start, "size": _size(vma.size_bytes)}
    if pages:
        keys["resident"] = _size(pages * PAGE_BYTES)
    if huge:
        keys["huge"] = huge * PTRS_PER_TABLE / pages
    derived = group_vma(VmaGroup.model_validate(keys), vma.start)
    for field in fields(Vma):
        value = getattr(vma, field.name)
        if value is not None and value != getattr(derived, field.name):
            keys[field.name] = value
    return keys


def _size(size_bytes: int) -> str | int:
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return size_bytes


def _literal(value: Any, *, hexadecimal: bool = False) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(str(value)).replace("\x7f", "\\u007f")
    return f"{value:#x}" if hexadecimal else repr(value)
