"""Machine files: what is written is read back, and what cannot be a machine file is refused with file and key."""

from __future__ import annotations

import errno
import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration import load_machine, machine_file
from calibration.errors import BadInput
from calibration.machine_file import find_machine, host_name, read_machine_file, user_directory, write_machine_file
from model.costs import COSTS, CostTable
from tests.experiments.plausible import plausible_costs, plausible_file, write_plausible


@pytest.fixture
def text(tmp_path: Path) -> str:
    return write_plausible(tmp_path / "sound.toml").read_text()


def _read(tmp_path: Path, text: str) -> machine_file.MachineFile:
    path = tmp_path / "edited.toml"
    path.write_text(text)
    return read_machine_file(path)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = plausible_file()
    write_machine_file(file, tmp_path / "one.toml")
    again = read_machine_file(tmp_path / "one.toml")
    assert again.machine == file.machine
    assert again.provenance == file.provenance
    assert again.costs.ns == pytest.approx(file.costs.ns, rel=1e-6)
    assert again.costs.names == file.costs.names
    assert again.costs.covariance is not None
    assert file.costs.covariance is not None
    np.testing.assert_allclose(again.costs.covariance, file.costs.covariance, rtol=1e-6)


def test_a_file_that_is_read_and_written_stays_the_same(tmp_path: Path) -> None:
    first = write_plausible(tmp_path / "one.toml")
    write_machine_file(read_machine_file(first), tmp_path / "two.toml")
    assert (tmp_path / "two.toml").read_text() == first.read_text()


def test_every_cost_has_its_table_with_ns_on_its_first_line(text: str) -> None:
    tables = re.findall(r"^\[costs\.(\w+)\]\n(\w+) = ", text, re.MULTILINE)
    assert [name for name, _ in tables] == list(COSTS)
    assert {first for _, first in tables} == {"ns"}
    document = tomllib.loads(text)["costs"]
    assert all(bool(each.get("bench")) != bool(each.get("assumed")) for each in document.values())
    assert all(each["assumed"] == COSTS[name].assumed for name, each in document.items() if "assumed" in each)


def test_an_assumed_price_follows_the_one_it_is_tied_to(tmp_path: Path, text: str) -> None:
    name, spec = next((name, spec) for name, spec in COSTS.items() if spec.assumed_as is not None)
    assert spec.assumed_as is not None
    tied, factor = spec.assumed_as
    costs = _read(tmp_path, text).costs
    assert name not in costs.ns
    dearer = replace(costs, ns={**costs.ns, tied: 2 * costs.ns[tied]})
    assert dearer.price(name) == pytest.approx(2 * factor * costs.price(tied))


def test_an_assumed_price_that_is_edited_is_kept(tmp_path: Path, text: str) -> None:
    name = next(name for name, spec in COSTS.items() if spec.assumed)
    edited = re.sub(rf"(\[costs\.{name}\]\nns = )\S+", r"\g<1>12345.0", text)
    assert _read(tmp_path, edited).costs.price(name) == 12345.0


def test_inherited_prices_say_so_and_from_where(tmp_path: Path) -> None:
    names = frozenset({"syscall", "copy_present_pte"})
    file = replace(
        plausible_file(),
        costs=replace(plausible_costs(), inherited=names),
        inherited_from={"syscall": "amd-25-17-kvm-6.18.44"},
    )
    write_machine_file(file, tmp_path / "one.toml")
    again = read_machine_file(tmp_path / "one.toml")
    assert again.costs.inherited == names
    assert again.inherited_from == {"syscall": "amd-25-17-kvm-6.18.44"}
    document = tomllib.loads((tmp_path / "one.toml").read_text())["costs"]
    tied = [name for name, spec in COSTS.items() if spec.assumed_as and spec.assumed_as[0] in names]
    assert all(document[name]["inherited"] for name in [*names, *tied])


def test_rules_left_out_are_those_of_the_kernel(tmp_path: Path, text: str) -> None:
    without = re.sub(r"\[rules\]\n(\w+ = .*\n)*", "", text).replace('kernel = "6.18.44"', 'kernel = "5.10.0"')
    rules = _read(tmp_path, without).machine.rules
    assert rules.vma_tree == "rbtree"
    assert not rules.anon_exclusive
    assert rules.thp_cow == "split_pmd"


def test_a_table_without_errors_and_spread_can_be_written(tmp_path: Path) -> None:
    file = replace(plausible_file(), costs=CostTable(ns={"syscall": 100.0}), provenance={})
    write_machine_file(file, tmp_path / "one.toml")
    again = read_machine_file(tmp_path / "one.toml")
    assert again.costs.covariance is None
    assert again.costs.ns == {"syscall": 100.0}


def _first(name: str, value: str) -> tuple[str, str]:
    return rf"(\[costs\.{name}\]\nns = )\S+", rf"\g<1>{value}"


HOSTILE = {
    "nan price": (*_first("syscall", "nan"), "costs.syscall.ns"),
    "infinite price": (*_first("syscall", "inf"), "costs.syscall.ns"),
    "negative price": (*_first("syscall", "-1.0"), "costs.syscall.ns"),
    "price as text": (*_first("syscall", '"120"'), "costs.syscall.ns"),
    "absurd price": (*_first("syscall", "1e300"), "costs.syscall.ns"),
    "no price": (r"(\[costs\.syscall\]\n)ns = \S+\n", r"\1", "costs.syscall.ns"),
    "unknown cost": (r"\[costs\.syscall\]", "[costs.sycsall]", "costs.sycsall"),
    "no origin": (r"(\[costs\.syscall\]\n(?:.*\n){2})bench = .*\n", r"\1", "costs.syscall"),
    "unknown key of a cost": (r"(\[costs\.syscall\]\n)", "\\1us = 1.0\n", "costs.syscall"),
    "other schema": (r"spawncost\.machine/1", "spawncost.machine/2", "schema"),
    "no schema": (r"schema = .*\n", "", "schema"),
    "another file's schema": (r"spawncost\.machine/1", "spawncost.parent/1", "schema"),
    "no name": (r"name = .*\n", "", "machine.name"),
    "no cpus": (r"cpus = 2", "cpus = 0", "machine.cpus"),
    "nan floor": (r"noise_floor = \S+", "noise_floor = nan", "machine.noise_floor"),
    "no kernel version": (r'kernel = "6.18.44"', 'kernel = "newest"', "newest"),
    "negative fact": (r"loader_cpuids = \S+", "loader_cpuids = -1.0", "facts.loader_cpuids"),
    "unknown rule": (r"per_vma_lock = ", "per_vma_key = ", "rules"),
    "rule of another type": (r"per_vma_lock = true", 'per_vma_lock = "yes"', "rules.per_vma_lock"),
    "no such placement": (r'child = "same"', 'child = "third"', "placements"),
    "weights beyond 1": (r"weight = 0.7", "weight = 0.9", "placements.fork"),
    "spread that decreases": (r"ratios = \[0.97, 0.99", "ratios = [0.99, 0.97", "increase"),
    "nan spread": (r"ratios = \[0.97", "ratios = [nan", "spread.plain.ratios"),
    "nan covariance": (r"(rows = \[\n    \[)\S+\]", r"\1nan]", "covariance.rows"),
    "negative variance": (r"(rows = \[\n    \[)(\S+)\]", r"\1-\2]", "covariance.rows"),
    "covariance too small": (r"(rows = \[\n)    .*\n", r"\1", "covariance"),
    "covariance too large": (r"(rows = \[\n)", "\\1    [1.0],\n", "covariance"),
    "row too long": (r"(rows = \[\n    \[)(\S+)\]", r"\1\2, 1.0]", "covariance"),
    "error that is no root": (
        r"(\[costs\.syscall\]\nns = .*\nstderr_ns = )\S+",
        r"\g<1>77.0",
        "costs.syscall.stderr_ns",
    ),
    "no cost at all": (r"(?s)\[costs\..*", "", "costs"),
    "no TOML": (r"\[machine\]", "[machine", "TOML"),
    "key twice": (r"cpus = 2", "cpus = 2\ncpus = 2", "TOML"),
}


@pytest.mark.parametrize(("pattern", "replacement", "named"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused_by_file_and_key(
    tmp_path: Path, text: str, pattern: str, replacement: str, named: str
) -> None:
    edited = re.sub(pattern, replacement, text, count=1)
    assert edited != text, "the edit must hit"
    with pytest.raises(BadInput) as refused:
        _read(tmp_path, edited)
    assert str(tmp_path / "edited.toml") in str(refused.value)
    assert named in str(refused.value)


def test_a_covariance_that_is_not_positive_is_refused(tmp_path: Path) -> None:
    costs = CostTable(
        ns={"syscall": 10.0, "cpuid": 10.0, "pipe_io": 10.0},
        names=("syscall", "cpuid", "pipe_io"),
        covariance=np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]]),
    )
    write_machine_file(replace(plausible_file(), costs=costs), tmp_path / "one.toml")
    with pytest.raises(BadInput, match="not positive"):
        read_machine_file(tmp_path / "one.toml")


def test_a_price_without_variance_has_no_covariance(tmp_path: Path) -> None:
    costs = CostTable(
        ns={"syscall": 10.0, "cpuid": 10.0},
        names=("syscall", "cpuid"),
        covariance=np.array([[0.0, 0.5], [0.5, 1.0]]),
    )
    write_machine_file(replace(plausible_file(), costs=costs), tmp_path / "one.toml")
    with pytest.raises(BadInput, match="syscall has no variance"):
        read_machine_file(tmp_path / "one.toml")


@pytest.mark.parametrize("content", [b"", b"\x00\x01\xff", b"\xff\xfe", b"a = " + b"[" * 5000])
def test_what_is_no_text_or_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.toml"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=re.escape(str(path))):
        read_machine_file(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(BadInput, match=re.escape(str(path))):
            read_machine_file(path)


def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_plausible(tmp_path / "one.toml")
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match="No space left"):
        write_machine_file(replace(plausible_file(), provenance={"date": "later"}), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "no part of the new file stays behind"


def test_numbers_that_no_file_can_hold_are_not_written(tmp_path: Path) -> None:
    file = replace(plausible_file(), machine=replace(plausible_file().machine, noise_floor=float("nan")))
    with pytest.raises(ValueError):
        write_machine_file(file, tmp_path / "one.toml")
    assert not (tmp_path / "one.toml").exists()


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundled directory with two files and an empty user directory."""
    bundled = tmp_path / "bundled"
    write_plausible(bundled / "bundled.toml", this_host=False)
    write_plausible(bundled / "elsewhere.toml", this_host=False)
    monkeypatch.setattr(machine_file, "BUNDLED_DIRECTORY", bundled)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def test_without_a_calibration_of_this_host_the_bundled_file_is_used(homes: Path) -> None:
    write_plausible(user_directory() / "another-host.toml", this_host=False)
    assert find_machine().origin == "bundled"
    assert find_machine().path == homes / "bundled" / "bundled.toml"


def test_this_hosts_calibration_comes_first_but_for_bundled(homes: Path) -> None:
    own = write_plausible(user_directory() / f"{host_name()}.toml")
    assert (find_machine().path, find_machine().origin) == (own, "calibrated")
    assert find_machine("bundled").path == homes / "bundled" / "bundled.toml"
    assert load_machine()[0].name == host_name()


def test_names_are_sought_at_the_users_then_among_the_bundled(homes: Path) -> None:
    assert find_machine("elsewhere").origin == "bundled"
    write_plausible(user_directory() / "elsewhere.toml")
    assert find_machine("elsewhere").origin == "calibrated"
    given = write_plausible(homes / "mine.toml")
    assert (find_machine(str(given)).path, find_machine(str(given)).origin) == (given, "given")


@pytest.mark.parametrize("name", ["", "nowhere", "no/where", "nowhere.toml"])
def test_a_name_that_leads_nowhere_is_refused(homes: Path, name: str) -> None:
    with pytest.raises(BadInput):
        find_machine(name)


def test_the_user_directory_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "relative/ones/are/ignored")
    assert user_directory() == tmp_path / ".local/share/spawncost/machines"
