"""A machine file out of published figures, for a machine that nobody here has measured.

The prices are those that the measured machines would let one expect, moved as little as the published figures demand:
a Gauss-Newton step after another towards the likeliest logarithms of the prices. What a price is expected to be wrong
by is what the measured machines differ by, part of it common to all prices; so whatever no figure tells keeps an
interval as wide as machines differ, and says that it is assumed. `python -m calibration.literature` writes the files.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from calibration.capture.parent_file import bundled_parents, read_parent
from calibration.machine_file import (
    BUNDLED_DIRECTORY,
    LITERATURE,
    MachineFile,
    bundled_machines,
    find_machine,
    write_machine_file,
)
from calibration.plan import MOST_OF, bench_machine, reached
from calibration.published_figures import DIRECTORY, Figure, Published, read_published
from model.costs import COSTS, CostTable, fold_assumed
from model.process import Caller
from model.rules import rules_for
from model.scenario import Spawn, spawn_and_wait
from model.simulation import bill

STEPS = 30
LEAST_SHARE = 0.05
"""Share of its mean below which a price is not believed when machines are compared: the rest of a split, not zero."""
TOLD = 0.5
"""A price is published if the figures take away at least half of its error, else assumed: a word in the file, which
changes no price and no error."""
NORMAL_MEDIAN = 0.6745
"""Median of |x| of the standard normal distribution."""
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What measured machines let one expect of another one's prices.

    Attributes:
        names: of the costs, in the order of the arrays.
        ns: their middles.
        covariance: of the logarithms of the prices.
    """

    names: tuple[str, ...]
    ns: Array
    covariance: Array

    def vector(self, counts: Mapping[str, float]) -> Array:
        """Counts in the order of the names."""
        folded = fold_assumed(counts)
        return np.array([folded.get(name, 0.0) for name in self.names])


def measured_machines() -> list[MachineFile]:
    """The bundled machine files that were measured."""
    found = [find_machine(name) for name in bundled_machines()]
    return [file for file in found if file.kind != LITERATURE]


def expected(measured: Sequence[MachineFile]) -> Expected:
    """Middles over the machines that have a price, and how far a machine beside them may be off.

    What prices of a kind share is what such parts of the bundled parents' spawns differ by: no compensation between
    split prices hides that. What each has of its own is what single prices differ by. Both are for one more machine
    than those averaged, so each variance is 1 + 1/n that between machines.
    """
    tables = [file.costs for file in measured]
    names = [name for name, spec in COSTS.items() if not spec.assumed and any(name in each.ns for each in tables)]
    held = {
        name: [each.ns[name] for each in tables if name in each.ns and name not in each.inherited] for name in names
    }
    held = {name: values for name, values in held.items() if max(values, default=0.0) > 0.0}
    single = [abs(deviation) for values in held.values() for deviation in _deviations(values)]
    own = (float(np.median(single)) / NORMAL_MEDIAN) ** 2
    kinds = np.array([kind_of(name) for name in held])
    covariance = own * np.eye(len(held))
    means = np.array([np.mean(values) for values in held.values()])
    for kind, (middle, shared) in _shared(measured).items():
        covariance += shared * np.outer(kinds == kind, kinds == kind)
        means[kinds == kind] *= middle
    return Expected(names=tuple(held), ns=means, covariance=(1.0 + 1.0 / len(measured)) * covariance)


def kind_of(cost: str) -> str:
    """What machines differ by as a whole: beside the work itself, how cold a caller gets and how far memory is."""
    return "cold" if cost.startswith("cold_") else "memory" if "beyond_cache" in cost or "scattered" in cost else "work"


def _deviations(values: Sequence[float]) -> list[float]:
    """Of logarithms from their mean, scaled so that their mean square estimates the variance; none of one value."""
    if len(values) < 2 or max(values) <= 0.0:
        return []
    logs = np.log(np.maximum(values, LEAST_SHARE * np.mean(values)))
    return [float(each) for each in (logs - logs.mean()) * np.sqrt(len(logs) / (len(logs) - 1))]


def _shared(measured: Sequence[MachineFile]) -> dict[str, tuple[float, float]]:
    """By kind, of such parts of the spawns of the bundled parents: geometric ÷ arithmetic mean, and the variance.

    They are pinned, hot and cold, and the child exits at once.
    """
    found: dict[str, list[float]] = {}
    middles: dict[str, list[float]] = {}
    for parent, caller, mechanism in product(bundled_parents(), Caller, ("fork", "vfork")):
        scenario = spawn_and_wait(replace(read_parent(parent), caller=caller), Spawn(mechanism=mechanism))
        parts: dict[str, list[float]] = {}
        for index, file in enumerate(measured):
            asked = replace(scenario, rules=file.machine.rules)
            counts = bill(asked, bench_machine(file.machine, pinned=True), file.costs).counts
            for name, count in counts.items():
                each = parts.setdefault(kind_of(name), [0.0] * len(measured))
                each[index] += file.costs.price(name) * count
        for kind, values in parts.items():
            if max(values) <= 0.0:  # nobody was charged: such a spawn says nothing of it
                continue
            logs = np.log(np.maximum(values, LEAST_SHARE * np.mean(values)))
            found.setdefault(kind, []).extend(_deviations(values))
            middles.setdefault(kind, []).append(float(np.exp(logs.mean()) / np.exp(logs).mean()))
    return {
        kind: (float(np.mean(middles[kind])), float(np.mean(np.square(each)))) for kind, each in found.items() if each
    }


def updated(before: Expected, figures: Sequence[tuple[Array, float, float]]) -> tuple[Array, Array]:
    """Prices in ns and the covariance of their logarithms, once figures are known.

    Args:
        figures: of each its counts, its value in ns, its relative standard error.
    """
    counts = np.array([each[0] for each in figures])
    logs = np.log([each[1] for each in figures])
    noise = np.diag([each[2] ** 2 for each in figures])
    start = np.log(before.ns)
    at, gain, shares = start, np.zeros((len(start), len(figures))), np.zeros_like(counts)
    for _ in range(STEPS):
        parts = counts * np.exp(at)
        total = parts.sum(axis=1)
        shares = parts / total[:, None]
        gain = np.linalg.solve(shares @ before.covariance @ shares.T + noise, shares @ before.covariance).T
        at = start + gain @ (logs - np.log(total) + shares @ (at - start))
    left = before.covariance - gain @ shares @ before.covariance
    return np.exp(at), (left + left.T) / 2.0


def literature_file(published: Published, measured: Sequence[MachineFile], like: MachineFile) -> MachineFile:
    """The machine file that the published figures and the measured machines make together.

    Args:
        published: what is known of the machine.
        measured: what the rest is expected by.
        like: whose placements, spread, footprints, errors of the model and facts are taken where no source gives any.
    """
    before = expected(measured)
    rules = rules_for(kernel=published.machine.kernel, glibc=published.machine.glibc)
    machine = replace(
        like.machine,
        **published.machine.model_dump(exclude={"kind"}),
        rules=rules,
        facts={**like.machine.facts, **{each.name: each.value for each in published.fact}},
    )
    nothing = {name: 0.0 for file in measured for name in file.costs.ns if name not in before.names}
    table = CostTable({**nothing, **dict(zip(before.names, before.ns.tolist(), strict=True))})
    used = [each for each in published.figure if not each.held_out]
    vectors = [before.vector(each.counts(machine, table)) for each in used]
    ns, logs = updated(
        before, [(vector, each.value_ns, each.error) for vector, each in zip(vectors, used, strict=True)]
    )
    held = [reached(each.scenario) for each in used if each.scenario is not None]
    machine = replace(machine, measured={name: max(each[name] for each in held) for name in MOST_OF})
    sources = _sources(before, logs, vectors, ns, used)
    others = " and ".join(file.machine.name for file in measured)
    return MachineFile(
        machine=machine,
        costs=CostTable(
            ns={**nothing, **dict(zip(before.names, ns.tolist(), strict=True))},
            names=before.names,
            covariance=logs * np.outer(ns, ns),
        ),
        provenance={
            "derived_from": [f"{file.machine.name} of {file.provenance.get('date', 'no date')}" for file in measured],
            "assumed": f"placements, spread, footprints, model errors and most facts are those of {like.machine.name}",
            "facts": {each.name: each.source for each in published.fact},
            "figures": {each.name: each.source for each in published.figure},
        },
        kind=LITERATURE,
        published=sources,
        assumed={name: f"no source; the mean of {others}" for name in table.ns if name not in sources},
    )


def _sources(
    before: Expected, logs: Array, vectors: Sequence[Array], ns: Array, used: Sequence[Figure]
) -> dict[str, str]:
    """Of each price that the figures tell, those that tell most of it."""
    left = np.sqrt(np.diag(logs) / np.diag(before.covariance))
    shares = np.array([vector * ns / (vector @ ns) for vector in vectors])
    return {
        name: used[int(np.argmax(shares[:, index]))].source
        for index, name in enumerate(before.names)
        if left[index] <= TOLD
    }


def main() -> int:
    """Write the machine file of every file of published figures."""
    measured = measured_machines()
    for path in sorted(DIRECTORY.glob("*.toml")):
        published = read_published(path)
        file = literature_file(published, measured, find_machine(published.like))
        target = BUNDLED_DIRECTORY / f"{file.machine.name}.toml"
        write_machine_file(file, target)
        told = ", ".join(file.published)
        print(f"{target.name}: {len(file.published)} of {len(file.costs.ns)} prices are published: {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
