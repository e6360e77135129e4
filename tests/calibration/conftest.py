"""Fixtures: a builder of benches whose cache begins empty, where there is a compiler."""

from __future__ import annotations

import pytest

from calibration.build import Builder, find_compiler
from calibration.errors import BadInput


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Each module's own: what it builds is built for it."""
    try:
        find_compiler()
    except BadInput as error:
        pytest.skip(str(error))
    return Builder(cache=tmp_path_factory.mktemp("cache"))
