"""A store that forks to write its snapshot, under write load."""

from __future__ import annotations

from calibration.capture.parent_file import read_parent
from experiments.headline import duration, size
from experiments.questions.asking import Answer, Row, column, crossing, some, under_load
from experiments.scenarios import adjusted
from model.process import Process
from model.scenario import Load, Mutators
from model.units import NS_PER_S, NS_PER_US, PAGE_BYTES
from model.userland.working_set import mutable_pages

QUESTION = "What does a snapshot cost a store of 1 GiB under write load: memory, stalls, throughput?"
LIFE_S = 5.0
"""Writing about 1 GiB to a disk of 200 MB/s."""
RATES = (1e3, 1e4, 1e5, 1e6)
LOCALITIES = ("uniform", "zipf")


def answer(machine: str) -> Answer:
    """Growth, stalls and lost writes by rate and locality, with THP off and on."""
    parent = read_parent("redis-1g")
    rows = [
        _row(adjusted(parent, thp=thp), thp, locality, rate, machine)
        for thp in ("off", "on")
        for locality in LOCALITIES
        for rate in RATES
    ]
    figures: dict[str, float | None] = {}
    words = []
    for locality in LOCALITIES:
        for row in some(rows, thp="off", locality=locality):
            figures[f"{locality}, {row['writes_per_second']:g} writes/s: growth"] = row["growth"]
            figures[f"{locality}, {row['writes_per_second']:g} writes/s: p99 stall_us"] = row["p99_us"]
        middle = some(rows, thp="off", locality=locality, writes_per_second=1e5)[0]
        words.append(
            f"At 100,000 {locality} writes a second memory grows by {size(middle['peak_bytes'])} "
            f"({middle['growth']:.0%}), a stalled write waits {duration(middle['p99_us'])} at p99, "
            f"{middle['lost_share']:.1%} of the writes are lost."
        )
    half = _rate_of_half(some(rows, thp="off", locality="uniform"))
    figures["uniform: writes a second that grow it by half"] = half
    if half is not None:
        words.append(f"From {half:,.0f} uniform writes a second on, a snapshot of {LIFE_S:g} s grows memory by half.")
    worst = {thp: max(column(some(rows, thp=thp), "longest_us")) for thp in ("off", "on")}
    figures |= {f"THP {thp}: longest stall_us": each for thp, each in worst.items()}
    words.append(f"The longest stall is {duration(worst['off'])} without THP and {duration(worst['on'])} with it.")
    return Answer(name="snapshot", question=QUESTION, words=tuple(words), figures=figures, rows=rows)


def _rate_of_half(rows: list[Row]) -> float | None:
    return crossing(column(rows, "writes_per_second"), column(rows, "growth"), [0.5] * len(rows))


def _row(parent: Process, thp: str, locality: str, rate: float, machine: str) -> Row:
    pages = mutable_pages(parent.space)
    mutators = Mutators(writes_per_second=rate, locality=locality, working_set_pages=pages)  # type: ignore[arg-type]
    load = Load(child_lifetime_ns=LIFE_S * NS_PER_S, mutators=(mutators,))
    _, after = under_load(parent, load, machine)
    return {
        "thp": thp,
        "locality": locality,
        "writes_per_second": rate,
        "growth": after.peak_pages / pages,
        "peak_bytes": after.peak_pages * PAGE_BYTES,
        "p99_us": after.stall.p99_ns / NS_PER_US,
        "longest_us": after.stall.longest_ns / NS_PER_US,
        "lost_share": after.lost_share,
    }
