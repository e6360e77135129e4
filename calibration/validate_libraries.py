"""What fifty shared libraries add to a start: generated and real ones, lazy and bound at once, warm and evicted.

A textbook says that with 50 libraries relocation adds tens of milliseconds. Each case runs as copies that end at their
entry; what it adds is its time from execve to `_start` beyond that of a program with libc alone.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.build import Builder, BuildError
from calibration.capture.elf import capture_elf
from calibration.comparison import Comparison
from calibration.errors import BadInput
from calibration.live.exec_runs import ExecCase, ExecRuns, capture_caller, copies, run_execs
from calibration.live.programs import find_programs
from calibration.machine_file import MachineFile
from calibration.quantiles import quantile
from calibration.targets import TargetSpec, build_target, build_with
from calibration.validate_exec import predict_exec, remark_on, start_of
from model.elf_image import LOADER_CACHE, ElfImage
from model.process import Process
from model.units import NS_PER_MS

LIBRARIES = 50
TENS_NS = 10 * NS_PER_MS
"""From here on it is tens of milliseconds."""
ALONE, EMPTY = "libc alone", f"{LIBRARIES} empty"
GENERATED: Mapping[str, TargetSpec] = {
    EMPTY: TargetSpec(kind="libs", libs=LIBRARIES),
    "50 of C": TargetSpec(
        kind="libs", libs=LIBRARIES, exports=200, relative=300, rel_spread=2, lookups=20, calls=80, lazy=1,
        name_bytes=16,
    ),
    "50 of C++": TargetSpec(
        kind="libs", libs=LIBRARIES, exports=2000, relative=4000, rel_spread=30, lookups=400, calls=600, lazy=1,
        name_bytes=48, distinct=1,
    ),
}  # fmt: skip
"""Exports and relocations a library, of the order of what small C and large C++ libraries have; all name the last one,
so that each look-up passes all fifty.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryCase:
    """One program in one way.

    Attributes:
        comparison: from execve to `_start`; with all files in the page cache.
        cold_ns: p50 with the libraries' pages evicted before each start; NaN if not tried.
        cold_predicted_ns: the same as predicted, of the files that could be evicted.
        major_faults: of a cold start.
        bare_ns: predicted p50 without a hypervisor.
        adds_ns: measured p50 beyond that with libc alone; cold_adds_ns, bare_adds_ns: the same of the others.
        lookups_for_tens: symbol look-ups at which it would add ten milliseconds, had it that many times more to
            relocate: by what it was measured to take beyond fifty empty libraries; NaN without any,
            and where those alone take that long.
    """

    name: str
    now: bool
    image: ElfImage
    comparison: Comparison
    cold_ns: float
    cold_predicted_ns: float
    major_faults: float
    bare_ns: float
    adds_ns: float
    cold_adds_ns: float
    bare_adds_ns: float
    lookups_for_tens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryValidation:
    """Outcome: what was run, and what could not be, with the reason."""

    machine: str
    cases: tuple[LibraryCase, ...]
    skipped: tuple[tuple[str, str], ...]


def validate_libraries(
    file: MachineFile,
    bare: MachineFile,
    *,
    processes: int = 3,
    reps: int = 10,
    progress: Callable[[str], None] | None = None,
) -> LibraryValidation:
    """Build, run and predict programs with libc alone and with fifty libraries.

    Args:
        file, bare: machine file to predict with, and the same as if no hypervisor trapped CPUID.

    Raises:
        BadInput: no C compiler, or nothing could be run.
    """
    skipped: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="spawncost-") as folder:
        cases: list[tuple[ExecCase, ElfImage]] = []
        for index, (name, path) in enumerate(_programs(skipped).items()):
            own = Path(folder) / str(index)
            own.mkdir()
            try:
                case = copies(name, str(path), own)
            except (BadInput, OSError) as error:
                skipped.append((name, str(error)))
                continue
            for now in (False, True):
                image = capture_elf(case.stopped, bind_now=now or None, environ={})
                warm = replace(case, name=name, bind_now=now)
                files = [case.stopped, case.stamped, *([LOADER_CACHE] if image.maps_cache else [])]
                cold = evictable(replace(warm, evicted=(*files, *(each.path for each in image.libraries))))
                cases += [(warm, image), (cold, image)]
        done = run_execs([case for case, _ in cases], processes=processes, reps=reps, progress=progress)
        skipped += [(each.case.name, each.error) for each in done if each.error]
        found = _compared(file, bare, done, [image for _, image in cases])
    return LibraryValidation(machine=file.machine.name, cases=tuple(found), skipped=tuple(skipped))


def _programs(skipped: list[tuple[str, str]]) -> dict[str, Path]:
    builder = Builder()
    found: dict[str, Path] = {}
    wanted: dict[str, Callable[[], Path]] = {
        ALONE: lambda: build_target(TargetSpec(kind="dynamic"), builder),
        **{name: lambda spec=spec: build_target(spec, builder) for name, spec in GENERATED.items()},  # type: ignore[misc]
        "50 of this system": lambda: build_with(real_libraries(), builder),
    }
    for name, build in wanted.items():
        try:
            found[name] = build()
        except (BuildError, BadInput) as error:
            skipped.append((name, str(error)))
    if ALONE not in found:
        raise BadInput("--kind libraries", skipped[0][1], "install gcc and libc's headers")
    near = sorted(find_programs().found.items(), key=lambda each: abs(len(capture_elf(each[1]).libraries) - LIBRARIES))
    return found | {f"{name}, as installed": Path(path) for name, path in near[:2]}


def real_libraries(count: int = LIBRARIES) -> list[str]:
    """So many libraries that programs of this system need, those of most programs first; libc is one of them.

    Raises:
        BadInput: there are not as many.
    """
    users: dict[str, int] = {}
    for path in find_programs().found.values():
        for each in capture_elf(path).libraries:
            users[each.path] = users.get(each.path, 0) + 1
    chosen: list[str] = []
    for path in sorted(users, key=lambda each: (-users[each], each)):
        closure = {path, *(each.path for each in capture_elf(path).libraries)}
        if len(closure.union(chosen)) <= count:
            chosen += sorted(closure.difference(chosen))
        if len(chosen) == count:
            return chosen
    raise BadInput("real libraries", f"programs of this system need {len(chosen)} only", "install more programs")


def _compared(
    file: MachineFile, bare: MachineFile, done: Sequence[ExecRuns], images: Sequence[ElfImage]
) -> list[LibraryCase]:
    pairs = [
        (warm, cold, image)
        for warm, cold, image in zip(done[::2], done[1::2], images[::2], strict=True)
        if any(warm.samples_ns["start"])
    ]
    if not pairs or pairs[0][0].case.name != ALONE:
        raise BadInput("--kind libraries", "nothing could be compared", "see `spawncost validate --kind exec`")
    caller = capture_caller(pairs[0][0].case)
    found: list[LibraryCase] = []
    for warm, cold, image in pairs:
        case = _case(file, bare, caller, warm, cold, image)
        first = next((each for each in found if each.now == case.now), case)
        empty = next((each for each in found if each.now == case.now and each.name == EMPTY), case)
        found.append(_beyond(case, first, empty))
    return found


def _case(
    file: MachineFile, bare: MachineFile, caller: Process, warm: ExecRuns, cold: ExecRuns, image: ElfImage
) -> LibraryCase:
    prediction = predict_exec(file, caller, image, warm.case)
    comparison = Comparison(
        case=f"{warm.case.name}{' now' if warm.case.bind_now else ''}",
        milestone="start",
        group="libraries",
        samples_ns=tuple(warm.samples_ns["start"]),
        predictions=(start_of(file, prediction),),
        remark=remark_on(file, prediction, image, "main"),
    )
    return LibraryCase(
        name=warm.case.name,
        now=warm.case.bind_now,
        image=image,
        comparison=comparison,
        cold_ns=quantile([each for samples in cold.samples_ns["start"] for each in samples], 0.5),
        cold_predicted_ns=start_of(file, predict_exec(file, caller, image, cold.case)).p50_ns,
        major_faults=quantile([float(each) for each in cold.major_faults], 0.5),
        bare_ns=start_of(bare, predict_exec(bare, caller, image, warm.case)).p50_ns,
        adds_ns=0.0,
        cold_adds_ns=0.0,
        bare_adds_ns=0.0,
        lookups_for_tens=math.nan,
    )


def evictable(case: ExecCase) -> ExecCase:
    """The case with those of its files that no running program maps.

    Of the others the pages go that nobody has touched, and no count from outside says which.
    """
    mapped: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            mapped |= {line.split(maxsplit=5)[5] for line in maps.read_text().splitlines() if "/" in line}
        except OSError:
            continue
    return replace(case, evicted=tuple(each for each in case.evicted if str(Path(each).resolve()) not in mapped))


def _beyond(case: LibraryCase, alone: LibraryCase, empty: LibraryCase) -> LibraryCase:
    """The case with what it adds to the program with libc alone, itself if it is that."""
    adds_ns = case.comparison.measured_ns(0.5) - alone.comparison.measured_ns(0.5)
    relocating_ns = adds_ns - empty.adds_ns
    told = case is not empty and relocating_ns > 0.0 and empty.adds_ns < TENS_NS
    grow = (TENS_NS - empty.adds_ns) / relocating_ns if told else math.nan
    return replace(
        case,
        adds_ns=adds_ns,
        cold_adds_ns=case.cold_ns - alone.cold_ns,
        bare_adds_ns=case.bare_ns - alone.bare_ns,
        lookups_for_tens=case.image.symbol_lookups * grow,
    )
