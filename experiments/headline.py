"""The one sentence above the table: what stops for how long, its main cause, and the best alternative."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from model.costs import COSTS
from model.units import NS_PER_US

DIGITS = 7
"""Significant digits of a time in a document or row."""
_REFERENCE = re.compile(r"[\w./-]+\.(?:c|h|py|java):(\w+(?:\.\w+)*)(?:@[\w.]+\w)?")
"""`file:function@version`: the function is what a sentence needs."""
_LENGTH = 70
_LEANING = ("the same", "the rest", "its ")
_CLEARLY = 1.2
"""From this ratio on an alternative is worth naming."""
_POOLS = {"jvm": "jdk-", "cpython": "cpython-"}
"""Mechanisms that a runtime's own programs use."""


def words_of(name: str) -> str:
    """What a cost stands for, in a few words; its name if it is no cost, or if the words lean on another cost's."""
    text = _REFERENCE.sub(r"\1", COSTS[name].stands_for) if name in COSTS else ""
    if not text or text.lower().startswith(_LEANING):
        return name.replace("_", " ")
    head, colon, rest = text.partition(": ")
    if colon and " " not in head:
        return f"{head}: {_cut(rest)}"
    return _cut(head)


def _cut(text: str) -> str:
    """The text up to a semicolon, or to the last comma that fits."""
    text = text.partition(";")[0].strip(" .")
    while len(text) > _LENGTH and ", " in text:
        text = text.rpartition(", ")[0]
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def microseconds(elapsed_ns: float) -> float:
    """Microseconds with seven significant digits: parts sum far within 0.1 %, and a document stays readable."""
    return float(f"{elapsed_ns / NS_PER_US:.{DIGITS}g}")


def duration(elapsed_us: float) -> str:
    """A time with three significant digits and its unit."""
    for limit, unit, factor in ((1e3, "us", 1.0), (1e6, "ms", 1e3)):
        if elapsed_us < limit * 0.9995:
            return f"{figure(elapsed_us / factor)} {unit}"
    return f"{figure(elapsed_us / 1e6)} s"


def figure(value: float) -> str:
    """Three significant digits without exponent."""
    if value == 0.0:
        return "0"
    decimals = max(0, min(3, 2 - _exponent(value)))
    return f"{float(f'{value:.3g}'):.{decimals}f}"


def _exponent(value: float) -> int:
    return int(f"{value:.2e}".partition("e")[2])


def size(size_bytes: float) -> str:
    """Bytes with a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1023.5:
            return f"{figure(size_bytes)} {unit}"
        size_bytes /= 1024
    return f"{figure(size_bytes)} TiB"


def pool(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The predictions that a sentence compares: the ways of the parent's own runtime if there are any, else all."""
    predictions: list[Mapping[str, Any]] = list(document["predictions"])
    prefix = _POOLS.get(document["parent"]["runtime"])
    own = [each for each in predictions if prefix and each["mechanism"].startswith(prefix)]
    return own or predictions


def worst_of(predictions: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The prediction whose call lasts longest; None if no call returns."""
    return max((each for each in predictions if "call" in each["milestones_us"]), key=call_us, default=None)


def best_of(predictions: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The prediction without error whose call is the shortest."""
    sound = [each for each in predictions if "call" in each["milestones_us"] and each["error"] is None]
    return min(sound, key=call_us, default=None)


def call_us(prediction: Mapping[str, Any]) -> float:
    """p50 of the call."""
    return float(prediction["milestones_us"]["call"]["p50"])


def headline_of(document: Mapping[str, Any]) -> str:
    """The sentence for one document."""
    compared = pool(document)
    failing = [each for each in compared if each["error"] is not None]
    best = best_of(compared)
    if failing:
        return f"{_failure(document, failing[0])}{_alternative(best, None)}."
    worst = worst_of(compared)
    if worst is None and compared:
        return f"{compared[0]['mechanism']} never returns to {parent_words(document)}{_until_main(compared[0])}."
    if worst is None:
        return f"no mechanism was asked for {parent_words(document)}."
    stop = f"{worst['mechanism']} stops the calling thread of {parent_words(document)} for {duration(call_us(worst))}"
    return f"{stop}, {cause_words(worst)}{_alternative(best, worst)}."


def _until_main(prediction: Mapping[str, Any]) -> str:
    """How long a way without a call takes to the target's first instruction."""
    main = prediction["milestones_us"].get("main")
    return f"; the target begins after {duration(main['p50'])}" if main is not None else ""


def _failure(document: Mapping[str, Any], failing: Mapping[str, Any]) -> str:
    error = failing["error"]
    return f"{failing['mechanism']} of {parent_words(document)} fails with {error['errno']}: {error['why']}"


def _alternative(best: Mapping[str, Any] | None, worst: Mapping[str, Any] | None) -> str:
    if best is None or best is worst:
        return ""
    text = f"; best is {best['mechanism']} with {duration(call_us(best))}"
    if worst is None:
        return text
    ratio = call_us(worst) / call_us(best)
    if ratio < _CLEARLY:
        return f"; {best['mechanism']} takes about as long, {duration(call_us(best))}"
    return f"{text}, {float(f'{ratio:.2g}'):g} times less"


def cause_words(prediction: Mapping[str, Any]) -> str:
    """The main cause of a call as a clause."""
    cause = prediction["main_causes"]["call"]
    return f"{cause['share']:.0%} of it {cause['name']} ({cause['words']})"


def parent_words(document: Mapping[str, Any]) -> str:
    """The parent as a noun phrase."""
    parent = document["parent"]
    runtime = {"jvm": "a JVM", "cpython": "a CPython process"}.get(parent["runtime"], "a process")
    return f"{runtime} with {size(parent['anon_bytes'])} of anonymous memory"


def job_headline(documents: Sequence[Mapping[str, Any]]) -> str:
    """The sentence for one parent with its THP off and on."""
    off, on = documents
    worst, with_thp = worst_of(pool(off)), worst_of(pool(on))
    best = best_of(pool(off))
    if worst is None or with_thp is None or off["predictions"] == on["predictions"]:
        return headline_of(off)
    stop = f"{worst['mechanism']} stops the calling thread of {parent_words(off)} for {duration(call_us(worst))}"
    same = next((each for each in on["predictions"] if each["mechanism"] == worst["mechanism"]), with_thp)
    huge = f" ({duration(call_us(same))} with THP)" if "call" in same["milestones_us"] else ""
    return f"{stop}{huge}, {cause_words(worst)}{_alternative(best, worst)}."
