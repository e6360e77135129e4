"""Bundled images stand in for missing files: they are whole, and a broken one is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from calibration.capture.elf import capture_elf
from calibration.errors import BadInput
from experiments.bundled_images import DIRECTORY, bundled_image, bundled_images, image_text, read_image


def test_what_mechanisms_and_defaults_need_is_bundled() -> None:
    assert {"true", "sh", "jspawnhelper"} <= set(bundled_images())


@pytest.mark.parametrize("name", bundled_images())
def test_bundled_images_are_whole(name: str) -> None:
    image = bundled_image(name)
    assert image.loader is not None
    assert image.libraries
    assert image.symbol_lookups > 0
    assert image.executable
    assert image_text(image) == (DIRECTORY / f"{name}.json").read_text()


def test_a_capture_survives_its_document(tmp_path: Path) -> None:
    image = capture_elf("/bin/sh")
    (tmp_path / "sh.json").write_text(image_text(image))
    assert read_image(tmp_path / "sh.json") == image


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", "spawncost.image/2"),
        ("kind", "elf"),
        ("tables_bytes", -1),
        ("surprise", 1),
        ("objects", [{"name": "x"}]),
    ],
)
def test_a_document_that_breaks_the_schema_is_refused_by_key(tmp_path: Path, key: str, value: object) -> None:
    document = json.loads((DIRECTORY / "true.json").read_text()) | {key: value}
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput, match=f"{re.escape(str(path))}: {key}"):
        read_image(path)


def test_no_document_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"schema": "spawncost.im')
    for path in (tmp_path / "cut.json", tmp_path / "none.json"):
        with pytest.raises(BadInput, match=re.escape(str(path))):
            read_image(path)
    with pytest.raises(BadInput, match="no-such"):
        bundled_image("no-such")
