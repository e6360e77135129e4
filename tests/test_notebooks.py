"""The notebooks call, show and tell: they run from top to bottom and hold no logic.

`make renew` executes them and stores the outputs, after it has accepted the answers to the questions as they are now.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST_BYTES = 400_000
LOGIC = (
    ast.FunctionDef
    | ast.AsyncFunctionDef
    | ast.ClassDef
    | ast.Lambda
    | ast.For
    | ast.While
    | ast.If
    | ast.Try
    | ast.With
)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs_of(notebook: Any) -> list[Any]:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_something(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = read(path)
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = outputs_of(notebook)
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []
    shown = {kind for output in outputs for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= shown, "a table and a figure"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_logic(path: Path) -> None:
    cells = code_cells(read(path))
    assert cells
    logic = [
        ast.unparse(node) for cell in cells for node in ast.walk(ast.parse(cell.source)) if isinstance(node, LOGIC)
    ]
    assert logic == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_small_and_of_one_run(path: Path) -> None:
    notebook = read(path)
    assert path.stat().st_size < LARGEST_BYTES
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts in ([None] * len(counts), list(range(1, len(counts) + 1)))
    assert [output for output in outputs_of(notebook) if output.output_type == "error"] == []
