"""What could explain that predictions and measurements have moved apart: a price, a rule, or samples in a wrong row.

Each hypothesis is weighed by the squares that it removes. Its significance is that of a regression through the origin,
whose scatter is estimated from what it leaves over: where the samples are those of the calibration there is no noise,
and a price is found whose share is small everywhere; where they were taken anew it must stand out of their noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.rules import Rules, values_of

COST_TOLERANCE = 0.1
"""|ln| by which a price may move."""
SIGNIFICANT = 8.0
"""Standard errors from which a hypothesis is no accident: a hundred prices are tried on every check."""
ROUNDING = 1e-5
"""The machine file keeps five decimals of a residual."""
EXPLAINS, SHARP, ALIKE = 0.1, 0.98, 0.005
"""Share of the squares that a suspect must explain; from which it is the answer; within which two are the same."""
Array = NDArray[np.float64]
Kind = Literal["samples", "rule", "cost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCheck:
    """One observation now, against what the calibration left.

    Attributes:
        row, end: row of the plan, and the milestone that the interval ends at.
        measured_ns, predicted_ns: measured, and what the model says with the file's prices.
        residual, expected: ln(predicted / measured) now, and as the file has it.
        error: relative standard error of the difference of the two, from the scatter of the processes.
        allowed: how far they may lie apart.
        shares: share of each cost in the prediction.
    """

    row: str
    end: str
    measured_ns: float
    predicted_ns: float
    residual: float
    expected: float
    error: float
    allowed: float
    shares: Mapping[str, float]

    @property
    def name(self) -> str:
        """Row and interval, for tables."""
        return f"{self.row}:{self.end}"

    @property
    def moved(self) -> float:
        """How far the residual moved."""
        return self.residual - self.expected

    @property
    def deviates(self) -> bool:
        """Whether it moved further than allowed."""
        return abs(self.moved) > self.allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A hypothesis that explains what moved.

    Attributes:
        kind: a price that is wrong, a rule that is another one, or rows that hold the samples of others.
        name: the cost, `RULE=VALUE` as it would fit, or the rows.
        factor: of a cost: the price now ÷ the one that fits; else 1.
        explained: share of the squares of all moves that it removes.
        significance: in standard errors.
        left: the largest move of an observation that it does not explain.
        rows: observations that it acts on.
    """

    kind: Kind
    name: str
    factor: float
    explained: float
    significance: float
    left: float
    rows: int

    @property
    def deviates(self) -> bool:
        """Whether it is a deviation by itself, though no single observation may be."""
        far = self.kind != "cost" or abs(math.log(self.factor)) > COST_TOLERANCE
        sharp = self.kind == "cost" or self.explained > SHARP
        return far and sharp and self.significance > SIGNIFICANT


def _significance(explained: float, rows: Sequence[RowCheck], total: float) -> float:
    """t of a regression with one coefficient; what rounding leaves is never taken for less than rounding."""
    rounding = sum((ROUNDING / row.error) ** 2 for row in rows)
    left = max((1.0 - explained) * total, rounding)
    return math.sqrt(max(0.0, explained) * total / left * max(1, len(rows) - 1)) if left else 0.0


def cost_suspects(rows: Sequence[RowCheck]) -> list[Suspect]:
    """Every cost that the rows charge, with the factor that explains most: 1 - exp(-moved) is linear in its share."""
    names = sorted({name for row in rows for name, share in row.shares.items() if share > 0.0})
    weights = np.array([1.0 / row.error for row in rows])
    moves = -np.expm1(-np.array([row.moved for row in rows])) * weights
    shares = np.array([[row.shares.get(name, 0.0) for name in names] for row in rows]) * weights[:, None]
    total = float(moves @ moves)
    squares = (shares**2).sum(axis=0)
    products = shares.T @ moves
    found: list[Suspect] = []
    for index, name in enumerate(names):
        excess = min(float(products[index] / squares[index]), 1.0 - 1e-3)
        left = float(((moves - shares[:, index] * excess) ** 2).sum())
        explained = max(0.0, 1.0 - left / total) if total else 0.0
        found.append(
            Suspect(
                kind="cost",
                name=name,
                factor=1.0 / (1.0 - excess),
                explained=explained,
                significance=_significance(explained, rows, total),
                left=float(np.abs((moves - shares[:, index] * excess) / weights).max()),
                rows=int((shares[:, index] > 0.0).sum()),
            )
        )
    return found


def other_rules(rules: Rules) -> list[tuple[str, Rules]]:
    """Every record that differs in one rule, named `RULE=VALUE`."""
    return [
        (f"{each.name}={text}", replace(rules, **{each.name: value}))  # type: ignore[arg-type]
        for each in fields(Rules)
        for text, value in values_of(each.name).items()
        if value != getattr(rules, each.name)
    ]


def rule_suspect(name: str, rows: Sequence[RowCheck], predicted_ns: Mapping[str, float]) -> Suspect:
    """How well another rule explains the moves: `predicted_ns` by observation is what the model says under it."""
    weights = np.array([1.0 / row.error for row in rows])
    moves = np.array([row.moved for row in rows]) * weights
    undone = [math.log(row.predicted_ns / predicted_ns.get(row.name, row.predicted_ns)) for row in rows]
    left = moves - np.array(undone) * weights
    total = float(moves @ moves)
    explained = max(0.0, 1.0 - float(left @ left) / total) if total else 0.0
    acting = sum(abs(move) > ROUNDING for move in undone)
    significance = _significance(explained, rows, total)
    return Suspect(
        kind="rule",
        name=name,
        factor=1.0,
        explained=explained,
        significance=significance,
        left=float(np.abs(left / weights).max()),
        rows=acting,
    )


def samples_suspect(rows: Sequence[RowCheck], misplaced: Mapping[str, str]) -> Suspect | None:
    """Rows that hold what the calibration measured in other rows; None if there is none.

    Args:
        misplaced: rows whose runs say themselves that they are of another row. Where they do not say it, a row that
            deviates holds the samples of another if all that both have in common agrees within what is allowed.
    """
    by_row: dict[str, dict[str, RowCheck]] = {}
    for row in rows:
        by_row.setdefault(row.row, {})[row.end] = row
    suspected = [name for name, ends in by_row.items() if any(each.deviates for each in ends.values())]
    sources = {name: _sources(by_row[name], by_row) for name in suspected}
    taken = dict(misplaced)
    for name in suspected:
        mutual = [each for each in sources[name] if name in sources.get(each, ())]
        chosen = next(iter(mutual or sources[name]), None)
        if chosen is not None:
            taken.setdefault(name, chosen)
    if not taken:
        return None
    total = sum((row.moved / row.error) ** 2 for row in rows)
    left = sum((_left(row, by_row, taken) / row.error) ** 2 for row in rows)
    explained = max(0.0, 1.0 - left / total) if any(abs(row.moved) > ROUNDING for row in rows) else 1.0
    return Suspect(
        kind="samples",
        name=", ".join(f"{name} holds those of {source}" for name, source in taken.items()),
        factor=1.0,
        explained=explained,
        significance=_significance(explained, rows, total),
        left=max(abs(_left(row, by_row, taken)) for row in rows),
        rows=sum(len(by_row.get(name, ())) for name in taken),
    )


def _left(row: RowCheck, by_row: Mapping[str, Mapping[str, RowCheck]], taken: Mapping[str, str]) -> float:
    """What is left of a row's move; nothing if it holds the samples of a row that has no such interval."""
    if row.row not in taken:
        return row.moved
    source = by_row.get(taken[row.row], {}).get(row.end)
    return _apart(row, source) if source is not None else 0.0


def _apart(row: RowCheck, source: RowCheck) -> float:
    """ln(what the row measures now / what the calibration measured in the source, if the model stands still)."""
    return math.log(row.measured_ns / source.predicted_ns) + source.expected


def _sources(ends: Mapping[str, RowCheck], by_row: Mapping[str, Mapping[str, RowCheck]]) -> list[str]:
    """Rows whose samples these could be: those with most intervals in common first, then the nearest."""
    found: list[tuple[int, float, str]] = []
    for name, others in by_row.items():
        common = [end for end in ends if end in others]
        if not common or others is ends:
            continue
        apart = max(abs(_apart(ends[end], others[end])) / ends[end].allowed for end in common)
        if apart < 1.0:
            found.append((-len(common), apart, name))
    return [name for _, _, name in sorted(found)]


def ranked(found: Sequence[Suspect], most: int = 5) -> tuple[Suspect, ...]:
    """Those that explain enough, best first, at equal merit the one with fewer free parameters.

    Merit counts a noisy row little, what is left unexplained anywhere counts it in full. One that explains all stands
    alone with its equals.
    """
    order = sorted(
        found,
        key=lambda each: (-round(each.explained, 6), round(each.left, 4), each.kind == "cost", each.kind == "rule"),
    )
    kept = [each for each in order if each.explained > EXPLAINS]
    if kept and kept[0].explained > SHARP:
        kept = [each for each in kept if each.explained > kept[0].explained - ALIKE]
    return tuple(kept[:most])
