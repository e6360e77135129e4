"""Dropping an mm, and the commit limit: `mm/mmap.c`, `mm/util.c`."""

from __future__ import annotations

from model.address_space import AddressSpace, VmaKind
from model.elf_image import ElfImage
from model.kernel.memory import Misses, drop_vmas, free_owned, zap_page_range
from model.kernel.mm import Counts, MmCounts
from model.machine import Machine
from model.process import Limits
from model.rules import Rules

FAULT_AROUND_PAGES = 16
"""`mm/memory.c:do_fault_around@v6.18`, fault_around_bytes = 64 KiB."""


def exit_mmap(mm: MmCounts, machine: Machine, *, missed: Misses, owned_pages: float) -> Counts:
    """What dropping a fork's copy costs; all pages but `owned_pages` stay with another mm: `mm/mmap.c:exit_mmap@v6.18`.

    Charges: exit_mm_fixed, those of drop_vmas and zap_page_range, free_anon_page and free_page_beyond_pcp for the owned
    pages, whose ptes are among the zapped ones.
    """
    return {
        "exit_mm_fixed": 1,
        **drop_vmas(mm, missed),
        **zap_page_range(mm, machine, missed),
        **{cost: count for cost, count in free_owned(owned_pages, machine).items() if cost != "zap_pte"},
    }


def image_exit(image: ElfImage, owned_pages: float, machine: Machine) -> Counts:
    """What dropping the mm of a freshly started image costs.

    Stack, vdso and tables are in image_exit_fixed, the loader's own mappings in ldso_exit_fixed; of the other objects
    vmas, file pages and written pages are counted.
    Charges: image_exit_fixed, ldso_exit_fixed, remove_vma, unlink_anon_vma, unlink_file_vma, zap_image_pte, those of
    free_owned.
    """
    objects = image.relocated
    written = sum(each.dirtied_pages + each.dirtied_bss_pages for each in objects) + owned_pages
    return {
        "image_exit_fixed": 1,
        "ldso_exit_fixed": image.loader is not None,
        "remove_vma": sum(each.vmas for each in objects),
        "unlink_anon_vma": sum(each.file_vmas_dirtied + each.anon_vmas for each in objects),
        "unlink_file_vma": sum(each.file_vmas_clean + each.file_vmas_dirtied for each in objects),
        "zap_image_pte": sum(
            min(each.readable_windows * FAULT_AROUND_PAGES, each.mapped_file_pages) for each in objects
        ),
        **free_owned(written, machine),
    }


def commit_refusal(space: AddressSpace, rules: Rules, limits: Limits) -> str | None:
    """Why `mm/util.c:__vm_enough_memory@v6.18` refuses to duplicate the space, or None if it does not.

    Mode 1 never refuses. Mode 2 refuses beyond the commit headroom. Mode 0 refuses, by rule `only_obvious`, a single
    vma larger than RAM and swap; by rule `per_vma_free` (before 5.2) one larger than what is free now.
    """
    if limits.commit_mode not in (0, 2):
        return None
    sizes = [
        vma.size_bytes for vma in space.vmas if vma.account and not vma.dontcopy and vma.kind is not VmaKind.SPECIAL
    ]
    if limits.commit_mode == 2 and limits.commit_headroom_bytes is not None:
        needed = sum(sizes)
        if needed > limits.commit_headroom_bytes:
            return (
                f"the copy commits {needed} bytes, {limits.commit_headroom_bytes} are left below CommitLimit "
                "(vm.overcommit_memory=2)"
            )
    if limits.commit_mode == 0:
        only_obvious = rules.overcommit_guess == "only_obvious"
        limit = limits.ram_and_swap_bytes if only_obvious else limits.available_bytes
        largest = max(sizes, default=0)
        if limit is not None and largest > limit:
            return f"one vma of {largest} bytes exceeds the {limit} bytes that heuristic overcommit allows"
    return None
