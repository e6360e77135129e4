"""Costs worked off mostly in user code, in the form of `model.cost_list`: ld.so, libc and the runtimes on top."""

from __future__ import annotations

USER = """
cpuid (instruction) by cpuid
    One CPUID; under a hypervisor a VM exit.
reclaim_stack (thread) by fork_threads
    sysdeps/nptl/fork.h:reclaim_stacks@2.36: the child's walk over one stack, without the copy fault.
ldso_fixed (start) by exec_target
    ld.so's bootstrap, ld.so.cache, TLS; libc's own mapping is an ldso_object.
ldso_exit_fixed (exit) by exec_target
    What exit_mmap costs more for an image with ld.so and libc.
ldso_object (object) by exec_target
    elf/dl-load.c:_dl_map_object_from_fd@2.36: open, read, fstat, the first mmap of a library, its RELRO.
ldso_segment (segment) by exec_target else 0.5 × ldso_object
    elf/dl-map-segments.h:_dl_map_segments@2.36: the mmap of a further PT_LOAD of a library, which splits the first.
    Told by exec-libs-segments; without it by half of an ldso_object, of which the benches' libraries have as many.
ldso_relative (relocation) by exec_target
    elf/do-rel.h:elf_dynamic_do_Rela@2.36: one relative relocation.
ldso_lookup (look-up) by exec_target
    elf/dl-lookup.c:_dl_lookup_symbol_x@2.36: hash, hit, version, store.
ldso_turn (look-up) by exec_target else 0.3 × syscall
    elf/dl-lookup.c:do_lookup_x@2.36: branches foretold wrong by a look-up that is not like the one before: another
    length of its name, another place in the scope. Told by exec-libs-mixed; without it by what real programs took.
ldso_version (look-up) by exec_target else 0.0 × ldso_lookup
    elf/dl-lookup.c:check_match@2.36: what a look-up costs more that asks for a symbol of a version.
    Told by exec-libs-versions; without it none, for it is in ldso_lookup then.
ldso_probe (probe) by exec_target
    elf/dl-lookup.c:do_lookup_x@2.36: one object of the scope that does not define the symbol.
ldso_chain (probe) by exec_target else 5.0 × ldso_probe
    elf/dl-lookup.c:do_lookup_x@2.36: an object's hash bucket and chain, read in vain: its bloom word let the name pass.
ldso_line (cache line) by exec_target else 0.0 × syscall
    elf/dl-lookup.c:do_lookup_x@2.36: a line of a symbol, string, version or hash table that a start reads first.
ldso_name_byte (byte) by exec_target
    elf/dl-lookup.c:do_lookup_x@2.36: a byte of a symbol's name, hashed, and compared.
ldso_cached (look-up) by exec_target
    elf/dl-reloc.c:_dl_relocate_object@2.36: a look-up that its one-entry cache answers.
ldso_dirtied (page) by exec_target else 0.0 × fault_file_write
    mm/memory.c:do_cow_fault@v6.18 of a page that ld.so relocates: what it costs more than in file_write, whose process
    gets the frames back that it has just given away; those of a new one are in no cache.
ldso_bss (mapping) by exec_target
    elf/dl-map-segments.h:_dl_map_segments@2.36: the mapping of a library's bss beyond its file.
ldso_object_pair (pair) by exec_target
    elf/dl-load.c:_dl_map_object@2.36: a library's name compared with one loaded before; the sort by dependency.
constructor_call (call) assumed 10.0 × ldso_relative
    elf/dl-init.c:call_init@2.36: one indirect call; the constructor's own code is priced 0.
    Source: a load, a call and a return, about as much as ten relative relocations.
libc_static_start (run) by exec_target
    csu/libc-start.c:__libc_start_main@2.36 of a static program: IRELATIVE, TLS, tunables; a main that returns, exit().
libc_main_exit (run) by exec_target
    csu/libc-start.c:__libc_start_main@2.36 of a dynamic program, a main that returns, exit().
"""

RUNTIMES = """
jdk_start_fixed (start()) by live/jvm
    java.lang.ProcessImpl.start@17 in Java, and what of childproc.c is no system call: objects, argument blocks, the
    hand-over to the reaper thread.
jspawnhelper_main (run) by live/jvm
    jspawnhelper.c:main@17 and the hand-overs with start(), beyond their system calls and wake-ups.
jdk_reap_fixed (exit) by live/jvm
    The process reaper thread's way from waitpid to the return of Process.waitFor@17.
cpython_popen_fixed (Popen()) by live/cpython
    Lib/subprocess.py:Popen.__init__@3.11 and _posixsubprocess.c:fork_exec.
cpython_wait_fixed (wait()) by live/cpython
    Lib/subprocess.py:Popen.wait@3.11.
cold_jdk (start()) by live/jvm
    What start() costs more after 20 ms of other work or sleep, kernel and loader apart.
cold_cpython (start) by live/cpython
    The same for Popen().
cpython_after_fork (fork) by live/cpython
    The interpreter's own work in a forked child before exec: PyOS_AfterFork_Child@3.11, new hash seed, bytecode.
"""
