"""A parent or a target with one of its attributes changed, the others kept: what the axes of a sweep say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from calibration.capture.description import FIRST_ADDRESS, VmaGroup, group_vma
from model.address_space import AddressSpace, Vma, VmaKind
from model.elf_image import ElfImage, ElfObject
from model.process import Process, Runtime
from model.units import PAGE_BYTES, PMD_BYTES, PTRS_PER_TABLE, PUD_BYTES, pages_of

_LAST_ADDRESS = 0x7FFF_FFFF_F000
_PLAIN = {
    "threads": "threads",
    "running_threads": "running_threads",
    "contiguous": "contiguous",
    "writable": "writable",
}
"""Fields that are attributes of the process itself."""
_OF_LOOKUPS = (
    "lookup_probes", "bloom_rejections", "string_compares", "version_compares", "lookup_name_bytes", "lookup_turns",
)  # fmt: skip
"""Counts of an object that grow with its look-ups; those that cost something have a price of their own."""
_LINES_A_LOOKUP = 1.5
"""Lines of the tables that a look-up more reads first: those of programs with 500 to 14,000 look-ups (bash, vim, ssh,
curl, gdb) less those of /bin/true are 2.3, 1.8, 1.3, 1.25 and 1.6 each."""
_LIMITS = {f"limits.{name}": f"{name}_bytes" for name in ("ram_and_swap", "available", "commit_headroom")} | {
    f"limits.{name}": name for name in ("commit_mode", "processes_left")
}
_HEAP = frozenset({"resident", "huge", "folio_pages"})


def varied_parent(parent: Process, changes: Mapping[str, Any]) -> Process:
    """The parent with changes by the names of `experiments.sweep_fields`, `parent.` left out.

    Raises:
        ValueError: the parent has no anonymous vma to change, has more vmas than asked for, or does not fit.
    """
    space = parent.space
    if _HEAP & changes.keys():
        space = _with_heap(space, changes)
    if "hugetlb" in changes:
        space = _with_hugetlb(space, changes["hugetlb"])
    if "vmas" in changes:
        space = _with_vmas(space, changes["vmas"])
    own: dict[str, Any] = {attribute: changes[name] for name, attribute in _PLAIN.items() if name in changes}
    if "fds" in changes:
        own |= {"open_fds": changes["fds"], "highest_fd": changes["fds"] - 1}
        own["cloexec_fds"] = min(parent.cloexec_fds, changes["fds"])
    own |= _of_descriptors(own.get("open_fds", parent.open_fds), changes)
    limits: dict[str, Any] = {attribute: changes[name] for name, attribute in _LIMITS.items() if name in changes}
    if limits:
        own["limits"] = replace(parent.limits, **limits)
    if "runtime" in changes:
        own["runtime"] = Runtime(changes["runtime"])
    threads, running = own.get("threads", parent.threads), own.get("running_threads", parent.running_threads)
    if running >= threads:
        if "running_threads" in own:
            raise ValueError(f"{running} running threads beside the caller need more than {threads} threads")
        own["running_threads"] = threads - 1
    assumed = tuple(name for name in parent.assumed if name not in own)
    return replace(parent, space=space, assumed=assumed, **own)


def _of_descriptors(open_fds: int, changes: Mapping[str, Any]) -> dict[str, int]:
    """The largest descriptor and those that exec closes, if they can be with so many open ones."""
    own = {name: changes[name] for name in ("highest_fd", "cloexec_fds") if name in changes}
    if own.get("highest_fd", open_fds) < open_fds - 1:
        raise ValueError(f"{open_fds} open descriptors reach beyond {own['highest_fd']}")
    if own.get("cloexec_fds", 0) > open_fds:
        raise ValueError(f"of {open_fds} open descriptors exec cannot close {own['cloexec_fds']}")
    return own


def heap_of(space: AddressSpace) -> int:
    """Index of the largest anonymous vma: of a JVM, a server or a synthetic parent its heap.

    Raises:
        ValueError: there is none.
    """
    anonymous = [index for index, vma in enumerate(space.vmas) if vma.kind is VmaKind.ANON]
    if not anonymous:
        raise ValueError("the parent has no anonymous vma")
    return max(anonymous, key=lambda index: space.vmas[index].size_bytes)


def _with_heap(space: AddressSpace, changes: Mapping[str, Any]) -> AddressSpace:
    """The largest anonymous vma with other contents, dense from its start; it grows if it must."""
    index = heap_of(space)
    vma, others = space.vmas[index], space.vmas[:index] + space.vmas[index + 1 :]
    if changes.keys() & _HEAP == {"folio_pages"}:
        heap = replace(vma, folio_pages=changes["folio_pages"])
        return AddressSpace((*space.vmas[:index], heap, *space.vmas[index + 1 :]))
    pages = vma.anon_ptes + vma.huge_pmds * PTRS_PER_TABLE
    wanted = pages_of(changes["resident"]) if "resident" in changes else pages
    huge = changes.get("huge", vma.huge_pmds * PTRS_PER_TABLE / pages if pages else 0.0)
    size_bytes = max(vma.size_bytes, wanted * PAGE_BYTES)
    start = _place(vma, size_bytes, others)
    group = VmaGroup(kind=VmaKind.ANON, size=size_bytes, resident=wanted * PAGE_BYTES, huge=huge, start=start)
    made = group_vma(group, start)
    kept = made if wanted != pages or huge else replace(made, pte_spans=vma.pte_spans, pmd_spans=vma.pmd_spans)
    heap = replace(
        kept,
        folio_pages=changes.get("folio_pages", vma.folio_pages),
        anon_vma_chain=vma.anon_vma_chain,
        dontcopy=vma.dontcopy,
        wipeonfork=vma.wipeonfork,
        account=vma.account,
        writable_private=vma.writable_private,
        tail_populated=wanted * PAGE_BYTES == size_bytes,
        path=vma.path,
    )
    return AddressSpace(tuple(sorted((*others, heap), key=lambda each: each.start)))


def _with_hugetlb(space: AddressSpace, fraction: float) -> AddressSpace:
    """The largest anonymous vma with so much of its memory in hugetlb pages, the rest dense."""
    index = heap_of(space)
    vma = space.vmas[index]
    pages = vma.anon_ptes + vma.huge_pmds * PTRS_PER_TABLE
    taken = min(round(fraction * pages) // PTRS_PER_TABLE, vma.size_bytes // PMD_BYTES)
    huge = min(vma.huge_pmds, (pages - taken * PTRS_PER_TABLE) // PTRS_PER_TABLE)
    small = pages - (taken + huge) * PTRS_PER_TABLE
    heap = replace(
        vma,
        hugetlb_pages=vma.hugetlb_pages + taken,
        huge_pmds=huge,
        anon_ptes=small,
        pte_spans=None,
        pmd_spans=None,
        tail_populated=vma.tail_populated and not taken,
    )
    return AddressSpace((*space.vmas[:index], heap, *space.vmas[index + 1 :]))


def _place(vma: Vma, size_bytes: int, others: tuple[Vma, ...]) -> int:
    """Where a vma that grew stands: in its place, else from 16 TiB on, as far from a 1 GiB boundary as before."""
    for start in (vma.start, FIRST_ADDRESS + vma.start % PUD_BYTES):
        end = start + size_bytes
        if end <= _LAST_ADDRESS and all(end <= other.start or other.end <= start for other in others):
            return start
    raise ValueError(f"there is no room for an anonymous vma of {size_bytes} bytes")


def _with_vmas(space: AddressSpace, count: int) -> AddressSpace:
    """So many vmas in all: the largest anonymous one falls into pieces side by side, its memory spread evenly."""
    more = count - len(space.vmas)
    if more < 0:
        raise ValueError(f"the parent has {len(space.vmas)} vmas already, more than {count}")
    index = heap_of(space)
    pieces = _pieces(space.vmas[index], more + 1)
    return AddressSpace((*space.vmas[:index], *pieces, *space.vmas[index + 1 :]))


def _pieces(vma: Vma, count: int) -> list[Vma]:
    if count == 1:
        return [vma]
    unit = PMD_BYTES if vma.huge_pmds or vma.size_bytes // count >= PMD_BYTES else PAGE_BYTES
    units = vma.size_bytes // unit
    if units < count:
        raise ValueError(f"a vma of {vma.size_bytes} bytes does not fall into {count}")
    cuts = [vma.start + units * index // count * unit for index in range(count)] + [vma.end]
    if unit == PMD_BYTES:
        cuts = [cuts[0], *(cut // PMD_BYTES * PMD_BYTES for cut in cuts[1:-1]), cuts[-1]]
    if any(after <= before for before, after in pairwise(cuts)):
        raise ValueError(f"a vma of {vma.size_bytes} bytes does not fall into {count}")
    return [_piece(vma, start, end) for start, end in pairwise(cuts)]


def _piece(vma: Vma, start: int, end: int) -> Vma:
    """What lies between two addresses of a vma if its contents are spread evenly; counts add up over all pieces."""

    def part(total: int) -> int:
        return _below(vma, end, total) - _below(vma, start, total)

    aligned = max(0, end // PMD_BYTES - -(-start // PMD_BYTES))
    huge = min(part(vma.huge_pmds), aligned)
    small = part(vma.anon_ptes + vma.huge_pmds * PTRS_PER_TABLE) - huge * PTRS_PER_TABLE
    room = (end - start) // PAGE_BYTES - huge * PTRS_PER_TABLE
    return replace(
        vma,
        start=start,
        end=end,
        anon_ptes=min(max(0, small), room),
        huge_pmds=huge,
        swap_ptes=part(vma.swap_ptes),
        hugetlb_pages=part(vma.hugetlb_pages),
        pte_spans=None,
        pmd_spans=None,
        head_populated=True,
        tail_populated=small == room,
    )


def _below(vma: Vma, address: int, total: int) -> int:
    return total * (address - vma.start) // vma.size_bytes


def varied_target(target: ElfImage, changes: Mapping[str, Any]) -> ElfImage:
    """The target with changes by the names of `experiments.sweep_fields`, `target.` left out.

    Libraries beyond its own are copies of its smallest one, at the end of the search scope, where they lengthen no
    look-up of the others; library_lookups and library_relocations are of each copy. Look-ups and relocations of the
    whole start-up are made up by the executable. A look-up asks as many objects and has as long a name as its object's
    others, it reads `_LINES_A_LOOKUP` new lines of the tables, and each 512 relocations write a page.

    Raises:
        ValueError: it is not linked dynamically, or would have fewer than none of something.
    """
    if not changes:
        return target
    if target.loader is None:
        raise ValueError("only a program that is linked dynamically has libraries and relocations to change")
    if "libraries" in changes:
        target = _with_libraries(target, changes)
    program, *others = target.objects
    if "symbol_lookups" in changes:
        program = _more_lookups(program, changes["symbol_lookups"] - target.symbol_lookups)
    if "relative_relocations" in changes:
        program = _more_relocations(program, changes["relative_relocations"] - target.relative_relocations)
    return replace(target, objects=(program, *others))


def _with_libraries(target: ElfImage, changes: Mapping[str, Any]) -> ElfImage:
    libraries = target.libraries
    more = changes["libraries"] - len(libraries)
    if more < 0:
        raise ValueError(f"the target has {len(libraries)} libraries already, more than {changes['libraries']}")
    if more and not libraries:
        raise ValueError("the target has no library to copy")
    if not more:
        return target
    smallest = min(libraries, key=lambda each: each.file_bytes)
    if "library_lookups" in changes:
        smallest = _more_lookups(smallest, changes["library_lookups"] - smallest.symbol_lookups)
    if "library_relocations" in changes:
        smallest = _more_relocations(smallest, changes["library_relocations"] - smallest.relative_relocations)
    copies = tuple(
        replace(smallest, name=f"{smallest.name}.{index}", path=f"{smallest.path}.{index}") for index in range(more)
    )
    return replace(target, objects=target.objects + copies)


def _more_lookups(each: ElfObject, more: int) -> ElfObject:
    total = each.symbol_lookups + more
    if total < 0:
        raise ValueError(f"{each.name}: {total} symbol look-ups would be left: the others have more than asked for")
    lines = max(0, each.lookup_lines + round(more * _LINES_A_LOOKUP))
    if not each.symbol_lookups:
        return replace(each, symbol_lookups=total, lookup_probes=total, lookup_lines=lines)
    parts = {name: getattr(each, name) * total // each.symbol_lookups for name in _OF_LOOKUPS}
    return replace(each, symbol_lookups=total, lookup_lines=lines, **parts)


def _more_relocations(each: ElfObject, more: int) -> ElfObject:
    total = each.relative_relocations + more
    if total < 0:
        raise ValueError(f"{each.name}: {total} relocations would be left: the others have more than asked for")
    dirtied = max(0, each.dirtied_pages + round(more / PTRS_PER_TABLE))
    return replace(each, relative_relocations=total, dirtied_pages=dirtied)
