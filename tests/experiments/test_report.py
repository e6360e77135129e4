"""What people read: at most 80 columns of ASCII, with the figures of the document."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calibration.capture.elf import capture_elf
from calibration.capture.parent_file import bundled_parents, read_parent
from calibration.machine_file import MachineFile
from experiments.answers import answer
from experiments.bundled_images import bundled_image
from experiments.elf_report import elf_document
from experiments.headline import duration, figure, size, words_of
from experiments.report import WIDTH, between, elf_text, job_text, prediction_text, warning_lines
from experiments.scenarios import Question, adjusted, helpers_of
from model.costs import COSTS
from model.mechanisms import MECHANISMS
from model.process import Limits


def _document(machine_file: MachineFile, parent: str, thp: str = "as-is", **changes: Any) -> dict[str, Any]:
    question = Question(
        parent=replace(adjusted(read_parent(parent), thp=thp), **changes),
        target=bundled_image("true"),
        mechanisms=tuple(MECHANISMS),
        rules=machine_file.machine.rules,
        helpers=helpers_of(MECHANISMS)[0],
    )
    return answer(question, replace(machine_file, path=Path("machine.toml"), origin="bundled"))


def _assert_readable(text: str) -> None:
    assert text.isascii()
    assert text.endswith("\n")
    assert [line for line in text.splitlines() if len(line) > WIDTH or line != line.rstrip()] == []


@pytest.mark.parametrize("parent", bundled_parents())
def test_every_prediction_reads_in_80_columns(machine_file: MachineFile, parent: str) -> None:
    document = _document(machine_file, parent)
    text = prediction_text(document)
    _assert_readable(text)
    assert " ".join(text.split()).startswith(document["headline"])
    for prediction in document["predictions"]:
        assert f"\n{prediction['mechanism']}\n" in text
    assert "(bundled)" in text
    assert "machine.toml" in text


def test_the_main_job_is_one_sentence_and_one_table(machine_file: MachineFile) -> None:
    documents = [_document(machine_file, "jvm-4g", thp) for thp in ("off", "on")]
    text = job_text(documents)
    _assert_readable(text)
    sentence, table, machine = text.strip().split("\n\n")
    assert sentence.count(". ") == 0
    assert sentence.endswith(".")
    assert "with THP" in sentence
    assert len(table.splitlines()) == 1 + 2 * len(MECHANISMS)
    assert "bundled" in machine


def test_failures_are_told_in_both_tables(machine_file: MachineFile) -> None:
    limits = Limits(commit_mode=0, ram_and_swap_bytes=1 << 30)
    document = _document(machine_file, "jvm-4g", limits=limits)
    for text in (prediction_text(document), job_text([document, document])):
        _assert_readable(text)
        assert "ENOMEM" in text


def test_breakdown_lines_stand_for_the_whole(machine_file: MachineFile) -> None:
    text = prediction_text(_document(machine_file, "jvm-4g"))
    shares = [line.split("%")[0].split()[-1] for line in text.partition("in parts:")[2].splitlines() if "% " in line]
    assert 90 <= sum(int(share) for share in shares[:10]) <= 110
    assert "the machine's spread" in text


def test_warnings_stand_once_each_on_a_line(machine_file: MachineFile) -> None:
    document = _document(machine_file, "jvm-4g")
    lines = warning_lines([document, document])
    assert len(lines) == len(document["warnings"]) == len(set(lines))
    assert all(line.startswith("spawncost: warning: ") and "\n" not in line for line in lines)


def test_a_binary_reads_in_80_columns() -> None:
    document = elf_document(capture_elf("/bin/true"))
    text = elf_text(document)
    _assert_readable(text)
    assert f"{document['symbol_lookups']}" in text
    assert "libc.so.6" in text


DURATIONS = {
    0.0: "0 us",
    0.01234: "0.012 us",
    1.5: "1.50 us",
    999.4: "999 us",
    999.9: "1.00 ms",
    15432.1: "15.4 ms",
    999_900.0: "1.00 s",
    2.5e6: "2.50 s",
    12.34e9: "12300 s",
}


@pytest.mark.parametrize(("us", "text"), DURATIONS.items())
def test_durations_have_three_digits_and_a_unit(us: float, text: str) -> None:
    assert duration(us) == text


def test_sizes_ranges_and_figures() -> None:
    assert size(0) == "0 B"
    assert size(4 << 30) == "4.00 GiB"
    assert size(3 << 40) == "3.00 TiB"
    assert between(1000.0, 2500.0) == "1.00-2.50 ms"
    assert between(266.0, 1360.0) == "266us-1.36ms"
    assert figure(1234.0) == "1230"


def test_every_cost_has_words_for_a_sentence() -> None:
    for name in COSTS:
        words = words_of(name)
        assert words
        assert "@v" not in words
        assert ".c:" not in words
        assert not words.endswith(".")
        assert len(words) <= 120
