"""What a user names becomes the value that is meant, or is refused by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calibration.capture.parent_file import read_parent
from calibration.capture.synthetic import synthetic_parent
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from experiments import scenarios
from experiments.bundled_images import bundled_image
from experiments.scenarios import (
    DEFAULT_VIA,
    JDK_VIA,
    adjusted,
    flags_of,
    helpers_of,
    mechanisms_of,
    rules_of,
    target_of,
)
from model.elf_image import NO_IMAGE
from model.mechanisms import HELPED, MECHANISMS, NEEDS_EXEC
from model.process import Caller

TRUE = bundled_image("true")
JVM = read_parent("jvm-4g")
C_PROGRAM = read_parent("c-program")


def test_the_default_mechanisms_depend_on_the_runtime() -> None:
    assert mechanisms_of(None, C_PROGRAM, TRUE) == DEFAULT_VIA
    assert mechanisms_of(None, JVM, TRUE) == DEFAULT_VIA + JDK_VIA


def test_all_is_all_that_makes_sense_for_the_target() -> None:
    assert mechanisms_of("all", JVM, TRUE) == tuple(MECHANISMS)
    assert set(mechanisms_of("all", JVM, NO_IMAGE)) == set(MECHANISMS) - NEEDS_EXEC


def test_named_mechanisms_keep_their_order_and_stand_once() -> None:
    assert mechanisms_of("vfork, fork,vfork", C_PROGRAM, TRUE) == ("vfork", "fork")


@pytest.mark.parametrize("via", ["", "spoon", "fork,", "runc", "go-forkexec", "Fork"])
def test_unknown_and_unbuilt_mechanisms_are_refused(via: str) -> None:
    with pytest.raises(BadInput, match="--via"):
        mechanisms_of(via, C_PROGRAM, TRUE)


@pytest.mark.parametrize("name", sorted(NEEDS_EXEC))
def test_what_needs_an_exec_is_refused_without_one(name: str) -> None:
    with pytest.raises(BadInput, match=name):
        mechanisms_of(name, JVM, NO_IMAGE)


def test_flags_are_taken_with_and_without_prefix() -> None:
    assert flags_of("vm, CLONE_VFORK", ["clone3"]) == {"CLONE_VM", "CLONE_VFORK"}
    assert flags_of(None, ["fork"]) == frozenset()


@pytest.mark.parametrize(("flags", "mechanisms"), [("CLONE_NEWPID", ["clone3"]), ("CLONE_VM", ["fork"])])
def test_flags_without_a_price_or_a_taker_are_refused(flags: str, mechanisms: list[str]) -> None:
    with pytest.raises(BadInput, match="--clone-flags"):
        flags_of(flags, mechanisms)


def test_a_missing_default_target_is_the_bundled_one_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenarios, "DEFAULT_TARGET", "/no/such/true")
    image, notices = target_of(None)
    assert image == TRUE
    assert [each.code for each in notices] == ["assumed_file"]


def test_a_target_that_is_named_is_never_replaced(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path, Path(__file__)):
        with pytest.raises(BadInput):
            target_of(str(path))
    with pytest.raises(BadInput, match="--exec"):
        target_of("")
    assert target_of("none") == (NO_IMAGE, ())


def test_a_missing_helper_is_the_bundled_one_with_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    helpers, notices = helpers_of(["fork", "jdk-posix_spawn"])
    assert helpers == {"jdk-posix_spawn": bundled_image("jspawnhelper")}
    assert [each.code for each in notices] == ["assumed_file"]


def test_the_helper_beside_the_parents_own_java_comes_first(tmp_path: Path) -> None:
    lib = tmp_path / "jdk" / "lib"
    lib.mkdir(parents=True)
    (lib / "jspawnhelper").write_bytes(Path("/bin/true").read_bytes())
    helpers, notices = helpers_of(["jdk-posix_spawn"], java=tmp_path / "jdk" / "bin" / "java")
    assert helpers["jdk-posix_spawn"].path == str(lib / "jspawnhelper")
    assert not notices


def test_every_helped_mechanism_gets_its_helper() -> None:
    assert set(helpers_of(MECHANISMS)[0]) == HELPED


def test_a_kernel_asked_for_sets_its_rules_and_no_others(machine_file: MachineFile) -> None:
    machine = replace(machine_file.machine, rules=replace(machine_file.machine.rules, jdk_closes_fds="cloexec"))
    rules = rules_of(machine, kernel="5.4")
    assert rules.thp_cow == "copy_pmd"
    assert rules.vma_tree == "rbtree"
    assert rules.jdk_closes_fds == "cloexec", "the kernel does not decide it"


def test_clear_sighand_needs_both_glibc_and_kernel(machine_file: MachineFile) -> None:
    machine = machine_file.machine
    assert not rules_of(machine).posix_spawn_clear_sighand
    assert rules_of(machine, glibc="2.38").posix_spawn_clear_sighand
    assert not rules_of(machine, glibc="2.38", kernel="5.4").posix_spawn_clear_sighand


def test_a_single_rule_overrides_a_version(machine_file: MachineFile) -> None:
    rules = rules_of(machine_file.machine, kernel="5.4", jdk="8", settings=["thp_cow=split_pmd", "per_vma_lock=True"])
    assert (rules.thp_cow, rules.per_vma_lock, rules.jdk_launch) == ("split_pmd", True, "vfork")


@pytest.mark.parametrize(
    "asked",
    [
        {"kernel": "3.10"},
        {"kernel": "new"},
        {"glibc": "two"},
        {"jdk": ""},
        {"settings": ["thp_cow"]},
        {"settings": ["thp_cow=both"]},
        {"settings": ["no_rule=true"]},
    ],
)
def test_versions_and_rules_that_do_not_exist_are_refused(machine_file: MachineFile, asked: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="--"):
        rules_of(machine_file.machine, **asked)


def test_what_is_said_is_assumed_no_more() -> None:
    assert {"contiguous", "writable"} <= set(JVM.assumed)
    said = adjusted(JVM, contiguous=0.25, caller="hot")
    assert said.contiguous == 0.25
    assert said.caller is Caller.HOT
    assert "contiguous" not in said.assumed
    assert "writable" in said.assumed


def test_thp_moves_memory_and_loses_none() -> None:
    on, off = adjusted(JVM, thp="on"), adjusted(JVM, thp="off")
    assert on.space.total("huge_pmds") > 2000
    assert off.space.total("huge_pmds") == 0
    assert on.space.anon_bytes == off.space.anon_bytes == JVM.space.anon_bytes


@pytest.mark.parametrize(
    "said",
    [{"thp": "maybe"}, {"caller": "warm"}, {"contiguous": 1.5}, {"writable": -0.1}, {"contiguous": float("nan")}],
)
def test_what_cannot_be_is_refused(said: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="--"):
        adjusted(JVM, **said)  # type: ignore[arg-type]


def test_a_fragmented_memory_and_folios_are_what_if() -> None:
    parent = synthetic_parent(64 << 20)
    pages = parent.space.total("anon_ptes")
    whole, part = (adjusted(parent, thp="on", thp_fallback=each).space.total("huge_pmds") for each in (0.0, 0.25))
    assert part == round(0.75 * whole)
    assert adjusted(parent, thp="on", thp_fallback=1.0).space.total("anon_ptes") == pages
    folios = adjusted(replace(parent, assumed=("folio_pages",)), folio="64KiB")
    assert {vma.folio_pages for vma in folios.space.vmas if vma.anon_ptes} == {16}
    assert folios.assumed == ()
    assert adjusted(folios, folio="4KiB").space == parent.space


@pytest.mark.parametrize("wrong", [{"folio": "12KiB"}, {"folio": "2MiB"}, {"folio": "1KiB"}, {"thp_fallback": 0.5}])
def test_what_no_kernel_has_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"--folio|--thp-fallback"):
        adjusted(synthetic_parent(1 << 20), **wrong)
    with pytest.raises(BadInput, match="no fraction"):
        adjusted(synthetic_parent(1 << 20), thp="on", thp_fallback=1.5)
