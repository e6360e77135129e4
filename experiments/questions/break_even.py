"""When vfork or posix_spawn wins: the break-even surface over memory and vmas."""

from __future__ import annotations

from experiments.headline import size
from experiments.questions.asking import MIB, Answer, column, crossing, some, swept
from experiments.sweep_spec import Sweep

QUESTION = "From which memory on is vfork or posix_spawn better than fork, by the number of vmas?"
VMAS = [1, 10, 100, 1000]
SWEEP = Sweep(
    name="break_even",
    base={"via": ["fork", "vfork", "posix_spawn"], "thp": "off"},
    axes={"vmas": VMAS, "rss": [4096 << exponent for exponent in range(5, 24)]},
)
MILESTONES = {"call": "until the call returns", "reaped": "until the child is reaped"}


def answer(machine: str) -> Answer:
    """Memory at which fork becomes the slower one, for every number of vmas and both ends."""
    rows = swept(SWEEP, machine)
    figures: dict[str, float | None] = {}
    words = []
    for milestone, until in MILESTONES.items():
        for via in ("vfork", "posix_spawn"):
            for vmas in VMAS:
                mine, other = some(rows, via="fork", vmas=vmas), some(rows, via=via, vmas=vmas)
                name = f"{milestone}_us_p50"
                found = crossing(column(mine, "rss"), column(mine, name), column(other, name))
                figures[f"{via}, {milestone}, {vmas} vmas: MiB"] = found and found / MIB
            words.append(f"{via} {_words(figures, via, milestone)}, {until}.")
    words.append("The call of vfork waits for the child's exec, that of fork does not; the whole waits in both.")
    return Answer(name="break_even", question=QUESTION, words=tuple(words), figures=figures, rows=rows)


def _words(figures: dict[str, float | None], via: str, milestone: str) -> str:
    least = SWEEP.axes["rss"][0]
    parts = []
    for vmas in (VMAS[0], VMAS[-1]):
        found = figures[f"{via}, {milestone}, {vmas} vmas: MiB"]
        if found is None:
            where = "nowhere in the range"
        else:
            where = (
                f"from {size(found * MIB)} on" if found * MIB > least else f"from the least asked ({size(least)}) on"
            )
        parts.append(f"with {vmas:,} vma{'s' * (vmas > 1)} {where}")
    return f"is faster than fork {' and '.join(parts)}"
