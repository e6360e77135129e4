"""`spawncost tlb`: what CPUID, the vendor's documents and the benches say about this machine's TLB."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def tlb(
        file: Annotated[
            Path | None, typer.Option(help="A stored measurement; default: the newest of this machine.")
        ] = None,
        measure: Annotated[
            bool, typer.Option("--measure", help="Measure this machine now, two to three minutes.")
        ] = False,
        out: Annotated[Path | None, typer.Option(help="With --measure: where the measurement is kept.")] = None,
        processes: Annotated[int, typer.Option(min=1, max=50, help="With --measure: fresh processes of each row.")] = 5,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    ) -> int:
        """Sizes of the TLB and what a miss costs: stated by CPUID, documented, and fitted to benches."""
        from calibration.errors import BadInput
        from calibration.tlb.geometry import fit_geometry
        from calibration.tlb.runs import read_runs_file, stored_runs
        from experiments.tlb_report import tlb_document, tlb_text

        if (measure and file) or (out and not measure):
            raise BadInput("--measure", "it goes with --out, not with --file", "drop one of them")
        path = _measured(out, processes) if measure else file or stored_runs(folders=_folders())
        runs = read_runs_file(path)
        document = tlb_document(runs, fit_geometry(runs), path.name)
        print(json.dumps(document, indent=1, allow_nan=False) if as_json else tlb_text(document))
        return 0


def _folders() -> list[Path]:
    from calibration.settings import data_directory
    from calibration.tlb.runs import DATA

    return [data_directory() / "tlb", DATA]


def _measured(out: Path | None, processes: int) -> Path:
    from datetime import UTC, datetime

    from calibration.tlb.runs import measure_tlb, write_runs

    date = datetime.now(UTC).strftime("%Y%m%dT%H%M")
    runs = measure_tlb(date=date, processes=processes, progress=lambda text: print(text, file=sys.stderr))
    path = out or _folders()[0] / runs.machine / f"{runs.machine}.tlb.{date}.json"
    write_runs(runs, path)
    print(f"kept in {path}", file=sys.stderr)
    return path
