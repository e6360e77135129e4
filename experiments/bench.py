"""`make bench`: what an answer costs. Every figure stands beside a plain one of the same run: only ratios travel."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import simpy

from calibration.capture.parent_file import read_parent
from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from calibration.machine_file import BUNDLED, MachineFile, find_machine
from experiments import bench_compiled, bench_elf, bench_sweep
from experiments.bundled_images import bundled_image
from experiments.scenarios import DEFAULT_PARENT, DEFAULT_VIA, HELPER_NAMES, JDK_VIA
from model.address_space import AddressSpace
from model.hardware.cpu import Cpu
from model.kernel.locks import RwLock
from model.kernel.task import Mm, System, Task
from model.machine import Placement
from model.mechanisms import placements_seen
from model.process import Process, Runtime
from model.scenario import Scenario, Spawn, spawn_and_wait
from model.simulation import Run, run_once, simulate
from model.units import NS_PER_MS, NS_PER_S

ROUNDS = 7
"""The best of so many, all things measured in turn."""
TIMEOUTS = 20_000
REPEATED = 10
"""Runs of the model a round: as long as the bare loop runs, for the first after something else finds cold caches."""
MANY_LIBRARIES = "curl"
"""A program with tens of libraries: ten times the charges of `true`, and not an event more."""
MECHANISMS = (*DEFAULT_VIA, *JDK_VIA)
JVM_VMAS = 1000
SIZES = {"1 MiB": 1 << 20, "1 GiB": 1 << 30, "1 TiB": 1 << 40}
COMMANDS = 5
ELF_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Entries of the ledgers, events of the model and timeouts of a bare SimPy loop, each a second."""

    charges: float
    events: float
    timeouts: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """One size of a parent: what its simulation needs; `elapsed_ns` of one call of simulate()."""

    size: str
    charges: int
    events: int
    elapsed_ns: float


def best_ns(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Least time of each work, in ns; they take turns, so that a disturbance meets all of them."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            begin = time.perf_counter_ns()
            work()
            best[name] = min(best[name], time.perf_counter_ns() - begin)
    return best


def spawn_of(mechanism: str, target: str = "true") -> Spawn:
    """A spawn of a bundled image, /bin/true's: the figures do not depend on this host's files."""
    helper = HELPER_NAMES.get(mechanism)
    return Spawn(
        mechanism=mechanism, target=bundled_image(target), helper=bundled_image(helper) if helper is not None else None
    )


def bare_loop(count: int) -> None:
    """SimPy with nothing around it: one process, `count` timeouts."""
    env = simpy.Environment()

    def tick() -> Generator[simpy.Event, None, None]:
        for _ in range(count):
            yield env.timeout(1.0)

    env.process(tick())
    env.run()


def rates(file: MachineFile, target: str = "true", *, rounds: int = ROUNDS, timeouts: int = TIMEOUTS) -> Rates:
    """The model's rates over all mechanisms of the bundled JVM, at the likeliest placement of each, and SimPy's own."""
    parent, machine = read_parent(DEFAULT_PARENT), file.machine
    scenarios = [spawn_and_wait(parent, spawn_of(each, target), rules=machine.rules) for each in MECHANISMS]
    placements = [placements_seen(each, machine)[0] for each in scenarios]

    def model() -> list[Run]:
        pairs = zip(scenarios * REPEATED, placements * REPEATED, strict=True)
        return [run_once(scenario, machine, file.costs, placement) for scenario, placement in pairs]

    runs = model()
    best = best_ns({"model": model, "bare": lambda: bare_loop(timeouts)}, rounds)
    charges = sum(len(task.rows) for run in runs for task in run.system.tasks)
    events = sum(run.system.events for run in runs)
    return Rates(
        charges=charges / best["model"] * NS_PER_S,
        events=events / best["model"] * NS_PER_S,
        timeouts=timeouts / best["bare"] * NS_PER_S,
    )


def jvm_of(vmas: int) -> Process:
    """A JVM of 4 GiB with so many vmas."""
    own = len(synthetic_parent(0).space.vmas) - 1
    return replace(synthetic_parent(4 << 30, vmas=vmas - own), name="jvm", runtime=Runtime.JVM, threads=40)


def jvm_ns(file: MachineFile, *, rounds: int = ROUNDS) -> dict[str, float]:
    """simulate() of FORK by a JVM with 1,000 vmas: when its address space is new to the model, and when it is not."""
    scenario = spawn_and_wait(jvm_of(JVM_VMAS), spawn_of("jdk-fork"), rules=file.machine.rules)
    parent = scenario.parent

    def new() -> None:
        fresh = replace(parent, space=AddressSpace(parent.space.vmas))
        simulate(replace(scenario, parent=fresh), file.machine, file.costs)

    return best_ns({"new": new, "known": lambda: simulate(scenario, file.machine, file.costs)}, rounds)


def flat(file: MachineFile, *, rounds: int = ROUNDS) -> list[Flat]:
    """simulate() of fork, exec and wait by parents of one written vma each, from 1 MiB to 1 TiB."""
    scenarios = {
        name: spawn_and_wait(synthetic_parent(size), spawn_of("fork"), rules=file.machine.rules)
        for name, size in SIZES.items()
    }
    found = {name: simulate(each, file.machine, file.costs) for name, each in scenarios.items()}
    best = best_ns({name: _simulating(each, file) for name, each in scenarios.items()}, rounds)
    return [
        Flat(size=name, charges=each.charges, events=each.events, elapsed_ns=best[name]) for name, each in found.items()
    ]


def commands_ns(file: MachineFile, *, rounds: int = COMMANDS) -> dict[str, float]:
    """`spawncost predict` as a whole command, and an interpreter that does nothing.

    Raises:
        BadInput: the command fails.
    """
    machine = str(file.path) if file.path is not None else BUNDLED
    words = {"predict": [*spawncost(), "predict", "--machine", machine], "python": [sys.executable, "-c", "pass"]}
    return best_ns({name: _running(each) for name, each in words.items()}, rounds)


def spawncost() -> list[str]:
    """Words that start spawncost."""
    script = Path(sys.executable).with_name("spawncost")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "experiments.cli.main"]


def _simulating(scenario: Scenario, file: MachineFile) -> Callable[[], object]:
    return lambda: simulate(scenario, file.machine, file.costs)


def _running(words: Sequence[str]) -> Callable[[], object]:
    def run() -> None:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BadInput(" ".join(words), f"it ends with {done.returncode}: {done.stderr.strip()}", "see above")

    return run


def charging_ns(file: MachineFile, *, rounds: int = ROUNDS, charges: int = TIMEOUTS) -> dict[str, float]:
    """So many charges of one task, and as many timeouts of a bare SimPy loop: what the ledger itself costs."""
    system = System(
        env=simpy.Environment(),
        costs=file.costs,
        machine=file.machine,
        rules=file.machine.rules,
        placement=Placement(),
        cpus=[Cpu(0)],
    )

    def charging() -> None:
        task = Task(system, "caller", Mm(RwLock(system.env)))
        with task.at("kernel_clone", "copy_process"):
            for _ in range(charges):
                task.charge("syscall", 3)
        system.tasks.clear()

    return best_ns({"charges": charging, "bare": lambda: bare_loop(charges)}, rounds)


def text_of(
    file: MachineFile,
    *,
    rounds: int = ROUNDS,
    commands: int = COMMANDS,
    points: int = bench_compiled.POINTS,
    sweep: Mapping[str, int] | None = None,
) -> str:
    """All figures as text of at most 80 columns."""
    compiled = spawn_and_wait(read_parent(DEFAULT_PARENT), spawn_of("fork"), rules=file.machine.rules)
    point_rates = bench_compiled.point_rates(compiled, file, points=points)
    return "\n".join(
        [
            f"machine file {file.machine.name} ({file.origin}); best of {rounds}, of {commands} for commands",
            "",
            *_simulation_text(file, rounds),
            "",
            *bench_compiled.text_of(point_rates, f"fork by {DEFAULT_PARENT}"),
            "",
            *bench_sweep.text_of(bench_sweep.sweep_rates(file, **(sweep or {}))),
            "",
            *_sizes_text(file, rounds),
            "",
            *_commands_text(file, commands),
            "",
            *bench_elf.text_of(spawncost(), rounds=min(commands, ELF_ROUNDS)),
            "",
        ]
    )


def _simulation_text(file: MachineFile, rounds: int) -> list[str]:
    speed, charging = rates(file, rounds=rounds), charging_ns(file, rounds=rounds)
    libraries = rates(file, MANY_LIBRARIES, rounds=rounds)
    return [
        f"the model, {len(MECHANISMS)} mechanisms of {DEFAULT_PARENT}, beside a bare SimPy loop",
        f"  charges                 {speed.charges:>12,.0f} /s",
        f"  events                  {speed.events:>12,.0f} /s",
        f"  bare timeouts           {speed.timeouts:>12,.0f} /s",
        f"  charges : bare timeouts {speed.charges / speed.timeouts:>12.2f}",
        f"  events : bare timeouts  {speed.events / speed.timeouts:>12.2f}",
        f"  charges : bare, {MANY_LIBRARIES:<8}{libraries.charges / libraries.timeouts:>12.2f}",
        f"  charges alone : bare    {charging['bare'] / charging['charges']:>12.2f}",
        *_explained(speed, charging["bare"] / charging["charges"]),
    ]


def _explained(speed: Rates, alone: float) -> list[str]:
    """Why a whole spawn is slower than its charges: shares of its time, from the rates of the same run."""
    charging, waiting = speed.charges / speed.timeouts / alone, speed.events / speed.timeouts
    return [
        f"  of a spawn's time       {charging:>12.0%} charges, {waiting:.0%} events as bare ones cost",
        "  the rest comes with every spawn: its tasks are made, its functions called;",
        "  a program of many libraries has more charges for it",
    ]


def _sizes_text(file: MachineFile, rounds: int) -> list[str]:
    jvm, sizes = jvm_ns(file, rounds=rounds), flat(file, rounds=rounds)
    return [
        f"simulate() of jdk-fork by a JVM of {JVM_VMAS:,} vmas",
        f"  address space is new    {jvm['new'] / NS_PER_MS:>12.2f} ms",
        f"  counted before          {jvm['known'] / NS_PER_MS:>12.2f} ms",
        "",
        f"{'simulate() of fork by a parent of':<34} {'charges':>8} {'events':>8} {'time':>8}",
        *(
            f"  {each.size:<32} {each.charges:>8} {each.events:>8} {each.elapsed_ns / sizes[0].elapsed_ns:>8.2f}"
            for each in sizes
        ),
    ]


def _commands_text(file: MachineFile, rounds: int) -> list[str]:
    whole = commands_ns(file, rounds=rounds)
    return [
        "whole commands",
        f"  spawncost predict       {whole['predict'] / NS_PER_S:>12.3f} s",
        f"  python -c pass          {whole['python'] / NS_PER_S:>12.3f} s",
        f"  ratio                   {whole['predict'] / whole['python']:>12.1f}",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; the return value is the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench", description=__doc__)
    parser.add_argument("--machine", default=BUNDLED, metavar="NAME|FILE", help="machine file (bundled)")
    try:
        sys.stdout.write(text_of(find_machine(parser.parse_args(argv).machine)))
    except BadInput as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
