"""fork against the size of its parent, by the size of the pages behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from experiments.headline import duration, size
from experiments.questions.asking import GIB, MIB, Answer, Row, column, crossing, one, slope, some, swept
from experiments.sweep_spec import Sweep

QUESTION = "What does a fork cost by the size of its parent, in 4 KiB pages, THP, 64 KiB mTHP and hugetlb pages?"
SIZES = [f"{1 << exponent}MiB" for exponent in range(1, 17)]
SWEEP = Sweep(
    name="fork_rss",
    base={"exec": "none", "via": ["fork", "vfork"], "thp": "off"},
    axes={"rss": SIZES},
)
PAGES: Mapping[str, Mapping[str, Any]] = {
    "4 KiB": {},
    "64 KiB mTHP": {"parent.folio_pages": 16},
    "THP": {"thp": "on"},
    "hugetlb": {"parent.hugetlb": 1.0},
}
"""Sort of page: what of the base changes."""


def answer(machine: str) -> Answer:
    """The call and its slope for every sort of page."""
    rows: list[Row] = []
    for pages, changed in PAGES.items():
        sweep = replace(SWEEP, base={**SWEEP.base, **changed})
        rows += [{**row, "pages": pages} for row in swept(sweep, machine)]
    figures: dict[str, float | None] = {}
    words = []
    for pages in PAGES:
        mine = some(rows, via="fork", pages=pages)
        large = [row for row in mine if row["rss"] >= GIB]
        per_gib = slope(column(large, "rss"), column(large, "call_us_p50")) * GIB
        figures[f"{pages}: us a GiB"] = per_gib
        figures[f"{pages}: call_us of 4 GiB"] = one(mine, "call_us_p50", rss=int(4 * GIB))
        words.append(
            f"In {_named(pages)} a fork of 4 GiB returns after {_us(figures, pages)}, {duration(per_gib)} a GiB."
        )
    ratio = (figures["4 KiB: us a GiB"] or 0.0) / (figures["THP: us a GiB"] or 1.0)
    figures["4 KiB over THP"] = ratio
    calls = column(some(rows, via="vfork"), "call_us_p50")
    figures["vfork: largest over least"] = max(calls) / min(calls)
    alike = f"vfork's calls differ by {max(calls) / min(calls) - 1:.1%} over all sizes and pages"
    words.append(f"THP makes a GiB {ratio:.0f} times cheaper to fork; {alike}.")
    small = some(rows, via="fork", pages="4 KiB")
    floor = min(column(small, "call_us_p50"))
    doubled = crossing(column(small, "rss"), column(small, "call_us_p50"), [2 * floor] * len(small))
    figures["4 KiB: MiB where the call has doubled"] = doubled and doubled / MIB
    if doubled is not None:
        words.append(f"Below {size(doubled)} the pages are less than half of it: the rest is what any fork costs.")
    return Answer(name="fork_rss", question=QUESTION, words=tuple(words), figures=figures, rows=rows)


def _named(pages: str) -> str:
    return pages if pages == "THP" else f"{pages} pages"


def _us(figures: dict[str, float | None], pages: str) -> str:
    return duration(figures[f"{pages}: call_us of 4 GiB"] or 0.0)
