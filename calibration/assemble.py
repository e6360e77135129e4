"""From a file of samples to a machine file: facts, footprints, fit, spread, what was held out. Pure but for reading."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from calibration.check import relative_errors, residual_of, residuals
from calibration.coverage import model_errors
from calibration.errors import BadInput
from calibration.fit import Fit, choose_facts, fit_beside
from calibration.machine_file import MachineFile
from calibration.observations import Observation, observations
from calibration.plan import MOST_OF, reached
from calibration.quality import noise_floor
from calibration.runtimes import footprints
from calibration.samples import SampleFile
from calibration.spread import spread_rows, with_placements, with_spread
from model.costs import COSTS, CostTable
from model.machine import Machine, Placement
from model.rules import rules_for

FACT_CANDIDATES: Mapping[str, Sequence[float]] = {
    "l2_lines": (8192, 16384, 24576, 32768),
    "table_lines": (2048, 4096, 8192, 12288, 16384, 24576, 32768),
    "scatter_lines": (6144, 8192, 9216, 10240, 11264, 12288, 14336, 16384, 32768, 65536),
    "far_lines": (131072, 196608, 262144, 327680, 393216, 458752, 524288, 655360, 786432, 1048576),
    "cow_lines": (32768, 65536, 131072, 262144, 524288),
    "pcp_pages": (128, 256, 512),
    "pcp_huge": (64, 128, 256, 400),
    "pcp_tables": (16, 24, 32, 48, 64),
}
"""Where a price may change with size; the data choose."""
COUNTED = {
    "read_ahead_kib": ("cold-read-4", "read_ahead_kib"),
    "loader_cpuids": ("loader-cpuids", "cpuids"),
    "static_cpuids": ("static-cpuids", "cpuids_total"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """One held-out observation beside its prediction.

    `made_bytes`: anonymous memory of the parent where the bench made one, pinned and with frames in order; else None.
    """

    name: str
    measured_ns: float
    stderr_ns: float
    predicted_ns: float
    made_bytes: int | None = None

    @property
    def error(self) -> float:
        """ln(predicted / measured)."""
        return math.log(self.predicted_ns / self.measured_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """A machine file with what it was made of."""

    file: MachineFile
    fit: Fit
    held_out: tuple[HeldOut, ...]


def assemble(
    samples: SampleFile, *, provenance: Mapping[str, Any], name: str, base: MachineFile | None = None
) -> Assembled:
    """Fit the samples and make the machine file.

    Args:
        samples: what was measured.
        provenance: what goes into the file's head; `host` is the dictionary of the host's facts.
        name: fingerprint of the machine.
        base: where prices come from that the samples do not reach; they are marked as inherited.

    Raises:
        BadInput: the samples hold no row that can be fitted.
    """
    host: Mapping[str, Any] = samples.circumstances.get("host", {})
    rules = rules_for(kernel=str(host.get("kernel_release") or "6.18"), glibc=str(host.get("glibc") or "2.36"))
    rows = observations(samples, rules)
    fitted = [each for each in rows if each.row.role == "fit" and not each.row.live]
    if not fitted:
        raise BadInput("samples", "no row can be fitted", "measure again: `spawncost calibrate`")
    machine = Machine(
        name=name,
        cpu=str(host.get("cpu_name", "")),
        hypervisor=str(host.get("hypervisor", "")),
        kernel=str(host.get("kernel_release", "")),
        glibc=str(host.get("glibc", "")),
        cpus=int(host.get("cpus_online", 1)),
        rules=rules,
        placements={"*": (Placement(child="same", waker="preempt"),)},
        footprints=footprints(samples),
        facts=counted_facts(samples),
        measured=measured_maxima(fitted),
        noise_floor=_finite(noise_floor(samples.kept(), ("call", "reaped", "main"))),
    )
    machine, found = choose_facts(fitted, machine, FACT_CANDIDATES)
    seen = spread_rows(rows, samples)
    beside = spread_rows(rows, samples, beside=True)
    machine = with_placements(machine, [*seen, *beside])
    own = fit_beside([each for each in rows if each.row.role == "fit" and each.row.live], machine, found.costs)
    costs, sources = inherit(own, base, found.untold)
    machine = with_spread(machine, [*seen, *beside], costs)  # unpinned rows charge what a quick plan does not price
    held = judge_held_out(rows, machine, own)
    machine = replace(machine, model_error=model_errors(fitted, seen, machine, costs))
    machine = inherit_machine(machine, base)
    compared = [each for each in rows if each.row.role in ("fit", "held-out")]
    left, errors = residuals(compared, machine, costs), relative_errors(compared, machine, costs)
    file = MachineFile(
        machine=machine,
        costs=costs,
        provenance={**provenance, "residuals": left, "errors": errors, "untold": stand_ins(found.untold)},
        origin="calibrated",
        inherited_from=sources,
    )
    return Assembled(file=file, fit=found, held_out=held)


def stand_ins(untold: Sequence[str]) -> dict[str, str]:
    """What the rows do not tell, and what stands in for each."""
    found = {name: COSTS[name].otherwise for name in untold}
    return {name: f"{like[1]:g} × {like[0]}" for name, like in found.items() if like is not None}


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def counted_facts(samples: SampleFile) -> dict[str, float]:
    """Facts that benches count rather than time."""
    kept = samples.kept()
    found: dict[str, float] = {}
    for name, (row, key) in COUNTED.items():
        for run in kept.get(row, []):
            told = run.header.get("counts", {})
            if key in told or name != "read_ahead_kib":
                found[name] = float(told.get(key, 0))
    return found


def measured_maxima(rows: Sequence[Observation]) -> dict[str, float]:
    """Largest value of each attribute of a parent that a fitted row reached."""
    found = [reached(each.scenario) for each in rows]
    return {name: max(each[name] for each in found) for name in MOST_OF}


def judge_held_out(rows: Sequence[Observation], machine: Machine, costs: CostTable) -> tuple[HeldOut, ...]:
    """Predicted beside measured for every held-out row of the benches."""
    judged: list[HeldOut] = []
    for each in rows:
        found = residual_of(each, machine, costs) if each.row.role == "held-out" else None
        if found is not None:  # else a price that this plan did not reach
            judged.append(
                HeldOut(
                    name=each.name,
                    measured_ns=each.value_ns,
                    stderr_ns=each.stderr_ns,
                    predicted_ns=found[0],
                    made_bytes=each.scenario.parent.space.anon_bytes if each.row.makes_parent else None,
                )
            )
    return tuple(judged)


def inherit(costs: CostTable, base: MachineFile | None, untold: Sequence[str] = ()) -> tuple[CostTable, dict[str, str]]:
    """Prices that were not fitted, from another machine's file, and where they come from.

    Not those that the rows charge but do not tell: the fit has them in what stands in for them. Nor a price of nothing
    where something stands in.
    """
    if base is None:
        return costs, {}
    missing = [name for name, spec in COSTS.items() if not spec.assumed and name not in costs.ns and name not in untold]
    taken = {name: base.costs.ns[name] for name in missing if name in base.costs.ns}
    taken = {name: ns for name, ns in taken.items() if ns > 0.0 or COSTS[name].otherwise is None}
    merged = replace(costs, ns={**costs.ns, **taken}, inherited=frozenset(taken))
    return merged, dict.fromkeys(taken, base.machine.name)


def inherit_machine(machine: Machine, base: MachineFile | None) -> Machine:
    """Placements, spread, footprints and facts that were not measured, from another machine's file."""
    if base is None:
        return machine
    other = base.machine
    return replace(
        machine,
        placements={**other.placements, **machine.placements},
        spread={**other.spread, **machine.spread},
        footprints={**other.footprints, **machine.footprints},
        facts={**other.facts, **machine.facts},
        model_error={**other.model_error, **machine.model_error},
    )
