"""A closure of sixty libraries with 100,000 relocations: every count equals what ld.so itself prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration.build import Builder, BuildError
from calibration.capture import capture_elf
from calibration.errors import BadInput
from calibration.targets import TargetSpec, build_target
from tests.calibration.elf_support import counted, loader_statistics, quiet_environ

LARGE = TargetSpec(
    kind="libs", libs=60, exports=300, relative=1000, lookups=300, repeats=1, calls=100, lazy=1, name_bytes=30,
    distinct=1,
)  # fmt: skip
"""What a library holds; the last one calls nothing, so 59 have calls."""
SLOTS = (LARGE.libs - 1) * LARGE.calls
SYMBOLIC = LARGE.libs * LARGE.lookups
RELOCATIONS = LARGE.libs * LARGE.relative + SYMBOLIC * (1 + LARGE.repeats) + SLOTS


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return build_target(LARGE, Builder(cache=tmp_path_factory.mktemp("cache")))
    except (BuildError, BadInput) as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("bind_now", [False, True])
def test_a_hundred_thousand_relocations_are_counted_as_the_loader_counts_them(large: Path, bind_now: bool) -> None:
    assert RELOCATIONS > 100_000
    image = capture_elf(large, bind_now=bind_now, environ=quiet_environ())
    made = [each for each in image.libraries if each.name.startswith(str(large.parent))]
    assert len(made) == LARGE.libs
    assert sum(each.relative_relocations for each in made) == LARGE.libs * LARGE.relative
    assert sum(each.symbol_lookups for each in made) == SYMBOLIC + (SLOTS if bind_now else 0)
    assert sum(each.symbol_cache_hits for each in made) == SYMBOLIC * LARGE.repeats
    assert sum(each.lazy_jump_slots for each in made) == (0 if bind_now else SLOTS)
    more = {"LD_BIND_NOW": "1"} if bind_now else {}
    assert counted(image) == loader_statistics(str(large), [], quiet_environ(**more))


def test_each_lookup_asks_all_objects_up_to_the_one_that_defines_it(large: Path) -> None:
    """The program, its sixty libraries: the last defines what all refer to, and libc comes behind it."""
    image = capture_elf(large, environ=quiet_environ())
    made = [each for each in image.libraries if each.name.startswith(str(large.parent))]
    before = 1 + LARGE.libs
    for each in made:
        assert each.lookup_probes == LARGE.lookups * before
        assert each.string_compares >= (each is not made[-1]) * LARGE.lookups
