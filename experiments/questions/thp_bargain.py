"""The THP bargain: a cheaper fork against dearer writes while the child lives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from calibration.capture.synthetic import synthetic_parent
from experiments.headline import duration
from experiments.questions.asking import GIB, Answer, Row, column, crossing, some, under_load
from model.process import Process
from model.scenario import Load, Mutators
from model.units import NS_PER_S, NS_PER_US, PAGE_BYTES

QUESTION = "From which write rate on do dearer writes eat up what THP spares a fork, by the life of the child?"
RSS = int(GIB)
LIVES_S = (0.01, 0.1, 1.0, 10.0)
RATES = (1e3, 1e4, 1e5, 1e6)
THREADS = 4
CLEAR = 1.02
"""A cost so many times another is larger: batches of writes tell smaller differences wrong."""


def answer(machine: str) -> Answer:
    """Fork plus stalled writes, with THP off and on, and the rate at which both cost the same."""
    dense = synthetic_parent(RSS, threads=1 + THREADS)
    parents = {"off": dense, "on": replace(dense, space=dense.space.with_thp(True))}
    rows = [
        _row(thp, parent, life_s, rate, machine)
        for life_s in LIVES_S
        for rate in RATES
        for thp, parent in parents.items()
    ]
    figures: dict[str, float | None] = {}
    words = []
    for life_s in LIVES_S:
        off, on = (some(rows, thp=thp, life_s=life_s) for thp in ("off", "on"))
        at, words_of_it = _where(column(on, "cost_us"), column(off, "cost_us"))
        figures[f"{life_s:g} s: writes a second up to which THP wins"] = at
        figures[f"{life_s:g} s: cost_us off over on, most writes"] = off[-1]["cost_us"] / on[-1]["cost_us"]
        words.append(f"A child that lives {duration(life_s * 1e6)}: THP wins {words_of_it}.")
    few, many = some(rows, thp="on", life_s=LIVES_S[-1])[0], some(rows, thp="on", life_s=LIVES_S[-1])[-1]
    figures["on: call_us"], figures["off: call_us"] = few["call_us_p50"], rows[0]["call_us_p50"]
    words.append(
        f"The fork of 1 GiB takes {duration(rows[0]['call_us_p50'])} without THP, {duration(few['call_us_p50'])} with; "
        f"at a million writes a second {THREADS} writers then stand still for {duration(many['stalled_us'])} in all: "
        f"a copy waits until the CPUs of the others have dropped the old entry ({many['ipis_a_copy']:.2g} IPIs each)."
    )
    return Answer(name="thp_bargain", question=QUESTION, words=tuple(words), figures=figures, rows=rows)


def _where(on_us: Sequence[float], off_us: Sequence[float]) -> tuple[float | None, str]:
    """From which rate on THP wins no more, None if it wins at the highest or nowhere; and where it wins, in words."""
    dearer_us = [CLEAR * each for each in on_us]
    wins = [on < off for on, off in zip(dearer_us, off_us, strict=True)]
    if not any(wins):
        return None, f"at no rate by more than {CLEAR - 1:.0%}"
    last = max(index for index, won in enumerate(wins) if won)
    at = crossing(RATES[last:], dearer_us[last:], off_us[last:])
    where = "at all rates up to a million writes a second" if at is None else f"up to {at:,.0f} writes a second"
    not_at = [f"{rate:,.0f}" for rate, won in zip(RATES[:last], wins, strict=False) if not won]
    but = f" (not at {', '.join(not_at)})" if not_at else ""
    lost = off_us[-1] * CLEAR < on_us[-1]
    beyond = "" if at is None else ", then loses" if lost else f", then neither does by more than {CLEAR - 1:.0%}"
    return at, where + but + beyond


def _row(thp: str, parent: Process, life_s: float, rate: float, machine: str) -> Row:
    mutators = Mutators(threads=THREADS, writes_per_second=rate, working_set_pages=RSS // PAGE_BYTES)
    load = Load(child_lifetime_ns=life_s * NS_PER_S, mutators=(mutators,))
    prediction, after = under_load(parent, load, machine)
    call_us = prediction.milestones["call"].p50_ns / NS_PER_US
    stalled_us = after.stall.count * after.stall.mean_ns / NS_PER_US
    return {
        "thp": thp,
        "life_s": life_s,
        "writes_per_second": rate,
        "call_us_p50": call_us,
        "stalled_us": stalled_us,
        "cost_us": call_us + stalled_us,
        "ipis_a_copy": after.ipis / after.cow_copies if after.cow_copies else 0.0,
        "peak_pages": after.peak_pages,
    }
