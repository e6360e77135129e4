"""The document of a program says what its image holds, and is plain JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from calibration.capture import capture_elf
from experiments.cli.main import main
from experiments.elf_report import elf_document
from model.elf_image import NO_IMAGE, ElfImage, ElfObject


def _image() -> ElfImage:
    objects = (
        ElfObject(name="p", path="/p", role="executable", symbol_lookups=3, dirtied_pages=2, constructors=9),
        ElfObject(name="ld", path="/ld", role="interpreter", symbol_lookups=4, relative_relocations=10),
        ElfObject(name="a", path="/a", role="library", constructors=2, anon_vmas=1, file_vmas_clean=3),
    )
    return ElfImage(
        path="/p", kind="elf-dynamic", loaded_kind="elf-dynamic", elf_interpreter="/ld", objects=objects, vdso_lookups=5
    )


def test_totals_are_those_of_the_image() -> None:
    document = elf_document(_image())
    assert document["schema"] == "spawncost.elf/1"
    assert document["symbol_lookups"] == 12
    assert document["relative_relocations"] == 10
    assert document["dirtied_pages"] == 2
    assert document["constructors"] == 2
    assert document["interpreter"] == "/ld"


def test_libraries_are_rows_in_scope_order_without_program_and_loader() -> None:
    document = elf_document(_image())
    libraries = document["libraries"]
    assert isinstance(libraries, list)
    assert [(row["name"], row["path"], row["vmas"]) for row in libraries] == [("a", "/a", 4)]
    assert isinstance(document["program"], dict)
    assert document["program"]["constructors"] == 9


def test_no_image_has_a_document_too() -> None:
    document = elf_document(NO_IMAGE)
    assert document["kind"] == "none"
    assert document["interpreter"] is None
    assert document["libraries"] == []


def test_the_document_of_a_script_names_its_interpreter_first(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!{shutil.which('env')} sh\n")
    document = elf_document(capture_elf(script))
    assert document["kind"] == "script"
    assert document["interpreter"] == shutil.which("env")
    assert document["script_arguments"] == ["sh", str(script)]
    assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize("page_cache", ["warm", "cold"])
@pytest.mark.parametrize("more", [[], ["--libraries", "40"]])
def test_every_part_of_a_start_is_shown_and_constructors_own_code_is_left_out(
    page_cache: str, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["elf", "/bin/sh", "--machine", "bundled", "--page-cache", page_cache, *more]
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    start = document["start"]
    objects = {document["program"]["name"], *(each["name"] for each in document["libraries"])}
    assert {each["name"] for each in start["parts"] if each["object"]} <= objects | {document["loader"]["name"]}
    assert ("ld.so" in {each["name"] for each in start["parts"]}) == (document["loader"] is not None)
    assert bool(start["left_out"]) == (document["constructors"] > 0)
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert all(each["name"][:22] in shown for each in start["parts"])
    assert all(each in shown for each in start["left_out"])
