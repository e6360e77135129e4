"""`spawncost identify`: what the stored samples of a machine file can tell, and what they leave undecided."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from calibration.identify import Foretold, Identified

SCHEMA = "spawncost.identify/1"
SHOWN = 12


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def identify(
        machine: Annotated[str | None, typer.Option(help="bundled, a name, or a machine file.")] = None,
        bootstraps: Annotated[int, typer.Option(min=2, max=5000, help="Resamples of the processes.")] = 200,
        seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    ) -> int:
        """Which prices the benches tell apart, how sure each is, and how well a row foretells another."""
        from calibration.check import stored_samples
        from calibration.identify import identify as report
        from calibration.machine_file import find_machine
        from calibration.samples import read_runs

        file = find_machine(machine)
        samples = stored_samples(file)[0]
        document = document_of(
            report(file, read_runs(samples), bootstraps=bootstraps, seed=seed), file.machine.name, samples.stem
        )
        print(json.dumps(document, indent=1, allow_nan=False) if as_json else text_of(document))
        return 0


def document_of(found: Identified, machine: str, samples: str) -> dict[str, Any]:
    """The report as a document (`spawncost.identify/1`)."""
    from calibration.identify import summary

    return {
        "schema": SCHEMA,
        "machine": machine,
        "samples": samples,
        "observations": len(found.fit.observations),
        "costs": len(found.fit.costs.names),
        "rank": found.fit.rank,
        "condition": found.fit.condition,
        "confounded": list(found.fit.confounded),
        "untold": list(found.fit.untold),
        "groups": [list(group) for group in found.groups],
        "pairs": [
            {"first": each.first, "second": each.second, "correlation": each.correlation} for each in found.pairs
        ],
        "prices": [
            {"cost": each.cost, "ns": each.ns, "stderr_ns": each.stderr_ns, "bootstrap_ns": each.bootstrap_ns}
            for each in found.prices
        ],
        "leave_one_row_out": {**summary(found.by_row), "worst": _worst(found.by_row)},
        "leave_one_bench_out": {**summary(found.by_bench), "worst": _worst(found.by_bench)},
        "untaught": list(found.untaught),
    }


def _worst(found: tuple[Foretold, ...]) -> list[dict[str, Any]]:
    order = sorted(found, key=lambda each: -abs(each.error))
    return [
        {"row": each.observation.name, "error": each.error, "fitted_error": each.fitted_error}
        for each in order[:SHOWN]
    ]  # fmt: skip


def text_of(document: dict[str, Any]) -> str:
    """The document as a table of 80 columns."""
    lines = [
        f"{document['machine']}, samples {document['samples']}",
        f"{document['observations']} observations, {document['costs']} costs: rank {document['rank']}, "
        f"condition {document['condition']:.0f}",
        "cannot be told apart at all: " + (", ".join(document["confounded"]) or "none"),
        "told no better than what stands in for them: " + (", ".join(document["untold"]) or "none"),
        "known together better than each alone (errors correlate beyond 0.9):",
    ]
    lines += [f"  {', '.join(group)}" for group in document["groups"]] or ["  none"]
    lines.append(f"{'least sure prices':28}{'ns':>14}{'covariance ns':>17}{'bootstrap ns':>15}")
    lines += [
        f"{each['cost']:28}{each['ns']:14.2f}{each['stderr_ns']:17.2f}{each['bootstrap_ns']:15.2f}"
        for each in document["prices"][:SHOWN]
    ]
    for key, name in (("leave_one_row_out", "each row"), ("leave_one_bench_out", "each bench")):
        found = document[key]
        if found["n"]:
            lines.append(
                f"{name} foretold by the others: {found['n']} observations, |ln| median "
                f"{found['median_error']:.3f}, p90 {found['p90_error']:.3f}"
            )
    lines.append(f"{len(document['untaught'])} observations are the only teachers of a cost and cannot be foretold")
    return "\n".join(lines)
