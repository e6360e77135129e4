"""Every coefficient of the model, declared once: what it is, per what, what it stands for, which bench prices it.

Meaning lives here, numbers live in `calibration/machines/*.toml`. Steps that always occur together are one cost; a cost
is split only where two benches tell the parts apart by more than the noise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.cost_list import KERNEL_LEVEL, USER_LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSpec:
    """Declaration of one cost or latency.

    Attributes:
        name: identifier; also the key in the machine file.
        per: the unit that is counted.
        stands_for: the steps that the price covers, as `file:function@version` where they are kernel or libc steps.
        bench: the bench whose rows identify it; empty if it is assumed.
        assumed: source of an assumed price; empty if a bench identifies it.
        assumed_as: (cost, factor) that an assumed price is tied to.
        otherwise: (cost, factor) to go by where a machine file is older than the bench; None: it must have the price.
        latency: whether it is a latency (no task works it off).
        user: whether it is worked off mostly in user code.
    """

    name: str
    per: str
    stands_for: str
    bench: str = ""
    assumed: str = ""
    assumed_as: tuple[str, float] | None = None
    otherwise: tuple[str, float] | None = None
    latency: bool = False
    user: bool = False

    def __post_init__(self) -> None:
        if not (self.name and self.per and self.stands_for):
            raise ValueError(f"cost {self.name!r}: name, per and stands_for are needed")
        if bool(self.bench) == bool(self.assumed):
            raise ValueError(f"cost {self.name!r}: either a bench identifies it, or it is assumed with a source")
        if self.assumed and self.assumed_as is None:
            raise ValueError(f"cost {self.name!r}: an assumed price is tied to a measured one")


_HEAD = re.compile(
    r"(?P<name>\w+) \((?P<per>.+)\)(?P<latency> latency)?"
    r"(?: by (?P<bench>[\w/]+)(?: else (?P<stands_in>[\d.]+) × (?P<like>\w+))?"
    r"| assumed (?P<factor>[\d.]+) × (?P<tied>\w+))"
)


def _parse(text: str, *, user: bool) -> Iterator[CostSpec]:
    """The specs of one block of the list: a head line each, its indented lines below."""
    head: re.Match[str] | None = None
    body: list[str] = []
    for line in [*text.strip().splitlines(), "end"]:
        if line.startswith(" "):
            body.append(line.strip())
            continue
        if head is not None:
            yield _spec(head, body, user)
        head, body = _HEAD.fullmatch(line), []
        if head is None and line != "end":
            raise ValueError(f"not the head of a cost: {line!r}")


def _spec(head: re.Match[str], body: list[str], user: bool) -> CostSpec:
    meaning, _, source = " ".join(body).partition(" Source: ")
    tied, like = head["tied"], head["like"]
    return CostSpec(
        name=head["name"],
        per=head["per"],
        stands_for=meaning,
        bench=head["bench"] or "",
        assumed=source,
        assumed_as=(tied, float(head["factor"])) if tied else None,
        otherwise=(like, float(head["stands_in"])) if like else None,
        latency=bool(head["latency"]),
        user=user,
    )


def _declare() -> dict[str, CostSpec]:
    blocks = [(text, False) for text in KERNEL_LEVEL] + [(text, True) for text in USER_LEVEL]
    specs: dict[str, CostSpec] = {}
    for text, user in blocks:
        for spec in _parse(text, user=user):
            if spec.name in specs:
                raise ValueError(f"cost {spec.name!r} is declared twice")
            specs[spec.name] = spec
    return specs


COSTS: Mapping[str, CostSpec] = _declare()


class MissingCost(KeyError):
    """A scenario needs a price that the machine file does not have."""


class Prices(dict[str, float]):
    """Prices in ns by cost; one that is assumed, or that an old file lacks, is worked out when first asked for."""

    def __missing__(self, name: str) -> float:
        tied = COSTS[name].assumed_as or COSTS[name].otherwise
        if tied is None:
            raise MissingCost(name)
        found = self[name] = self[tied[0]] * tied[1]
        return found


@dataclass(frozen=True)
class CostTable:
    """Prices in nanoseconds with their covariance, as the fit left them.

    Attributes:
        ns: price of each cost.
        names: order of the rows and columns of `covariance`.
        covariance: (n, n) array in ns²; zero for prices without a known error.
        inherited: names of prices that another machine's file supplied.
    """

    ns: Mapping[str, float]
    names: tuple[str, ...] = ()
    covariance: NDArray[np.float64] | None = None
    inherited: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, price in self.ns.items():
            if not price >= 0.0 or price == float("inf"):
                raise ValueError(f"price of {name} is {price}: it must be finite and not negative")

    @cached_property
    def prices(self) -> Prices:
        """The same prices as a mapping that finds assumed ones too: what every charge looks up."""
        return Prices(self.ns)

    @cached_property
    def _rows(self) -> Mapping[str, int]:
        """Row of the covariance, by cost."""
        return {name: row for row, name in enumerate(self.names)}

    def price(self, name: str) -> float:
        """Price of one unit in ns; `MissingCost` if the table has none, `KeyError` if no such cost is declared."""
        return self.prices[name]

    def stderr_ns(self, counts: Mapping[str, float]) -> float:
        """Standard error in ns of a bill with these counts: the root of counts × covariance × counts."""
        if self.covariance is None or not self.names:
            return 0.0
        vector = np.zeros(len(self.names))
        for name, count in fold_assumed(counts, known=self.ns).items():
            if name in self._rows:
                vector[self._rows[name]] = count
        return math.sqrt(max(0.0, float(vector @ self.covariance @ vector)))


def fold_assumed(counts: Mapping[str, float], known: Container[str] | None = None) -> dict[str, float]:
    """Counts with assumed costs folded into the measured ones that they are tied to.

    With `known`, what a file has prices of, also those that it lacks into what stands in for them.
    """
    folded: dict[str, float] = {}
    for name, count in counts.items():
        spec = COSTS[name]
        while tied := spec.assumed_as or (spec.otherwise if known is not None and name not in known else None):
            name, factor = tied
            count *= factor
            spec = COSTS[name]
        folded[name] = folded.get(name, 0.0) + count
    return folded
