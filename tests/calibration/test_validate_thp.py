"""First writes to a huge page: what is charged by which kernel, and what a run tells."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from calibration.errors import BadInput
from calibration.machine_file import find_machine
from calibration.validate_thp import CASES, OLD, HugeWrite, predicted, validate_thp
from experiments.thp_report import thp_document, thp_text
from model.rules import rules_for
from model.scenario import Rewrite

FILE = find_machine("bundled")


def test_the_old_rule_is_that_of_5_7() -> None:
    assert OLD.thp_cow == rules_for(kernel="5.7").thp_cow != rules_for(kernel="5.8").thp_cow


def test_a_shared_huge_page_is_split_and_copied_singly_since_5_8_and_whole_before() -> None:
    rules = FILE.machine.rules
    first, first_ns = predicted(FILE, Rewrite(huge=1), rules)
    assert first == {"split_huge_pmd": 1.0, "fault_cow_copy": 1.0}
    every, every_ns = predicted(FILE, Rewrite(huge=1, pages=511), rules)
    assert every["fault_cow_copy"] == 512.0
    whole, whole_ns = predicted(FILE, Rewrite(huge=1), replace(rules, thp_cow=OLD.thp_cow))
    assert whole == {"fault_cow_copy": 1.0, "page_copy": 511.0}
    assert first_ns < whole_ns < every_ns, "dearer at once, cheaper for all of it"


def test_a_huge_page_of_its_own_is_reused_for_little() -> None:
    for rules in (FILE.machine.rules, replace(FILE.machine.rules, thp_cow=OLD.thp_cow)):
        steps, ns = predicted(FILE, Rewrite(huge=1, shared=False), rules)
        assert steps == {"huge_pmd_reuse": 1.0}
        assert ns < 0.2 * predicted(FILE, Rewrite(huge=1), rules)[1]


def test_a_machine_of_an_old_kernel_is_refused() -> None:
    old = replace(FILE, machine=replace(FILE.machine, rules=replace(FILE.machine.rules, thp_cow=OLD.thp_cow)))
    with pytest.raises(BadInput, match="whole"):
        validate_thp(old)


def test_a_run_has_every_case_and_prints_it() -> None:
    try:
        found = validate_thp(FILE, processes=2)
    except BadInput as error:
        pytest.skip(str(error))
    assert [each.what for each in found] == [case[0] for case in CASES]
    alive, gone, every = found
    assert gone.measured_ns < alive.measured_ns < every.measured_ns
    assert isinstance(alive, HugeWrite)
    text = thp_text(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "page_copy x 511" in text
    document = thp_document("machine", found)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
