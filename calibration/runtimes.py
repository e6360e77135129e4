"""The rows that need a runtime: a real JVM and a real CPython, small and pinned, into the same file of samples.

They price what these runtimes add to a spawn in their own code, and count the user pages that they touch around a fork.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from calibration.beside import one_cpu_left
from calibration.capture.elf import capture_elf
from calibration.capture.snapshot import snapshot_text
from calibration.drift import Probe, round_record
from calibration.errors import BadInput
from calibration.live.artefacts import find_java
from calibration.live.cases import LiveCase
from calibration.live.results import LiveProcess
from calibration.live.runs import run_case
from calibration.observations import captured
from calibration.plan import PlannedRow
from calibration.quantiles import quantile
from calibration.run_bench import BenchUnavailableError
from calibration.samples import Run, Sample, SampleFile, SampleWriter, append_run, homeless, read_runs
from model.machine import Footprint

HELPER_ROW = "jspawnhelper"
"""Name under which the image of the JDK's helper stands in the samples."""
CHILD_WINDOWS = {"c": 3.0, "c-threads": 3.0, "raw": 2.0}
"""Of a C child's faults, those that map text again: fork, libc and _exit lie in so many windows."""
COPIES_SHARE = 0.25
"""Of the pages that a JVM or CPython caller writes after a fork, those that it writes while the child still shares
them; counted with the child held before its exec: 25 of 105."""


def case_of(row: PlannedRow) -> LiveCase:
    """The live case of a row `live/KIND --mech M --heap-mib N`."""
    kind = row.row.bench.partition("/")[2]
    if kind not in ("jvm", "cpython"):
        raise BadInput(row.row.name, f"no live parent {kind!r}", "use live/jvm or live/cpython")
    return LiveCase(
        kind="jvm" if kind == "jvm" else "cpython",
        mechanism=row.options["mech"],
        heap_bytes=row.count("heap-mib", 128) << 20,
        caller="cold" if row.count("cold-ms") else "hot",
    )


def measure_runtimes(
    rows: Sequence[PlannedRow],
    *,
    out: Path,
    progress: Callable[[int, int, str], None],
    probe: Callable[[], Probe] | None = None,
) -> None:
    """Measure the rows that are not in the file yet; one whose runtime is not there is skipped with its reason.

    One process a row in turn: what the scheduler does changes every few seconds, and each row shall see all of it.
    Each is a round of its own between two probes, where `probe` takes them; a loud one is not repeated.
    """
    before = read_runs(out)
    number = 1 + max([run.round for run in before.runs] + [each.round for each in before.rounds], default=-1)
    history = [Probe(each.fork_ns, each.chase_ns) for each in before.rounds]
    there = Counter(run.row for run in before.runs)
    noted = {note.row for note in before.notes if note.kind == "target"}  # the parent's note comes before it
    skipped = {note.row for note in before.notes if note.kind == "skipped"}
    pairs = [(process, row) for row in rows for process in range(there[row.row.name], row.row.processes)]
    pairs.sort(key=lambda pair: pair[0])
    with SampleWriter(out, {}) as writer:
        for index, (process, row) in enumerate(pairs):
            name = row.row.name
            progress(index, len(pairs), name)
            if name in skipped:
                continue
            try:
                history += [probe()] if probe is not None else []
                _measure(row, writer, process=process, noted=name in noted, number=number)
                noted.add(name)
                if probe is not None:
                    history += [probe()]
                    writer.append(round_record(number, history))
                    number += 1
            except (BadInput, BenchUnavailableError) as error:
                skipped.add(name)
                writer.append({"kind": "skipped", "row": name, "process": -1, "reason": str(error)})
        if HELPER_ROW not in noted | skipped:
            _note_helper(writer)


def _measure(row: PlannedRow, writer: SampleWriter, *, process: int, noted: bool, number: int = 0) -> None:
    """Run one process of a row, and note its parent and target unless that has been done."""
    case = case_of(row)
    with one_cpu_left() if row.row.one_cpu_left else _pinned(row.row.pinned):
        result = run_case(case, processes=1, reps=row.row.reps)
    if not noted:
        parent = homeless(snapshot_text(result.snapshots[0]))
        writer.append({"kind": "parent", "row": row.row.name, "state": parent})
        image = homeless(json.dumps(dataclasses.asdict(capture_elf(case.target))))
        writer.append({"kind": "target", "row": row.row.name, "state": image})
    append_run(writer, _run(row, process, result.processes[0], number))


def _run(row: PlannedRow, process: int, measured: LiveProcess, number: int) -> Run:
    samples = tuple(
        Sample(rep=rep, call_ns=call, reaped_ns=reaped)
        for rep, (call, reaped) in enumerate(zip(measured.call_ns, measured.reaped_ns, strict=True))
    )
    header = {
        "version": measured.version,
        "envp_bytes": measured.envp_bytes,
        "contiguous": None if measured.snapshot is None else measured.snapshot.contiguous,
        "minflt_caller": list(measured.minflt_caller),
        "minflt_children": list(measured.minflt_children),
    }
    return Run(
        row=row.row.name, bench=row.row.bench, args=row.row.args, process=process, round=number,
        pinned=row.row.pinned, pass_=row.row.pass_, header=header, samples=samples,
    )  # fmt: skip


@contextmanager
def _pinned(wanted: bool) -> Iterator[None]:
    """Children started within are on one CPU; the affinity of this process is put back."""
    before = os.sched_getaffinity(0)
    if wanted:
        os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _note_helper(writer: SampleWriter) -> None:
    try:
        helper = find_java("").parent.parent / "lib" / "jspawnhelper"
        image = homeless(json.dumps(dataclasses.asdict(capture_elf(str(helper)))))
    except BadInput as error:
        writer.append({"kind": "skipped", "row": HELPER_ROW, "process": -1, "reason": str(error)})
        return
    writer.append({"kind": "target", "row": HELPER_ROW, "state": image})


def footprints(file: SampleFile) -> dict[str, Footprint]:
    """User pages that each runtime touches around a fork, from the fault counters of its rows."""
    kept = file.kept()
    found: dict[str, Footprint] = {}
    parents, _ = captured(file)
    idle = _median_faults(kept.get("fork-0", []), "minflt_caller") - 1.0
    for name, row in (("c", "fork-0"), ("raw", "fork-threads-raw"), ("c-threads", "fork-threads")):
        child = _median_faults(kept.get(row, []), "minflt_child")
        if child > 0.0:
            windows = CHILD_WINDOWS[name]
            reclaimed = parents[row].threads - 1 if name == "c-threads" else 0
            found[name] = Footprint(
                child_copies=max(0.0, child - windows - reclaimed),
                child_file_faults=windows,
                caller_copies=max(1.0, _median_faults(kept.get(row, []), "minflt_caller") - idle),
            )
    pairs = (
        ("jvm", "jdk-fork", "jdk-vfork"),
        ("cpython", "cpython-os-fork", "cpython-popen"),
        ("cpython-preexec", "cpython-fork", "cpython-popen"),
    )
    for name, forked, plain in pairs:
        child = _counted(kept.get(forked, []), "minflt_children") - _counted(kept.get(plain, []), "minflt_children")
        child -= parents[forked].threads - 1 if name == "jvm" and forked in parents else 0
        caller = _counted(kept.get(forked, []), "minflt_caller")
        if child > 0:
            found[name] = Footprint(
                child_copies=child, caller_copies=COPIES_SHARE * caller, caller_reuses=(1 - COPIES_SHARE) * caller
            )
    return found


def _median_faults(runs: Sequence[Run], name: str) -> float:
    counts = [float(getattr(sample, name) or 0) for run in runs for sample in run.timed]
    return quantile(counts, 0.5) if counts else 0.0


def _counted(runs: Sequence[Run], name: str) -> float:
    counts = [float(count) for run in runs for count in run.header.get(name, [])]
    return quantile(counts, 0.5) if counts else 0.0
