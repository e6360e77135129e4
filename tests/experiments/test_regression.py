"""The reviewed answers: the bundled machine still gives them, and what moves is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calibration.errors import BadInput
from experiments.cli.main import main
from experiments.questions import NAMES, answer_of
from experiments.regression import DIRECTORY, accept, compared, expected_text, moved_figures, read_expected, table_of


def test_the_answers_are_the_reviewed_ones() -> None:
    """`spawncost check --expected --accept` renews them after a new calibration or another model."""
    assert {path.stem for path in DIRECTORY.glob("*.json")} == set(NAMES)
    moved = moved_figures()
    assert not moved, table_of(moved)


def test_words_that_were_reviewed_are_said_still() -> None:
    for name in ("fork_vmas", "libraries"):
        assert json.loads((DIRECTORY / f"{name}.json").read_text()) == json.loads(expected_text(answer_of(name)))


def test_what_moves_is_told() -> None:
    answer = answer_of("libraries")
    figures = dict(answer.figures)
    first, second, third, *_ = figures
    value = figures[first]
    assert value is not None
    expected = {**figures, first: value * 1.01, second: None, "gone": 1.0}
    del expected[third]
    moved = {each.figure: each for each in compared(answer, expected)}
    assert set(moved) == {first, second, third, "gone"}
    assert moved[first].change == pytest.approx(1 / 1.01 - 1)
    assert all(moved[each].change is None for each in (second, third, "gone"))
    assert first in table_of(list(moved.values()))


def test_accepting_writes_what_is_answered_and_only_where_it_changed(tmp_path: Path) -> None:
    names = ("libraries", "fork_vmas")
    assert accept(names, tmp_path) == list(names)
    assert moved_figures(names, tmp_path) == []
    assert accept(names, tmp_path) == []
    path = tmp_path / "libraries.json"
    path.write_text(path.read_text().replace('"128 libraries', '"129 libraries'), encoding="utf-8")
    assert {each.figure[:4] for each in moved_figures(names, tmp_path)} == {"128 ", "129 "}
    assert accept(names, tmp_path) == ["libraries"]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema": "spawncost.expected/1", "figures": {"a": "b"}}', '{"schema": "x"}']
)
def test_an_expected_file_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "libraries.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"libraries\.json"):
        read_expected("libraries", tmp_path)
    with pytest.raises(BadInput, match="no such file"):
        read_expected("fork_vmas", tmp_path)


def test_accept_alone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--accept"]) == 2
    assert "--expected" in capsys.readouterr().err
