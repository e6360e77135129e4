"""Which stretches of a measurement were loud: somebody else's work beside it, as the drift probe tells."""

from __future__ import annotations

from collections.abc import Sequence

from calibration.quantiles import quantile

LOW = 0.2
"""Quantile of all probes that stands for a quiet host."""
FORK_FACTOR = 1.15
"""How far above it a small fork may be. It has two modes, a core of one's own and one shared with a busy neighbour: on
four AMD guests 36 to 42 us and 44 to 65 us (47 to 53 and 57 to 82 us on Zen 3), with next to nothing between them."""
CHASE_FACTOR = 1.5
"""The same of the pointer chase, which only sees the caches' neighbours and varies more."""


def loud(probes: Sequence[tuple[float, float]]) -> list[bool]:
    """Of each probe, a fork's call and one memory reference in ns, whether it is far above the low quantile of all."""
    fork_ns, chase_ns = (quantile((probe[index] for probe in probes), LOW) for index in (0, 1))
    return [probe[0] > FORK_FACTOR * fork_ns or probe[1] > CHASE_FACTOR * chase_ns for probe in probes]
