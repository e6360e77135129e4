"""The options of `predict`, declared once for every command that asks the same question, and what they mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from calibration.capture.credentials import Executor, executor_of
from calibration.capture.parent_file import read_parent
from calibration.capture.procfs import capture_process, read_procfs_dir
from calibration.capture.sizes import parse_size
from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from calibration.machine_file import MachineFile, find_machine
from experiments.cli.imagined import BareMetal, BindNow, Lazy, Libraries, PageCache, Prelink, Relr, Static
from experiments.load_changes import load_of
from experiments.scenarios import (
    DEFAULT_PARENT,
    Notice,
    Question,
    adjusted,
    cold_files_of,
    flags_of,
    helpers_of,
    java_of,
    mechanisms_of,
    rules_of,
    target_of,
)
from experiments.what_if import AS_IT_IS, WhatIf, machine_if, notices_if, relinked
from model.elf_image import ElfImage
from model.process import Process

_SYNTHETIC = ("vmas", "threads", "fds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user gave; None where an option was left out."""

    pid: Annotated[int | None, typer.Option(metavar="PID", help="The parent: a live process.")] = None
    procfs: Annotated[Path | None, typer.Option(metavar="DIR", help="The parent: a copy of its /proc/PID.")] = None
    parent: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The parent: a snapshot, a description, or a bundled one such as redis-1g."),
    ] = None
    rss: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The parent: synthetic, with so much written memory.")
    ] = None
    vmas: Annotated[int | None, typer.Option(metavar="N", help="With --rss: spread over N vmas (1).")] = None
    threads: Annotated[int | None, typer.Option(metavar="N", help="With --rss: threads (1).")] = None
    fds: Annotated[int | None, typer.Option(metavar="N", help="With --rss: open descriptors (3).")] = None
    caller: Annotated[
        str | None,
        typer.Option(metavar="hot|cold", help="Whether it spawns back to back, or comes from other work."),
    ] = None
    contiguous: Annotated[
        float | None, typer.Option(metavar="FRACTION", help="Of its page frames that are neighbours (0.5).")
    ] = None
    writable: Annotated[
        float | None, typer.Option(metavar="FRACTION", help="Of its pages written since its last fork (0).")
    ] = None
    thp: Annotated[
        str, typer.Option(metavar="as-is|off|on", help="Its anonymous memory all in 4 KiB or in 2 MiB pages.")
    ] = "as-is"
    thp_fallback: Annotated[
        float, typer.Option(metavar="FRACTION", help="With --thp on: ranges too fragmented for a huge page (0).")
    ] = 0.0
    folio: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Its anonymous ptes in folios of that size (mTHP).")
    ] = None
    exec: Annotated[
        str | None, typer.Option(metavar="PATH|none", help="What the child executes (/bin/true); none: it exits.")
    ] = None
    bind_now: BindNow = False
    lazy: Lazy = False
    prelink: Prelink = False
    relr: Relr = False
    static: Static = False
    libraries: Libraries = None
    bare_metal: BareMetal = False
    page_cache: PageCache = "warm"
    via: Annotated[
        str | None, typer.Option(metavar="LIST|all", help="Mechanisms, comma-separated (fork,vfork,posix_spawn).")
    ] = None
    clone_flags: Annotated[str | None, typer.Option(metavar="LIST", help="Flags of clone3, comma-separated.")] = None
    machine: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Machine file; bundled for the one that comes along.")
    ] = None
    kernel: Annotated[str | None, typer.Option(metavar="VERSION", help="Rules of that kernel.")] = None
    glibc: Annotated[str | None, typer.Option(metavar="VERSION", help="Rules of that glibc.")] = None
    jdk: Annotated[str | None, typer.Option(metavar="VERSION", help="Rules of that JDK.")] = None
    rule: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A single rule; repeatable.")] = None
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse to answer beyond what was measured, with status 2.")
    ] = False
    seed: Annotated[int, typer.Option(metavar="N", help="Of what is drawn.")] = 0
    load: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What runs beside it and how long the child lives (TOML).")
    ] = None
    jdk_cold: Annotated[bool, typer.Option("--jdk-cold", hidden=True)] = False


def accepting(command: Callable[..., int]) -> Callable[..., int]:
    """A command whose first parameter is an `Asked`, taking its options on the command line."""
    hints = get_type_hints(Asked, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter(each.name, kind, default=each.default, annotation=hints[each.name]) for each in fields(Asked)
    ]
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    def run(**values: Any) -> int:
        asked = Asked(**{each.name: values.pop(each.name) for each in fields(Asked)})
        return command(asked, **values)

    parameters = [*shared, *(each.replace(kind=kind) for each in own)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__doc__ = command.__doc__
    return run


def question_of(asked: Asked) -> tuple[Question, MachineFile]:
    """The question that the options ask, and the machine file to answer it with.

    Raises:
        BadInput: an option that cannot be used, or a file or process behind it.
    """
    _refuse_unbuilt(asked)
    file = find_machine(asked.machine)
    rules = rules_of(file.machine, kernel=asked.kernel, glibc=asked.glibc, jdk=asked.jdk, settings=asked.rule or ())
    parent = adjusted(
        parent_of(asked),
        caller=asked.caller,
        thp=asked.thp,
        thp_fallback=asked.thp_fallback,
        folio=asked.folio,
        contiguous=asked.contiguous,
        writable=asked.writable,
    )
    target, target_notices = _target(asked, executor_of(parent))
    mechanisms = mechanisms_of(asked.via, parent, target)
    load, load_notices = load_of(asked.load, parent, file.machine)
    java = java_of(asked.pid) if asked.pid is not None else None
    helpers, helper_notices = helpers_of(mechanisms, java=java, glibc=asked.glibc)
    question = Question(
        parent=parent,
        target=target,
        mechanisms=mechanisms,
        rules=rules,
        helpers=helpers,
        flags=flags_of(asked.clone_flags, mechanisms),
        kernel=asked.kernel or "",
        seed=asked.seed,
        notices=target_notices + helper_notices + load_notices,
        load=load,
        cold_files=cold_files_of(asked.page_cache),
    )
    return question, machine_if(file, what_if(asked))


def what_if(asked: Asked) -> WhatIf:
    """What the options take the target for."""
    return WhatIf(**{each.name: getattr(asked, each.name) for each in fields(WhatIf)})


def _target(asked: Asked, executor: Executor) -> tuple[ElfImage, tuple[Notice, ...]]:
    what = what_if(asked)
    what.check()
    asked_of_files = replace(what, bare_metal=False)
    if asked_of_files == AS_IT_IS:
        target, notices = target_of(asked.exec, glibc=asked.glibc, executor=executor)
        return target, (*notices, *notices_if(what))
    image = relinked(asked.exec, what, glibc=asked.glibc, executor=executor)
    return image, tuple(notices_if(what))


def _refuse_unbuilt(asked: Asked) -> None:
    if asked.jdk_cold:
        raise BadInput("--jdk-cold", "it is not built yet", "leave it out")


def parent_of(asked: Asked) -> Process:
    """The parent that the options name; the bundled JVM of 4 GiB if they name none.

    Raises:
        BadInput: more than one, or one that cannot be used.
    """
    ways: Mapping[str, Callable[[], Process]] = {
        "pid": lambda: capture_process(asked.pid or 0),
        "procfs": lambda: read_procfs_dir(asked.procfs or Path()),
        "parent": lambda: read_parent(asked.parent or ""),
        "rss": lambda: _synthetic(asked),
    }
    given = [name for name in ways if getattr(asked, name) is not None]
    if len(given) > 1:
        raise BadInput(f"--{given[0]} and --{given[1]}", "a prediction has one parent", "give one of them")
    lost = [name for name in _SYNTHETIC if getattr(asked, name) is not None]
    if lost and given != ["rss"]:
        raise BadInput(f"--{lost[0]}", "it describes a synthetic parent", "give --rss SIZE too")
    return ways[given[0]]() if given else read_parent(DEFAULT_PARENT)


def _synthetic(asked: Asked) -> Process:
    counts = {name: value for name in _SYNTHETIC if (value := getattr(asked, name)) is not None}
    return synthetic_parent(parse_size(asked.rss or "", what="--rss"), **counts)
