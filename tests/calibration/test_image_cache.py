"""Images on disk: found again by what was asked, never after a file has changed, and never trusted unread."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from calibration.capture import elf, image_cache
from calibration.capture.elf import capture_elf
from calibration.capture.image_cache import SCHEMA
from model.elf_image import ElfImage
from tests.calibration.elf_support import compile_c, quiet_environ


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(elf, "WORTH_STORING_S", 0.0)
    elf._images.clear()
    yield
    elf._images.clear()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return compile_c(tmp_path / "program", "int main(void) { return 0; }\n")


def read(path: Path, **more: object) -> ElfImage:
    """As another process would read it."""
    elf._images.clear()
    return capture_elf(path, environ=quiet_environ(), **more)  # type: ignore[arg-type]


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "spawncost" / "images").glob("*.json"))


def never(*unused: object) -> None:
    raise AssertionError("it was read from its files")


def test_an_image_is_read_from_its_files_once(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, bound = read(program), read(program, bind_now=True)
    assert len(entries(tmp_path)) == 2
    monkeypatch.setattr(elf, "_capture", never)
    assert read(program) == first
    assert read(program, bind_now=True) == bound
    with pytest.raises(AssertionError):
        read(program, glibc="2.31")


def test_a_file_that_changed_is_read_anew(program: Path, tmp_path: Path) -> None:
    first = read(program)
    compile_c(program, "int main(void) { return 0; }\nint other(void) { return 1; }\n", "-static")
    assert read(program).kind != first.kind


def test_other_code_does_not_find_it(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(program)
    monkeypatch.setattr(image_cache, "_code", lambda: "newer")
    monkeypatch.setattr(elf, "_capture", never)
    with pytest.raises(AssertionError):
        read(program)


def test_what_is_not_sound_is_read_anew(program: Path, tmp_path: Path) -> None:
    good = read(program)
    (path,) = entries(tmp_path)
    schema, asked, files, image = json.loads(path.read_text())
    assert schema == SCHEMA
    negative = {**image, "objects": [{**each, "symbol_lookups": -1} for each in image["objects"]]}
    strange = {**image, "objects": [{**each, "symbol_lookups": "many"} for each in image["objects"]]}
    bad = [
        "",
        "[" * 100_000,
        json.dumps([schema, asked, files]),
        json.dumps([schema, asked, files, {**image, "more": 1, "path": 3}]),
        json.dumps([schema, asked, files, negative]),
        json.dumps([schema, asked, files, strange]),
        json.dumps(["spawncost.image/0", asked, files, {**image, "glibc": "1.0"}]),
        json.dumps([schema, "something else", files, {**image, "glibc": "1.0"}]),
        json.dumps([schema, asked, [[files[0][0], 1, 2, 3]], {**image, "glibc": "1.0"}]),
    ]
    for text in bad:
        path.write_text(text)
        assert read(program) == good, text[:80]
    assert asdict(good)


@pytest.mark.parametrize("there", [True, False])
def test_a_library_that_appears_where_the_search_missed_it_is_noticed(tmp_path: Path, there: bool) -> None:
    before = tmp_path / "before"
    if there:
        before.mkdir()
    library = compile_c(
        tmp_path / "libleaf.so", "int leaf(void) { return 0; }\n", "-shared", "-fPIC", "-Wl,-soname,libleaf.so"
    )
    main = "extern int leaf(void); int main(void) { return leaf(); }\n"
    program = compile_c(tmp_path / "user", main, str(library), f"-Wl,-rpath,{before}:{tmp_path}")
    first = read(program)
    assert any(each.failed_opens for each in first.objects)
    assert len(entries(tmp_path)) == 1
    held = capture_elf(program, environ=quiet_environ())
    assert held is capture_elf(program, environ=quiet_environ()), "nothing has changed"
    before.mkdir(exist_ok=True)
    shutil.copy(library, before)
    for image in (capture_elf(program, environ=quiet_environ()), read(program)):
        assert {each.path for each in image.libraries if each.name == library.name} == {f"{before}/{library.name}"}


def test_entries_are_bounded_and_a_folder_without_room_is_no_matter(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "MAX_ENTRIES", 2)
    for version in ("2.31", "2.34", "2.36", "2.39"):
        read(program, glibc=version)
    assert len(entries(tmp_path)) == 2
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert read(program).libraries
