"""Descriptions, snapshots and the catalogue."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.capture.describe import describe
from calibration.capture.parent_file import CATALOGUE, bundled_parents, read_parent, write_snapshot
from calibration.capture.procfs import capture_process
from calibration.errors import BadInput
from model.address_space import AddressSpace, Vma, VmaKind
from model.process import Caller, Limits, Process, Runtime
from model.units import PAGE_BYTES, PMD_BYTES, PUD_BYTES, spans

LIMIT = st.none() | st.integers(0, 1 << 50)


@st.composite
def vmas(draw: st.DrawFn) -> Vma:
    """Any vma whose pages fit it, at address 0."""
    pages = draw(st.integers(1, 1 << 22))
    counts = [draw(st.integers(0, pages // 4)) for _ in range(3)]
    end = pages * PAGE_BYTES
    return Vma(
        start=0,
        end=end,
        kind=draw(st.sampled_from(VmaKind)),
        anon_ptes=counts[0],
        file_ptes=counts[1],
        swap_ptes=counts[2],
        huge_pmds=draw(st.integers(0, pages // 4 // 512)),
        hugetlb_pages=draw(st.integers(0, 9)),
        folio_pages=draw(st.integers(1, 512)),
        anon_vma=draw(st.booleans()),
        anon_vma_chain=draw(st.integers(1, 9)),
        dontcopy=draw(st.booleans()),
        wipeonfork=draw(st.booleans()),
        account=draw(st.booleans()),
        writable_private=draw(st.booleans()),
        pte_spans=draw(st.none() | st.just(spans(0, end, PMD_BYTES))),
        head_populated=draw(st.booleans()),
        tail_populated=draw(st.booleans()),
        path=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=30)),
    )


@st.composite
def processes(draw: st.DrawFn) -> Process:
    """Any process."""
    placed, cursor = [], 0x10000
    for vma in draw(st.lists(vmas(), min_size=1, max_size=5)):
        start = cursor + draw(st.integers(0, 1 << 20)) * PAGE_BYTES
        cursor = start + vma.end
        pte_spans = vma.pte_spans and spans(start, cursor, PMD_BYTES)
        pmd_spans = vma.pte_spans and spans(start, cursor, PUD_BYTES)
        placed.append(replace(vma, start=start, end=cursor, pte_spans=pte_spans, pmd_spans=pmd_spans))
    fds = draw(st.integers(0, 5000))
    return Process(
        name=draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)),
        space=AddressSpace(tuple(placed)),
        threads=draw(st.integers(1, 5000)),
        running_threads=0,
        open_fds=fds,
        highest_fd=fds - 1 + draw(st.integers(0, 50)),
        cloexec_fds=draw(st.integers(0, fds)),
        runtime=draw(st.sampled_from(Runtime)),
        caller=draw(st.sampled_from(Caller)),
        contiguous=draw(st.floats(0, 1)),
        writable=draw(st.floats(0, 1)),
        limits=Limits(commit_mode=draw(st.sampled_from([None, 0, 1, 2])), available_bytes=draw(LIMIT)),
        assumed=tuple(draw(st.lists(st.sampled_from(["contiguous", "writable"]), unique=True))),
        origin="snapshot",
    )


SLOW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "parent.toml"
    path.write_text(text, encoding="utf-8")
    return path


@SLOW
@given(process=processes())
def test_a_snapshot_comes_back_as_it_was(tmp_path: Path, process: Process) -> None:
    write_snapshot(process, tmp_path / "s.json")
    assert read_parent(tmp_path / "s.json") == process


def test_a_live_process_comes_back_with_its_limits(tmp_path: Path) -> None:
    process = capture_process(os.getpid())
    write_snapshot(process, tmp_path / "s.json")
    assert read_parent(tmp_path / "s.json") == replace(process, origin="snapshot")
    text = describe(process, "two\nlines")
    described = read_parent(toml(tmp_path, text))
    untold = {name: getattr(process, name) for name in ("limits", "assumed", "no_new_privs", "uid", "gid")}
    assert replace(described, origin="live", **untold) == process


@SLOW
@given(process=processes(), where=st.floats(0, 1, exclude_max=True))
def test_a_snapshot_cut_anywhere_is_refused(tmp_path: Path, process: Process, where: float) -> None:
    path = tmp_path / "s.json"
    write_snapshot(process, path)
    text = path.read_bytes().rstrip()
    path.write_bytes(text[: int(where * len(text))])
    with pytest.raises(BadInput):
        read_parent(path)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"schema": "spawncost.process/2"}, "schema"),
        ({"surprise": 1}, "surprise"),
        ({"threads": 0}, "threads"),
        ({"threads": 1.5}, "threads"),
        ({"threads": "3"}, "threads"),
        ({"contiguous": 1.5}, "contiguous"),
        ({"contiguous": float("nan")}, "contiguous"),
        ({"runtime": "go"}, "runtime"),
        ({"name": ""}, "name"),
        ({"limits": {"commit_mode": 3}}, "limits.commit_mode"),
        ({"vmas": []}, "vmas"),
        ({"vmas": [{"start": 0, "end": 4096, "anon_ptes": -1}]}, r"vmas\[0\].anon_ptes"),
        ({"vmas": [{"start": 0, "end": 4096, "anon_ptes": 2}]}, r"vmas\[0\]: more pages"),
        ({"vmas": [{"start": 1, "end": 4096}]}, r"vmas\[0\].start"),
        ({"vmas": [{"start": 4096, "end": 4096}]}, r"vmas\[0\]: start is not below end"),
        ({"vmas": [{"start": 0, "end": 4096, "pte_spans": 7}]}, r"vmas\[0\]: pte_spans"),
        ({"vmas": [{"start": 0, "end": 4096, "pmd_spans": 7}]}, r"vmas\[0\]: pmd_spans"),
        ({"vmas": [{"start": 0, "end": 8192}, {"start": 4096, "end": 12288}]}, "overlap"),
        ({"vmas": [{"start": 0, "end": 4096, "kind": "rug"}]}, r"vmas\[0\].kind"),
        ({"vmas": [{"start": 0, "end": 10**30}]}, r"vmas\[0\].end"),
    ],
)
def test_an_error_in_a_snapshot_names_file_and_key(tmp_path: Path, change: dict[str, object], key: str) -> None:
    path = tmp_path / "s.json"
    good = {"schema": "spawncost.process/1", "name": "x", "vmas": [{"start": 0, "end": 4096}]}
    path.write_text(json.dumps(good | change), encoding="utf-8")
    with pytest.raises(BadInput, match=key) as caught:
        read_parent(path)
    assert caught.value.what.startswith(str(path))


def test_no_snapshot_lacks_its_space(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"schema": "spawncost.process/1", "name": "x"}', encoding="utf-8")
    with pytest.raises(BadInput, match="vmas"):
        read_parent(tmp_path / "s.json")


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.json"
    path.write_text("before", encoding="utf-8")

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(BadInput, match="No space left"):
            write_snapshot(read_parent("c-program"), path)
    assert path.read_text(encoding="utf-8") == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["s.json"]
    with pytest.raises(BadInput):
        write_snapshot(read_parent("c-program"), tmp_path / "none" / "s.json")


@pytest.mark.parametrize("name", bundled_parents())
def test_every_bundled_parent_is_read_and_holds_nothing_of_its_machine(name: str) -> None:
    process = read_parent(name)
    assert (process.origin, process.name, process.limits) == ("bundled", name, Limits())
    assert "contiguous" in process.assumed
    assert len(process.space.vmas) > 20
    shown = {vma.path for vma in process.space.vmas if vma.path.startswith("/")} - {"/tmp/hsperfdata"}
    assert all(path.startswith(("/usr/", "/lib")) for path in shown)


def test_the_catalogue_holds_what_it_promises() -> None:
    assert {"c-program", "cpython", "jvm-256m", "jvm-4g", "redis-1g"} <= set(bundled_parents())
    jvm = read_parent("jvm-4g")
    assert (jvm.runtime, jvm.caller, jvm.threads, jvm.open_fds) == (Runtime.JVM, Caller.COLD, 40, 120)
    assert 4 << 30 < jvm.space.anon_bytes < 9 << 29
    assert 1 << 30 < read_parent("redis-1g").space.anon_bytes < 9 << 27
    assert read_parent(CATALOGUE / "jvm-4g.toml") == replace(jvm, origin="description")


@pytest.mark.parametrize("name", ["jvm-5g", "", "..", "a/b", "x\0y", "jvm-4g/"])
def test_what_is_neither_file_nor_bundled(name: str) -> None:
    with pytest.raises(BadInput):
        read_parent(name)
