"""The same JVM under the rules of kernels from 4.18 to 6.18, at the prices of one machine file."""

from __future__ import annotations

from itertools import pairwise

from experiments.headline import duration
from experiments.questions.asking import Answer, one, swept
from experiments.sweep_spec import Sweep

QUESTION = "What changes for a JVM of 4 GiB from Linux 4.18 to 6.18, at the same price of each step?"
KERNELS = ["4.18", "4.19", "5.4", "5.10", "5.15", "6.1", "6.6", "6.8", "6.12", "6.18"]
SWEEP = Sweep(
    name="kernel_upgrade",
    base={"parent": "jvm-4g", "via": ["jdk-fork", "jdk-vfork", "jdk-posix_spawn"]},
    axes={"thp": ["off", "on"], "kernel": KERNELS},
)


def answer(machine: str) -> Answer:
    """Call by the oldest and the newest rules, and the release with the largest step."""
    rows = swept(SWEEP, machine)
    figures: dict[str, float | None] = {}
    words = []
    for via in SWEEP.mechanisms:
        for thp in ("off", "on"):
            calls = [one(rows, "call_us_p50", via=via, thp=thp, kernel=kernel) for kernel in KERNELS]
            figures[f"{via}, THP {thp}: call_us of 4.18"] = calls[0]
            figures[f"{via}, THP {thp}: call_us of 6.18"] = calls[-1]
            words.append(f"{via.removeprefix('jdk-').upper()}, THP {thp}: {_told(calls)}.")
    words.append("Only the rules differ: what a step costs on another kernel, a calibration there would have to tell.")
    return Answer(name="kernel_upgrade", question=QUESTION, words=tuple(words), figures=figures, rows=rows)


def _told(calls: list[float]) -> str:
    change = calls[-1] / calls[0] - 1
    if abs(change) < 0.005:
        return f"{duration(calls[0])} under all rules"
    steps = [abs(after - before) for before, after in pairwise(calls)]
    at = KERNELS[1 + steps.index(max(steps))]
    ends = f"{duration(calls[0])} by the rules of 4.18, {duration(calls[-1])} by those of 6.18"
    return f"{ends} ({change:+.0%}), the largest step at {at}"
