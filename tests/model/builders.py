"""Values that the model's tests are made of: parents, images, prices and machines, by hand and by hypothesis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from hypothesis import strategies as st

from model.address_space import AddressSpace, Vma, VmaKind
from model.costs import COSTS, CostTable
from model.elf_image import NO_IMAGE, ElfImage, ElfObject
from model.ledger import Entry
from model.machine import Footprint, Machine, Placement
from model.mechanisms import MECHANISMS, NEEDS_EXEC
from model.process import Caller, Process, Runtime
from model.rules import Rules
from model.scenario import Scenario, Spawn, spawn_and_wait
from model.units import PAGE_BYTES, PMD_BYTES

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
SAME = Placement(child="same", waker="preempt")
PLACEMENTS = tuple(Placement(child=c, waker=w) for c in ("same", "other") for w in ("preempt", "queue", "other"))
FACTS = {
    "loader_cpuids": 7.0,
    "static_cpuids": 5.0,
    "pcp_pages": 8.0,
    "pcp_tables": 4.0,
    "l2_lines": 600.0,
    "table_lines": 700.0,
    "scatter_lines": 900.0,
    "far_lines": 1200.0,
}
"""Caches and free lists so small that the costs beyond them act."""
FOOTPRINTS = {
    "c": Footprint(child_copies=8, child_file_faults=3, caller_copies=2, caller_reuses=5),
    "jvm": Footprint(child_copies=60, child_file_faults=4, caller_copies=25, caller_reuses=80),
    "cpython": Footprint(child_copies=200, child_file_faults=5, caller_copies=30, caller_reuses=15),
    "cpython-preexec": Footprint(child_copies=210, child_file_faults=6, caller_copies=100, caller_reuses=32),
    "raw": Footprint(child_copies=3, child_file_faults=2, caller_copies=1),
}


def primes(count: int) -> list[int]:
    """The first primes above 100."""
    found: list[int] = []
    number = 101
    while len(found) < count:
        if all(number % divisor for divisor in range(2, int(number**0.5) + 1)):
            found.append(number)
        number += 2
    return found


def prime_costs(**more: float) -> CostTable:
    """Every measured cost at a price of its own, a prime: the time of a small bill tells its counts."""
    names = [name for name, spec in COSTS.items() if not spec.assumed]
    return CostTable({**dict(zip(names, map(float, primes(len(names))), strict=True)), **more})


COST_TABLE = prime_costs()


def machine_with(cpus: int = 1, placements: Iterable[Placement] = (SAME,), **more: object) -> Machine:
    """A machine without facts, footprints or spread unless they are given."""
    kinds = {"*": tuple(placements)}
    return Machine(name="tested", cpus=cpus, placements=kinds, **more)  # type: ignore[arg-type]


BARE = machine_with()
"""One CPU, and nothing but prices."""
RICH = machine_with(2, facts=FACTS, footprints=FOOTPRINTS)
"""Two CPUs, small caches, footprints."""


def anon(pages: int, *, start: int = GIB, size: int | None = None, **more: object) -> Vma:
    """An anonymous vma with so many small pages, populated from its start."""
    end = start + (size if size is not None else max(pages, 1) * PAGE_BYTES)
    return Vma(start=start, end=end, anon_ptes=pages, anon_vma=pages > 0, **more)  # type: ignore[arg-type]


def row_of(vmas: int, pages: int, *, span: int = PMD_BYTES) -> tuple[Vma, ...]:
    """Vmas of `pages` pages each, one every `span` bytes."""
    return tuple(anon(pages, start=GIB + index * span) for index in range(vmas))


def parent_of(*vmas: Vma, **more: object) -> Process:
    """A hot C parent with these vmas, three descriptors and one thread."""
    settings: dict[str, object] = {"caller": Caller.HOT, **more}
    return Process(name="parent", space=AddressSpace(vmas), **settings)  # type: ignore[arg-type]


def elf_object(name: str, role: str = "library", **more: object) -> ElfObject:
    """An object of four segments, a written page and a few relocations."""
    settings: dict[str, object] = {
        "load_segments": 4,
        "file_vmas_clean": 3,
        "file_vmas_dirtied": 2,
        "mapped_file_pages": 40,
        "relative_relocations": 30,
        "symbol_lookups": 11,
        "lookup_probes": 20,
        "bloom_rejections": 9,
        "dirtied_pages": 2,
        "readable_windows": 2,
        **more,
    }
    return ElfObject(name=name, path=f"/lib/{name}", role=role, **settings)  # type: ignore[arg-type]


def dynamic_image(libraries: int = 1, **more: object) -> ElfImage:
    """A program with ld.so and some libraries."""
    objects = (
        elf_object("prog", "executable", clears_bss_tail=True),
        elf_object("ld.so", "interpreter"),
        *(elf_object(f"lib{index}.so", constructors=1) for index in range(libraries)),
    )
    settings: dict[str, object] = {"path": "/bin/prog", "kind": "elf-dynamic", "objects": objects, **more}
    return ElfImage(**settings)  # type: ignore[arg-type]


def static_image(**more: object) -> ElfImage:
    """A bare static program: one object without a libc."""
    program = elf_object("tiny", "executable", relative_relocations=0, symbol_lookups=0, dirtied_pages=0)
    return ElfImage(path="/bin/tiny", kind="elf-static", objects=(program,), **more)  # type: ignore[arg-type]


HELPER = dynamic_image(1, path="/lib/helper")


def spawn_of(mechanism: str, target: ElfImage = NO_IMAGE, **more: object) -> Spawn:
    """A spawn with whatever its mechanism needs: a target if it must exec, a helper if it runs one first."""
    if mechanism in NEEDS_EXEC and target.kind == "none":
        target = dynamic_image()
    return Spawn(mechanism=mechanism, target=target, helper=HELPER, **more)  # type: ignore[arg-type]


def scenario_of(mechanism: str, parent: Process, target: ElfImage = NO_IMAGE, **more: object) -> Scenario:
    """Spawn once and wait; `more` are the scenario's own fields."""
    return spawn_and_wait(parent, spawn_of(mechanism, target), **more)


def with_space(parent: Process, *vmas: Vma) -> Process:
    """The same parent with other vmas."""
    return replace(parent, space=AddressSpace(vmas))


def work_ns(entries: Iterable[Entry]) -> float:
    """Time of what is no wait."""
    return sum(entry.elapsed_ns for entry in entries if entry.kind != "wait")


def priced(counts: Mapping[str, float], costs: CostTable = COST_TABLE) -> float:
    """Time of a bill."""
    return sum(count * costs.price(name) for name, count in counts.items())


@st.composite
def vma_lists(draw: st.DrawFn, most: int = 6) -> tuple[Vma, ...]:
    """Vmas of every kind in address order, some of them neighbours."""
    address, vmas = draw(st.integers(0, 1 << 20)) * PAGE_BYTES, []
    for _ in range(draw(st.integers(0, most))):
        address += draw(st.sampled_from((0, PAGE_BYTES, PMD_BYTES, GIB, 600 * GIB)))
        pages = draw(st.sampled_from((1, 3, 512, 700, 5000)))
        vmas.append(draw(_vmas(address, pages)))
        address = vmas[-1].end
    return tuple(vmas)


@st.composite
def _vmas(draw: st.DrawFn, start: int, pages: int) -> Vma:
    kind = draw(st.sampled_from(VmaKind))
    private = kind is not VmaKind.FILE_SHARED
    end = start + pages * PAGE_BYTES
    aligned = max(0, end // PMD_BYTES - -(-start // PMD_BYTES))
    huge = draw(st.integers(0, aligned)) if kind is VmaKind.ANON else 0
    small = draw(st.integers(0, pages - huge * 512)) if private and kind is not VmaKind.GUARD else 0
    is_file = kind in (VmaKind.FILE_PRIVATE, VmaKind.FILE_SHARED)
    left = pages - huge * 512 - small
    return Vma(
        start=start,
        end=end,
        kind=kind,
        anon_ptes=small,
        folio_pages=draw(st.sampled_from((1, 16))),
        file_ptes=draw(st.integers(0, left)) if is_file else 0,
        huge_pmds=huge,
        anon_vma=small + huge > 0,
        anon_vma_chain=draw(st.integers(1, 3)),
        dontcopy=draw(st.booleans()),
        wipeonfork=draw(st.booleans()),
        account=draw(st.booleans()),
        writable_private=private and draw(st.booleans()),
    )


@st.composite
def parents(draw: st.DrawFn) -> Process:
    """Parents of every runtime, hot and cold, with threads and descriptors."""
    fds = draw(st.integers(0, 200))
    return Process(
        name="parent",
        space=AddressSpace(draw(vma_lists())),
        threads=draw(st.integers(1, 30)),
        running_threads=draw(st.integers(0, 2)),
        open_fds=fds,
        highest_fd=fds + draw(st.integers(-1, 100)),
        cloexec_fds=draw(st.integers(0, fds)),
        runtime=draw(st.sampled_from(Runtime)),
        caller=draw(st.sampled_from(Caller)),
        contiguous=draw(st.sampled_from((0.0, 0.5, 1.0))),
        writable=draw(st.sampled_from((0.0, 0.3, 1.0))),
    )


def images() -> st.SearchStrategy[ElfImage]:
    """Nothing, a bare static program, dynamic ones, one behind a script, one that may not be executed."""
    return st.sampled_from(
        (
            NO_IMAGE,
            static_image(),
            dynamic_image(0),
            dynamic_image(5),
            dynamic_image(2, kind="script", script_depth=2),
            dynamic_image(1, executable=False),
        )
    )


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Spawn and wait by any mechanism from any parent under old and new rules."""
    mechanism = draw(st.sampled_from(sorted(MECHANISMS)))
    vm_or_files = ("CLONE_VM", "CLONE_VFORK", "CLONE_FILES")
    flags = draw(st.frozensets(st.sampled_from(vm_or_files))) if mechanism == "clone3" else frozenset()
    spawn = replace(
        spawn_of(mechanism, draw(images())),
        flags=flags,
        argv_bytes=draw(st.sampled_from((0, 64, 20_000))),
        path_misses=draw(st.integers(0, 3)),
    )
    rules = draw(st.sampled_from((Rules(), OLD_RULES)))
    return spawn_and_wait(draw(parents()), spawn, rules=rules)


OLD_RULES = Rules(
    wrprotect_only_writable=False,
    thp_cow="copy_pmd",
    anon_exclusive=False,
    hugetlb_lazy=False,
    vma_tree="rbtree",
    fork_batches_large_folios=False,
    posix_spawn_clear_sighand=False,
    jdk_closes_fds="cloexec",
    cpython_vfork=False,
)


def machines() -> st.SearchStrategy[Machine]:
    """One or two CPUs, with facts and footprints or without."""
    return st.sampled_from(
        tuple(
            machine_with(cpus, facts=facts, footprints=footprints)
            for cpus in (1, 2)
            for facts, footprints in (({}, {}), (FACTS, FOOTPRINTS))
        )
    )
