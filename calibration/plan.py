"""What calibration measures: each row is a bench with arguments, and the scenario that it realises.

A microbenchmark is a scenario: the row's bill comes from `model.bill` on that scenario, with the captured bench process
as its parent, so that no formula of the model is written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from calibration.plan_rows import PLAN
from calibration.samples import Milestone, Row
from model.address_space import AddressSpace
from model.elf_image import NO_IMAGE, ElfImage
from model.kernel.mm import mm_counts
from model.machine import Machine
from model.process import Caller, Process
from model.rules import Rules
from model.scenario import Charge, Mprotect, Munmap, PingPong, Rewrite, Scenario, Spawn, Step, Stream, Touch, Wait
from model.units import PTRS_PER_TABLE

Role = Literal["fit", "held-out", "spread", "count", "beside"]
ROLES: tuple[Role, ...] = ("held-out", "spread", "count", "beside")
LIVE = "live/"
"""Begins the bench of a row whose parent is a real runtime."""
REPS, LIVE_REPS = 9, 25
STAMP_WORK = (("syscall", 3.0), ("pipe_io", 1.0))
"""What a stamped target does: clock_gettime and getcpu by system call, exit; a write to its pipe."""
RUN_MAIN = ("static_glibc", "static_pie", "dynamic_main")
"""Targets that go on into libc after their stamp."""
IDLE_NS = 1000.0
MOST_OF = ("anon_ptes", "huge_pmds", "vmas", "pte_tables", "threads", "highest_fd", "libraries")
"""Attributes of which the largest measured value goes into the machine file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """One row of the plan.

    Attributes:
        row: what is run.
        role: whether it is fitted, held out to judge the fit, read for placement and spread, or, beside a busy CPU, for
            placement alone.
        quick: whether `--quick` measures it too.
        modes: whether a fitted row's samples tell placements and spread too.
        other: whether only samples count whose child ran on another CPU than its caller.
        milestones: which milestones of it are used.
        options: its arguments by name.
    """

    row: Row
    role: Role = "fit"
    quick: bool = False
    modes: bool = False
    other: bool = False
    milestones: tuple[Milestone, ...] = ("call", "reaped")
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        """Whether its parent is a real runtime, not a bench."""
        return self.row.bench.startswith(LIVE)

    @property
    def makes_parent(self) -> bool:
        """Whether its bench makes the parent that it measures: vmas, pages in the order of addresses, fds, threads."""
        return self.row.bench.startswith(("fork_", "vfork_")) and self.row.pinned and "order" not in self.options

    def count(self, name: str, default: int = 0) -> int:
        """A numeric argument of the bench."""
        return int(self.options.get(name, default))


def planned_rows() -> tuple[PlannedRow, ...]:
    """The whole plan, in the order of the list behind it."""
    return tuple(planned_row(each) for each in PLAN)


def planned_row(text: str) -> PlannedRow:
    """A line of the plan: `name: bench --options | flags`, flags being a role, a pass, quick, unpinned, processes=N."""
    head, _, flag_text = text.partition("|")
    name, _, command = head.partition(":")
    words, flags = command.split(), flag_text.split()
    settings = dict(flag.split("=") for flag in flags if "=" in flag)
    role: Role = next((word for word in ROLES if word in flags), "fit")
    row = Row(
        name=name.strip(),
        bench=words[0],
        args=tuple(words[1:]),
        processes=int(settings.get("processes", 12)),
        reps=int(settings.get("reps", LIVE_REPS if words[0].startswith(LIVE) else REPS)),
        pinned="unpinned" not in flags,
        one_cpu_left=role == "beside",
        pass_="unpinned" if "unpinned" in flags else "state" if "state" in flags else "quiet",
    )
    options = _options(words[1:])
    milestones: tuple[Milestone, ...] = ("call", "reaped")
    if words[0] in VALUE_STEPS:
        milestones = ("value",)
    elif role == "count":
        milestones = ()
    elif words[0] in ("exec_target", "exec_setid"):
        milestones = ("main", "reaped")
    elif words[0] == "exec_threads":
        milestones = ("main",)
    if "milestones" in settings:
        milestones = tuple(name for name in get_args(Milestone) if name in settings["milestones"].split(","))
    modes = role == "spread" or "modes" in flags
    return PlannedRow(
        row=row,
        role=role,
        quick="quick" in flags,
        modes=modes,
        other="other" in flags,
        milestones=milestones,
        options=options,
    )


def _options(words: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for index, word in enumerate(words):
        if word.startswith("--"):
            following = words[index + 1] if index + 1 < len(words) else "--"
            options[word[2:]] = "true" if following.startswith("--") else following
    return options


def _touch(row: PlannedRow) -> tuple[Step, ...]:
    pages, reads = row.count("pages", 1024), "read" in row.options
    after_read = "after-read" in row.options
    if "thp" in row.options:
        return (Touch(huge=pages, read=reads, after_read=after_read),)
    tables, folio_pages = _tables(row, pages), max(1, row.count("kib") // 4)
    return (Touch(pages=pages, tables=tables, folio_pages=folio_pages, read=reads, after_read=after_read),)


def _munmap(row: PlannedRow) -> tuple[Step, ...]:
    pages = row.count("pages", 1024)
    if "thp" in row.options:
        return (Munmap(huge=pages),)
    folio_pages = PTRS_PER_TABLE if "split" in row.options else max(1, row.count("kib") // 4)
    return (Munmap(pages=pages, folio_pages=folio_pages, tables=_tables(row, pages)),)


def _tables(row: PlannedRow, pages: int) -> int:
    return pages if "sparse" in row.options else -(-pages // PTRS_PER_TABLE)


def _cow(row: PlannedRow) -> tuple[Step, ...]:
    pages, gone = row.count("pages", 1024), "gone" in row.options
    if "alone" in row.options:
        writes, through_pmds = row.count("writes"), "thp" in row.options
        return (Rewrite(alone=True, huge=writes * through_pmds, pages=writes * (not through_pmds)),)
    if "thp" in row.options:
        return (Rewrite(huge=pages, shared=not gone),)
    writes = row.count("writes", pages)
    if "gap-us" not in row.options:
        return (Rewrite(pages=writes, of=pages, shared=not gone),)
    strewn = (Charge(cost="reuse_strewn" if gone else "copy_strewn", count=writes),) if "random" in row.options else ()
    bursts, asleep = -(-writes // row.count("burst", writes)), "reuse_after_sleep" if gone else "fault_after_sleep"
    return (Rewrite(pages=writes, of=pages, shared=not gone), Charge(cost=asleep, count=bursts), *strewn)


def _stream(row: PlannedRow) -> tuple[Step, ...]:
    beside = float(row.count("beside"))
    if row.row.bench == "page_clear":
        return (Stream(cleared=1, beside=beside),)
    return (Stream(copied=1, beside=beside),)


def _shootdown(row: PlannedRow) -> tuple[Step, ...]:
    if "victim" in row.options:
        return (Charge(cost="ipi_interrupted"),)
    return (Mprotect(pairs=0, pages=1, beside=float(row.count("running"))),)


def _file_fault(row: PlannedRow) -> tuple[Step, ...]:
    pages = row.count("pages", 1024)
    return (
        Charge(cost="fault_file_read", count=pages / 16),
        Charge(cost="fault_pte_table", count=-(-pages // PTRS_PER_TABLE)),
    )


def _file_write(row: PlannedRow) -> tuple[Step, ...]:
    return (Charge(cost="fault_file_write", count=row.count("pages", 1024)),)


def _cold_read(row: PlannedRow) -> tuple[Step, ...]:
    kib = row.count("kib", 4)
    older = (Charge(cost="storage_installed_kib", count=kib),) if "installed" in row.options else ()
    return (Charge(cost="storage_read"), Charge(cost="storage_kib", count=kib), *older)


def _wake(row: PlannedRow) -> tuple[Step, ...]:
    return (PingPong(same_cpu="same" in row.options, idle_ns=max(IDLE_NS, row.count("gap-us") * 1e3)),)


def _one(cost: str, count: float = 1.0, **more: float) -> Callable[[PlannedRow], tuple[Step, ...]]:
    steps = (Charge(cost=cost, count=count), *(Charge(cost=name, count=n) for name, n in more.items()))
    return lambda row: steps


VALUE_STEPS: Mapping[str, Callable[[PlannedRow], tuple[Step, ...]]] = {
    "null_syscall": _one("syscall"),
    "clock": _one("clock_gettime"),
    "cpuid": _one("cpuid"),
    "locked_rmw": _one("locked_rmw"),
    "pipe_rw": _one("pipe_io", 2.0),
    "open_close": _one("open_file", 1.0, syscall=2.0),
    "open_enoent": _one("failed_open"),
    "mmap_munmap": _one("mmap_pair"),
    "mprotect": _one("mprotect_split"),
    "page_clear": _stream,
    "page_copy": _stream,
    "exec_noexec": _one("execve_prepare"),
    "exec_enoent": _one("execve_enoent"),
    "touch": _touch,
    "munmap": _munmap,
    "cow": _cow,
    "file_fault": _file_fault,
    "file_write": _file_write,
    "cold_read": _cold_read,
    "tlb_refill": _one("tlb_miss"),
    "shootdown": _shootdown,
    "wake": _wake,
}
"""What one repetition of a value bench does."""

MECHANISM = {"fork_raw": "clone3", "clone_vm": "clone3"}
"""Bench mechanisms that the model knows under another name."""
DEFAULT_MECHANISM = {
    "vfork_exit": "vfork",
    "clone_vm_exit": "clone_vm",
    "exec_target": "vfork",
    "exec_threads": "exec",
    "exec_setid": "vfork",
}
"""How a bench starts its child if its arguments do not say; all others fork."""


def spawn_of(row: PlannedRow, target: ElfImage | None) -> Spawn:
    """The spawn that a bench's arguments describe."""
    default = DEFAULT_MECHANISM.get(row.row.bench, "fork")
    mechanism = row.options.get("mech", "posix_spawn" if row.row.bench == "posix_spawn_exit" else default)
    flags = frozenset({"CLONE_VM"}) if mechanism == "clone_vm" else frozenset[str]()
    return Spawn(
        mechanism=MECHANISM.get(mechanism, mechanism),
        target=target or NO_IMAGE,
        flags=flags,
        argv_bytes=row.count("argv-bytes") + 64,
        envp_bytes=row.count("env-bytes"),
        migrates="elsewhere" in row.options,
        runs_main=row.live or row.options.get("target") in RUN_MAIN,
        target_work=STAMP_WORK if target is not None and not row.live else (),
    )


def scenario_of(
    row: PlannedRow,
    parent: Process | None,
    target: ElfImage | None,
    *,
    rules: Rules,
    contiguous: float | None = None,
    helper: ElfImage | None = None,
) -> Scenario:
    """The scenario that a row realises.

    Args:
        row: the row.
        parent: its captured process; a value bench needs none.
        target: what it executes, if it does.
        rules: the rules of the kernel and libc it ran on.
        contiguous: what its processes said of their frames; None where they could not.
        helper: image of jspawnhelper, for the JDK's rows.
    """
    if row.row.bench in VALUE_STEPS:
        return Scenario(parent=parent or _NOBODY, program=VALUE_STEPS[row.row.bench](row), rules=rules)
    if parent is None:
        raise ValueError(f"row {row.row.name} has no captured parent")
    written = "rewrite" in row.options or "first" in row.options
    parent = replace(
        parent,
        caller=Caller.COLD if row.count("cold-ms") else Caller.HOT,
        writable=1.0 if written else 0.0,
        contiguous=parent.contiguous if contiguous is None else contiguous,
        running_threads=row.count("running"),
        assumed=(),
    )
    if "depth" in row.options:
        parent = replace(parent, space=_deeper(parent.space, row.count("depth")))
    if target is not None and row.row.bench == "exec_setid":
        target = replace(target, secure=True)  # its copy is; what was captured is the file that was copied
    spawn = replace(spawn_of(row, target), helper=helper)
    return Scenario(parent=parent, program=(spawn, Wait()), rules=rules)


def _deeper(space: AddressSpace, generations: int) -> AddressSpace:
    """The space of a process so many forks below the one that wrote its pages: nothing in /proc shows the chains."""
    return AddressSpace(
        tuple(replace(vma, anon_vma_chain=1 + generations) if vma.anon_vma else vma for vma in space.vmas)
    )


def reached(scenario: Scenario) -> dict[str, float]:
    """Of each attribute of `MOST_OF`, what a scenario has."""
    parent, counts = scenario.parent, mm_counts(scenario.parent.space, scenario.rules)
    return {
        "anon_ptes": float(counts.small_ptes),
        "huge_pmds": float(counts.huge_pmds),
        "vmas": float(counts.vmas),
        "pte_tables": float(counts.tables.pte),
        "threads": float(parent.threads),
        "highest_fd": float(parent.highest_fd),
        "libraries": float(len(scenario.spawn.target.libraries) if scenario.spawn else 0),
    }


def bench_machine(machine: Machine, *, pinned: bool) -> Machine:
    """The machine as a row's process saw it: one CPU if it was pinned."""
    return replace(machine, cpus=1) if pinned else machine


_NOBODY = Process(name="value bench", space=AddressSpace(()), caller=Caller.HOT)
