"""fork against the number of mappings."""

from __future__ import annotations

from experiments.headline import duration
from experiments.questions.asking import Answer, column, crossing, slope, some, swept
from experiments.sweep_spec import Sweep

QUESTION = "What does a fork cost by the number of vmas, and from how many on are they most of it?"
SWEEP = Sweep(
    name="fork_vmas",
    base={"exec": "none", "via": ["fork", "vfork"]},
    axes={"rss": ["256MiB", "4GiB"], "vmas": [1 << exponent for exponent in range(16)]},
)


def answer(machine: str) -> Answer:
    """Price of a vma, and where vmas double the call."""
    rows = swept(SWEEP, machine)
    figures: dict[str, float | None] = {}
    words = []
    for rss, name in ((1 << 28, "256 MiB"), (1 << 32, "4 GiB")):
        mine = some(rows, via="fork", rss=rss)
        vmas, call_us = column(mine, "vmas"), column(mine, "call_us_p50")
        each_us = slope(vmas[-6:], call_us[-6:])
        doubled = crossing(vmas, call_us, [2 * call_us[0]] * len(vmas))
        figures[f"{name}: us a vma"], figures[f"{name}: vmas that double the call"] = each_us, doubled
        where = f"{doubled:,.0f} vmas double it" if doubled else f"{vmas[-1]:,.0f} vmas do not double it"
        words.append(f"With {name} in one vma a fork returns after {duration(call_us[0])}; {where}.")
        words.append(f"A thousand vmas more cost {duration(1000 * each_us)}, page tables that they need included.")
    calls = column(some(rows, via="vfork"), "call_us_p50")
    figures["vfork: largest over least"] = max(calls) / min(calls)
    words.append(f"The calls of vfork differ by {max(calls) / min(calls) - 1:.1%} over the whole range.")
    return Answer(name="fork_vmas", question=QUESTION, words=tuple(words), figures=figures, rows=rows)
