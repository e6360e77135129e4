"""ld.so from its first instruction to its jump to the program: glibc's `elf/rtld.c`."""

from __future__ import annotations

from model.elf_image import ElfImage, ElfObject, loader_constructors
from model.kernel.filemap import read_header, read_loader_cache, read_mapped
from model.kernel.task import Path, Task

SECURE_ACCESSES = 2
"""Look-ups of /etc/suid-debug in secure mode, for tunables and for LD_ variables: `elf/rtld.c:process_envvars@2.36`."""


def start_up(task: Task, image: ElfImage) -> Path:
    """User-level start of a new image, up to the program's own `_start`.

    `elf/rtld.c:dl_main@2.36`; a static image has none. Marks the milestones `loader_begin` and `loader_end` of the
    loader's run, constructors left out.
    Charges: cpuid, ldso_fixed, failed_open of a secure start, those of map_loader_cache, of map_object and relocate
    for each object (its name stands on the path), fault_file_read of what the check of versions reads first, the
    loader's own ldso_lookup, ldso_object_pair, constructor_call, cold_ldso.
    Leaves out: LD_AUDIT.
    """
    system = task.system
    if image.loader is None:
        return
    yield from task.reach("loader_begin")
    with task.at("_dl_start"):
        task.charge("ldso_fixed")
        task.charge("cpuid", system.machine.facts.get("loader_cpuids", 0.0))
        task.charge("failed_open", SECURE_ACCESSES * image.secure)
        if task.cold:
            task.charge("cold_ldso")
        map_loader_cache(task, image)
        for each in image.objects:
            map_object(task, each)
        with task.at("_dl_check_all_versions"):
            task.charge("fault_file_read", sum(each.version_windows for each in image.relocated))
        libraries = len(image.libraries)
        task.charge("ldso_object_pair", libraries * (libraries - 1) / 2)
        task.charge("ldso_lookup", image.own_lookups)
        for each in image.relocated:
            relocate(task, each)
    yield from task.reach("loader_end")
    with task.at("_dl_init"):
        for each in image.objects:
            with task.at(each.name):
                task.charge("constructor_call", loader_constructors(each))


def map_loader_cache(task: Task, image: ElfImage) -> None:
    """Map the list of libraries, search it from its middle on, unmap it: `elf/dl-cache.c:_dl_load_cache_lookup@2.36`.

    Charges: open_file, syscall for fstat, mmap_pair, fault_file_read, those of read_loader_cache.
    """
    if not image.maps_cache:
        return
    with task.at("_dl_load_cache_lookup"):
        read_loader_cache(task, image)
        task.charge_all({"open_file": 1, "syscall": 1, "mmap_pair": 1, "fault_file_read": 1})


def map_object(task: Task, each: ElfObject) -> None:
    """Find, open and map one object: `elf/dl-load.c:_dl_map_object@2.36`; the kernel has mapped the other two.

    Charges: failed_open for paths that fail in the search; for a library ldso_object, ldso_segment for each PT_LOAD
    but the first, ldso_bss, those of read_header and read_mapped; for it and the executable fault_file_write,
    ldso_dirtied and fault_file_read of what is read and written then.
    """
    if each.role == "executable":
        with task.at("rtld_setup_main_map"):
            _first_touches(task, each)
    with task.at("_dl_map_object", each.name):
        task.charge("failed_open", each.failed_opens + each.directory_stats)
        if each.role == "library":
            read_header(task, each)
            read_mapped(task, each)
            task.charge("ldso_object")
            task.charge("ldso_segment", max(0, each.load_segments - 1))
            task.charge("ldso_bss", each.anon_vmas)
            _first_touches(task, each)


def _first_touches(task: Task, each: ElfObject) -> None:
    task.charge("fault_file_write", each.mapping_dirtied_pages)
    task.charge("ldso_dirtied", each.mapping_dirtied_pages)
    task.charge("fault_file_read", each.mapping_windows)


def relocate(task: Task, each: ElfObject) -> None:
    """Relocate one object: `elf/dl-reloc.c:_dl_relocate_object@2.36`.

    Charges: ldso_relative, ldso_lookup, ldso_turn, ldso_version, ldso_name_byte, ldso_cached, ldso_probe, ldso_chain,
    ldso_line, fault_file_write and ldso_dirtied for each page that is written first, fault_anon for bss,
    fault_file_read for each fault-around window that is read; what came with the mapping left out.
    """
    dirtied = max(0, each.dirtied_pages - each.mapping_dirtied_pages)
    with task.at("_dl_relocate_object", each.name):
        task.charge_all(
            {
                "ldso_relative": each.relative_relocations
                + each.relr_relocations
                + each.other_relocations
                + each.lazy_jump_slots,
                "ldso_lookup": each.symbol_lookups,
                "ldso_turn": each.lookup_turns,
                "ldso_version": each.version_compares,
                "ldso_name_byte": each.lookup_name_bytes,
                "ldso_cached": each.symbol_cache_hits,
                "ldso_probe": each.bloom_rejections,
                "ldso_chain": each.vain_probes,
                "ldso_line": each.lookup_lines,
                "fault_file_write": dirtied,
                "ldso_dirtied": dirtied,
                "fault_anon": each.dirtied_bss_pages,
                "fault_file_read": max(0, each.readable_windows - each.mapping_windows - each.version_windows),
            }
        )


def loader_system_calls(image: ElfImage) -> dict[str, int]:
    """System calls of ld.so from its first instruction to the end of `elf/rtld.c:dl_main@2.36`, by name.

    For glibc 2.36. Left out: `heap` mappings, by which ld.so's own malloc and the TLS block grow (anonymous, 8 KiB or
    more each, about one for five libraries), and what constructors call.
    """
    libraries = image.libraries
    calls = dict.fromkeys(("brk", "access", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64"), 1)
    calls["access"] += SECURE_ACCESSES * image.secure
    opened = len(libraries) + image.maps_cache + image.preload_file
    calls |= {
        "openat": opened + sum(each.failed_opens for each in image.objects),
        "read": len(libraries),
        "pread64": sum(each.header_preads for each in libraries),
        "newfstatat": opened + sum(each.directory_stats for each in image.objects),
        "mmap": sum(file_mappings(each) for each in libraries) + image.maps_cache + image.preload_file,
        "mprotect": sum(each.relro for each in image.objects) + sum(each.holes for each in libraries),
        "close": opened,
        "munmap": image.maps_cache + image.preload_file + 2 * sum(each.over_aligned for each in libraries),
        "readlink": image.origin_reads,
    }
    return {name: count for name, count in calls.items() if count} if image.loader is not None else {}


def file_mappings(each: ElfObject) -> int:
    """mmap calls that map a library: `elf/dl-map-segments.h:_dl_map_segments@2.36`.

    One a PT_LOAD, one for its bss, and one more that reserves the room of an over-aligned one.
    """
    return each.load_segments + each.anon_vmas + each.over_aligned


def run_main(task: Task, image: ElfImage) -> None:
    """From `_start` to exit(): libc's start, a main that returns at once, libc's exit; nothing without a libc.

    Charges: libc_main_exit for a dynamic image; libc_static_start, cpuid and the relocations of a static one.
    """
    program = image.program
    with task.at("__libc_start_main"):
        if image.libraries:
            task.charge("libc_main_exit")
        elif program is not None and image.loader is None and _has_libc(program):
            _static_start(task, program)


def _static_start(task: Task, program: ElfObject) -> None:
    task.charge("libc_static_start")
    task.charge("cpuid", task.system.machine.facts.get("static_cpuids", 0.0))
    task.charge("ldso_relative", program.relative_relocations + program.relr_relocations)
    task.charge("fault_file_write", program.dirtied_pages)
    task.charge("fault_file_read", program.readable_windows)
    if task.cold:
        task.charge("cold_ldso")


def _has_libc(program: ElfObject) -> bool:
    """Whether a static image brings a libc: it has ifuncs or TLS; a bare `_start` has neither."""
    return program.irelative_relocations > 0 or program.tls_bytes > 0
