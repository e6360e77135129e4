"""More of anything never makes a spawn quicker, with everything else as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.address_space import AddressSpace
from model.elf_image import ElfImage, ElfObject
from model.machine import Machine
from model.mechanisms import MECHANISMS
from model.process import Process
from model.simulation import run_once
from tests.model.builders import (
    COST_TABLE,
    FACTS,
    FOOTPRINTS,
    SAME,
    TIB,
    anon,
    dynamic_image,
    elf_object,
    machine_with,
    parents,
    scenario_of,
)

often = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ONE_CPU = machine_with(1, facts=FACTS, footprints=FOOTPRINTS)
COPYING = ("fork", "clone3", "jdk-fork", "cpython-fork", "cpython-os-fork")
mechanisms = st.sampled_from(sorted(MECHANISMS))
FAR = 64 * TIB


def times(mechanism: str, parent: Process, target: ElfImage, machine: Machine = ONE_CPU) -> dict[str, float]:
    run = run_once(scenario_of(mechanism, parent, target), machine, COST_TABLE, SAME)
    assert run.error is None
    return run.milestones


def assert_not_quicker(less: dict[str, float], more: dict[str, float], *, slower: bool = False) -> None:
    assert set(less) == set(more)
    assert all(more[name] >= less[name] * (1 - 1e-12) for name in less), (less, more)
    if slower:
        assert more["reaped"] > less["reaped"]


def with_more(parent: Process, pages: int, vmas: int = 1) -> Process:
    added = tuple(anon(pages, start=FAR + index * TIB // 64) for index in range(vmas))
    return replace(parent, space=AddressSpace((*parent.space.vmas, *added)))


@often
@given(mechanisms, parents(), st.integers(1, 3000), st.integers(1, 100_000))
def test_in_pages(mechanism: str, parent: Process, pages: int, more: int) -> None:
    image = dynamic_image()
    less, greater = (times(mechanism, with_more(parent, n), image) for n in (pages, pages + more))
    assert_not_quicker(less, greater, slower=mechanism in COPYING)


@often
@given(mechanisms, parents(), st.integers(0, 2), st.integers(1, 40))
def test_in_vmas(mechanism: str, parent: Process, pages: int, more: int) -> None:
    image = dynamic_image()
    less, greater = (times(mechanism, with_more(parent, pages, n), image) for n in (1, 1 + more))
    assert_not_quicker(less, greater, slower=mechanism in COPYING)


@often
@given(mechanisms, parents(), st.integers(1, 300))
def test_in_descriptors(mechanism: str, parent: Process, more: int) -> None:
    image = dynamic_image()
    wider = replace(parent, open_fds=parent.open_fds + more, highest_fd=parent.highest_fd + more)
    assert_not_quicker(times(mechanism, parent, image), times(mechanism, wider, image))


@often
@given(mechanisms, parents(), st.integers(1, 300))
def test_in_threads(mechanism: str, parent: Process, more: int) -> None:
    image = dynamic_image()
    threaded = replace(parent, threads=parent.threads + more)
    slower = mechanism in ("fork", "jdk-fork")
    assert_not_quicker(times(mechanism, parent, image), times(mechanism, threaded, image), slower=slower)


@often
@given(mechanisms, parents(), st.sampled_from(("contiguous", "writable")), st.floats(0, 1), st.floats(0, 1))
def test_in_scattered_and_in_writable_ptes(mechanism: str, parent: Process, name: str, low: float, high: float) -> None:
    low, high = sorted((low, high))
    first, second = (high, low) if name == "contiguous" else (low, high)
    image = dynamic_image()
    less, more = (times(mechanism, replace(with_more(parent, 5000), **{name: x}), image) for x in (first, second))  # type: ignore[arg-type]
    assert_not_quicker(less, more)


@often
@given(mechanisms, parents(), st.integers(0, 60), st.integers(1, 60))
def test_in_libraries(mechanism: str, parent: Process, libraries: int, more: int) -> None:
    less, greater = (times(mechanism, parent, dynamic_image(n)) for n in (libraries, libraries + more))
    assert_not_quicker(less, greater, slower=True)


def grown(field: str, count: int) -> ElfObject:
    more: dict[str, Any] = {field: count}
    return replace(elf_object("libmore.so"), **more)


@pytest.mark.parametrize(
    "field",
    "relative_relocations relr_relocations other_relocations lazy_jump_slots symbol_lookups bloom_rejections "
    "dirtied_pages dirtied_bss_pages readable_windows failed_opens directory_stats constructors".split(),
)
def test_in_what_the_loader_has_to_do(field: str) -> None:
    def image(count: int) -> ElfImage:
        return dynamic_image(objects=(*dynamic_image(1).objects, grown(field, count)))

    parent = Process(name="parent", space=AddressSpace(()))
    less, more = (times("vfork", parent, image(count)) for count in (3, 400))
    assert_not_quicker(less, more, slower=True)
    assert more["main"] > less["main"]


@often
@given(parents(), st.integers(0, 40), st.integers(1, 60))
def test_thp_makes_fork_cheaper(parent: Process, huge: int, more: int) -> None:
    """At these prices one pmd costs less than the 512 ptes and the table in its place."""
    space = AddressSpace((anon((huge + more) * 512, start=FAR),))
    small, large = (replace(parent, space=space.with_thp(thp)) for thp in (False, True))
    image = dynamic_image()
    assert times("fork", large, image)["reaped"] < times("fork", small, image)["reaped"]
