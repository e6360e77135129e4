"""The document of `spawncost elf`: what the model sees in a program and its libraries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from experiments.elf_prices import Start
from experiments.headline import microseconds
from model.elf_image import ElfImage, ElfObject
from model.userland.ldso import loader_system_calls

SCHEMA = "spawncost.elf/1"
_TOTALS = (
    "symbol_lookups",
    "symbol_cache_hits",
    "relative_relocations",
    "relr_relocations",
    "lookup_probes",
    "dirtied_pages",
    "constructors",
)
_IMAGE = ("vdso_lookups", "malloc_lookups", "tunable_lookups", "ifunc_vdso_lookups", "tables_bytes")
_SUMMED = (
    "bloom_rejections",
    "string_compares",
    "lookup_name_bytes",
    "other_relocations",
    "irelative_relocations",
    "copy_relocations",
    "lazy_jump_slots",
    "dirtied_bss_pages",
    "readable_windows",
    "load_segments",
    "vmas",
    "mapped_file_pages",
    "bss_pages",
    "failed_opens",
    "directory_stats",
    "version_needs",
    "tls_bytes",
    "file_bytes",
)


def elf_document(image: ElfImage) -> dict[str, object]:
    """Everything that an image holds as one JSON document (schema `spawncost.elf/1`).

    Totals are those of start-up over all objects; `symbol_lookups`, `symbol_cache_hits` and `relative_relocations` are
    LD_DEBUG=statistics' number of relocations, from cache, relative; `loader_system_calls` leave out the mappings of
    ld.so's own heap. `interpreter` is what the kernel opens next: the
    `#!` interpreter of a script, PT_INTERP of a dynamic program, null for a static one; `interpreters` is the whole
    chain. `libraries` are the shared libraries in scope order, `program` and `loader` the two other objects.
    """
    chain = [*image.interpreter, *([image.elf_interpreter] if image.elf_interpreter else [])]
    program, loader = image.program, image.loader
    document: dict[str, object] = {
        "schema": SCHEMA,
        "path": image.path,
        "kind": image.kind,
        "loaded_kind": image.loaded_kind,
        "interpreter": chain[0] if chain else None,
        "interpreters": chain,
        "executable": image.executable,
        "secure": image.secure,
        "bind_now": image.bind_now,
        "glibc": image.glibc or None,
        "argv0": image.argv0,
        "script_arguments": list(image.script_arguments),
        "path_components": image.path_components,
    }
    document |= {name: getattr(image, name) for name in (*_TOTALS, *_IMAGE)}
    document |= {name: sum(getattr(each, name) for each in image.objects) for name in _SUMMED}
    calls = loader_system_calls(image)
    document |= {"loader_system_calls": sum(calls.values()), "loader_system_calls_by_name": calls}
    document["program"] = object_row(program) if program else None
    document["loader"] = object_row(loader) if loader else None
    document["libraries"] = [object_row(each) for each in image.libraries]
    return document


def start_record(
    start: Start,
    *,
    machine: str,
    caller: str,
    what_if: Sequence[str] = (),
    page_cache: str = "warm",
    constructors: int = 0,
) -> dict[str, Any]:
    """What `elf` adds to the document under `start`: the prices of the start in parts, the dearest first.

    Times in microseconds, undisturbed: `main_us` from the call of execve to `_start`, `loader_us` of it in ld.so,
    `whole_us` to the end of a process whose main returns at once, which is the sum of the parts; `left_out`: what is
    run before `_start` and priced nothing.
    """
    return {
        "machine": machine,
        "caller": caller,
        "what_if": list(what_if),
        "page_cache": page_cache,
        "main_us": microseconds(start.main_ns),
        "main_stderr_us": microseconds(start.stderr_ns),
        "loader_us": microseconds(start.loader_ns),
        "whole_us": microseconds(start.whole_ns),
        "left_out": [own_code(constructors)] if constructors else [],
        "parts": [
            {
                "name": part.name,
                "object": part.of_object,
                "us": microseconds(part.ns),
                "share": float(f"{part.ns / start.whole_ns:.4g}"),
                "breakdown_us": {
                    name: microseconds(each)
                    for name, each in sorted(part.breakdown_ns.items(), key=lambda item: -item[1])
                },
                "counts": {name: float(f"{count:.7g}") for name, count in part.counts.items()},
            }
            for part in start.parts
        ],
    }


def own_code(constructors: int) -> str:
    """What of constructors has no price: nothing in a file tells how long they run."""
    which = "constructors, which are" if constructors > 1 else "constructor, which is"
    return f"the own code of {constructors} {which} priced as called only"


def object_row(each: ElfObject) -> dict[str, object]:
    """One object as a row: every field, and its number of vmas."""
    return {field.name: getattr(each, field.name) for field in fields(each)} | {"vmas": each.vmas}
