"""An image's totals are sums over its objects, with the exceptions that the loader itself makes."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.elf_image import NO_IMAGE, ElfImage, ElfObject

counts = st.integers(min_value=0, max_value=100_000)


@st.composite
def elf_objects(draw: st.DrawFn, role: str) -> ElfObject:
    """An object with random counts."""
    return ElfObject(
        name="x",
        path="/x",
        role=role,  # type: ignore[arg-type]
        symbol_lookups=draw(counts),
        symbol_cache_hits=draw(counts),
        relative_relocations=draw(counts),
        relr_relocations=draw(counts),
        dirtied_pages=draw(counts),
        constructors=draw(counts),
        preinit_constructors=draw(counts),
        file_vmas_clean=draw(counts),
        file_vmas_dirtied=draw(counts),
        anon_vmas=draw(counts),
    )


@st.composite
def images(draw: st.DrawFn) -> ElfImage:
    """A dynamic image with some libraries."""
    libraries = draw(st.lists(elf_objects("library"), max_size=5))
    objects = (draw(elf_objects("executable")), draw(elf_objects("interpreter")), *libraries)
    return ElfImage(
        path="/x",
        kind="elf-dynamic",
        loaded_kind="elf-dynamic",
        objects=objects,
        vdso_lookups=draw(counts),
        malloc_lookups=draw(counts),
        tunable_lookups=draw(counts),
        ifunc_vdso_lookups=draw(counts),
    )


@given(images())
def test_lookups_of_an_image_are_those_of_its_objects_and_the_loaders_own(image: ElfImage) -> None:
    own = image.vdso_lookups + image.malloc_lookups + image.tunable_lookups + image.ifunc_vdso_lookups
    assert image.symbol_lookups == own + sum(each.symbol_lookups for each in image.objects)
    assert image.symbol_cache_hits == sum(each.symbol_cache_hits for each in image.objects)
    assert image.relr_relocations == sum(each.relr_relocations for each in image.objects)
    assert image.dirtied_pages == sum(each.dirtied_pages for each in image.objects)


@given(images())
def test_adding_a_library_never_makes_an_image_cheaper(image: ElfImage) -> None:
    more = dataclasses.replace(image, objects=(*image.objects, image.objects[1]))
    for name in ("symbol_lookups", "symbol_cache_hits", "relative_relocations", "dirtied_pages", "constructors"):
        assert getattr(more, name) >= getattr(image, name)


@given(images())
def test_an_interpreter_outside_the_scope_does_not_count_as_relative(image: ElfImage) -> None:
    program, loader, *libraries = image.objects
    outside = dataclasses.replace(image, objects=(program, dataclasses.replace(loader, in_scope=False), *libraries))
    assert image.relative_relocations - outside.relative_relocations == loader.relative_relocations


@given(images())
def test_the_executables_own_constructors_run_after_start(image: ElfImage) -> None:
    program, *others = image.objects
    assert image.constructors == program.preinit_constructors + sum(each.constructors for each in others)


@given(elf_objects("library"))
def test_vmas_are_counted_by_kind(each: ElfObject) -> None:
    assert each.vmas == each.file_vmas_clean + each.file_vmas_dirtied + each.anon_vmas


def test_no_image_costs_nothing() -> None:
    assert NO_IMAGE.kind == "none"
    assert NO_IMAGE.program is None
    assert NO_IMAGE.loader is None
    assert NO_IMAGE.libraries == ()
    assert NO_IMAGE.symbol_lookups == NO_IMAGE.dirtied_pages == NO_IMAGE.constructors == 0


def test_an_image_is_a_value() -> None:
    first = ElfImage(path="/x", kind="elf-static", objects=(ElfObject(name="x", path="/x", role="executable"),))
    assert first == dataclasses.replace(first)
    assert len({first, dataclasses.replace(first)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.path = "/y"  # type: ignore[misc]
