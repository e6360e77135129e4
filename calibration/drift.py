"""The drift probe: a small pinned fork and a pointer chase, which tell whether the machine is as quiet as it can be.

A gate, never a divisor: dividing by a probe adds its own noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calibration.build import Builder
from calibration.loudness import loud
from calibration.quantiles import quantile
from calibration.run_bench import run_bench

_FORK_ARGS = ("--reps", "40")
_CHASE_ARGS = ("--kib", "16384", "--n", "4000", "--reps", "9")


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at the machine: a fork's call and one memory reference in 16 MiB, low quantiles, in ns."""

    fork_ns: float
    chase_ns: float


class DriftProbe:
    """Takes probes on one CPU.

    Args:
        builder: builds the two benches.
        cpu: the CPU that the measurements are pinned to.
    """

    def __init__(self, builder: Builder, cpu: int) -> None:
        paths = builder.benches(["fork_touched", "chase"])
        self._fork, self._chase, self._cpu = paths["fork_touched"], paths["chase"], cpu

    def take(self) -> Probe:
        """One probe, some 20 ms. Raises BenchError if even these do not run."""
        fork = run_bench(self._fork, _FORK_ARGS, cpu=self._cpu).records
        chase = run_bench(self._chase, _CHASE_ARGS, cpu=self._cpu).records
        return Probe(_low(fork, "call_ns"), _low(chase, "value_ns"))


def _low(records: Sequence[dict[str, Any]], key: str) -> float:
    return quantile((float(record[key]) for record in records if not record["warmup"]), 0.25)


def round_record(number: int, history: Sequence[Probe]) -> dict[str, Any]:
    """The line of a round: the louder of the two probes at its ends, the last two so far, and whether it is quiet."""
    worst = Probe(max(each.fork_ns for each in history[-2:]), max(each.chase_ns for each in history[-2:]))
    line = {"kind": "round", "round": number, "fork_ns": worst.fork_ns, "chase_ns": worst.chase_ns}
    return {**line, "quiet": is_quiet(worst, history)}


def is_quiet(probe: Probe, history: Sequence[Probe]) -> bool:
    """Whether a probe is near the low quantile of all so far, itself included."""
    return not loud([(each.fork_ns, each.chase_ns) for each in (*history, probe)])[-1]
