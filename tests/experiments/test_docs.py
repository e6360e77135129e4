"""Pages made of the code say all of it; pages written by hand name only what there is."""

from __future__ import annotations

import ast
import csv
import re
from dataclasses import fields
from pathlib import Path

import pytest

from calibration.machine_file import MachineFile
from calibration.plan import planned_rows
from experiments import docs
from experiments.sweep_fields import FIELDS
from model.costs import COSTS
from model.rules import Rules

ROOT = Path(__file__).resolve().parents[2]
HANDBOOKS = ("model/README.md", "calibration/README.md", "experiments/README.md")


def rows_of(page: str) -> list[list[str]]:
    """Cells of the one table of a page, its head left out."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines[2:]]


def names_in(page: str) -> list[str]:
    return [row[0].strip(" `") for row in rows_of(page)]


def test_every_cost_stands_in_the_glossary_with_its_price(machine_file: MachineFile) -> None:
    page = docs.costs_page(machine_file)
    assert names_in(page) == list(COSTS)
    told = {row[0].strip(" `"): (row[1], row[3]) for row in rows_of(page)}
    for name, spec in COSTS.items():
        price, source = told[name]
        assert float(price.split()[0]) == pytest.approx(machine_file.costs.price(name), rel=0.01)
        assert source.strip().startswith("assumed" if spec.assumed else spec.bench)


def test_every_rule_stands_with_its_versions() -> None:
    page = docs.rules_page()
    assert names_in(page) == [each.name for each in fields(Rules)]
    assert {row[1].strip() for row in rows_of(page)} == {str(each.default) for each in fields(Rules)}
    assert "before: rbtree, 6.1: maple, 6.8: mt_dup" in page


def test_every_command_that_is_built_shows_its_help() -> None:
    page = docs.commands_page()
    assert {"predict", "snapshot", "elf", "trace", "calibrate"} <= set(docs.commands())
    for name in docs.commands():
        assert f"## spawncost {name}\n" in page
        assert f"Usage: spawncost {name} " in page
    assert max(map(len, page.splitlines())) <= 80


def test_every_field_of_a_sweep_stands_there() -> None:
    page = docs.fields_page()
    assert names_in(page) == list(FIELDS)
    assert all(row[3].strip() for row in rows_of(page))


def test_every_row_of_the_plan_stands_there() -> None:
    page = docs.plan_page()
    assert names_in(page) == [each.row.name for each in planned_rows()]


def test_rows_have_as_many_cells_as_the_head(machine_file: MachineFile) -> None:
    for name, page in docs.pages(machine_file):
        lines = [line for line in page.splitlines() if line.startswith("| ")]
        cells = {len(re.split(r"(?<!\\)\|", line)) for line in lines}
        assert len(cells) == 1 or name == "commands.md"


def test_pages_are_written_where_asked(machine_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main([str(tmp_path / "pages"), str(machine_path)]) == 0
    written = {path.name for path in (tmp_path / "pages").iterdir()}
    assert written == {"costs.md", "rules.md", "commands.md", "plan.md", "fields.md", "claims.md"}
    assert len(capsys.readouterr().out.splitlines()) == len(written)
    assert docs.main([str(tmp_path / "pages"), str(tmp_path / "none.toml")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def defined_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.ClassDef
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_the_map_of_the_model_names_what_exists() -> None:
    text = (ROOT / "model/README.md").read_text(encoding="utf-8")
    ours = re.findall(r"`([\w/]+\.py):(\w+)`", text)
    assert len(ours) > 20
    missing = [f"{file}:{name}" for file, name in ours if name not in defined_in(ROOT / "model" / file)]
    assert missing == []


def test_the_map_of_the_model_cites_functions_of_the_cited_version() -> None:
    with (ROOT / "tests/data/kernel_symbols.csv").open(newline="", encoding="utf-8") as stream:
        known = {(row["version"], row["file"], row["function"]) for row in csv.DictReader(stream)}
    text = (ROOT / "model/README.md").read_text(encoding="utf-8")
    cited = re.findall(r"`([\w./-]+\.[ch]):(\w+)@v?([\d.]+)`", text)
    assert len(cited) > 40
    assert [each for each in cited if (each[2], each[0], each[1]) not in known] == []


def test_the_walk_charges_costs_that_there_are() -> None:
    """Words in backquotes that look like a cost of the walk: of `name` × count, and alone in a charged cell."""
    text = (ROOT / "model/README.md").read_text(encoding="utf-8").partition("## The walk")[2].partition("## The map")[0]
    charged = [row[2] for row in rows_of(text) if len(row) == 3]
    named = {name for cell in charged for name in re.findall(r"`([a-z]\w+)`", cell)}
    others = {
        "dup_returned",
        "mm_counts",
        "misses",
        "mmap_lock",
        "exit_mmap",
        "drop_vmas",
        "zap_page_range",
        "image_exit",
        "do_wait",
        "try_to_wake_up",
    }
    assert len(named) > 30
    assert named - others - set(COSTS) == set()


@pytest.mark.parametrize("handbook", HANDBOOKS)
def test_a_handbook_names_files_that_exist(handbook: str) -> None:
    folder = (ROOT / handbook).parent
    text = (ROOT / handbook).read_text(encoding="utf-8")
    files = set(re.findall(r"`([\w/]+\.(?:py|h))`", text))
    assert files
    missing = [
        name
        for name in files
        if not any((base / name).is_file() for base in (folder, ROOT, folder / "kernel", folder / "bench"))
    ]
    assert missing == []
