"""Cache lines of symbol tables that look-ups read: each once, however many look-ups pass it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibration.build import Builder
from calibration.capture.elf import capture_elf
from calibration.capture.elf_layout import distinct_lines
from calibration.capture.relocations import Bound
from calibration.targets import TargetSpec, build_target
from model.simulation import bill
from tests.calibration.elf_support import quiet_environ
from tests.model.builders import BARE, COST_TABLE, anon, parent_of, scenario_of


def test_a_line_is_counted_once() -> None:
    assert distinct_lines(Bound()) == 0
    read = [np.array([0, 8, 63, 64], np.uint64), np.array([70, 640], np.uint64)]
    assert distinct_lines(Bound(read=read)) == 3


def test_more_symbols_read_more_lines_and_more_references_to_them_do_not(tmp_path: Path) -> None:
    builder = Builder(cache=tmp_path)

    def lines(**more: int) -> int:
        path = build_target(TargetSpec(kind="libs", libs=3, exports=200, **more), builder)
        image = capture_elf(path, environ=quiet_environ())
        counts = bill(scenario_of("vfork", parent_of(anon(1)), image), BARE, COST_TABLE).counts
        relocated = [each.lookup_lines for each in image.objects if each.role != "interpreter"]
        assert counts["ldso_line"] == sum(relocated)
        return sum(relocated)

    few, many = lines(lookups=20), lines(lookups=200)
    assert many > few
    assert lines(lookups=200, distinct=1) > many
    assert lines(lookups=200, repeats=5) - many < many / 10
