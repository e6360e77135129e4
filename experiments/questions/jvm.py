"""A JVM starts a program: heap, THP, launch mechanism, threads."""

from __future__ import annotations

from experiments.headline import duration, size
from experiments.questions.asking import GIB, MIB, Answer, column, crossing, one, some, swept
from experiments.sweep_spec import Sweep

QUESTION = "What does ProcessBuilder.start() cost by heap, transparent huge pages, launch mechanism and threads?"
HEAPS = [f"{1 << exponent}MiB" for exponent in range(7, 17)]
SWEEP = Sweep(
    name="jvm",
    base={"parent": "jvm-4g", "via": ["jdk-fork", "jdk-vfork", "jdk-posix_spawn"]},
    axes={"parent.threads": [40, 1000], "parent.huge": [0.0, 1.0], "parent.resident": HEAPS},
)
PAGES = {0.0: "4 KiB pages", 1.0: "THP"}


def answer(machine: str) -> Answer:
    """Calls at 4 GiB, and the heap from which FORK is the slowest."""
    rows = swept(SWEEP, machine)
    figures: dict[str, float | None] = {}
    words = []
    for huge, pages in PAGES.items():
        at = {"parent__huge": huge, "parent__threads": 40, "parent__resident": int(4 * GIB)}
        calls = {via: one(rows, "call_us_p50", via=via, **at) for via in SWEEP.mechanisms}
        figures |= {f"{via}, {pages}: call_us of 4 GiB": call_us for via, call_us in calls.items()}
        told = ", ".join(f"{via.removeprefix('jdk-').upper()} {duration(each)}" for via, each in calls.items())
        words.append(f"With a heap of 4 GiB in {pages}: {told}.")
        mine, other = (
            some(rows, via=via, parent__huge=huge, parent__threads=40) for via in ("jdk-fork", "jdk-posix_spawn")
        )
        heaps = column(mine, "parent.resident")
        found = crossing(heaps, column(mine, "call_us_p50"), column(other, "call_us_p50"))
        figures[f"{pages}: MiB from which POSIX_SPAWN is faster"] = found and found / MIB
        where = "at no heap of the range" if found is None else f"from {size(found)} on"
        words.append(f"In {pages} POSIX_SPAWN returns sooner than FORK {where} (asked: {SIZES_WORDS}).")
    few, many = (
        one(
            rows,
            "call_us_p50",
            via="jdk-fork",
            parent__huge=0.0,
            parent__threads=threads,
            parent__resident=int(4 * GIB),
        )
        for threads in (40, 1000)
    )
    figures["FORK: call_us of 1000 threads over 40"] = many / few
    words.append(
        f"A thousand threads instead of 40 change FORK's call of 4 GiB in 4 KiB pages by {many / few - 1:+.0%}."
    )
    return Answer(name="jvm", question=QUESTION, words=tuple(words), figures=figures, rows=rows)


SIZES_WORDS = f"{size(128 * MIB)} to {size(64 * GIB)}"
