"""What the benches can tell: which prices they leave undecided, how sure the others are, how well a row foretells one.

The design matrix is that of the fit, with the machine file's facts. Three views of the same question:

- identifiability: rank, condition, and groups of costs whose errors go together, so that only their sum is known;
- a bootstrap over processes: prices fitted anew to resampled processes, beside the errors that the covariance claims;
- cross-validation: each row (or all rows of one bench) predicted by a fit that never saw it, where the rest can.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.errors import BadInput
from calibration.fit import Fit, covariance_of, design_matrix, fit, fold_untold, row_weights, solve, unit_costs
from calibration.machine_file import MachineFile
from calibration.observations import Observation, observations, outer_of, process_differences
from calibration.quantiles import quantile
from calibration.samples import Run, SampleFile

CORRELATED = 0.9
"""Two prices whose errors correlate so much are known as a sum better than each alone."""
UNTAUGHT = 0.01
"""A row can be foretold if the others leave no more than this share of it undecided."""
VAGUE = 0.1
"""Relative error of the prices alone from which a cross-validated prediction says nothing of the model."""
BOOTSTRAPS = 200
Array = NDArray[np.float64]
Grouping = Literal["row", "bench"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two costs whose prices' errors correlate."""

    first: str
    second: str
    correlation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceError:
    """One price and how sure it is.

    Attributes:
        cost, ns: the price as fitted.
        stderr_ns: by the covariance of the fit.
        bootstrap_ns: standard deviation over fits to resampled processes.
    """

    cost: str
    ns: float
    stderr_ns: float
    bootstrap_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """One observation beside its prediction by a fit that never saw its row (or bench).

    Attributes:
        observation: what was measured.
        predicted_ns: what the fit to the others says.
        fitted_error: relative standard error of that by the covariance of the fit.
    """

    observation: Observation
    predicted_ns: float
    fitted_error: float

    @property
    def error(self) -> float:
        """ln(predicted / measured)."""
        return math.log(self.predicted_ns / self.observation.value_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """The whole report.

    Attributes:
        fit: the fit to the stored samples with the file's facts.
        groups: costs that are known together better than each alone, largest first.
        pairs: the same as pairs, strongest first.
        prices: every price with both errors, least sure first.
        by_row, by_bench: cross-validation, each row or all rows of one bench left out.
        untaught: observations that no other row (by row) can foretell: the only teachers of a cost.
    """

    fit: Fit
    groups: tuple[tuple[str, ...], ...]
    pairs: tuple[Pair, ...]
    prices: tuple[PriceError, ...]
    by_row: tuple[Foretold, ...]
    by_bench: tuple[Foretold, ...]
    untaught: tuple[str, ...]


def fitted_rows(file: MachineFile, samples: SampleFile) -> list[Observation]:
    """The observations that the first stage of a fit takes.

    Raises:
        BadInput: there is none.
    """
    rows = observations(samples, file.machine.rules)
    found = [each for each in rows if each.row.role == "fit" and not each.row.live]
    if not found:
        raise BadInput("samples", "no row can be fitted", "give the samples of this machine file")
    return found


def identify(file: MachineFile, samples: SampleFile, *, bootstraps: int = BOOTSTRAPS, seed: int = 0) -> Identified:
    """Report on one file of samples. Raises BadInput: nothing in it can be fitted."""
    rows = fitted_rows(file, samples)
    found = fit(rows, file.machine)
    pairs = correlated(found)
    by_row, untaught = foretell(rows, file, by="row")
    by_bench, _ = foretell(rows, file, by="bench")
    return Identified(
        fit=found,
        groups=groups_of(pairs),
        pairs=pairs,
        prices=price_errors(found, samples, bootstraps, seed),
        by_row=by_row,
        by_bench=by_bench,
        untaught=untaught,
    )


def correlated(found: Fit) -> tuple[Pair, ...]:
    """Pairs of costs whose errors correlate by more than CORRELATED, strongest first."""
    covariance, names = found.costs.covariance, found.costs.names
    assert covariance is not None
    root = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    correlation = covariance / np.outer(root, root)
    pairs = [
        Pair(first=names[i], second=names[j], correlation=float(np.clip(correlation[i, j], -1.0, 1.0)))
        for i in range(len(names))
        for j in range(i)
        if abs(correlation[i, j]) > CORRELATED
    ]
    return tuple(sorted(pairs, key=lambda each: -abs(each.correlation)))


def groups_of(pairs: Sequence[Pair]) -> tuple[tuple[str, ...], ...]:
    """Connected components of the pairs, largest first."""
    groups: list[set[str]] = []
    for pair in pairs:
        met = [group for group in groups if group & {pair.first, pair.second}]
        merged = {pair.first, pair.second}.union(*met)
        groups = [group for group in groups if group not in met] + [merged]
    return tuple(sorted((tuple(sorted(group)) for group in groups), key=lambda group: (-len(group), group)))


def price_errors(found: Fit, samples: SampleFile, bootstraps: int, seed: int) -> tuple[PriceError, ...]:
    """Every price of a fit with its error by covariance and by bootstrap, relatively least sure first."""
    names, covariance = found.costs.names, found.costs.covariance
    assert covariance is not None
    stated = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    drawn = bootstrap_prices(found, samples, bootstraps, seed).std(axis=0, ddof=1)
    prices = [
        PriceError(cost=name, ns=found.costs.ns[name], stderr_ns=float(a), bootstrap_ns=float(b))
        for name, a, b in zip(names, stated, drawn, strict=True)
    ]
    return tuple(sorted(prices, key=lambda each: -each.stderr_ns / max(each.ns, 1e-9)))


def bootstrap_prices(found: Fit, samples: SampleFile, bootstraps: int, seed: int) -> Array:
    """Prices, (bootstraps, costs), fitted to resampled processes: a row's intervals are drawn together."""
    rows, kept = found.observations, samples.kept()
    dice = random.Random(seed)
    counts = found.design
    weights = row_weights(rows)
    prices: list[Array] = []
    for _ in range(bootstraps):
        drawn: dict[str, list[Run]] = {}
        for each in rows:
            name = each.row.row.name
            if name not in drawn:
                drawn[name] = dice.choices(kept[name], k=len(kept[name]))
        values = [
            quantile(process_differences(drawn[each.row.row.name], each.begin, each.end), outer_of(each.row))
            for each in rows
        ]
        prices.append(solve(counts / np.array(values)[:, None], weights, np.ones(len(rows)))[0])
    return np.array(prices)


def foretell(
    rows: Sequence[Observation], file: MachineFile, *, by: Grouping
) -> tuple[tuple[Foretold, ...], tuple[str, ...]]:
    """Each row, or all rows of each bench, predicted by a fit to the others; and the observations that none can tell.

    Facts stay those of the file. An observation can be told if the others decide all of it but UNTAUGHT: one that is
    the only teacher of a cost cannot.
    """
    names, counts = design_matrix(rows, file.machine, unit_costs())
    measured, weights = np.array([each.value_ns for each in rows]), row_weights(rows)
    names, counts, _ = fold_untold(names, counts, measured, weights)
    relative = counts / measured[:, None]
    price = np.array([max(file.costs.price(name), 1e-9) for name in names])
    keys = [each.row.row.name if by == "row" else each.row.row.bench for each in rows]
    found: list[Foretold] = []
    untaught: list[str] = []
    for name in dict.fromkeys(keys):
        out = np.array([each == name for each in keys])
        decided = _decided(relative[~out] * price, relative[out] * price)
        prices, robust = solve(relative[~out], weights[~out], np.ones(int((~out).sum())))
        covariance = covariance_of(relative[~out], robust, relative[~out] @ prices - 1.0)
        for index, known in zip(np.flatnonzero(out).tolist(), decided, strict=True):
            predicted = float(counts[index] @ prices)
            if not known or predicted <= 0.0:
                untaught.append(rows[index].name)
                continue
            error = math.sqrt(max(0.0, float(counts[index] @ covariance @ counts[index]))) / predicted
            found.append(Foretold(observation=rows[index], predicted_ns=predicted, fitted_error=error))
    return tuple(found), tuple(untaught)


def _decided(kept: Array, left_out: Array) -> list[bool]:
    """Whether each left-out row, as shares of its own cost, lies in what the kept rows span but for UNTAUGHT."""
    _, singular, right = np.linalg.svd(kept, full_matrices=False)
    basis = right[singular > singular.max() * 1e-9]
    beyond = left_out - (left_out @ basis.T) @ basis
    return [
        bool(np.abs(row).sum() <= UNTAUGHT * np.abs(whole).sum()) for row, whole in zip(beyond, left_out, strict=True)
    ]


def summary(found: Sequence[Foretold]) -> Mapping[str, float]:
    """n, median, p90 and worst |ln| of a cross-validation, of what the others decide to within VAGUE."""
    errors = [abs(each.error) for each in found if each.fitted_error < VAGUE]
    if not errors:
        return {"n": 0}
    return {
        "n": len(errors),
        "median_error": quantile(errors, 0.5),
        "p90_error": quantile(errors, 0.9),
        "worst_error": max(errors),
    }
