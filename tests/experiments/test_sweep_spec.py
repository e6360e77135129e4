"""A specification says which points there are, and a bad one is refused by file and key."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from calibration.errors import BadInput
from experiments.points import points_of, size_of
from experiments.scenarios import DEFAULT_VIA, JDK_VIA
from experiments.sweep_spec import Sweep, read_sweep
from tests.experiments.sweep_support import ROOT

HEAD = 'schema = "spawncost.sweep/1"\n'
GRID: dict[str, Any] = {"rss": ["1MiB", "2MiB", "4MiB"], "threads": [1, 8]}


def _inputs(sweep: Sweep) -> list[dict[str, Any]]:
    return [each.inputs for each in points_of(sweep)]


@pytest.mark.parametrize("path", sorted((ROOT / "experiments/specs").glob("*.toml")), ids=lambda path: path.stem)
def test_ready_specifications_are_read(path: Path) -> None:
    sweep = read_sweep(path)
    assert sweep.name == path.stem
    assert next(points_of(sweep)).number == 0
    assert 30 < size_of(sweep) < 100_000


def test_a_grid_holds_every_combination_once() -> None:
    sweep = Sweep(base={"via": ["fork", "vfork"]}, axes=GRID)
    found = [(each["rss"], each["threads"], each["via"]) for each in _inputs(sweep)]
    assert found == [(rss << 20, threads, via) for rss in (1, 2, 4) for threads in (1, 8) for via in ("fork", "vfork")]
    assert size_of(sweep) == len(found)
    assert [each.number for each in points_of(sweep)] == list(range(len(found)))


def test_zip_takes_values_side_by_side() -> None:
    sweep = Sweep(base={"via": ["fork"]}, axes={"rss": ["1MiB", "2MiB"], "threads": [1, 8]}, method="zip")
    assert [(each["rss"], each["threads"]) for each in _inputs(sweep)] == [(1 << 20, 1), (2 << 20, 8)]


def test_mechanisms_are_those_of_predict_if_none_are_named() -> None:
    assert Sweep(axes={"thp": ["off", "on"]}).mechanisms == DEFAULT_VIA + JDK_VIA
    assert Sweep(base={"rss": "1MiB"}).mechanisms == DEFAULT_VIA
    assert "posix_spawn" not in Sweep(base={"rss": "1MiB", "exec": "none"}).mechanisms


@pytest.mark.parametrize("name", ["via", "mechanism"])
def test_the_mechanism_can_be_an_axis(name: str) -> None:
    sweep = Sweep(base={"rss": "1MiB"}, axes={name: ["vfork", "fork"]})
    assert [each["via"] for each in _inputs(sweep)] == ["vfork", "fork"]


@pytest.mark.parametrize("method", ["latin-hypercube", "sobol"])
def test_a_sampled_design_covers_its_ranges_evenly(method: str) -> None:
    axes = {
        "rss": {"low": "1MiB", "high": "1GiB", "scale": "log"},
        "parent.contiguous": {"low": 0.25, "high": 0.75},
        "thp": ["off", "on"],
    }
    found = _inputs(Sweep(base={"via": "fork"}, axes=axes, method=method, samples=256, seed=5))
    assert len(found) == 256
    logs = sorted(math.log2(each["rss"]) for each in found)
    assert 20 <= logs[0] < 20.2
    assert 29.8 < logs[-1] <= 30
    # One point in each of the 256 strata, as both designs promise; a pseudo-random draw leaves a third of them empty.
    assert len({int((each["parent.contiguous"] - 0.25) * 512) for each in found}) >= 250
    assert abs(sum(each["thp"] == "on" for each in found) - 128) <= 1


@pytest.mark.parametrize("method", ["latin-hypercube", "sobol"])
def test_samples_depend_on_the_seed_and_nothing_else(method: str) -> None:
    def drawn(seed: int, replicates: int = 1) -> list[Any]:
        axes = {"rss": {"low": "1MiB", "high": "1GiB"}}
        sweep = Sweep(base={"via": "fork"}, axes=axes, method=method, samples=10, seed=seed, replicates=replicates)
        return [each["rss"] for each in _inputs(sweep)]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    assert drawn(3, 2) == drawn(3) + drawn(4)


def test_a_long_sobol_sequence_is_the_one_drawn_at_once() -> None:
    from scipy.stats import qmc

    axes = {"parent.contiguous": {"low": 0, "high": 1}, "parent.writable": {"low": 0, "high": 1}}
    found = _inputs(Sweep(base={"via": "fork"}, axes=axes, method="sobol", samples=9000, seed=2))
    import numpy as np

    whole = qmc.Sobol(2, rng=np.random.default_rng(2)).random(16384)[:9000]
    got = np.array([[each["parent.contiguous"], each["parent.writable"]] for each in found])
    assert np.abs(got - whole).max() < 1e-9


def test_replicates_have_seeds_of_their_own() -> None:
    sweep = Sweep(base={"rss": "1MiB", "via": "fork"}, replicates=3, seed=7)
    assert [each["seed"] for each in _inputs(sweep)] == [7, 8, 9]


def test_constraints_leave_points_out_and_numbers_alone() -> None:
    sweep = Sweep(base={"via": "fork"}, axes=GRID)
    whole: dict[int, dict[str, Any]] = {each.number: dict(each.inputs) for each in points_of(sweep)}
    texts = ('rss <= "2MiB" or threads == 1', "not (rss * threads > 8 * 1048576)", 'via in ["fork", "vfork"]')
    left = {each.number: each.inputs for each in points_of(Sweep(base={"via": "fork"}, axes=GRID, constraints=texts))}
    assert left == {
        number: each
        for number, each in whole.items()
        if (each["rss"] <= 2 << 20 or each["threads"] == 1) and each["rss"] * each["threads"] <= 8 << 20
    }
    assert 0 < len(left) < len(whole)


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "rss.real > 1", "rss if rss else 1", "nothing > 1", "rss >", "lambda: 1", "rss ** 9 > 1"],
)
def test_a_constraint_is_never_executed(text: str) -> None:
    with pytest.raises(BadInput, match=r"constraints\.0"):
        Sweep(base={"via": "fork"}, axes=GRID, constraints=(text,))


def test_a_constraint_that_compares_unlike_things_is_told() -> None:
    sweep = Sweep(base={"via": "fork"}, axes=GRID, constraints=("via > 3",))
    with pytest.raises(BadInput, match="via > 3"):
        list(points_of(sweep))


def test_dotted_names_need_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        HEAD + 'base = { via = "jdk-fork", rules = { thp_cow = "copy_pmd" } }\n[axes]\nparent.resident = ["1GiB"]\n'
        "parent.huge = { low = 0.0, high = 1.0, count = 3 }\nrules.anon_exclusive = [true, false]\n"
    )
    found = _inputs(read_sweep(path))
    assert len(found) == 6
    assert {each["rules.thp_cow"] for each in found} == {"copy_pmd"}
    assert {each["rules.anon_exclusive"] for each in found} == {"true", "false"}
    assert {each["parent.huge"] for each in found} == {0.0, 0.5, 1.0}


BAD = {
    "": "schema",
    'schema = "spawncost.sweep/9"': "schema",
    HEAD: "axes",
    HEAD + "colour = 3": "colour",
    HEAD + 'base = { parent = "jvm-4g", rss = "1GiB" }': "rss",
    HEAD + 'base = { colour = "red" }': "base.colour",
    HEAD + "base = { load = 3 }": "base.load",
    HEAD + 'base = { "load.calls.0.via" = "fork" }': "base.load.calls.0.via",
    HEAD + '[axes]\n"load.mutators.2.threads" = [1]': "load",
    HEAD + 'base = { via = ["spoon"] }': "base.via",
    HEAD + "base = { via = [] }": "base.via",
    HEAD + "base = { kernel = 6.10 }": "base.kernel",
    HEAD + 'base = { threads = 3, parent = "jvm-4g" }': "threads",
    HEAD + "[axes]\nrss = []": "axes.rss",
    HEAD + '[axes]\nrss = ["1MiB", "big"]': "axes.rss.1",
    HEAD + '[axes]\nrss = ["1MiB", "1024KiB"]': "axes.rss.1",
    HEAD + '[axes]\nrss = { low = "1MiB", high = "2MiB" }': "axes.rss",
    HEAD + '[axes]\nrss = { low = "2MiB", high = "1MiB", count = 3 }': "axes.rss",
    HEAD + '[axes]\nrss = { low = 0, high = 10, count = 3, scale = "log" }': "axes.rss",
    HEAD + "[axes]\nrss = { low = 0, high = 10, steps = 3 }": "axes.rss.steps",
    HEAD + "[axes]\nrss = 3": "axes.rss",
    HEAD + "[axes]\nrss = { low = 0, high = 10, count = 1 }": "axes.rss.count",
    HEAD + "[axes]\nthp = { low = 0, high = 1, count = 2 }": "axes.thp",
    HEAD + '"axes" = 3': "axes",
    HEAD + '[axes]\n"parent.huge" = [2.0]': "axes.parent.huge.0",
    HEAD + '[axes]\n"parent.threads" = [1.5]': "axes.parent.threads.0",
    HEAD + '[axes]\n"parent.huge" = [true]': "axes.parent.huge.0",
    HEAD + '[axes]\n"rules.thp_cow" = ["sometimes"]': "axes.rules.thp_cow.0",
    HEAD + '[axes]\nvia = ["fork"]\nmechanism = ["vfork"]': "axes.via",
    HEAD + 'base = { thp = "on" }\n[axes]\nthp = ["off"]': "axes.thp",
    HEAD + 'method = "zip"\n[axes]\nrss = ["1MiB"]\nthp = ["off", "on"]': "axes",
    HEAD + 'method = "sobol"\n[axes]\nrss = { low = 1, high = 10 }': "samples",
    HEAD + "samples = 3\n[axes]\nrss = [1]": "samples",
    HEAD + "replicates = 0\n[axes]\nrss = [1]": "replicates",
    HEAD + "seed = -1\n[axes]\nrss = [1]": "seed",
    HEAD + 'seed = "x"\n[axes]\nrss = [1]': "seed",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_specification_is_refused_by_file_and_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(BadInput) as refused:
        read_sweep(path)
    assert refused.value.what == f"{path}: {BAD[text]}"
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"schema = ", b"\xff\xfe", b"a = " + b"[" * 10_000])
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"bad\.toml"):
        read_sweep(path)


def test_equal_sweeps_have_one_text_and_others_another() -> None:
    one = Sweep(base={"via": ["fork"], "thp": "on"}, axes={"rss": ["1MiB"]})
    same = Sweep(base={"thp": "on", "mechanism": "fork"}, axes={"rss": [1 << 20]}, name="other", where="elsewhere")
    assert one.canonical == same.canonical
    for other in ({"seed": 1}, {"replicates": 2}, {"constraints": ("rss > 0",)}, {"breakdown": True}):
        assert Sweep(base={"via": ["fork"], "thp": "on"}, axes={"rss": ["1MiB"]}, **other).canonical != one.canonical
