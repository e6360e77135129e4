"""Costs that a state adds to others, in the form of `model.cost_list`: a child elsewhere, a caller from other work."""

from __future__ import annotations

REMOTE = """
wake_new_remote (spawn) by fork_touched
    What a child that starts on another CPU costs its creator: the reschedule interrupt.
sched_migrate (move) by fork_touched
    sched_setaffinity(2) to another CPU, by way of the migration thread; benches only.
returned_mm (fork) by fork_touched
    What a fork costs more when the last child dropped its copy on another CPU, which has what the next one needs.
returned_vma (vma) by fork_vmas
    The same for a vma.
returned_anon_vma (vma) by fork_vmas
    The same for its anon_vma.
returned_pte (pte) by fork_touched
    The same for a pte.
returned_table (table) by fork_sparse
    The same for a page table.
returned_huge (pmd) by fork_thp
    The same for a huge pmd, whose deposited table was freed there.
remote_vma (vma) by fork_vmas
    What a vma costs more to drop on another CPU than the one that copied it.
remote_anon_vma (vma) by fork_vmas
    The same for its anon_vma.
remote_pte (pte) by fork_touched
    The same for a pte.
remote_table (table) by fork_sparse
    The same for a page table.
remote_huge (pmd) by fork_thp
    The same for a huge pmd.
"""

COLD = """
cold_copy_process (spawn) by clone_vm_exit
    What copy_process costs more after 20 ms of other work or sleep.
cold_dup_mm (fork) by fork_touched
    The same for the fixed part of dup_mm.
cold_vma (vma) by fork_vmas
    The same for each vma that fork copies.
cold_pte_table (table) by fork_sparse
    The same for each pte table or huge pmd that fork copies.
cold_pte (pte) by fork_touched
    The same for each pte that fork copies, as many as a walk finds in the cache again: a longer one finds none.
cold_exit (exit) by clone_vm_exit
    The same for exit, wait and reap.
cold_exit_mm (mm) by fork_touched
    The same for the fixed part of exit_mmap.
cold_remove_vma (vma) by fork_vmas
    The same for each vma that exit drops.
cold_zap_table (table) by fork_sparse
    The same for each table or huge pmd that exit drops.
cold_zap_pte (pte) by fork_touched
    The same for each pte that exit drops, as many as a walk finds in the cache again.
cold_exec_open (file) by exec_target
    The same for each file that execve opens before its exec_mmap.
cold_exec (execve) by exec_target
    The same for an execve.
cold_ldso (start) by exec_target
    The same for the loader's run.
"""
