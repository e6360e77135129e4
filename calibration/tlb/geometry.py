"""What the TLB benches say about this machine: geometry, cost of a refill, what a flush and a switch empty."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from calibration.tlb.chases import Chase, Estimate, fit_chase, quiet_ns, stderr_of, with_errors
from calibration.tlb.runs import LINES, REFILLS, SWITCHES, TlbRuns

BOOTSTRAPS = 40
_TELLING = 0.2
"""A flush that costs less than this share of an undisturbed pass tells nothing about what it emptied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the benches say about this machine's TLB; None: could not be told.

    Attributes:
        small, huge: chases over 4 KiB and 2 MiB pages.
        refill_ns: additional cost of each page after a full flush, as long as all have room.
        page_flush_empties: share of the TLB that goes with a flush of a single page.
        fractured: share of 2 MiB mappings that are held in 4 KiB pieces.
        pcid_keeps: share of translations that a switch to another address space and back leaves.
        cache_ns: a reference that the second-level cache answers.
        rounds_ns: by running threads, what a flush of one page waits for the others.
        victim_ns: what it takes from a running thread.
    """

    small: Chase
    huge: Chase | None
    refill_ns: Estimate | None
    page_flush_empties: Estimate | None
    fractured: float | None
    pcid_keeps: Estimate | None
    cache_ns: float | None
    rounds_ns: Mapping[int, float]
    victim_ns: float | None

    @property
    def facts(self) -> dict[str, float]:
        """The facts of a machine file that `model.hardware.tlb.tlb_of` reads."""
        facts = {
            "tlb_first_entries": self.small.first.entries.value,
            "tlb_entries": self.small.second.entries.value if self.small.second else None,
            "tlb_first_huge_entries": self.huge.first.entries.value if self.huge else None,
            "tlb_fractured": float(self.fractured > 0.5) if self.fractured is not None else None,
            "tlb_page_flush_empties": self.page_flush_empties.value if self.page_flush_empties else None,
            "tlb_asids": 1.0 if self.pcid_keeps and self.pcid_keeps.value < 0.5 else None,
        }
        return {name: value for name, value in facts.items() if value is not None}


def fit_geometry(runs: TlbRuns, *, bootstraps: int = BOOTSTRAPS, seed: int = 0) -> Found | None:
    """What a measurement says; None if it has no chase over 4 KiB pages. Deterministic for a seed."""
    small = fit_chase(runs, huge=False)
    if small is None:
        return None
    dice = random.Random(seed)
    drawn = [_drawn(runs, dice) for _ in range(bootstraps)]
    huge = fit_chase(runs, huge=True)
    return Found(
        small=with_errors(small, [fit_chase(each, huge=False, like=small) for each in drawn]),
        huge=huge and with_errors(huge, [fit_chase(each, huge=True, like=huge) for each in drawn]),
        refill_ns=_estimated(lambda each: _refill_ns(each, (small.second or small.first).entries.value), runs, drawn),
        page_flush_empties=_estimated(_page_flush_empties, runs, drawn),
        fractured=_fractured(runs),
        pcid_keeps=_estimated(_pcid_keeps, runs, drawn),
        cache_ns=_or_none(quiet_ns(runs.find("tlb_chase", pages=4096, packed=""))),
        rounds_ns=_rounds_ns(runs),
        victim_ns=_victim_ns(runs),
    )


def _drawn(runs: TlbRuns, dice: random.Random) -> TlbRuns:
    """A resample of the processes of each row."""
    rows = tuple(replace(row, ns=tuple(dice.choices(row.ns, k=len(row.ns)))) for row in runs.rows)
    return replace(runs, rows=rows)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _estimated(of: Callable[[TlbRuns], float | None], runs: TlbRuns, drawn: Sequence[TlbRuns]) -> Estimate | None:
    value = of(runs)
    others = [each for each in map(of, drawn) if each is not None]
    return None if value is None else Estimate(value, stderr_of(others))


def _flush_costs(runs: TlbRuns, pages: int) -> tuple[float, float, float]:
    """Cost of each page after a full flush and after one of a page, beyond a pass without flush; and that pass."""
    none = quiet_ns(runs.find("tlb_refill", pages=pages, flush="none"))
    full, page = (quiet_ns(runs.find("tlb_refill", pages=pages, flush=how)) - none for how in ("full", "page"))
    return full, page, none


def _refill_ns(runs: TlbRuns, entries: float) -> float | None:
    pages = [n for n in REFILLS if 64 <= n <= entries / 2]
    found = [quiet_ns(runs.find("tlb_refill", pages=n, flush="full", extra="")) for n in pages]
    found = [each for each in found if not math.isnan(each)]
    return median(found) if found else None


def _page_flush_empties(runs: TlbRuns) -> float | None:
    shares = []
    for pages in REFILLS:
        full, page, none = _flush_costs(runs, pages)
        if full > _TELLING * none and not math.isnan(page):
            shares.append(page / full)
    return min(1.0, max(0.0, median(shares))) if shares else None


def _fractured(runs: TlbRuns) -> float | None:
    """Chases over 16 huge pages with more lines than the first level has entries, between packed and 4 KiB ones."""
    shares = []
    for lines in LINES:
        pieces = quiet_ns(runs.find("tlb_chase", pages=16, lines=lines, huge=""))
        packed, small = (quiet_ns(runs.find("tlb_chase", pages=16 * lines, packed=each)) for each in ("", None))
        if lines > 1 and small > (1.0 + _TELLING) * packed and 16 * lines <= 1024:
            shares.append((pieces - packed) / (small - packed))
    shares = [each for each in shares if not math.isnan(each)]
    return min(1.0, max(0.0, median(shares))) if shares else None


def _pcid_keeps(runs: TlbRuns) -> float | None:
    """A pass after another address space made one, against a thread of the same: what the other mm itself costs."""
    shares = []
    for pages in SWITCHES:
        thread, process = (
            quiet_ns(runs.find("tlb_switch", pages=pages, partner_pages=pages, partner=who))
            for who in ("thread", "process")
        )
        full = _flush_costs(runs, pages)[0]
        if full > 0.0 and not math.isnan(process - thread):
            shares.append(1.0 - (process - thread) / full)
    return min(1.0, max(0.0, median(shares))) if shares else None


def _victim_ns(runs: TlbRuns) -> float | None:
    row = runs.find("shootdown", running=1, victim="", n=100, reps=5)
    return median(row.ns) if row is not None and row.ns else None


def _rounds_ns(runs: TlbRuns) -> dict[int, float]:
    rows = [row for row in runs.rows if row.bench == "shootdown" and set(dict(row.args)) == {"running"}]
    quiet = {int(row.option("running") or 0): quiet_ns(row) for row in rows}
    return {running: ns - quiet[0] for running, ns in sorted(quiet.items()) if running and 0 in quiet}
