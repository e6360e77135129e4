"""What a program's libraries and relocations cost its start."""

from __future__ import annotations

from experiments.headline import duration
from experiments.questions.asking import Answer, column, slope, some, swept
from experiments.sweep_spec import Sweep

QUESTION = "What does a library add to the start of a program, by its symbol look-ups and relocations?"
LOOKUPS, RELOCATIONS = [20, 2000], [500, 5000]
SWEEP = Sweep(
    name="libraries",
    base={"rss": "16MiB", "exec": "/bin/true", "via": ["posix_spawn"]},
    axes={
        "target.library_lookups": LOOKUPS,
        "target.library_relocations": RELOCATIONS,
        "target.libraries": [1, 2, 4, 8, 16, 32, 64, 128],
    },
)


def answer(machine: str) -> Answer:
    """Time to main a library, by what is in it."""
    rows = swept(SWEEP, machine)
    figures: dict[str, float | None] = {}
    words = []
    for lookups in LOOKUPS:
        for relocations in RELOCATIONS:
            mine = some(rows, target__library_lookups=lookups, target__library_relocations=relocations)
            few = [row for row in mine if row["target.libraries"] <= 32]
            each_us = slope(column(few, "target.libraries"), column(few, "main_us_p50"))
            figures[f"{lookups} look-ups, {relocations} relocations: us a library"] = each_us
            words.append(
                f"A library with {lookups:,} look-ups and {relocations:,} relocations adds {duration(each_us)} to main."
            )
    least, most = (
        column(some(rows, target__library_lookups=lookups, target__library_relocations=500), "main_us_p50")[-1]
        for lookups in LOOKUPS
    )
    figures["128 libraries: main_us of many look-ups over few"] = most / least
    words.append(f"With 128 libraries, a hundredfold of look-ups makes the start {most / least:.1f} times as long.")
    return Answer(name="libraries", question=QUESTION, words=tuple(words), figures=figures, rows=rows)
