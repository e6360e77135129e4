"""Waits beside a fork, predicted beside measured: what a run has, and when a wait is right."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args

import pytest

from calibration.errors import BadInput
from calibration.machine_file import find_machine
from calibration.validate_locks import LockComparison, validate_locks
from experiments.locks_report import locks_document, locks_text
from model.scenario import Call

ONE = LockComparison(call="mmap", measured_ns=10e6, predicted_ns=11e6, floor=0.01, fork_ns=12e6, fork_predicted_ns=13e6)


def test_a_wait_is_judged_as_a_share_of_its_fork() -> None:
    assert ONE.right
    slower = replace(ONE, predicted_ns=22e6, fork_predicted_ns=26e6)
    assert slower.right, "the fork is off, not who waits for it"
    assert not replace(ONE, predicted_ns=22e6).right
    assert replace(ONE, predicted_ns=22e6, floor=1.0).right


def test_every_call_is_compared_and_waits_for_most_of_the_fork() -> None:
    try:
        found = validate_locks(find_machine("bundled"), processes=2, pages=8192)
    except BadInput as error:
        pytest.skip(str(error))
    assert [each.call for each in found] == list(get_args(Call))
    for each in found:
        assert each.measured_ns > 0.0
        assert 0.3 * each.fork_predicted_ns < each.predicted_ns < 1.3 * each.fork_predicted_ns
    text = locks_text(found)
    assert max(map(len, text.splitlines())) <= 80
    document = locks_document("machine", found)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
