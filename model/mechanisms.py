"""The mechanisms that start a process: how each starts, how its caller waits, whose placements it follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from model.kernel.exit import do_wait
from model.kernel.fork import KNOWN_FLAGS
from model.kernel.task import Path, Spawning, Task
from model.machine import BARE, Machine, Placement
from model.process import Caller
from model.scenario import Scenario, Spawn
from model.userland import cpython, jdk, libc, shell
from model.userland.libc import Launch

Starter = Callable[[Task, Launch], Spawning]
Waiter = Callable[[Task, Task], Path]

MECHANISMS: dict[str, tuple[Starter, Waiter, str]] = {
    "fork": (libc.fork, do_wait, "fork"),
    "vfork": (libc.vfork, do_wait, "vfork"),
    "posix_spawn": (libc.posix_spawn, do_wait, "vfork"),
    "clone3": (libc.clone3, do_wait, "fork"),
    "jdk-fork": (jdk.jdk_fork, jdk.jdk_wait, "jdk-fork"),
    "jdk-vfork": (jdk.jdk_vfork, jdk.jdk_wait, "jdk-vfork"),
    "jdk-posix_spawn": (jdk.jdk_posix_spawn, jdk.jdk_wait, "jdk-posix_spawn"),
    "cpython-subprocess": (cpython.popen, cpython.popen_wait, "vfork"),
    "cpython-fork": (cpython.popen_preexec, cpython.popen_wait, "fork"),
    "cpython-os-fork": (cpython.os_fork, do_wait, "fork"),
    "shell": (shell.system, shell.system_wait, "vfork"),
}
"""Mechanism: how it starts, how its caller waits, and whose placements it follows."""
JDK_DEFAULT = "jdk"
"""Stands for the launch mechanism that `rules.jdk_launch` makes the default of a JDK."""
HELPED = frozenset({"jdk-posix_spawn", "shell"})
"""Mechanisms that run another image first (`Spawn.helper`)."""
IN_PLACE = "exec"
"""Names what starts no child: the caller itself executes the target. It stands beside `MECHANISMS`, not among them."""
NEEDS_EXEC = frozenset({*MECHANISMS, IN_PLACE}) - {"fork", "vfork", "clone3", "cpython-os-fork"}
"""Mechanisms that always exec."""


class NotBuilt(ValueError):
    """The model does not know the mechanism or flag asked for."""


def resolved(scenario: Scenario) -> Scenario:
    """The scenario with the mechanism `jdk` replaced by the one that the rules make its default."""
    steps = tuple(
        replace(step, mechanism=f"jdk-{scenario.rules.jdk_launch}")
        if isinstance(step, Spawn) and step.mechanism == JDK_DEFAULT
        else step
        for step in scenario.program
    )
    return scenario if steps == scenario.program else replace(scenario, program=steps)


def family_of(spawn: Spawn | None) -> str:
    """Whose placements and spread a spawn follows; `*` for a program that spawns nothing."""
    if spawn is None:
        return "*"
    if spawn.mechanism == IN_PLACE:
        return IN_PLACE
    if spawn.mechanism not in MECHANISMS:
        raise NotBuilt(f"mechanism {spawn.mechanism!r} is not built; there are {', '.join(MECHANISMS)}")
    unknown = sorted(spawn.flags - KNOWN_FLAGS)
    if unknown:
        raise NotBuilt(f"clone flag {unknown[0]} is not built; there are {', '.join(sorted(KNOWN_FLAGS))}")
    if not spawn.warm:
        raise NotBuilt("the first start of a launcher is not built, only a warmed one")
    family = MECHANISMS[spawn.mechanism][2]
    if spawn.mechanism == "clone3" and "CLONE_VFORK" in spawn.flags:
        family = "vfork"
    return f"{family}{BARE}" if family == "vfork" and spawn.target.kind == "none" else family


def placements_seen(scenario: Scenario, machine: Machine) -> tuple[Placement, ...]:
    """The placements that a resolved scenario's spawn meets, likeliest first."""
    cold, beside = scenario.parent.caller is Caller.COLD, scenario.load.leaves_none(machine.cpus)
    return machine.placements_of(family_of(scenario.spawn), cold=cold, beside=beside)
