"""`spawncost compare A B`: two machine files, what moved between them, and what that does to a spawn."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

SHOWN = 15


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def compare(
        first: Annotated[str, typer.Argument(metavar="A", help="bundled, a name, or a machine file.")],
        second: Annotated[str, typer.Argument(metavar="B", help="The one to hold against it.")],
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    ) -> int:
        """Which prices differ between two machine files, and what that does to the catalogue's spawns."""
        from calibration.machine_file import find_machine
        from experiments.compare import comparison

        document = comparison(find_machine(first), find_machine(second))
        print(json.dumps(document, indent=1, allow_nan=False) if as_json else text_of(document))
        return 0


def text_of(document: dict[str, Any]) -> str:
    """The document as tables of 80 columns."""
    summary = document["summary"]
    lines = [f"{key}: {each['name']} {each['date']}"[:80] for key, each in _sides(document)]
    lines += [f"rule {each['rule']}: {each['first']} -> {each['second']}" for each in document["rules"]]
    lines.append("")
    moved = [each for each in document["costs"] if each["moved"]]
    lines.append(
        f"{summary['costs_moved']} of {summary['costs']} prices moved beyond their errors; "
        f"median |ln| of all {summary['cost_median_ln']:.3f}"
    )
    within = f"{summary['costs_within']} of {summary['costs_judged']}"
    lines.append(f"90 % intervals hold the difference of {within} prices")
    if moved:
        lines.append(f"{'price':28}{'A ns':>13}{'B ns':>13}{'B / A':>9}{'errors':>9}")
        lines += [_price_line(each) for each in moved[:SHOWN]]
        lines += [f"... and {len(moved) - SHOWN} more (--json lists them)"] if len(moved) > SHOWN else []
    lines.append("")
    lines.append(
        f"{summary['scenarios_beyond']} of {summary['scenarios']} spawns differ beyond their bounds; "
        f"median |ln| {summary['scenario_median_ln']:.3f}"
    )
    lines.append(f"{'parent':11}{'mechanism':17}{'until':7}{'A us':>10}{'B us':>10}{'B / A':>7}  mostly by")
    lines += [
        f"{each['parent'][:10]:11}{each['mechanism'][:16]:17}{each['milestone']:7}{each['first_us']:10.0f}"
        f"{each['second_us']:10.0f}{each['ratio']:6.2f}{'*' if each['beyond'] else ' '}  {each['cause'][:17]}"
        for each in document["scenarios"]
    ]
    return "\n".join([*lines, "* beyond the 90 % bounds of both"])


def _price_line(each: dict[str, Any]) -> str:
    ratio = f"{each['ratio']:9.2f}" if each["ratio"] is not None else f"{'new':>9}"
    return f"{each['cost']:28}{each['first_ns']:13.2f}{each['second_ns']:13.2f}{ratio}{each['z']:+9.1f}"


def _sides(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [("A", document["first"]), ("B", document["second"])]
