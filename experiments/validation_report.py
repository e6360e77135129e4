"""A validation of spawns as a document and as text; nothing is computed here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from calibration.comparison import Comparison, Outcome
from calibration.quantiles import quantile
from calibration.summaries import is_beyond, summary

SCHEMA = "spawncost.validation/1"
_WIDTH = 40


def validation_document(done: Outcome, rules: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`spawncost.validation/1`: the summary, two rules of thumb beside it, and a row a milestone of each case."""
    return {
        "schema": SCHEMA,
        "machine": done.machine,
        "summary": summary(done.comparisons),
        **({} if rules is None else {"rules_of_thumb": dict(rules)}),
        "comparisons": [_row(each) for each in done.comparisons],
        "skipped": [{"case": case, "why": why} for case, why in done.skipped],
        "loud": done.loud,
    }


def _row(each: Comparison) -> dict[str, Any]:
    predicted = each.predicted
    return {
        "case": each.case,
        "milestone": each.milestone,
        "class": each.group,
        "measured_us": {f"p{level}": each.measured_ns(level / 100) / 1e3 for level in (10, 50, 90)},
        "predicted_us": {
            name: getattr(predicted, f"{name}_ns") / 1e3 for name in ("quiet", "p10", "p50", "p90", "lo", "hi")
        },
        "processes_us": [
            {"measured": quantile(samples, 0.5) / 1e3, "predicted": own.p50_ns / 1e3} for samples, own in each.pairs
        ],
        "error": each.error,
        "quiet_error": each.quiet_error,
        "floor": each.floor if math.isfinite(each.floor) else None,
        "covered": _all(each.held),
        "beyond": is_beyond(each),
        "cause": each.cause,
    }


def _all(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]


def validation_text(done: Outcome, rules: Mapping[str, Any] | None = None) -> str:
    """A line for each milestone of each case, then the summary, the rules of thumb and the worst with their cause."""
    head = f"{'case':{_WIDTH}}{'to':>7}{'measured':>10}{'predicted':>10}{'error':>7}{'floor':>6}"
    lines = [f"{head}  (p50, us)"]
    for each in done.comparisons:
        floor = f"{each.floor:.0%}" if math.isfinite(each.floor) else "-"
        lines.append(
            f"{each.case[:_WIDTH]:{_WIDTH}}{each.milestone:>7}{each.measured_ns(0.5) / 1e3:10.0f}"
            f"{each.predicted.p50_ns / 1e3:10.0f}{math.expm1(each.error):+7.0%}{floor:>6}"
        )
    lines += _summary_lines(summary(done.comparisons))
    lines += [] if rules is None else _rule_lines(rules)
    lines += [f"left out, a neighbour of the host being busy beside them: {done.loud} processes"] if done.loud else []
    return "\n".join([*lines, *(f"skipped {case}: {why}" for case, why in done.skipped)])


def _summary_lines(total: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{total['n']} compared, |ln|: median error {total['median_error']:.3f}, p90 {total['p90_error']:.3f}, "
        f"worst {total['worst_error']:.2f}; within 10 %: {total['within_10_percent']:.0%}, "
        f"20 %: {total['within_20_percent']:.0%}",
        f"floor: median {_number(total['median_floor'])}, p90 {_number(total['p90_floor'])}; "
        f"beyond 15 % and 1.5 floors: {total['beyond']}",
        f"[lo, hi] holds the p50 of {total['coverage']:.0%} of {total['processes']} processes; "
        f"p10 to p90 hold {total['p10_p90']:.0%} of the repetitions",
    ]
    for name, group in total["classes"].items():
        sided = f", one-sided: too {'low' if group['too_low'] > 0.5 else 'high'}" if group["one_sided"] else ""
        lines.append(
            f"  {name}: n {group['n']}, median {group['median_error']:.3f}, signed {group['signed_median']:+.3f}{sided}"
        )
    return [*lines, "worst:", *(_worst_line(each) for each in total["worst"])]


def _worst_line(each: Mapping[str, Any]) -> str:
    return f"  {each['case']} {each['milestone']} {math.expm1(each['error']):+.0%}: {each['cause'] or 'no cause'}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _rule_lines(rules: Mapping[str, Any]) -> list[str]:
    if "why_not" in rules:
        return [f"rules of thumb: {rules['why_not']}"]
    lines = [f"where memory is copied (n {rules['n']}), median |ln|: ours {rules['ours']['median_error']:.3f}"]
    for name, errors in rules.items():
        if isinstance(errors, Mapping) and "times" in errors:
            times = "" if errors["times"] is None else f", {errors['times']:.1f} times ours"
            lines.append(f"  {name}: {errors['median_error']:.3f}{times}")
    return [*lines, *([f"  no line: {rules['line_why_not']}"] if "line_why_not" in rules else [])]
