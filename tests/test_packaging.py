"""Locks, Makefile and wheel: what a fresh machine relies on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("model", "calibration", "experiments")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = ("run.lock", "dev.lock")


def pins(lock: str) -> dict[str, list[str]]:
    """Each requirement line of a lock, such as `numpy==2.0.0 ; python_version < '3.12'`, with its hashes."""
    found: dict[str, list[str]] = {}
    current = ""
    for line in (ROOT / ".locks" / lock).read_text(encoding="utf-8").splitlines():
        text = line.rstrip("\\ ").strip()
        if text.startswith("--hash="):
            found[current].append(text.removeprefix("--hash="))
        elif text and not text.startswith("#"):
            current = text
            found[current] = []
    return found


def normal(requirement: str) -> str:
    """The normalised name of a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]).lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_everything_with_hashes(lock: str) -> None:
    found = pins(lock)
    assert len(found) > 20
    assert [line for line in found if not re.match(r"[\w.-]+==[\w.!+]+( ; .*)?$", line)] == []
    assert [line for line, hashes in found.items() if not hashes] == []
    assert {h for hashes in found.values() for h in hashes if not re.fullmatch(r"sha256:[0-9a-f]{64}", h)} == set()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_place_on_the_network_or_this_machine(lock: str) -> None:
    text = (ROOT / ".locks" / lock).read_text(encoding="utf-8")
    assert re.findall(r"\w+://\S*|^--(?!hash).*|^-\w .*|.* @ .*|/\w+", text, re.MULTILINE) == []


def test_locks_cover_what_pyproject_asks_for() -> None:
    run, dev = ({normal(line) for line in pins(lock)} for lock in LOCKS)
    build = {normal(each) for each in PROJECT["build-system"]["requires"]}
    needed = {normal(each) for each in PROJECT["project"]["dependencies"]}
    developing = {normal(each) for each in PROJECT["dependency-groups"]["dev"]}
    assert needed | build <= run
    assert needed | build | developing <= dev
    assert build == {normal(line) for line in (ROOT / ".locks/build.in").read_text().splitlines() if line[0] != "#"}


def test_the_development_lock_contains_the_run_lock() -> None:
    run, dev = (pins(lock) for lock in LOCKS)
    assert {line for line in run if run[line] != dev.get(line)} == set()


def test_every_dependency_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r'^ {4}"([\w.-]+)[<>=~!][^"]*",(.*)$', text, re.MULTILINE)
    project = PROJECT["project"]
    extras = [each for group in project["optional-dependencies"].values() for each in group]
    expected = project["dependencies"] + extras + PROJECT["dependency-groups"]["dev"]
    assert sorted(normal(name) for name, _ in listed) == sorted(normal(each) for each in expected)
    assert [name for name, comment in listed if not re.match(r"\s+# \S", comment)] == []


@pytest.mark.parametrize("target", ["predict", "test", "bench", "notebooks", "docs"])
def test_make_knows_the_target(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "-w", str(out), str(source)], check=True, capture_output=True, timeout=900)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    there = {str(p.relative_to(source)) for name in PACKAGES for p in (source / name).rglob("*") if p.is_file()}
    assert there - shipped == set()
    assert {name for name in shipped if name.partition("/")[0] not in PACKAGES} == set()
