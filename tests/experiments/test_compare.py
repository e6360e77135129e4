"""Two machine files: a price that moved is found, noise is not called a move, and a spawn shows what it does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from calibration.machine_file import MachineFile, write_machine_file
from experiments import compare
from experiments.cli.main import main
from experiments.compare import comparison, prices, scenarios
from model.costs import CostTable
from tests.experiments.plausible import plausible_file

SCHEMA = Path(compare.__file__).parent / "schemas" / "comparison.json"


def with_prices(file: MachineFile, factors: dict[str, float]) -> MachineFile:
    ns = {name: price * factors.get(name, 1.0) for name, price in file.costs.ns.items()}
    costs = CostTable(ns=ns, names=file.costs.names, covariance=file.costs.covariance)
    return replace(file, costs=costs)


def test_a_file_against_itself_differs_in_nothing() -> None:
    document = comparison(plausible_file(), plausible_file())
    assert document["summary"]["costs_moved"] == 0
    assert document["summary"]["costs_within"] == document["summary"]["costs_judged"] > 100
    assert document["summary"]["scenario_median_ln"] == 0.0
    assert not any(each["beyond"] for each in document["scenarios"])
    assert not document["rules"]
    assert not document["facts"]


def test_a_price_that_moved_is_the_only_one_named() -> None:
    found = prices(plausible_file(), with_prices(plausible_file(), {"copy_present_pte": 1.3}))
    assert [each.cost for each in found if each.moved] == ["copy_present_pte"]
    assert found[0].cost == "copy_present_pte"
    assert found[0].ratio == pytest.approx(1.3)
    assert found[0].z > 0


def test_noise_of_the_stated_size_is_no_move() -> None:
    """Two calibrations of one machine: prices drawn from the covariance; of all, almost never one is called moved."""
    file = plausible_file()
    names, covariance = file.costs.names, file.costs.covariance
    assert covariance is not None
    mean = np.array([file.costs.ns[name] for name in names])
    errors = np.sqrt(np.diag(covariance))  # variances span nine orders of magnitude: drawn in standard errors
    root = np.linalg.cholesky(covariance / np.outer(errors, errors))
    alarms = 0
    for seed in range(20):
        normal = np.random.default_rng(seed).normal(size=(2, len(names)))
        drawn = np.maximum(mean + errors * (normal @ root.T), 0.0)
        pair = [
            replace(file, costs=replace(file.costs, ns=dict(zip(names, map(float, each), strict=True))))
            for each in drawn
        ]
        alarms += any(each.moved for each in prices(pair[0], pair[1]))
    assert alarms <= 4


def test_an_inherited_price_is_not_judged() -> None:
    file = plausible_file()
    borrowed = replace(
        with_prices(file, {"syscall": 3.0}),
        costs=replace(with_prices(file, {"syscall": 3.0}).costs, inherited=frozenset({"syscall"})),
    )
    found = {each.cost: each for each in prices(file, borrowed)}
    assert not found["syscall"].moved
    assert np.isnan(found["syscall"].z)


def test_spawns_of_the_catalogue_show_what_a_price_does() -> None:
    found = scenarios(plausible_file(), with_prices(plausible_file(), {"copy_present_pte": 3.0}), ["jvm-4g"])
    by = {(each.mechanism, each.milestone): each for each in found}
    assert by["fork", "call"].second.p50_ns > 1.2 * by["fork", "call"].first.p50_ns
    assert by["fork", "call"].cause == "copy_present_pte"
    assert by["fork", "call"].beyond
    assert by["posix_spawn", "call"].second.p50_ns == pytest.approx(by["posix_spawn", "call"].first.p50_ns)


def test_the_command_prints_a_document_or_a_narrow_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(tmp_path / name) for name in ("a.toml", "b.toml")]
    write_machine_file(plausible_file(), Path(paths[0]))
    write_machine_file(with_prices(plausible_file(), {"copy_pte_table": 1.0, "copy_table": 2.0}), Path(paths[1]))
    assert main(["compare", *paths, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert [each["cost"] for each in document["costs"] if each["moved"]] == ["copy_table"]
    assert main(["compare", *paths]) == 0
    text = capsys.readouterr().out
    assert "copy_table" in text
    assert max(map(len, text.splitlines())) <= 80
    assert main(["compare", paths[0], str(tmp_path / "none.toml")]) == 2
