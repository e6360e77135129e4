"""A sweep over how its program is linked: the same as the options of `predict`, static programs refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from experiments import run_sweep
from experiments.answers import predict
from experiments.scenarios import DEFAULT_TARGET, Question
from experiments.sweep_plan import plan_of, usable
from experiments.sweep_spec import Sweep
from experiments.what_if import LINKED, image_if, relinked
from model.elf_image import NO_IMAGE
from model.units import NS_PER_US

pytestmark = pytest.mark.skipif(not Path(DEFAULT_TARGET).is_file(), reason=f"needs {DEFAULT_TARGET}")


def of_linked(machine: Path, words: list[str], **more: Any) -> Sweep:
    return Sweep(base={"machine": str(machine), "rss": 1 << 20, "via": ["vfork"], **more}, axes={"linked": words})


def test_every_word_is_what_predict_says_of_the_option(machine_path: Path) -> None:
    if relinked(DEFAULT_TARGET, LINKED["as-is"]).loader is None:
        pytest.skip(f"{DEFAULT_TARGET} is linked statically")
    sweep = of_linked(machine_path, list(LINKED))
    frame = run_sweep(sweep)
    assert frame["error"].isna().all()
    main_us = dict(zip(frame["linked"], frame["main_us_quiet"], strict=True))
    assert main_us["static"] < main_us["prelink"] <= main_us["as-is"] <= main_us["bind-now"]
    assert main_us["lazy"] <= main_us["as-is"]
    plan = plan_of(sweep)
    file = usable(plan.machines[str(machine_path)])
    for word, what in LINKED.items():
        question = Question(
            parent=synthetic_parent(1 << 20),
            target=image_if(DEFAULT_TARGET, what),
            mechanisms=("vfork",),
            rules=file.machine.rules,
            helpers={},
        )
        told = predict(question, file, "vfork").milestones["main"]
        assert main_us[word] == pytest.approx(told.quiet_ns / NS_PER_US, rel=1e-6)


def test_assumptions_behind_a_word_are_warned_of(machine_path: Path) -> None:
    frame = run_sweep(of_linked(machine_path, ["as-is", "prelink"]))
    warned = dict(zip(frame["linked"], frame["warnings"], strict=True))
    assert "what_if" in warned["prelink"]
    assert "what_if" not in warned["as-is"]


def test_nothing_executed_cannot_be_linked_otherwise(machine_path: Path) -> None:
    plan = plan_of(of_linked(machine_path, ["as-is", "static"], exec="none"))
    assert plan.targets["none", None, "as-is"] == NO_IMAGE
    assert isinstance(plan.targets["none", None, "static"], BadInput)
