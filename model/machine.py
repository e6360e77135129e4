"""What of a machine is not a price: how many CPUs, where tasks land, how much times spread, how far it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model.rules import Rules

BARE = "-bare"
"""Ends the name of a family whose child shares the mm and ends without an exec: it is placed in another way."""
BESIDE = "-beside"
"""Ends the key of placements seen while all other CPUs were busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One way the scheduler can place the tasks of a spawn.

    Attributes:
        child: CPU on which a new child starts: the caller's (`same`) or another one (`other`).
        waker: how a caller is woken by a task on its own last CPU: it takes the CPU at once (`preempt`), it runs when
            the waker blocks or ends (`queue`), or it goes to an idle CPU (`other`).
        weight: how often it was seen; the weights of a mechanism sum to 1.
    """

    child: str = "same"
    waker: str = "preempt"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.child not in ("same", "other") or self.waker not in ("preempt", "queue", "other"):
            raise ValueError(f"no such placement: child {self.child!r}, waker {self.waker!r}")
        if not 0.0 <= self.weight <= 1.0:
            raise ValueError(f"a weight lies between 0 and 1, not {self.weight}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """User pages that a runtime's code touches around a fork: counts of faults, not prices.

    Attributes:
        child_copies: pages that the child writes while they are shared (copy faults).
        child_file_faults: fault-around windows of file mappings that the child reads.
        caller_copies: pages that the caller writes while the child lives.
        caller_reuses: pages that the caller writes after the child has gone.
    """

    child_copies: float = 0.0
    child_file_faults: float = 0.0
    caller_copies: float = 0.0
    caller_reuses: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Distribution of measured time ÷ quiet time for one class of path: values at `levels`, both increasing."""

    levels: tuple[float, ...]
    ratios: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.ratios) or len(self.levels) < 2:
            raise ValueError("a spread has as many ratios as levels, at least two")
        if list(self.levels) != sorted(self.levels) or list(self.ratios) != sorted(self.ratios):
            raise ValueError("levels and ratios of a spread increase")
        if not self.ratios[0] > 0.0 or not self.ratios[-1] < float("inf"):
            raise ValueError("ratios of a spread are positive and finite")


NO_SPREAD = Spread(levels=(0.0, 1.0), ratios=(1.0, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One host as calibration found it.

    Attributes:
        name: fingerprint of cpu, hypervisor and kernel; never a host name.
        cpu, hypervisor, kernel, glibc: for reports and the `other_host` and `other_kernel` warnings.
        cpus: online CPUs.
        rules: the rules of the kernel and libc on which the prices were measured.
        placements: by family of mechanisms (`fork`, `vfork`, `vfork-bare` without an exec, ...; `-cold` behind it for
            a cold caller, then `-beside` where all other CPUs are busy; `*` for any other), the placements seen,
            likeliest first.
        spread: by class of path, times ÷ quiet time.
        footprints: by runtime, user pages touched around a fork.
        facts: counts and sizes that the model needs: `loader_cpuids`, `static_cpuids`, `pcp_pages`, `pcp_tables`,
            `pcp_huge`, `read_ahead_kib` of the disk below the temporary files, caches as lines of 64 bytes:
            `l2_lines`, `table_lines`, `scatter_lines`, `far_lines`, `cow_lines`; the TLB's (`hardware/tlb.py`), and the
            scheduler's `tick_ns`, `base_slice_ns`.
        measured: largest value of each parent attribute that the benches reached: `anon_ptes`, `vmas`, ... .
        noise_floor: median |ln| of A/A pairs.
        model_error: relative standard error of predictions of rows that the fit did not see: `plain` and by length of
            path (`short`, `medium`, `long`), and beside it, where tasks can be placed, `unpinned-` by what a path does
            (`copies`, `execs`, `bare`); `spawns`: that of single spawns beyond the spread of their class.
    """

    name: str
    cpu: str = ""
    hypervisor: str = ""
    kernel: str = ""
    glibc: str = ""
    cpus: int = 2
    rules: Rules = field(default_factory=Rules)
    placements: Mapping[str, tuple[Placement, ...]] = field(default_factory=dict)
    spread: Mapping[str, Spread] = field(default_factory=dict)
    footprints: Mapping[str, Footprint] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    noise_floor: float = 0.0
    model_error: Mapping[str, float] = field(default_factory=dict)

    def placements_of(self, family: str, *, cold: bool = False, beside: bool = False) -> tuple[Placement, ...]:
        """Placements of a family of mechanisms, likeliest first; one CPU leaves only one.

        A launcher that was not seen itself places its child as the system call beneath it does.

        Args:
            cold: for a cold caller.
            beside: all other CPUs are busy, so nobody finds an idle one.
        """
        if self.cpus == 1:
            return (Placement(child="same", waker="preempt"),)
        kernels_own = family.removeprefix("jdk-").replace("posix_spawn", "vfork").removesuffix(BARE)
        callers = ("-cold", "") if cold else ("",)
        states = [caller + others for others in ((BESIDE, "") if beside else ("",)) for caller in callers]
        names = [*(f"{each}{state}" for each in (family, kernels_own) for state in states), "*"]
        return next((self.placements[name] for name in names if self.placements.get(name)), (Placement(),))

    def footprint(self, runtime: str, *, threaded: bool = False) -> Footprint:
        """User pages that a runtime touches around a fork; none if it was never measured.

        A threaded C program has a footprint of its own, `c-threads`, where it was measured: fork() then locks and
        unlocks every arena and list.
        """
        found = self.footprints.get(f"{runtime}-threads") if threaded else None
        return found or self.footprints.get(runtime, Footprint())

    def fact(self, name: str) -> float:
        """A count or size that calibration found; infinite if it was not measured."""
        return self.facts.get(name, float("inf"))
