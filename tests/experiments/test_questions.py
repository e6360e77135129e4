"""The questions: each is answered from the numbers, whatever machine is asked."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from experiments.questions import NAMES, answer_of, thp_bargain
from experiments.questions.__main__ import main, text_of
from experiments.questions.asking import crossing, slope
from experiments.variants import heap_of, varied_parent

QUICK = tuple(name for name in NAMES if name not in ("thp_bargain", "snapshot"))


@pytest.mark.parametrize("name", QUICK)
def test_words_follow_the_numbers_of_the_machine(name: str, machine_path: Path) -> None:
    bundled, other = answer_of(name), answer_of(name, str(machine_path))
    assert bundled.question == other.question
    assert list(bundled.figures) == list(other.figures)
    assert bundled.figures != other.figures
    assert bundled.words != other.words
    assert all(re.search(r"\d", word) for word in bundled.words[:1])
    assert len(bundled.frame) == len(bundled.rows)


def test_an_unknown_question_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="fork_rss"):
        answer_of("life")
    assert main(["life"]) == 2
    assert main(["--loud"]) == 2
    assert main(["libraries"]) == 0
    assert text_of(answer_of("libraries")) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("off_us", "rate", "words"),
    [
        ([200.0, 200.0, 200.0, 200.0], None, "at all rates up to a million writes a second"),
        ([100.0, 100.0, 100.0, 100.0], None, "at no rate by more than 2%"),
        ([100.0, 104.0, 100.0, 100.0], 1e5 / np.sqrt(10), "(not at 1,000), then neither does by more than 2%"),
        ([104.0, 104.0, 100.0, 50.0], 1e5 / np.sqrt(10), ", then loses"),
    ],
)
def test_the_bargain_says_where_thp_wins(off_us: list[float], rate: float | None, words: str) -> None:
    at, said = thp_bargain._where([100.0] * 4, off_us)
    assert at == (None if rate is None else pytest.approx(rate, rel=1e-9))
    assert said.endswith(words)


def test_curves_cross_where_lines_over_log_x_do() -> None:
    x = [1.0, 10.0, 100.0]
    assert crossing(x, [0.0, 0.0, 2.0], [1.0, 1.0, 1.0]) == pytest.approx(10 * np.sqrt(10))
    assert crossing(x, [0.0, 0.5, 0.9], [1.0, 1.0, 1.0]) is None
    assert crossing(x, [2.0, 3.0, 4.0], [1.0, 1.0, 1.0]) == 1.0
    assert slope([0.0, 1.0, 2.0], [5.0, 8.0, 11.0]) == pytest.approx(3.0)


def test_memory_in_hugetlb_pages_is_the_same_memory() -> None:
    parent = synthetic_parent(1 << 30)
    before = parent.space.vmas[heap_of(parent.space)]
    for fraction in (0.0, 0.3, 1.0):
        vma = (space := varied_parent(parent, {"hugetlb": fraction}).space).vmas[heap_of(space)]
        assert vma.hugetlb_pages * 512 + vma.anon_ptes == before.anon_ptes
        assert vma.hugetlb_pages == round(fraction * before.anon_ptes) // 512
