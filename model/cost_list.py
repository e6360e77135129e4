"""The list behind `model.costs`: a glossary of every coefficient, grouped by who charges it.

An entry is a head line, `name (per what) by bench`, and what it stands for; with `else FACTOR × cost` behind it where
machine files that are older than the bench have another price to go by, which predictions then warn of; the factor is
that of the first machine on which the bench ran. An assumed price has the head
`name (per what) assumed FACTOR × cost` and a line that begins with `Source:`. No task works off a `latency`.
"""

from __future__ import annotations

from model.cost_states import COLD, REMOTE
from model.cost_user import RUNTIMES, USER

KERNEL = """
syscall (system call) by null_syscall
    Entry and exit of a system call that does next to nothing.
clock_gettime (read) by clock
    clock_gettime(CLOCK_MONOTONIC) through the vdso.
locked_rmw (operation) by locked_rmw
    A locked read-modify-write of a line that this CPU holds, such as ClearPageAnonExclusive in
    mm/memory.c:__copy_present_ptes@v6.18.
pipe_io (call) by pipe_rw
    read or write of a few bytes on a pipe: fs/pipe.c:anon_pipe_write@v6.18, anon_pipe_read.
open_file (file) by open_close
    openat and close of a file in the dentry cache: fs/open.c:do_sys_openat2@v6.18.
failed_open (path) by open_enoent
    openat or stat of a path that does not exist, answered by a negative dentry.
mmap_pair (pair) by mmap_munmap
    mmap and munmap of an untouched anonymous range: mm/mmap.c:do_mmap@v6.18, mm/vma.c:do_vmi_munmap.
brk_call (call) assumed 0.5 × mmap_pair
    brk(2): mmap_lock taken, the heap's vma grown or shrunk, mm/vma.c:do_brk_flags@v6.18.
    Source: half of what mmap and munmap of an untouched range do.
proc_maps_vma (vma) assumed 6.5 × syscall
    show_map_vma of fs/proc/task_mmu.c: a line of /proc/PID/maps, the vma locked, a path of some parts.
    Source: a line took 1.3 us on an EPYC guest on which a system call took 0.2.
munmap_touched (call) by munmap
    munmap of a range that was written, its pages and tables left out: vma, gather, the local flush.
mprotect_split (pair) by mprotect
    Two mprotect calls that split a vma and merge it again: mm/mprotect.c:mprotect_fixup@v6.18.
context_switch (switch) by wake
    Wake-up on the same CPU, pick_next_task, switch_mm, return: kernel/sched/core.c:try_to_wake_up@v6.18, __schedule.
wake_idle_hot (wake-up) latency by wake
    A wake-up of another CPU that has been idle for less than 20 us.
wake_idle_200us (wake-up) latency by wake
    The same, idle for 20 us to 0.5 ms.
wake_idle_2ms (wake-up) latency by wake
    The same, idle for 0.5 to 5 ms.
wake_idle_20ms (wake-up) latency by wake
    The same, idle for more than 5 ms.
ipi_round (flush) latency by fork_threads
    IPIs to the other CPUs of mm_cpumask and their acknowledgement: arch/x86/mm/tlb.c:flush_tlb_mm_range@v6.18.
ipi_interrupted (interrupt) by shootdown
    What a flush takes from a thread that runs on another CPU, its exit to a hypervisor included:
    arch/x86/mm/tlb.c:flush_tlb_func@v6.18.
flush_round (flush) latency by shootdown else 0.21 × ipi_round
    A flush of one page on the other CPUs that run the mm, with their acknowledgement:
    arch/x86/mm/tlb.c:flush_tlb_mm_range@v6.18. The factor is that of the bundled EPYC guest, where both were measured.
ipi_receiver (CPU) latency assumed 0.17 × flush_round
    Each CPU beyond the first that a flush interrupts: a write to its APIC, its acknowledgement awaited meanwhile.
    Source: Nadav Amit, "x86: concurrent TLB flushes" (LKML, May 2019), madvise and touch on a Haswell: 663, 1225 and
    1421 ns with 1, 2 and 4 threads, so 98 ns a CPU after 562 ns for the first.
tlb_broadcast (flush) latency assumed 0.7 × flush_round
    A flush of all CPUs by INVLPGB and TLBSYNC, which interrupts nobody: arch/x86/mm/tlb.c:broadcast_tlb_flush@v6.18.
    Source: Rik van Riel, cover letter of "AMD broadcast TLB invalidation" (v2, LKML, December 2024), 36 threads of
    will-it-scale on an EPYC Milan, 68 us a loop: flushes took 40 % of the CPU by IPI, 4 % by INVLPGB; so 27 us, which a
    round to 35 CPUs makes 6.8 flush_round, against 2.7.
protect_page (pair) by shootdown
    Two mprotect calls on one page with its local flush: mm/mprotect.c:mprotect_fixup@v6.18.
tlb_miss (page walk) by tlb_refill
    A page walk of a reference that the TLB had answered before it was flushed: arch/x86/mm/tlb.c:flush_tlb_local@v6.18.
copy_process_fixed (call) by clone_vm_exit
    kernel/fork.c:copy_process@v6.18 without the mm: task_struct, stack, credentials, signals, pid, cgroup, publication;
    wake_up_new_task.
dup_mm_fixed (fork) by fork_touched
    kernel/fork.c:dup_mm@v6.18: mm_struct, pgd, percpu counters, root of __mt_dup, the local TLB flush.
dup_fd_slot (slot) by fork_fds
    fs/file.c:dup_fd@v6.18: one slot of the table.
dup_fd_file (open file) by fork_fds
    fs/file.c:dup_fd@v6.18: get_file of one open file.
vm_area_dup (vma) by fork_vmas
    mm/vma_init.c:vm_area_dup@v6.18, vma_start_write, one maple slot.
vma_account (vma) by fork_vmas
    mm/util.c:__vm_enough_memory@v6.18 for a vma with VM_ACCOUNT.
vm_area_dup_beyond_cache (vma) by fork_vmas
    What a vma or an anon_vma costs more when the walk outgrows the second-level cache.
dontcopy_vma (vma) by fork_vmas
    A vma with MADV_DONTFORK: its slot of the copied tree is cleared, mm/mmap.c:dup_mmap@v6.18.
anon_vma_fork (vma) by fork_vmas
    mm/rmap.c:anon_vma_fork@v6.18 with a chain of one.
anon_vma_chain_link (link) by fork_chain
    mm/rmap.c:anon_vma_clone@v6.18: one more anon_vma_chain and interval-tree insert.
vma_link_file (vma) by fork_vmas
    get_file and the i_mmap insert of mm/mmap.c:dup_mmap@v6.18.
maple_store_vma (vma) assumed 1.35 × vm_area_dup
    mas_store of one vma in dup_mmap before __mt_dup (6.1 to 6.7), rebalancing the tree.
    Source: Peng Zhang, cover letter of the series of d24062914837 (LKML, August 2023): 0.48 us a vma before, 0.31 to
    0.34 us after, fork and exit together; half as much as vm_area_dup, vma_account and remove_vma, 2.7 vm_area_dup.
copy_present_pte (pte) by fork_touched
    mm/memory.c:copy_present_ptes@v6.18 of a write-protected 4 KiB anonymous page: refcount, mapcount, store.
copy_pte_beyond_cache (pte) by fork_touched
    What a pte costs more when struct pages and tables outgrow the last cache that is this CPU's to use.
copy_scattered_pte (pte) by fork_touched
    What it costs more when its frame is no neighbour of the one before and struct pages outgrow the cache.
wrprotect_pte (pte) by fork_touched
    arch/x86/include/asm/pgtable.h:ptep_set_wrprotect@v6.18 of a writable pte.
copy_file_pte (pte) by fork_file_ptes
    copy_present_ptes of a page-cache page in a walked vma.
copy_folio (folio) by fork_folios
    copy_present_ptes: one batch, a refcount and a large mapcount.
copy_folio_pte (pte) by fork_folios
    The per-pte part of a batch.
copy_folio_pte_beyond_cache (pte) by fork_folios else 1.0 × copy_pte_beyond_cache
    What a pte of a batch costs more when struct pages and tables outgrow the last cache that is this CPU's to use.
copy_swap_pte (entry) assumed 1.0 × copy_present_pte
    mm/memory.c:copy_nonpresent_pte@v6.18: swap_duplicate.
    Source: one atomic reference and one store, as for a present pte; no bench swaps.
copy_table (table) by fork_sparse
    mm/memory.c:copy_pte_range@v6.18: a page table of any level allocated, cleared, charged, its 512 entries scanned.
copy_table_beyond_pcp (table) by fork_sparse
    What a table costs more once the CPU's free list is empty and its page comes cold.
copy_huge_pmd (pmd) by fork_thp
    mm/huge_memory.c:copy_huge_pmd@v6.18: folio reference and a deposited pte table.
copy_huge_beyond_pcp (pmd) by fork_thp
    What a pmd costs more once the CPU's free list is empty and its deposited table comes cold.
copy_hugetlb_pte (entry) assumed 2.0 × copy_present_pte
    mm/hugetlb.c:copy_hugetlb_page_range@v6.18: one entry, no deposit.
    Source: folio reference, rmap and two stores, as for a present pte; no bench reserves hugetlb pages.
fault_anon (page) by touch
    mm/memory.c:do_anonymous_page@v6.18: a zeroed 4 KiB page.
alloc_page_beyond_pcp (page) by touch
    What an anonymous page costs more once the CPU's free list is empty: mm/page_alloc.c:__rmqueue_pcplist@v6.18.
unbacked_page (page) assumed 7.8 × fault_anon
    What a frame costs more at its first touch that the hypervisor has taken back, or never given: a fault of its own.
    Source: an EPYC guest that hands free blocks of 2 MiB back (page_reporting), host pages of 4 KiB, measured for it:
    first touches of 2 MiB take 0.19 or 4.8 ms, so 9.0 us a page, where fault_anon is 1.15 us.
fault_pte_table (table) by touch
    A first fault in a 2 MiB span: its pte table.
fault_huge (folio) by touch
    mm/huge_memory.c:do_huge_pmd_anonymous_page@v6.18: 2 MiB cleared, a table deposited.
fault_zero_page (page) by touch else 0.5 × fault_anon
    mm/memory.c:do_anonymous_page@v6.18 of a read: the zero page is mapped, nothing allocated.
fault_huge_zero (range) by touch else 0.9 × fault_anon
    mm/huge_memory.c:do_huge_pmd_anonymous_page@v6.18 of a read: the huge zero page, a table deposited.
fault_zero_write (page) by touch else 1.5 × fault_anon
    mm/memory.c:wp_page_copy@v6.18 of the zero page: a cleared page instead, with a flush.
fault_folio (folio) by touch else 1.7 × fault_anon
    mm/memory.c:alloc_anon_folio@v6.18: a large folio that is mapped by ptes, whatever its size.
fault_folio_page (page) by touch else 0.1 × fault_anon
    A page of it: cleared, its pte set.
fault_cow_copy (page) by cow
    mm/memory.c:wp_page_copy@v6.18: a 4 KiB copy while the page is shared.
fault_cow_beyond_cache (page) by cow
    What a copy costs more when the old and the new page lie beyond the caches.
fault_after_sleep (burst) by cow
    What the first copies cost more after their thread slept: mm/memory.c:wp_page_copy@v6.18 has left the near caches.
reuse_after_sleep (burst) by cow else 0.5 × fault_after_sleep
    The same of a burst that copies nothing: its first faults take pages over that are the writer's alone again.
copy_strewn (page) by cow
    What a copy costs more where pages are written in no order: nothing fetches pte, struct page and line ahead.
reuse_strewn (page) by cow else 1.0 × copy_strewn
    The same of a page that is taken over.
write_alone (write) by cow
    A write in no order to a page that nobody shares, after a sleep, with a look at the clock; benches only.
walk_after_sleep (write) by cow
    What such a write costs more through a pte than through a pmd mapping: the page walk finds its pte in no near cache.
fault_cow_reuse (page) by cow
    mm/memory.c:wp_page_reuse@v6.18: the page is the writer's alone again.
split_huge_pmd (pmd) by cow
    mm/huge_memory.c:__split_huge_pmd@v6.18: first write to a shared pmd mapping, with its full flush.
huge_pmd_reuse (pmd) by cow
    mm/huge_memory.c:do_huge_pmd_wp_page@v6.18: the whole pmd mapping is the writer's alone again.
page_clear (page) by page_clear
    Clearing 4 KiB beyond the cache.
page_copy (page) by page_copy
    Copying 4 KiB beyond the cache.
clear_beside (page) by page_clear
    What clearing 4 KiB beyond the cache costs more while another CPU does so: one memory bus.
copy_beside (page) by page_copy
    The same of copying 4 KiB.
fault_file_read (fault) by file_fault
    mm/memory.c:do_fault_around@v6.18: up to 16 page-cache pages mapped.
fault_file_write (page) by file_write
    mm/memory.c:do_cow_fault@v6.18, wp_page_copy of a private file page.
do_exit_entry (exit) by vfork_exit
    kernel/exit.c:do_exit@v6.18 up to exit_mm, where a vfork parent is released.
do_exit_fixed (exit) by clone_vm_exit
    The rest of do_exit without the mm, SIGCHLD, wait4, release_task.
exit_mm_fixed (mm) by fork_touched
    mm/mmap.c:exit_mmap@v6.18: pgd, counters, gather; the child's return from fork.
remove_vma (vma) by fork_vmas
    mm/vma.c:remove_vma@v6.18.
unlink_anon_vma (vma) by fork_vmas
    mm/rmap.c:unlink_anon_vmas@v6.18 with a chain of one.
unlink_anon_vma_link (link) by fork_chain
    One more link of the chain.
unlink_beyond_cache (vma) by fork_vmas
    What a vma with an anon_vma costs more to drop when the walk outgrows the second-level cache.
unlink_file_vma (vma) by fork_vmas
    mm/vma.c:unlink_file_vma_batch_add@v6.18, fput.
zap_pte (pte) by fork_touched
    mm/memory.c:zap_present_ptes@v6.18 of an anonymous page that stays with another mm.
zap_pte_beyond_cache (pte) by fork_touched
    What it costs more when struct pages and tables outgrow the last cache that is this CPU's to use.
zap_scattered_pte (pte) by fork_touched
    What it costs more with scattered frames beyond the cache.
free_anon_page (page) by munmap
    Freeing the page as well: it was this mm's alone.
free_folio (folio) by munmap else 2.6 × free_anon_page
    Freeing a large folio that is mapped by ptes and was this mm's alone: one for all its pages.
free_folio_page (page) by munmap else 0.07 × free_anon_page
    A page of it: mm/page_alloc.c:__free_pages_prepare@v6.18 looks at every tail page.
free_folio_page_beyond_cache (page) by munmap else 0.0 × free_folio_page
    What it costs more when the struct pages of all folios outgrow the second-level cache.
free_page_beyond_pcp (page) by munmap
    What a page costs more to free than the CPU's free list takes back: mm/page_alloc.c:free_pcppages_bulk@v6.18.
zap_file_pte (pte) by fork_file_ptes
    zap_present_ptes of a page-cache page that fork mapped.
zap_image_pte (pte) by exec_target
    zap_present_ptes of a page-cache page that fault-around mapped into an image.
zap_folio (folio) by fork_folios
    zap_present_ptes: one batch of a large folio.
zap_folio_pte (pte) by fork_folios
    The per-pte part of a batch.
zap_folio_pte_beyond_cache (pte) by fork_folios else 1.0 × zap_pte_beyond_cache
    What a pte of a batch costs more when struct pages and tables outgrow the last cache that is this CPU's to use.
free_pte_table (table) by fork_sparse
    mm/memory.c:free_pgtables@v6.18: one pte table.
free_table_beyond_cache (table) by fork_sparse
    What a table costs more to free when the walk outgrows the second-level cache.
free_upper_table (table) by fork_sparse
    One pmd or pud table.
zap_huge_pmd (pmd) by fork_thp
    mm/huge_memory.c:zap_huge_pmd@v6.18 and its deposited table.
zap_huge_beyond_pcp (pmd) by fork_thp
    What a pmd costs more to drop when its deposited table goes beyond the CPU's free list.
free_huge_page (folio) by munmap
    Freeing 2 MiB that were this mm's alone.
filp_close (open file) by fork_fds
    fs/open.c:filp_close@v6.18 of one descriptor at exit.
de_thread_fixed (execve) by exec_threads else 16.0 × context_switch
    fs/exec.c:de_thread@v6.18 of a process with other threads: the caller sleeps until the last has ended, and is woken.
de_thread_kill (thread) by exec_threads else 1.6 × do_exit_fixed
    A sleeping thread that another one's exec kills: zap_other_threads of kernel/signal.c, its wake-up, its
    kernel/exit.c:do_exit, which reaps itself; its stack is dropped with the mm.
storage_read (read) latency by cold_read else 300.0 × syscall
    A read of a file's pages that are not in the page cache, until it is back: mm/filemap.c:filemap_fault@v6.18,
    the storage itself, and the reader's wake-up.
storage_kib (KiB) latency by cold_read else 5.0 × syscall
    Each KiB that such a read brings.
storage_installed_kib (KiB) latency by cold_read else 0.0 × storage_kib
    What a KiB of a file that came with the system takes longer than one of a file just written: it may lie deeper in
    the storage, in the base of a snapshot or in an image that the host holds in no cache.
    Told by cold-read-installed; without it none.
exec_credentials (execve) by exec_setid else 8.0 × syscall
    What a file that changes user or group costs more: fs/exec.c:bprm_fill_uid@v6.18, the new user's counters in
    kernel/cred.c:commit_creds@v6.18, AT_SECURE. Capabilities of a file are taken to cost the same.
close_on_exec (open file) by exec_target
    fs/file.c:do_close_on_exec@v6.18 of one descriptor.
execve_prepare (execve) by exec_noexec
    fs/exec.c:do_execveat_common@v6.18 up to begin_new_exec: path walk, open, new mm, argument pages, header read.
execve_enoent (miss) by exec_enoent
    One failed execve of a PATH search.
execve_open (execve) by exec_target
    fs/exec.c:begin_new_exec@v6.18 up to exec_mmap: credentials, argument pages, headers; a vfork caller waits for it.
elf_interpreter (file) by exec_target
    fs/binfmt_elf.c:load_elf_binary@v6.18: the interpreter found, opened, its headers read.
execve_fixed (execve) by exec_target
    begin_new_exec to START_THREAD of fs/binfmt_elf.c:load_elf_binary@v6.18, segments left out; first faults.
elf_load_segment (segment) by exec_target
    fs/binfmt_elf.c:elf_load@v6.18: one PT_LOAD of the executable or of its interpreter.
exec_arg_page (page) by exec_target
    fs/exec.c:copy_strings@v6.18: a page of argv or envp, its later move, its scan.
image_exit_fixed (exit) by exec_target
    exit_mmap of a new image: its stack, vdso, and first tables.
"""

KERNEL_LEVEL = (KERNEL, REMOTE, COLD)
USER_LEVEL = (USER, RUNTIMES)
"""Costs worked off mostly in user code; those that mix, such as ldso_object with its system calls, count as user."""
