"""Predicted beside measured for the loader alone: LD_DEBUG=statistics of real programs of this system.

Each program runs as a copy that ends at its entry. Compared are ld.so's whole run (without constructors) and two parts
of it that it times itself: loading (find, open and map the libraries) and relocation (with the faults that it causes).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.capture.elf import capture_elf
from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from calibration.live.loader_runs import LoaderRuns, run_loaders
from calibration.live.programs import find_programs, loader_environ, stopped_copy
from calibration.machine_file import MachineFile
from calibration.quantiles import quantile
from model.elf_image import ElfImage
from model.ledger import Entry
from model.prediction import Milestone, Prediction
from model.process import Caller
from model.scenario import Spawn, spawn_and_wait
from model.simulation import simulate

PHASE_FUNCTIONS = {
    "load": frozenset({"_dl_map_object", "_dl_load_cache_lookup"}),
    "relocation": frozenset({"_dl_relocate_object"}),
}
"""Phase that ld.so times: the functions of which one stands on the path of its entries."""

QUIET = 0.1
"""Quantile of the runs that stands for the quiet time, as in the fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderComparison:
    """One program, bound as it is or at once.

    Attributes:
        name: the program, with `LD_BIND_NOW` where that was set.
        image: what was counted of it.
        measured: its runs; predicted: the loader's run as `predict` gives it.
        load_ns, relocation_ns: quiet time predicted for the two phases.
    """

    name: str
    image: ElfImage
    measured: LoaderRuns
    predicted: Milestone
    load_ns: float
    relocation_ns: float

    @property
    def error(self) -> float:
        """ln(predicted p50 / measured p50) of the whole run."""
        return math.log(self.predicted.p50_ns / self.measured.p50_ns("total"))

    @property
    def quiet_error(self) -> float:
        """ln(predicted quiet time / a low quantile of the runs) of the whole run: counts and prices without spread."""
        return math.log(self.predicted.quiet_ns / quantile(self.measured.samples_ns["total"], QUIET))

    def phase_error(self, phase: str) -> float:
        """ln(predicted quiet time / a low quantile of the runs) of `load` or `relocation`."""
        predicted_ns = self.load_ns if phase == "load" else self.relocation_ns
        measured_ns = quantile(self.measured.samples_ns[phase], QUIET)
        return math.log(predicted_ns / measured_ns) if predicted_ns > 0 and measured_ns > 0 else math.nan

    @property
    def floor(self) -> float:
        """What two halves of the measurement differ by."""
        return self.measured.floor("total")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderValidation:
    """Outcome: what was compared, and what was passed over, with the reason."""

    machine: str
    comparisons: tuple[LoaderComparison, ...]
    skipped: tuple[tuple[str, str], ...]


def validate_loader(
    file: MachineFile,
    *,
    runs: int = 10,
    names: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> LoaderValidation:
    """Run real programs as they are and with LD_BIND_NOW=1, and predict each from its files.

    Args:
        runs: of each, all in random order.
        names: programs to take; None: all that are known and installed.

    Raises:
        BadInput: nothing could be compared, no C compiler, or the machine file lacks a price.
    """
    programs = find_programs().among(names)
    skipped = list(programs.passed_over.items())
    with tempfile.TemporaryDirectory(prefix="spawncost-") as folder:
        cases: list[tuple[str, str, bool]] = []
        for name, path in programs.found.items():
            try:
                copy = str(stopped_copy(path, Path(folder)))
            except (BadInput, OSError) as error:
                skipped.append((name, str(error)))
                continue
            cases += [(name, copy, False), (f"{name} LD_BIND_NOW", copy, True)]
        results = run_loaders([(copy, now) for _, copy, now in cases], runs=runs, progress=progress)
        comparisons = []
        for (name, _, _), result in zip(cases, results, strict=True):
            if result.samples_ns["total"]:
                comparisons.append(compared(file, name, result))
            else:
                why = (
                    "other tasks took the CPU from every run" if result.disturbed else "its ld.so printed no statistics"
                )
                skipped.append((name, why))
    if not comparisons:
        raise BadInput("--kind loader", "nothing could be compared", skipped[0][1] if skipped else "install programs")
    return LoaderValidation(machine=file.machine.name, comparisons=tuple(comparisons), skipped=tuple(skipped))


def compared(file: MachineFile, name: str, result: LoaderRuns) -> LoaderComparison:
    """Predict one program's loader beside its runs."""
    image = capture_elf(result.path, bind_now=result.bind_now, environ=loader_environ())
    prediction = _prediction(file, image)
    assert prediction.loader is not None
    ledger = next(ledger for key, ledger in prediction.tasks.items() if key.endswith(" child"))
    phases = {phase: _elapsed_ns(ledger, functions) for phase, functions in PHASE_FUNCTIONS.items()}
    return LoaderComparison(
        name=name,
        image=image,
        measured=result,
        predicted=prediction.loader,
        load_ns=phases["load"],
        relocation_ns=phases["relocation"],
    )


def _prediction(file: MachineFile, image: ElfImage) -> Prediction:
    """A small hot caller's posix_spawn, as the runs are started."""
    parent = replace(synthetic_parent(0), caller=Caller.HOT, assumed=())
    scenario = spawn_and_wait(parent, Spawn(mechanism="posix_spawn", target=image), rules=file.machine.rules)
    return simulate(scenario, file.machine, file.costs)


def _elapsed_ns(ledger: Iterable[Entry], functions: frozenset[str]) -> float:
    return math.fsum(each.elapsed_ns for each in ledger if not functions.isdisjoint(each.path))


def _spread(each: LoaderComparison) -> float:
    """How far the measured median lies above a low quantile."""
    return each.measured.p50_ns("total") / quantile(each.measured.samples_ns["total"], QUIET)


def loader_summary(comparisons: Sequence[LoaderComparison]) -> dict[str, float | int | str]:
    """n, median and worst |ln| with its program, the median floor, one-sidedness.

    The same without spread (`quiet`), how wide the spread is measured and predicted, and the signed medians of the two
    phases.
    """
    errors, quiet = [abs(each.error) for each in comparisons], [abs(each.quiet_error) for each in comparisons]
    worst = max(comparisons, key=lambda each: abs(each.error))
    phases = {
        f"median_{phase}_error": quantile([e for e in (c.phase_error(phase) for c in comparisons) if e == e], 0.5)
        for phase in PHASE_FUNCTIONS
    }
    return {
        "n": len(comparisons),
        "median_error": quantile(errors, 0.5),
        "worst_error": max(errors),
        "worst": worst.name,
        "median_quiet_error": quantile(quiet, 0.5),
        "worst_quiet_error": max(quiet),
        "worst_quiet": max(comparisons, key=lambda each: abs(each.quiet_error)).name,
        "median_floor": quantile([each.floor for each in comparisons if math.isfinite(each.floor)], 0.5),
        "too_low": sum(each.error < 0 for each in comparisons) / len(comparisons),
        "disturbed_runs": sum(each.measured.disturbed for each in comparisons),
        "measured_p50_over_quiet": quantile([_spread(each) for each in comparisons], 0.5),
        "predicted_p50_over_quiet": quantile([c.predicted.p50_ns / c.predicted.quiet_ns for c in comparisons], 0.5),
        **phases,
    }
