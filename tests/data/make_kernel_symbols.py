"""Write kernel_symbols.csv (version, file, function) from unpacked source trees.

Docstrings of the model cite their source as ``file:function@version``; tests/test_house.py looks each citation up in
that table. A symbol list of a running kernel would not do: many of these functions are inlined. Rows of versions that
are not named on the command line stay as they are.

    python tests/data/make_kernel_symbols.py 6.18=/usr/src/linux-6.18 5.15=/usr/src/linux-5.15 [2.39=/usr/src/glibc]
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

TABLE = Path(__file__).with_name("kernel_symbols.csv")

# Files of which every function can be cited; what a version does not have yet, or has no more, is passed over.
WHOLE = (
    "arch/x86/mm/tlb.c fs/binfmt_elf.c fs/binfmt_script.c fs/exec.c fs/file.c kernel/exit.c kernel/fork.c",
    "lib/percpu_counter.c mm/huge_memory.c mm/interval_tree.c mm/memory.c mm/mmap.c mm/mmap_lock.c mm/mmu_gather.c",
    "mm/rmap.c mm/vma.c mm/vma_exec.c mm/vma_init.c",
    # glibc, under its own version numbers
    "csu/libc-start.c csu/libc-tls.c elf/dl-cache.c elf/dl-deps.c elf/dl-hwcaps.c elf/dl-init.c elf/dl-load.c",
    "elf/dl-lookup.c elf/dl-map-segments.h elf/dl-minimal.c elf/dl-reloc.c elf/dl-runtime.c elf/dl-setup_hash.c",
    "elf/dl-sort-maps.c elf/dl-support.c elf/dl-tls.c elf/dl-version.c elf/do-rel.h elf/dynamic-link.h elf/rtld.c",
    "elf/setup-vdso.h nptl/allocatestack.c nptl/nptl-stack.c posix/fork.c posix/register-atfork.c",
    "sysdeps/posix/system.c sysdeps/unix/sysv/linux/spawni.c sysdeps/x86/dl-cacheinfo.h sysdeps/x86/cpu-features.c",
)

# Large files, or headers, of which a few functions (or macros) concern a spawn.
PICKED = {
    "arch/x86/entry/common.c": "do_syscall_64",
    "arch/x86/entry/syscall_64.c": "do_syscall_64",
    "arch/x86/entry/vdso/vma.c": "arch_setup_additional_pages map_vdso",
    "arch/x86/include/asm/mmu_context.h": "arch_dup_mmap arch_exit_mmap init_new_context",
    "arch/x86/include/asm/pgtable.h": "ptep_set_wrprotect pmdp_set_wrprotect pte_wrprotect",
    "arch/x86/include/asm/tlbflush.h": "flush_tlb_mm flush_tlb_page flush_tlb_range",
    "arch/x86/kernel/fpu/core.c": "fpu_clone fpu__copy fpu_flush_thread",
    "arch/x86/kernel/process.c": "arch_dup_task_struct copy_thread flush_thread ret_from_fork",
    "arch/x86/kernel/process_64.c": "copy_thread_tls start_thread __switch_to",
    "arch/x86/kernel/smp.c": "sysvec_call_function sysvec_reschedule_ipi",
    "arch/x86/mm/fault.c": "exc_page_fault do_user_addr_fault handle_page_fault",
    "arch/x86/mm/pgtable.c": "pgd_alloc pgd_free pgd_ctor pte_alloc_one ptep_set_access_flags ptep_clear_flush_young",
    "fs/fcntl.c": "do_fcntl sys_fcntl",
    "fs/file_table.c": "alloc_empty_file fput __fput",
    "fs/fs_struct.c": "copy_fs_struct",
    "fs/namei.c": "path_openat do_filp_open link_path_walk filename_lookup getname_flags lookup_fast",
    "fs/namespace.c": "copy_mnt_ns copy_tree clone_mnt",
    "fs/open.c": "do_sys_openat2 do_sys_open filp_close filp_flush do_dentry_open",
    "fs/pipe.c": "anon_pipe_write anon_pipe_read do_pipe2 create_pipe_files pipe_read pipe_write pipe_release",
    "fs/proc/task_mmu.c": "show_smap pte_to_pagemap_entry pagemap_read smap_gather_stats",
    "fs/read_write.c": "ksys_read ksys_write kernel_read vfs_read vfs_write",
    "include/asm-generic/pgalloc.h": "__pte_alloc_one pmd_alloc_one pmd_alloc_one_noprof __pte_alloc_one_noprof",
    "include/linux/mm.h": "pagetable_pte_ctor pgtable_pte_page_ctor vma_start_write maybe_mkwrite",
    "include/linux/mmap_lock.h": "mmap_write_lock mmap_write_lock_killable mmap_write_unlock vma_end_write_all "
    "vma_start_write vma_start_read",
    "include/linux/pgtable.h": "ptep_set_wrprotect wrprotect_ptes pmdp_set_wrprotect",
    "include/linux/rmap.h": "folio_try_dup_anon_rmap_ptes folio_try_dup_anon_rmap_pte folio_try_dup_anon_rmap_pmd "
    "page_try_dup_anon_rmap folio_dup_file_rmap_ptes",
    "include/linux/sched/mm.h": "mmget mmgrab",
    "kernel/cgroup/cgroup.c": "cgroup_can_fork cgroup_post_fork cgroup_exit cgroup_css_set_fork",
    "kernel/cgroup/pids.c": "pids_can_fork",
    "kernel/cred.c": "copy_creds commit_creds prepare_exec_creds",
    "kernel/entry/common.c": "exit_to_user_mode_loop syscall_exit_to_user_mode",
    "kernel/events/uprobes.c": "uprobe_dup_mmap uprobe_start_dup_mmap",
    "kernel/locking/rwsem.c": "down_read down_write down_write_killable up_write up_read rwsem_down_write_slowpath "
    "rwsem_down_read_slowpath rwsem_mark_wake rwsem_spin_on_owner",
    "kernel/nsproxy.c": "copy_namespaces create_new_namespaces",
    "kernel/pid.c": "alloc_pid free_pid attach_pid",
    "kernel/sched/completion.c": "complete complete_all wait_for_completion_killable wait_for_completion_state",
    "kernel/sched/core.c": "__schedule schedule_tail sched_exec sched_fork sched_cgroup_fork wake_up_new_task "
    "try_to_wake_up ttwu_do_activate ttwu_queue context_switch finish_task_switch resched_curr select_task_rq",
    "kernel/sched/fair.c": "select_task_rq_fair select_idle_sibling find_idlest_cpu sched_balance_find_dst_cpu "
    "task_fork_fair pick_next_task_fair place_entity check_preempt_wakeup_fair check_preempt_wakeup",
    "kernel/sched/idle.c": "do_idle cpuidle_idle_call default_idle_call",
    "kernel/sched/wait.c": "__wake_up __wake_up_sync_key prepare_to_wait finish_wait",
    "kernel/signal.c": "do_notify_parent flush_signal_handlers flush_sigqueue sys_rt_sigprocmask sys_rt_sigaction "
    "do_sigaction calculate_sigpending",
    "kernel/smp.c": "smp_call_function_many_cond smp_call_function_many on_each_cpu_cond_mask",
    "kernel/stop_machine.c": "stop_one_cpu",
    "kernel/sys.c": "set_user sys_prctl",
    "lib/maple_tree.c": "__mt_dup mas_store mas_dup_build mas_bulk_rebalance mas_preallocate",
    "malloc/arena.c": "__malloc_fork_lock_parent __malloc_fork_unlock_parent __malloc_fork_unlock_child",
    "mm/filemap.c": "filemap_map_pages filemap_fault filemap_map_folio_range",
    "mm/hugetlb.c": "copy_hugetlb_page_range hugetlb_fault hugetlb_dup_vma_private hugetlb_wp hugetlb_cow",
    "mm/khugepaged.c": "__khugepaged_enter __khugepaged_exit",
    "mm/ksm.c": "__ksm_enter __ksm_exit",
    "mm/mprotect.c": "do_mprotect_pkey mprotect_fixup change_protection",
    "mm/mremap.c": "move_page_tables move_vma",
    "mm/pgtable-generic.c": "ptep_clear_flush pmdp_huge_clear_flush pgtable_trans_huge_deposit pmdp_invalidate "
    "pgtable_trans_huge_withdraw",
    "mm/swap.c": "lru_add_drain folio_add_lru folios_put_refs release_pages",
    "mm/swapfile.c": "swap_duplicate __swap_duplicate swap_free",
    "mm/util.c": "__vm_enough_memory vm_mmap vm_mmap_pgoff arch_pick_mmap_layout vm_commit_limit",
    "nptl/pthread_create.c": "create_thread start_thread",
    "sysdeps/nptl/_Fork.c": "_Fork",
    "posix/_Fork.c": "_Fork",
    "sysdeps/generic/dl-hash.h": "_dl_elf_hash",
    "sysdeps/nptl/fork.h": "reclaim_stacks",
    "sysdeps/unix/sysv/linux/arch-fork.h": "arch_fork",
    "sysdeps/unix/sysv/linux/clone-internal.c": "__clone_internal __clone_internal_fallback",
    "sysdeps/x86/cacheinfo.h": "init_cacheinfo",
    "sysdeps/x86_64/dl-machine.h": "elf_machine_rela elf_machine_lazy_rel elf_machine_runtime_setup",
    "sysdeps/nptl/libc_start_call_main.h": "__libc_start_call_main",
}

NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
MACRO = re.compile(r"^#[ \t]*define[ \t]+(\w+)\(", re.MULTILINE)
ALIAS = re.compile(r"^#[ \t]*define[ \t]+(\w+)[ \t]+([A-Za-z_]\w*)$", re.MULTILINE)
SYMBOL = re.compile(r"\b(?:strong_alias|weak_alias|versioned_symbol)\s*\(\s*(?:\w+\s*,\s*)??(\w+)\s*,\s*(\w+)\s*[,)]")
PAREN = re.compile(r"[()]")
CALLED = re.compile(r"([A-Za-z_]\w*)\s*\(")
SYSCALL = re.compile(r"(?:COMPAT_)?SYSCALL_DEFINE\d")
WRAPPER = re.compile(r"DEFINE_\w+")
NEVER = re.compile(r"__attribute(__)?|__\w*printf|__acquires|__releases|__must_hold|__cond_\w+|__no_sanitize\w*")


def heads(text: str) -> list[str]:
    """What stands before each outermost brace: function heads, and those of structures and initialisers."""
    found, depth, start = [], 0, 0
    for match in re.finditer(r"[{};]", text):
        sign = match.group()
        if sign == "{":
            if depth == 0:
                found.append(text[start : match.start()])
            depth += 1
        elif sign == "}":  # at the margin it closes all: two heads under #ifdef can share one end
            depth = 0 if text[match.start() - 1] == "\n" else max(0, depth - 1)
        if depth == 0:
            start = match.end()
    return found


def function_named(head: str) -> str | None:
    """The function that a head defines; a SYSCALL_DEFINE counts as ``sys_NAME``; None for anything else."""
    found, position = None, 0
    while called := CALLED.search(head, position):
        if "=" in head[: called.start()]:
            return None
        position, depth = called.end(), 1
        while depth and (paren := PAREN.search(head, position)):
            depth, position = depth + (1 if paren.group() == "(" else -1), paren.end()
        name, first = called[1], head[called.end() : position - 1].split(",")[0].strip()
        if SYSCALL.match(name):
            found = f"sys_{first}"
        elif WRAPPER.match(name):
            found = first
        elif not NEVER.fullmatch(name):  # the last one: a return type such as ElfW(Addr) comes before the name
            found = name
    return found


def functions(text: str) -> set[str]:
    """Names of all functions defined in a C source, and the other names that macros and symbol aliases give them."""
    bare = DIRECTIVE.sub("", NOISE.sub(" ", text))
    names = {name for name in map(function_named, heads(bare)) if name and re.fullmatch(r"[A-Za-z_]\w*", name)}
    names |= {real for alias, real in ALIAS.findall(text) if alias in names}
    return names | {alias for real, alias in SYMBOL.findall(text) if real in names}


def rows_of(version: str, tree: Path) -> list[tuple[str, str, str]]:
    """All (version, file, function) of one tree; raises SystemExit if it holds none of the files."""
    rows = []
    for file in (*" ".join(WHOLE).split(), *PICKED):
        path = tree / file
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            names = functions(text)
            if file in PICKED or file.endswith(".h"):
                names |= set(MACRO.findall(text))
            wanted = names & set(PICKED[file].split()) if file in PICKED else names
            rows += [(version, file, name) for name in wanted]
    if not rows:
        raise SystemExit(f"{tree}: none of the files that the model cites is there (name the top of a source tree)")
    return rows


def read_table() -> list[tuple[str, str, str]]:
    """The rows that are there now; none if there is no table yet."""
    if not TABLE.exists():
        return []
    with TABLE.open(newline="", encoding="utf-8") as stream:
        return [(row["version"], row["file"], row["function"]) for row in csv.DictReader(stream)]


def order(row: tuple[str, str, str]) -> tuple[tuple[int, ...], str, str]:
    """Versions by number, then files and functions by name."""
    return tuple(int(part) for part in row[0].split(".")), row[1], row[2]


def main(arguments: list[str]) -> int:
    """Replace the rows of the versions named in `arguments` (VERSION=TREE) and write the table."""
    trees = [argument.partition("=") for argument in arguments]
    if not trees or not all(re.fullmatch(r"\d+(\.\d+)+", version) and tree for version, _, tree in trees):
        print(__doc__, file=sys.stderr)
        return 2
    fresh = {version: rows_of(version, Path(tree)) for version, _, tree in trees}
    rows = [row for row in read_table() if row[0] not in fresh]
    rows += [row for version in fresh for row in fresh[version]]
    ordered = sorted(set(rows), key=order)
    with TABLE.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("version", "file", "function"))
        writer.writerows(ordered)
    for version in fresh:
        print(f"{version}: {len(fresh[version])} functions")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
