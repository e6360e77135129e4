"""A target with another number of look-ups is one whose look-ups are like those that it has."""

from __future__ import annotations

import pytest

from experiments.bundled_images import bundled_image
from experiments.variants import varied_target

ASKED = ("lookup_probes", "bloom_rejections", "string_compares", "version_compares", "lookup_name_bytes")


@pytest.mark.parametrize("factor", [1, 3, 40])
def test_more_look_ups_ask_as_much_each_as_those_that_there_are(factor: int) -> None:
    target = bundled_image("true")
    library = min(target.libraries, key=lambda each: each.file_bytes)
    asked = library.symbol_lookups * factor
    changed = varied_target(target, {"libraries": len(target.libraries) + 2, "library_lookups": asked})
    for copy in changed.libraries[-2:]:
        assert copy.symbol_lookups == asked
        assert library.lookup_name_bytes > 0
        for name in ASKED:
            assert getattr(copy, name) == getattr(library, name) * factor
    assert changed.objects[: len(target.objects)] == target.objects


def test_look_ups_of_the_whole_start_are_made_up_by_the_program() -> None:
    target = bundled_image("true")
    program = target.objects[0]
    changed = varied_target(target, {"symbol_lookups": target.symbol_lookups + program.symbol_lookups})
    assert changed.symbol_lookups == target.symbol_lookups + program.symbol_lookups
    for name in ASKED:
        assert getattr(changed.objects[0], name) == 2 * getattr(program, name)


def test_look_ups_more_read_more_lines_of_the_tables_and_fewer_read_fewer() -> None:
    """Else a sweep over them would leave out what most of them cost, once the tables are beyond the caches."""
    target = bundled_image("true")
    lookups = [target.symbol_lookups + more for more in (-9, 0, 1000, 30_000)]
    images = [varied_target(target, {"symbol_lookups": each}) for each in lookups]
    fewer, same, more, most = (sum(each.lookup_lines for each in image.objects) for image in images)
    assert fewer < same == sum(each.lookup_lines for each in target.objects)
    assert most - same == pytest.approx(30 * (more - same), rel=0.01)
    assert 1000 < more - same < 4000
