"""What a row of children on another CPU tells: only after what the child before left there is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from calibration.check import stored_samples
from calibration.fit import interval_bill
from calibration.machine_file import BUNDLED, find_machine
from calibration.observations import Observation, elsewhere, observations
from calibration.plan import planned_rows
from calibration.samples import Run, Sample, read_runs

OTHER = next(each for each in planned_rows() if each.other)


def _run(cpus: Sequence[tuple[int, int]]) -> Run:
    """A run of children: of each, the caller's CPU at its call and its own; the first is a warm-up."""
    samples = tuple(
        Sample(rep=number - 1, call_ns=float(100 + number), child_cpu=child, caller_cpu_before=caller)
        for number, (caller, child) in enumerate(cpus)
    )
    return Run(
        row=OTHER.row.name,
        bench=OTHER.row.bench,
        args=(),
        process=0,
        round=0,
        pinned=False,
        pass_="unpinned",
        header={},
        samples=samples,
    )


def _kept(run: Run) -> tuple[list[int], float]:
    (found,), returned = elsewhere([run])
    return [each.rep for each in found.timed], returned


def test_children_elsewhere_are_taken_by_where_the_child_before_them_was() -> None:
    assert _kept(_run([(0, 0), (0, 1), (0, 0), (0, 1), (0, 1), (0, 0), (0, 1)])) == ([0, 2, 5], 0.0)
    assert _kept(_run([(0, 0), (0, 1), (0, 1), (0, 1), (0, 0)])) == ([1, 2], 1.0)


def test_it_counts_where_the_caller_is_now_not_where_it_was() -> None:
    """The child before ran on CPU 1, whose caches have the lines; so has the caller now, which moved there."""
    assert _kept(_run([(0, 1), (1, 0), (1, 0)])) == ([0], 0.0)


def test_the_first_timed_child_comes_after_a_warm_up_and_unknown_cpus_tell_nothing() -> None:
    assert _kept(_run([(0, 1), (0, 1)])) == ([0], 1.0)
    untold = Sample(rep=0, call_ns=1.0)
    assert _kept(replace(_run([]), samples=(untold, untold))) == ([], 0.0)


@pytest.fixture(scope="module")
def observed() -> Observation:
    file = find_machine(BUNDLED)
    (row,) = observations(read_runs(stored_samples(file)[0]), file.machine.rules, plan=[OTHER])
    return row


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_row_is_charged_for_what_lies_elsewhere_only_if_it_does(observed: Observation, share: float) -> None:
    """Else the wake-up of the other CPU, which the row is there for, would have no time left to itself."""
    file = find_machine(BUNDLED)
    counts = interval_bill(replace(observed, returned=share), file.machine, file.costs).counts
    assert counts["wake_new_remote"] == 1.0
    assert counts.get("returned_mm", 0.0) == share
