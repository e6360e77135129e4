"""What a program is to `execve` and the loader: counts taken from its files, no file access here.

An `ElfImage` is a value: the capture (`calibration.capture.elf`) fills it from the files, a bundled document or a test
fills it by hand. Pages are 4 KiB. "Vma" is what stands in the new mm when control reaches the program's `_start`,
after ld.so has split off the RELRO part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Kind = Literal["elf-dynamic", "elf-static", "elf-static-pie", "script", "none"]
Role = Literal["executable", "interpreter", "library"]
LOADER_CACHE = "/etc/ld.so.cache"
"""Where the loader looks libraries up, unless it was built for another place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfObject:
    """One file as kernel and loader map and relocate it (fs/binfmt_elf.c:elf_load@v6.18, glibc elf/do-rel.h).

    All counts are those of start-up: from `execve` to the jump to the program's `_start`.
    """

    name: str
    """DT_SONAME-like short name under which the loader was asked for it (the executable: its base name)."""
    path: str
    """Path that is opened."""
    role: Role

    load_segments: int = 0
    """PT_LOAD program headers that hold something, hence mmaps of the file."""
    file_vmas_clean: int = 0
    """File-backed vmas without anon_vma: text, rodata, headers; fork copies none of their ptes."""
    file_vmas_dirtied: int = 0
    """File-backed vmas with an anon_vma: a page was written, or the vma was split off one where a page was (RELRO)."""
    anon_vmas: int = 0
    """Anonymous vmas for bss beyond the last file page."""
    mapped_file_pages: int = 0
    """Pages of the file-backed vmas, touched or not."""
    bss_pages: int = 0
    """Pages of the anonymous vmas, touched or not."""
    relro: bool = False
    """The loader calls mprotect for PT_GNU_RELRO (at least one whole page)."""
    clears_bss_tail: bool = False
    """The rest of the last file page is cleared: one write fault (its page is in `dirtied_pages`)."""

    relative_relocations: int = 0
    """DT_RELACOUNT (0 where the object lies at its link address, as an ET_EXEC does)."""
    relr_relocations: int = 0
    """Words that DT_RELR relocates; LD_DEBUG=statistics does not count them."""
    symbol_lookups: int = 0
    """Calls of _dl_lookup_symbol_x for this object's relocations."""
    symbol_cache_hits: int = 0
    """Relocations served by the object's one-entry cache (same symbol and class as the one before)."""
    lookup_probes: int = 0
    """Scope objects asked by all look-ups together: bloom words read (SysV hash: buckets read)."""
    bloom_rejections: int = 0
    """Probes that ended at the bloom word."""
    string_compares: int = 0
    """strcmp calls of check_match."""
    version_compares: int = 0
    """Candidates whose version check_match holds against the one asked for."""
    lookup_name_bytes: int = 0
    """Length of all names looked up: what _dl_lookup_symbol_x hashes, and compares once where it finds them."""
    lookup_turns: int = 0
    """Look-ups that end in another object than the one before, or whose name is of another length: a CPU that foretells
    branches by what came before errs there."""
    lookup_lines: int = 0
    """Distinct cache lines of this object's symbol, string, version and hash tables that all look-ups read."""
    other_relocations: int = 0
    """Applied without look-up and outside the RELACOUNT block: local and hidden symbols, stray RELATIVE ones."""
    irelative_relocations: int = 0
    copy_relocations: int = 0
    lazy_jump_slots: int = 0
    """JUMP_SLOTs left for the first call: the loader only adds the load address."""
    dirtied_pages: int = 0
    """Distinct file-backed pages written before `_start`: relocations, .dynamic, .got, bss tail, copy relocations."""
    dirtied_bss_pages: int = 0
    """Distinct anonymous bss pages written by relocations (copy relocations mostly)."""

    readable_windows: int = 0
    """Estimate of read faults: distinct 64 KiB windows (fault_around_bytes) a vma of what loader and start-up read.

    Counted: program headers, relocation tables, every dynsym, dynstr, hash and version entry that the simulated
    look-ups read, version tables, text of entry point, IFUNC resolvers and constructors; of ld.so all of text and
    rodata. Assumed: load address at a multiple of 64 KiB; the vma's file pages are in the page cache. Together with
    `dirtied_pages` within 5 % of the minor faults on files that four programs of 1 to 57 libraries had at `_start`.
    """
    mapping_windows: int = 0
    """Those of `readable_windows` that are read when the object is mapped, before any is relocated: program headers,
    .dynamic, the head of the hash table, the names that .dynamic gives (elf/dl-load.c:_dl_map_object_from_fd)."""
    mapping_dirtied_pages: int = 0
    """Those of `dirtied_pages` that are written then: .dynamic, whose addresses the loader moves, and the bss tail."""
    version_windows: int = 0
    """Those of `readable_windows` that the check of versions reads first, between mapping and relocation."""
    constructors: int = 0
    """DT_INIT plus DT_INIT_ARRAY entries. Of an executable, libc runs them after `_start`; of a library, ld.so does."""
    preinit_constructors: int = 0
    """DT_PREINIT_ARRAY entries: ld.so runs those of the executable."""
    version_needs: int = 0
    """Entries (vernaux) of DT_VERNEED that _dl_check_all_versions checks."""
    tls_bytes: int = 0
    """Memory size of PT_TLS."""

    failed_opens: int = 0
    """openat calls of the search that failed before the file was found."""
    directory_stats: int = 0
    """stat calls of the search for directories not known yet."""
    path_components: int = 0
    """Components that the path walk passes, those of symbolic links included."""
    header_preads: int = 0
    """pread64 calls for program headers that lie beyond the first 832 bytes, which a library's open reads at once."""
    over_aligned: bool = False
    """Its segments ask for more than page alignment: the loader reserves more than it needs and unmaps both ends."""
    holes: bool = False
    """Its segments leave holes, which the loader takes all access from with one mprotect."""
    from_cache: bool = False
    """Found through /etc/ld.so.cache."""
    in_scope: bool = True
    """Stands in the global scope; false only for an interpreter that nothing needs by name."""
    bind_now: bool = False
    """All its JUMP_SLOTs are resolved at start-up."""
    file_bytes: int = 0
    build_id: str = ""

    @property
    def vain_probes(self) -> int:
        """Probes that went on to bucket and chain and found nothing there: neither rejected nor a look-up's last."""
        return max(0, self.lookup_probes - self.bloom_rejections - self.symbol_lookups)

    @property
    def vmas(self) -> int:
        """All vmas of the object."""
        return self.file_vmas_clean + self.file_vmas_dirtied + self.anon_vmas


def loader_constructors(each: ElfObject) -> int:
    """Constructors of an object that ld.so runs (glibc elf/dl-init.c:_dl_init); libc runs the executable's others."""
    return each.preinit_constructors if each.role == "executable" else each.constructors


@dataclass(frozen=True, kw_only=True)
class ElfImage:
    """What `execve` of one path starts: kind, mapped objects, and what is counted for the image as a whole.

    Sums over the objects are kept, for every simulation asks for them.

    `objects`: the executable, then its interpreter (ld.so), then the libraries in scope order (breadth first over
    DT_NEEDED). A script has the objects of the ELF file that finally runs it.
    """

    path: str
    kind: Kind
    loaded_kind: Kind = "none"
    """Kind of the ELF file that is mapped; differs from `kind` for a script only."""
    interpreter: tuple[str, ...] = ()
    """Script interpreters in the order in which the kernel opens them; empty for an ELF file."""
    elf_interpreter: str = ""
    """PT_INTERP of the mapped ELF file; empty if static."""
    objects: tuple[ElfObject, ...] = ()
    bind_now: bool = False
    """The executable's JUMP_SLOTs are all resolved at start-up (-z now or LD_BIND_NOW)."""
    executable: bool = True
    """False: readable, but execve gives EACCES."""
    path_components: int = 0
    """Components of the path walks of `path` and all script interpreters, symbolic links included."""
    script_depth: int = 0
    """`#!` rewrites: 0 for an ELF file."""
    argv0: str = ""
    """argv[0] that the mapped program sees: `path`, or the innermost script interpreter."""
    script_arguments: tuple[str, ...] = ()
    """What `#!` rewriting puts between argv[0] and the caller's arguments, script paths included."""
    glibc: str = ""
    """Version of the loader ("2.36"); empty if unknown or static."""
    tables_bytes: int = 0
    """Bytes of relocation tables that start-up walks, all objects together."""

    secure: bool = False
    """AT_SECURE: the file changes user, group or capabilities; the loader heeds no LD_LIBRARY_PATH and LD_PRELOAD."""
    maps_cache: bool = False
    """The loader maps /etc/ld.so.cache."""
    cache_bytes: int = 0
    """Size of that file; 0 if it is not mapped, or not known."""
    preload_file: bool = False
    """There is an /etc/ld.so.preload, which it reads."""
    origin_reads: int = 0
    """readlink calls for the executable's $ORIGIN."""
    vdso_lookups: int = 0
    """Look-ups in the vdso (setup_vdso_pointers)."""
    malloc_lookups: int = 0
    """Look-ups of ld.so for the program's malloc (__rtld_malloc_init_real)."""
    tunable_lookups: int = 0
    """__tunable_get_val, resolved by its first call in __libc_early_init when libc is lazily bound."""
    ifunc_vdso_lookups: int = 0
    """Look-ups in the vdso by IFUNC resolvers (time, gettimeofday)."""

    @cached_property
    def symbol_lookups(self) -> int:
        """All calls of _dl_lookup_symbol_x: `number of relocations` of LD_DEBUG=statistics at start-up."""
        extra = self.vdso_lookups + self.malloc_lookups + self.tunable_lookups + self.ifunc_vdso_lookups
        return extra + sum(each.symbol_lookups for each in self.objects)

    @property
    def symbol_cache_hits(self) -> int:
        """`number of relocations from cache` of LD_DEBUG=statistics at start-up."""
        return sum(each.symbol_cache_hits for each in self.objects)

    @property
    def relative_relocations(self) -> int:
        """`number of relative relocations` of LD_DEBUG=statistics: the objects of the global scope."""
        return sum(each.relative_relocations for each in self.objects if each.in_scope)

    @property
    def relr_relocations(self) -> int:
        """Words relocated by DT_RELR."""
        return sum(each.relr_relocations for each in self.objects)

    @property
    def lookup_probes(self) -> int:
        """Scope objects asked by all look-ups of objects (the few image-level look-ups left out)."""
        return sum(each.lookup_probes for each in self.objects)

    @property
    def dirtied_pages(self) -> int:
        """File-backed pages that start-up copies on write."""
        return sum(each.dirtied_pages for each in self.objects)

    @property
    def constructors(self) -> int:
        """Constructors that ld.so runs before `_start`: of libraries all, of the executable DT_PREINIT_ARRAY."""
        return sum(loader_constructors(each) for each in self.objects) if self.loader is not None else 0

    @cached_property
    def libraries(self) -> tuple[ElfObject, ...]:
        """The shared libraries in scope order; neither the executable nor its interpreter."""
        return tuple(each for each in self.objects if each.role == "library")

    @property
    def program(self) -> ElfObject | None:
        """The mapped executable; None without image."""
        return self.objects[0] if self.objects else None

    @cached_property
    def loader(self) -> ElfObject | None:
        """The ELF interpreter; None if static or without image."""
        return next((each for each in self.objects if each.role == "interpreter"), None)

    @cached_property
    def relocated(self) -> tuple[ElfObject, ...]:
        """All objects but ld.so itself, whose own relocations are priced with its start."""
        return tuple(each for each in self.objects if each.role != "interpreter")

    @cached_property
    def own_lookups(self) -> int:
        """Look-ups that are no relocated object's: ld.so's own and those of the image as a whole."""
        return self.symbol_lookups - sum(each.symbol_lookups for each in self.relocated)


NO_IMAGE = ElfImage(path="", kind="none")
"""No exec: the child calls `_exit` at once."""
