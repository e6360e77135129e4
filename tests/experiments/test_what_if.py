"""What-ifs change counts or one price, in the direction that their names say, and refuse what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from experiments.bundled_images import bundled_image
from experiments.cli import main as cli
from experiments.elf_prices import start_of
from experiments.what_if import CPUID_BARE_NS, WhatIf, as_static, image_if, machine_if, notices_if, with_libraries
from model.elf_image import ElfImage
from tests.calibration.elf_support import compile_c

LIBRARY = """
#include <stdio.h>
int a[40]; int *b[40] = {{&a[1], &a[2], &a[3], &a[4], &a[5], &a[6], &a[7], &a[8], &a[9], &a[10]}};
int used(void) {{ return puts("") + printf("%p", (void *)b); }}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program with a library that has relative and lazy relocations, both bound at once."""
    folder = tmp_path_factory.mktemp("what-if")
    library = compile_c(folder / "libused.so", LIBRARY.format(), "-shared", "-fPIC", "-Wl,-z,now")
    main = "extern int used(void); int main(void) { return used(); }\n"
    return str(compile_c(folder / "program", main, str(library), "-Wl,-z,now", f"-Wl,-rpath,{folder}"))


def _total(image: ElfImage, name: str) -> int:
    return sum(int(getattr(each, name)) for each in image.objects if each.role != "interpreter")


def test_lazy_leaves_for_later_what_binding_at_once_looks_up(program: str) -> None:
    lazy, now = image_if(program, WhatIf(lazy=True)), image_if(program, WhatIf(bind_now=True))
    assert _total(now, "lazy_jump_slots") == 0
    assert _total(lazy, "lazy_jump_slots") > 0
    assert lazy.symbol_lookups < now.symbol_lookups
    assert lazy.relative_relocations == now.relative_relocations


def test_relr_packs_relative_relocations_and_writes_the_same_pages(program: str) -> None:
    plain, packed = image_if(program, WhatIf()), image_if(program, WhatIf(relr=True))
    assert _total(plain, "relative_relocations") > 0
    assert _total(packed, "relative_relocations") == 0
    moved = [_total(each, "relative_relocations") + _total(each, "relr_relocations") for each in (plain, packed)]
    assert moved[0] == moved[1]
    assert _total(plain, "dirtied_pages") == _total(packed, "dirtied_pages")
    assert packed.tables_bytes < plain.tables_bytes
    assert packed.symbol_lookups == plain.symbol_lookups


def test_prelink_relocates_nothing_and_dirties_less(program: str) -> None:
    plain, final = image_if(program, WhatIf()), image_if(program, WhatIf(prelink=True))
    for name in ("relative_relocations", "relr_relocations", "symbol_lookups", "other_relocations", "lazy_jump_slots"):
        assert _total(final, name) == 0
    assert _total(final, "dirtied_pages") < _total(plain, "dirtied_pages")
    assert len(final.libraries) == len(plain.libraries)


def test_a_static_program_has_no_loader_and_keeps_no_look_up(program: str, machine_file: MachineFile) -> None:
    static = image_if(program, WhatIf(static=True))
    assert (static.loader, static.libraries, static.symbol_lookups) == (None, (), 0)
    assert static.kind == "elf-static"
    starts = [start_of(each, machine_file) for each in (static, image_if(program, WhatIf()))]
    assert starts[0].loader_ns == 0
    assert starts[0].main_ns < starts[1].main_ns
    assert starts[0].whole_ns > starts[0].main_ns


@pytest.mark.parametrize("count", [31, 40, 100])
def test_added_libraries_cost_more_than_in_proportion(count: int, machine_file: MachineFile) -> None:
    curl = bundled_image("curl")
    grown = with_libraries(curl, count)
    assert len(grown.libraries) == count
    assert len({each.name for each in grown.objects}) == len(grown.objects)
    assert _total(grown, "bloom_rejections") <= grown.lookup_probes
    if count == len(curl.libraries):
        assert grown == curl
    else:
        deeper = zip(curl.objects, grown.objects, strict=False)
        assert all(after.bloom_rejections >= before.bloom_rejections for before, after in deeper)
        assert start_of(grown, machine_file).loader_ns > start_of(curl, machine_file).loader_ns


def test_added_libraries_probe_as_deep_for_their_place_as_at_home() -> None:
    """Doubling curl's scope with its own libraries doubles how many objects a look-up passes in vain."""
    curl = bundled_image("curl")
    before = [each for each in curl.libraries if not each.name.startswith("libc.so")]
    grown = with_libraries(curl, len(curl.libraries) + len(before))
    factor = len(grown.objects) / len(curl.objects)
    added = grown.libraries[len(curl.libraries) :]
    for at_home, there in zip(before, added, strict=True):
        assert there.bloom_rejections == pytest.approx(factor * at_home.bloom_rejections, abs=1)


def test_bare_metal_changes_the_price_of_cpuid_alone(machine_file: MachineFile) -> None:
    bare = machine_if(machine_file, WhatIf(bare_metal=True))
    changed = {name for name, price in bare.costs.ns.items() if price != machine_file.costs.ns[name]}
    assert changed == {"cpuid"}
    assert bare.costs.price("cpuid") == CPUID_BARE_NS
    assert bare.costs.stderr_ns({"cpuid": 68.0}) == 0.0
    assert bare.costs.stderr_ns({"ldso_lookup": 9.0}) == machine_file.costs.stderr_ns({"ldso_lookup": 9.0})
    assert machine_if(bare, WhatIf(bare_metal=True)) is bare, "nothing to take away where CPUID does not trap"
    assert machine_if(machine_file, WhatIf()) is machine_file


@pytest.mark.parametrize(
    ("what", "part"),
    [
        (WhatIf(bind_now=True, lazy=True), "--bind-now and --lazy"),
        (WhatIf(relr=True, prelink=True), "--relr and --prelink"),
        (WhatIf(static=True, relr=True), "--static and --relr"),
        (WhatIf(libraries=0), "--libraries 0"),
        (WhatIf(libraries=1 << 40), "--libraries"),
        (WhatIf(libraries=40, prelink=True), "--libraries and --prelink"),
        (WhatIf(libraries=1), "has 2"),
    ],
)
def test_contradictions_are_refused(program: str, what: WhatIf, part: str) -> None:
    with pytest.raises(BadInput, match=part):
        image_if(program, what)


def test_a_static_program_cannot_be_linked_otherwise(tmp_path: Path) -> None:
    still = compile_c(tmp_path / "still", "void _start(void) { for (;;); }\n", "-nostdlib", "-static", "-no-pie")
    with pytest.raises(BadInput, match="--relr"):
        image_if(str(still), WhatIf(relr=True))
    assert image_if(str(still), WhatIf(static=True)) == image_if(str(still), WhatIf())
    assert as_static(bundled_image("curl")).objects[0].irelative_relocations > 0


def test_assumptions_are_said_and_only_those_asked() -> None:
    assert notices_if(WhatIf(bind_now=True)) == []
    told = notices_if(WhatIf(libraries=9, bare_metal=True))
    assert [each.text.partition(":")[0] for each in told] == ["--bare-metal", "--libraries"]


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert cli.main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def test_elf_and_predict_take_the_same_what_ifs(
    program: str, machine_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--machine", str(machine_path))
    plain = _json(capsys, "elf", program, *common)
    bare = _json(capsys, "elf", program, *common, "--bare-metal", "--prelink")
    assert plain["start"]["main_us"] > bare["start"]["main_us"]  # type: ignore[index]
    assert bare["start"]["what_if"] == ["--prelink", "--bare-metal"]  # type: ignore[index]
    asked = ("predict", "--rss", "1MiB", "--exec", program, "--via", "posix_spawn", *common)
    before, after = _json(capsys, *asked), _json(capsys, *asked, "--bare-metal", "--prelink")
    mains = [each["predictions"][0]["milestones_us"]["main"]["quiet"] for each in (before, after)]  # type: ignore[index]
    saved = plain["start"]["main_us"] - bare["start"]["main_us"]  # type: ignore[index]
    assert mains[0] - mains[1] == pytest.approx(saved, rel=1e-3)
    assert cli.main([*asked[:-4], "--exec", "none", "--relr", *common]) == 2


def test_a_cold_page_cache_is_dearer_by_what_is_read(
    program: str, machine_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--machine", str(machine_path))
    warm = _json(capsys, "elf", program, *common)["start"]
    cold = _json(capsys, "elf", program, *common, "--page-cache", "cold")["start"]
    assert isinstance(warm, dict)
    assert isinstance(cold, dict)
    read = [us for part in cold["parts"] for name, us in part["breakdown_us"].items() if name.startswith("storage_")]
    assert read
    assert cold["main_us"] == pytest.approx(warm["main_us"] + sum(read), rel=1e-4)
    assert [part["us"] for part in cold["parts"]] == sorted((part["us"] for part in cold["parts"]), reverse=True)
    assert (warm["page_cache"], cold["page_cache"]) == ("warm", "cold")
    asked = ("predict", "--rss", "1MiB", "--exec", program, "--via", "posix_spawn", *common)
    before, after = _json(capsys, *asked), _json(capsys, *asked, "--page-cache", "cold")
    assert _main_us(after) > _main_us(before)
    assert cli.main(["elf", program, "--page-cache", "frozen"]) == 2
    assert "--page-cache frozen" in capsys.readouterr().err


def _main_us(document: dict[str, object]) -> float:
    return float(document["predictions"][0]["milestones_us"]["main"]["quiet"])  # type: ignore[index]


def test_an_exec_in_place_never_returns(program: str, machine_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("predict", "--rss", "1MiB", "--threads", "9", "--exec", program, "--machine", str(machine_path))
    found = _json(capsys, *asked, "--via", "exec")
    assert str(found["headline"]).startswith("exec never returns")
    assert set(found["predictions"][0]["milestones_us"]) == {"exec", "main"}  # type: ignore[index]
    assert found["predictions"][0]["breakdown_us"]["de_thread_kill"] > 0  # type: ignore[index]
    assert cli.main([*asked[:-4], "--exec", "none", "--via", "exec"]) == 2
    assert "--via exec" in capsys.readouterr().err
