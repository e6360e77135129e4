"""A process as a caller of spawn: its address space, threads, descriptors, and state that no file in /proc shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from model.address_space import AddressSpace
from model.units import FDS_PER_WORD


class Caller(StrEnum):
    """What the calling thread did just before: a spawn (hot) or 20 ms of other work or sleep (cold)."""

    HOT = "hot"
    COLD = "cold"


class Runtime(StrEnum):
    """Whose code runs around the spawn in caller and child: it decides which user pages they touch."""

    C = "c"
    JVM = "jvm"
    CPYTHON = "cpython"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What can make a spawn fail; None where it was not read (a described parent is taken to fit).

    Bytes for memory; `commit_mode` is /proc/sys/vm/overcommit_memory (0 guess, 1 always, 2 never).
    """

    commit_mode: int | None = None
    ram_and_swap_bytes: int | None = None
    available_bytes: int | None = None
    commit_headroom_bytes: int | None = None
    processes_left: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The parent of a spawn.

    Attributes:
        name: for reports.
        space: its address space.
        threads: all threads, the caller included.
        running_threads: other threads on a CPU at the moment of the spawn.
        open_fds, highest_fd: open descriptors and the largest one (fork copies slots up to it).
        cloexec_fds: descriptors that exec closes.
        runtime: whose user code runs in caller and child.
        caller: hot or cold.
        contiguous: fraction of neighbouring ptes whose page frames are neighbours too.
        writable: fraction of the private anonymous ptes that are writable: not write-protected by an earlier fork.
        limits: what can make the spawn fail.
        no_new_privs: whether no file that it executes may change its user; None where it was not read.
        uid, gid: its real user and group; None where they were not read.
        assumed: names of attributes that were assumed, not read.
        origin: `live`, `procfs`, `snapshot`, `description`, `synthetic` or `bundled`.
    """

    name: str
    space: AddressSpace
    threads: int = 1
    running_threads: int = 0
    open_fds: int = 3
    highest_fd: int = 2
    cloexec_fds: int = 0
    runtime: Runtime = Runtime.C
    caller: Caller = Caller.COLD
    contiguous: float = 1.0
    writable: float = 0.0
    limits: Limits = field(default_factory=Limits)
    no_new_privs: bool | None = None
    uid: int | None = None
    gid: int | None = None
    assumed: tuple[str, ...] = ()
    origin: str = "description"

    def __post_init__(self) -> None:
        for name in ("contiguous", "writable"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a fraction between 0 and 1, not {getattr(self, name)}")
        if self.threads < 1 or self.open_fds < 0 or self.highest_fd < -1:
            raise ValueError("a process has at least one thread and no negative descriptors")

    @property
    def fd_slots(self) -> int:
        """Slots that dup_fd copies: up to the highest descriptor, rounded up (`fs/file.c:dup_fd@v6.18`)."""
        return -(-(self.highest_fd + 1) // FDS_PER_WORD) * FDS_PER_WORD
