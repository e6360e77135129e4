"""Counts and instants that remember how they came about, so that one run of the simulation stands for many.

A trace runs the simulation once, for one representative parent. Its counts are `Count`s: expressions in the parent's
attributes. Its times are `Moment`s: sums of charges. Whatever the run asks of them (who comes first, how long was that
CPU idle, are there other threads) is answered for the representative and kept as a guard: every parent that gives the
same answers takes the same path, and its times are the same sums over its own counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = dict[tuple[str, int], float]
"""Coefficient by (cost, column): a linear form in price × column. The cost FREE has the price 1."""
FREE = ""
"""Stands for no cost: the column itself counts, as a number or as nanoseconds."""
TIE_NS = 1e-6
"""Instants closer than this are one; rounding of a day in ns is far below."""

_UFUNCS: dict[str, Any] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.true_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


class Columns:
    """Expressions over a parent's attributes, each kept once whatever trace made it."""

    def __init__(self) -> None:
        self._nodes: list[tuple[str, tuple[Any, ...]]] = []
        self._index: dict[tuple[Any, ...], int] = {}
        self._orders: dict[tuple[int, ...], list[int]] = {}
        self.one = self.node("const", 1.0)

    def node(self, operation: str, *arguments: Any) -> int:
        """Number of an expression: `const` VALUE, `input` NAME, or an operation on two other expressions."""
        key = (operation, *arguments)
        found = self._index.get(key)
        if found is None:
            found = self._index[key] = len(self._nodes)
            self._nodes.append((operation, arguments))
        return found

    def rows(self, wanted: Sequence[int], inputs: Mapping[str, Array], points: int) -> Array:
        """Values of expressions, (len(wanted), points), for the attributes of so many parents."""
        known: dict[int, Any] = {}
        for index in self._needed(wanted):
            operation, arguments = self._nodes[index]
            if operation == "const":
                known[index] = arguments[0]
            elif operation == "input":
                known[index] = inputs[arguments[0]]
            else:
                known[index] = _UFUNCS[operation](known[arguments[0]], known[arguments[1]])
        found = np.empty((len(wanted), points))
        for row, index in enumerate(wanted):
            found[row] = known[index]
        return found

    def inputs(self, wanted: Sequence[int]) -> frozenset[str]:
        """Names of the attributes that some expressions are made of."""
        nodes = [self._nodes[index] for index in self._needed(wanted)]
        return frozenset(arguments[0] for operation, arguments in nodes if operation == "input")

    def _needed(self, wanted: Sequence[int]) -> list[int]:
        """The expressions and all that they are made of; what is made comes after what it is made of."""
        known = self._orders.get(tuple(wanted))
        if known is not None:
            return known
        needed: set[int] = set()
        left = list(wanted)
        while left:
            index = left.pop()
            if index not in needed:
                needed.add(index)
                operation, arguments = self._nodes[index]
                left += arguments if operation in _UFUNCS else ()
        return self._orders.setdefault(tuple(wanted), sorted(needed))


@dataclass(frozen=True, slots=True)
class Guard:
    """A linear form whose sign (-1, 0 or 1) a parent must share to take a path."""

    weights: Weights
    sign: int


class Trace:
    """What one run left behind: its charges, and what it asked.

    Attributes:
        columns: the expressions, shared between traces.
        terms, guards: cost, count and price of each charge; what was asked, by what it was asked of.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.terms: list[tuple[str, Count | float, float]] = []
        self.guards: dict[Any, Guard] = {}

    def charge(self, cost: str, price: float, count: Count | float) -> Moment:
        """The time that one charge takes."""
        self.terms.append((cost, count, price))
        value = count.value if isinstance(count, Count) else count
        return Moment(self, {len(self.terms) - 1: 1}, 0.0, price * value)

    def weights(self, moment: Moment) -> Weights:
        """The linear form behind a moment; its constant part, which no cost prices, is under FREE."""
        found: Weights = {}
        for term, times in moment.terms.items():
            cost, count, _ = self.terms[term]
            node, factor = (count.node, 1.0) if isinstance(count, Count) else (self.columns.one, float(count))
            found[cost, node] = found.get((cost, node), 0.0) + times * factor
        if moment.constant:
            found[FREE, self.columns.one] = moment.constant
        return found

    def sign(self, moment: Moment) -> int:
        """Sign of a difference of instants; what does not follow from its form becomes a guard."""
        terms = {term: times for term, times in moment.terms.items() if self.terms[term][2] > 0.0}
        if not terms:
            return _sign(moment.constant)
        signs = {times > 0 for times in terms.values()}
        if moment.constant:
            signs.add(moment.constant > 0)
        if len(signs) == 1 and any(not isinstance(self.terms[term][1], Count) for term in terms):
            return 1 if signs.pop() else -1
        key = (frozenset(terms.items()), moment.constant)
        if key not in self.guards:
            self.guards[key] = Guard(self.weights(moment), _sign(moment.value))
        return self.guards[key].sign

    def sign_of_count(self, count: Count) -> int:
        """Sign of a difference of counts, as a guard."""
        sign = _sign(count.value)
        self.guards.setdefault(count.node, Guard({(FREE, count.node): 1.0}, sign))
        return sign


def _sign(value: float) -> int:
    return 0 if abs(value) <= TIE_NS else 1 if value > 0 else -1


class Count:
    """An expression in the attributes of a parent: what a count function makes of them.

    Attributes:
        trace, node: whose run it belongs to, its number among the columns.
        value, low: for the representative parent; no parent's is less.
    """

    __slots__ = ("low", "node", "trace", "value")

    def __init__(self, trace: Trace, node: int, value: float, low: float) -> None:
        self.trace, self.node, self.value, self.low = trace, node, value, low

    def _with(self, operation: str, left: Count | float, right: Count | float, low: float) -> Count:
        values = [each.value if isinstance(each, Count) else float(each) for each in (left, right)]
        columns = self.trace.columns
        nodes = [each.node if isinstance(each, Count) else columns.node("const", float(each)) for each in (left, right)]
        return Count(self.trace, columns.node(operation, *nodes), float(_UFUNCS[operation](*values)), low)

    def __add__(self, other: Count | float) -> Count:
        return self._with("add", self, other, self.low + _low(other)) if isinstance(other, Count) or other else self

    __radd__ = __add__

    def __sub__(self, other: Count | float) -> Count | float:
        if isinstance(other, Count):
            return self._with("subtract", self, other, -np.inf)
        if other == np.inf:
            return -np.inf
        return self._with("subtract", self, other, self.low - other) if other else self

    def __rsub__(self, other: float) -> Count:
        return self._with("subtract", other, self, -np.inf)

    def __mul__(self, other: Count | float) -> Count | float:
        if not isinstance(other, Count) and other in (0, 1):
            return self if other else 0.0
        low = self.low * _low(other) if self.low >= 0 and _low(other) >= 0 else -np.inf
        return self._with("multiply", self, other, low)

    __rmul__ = __mul__

    def __truediv__(self, other: Count | float) -> Count | float:
        if not isinstance(other, Count) and other == np.inf:
            return 0.0
        return self._with("divide", self, other, 0.0 if self.low >= 0 and _low(other) >= 0 else -np.inf)

    def __rtruediv__(self, other: float) -> Count | float:
        if other == np.inf:
            return np.inf
        return self._with("divide", other, self, 0.0 if other >= 0 and self.low >= 0 else -np.inf)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Count | float, **more: Any) -> Any:
        """numpy's maximum and minimum, which count functions use in place of branches."""
        if method != "__call__" or more or ufunc not in (np.maximum, np.minimum):
            return NotImplemented
        lows = [_low(each) for each in inputs]
        low = max(lows) if ufunc is np.maximum else min(lows)
        return self._with(ufunc.__name__, inputs[0], inputs[1], low)

    def _against(self, other: Count | float) -> int:
        difference = self - other
        if not isinstance(difference, Count):
            return _sign(difference)
        return 1 if difference.low > 0 else self.trace.sign_of_count(difference)

    def __lt__(self, other: Count | float) -> bool:
        if not isinstance(other, Count) and self.low >= other:
            return False
        return self._against(other) < 0

    def __ge__(self, other: Count | float) -> bool:
        return not self < other

    def __gt__(self, other: Count | float) -> bool:
        return self._against(other) > 0

    def __le__(self, other: Count | float) -> bool:
        return not self > other

    def __bool__(self) -> bool:
        return self.low > 0 or self.trace.sign_of_count(self) != 0


def _low(value: Count | float) -> float:
    return value.low if isinstance(value, Count) else float(value)


class Moment:
    """An instant, or a time between two, as a sum of charges: exact, so that instants are equal only if they are one.

    Attributes:
        trace: whose run it belongs to.
        terms: how often each charge of the trace is in it.
        constant, value: nanoseconds that no charge accounts for: sleep; ns for the representative parent.
    """

    __slots__ = ("constant", "terms", "trace", "value")

    def __init__(self, trace: Trace, terms: dict[int, int], constant: float, value: float) -> None:
        self.trace, self.terms, self.constant, self.value = trace, terms, constant, value

    def _plus(self, other: Moment | float, times: int) -> Moment:
        if not isinstance(other, Moment):
            return Moment(self.trace, self.terms, self.constant + times * other, self.value + times * other)
        terms = dict(self.terms)
        for term, often in other.terms.items():
            left = terms.get(term, 0) + times * often
            if left:
                terms[term] = left
            else:
                del terms[term]
        constant = self.constant + times * other.constant
        return Moment(self.trace, terms, constant, self.value + times * other.value)

    def __add__(self, other: Moment | float) -> Moment:
        return self._plus(other, 1)

    __radd__ = __add__

    def __sub__(self, other: Moment | float) -> Moment:
        return self._plus(other, -1)

    def __rsub__(self, other: float) -> Moment:
        return Moment(self.trace, {}, float(other), float(other))._plus(self, -1)

    def __truediv__(self, other: Moment) -> float:
        """The share of an entry that a preemption cut; only entries bear it, and a trace does not read them."""
        return self.value / other.value

    def __eq__(self, other: object) -> bool:
        return self.trace.sign(self - other) == 0 if isinstance(other, Moment | float | int) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: Moment | float) -> bool:
        return self.trace.sign(self - other) < 0

    def __gt__(self, other: Moment | float) -> bool:
        return self.trace.sign(self - other) > 0

    def __le__(self, other: Moment | float) -> bool:
        return not self > other

    def __ge__(self, other: Moment | float) -> bool:
        return not self < other
