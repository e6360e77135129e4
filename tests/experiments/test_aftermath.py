"""`--load`: files that are refused, the section of the document, and its text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import experiments
from calibration.capture.load_file import read_load
from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from experiments.answers import answer
from experiments.load_changes import load_of
from experiments.report import WIDTH, prediction_text
from experiments.scenarios import Question, helpers_of, mechanisms_of
from model.elf_image import NO_IMAGE
from model.rules import Rules
from model.scenario import Calls, Load, Mutators

SCHEMA = json.loads((Path(experiments.__file__).parent / "schemas" / "prediction.json").read_text())
GOOD = """schema = "spawncost.load/1"
busy_cpus = 0
child_lifetime = "1.5s"
[[mutators]]
threads = 8
writes_per_second = 200000
locality = "zipf"
working_set = "16MiB"
"""


def test_a_load_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "load.toml"
    path.write_text(GOOD)
    mutators = Mutators(threads=8, writes_per_second=200_000.0, locality="zipf", working_set_pages=4096)
    assert read_load(path) == Load(child_lifetime_ns=1.5e9, mutators=(mutators,))
    path.write_text('schema = "spawncost.load/1"\n')
    assert read_load(path) == Load()


CALLS = """schema = "spawncost.load/1"
[[calls]]
call = "mmap"
threads = 3
calls_per_second = 1000.0
[[calls]]
call = "malloc"
calls_per_second = 1e6
"""


def test_calls_are_read_and_told_of_each_mechanism(tmp_path: Path, machine_file: MachineFile) -> None:
    path = tmp_path / "load.toml"
    path.write_text(CALLS)
    load = read_load(path)
    calls = (Calls(call="mmap", threads=3, calls_per_second=1000.0), Calls(call="malloc", calls_per_second=1e6))
    assert load == Load(calls=calls)
    document = _asked(machine_file, load)
    jsonschema.validate(document, SCHEMA)
    fork, vfork, clone3 = (each["lock_waits"] for each in document["predictions"])
    assert [each["lock"] for each in fork] == ["mmap_lock", "malloc"]
    assert all(each["held_us"] > 0 < each["waiting_threads"] for each in fork)
    assert [each["held_us"] for each in vfork] == [0, 0]
    assert [each["held_us"] > 0 for each in clone3] == [True, False]
    text = prediction_text(document)
    assert max(map(len, text.splitlines()[:-1])) <= WIDTH
    assert "fork, who waits for its locks" in text
    path.write_text(CALLS.replace('"mmap"', '"open"'))
    with pytest.raises(BadInput, match="call"):
        read_load(path)


BAD = {
    "no schema": ('schema = "spawncost.load/1"', "", "schema"),
    "another schema": ("load/1", "load/2", "schema"),
    "no TOML": ("[[mutators]]", "[[mutators]", "TOML"),
    "unknown key": ("busy_cpus", "busy_cpu", "busy_cpu"),
    "negative": ("busy_cpus = 0", "busy_cpus = -1", "busy_cpus"),
    "no duration": ('"1.5s"', '"long"', "child_lifetime"),
    "a bare number": ('"1.5s"', "2", "child_lifetime"),
    "too long": ('"1.5s"', '"9999h"', "child_lifetime"),
    "no threads": ("threads = 8", "threads = 0", "threads"),
    "no rate": ("200000", "0", "writes_per_second"),
    "not finite": ("200000", "inf", "writes_per_second"),
    "no locality": ('"zipf"', '"random"', "locality"),
    "no size": ('"16MiB"', '"much"', "working_set"),
    "nothing written": ('"16MiB"', '"0"', "working_set"),
}


@pytest.mark.parametrize(("old", "new", "named"), BAD.values(), ids=BAD)
def test_a_bad_load_is_refused_in_one_line(tmp_path: Path, old: str, new: str, named: str) -> None:
    path = tmp_path / "load.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(BadInput) as refused:
        read_load(path)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(path) in refused.value.what


def test_what_is_no_file_or_keeps_too_many_cpus_busy_is_refused(tmp_path: Path, machine_file: MachineFile) -> None:
    parent = synthetic_parent(1 << 20)
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(BadInput):
            load_of(path, parent, machine_file.machine)
    path = tmp_path / "load.toml"
    path.write_text(GOOD.replace("busy_cpus = 0", "busy_cpus = 4000"))
    with pytest.raises(BadInput, match="busy_cpus"):
        load_of(path, parent, machine_file.machine)


def test_a_working_set_larger_than_the_parent_is_cut_with_a_warning(tmp_path: Path, machine_file: MachineFile) -> None:
    path = tmp_path / "load.toml"
    path.write_text(GOOD)
    _, notices = load_of(path, synthetic_parent(1 << 20), machine_file.machine)
    assert [each.code for each in notices] == ["working_set"]
    assert load_of(path, synthetic_parent(1 << 25), machine_file.machine)[1] == ()


def _document(machine_file: MachineFile, *, life_ns: float = 0.0) -> dict[str, Any]:
    mutators = Mutators(threads=4, writes_per_second=50_000, working_set_pages=8192)
    return _asked(machine_file, Load(child_lifetime_ns=life_ns, mutators=(mutators,)))


def _asked(machine_file: MachineFile, load: Load) -> dict[str, Any]:
    parent = synthetic_parent(64 << 20)
    return answer(
        Question(
            parent=parent,
            target=NO_IMAGE,
            mechanisms=mechanisms_of("fork,vfork,clone3", parent, NO_IMAGE),
            rules=Rules(),
            helpers=helpers_of(())[0],
            load=load,
        ),
        machine_file,
    )


@pytest.mark.parametrize("life_ns", [0.0, 3e8])
def test_the_document_tells_of_every_life_of_the_child(machine_file: MachineFile, life_ns: float) -> None:
    document = _document(machine_file, life_ns=life_ns)
    jsonschema.validate(document, SCHEMA)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    fork, vfork, _ = (each["aftermath"] for each in document["predictions"])
    same = fork["compared"]["lives" if life_ns else "exec"]
    assert same == {name: value for name, value in fork.items() if name not in ("batching", "compared")}
    assert fork["compared"]["lives"]["cow_copies"] > fork["compared"]["exec"]["cow_copies"]
    assert fork["cow_copies"] + fork["reuse_faults"] == pytest.approx(8192, abs=1)
    for none in (vfork, fork["compared"]["no_fork"]):
        assert not none["copied"]
        assert none["cow_copies"] == none["reuse_faults"] == none["stall_us"]["longest"] == 0.0


def test_the_text_fits_eighty_columns_and_names_each_mechanism(machine_file: MachineFile) -> None:
    text = prediction_text(_document(machine_file, life_ns=3e8))
    assert max(map(len, text.splitlines()[:-1])) <= WIDTH
    assert "fork, what its mutator threads meet" in text
    assert "vfork, aftermath: none" in text
    assert "lives 300 ms" in text
