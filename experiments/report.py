"""Documents as text of at most 80 columns for people. Nothing is computed here; ASCII only: it reads anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from calibration.machine_file import LITERATURE
from experiments.aftermath import aftermath_lines, lock_waits_lines
from experiments.headline import duration, job_headline, pool, size, words_of, worst_of
from model.prediction import SPREAD_LINE

Document = Mapping[str, Any]
WIDTH = 80
_PARTS = 8
"""Lines of a breakdown before the rest is summed up."""
_ELF_TOTALS = (
    "kind",
    "interpreter",
    "bind_now",
    "symbol_lookups",
    "symbol_cache_hits",
    "relative_relocations",
    "relr_relocations",
    "dirtied_pages",
    "constructors",
    "loader_system_calls",
)


def prediction_text(document: Document) -> str:
    """A prediction document: its sentence, the table of milestones, the parts of the longest one, the machine file."""
    lines = [*wrap(document["headline"], WIDTH), ""]
    lines += [f"{'':<9}{'p50':>8}   {'90 % bounds':<16} {'p10 to p90':<16} main cause"]
    for prediction in document["predictions"]:
        lines += _milestones(prediction)
    shown = worst_of(pool(document)) or next(iter(document["predictions"]), None)
    if shown is not None and shown["breakdown_us"]:
        lines += ["", *_parts(shown)]
    for prediction in document["predictions"]:
        lines += aftermath_lines(prediction)
        lines += lock_waits_lines(prediction)
    return "\n".join([*lines, "", *machine_lines(document)]) + "\n"


def job_text(documents: Sequence[Document]) -> str:
    """The main job: one sentence, then one table of mechanisms with THP off and on, then the machine file."""
    lines = [*wrap(job_headline(documents), WIDTH), ""]
    lines += [f"{'mechanism':<18} {'THP':<3} {'call p50':>8}  {'90 % bounds':<14} {'reaped':>7}  main cause of call"]
    off, on = documents
    for without, with_thp in zip(off["predictions"], on["predictions"], strict=True):
        for thp, prediction in (("off", without), ("on", with_thp)):
            lines += _job_row(prediction, thp)
    return "\n".join([*lines, "", *machine_lines(off)]) + "\n"


def _job_row(prediction: Document, thp: str) -> Iterator[str]:
    name = prediction["mechanism"] if thp == "off" else ""
    milestones = prediction["milestones_us"]
    if "call" not in milestones:
        yield from _wrapped(f"{name:<18} {thp:<3} ", error_words(prediction))
        return
    call = milestones["call"]
    reaped = duration(milestones["reaped"]["p50"]) if "reaped" in milestones else "-"
    cause = prediction["main_causes"]["call"]
    bounds = between(call["lo"], call["hi"])
    yield (
        f"{name:<18} {thp:<3} {duration(call['p50']):>8}  {bounds:<14} {reaped:>7}  "
        f"{cause['share']:.0%} {cause['name']}"
    ).rstrip()


def _milestones(prediction: Document) -> Iterator[str]:
    yield prediction["mechanism"]
    for name, found in prediction["milestones_us"].items():
        cause = prediction["main_causes"][name]
        bounds, spread = between(found["lo"], found["hi"]), between(found["p10"], found["p90"])
        yield (
            f"  {name:<7}{duration(found['p50']):>8}   {bounds:<16} {spread:<16} {cause['share']:.0%} {cause['name']}"
        )
    if prediction["error"] is not None:
        yield from _wrapped("  fails: ", error_words(prediction))


def error_words(prediction: Document) -> str:
    """The errno and the reason of a spawn that fails."""
    error = prediction["error"]
    return f"{error['errno']}: {error['why']}" if error is not None else "it does not return"


def _parts(prediction: Document) -> Iterator[str]:
    milestone, found = list(prediction["milestones_us"].items())[-1]
    total = found["p50"]
    yield f"{prediction['mechanism']} to {milestone}, {duration(total)}, in parts:"
    parts = [(name, part) for name, part in prediction["breakdown_us"].items() if name != SPREAD_LINE]
    for name, part in parts[:_PARTS]:
        words = words_of(name)
        said = words.replace(" ", "_") == name
        yield from _wrapped(_part(part, total), name if said else f"{name}: {words}")
    rest = parts[_PARTS:]
    if rest:
        yield f"{_part(sum(part for _, part in rest), total)}{len(rest)} smaller parts"
    spread = prediction["breakdown_us"][SPREAD_LINE]
    yield f"{_part(spread, total)}the machine's spread: from the undisturbed time to the p50"


def _part(part: float, total: float) -> str:
    sign = "-" if part < 0 else ""
    return f"  {sign + duration(abs(part)):>9} {part / total:>5.0%}  "


def _wrapped(head: str, text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head))


def between(low: float, high: float) -> str:
    """Two times in microseconds with one unit where they share it, as `53.6-102 ms`."""
    first, second = duration(low), duration(high)
    if first.split()[1] == second.split()[1]:
        return f"{first.split()[0]}-{second}"
    return f"{first}-{second}".replace(" ", "") if low > 0 else f"0-{second}"


def machine_lines(document: Document) -> Iterator[str]:
    """Which machine file the numbers rest on."""
    machine = document["machine"]
    yield f"machine file: {machine['name']} ({machine['origin']}), noise floor {machine['noise_floor'] * 100:.2g} %"
    how = "from published figures for" if machine["kind"] == LITERATURE else "measured on"
    yield f"  {how} kernel {machine['kernel'] or 'unknown'}, {machine['cpu'] or 'an unknown CPU'}"
    yield f"  {machine['file']}"


def warning_lines(documents: Sequence[Document]) -> list[str]:
    """Each warning once, as it stands on standard error."""
    found = [(each["code"], each["text"]) for document in documents for each in document["warnings"]]
    return [f"spawncost: warning: {code}: {text}" for code, text in dict.fromkeys(found)]


def elf_text(document: Document) -> str:
    """What `spawncost elf` prints: totals, then the parts of the start, dearest first, objects with their counts."""
    lines = [document["path"], *(f"  {name:<22} {_plain(document[name])}" for name in _ELF_TOTALS), ""]
    objects = [each for each in (document["program"], document["loader"], *document["libraries"]) if each is not None]
    head = f"{'look-ups':>8} {'relative':>8} {'dirtied':>7} {'vmas':>5} {'size':>8}"
    if "start" not in document:
        lines += [f"{'object':<28} {head}", *(f"{each['name'][:28]:<28} {_counts(each)}" for each in objects)]
        return "\n".join(lines) + "\n"
    start, rows = document["start"], {each["name"]: each for each in objects}
    lines += [f"{'part of the start':<22} {'time':>8} {'share':>5} {head}"]
    for part in start["parts"]:
        counts = _counts(rows[part["name"]]) if part["object"] else f"  {next(iter(part['breakdown_us']))} first"
        lines += [f"{part['name'][:22]:<22} {duration(part['us']):>8} {part['share']:>5.0%} {counts}".rstrip()]
    lines += ["", *_start_lines(start)]
    return "\n".join(lines) + "\n"


def _counts(each: Document) -> str:
    relative = each["relative_relocations"] + each["relr_relocations"]
    return (
        f"{each['symbol_lookups']:>8} {relative:>8} {each['dirtied_pages']:>7} {each['vmas']:>5} "
        f"{size(each['file_bytes']):>8}"
    )


def _start_lines(start: Document) -> Iterator[str]:
    """Totals of a start and on what they rest."""
    asked = " " + " ".join(start["what_if"]) if start["what_if"] else ""
    yield f"execve to _start{asked}: {duration(start['main_us'])} (standard error {duration(start['main_stderr_us'])})"
    yield f"  of it in ld.so: {duration(start['loader_us'])}"
    yield f"  to the end of an empty main: {duration(start['whole_us'])}"
    yield from (f"  left out: {each}" for each in start["left_out"])
    yield f"  undisturbed, {start['caller']} caller, {start['page_cache']} page cache; prices of {start['machine']}"


def _plain(content: Any) -> str:
    if isinstance(content, bool):
        return "yes" if content else "no"
    return "none" if content is None else str(content)
