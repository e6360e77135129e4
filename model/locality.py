"""How many distinct pages a stream of writes reaches: closed forms by locality, no page is ever drawn.

A locality is a sum over classes of pages that are written equally often, so a working set of 64 GiB costs as much to
count as one of 64 KiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.units import PTRS_PER_TABLE

Locality = Literal["uniform", "zipf", "sequential"]
ZIPF_EXPONENT = 0.99
"""Popularity falls as rank^-0.99: the default of the YCSB generator (Cooper et al., SoCC 2010); assumed."""
_EXACT_RANKS = 64
_BIN_RATIO = 1.03
"""Beyond the first ranks, a class holds ranks whose popularity differs by at most 3 %."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Expected distinct pages of a working set of `pages` pages after a number of writes.

    uniform: every write goes to any page with the same chance. zipf: to the page of rank i in proportion to
    i^-ZIPF_EXPONENT, ranks strewn over the working set. sequential: to the next page, round and round, each of
    `streams` threads over a stretch of its own, from wherever it stands. `burst`: writes that a thread does at once.
    """

    locality: Locality
    pages: float
    streams: float = 1.0
    burst: float = 1.0

    def distinct(self, writes: float) -> float:
        """Expected distinct pages among `writes` writes: at most `writes`, at most `pages`."""
        if self.locality == "sequential" or self.pages <= 1.0:
            return min(writes, self.pages)
        if self.locality == "uniform":
            return -self.pages * float(np.expm1(writes * np.log1p(-1.0 / self.pages)))
        counts, logs = _zipf_classes(self.pages)
        return -float(counts @ np.expm1(writes * logs))

    def writes_for(self, distinct: float) -> float:
        """After how many writes so many distinct pages are expected; `distinct` is less than `pages`."""
        if self.locality == "sequential" or self.pages <= 1.0:
            return distinct
        low, high = 0.0, 1.0
        while self.distinct(high) < distinct:
            low, high = high, high * 2.0
        while high - low > 1e-9 * high:
            middle = (low + high) / 2.0
            low, high = (middle, high) if self.distinct(middle) < distinct else (low, middle)
        return high

    def begun(self, distinct: float) -> float:
        """Sequential streams that have written since: a burst of one stream comes before the first of the next."""
        if self.locality != "sequential":
            return 0.0
        return min(self.streams, distinct / self.burst)

    def spans(self, distinct: float, spans: float, pages_per_span: float = PTRS_PER_TABLE) -> float:
        """Expected number of `spans` spans of pages that hold at least one of `distinct` written pages.

        Strewn pages miss a span if they miss each of its pages. Pages in a row lie in one span more for each stream,
        whose first page may be anywhere in its span, than hold them.
        """
        share = min(1.0, distinct / self.pages) if self.pages else 0.0
        if self.locality == "sequential":
            begun = self.begun(distinct)
            return min(spans, begun + max(0.0, spans * share - begun / pages_per_span))
        return float(spans * (1.0 - (1.0 - share) ** pages_per_span))


@lru_cache(maxsize=32)
def _zipf_classes(pages: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pages of each class, and ln(1 - chance that a write goes to a given page of it)."""
    edges = [*range(1, min(_EXACT_RANKS, int(pages)) + 1)]
    while edges[-1] < pages + 1:
        edges.append(max(edges[-1] + 1, int(edges[-1] * _BIN_RATIO)))
    bounds = np.minimum(np.array(edges, dtype=float), pages + 1)
    counts = np.diff(bounds)
    power = 1.0 - ZIPF_EXPONENT
    masses = ((bounds[1:] - 0.5) ** power - (bounds[:-1] - 0.5) ** power) / power
    chance = np.minimum(masses / masses.sum() / counts, 1.0 - 1e-15)
    return counts, np.log1p(-chance)
