"""What changed between versions of Linux, glibc and the JDK, as data: one frozen record of rules.

Kernel paths ask the record, never a version number: distributions backport, so single rules can be set.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, TypeVar, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One rule a field; the comment behind it names the release that brought the newer behaviour and the source."""

    wrprotect_only_writable: bool = True  # 4.19, mm/memory.c:copy_one_pte (1b2de5d039c8)
    overcommit_guess: Literal["per_vma_free", "only_obvious"] = "only_obvious"  # 5.2, mm/util.c:__vm_enough_memory
    thp_cow: Literal["copy_pmd", "split_pmd"] = "split_pmd"  # 5.8, mm/huge_memory.c:do_huge_pmd_wp_page (3917c80280c9)
    pinned_pages_copied: bool = True  # 5.9, mm/memory.c:copy_present_page
    anon_exclusive: bool = True  # 5.19, mm/memory.c:__copy_present_ptes (6c287605fd56)
    hugetlb_lazy: bool = True  # 6.0, mm/memory.c:vma_needs_copy (bcd51a3c679d)
    vma_tree: Literal["rbtree", "maple", "mt_dup"] = "mt_dup"  # 6.1 maple, 6.8 __mt_dup (d24062914837)
    per_vma_lock: bool = True  # 6.5, include/linux/mmap_lock.h:vma_start_write (fb49c455323f)
    fork_batches_large_folios: bool = True  # 6.9, mm/memory.c:copy_present_ptes (f8d937761d65), zap_present_ptes
    split_thp_reuse: Literal["mapcount", "never", "mm_id"] = "mm_id"  # 5.9, 6.15 mm/memory.c:wp_can_reuse_anon_folio
    huge_zero_write: Literal["split", "alloc"] = "alloc"  # 6.14, mm/huge_memory.c:do_huge_zero_wp_pmd
    lazy_mm_cpumask: bool = True  # 6.14, arch/x86/mm/tlb.c:switch_mm_irqs_off (209954cbc7d0)
    range_flush_reaches_lazy: bool = True  # 6.15, arch/x86/include/asm/tlbflush.h:flush_tlb_range (3ef938c35035)
    tlb_broadcast: Literal["never", "if_cpu_has", "always"] = "if_cpu_has"  # 6.15, arch/x86/mm/tlb.c (INVLPGB)
    page_table_copy: Literal["eager", "on_demand", "async"] = "eager"  # the others in no release, kernel/page_tables.py
    posix_spawn_clear_sighand: bool = True  # glibc 2.38 and Linux 5.5, sysdeps/unix/sysv/linux/spawni.c
    jdk_launch: Literal["vfork", "posix_spawn"] = "posix_spawn"  # JDK 13, ProcessImpl.java (JDK-8213192)
    jdk_closes_fds: Literal["close", "cloexec"] = "close"  # JDK 26, childproc.c (JDK-8210549)
    cpython_vfork: bool = True  # CPython 3.10, Modules/_posixsubprocess.c


KERNEL_SINCE: dict[str, tuple[tuple[tuple[int, int], object], ...]] = {
    "wrprotect_only_writable": (((0, 0), False), ((4, 19), True)),
    "overcommit_guess": (((0, 0), "per_vma_free"), ((5, 2), "only_obvious")),
    "thp_cow": (((0, 0), "copy_pmd"), ((5, 8), "split_pmd")),
    "pinned_pages_copied": (((0, 0), False), ((5, 9), True)),
    "anon_exclusive": (((0, 0), False), ((5, 19), True)),
    "hugetlb_lazy": (((0, 0), False), ((6, 0), True)),
    "vma_tree": (((0, 0), "rbtree"), ((6, 1), "maple"), ((6, 8), "mt_dup")),
    "per_vma_lock": (((0, 0), False), ((6, 5), True)),
    "fork_batches_large_folios": (((0, 0), False), ((6, 9), True)),
    "split_thp_reuse": (((0, 0), "mapcount"), ((5, 9), "never"), ((6, 15), "mm_id")),
    "huge_zero_write": (((0, 0), "split"), ((6, 14), "alloc")),
    "lazy_mm_cpumask": (((0, 0), False), ((6, 14), True)),
    "range_flush_reaches_lazy": (((0, 0), False), ((6, 15), True)),
    "tlb_broadcast": (((0, 0), "never"), ((6, 15), "if_cpu_has")),
}
"""Rule by kernel release; each value holds from its release on.

`range_flush_reaches_lazy` went into the stable kernels 5.10, 5.15, 6.1, 6.6 and 6.12 in April 2025 too: set it there.
"""

JDK_SINCE: dict[str, tuple[tuple[int, object], ...]] = {
    "jdk_launch": ((0, "vfork"), (13, "posix_spawn")),
    "jdk_closes_fds": ((0, "close"), (26, "cloexec")),
}


def parse_version(text: str) -> tuple[int, int]:
    """Major and minor of a version such as `6.18.44-generic`, `2.36` or `17`; ValueError if there is no number."""
    parts = text.strip().lstrip("v").split(".")
    try:
        major = int(parts[0])
        digits = "".join(c for c in parts[1].split("-")[0] if c.isdigit()) if len(parts) > 1 else ""
        return major, int(digits or 0)
    except ValueError as error:
        raise ValueError(f"not a version: {text!r}") from error


Version = TypeVar("Version", int, tuple[int, int])


def _latest(table: tuple[tuple[Version, object], ...], version: Version) -> object:
    return [value for since, value in table if since <= version][-1]


def rules_for(*, kernel: str = "6.18", glibc: str = "2.38", jdk: str = "17", cpython: str = "3.11") -> Rules:
    """The rules of mainline releases; ValueError for a version that cannot be read or a kernel older than 4.18."""
    version = parse_version(kernel)
    if version < (4, 18):
        raise ValueError(f"kernel {kernel} is older than 4.18, the oldest that the rules describe")
    found: dict[str, object] = {name: _latest(table, version) for name, table in KERNEL_SINCE.items()}
    found |= {name: _latest(table, parse_version(jdk)[0]) for name, table in JDK_SINCE.items()}
    found["posix_spawn_clear_sighand"] = parse_version(glibc) >= (2, 38) and version >= (5, 5)
    found["cpython_vfork"] = parse_version(cpython) >= (3, 10)
    return replace(Rules(), **found)  # type: ignore[arg-type]


def values_of(name: str) -> dict[str, object]:
    """What a rule can be, by the text that says it."""
    hint = get_type_hints(Rules)[name]
    values = get_args(hint) if get_origin(hint) is Literal else (True, False)
    return {str(value).lower(): value for value in values}


def set_rule(rules: Rules, name: str, text: str) -> Rules:
    """The record with one rule set from text; ValueError names the rules or the values that exist."""
    known = [f.name for f in fields(Rules)]
    if name not in known:
        raise ValueError(f"no rule {name!r}: the rules are {', '.join(known)}")
    choices = values_of(name)
    if text.lower() not in choices:
        raise ValueError(f"rule {name} is one of {', '.join(choices)}, not {text!r}")
    return replace(rules, **{name: choices[text.lower()]})  # type: ignore[arg-type]


def differing(rules: Rules, measured: Rules) -> tuple[str, ...]:
    """Names of the rules in which two records differ."""
    return tuple(f.name for f in fields(Rules) if getattr(rules, f.name) != getattr(measured, f.name))
