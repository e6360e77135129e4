"""What the first writes to a huge page cost after a fork, predicted beside measured here and now, by kernel.

Measured is `bench/cow.c`; predicted is the same as a scenario, by the machine's rules and by those before 5.8, which
copied the whole 2 MiB at the first write.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from calibration.build import Builder
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from calibration.quantiles import quantile
from calibration.run_bench import BenchError, BenchUnavailableError, run_bench
from model.address_space import AddressSpace
from model.process import Caller, Process
from model.rules import Rules
from model.scenario import Rewrite, Scenario
from model.simulation import bill
from model.units import PTRS_PER_TABLE

PAGES = 8
"""Huge pages of one repetition."""
WITHIN, ACROSS = 0.1, 0.2
"""Quiet time: this quantile within a process, that one over processes, as for prices."""
OLD: Rules = replace(Rules(), thp_cow="copy_pmd")
"""A kernel before 5.8, such as 5.7."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HugeWrite:
    """One way to write to a huge page after a fork: ns of one page.

    Attributes:
        what: in words; steps: what is charged for one page, by cost.
        predicted_ns, old_ns: by the machine's rules, by those before 5.8.
        measured_ns: quiet time of one page; floor: half the range of ln over processes.
    """

    what: str
    steps: dict[str, float]
    predicted_ns: float
    old_steps: dict[str, float]
    old_ns: float
    measured_ns: float
    floor: float

    @property
    def error(self) -> float:
        """ln(predicted / measured)."""
        return math.log(self.predicted_ns / self.measured_ns)


CASES = (
    ("first write, child alive", (), Rewrite(huge=1), Rewrite(huge=1)),
    ("first write, child gone", ("--gone",), Rewrite(huge=1, shared=False), Rewrite(huge=1, shared=False)),
    ("all 512 pages, child alive", ("--each",), Rewrite(huge=1, pages=PTRS_PER_TABLE - 1), Rewrite(huge=1)),
)
"""In words, options of the bench, steps by the rules of 5.8 and later, and before."""


def validate_thp(
    file: MachineFile, *, processes: int = 5, progress: Callable[[str], None] | None = None
) -> list[HugeWrite]:
    """Measure each case in fresh, pinned processes and predict it.

    Raises:
        BadInput: no compiler, or no huge pages.
    """
    if file.machine.rules.thp_cow != "split_pmd":
        raise BadInput(file.machine.name, "its kernel copies huge pages whole", "give a machine file of 5.8 or later")
    bench, cpu = Builder().bench("cow"), max(os.sched_getaffinity(0))
    found: list[HugeWrite] = []
    for what, options, now, before in CASES:
        if progress is not None:
            progress(what)
        apart: list[float] = []
        for _ in range(processes):
            try:
                output = run_bench(bench, ["--thp", "--pages", str(PAGES), *options], cpu=cpu)
            except (BenchError, BenchUnavailableError) as error:
                raise BadInput("cow --thp", str(error), "allow huge pages (madvise), or make room") from error
            times = sorted(each["value_ns"] / PAGES for each in output.records if not each["warmup"])
            apart.append(quantile(times, WITHIN))
        steps, ns = predicted(file, now, file.machine.rules)
        old_steps, old_ns = predicted(file, before, replace(file.machine.rules, thp_cow=OLD.thp_cow))
        found.append(
            HugeWrite(
                what=what,
                steps=steps,
                predicted_ns=ns,
                old_steps=old_steps,
                old_ns=old_ns,
                measured_ns=quantile(sorted(apart), ACROSS),
                floor=math.log(max(apart) / min(apart)) / 2,
            )
        )
    return found


def predicted(file: MachineFile, step: Rewrite, rules: Rules) -> tuple[dict[str, float], float]:
    """Units by cost and ns of such a rewrite by these rules."""
    nobody = Process(name="huge page", space=AddressSpace(()), caller=Caller.HOT)
    # Strewn over as much memory as the bench has: it decides what lies beyond the caches.
    whole = replace(step, of=PAGES * PTRS_PER_TABLE if step.pages else 0)
    scenario = Scenario(parent=nobody, program=(whole,), rules=rules)
    found = bill(scenario, replace(file.machine, cpus=1), file.costs, "done")
    counts = {name: count for name, count in found.counts.items() if name != "clock_gettime" and count}
    return counts, sum(count * file.costs.price(name) for name, count in counts.items())
