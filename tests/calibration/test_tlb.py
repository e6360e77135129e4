"""The TLB's geometry is found again in measurements made of a known one; CPUID's leaves are decoded as documented."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from calibration.errors import BadInput
from calibration.tlb.chases import KINDS, miss_share
from calibration.tlb.geometry import fit_geometry
from calibration.tlb.leaves import descriptors, documented, read_leaves
from calibration.tlb.runs import TlbRow, TlbRuns, planned, read_runs_file, stored_runs, write_runs

FIRST, SECOND, BEYOND = 64, 1536, 23170
HIT_NS, SECOND_NS, WALK_NS, FAR_NS, REFILL_NS = 1.2, 2.0, 12.0, 40.0, 9.0
INTEL = {"0.0": "00000020 756e6547 6c65746e 49656e69", "1.0": "00050654 00000000 00000000 00000000"}
AMD = {"0.0": "00000010 68747541 444d4163 69746e65", "1.0": "00a10f11 00000000 80000000 00000000"}


def translations(row: TlbRow) -> int:
    return int(row.option("pages") or 0) * int(row.option("lines") or 1)


def chase_ns(row: TlbRow, *, fractured: bool) -> float:
    if row.option("packed") is not None:
        return HIT_NS
    pages = translations(row) if fractured or row.option("huge") is None else int(row.option("pages") or 0)
    levels = ((FIRST, "sets-4", SECOND_NS), (SECOND, "hashed-8", WALK_NS), (BEYOND, "random", FAR_NS))
    return HIT_NS + sum(cost * miss_share(pages, entries, kind) for entries, kind, cost in levels)


def invented_ns(row: TlbRow, *, fractured: bool = False, page_empties: float = 0.0, keeps: float = 1.0) -> float:
    pages = translations(row)
    if row.bench == "tlb_chase":
        return chase_ns(row, fractured=fractured)
    if row.bench == "tlb_refill":
        emptied = {"full": 1.0, "page": page_empties, "none": 0.0}[row.option("flush") or ""]
        hit_ns = HIT_NS if row.option("extra") is None else 0.0
        return hit_ns + (REFILL_NS * emptied if pages <= SECOND else 0.0)
    if row.bench == "tlb_switch":
        lost = (1.0 - keeps) if row.option("partner") == "process" and pages <= SECOND else 0.0
        return HIT_NS + REFILL_NS * lost
    return 800.0 + 1500.0 * int(row.option("running") or 0)


def invented(**of: float) -> TlbRuns:
    """Runs of a machine with a known TLB: five processes that scatter by a percent."""
    rows = []
    for index, row in enumerate(planned(4)):
        ns = invented_ns(row, **of)  # type: ignore[arg-type]
        rows.append(replace(row, ns=tuple(ns * (1.0 + 0.01 * ((index + turn) % 3)) for turn in range(5))))
    return TlbRuns(machine="m", cpu="c", date="20260101T0000", cpus=4, leaves=INTEL, rows=tuple(rows))


def test_a_known_geometry_is_found_again() -> None:
    found = fit_geometry(invented(), bootstraps=4)
    assert found is not None
    assert found.small.second is not None
    assert found.small.first.entries.value == pytest.approx(FIRST, rel=0.05)
    assert found.small.second.entries.value == pytest.approx(SECOND, rel=0.1)
    assert found.small.first.miss_ns.value == pytest.approx(SECOND_NS, rel=0.05)
    assert found.small.second.miss_ns.value == pytest.approx(WALK_NS, rel=0.05)
    assert found.small.beyond is not None
    assert found.small.beyond.miss_ns.value == pytest.approx(FAR_NS, rel=0.15)
    assert found.refill_ns is not None
    assert found.refill_ns.value == pytest.approx(REFILL_NS, rel=0.05)
    assert found.rounds_ns == pytest.approx({n: 1500.0 * n for n in (1, 2, 3)}, rel=0.05)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_a_page_flush_and_a_switch_empty_is_found_again(share: float) -> None:
    found = fit_geometry(invented(page_empties=share, keeps=share), bootstraps=2)
    assert found is not None
    assert found.page_flush_empties is not None
    assert found.page_flush_empties.value == pytest.approx(share, abs=0.05)
    assert found.pcid_keeps is not None
    assert found.pcid_keeps.value == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("fractured", [True, False])
def test_huge_pages_held_in_pieces_are_told_from_whole_ones(fractured: bool) -> None:
    found = fit_geometry(invented(fractured=fractured), bootstraps=2)
    assert found is not None
    assert found.fractured == pytest.approx(float(fractured), abs=0.05)
    assert found.facts["tlb_fractured"] == float(fractured)


def test_without_chases_nothing_is_found() -> None:
    runs = invented()
    assert fit_geometry(replace(runs, rows=tuple(row for row in runs.rows if row.bench != "tlb_chase"))) is None


@pytest.mark.parametrize("kind", [*KINDS, "random"])
def test_the_share_of_misses_grows_from_none_to_all(kind: str) -> None:
    found = [miss_share(n, 128.0, kind) for n in (8, 64, 128, 129, 140, 160, 200, 400, 4000)]
    assert found[0] == pytest.approx(0.0, abs=1e-3)
    assert found[-1] == pytest.approx(1.0, abs=1e-3)
    assert all(0.0 <= one <= other <= 1.0 for one, other in pairwise(found))


def test_descriptors_stand_only_in_registers_without_the_top_bit() -> None:
    assert descriptors([0x00FEFF01, 0xF0, 0x80000063, 0]) == [0xFF, 0xFE, 0xF0]


def test_leaf_2_and_leaf_18_say_the_same_of_a_skylake_server() -> None:
    by_2 = read_leaves({**INTEL, "2.0": "7603c301 00000000 00000000 00000000"}).levels
    assert {(each.level, each.entries, each.ways) for each in by_2} == {(1, 64, 4), (2, 1536, 6), (2, 16, 4)}
    leaf_18 = {"18.0": "00000001 00000000 00000000 00000000", "18.1": "00000000 000c0003 00000080 00000043"}
    (second,) = read_leaves({**INTEL, **leaf_18}).levels
    assert (second.level, second.entries, second.ways, second.pages) == (2, 1536, 12, ("4K", "2M"))


def test_amd_leaves_of_a_zen_4() -> None:
    leaves = {"80000005.0": "ff48ff40 ff48ff40 00000000 00000000", "80000006.0": "6c004200 6c004200 00000000 00000000"}
    found = read_leaves({**AMD, **leaves})
    assert found.vendor == "AuthenticAMD"
    assert (found.family, found.model) == (25, 17)
    assert {(each.level, each.entries, each.ways) for each in found.levels} == {(1, 72, 0), (2, 3072, 8)}
    name, levels = documented({**AMD, **leaves})
    assert name == "Zen 4"
    assert {(each.level, each.entries) for each in levels} == {(1, 72), (2, 3072)}


def test_a_hypervisor_that_hides_the_leaves_is_named() -> None:
    hidden = {"0.0": INTEL["0.0"], "1.0": "000a0671 00000000 80000000 00000000", "7.0": "00000000 0 0 01000000"}
    found = read_leaves({**hidden, "2.0": "00feff01 000000f0 00000000 00000000", "18.0": "0 0 0 0"})
    assert found.levels == ()
    assert any("leaf 18H" in each for each in found.remarks)
    assert any("AMX" in each for each in found.remarks)
    assert documented(hidden)[0].startswith("Golden Cove")


def test_cores_that_are_not_listed_are_not_guessed() -> None:
    assert documented({**INTEL, "1.0": "00000610 0 0 0"}) == ("", ())
    assert all(each.source and each.entries > 0 for each in documented(INTEL)[1])


@pytest.mark.parametrize("wrong", [{}, {"0.0": "zz", "1.0": "0"}, {"0.0": "1", "1.0": "0 0 0 0"}])
def test_what_is_no_cpuid_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        read_leaves(wrong)


def test_a_measurement_is_read_back_as_written(tmp_path: Path) -> None:
    runs = invented()
    path = tmp_path / "m" / "m.tlb.20260101T0000.json"
    write_runs(runs, path)
    assert read_runs_file(path) == runs
    assert stored_runs("m", [tmp_path]) == path
    with pytest.raises(BadInput, match="no stored measurement"):
        stored_runs("other", [tmp_path])


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "spawncost.tlb/2"}', "[1]", "nonsense"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"x\.json"):
        read_runs_file(path)


def test_a_row_that_never_ended_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_runs(invented(), path)
    document = json.loads(path.read_text())
    document["rows"][3]["ns"] = []
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput, match=r"rows\[3\]\.ns"):
        read_runs_file(path)
