"""What `execve` of a path will start, read from the files alone: nothing is executed."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calibration.capture import elf_layout as layout
from calibration.capture.credentials import THIS_PROCESS, Executor, is_secure, known_executor
from calibration.capture.elf_file import DT_RELRSZ, ElfFile, read_elf
from calibration.capture.elf_program import (
    PRELOAD_FILE,
    Environment,
    Member,
    glibc_version,
    is_musl,
    load_program,
    loader_environment,
    parse_version,
    scope_of,
)
from calibration.capture.image_cache import Signature, signature, store_image, stored_image
from calibration.capture.loader_search import cpu_flags, path_components
from calibration.capture.relinking import AS_LINKED, Relinked, relinked
from calibration.capture.relocations import CLASS_EXTERN_PROTECTED_DATA, Bound, ScopeObject
from calibration.capture.script import read_script
from calibration.capture.symbols import STT_GNU_IFUNC, bind
from model.elf_image import ElfImage, ElfObject, Kind

CACHED_IMAGES = 32
WORTH_STORING_S = 0.05
"""What takes longer to read is kept on disk too."""
VDSO_NAMES = (b"time", b"gettimeofday")
"""Functions of libc whose IFUNC resolver asks the vdso."""

_images: OrderedDict[tuple[object, ...], tuple[Signature, ElfImage]] = OrderedDict()


def capture_elf(
    path: str | os.PathLike[str],
    *,
    bind_now: bool | None = None,
    environ: Mapping[str, str] | None = None,
    glibc: str | None = None,
    linked: Relinked = AS_LINKED,
    executor: Executor = THIS_PROCESS,
) -> ElfImage:
    """Read a program, its interpreter and all its libraries, and count what kernel and loader will do.

    Args:
        path: ELF file or script, relative to the working directory; PATH is not searched.
        bind_now: True as with LD_BIND_NOW=1, False as without; None takes it from `environ`.
        environ: environment of the new program; default this process's own.
        glibc: version whose loader rules count, such as "2.31"; default what the interpreter says.
        linked: what is to be counted is not the files as they are but as they would be, linked otherwise.
        executor: who executes it: no_new_privs, user and group decide whether its set-user-ID bit counts.

    Raises:
        BadInput: not found, no regular file, unreadable, truncated, neither ELF nor script, for another machine,
            a missing interpreter or library, hostile tables.
    """
    name = os.fspath(path)
    environ = os.environ if environ is None else environ
    relevant = tuple(environ.get(each, "") for each in ("LD_LIBRARY_PATH", "LD_PRELOAD", "LD_BIND_NOW"))
    key = (name, Path.cwd(), bind_now, relevant, glibc, linked, executor)
    known = _images.get(key)
    if known is not None and known[0] == signature(each[0] for each in known[0]):
        _images.move_to_end(key)
        return known[1]
    lasting = (*key[:-1], known_executor(executor), *sorted(cpu_flags()))
    read, image = stored_image(lasting)
    if image is None:
        begin_s = time.perf_counter()
        how = _Reading(bind_now=bind_now, glibc=glibc, linked=linked, executor=executor)
        image, files = _capture(name, environ, how)
        read = signature(files)
        if time.perf_counter() - begin_s > WORTH_STORING_S:
            store_image(lasting, read, image)
    _images[key] = (read, image)
    while len(_images) > CACHED_IMAGES:
        _images.popitem(last=False)
    return image


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """The arguments of `capture_elf` that say how to count."""

    bind_now: bool | None
    glibc: str | None
    linked: Relinked
    executor: Executor


def _capture(path: str, environ: Mapping[str, str], how: _Reading) -> tuple[ElfImage, list[str]]:
    script = read_script(path)
    opened = [path, *script.interpreters]
    program = read_elf(script.program)
    static: Kind = "elf-static-pie" if program.position_independent else "elf-static"
    loaded: Kind = "elf-dynamic" if program.interpreter else static
    common = ElfImage(
        path=path,
        kind="script" if script.interpreters else loaded,
        loaded_kind=loaded,
        interpreter=script.interpreters,
        elf_interpreter=program.interpreter,
        executable=all(os.access(each, os.X_OK) for each in [*opened, program.interpreter] if each),
        path_components=sum(path_components(each) for each in opened),
        script_depth=len(script.interpreters),
        argv0=opened[-1],
        script_arguments=script.arguments,
        secure=is_secure(script.program, how.executor),
    )
    if not program.interpreter:
        member = Member(elf=program, role="executable", name=Path(script.program).name, names=set())
        return _static_image(common, member), [*opened, program.path]
    environment = loader_environment(environ, secure=common.secure)
    if how.bind_now is not None:
        environment = replace(environment, bind_now=how.bind_now)
    image, files = _dynamic_image(common, program, environment, how)
    return image, [*opened, *files]


def _static_image(common: ElfImage, member: Member) -> ElfImage:
    """No loader: the program applies its own RELATIVE, RELR and IRELATIVE relocations."""
    bound = bind([ScopeObject(elf=member.elf, lazy=False, executable=True)])[0]
    unlooked = Bound(written=bound.written, ifuncs=bound.ifuncs, irelative_relocations=bound.irelative_relocations)
    unlooked.other_relocations = bound.other_relocations + bound.symbol_lookups + bound.symbol_cache_hits
    return replace(
        common, objects=(_object(member, unlooked, lazy=False),), bind_now=True, tables_bytes=_tables_bytes(member.elf)
    )


def _dynamic_image(
    common: ElfImage, program: ElfFile, environment: Environment, how: _Reading
) -> tuple[ElfImage, list[str]]:
    told = how.glibc or glibc_version(program.interpreter)
    version = parse_version(told)
    loaded = load_program(program, common.path, environment, version)
    members, interpreter = loaded.members, loaded.interpreter
    musl = is_musl(program.interpreter)
    for each in members:
        each.elf = each.elf if each is interpreter else relinked(each.elf, how.linked)

    def lazy(each: Member) -> bool:
        at_once = environment.bind_now or (each.elf.bind_now and not how.linked.lazy)
        return not (musl or at_once or each is interpreter)

    scope = [ScopeObject(elf=each.elf, lazy=lazy(each), executable=each.role == "executable") for each in members]
    bound = bind(scope, glob_dat_class=CLASS_EXTERN_PROTECTED_DATA if version < (2, 36) else 0)
    results = {id(member): (result, each.lazy) for member, result, each in zip(members, bound, scope, strict=True)}
    listed = scope_of(members, interpreter)
    objects = []
    for member in listed:
        result, is_lazy = results.get(id(member), (Bound(), False))
        objects.append(replace(_object(member, result, lazy=is_lazy), in_scope=id(member) in results))
    image = replace(
        common,
        objects=tuple(objects),
        bind_now=objects[0].bind_now,
        glibc=told,
        tables_bytes=sum(_tables_bytes(each.elf) for each in listed),
        maps_cache=loaded.maps_cache,
        cache_bytes=loaded.cache_bytes,
        preload_file=Path(PRELOAD_FILE).is_file(),
        origin_reads=int(any("$ORIGIN" in each.replace("{", "") for each in (program.rpath, program.runpath))),
        vdso_lookups=0 if musl else 6 if version >= (2, 41) else 5,
        malloc_lookups=4 if version >= (2, 32) and objects[1].in_scope and not musl else 0,
        tunable_lookups=_tunable_lookups(scope, version),
        ifunc_vdso_lookups=_ifunc_vdso_lookups(scope, bound),
    )
    return image, [*loaded.asked, *(each.elf.path for each in listed)]


def _tunable_lookups(scope: Sequence[ScopeObject], version: tuple[int, int]) -> int:
    """__libc_early_init calls __tunable_get_val through the PLT: one look-up where libc is bound lazily."""
    lazy_libc = next((each.elf for each in scope if each.lazy and each.elf.soname.startswith("libc.so")), None)
    if lazy_libc is None or version < (2, 34):
        return 0
    names = {lazy_libc.name_of(int(symbol)) for symbol in np.unique(lazy_libc.jmprel["symbol"])}
    return int(b"__tunable_get_val" in names)


def _ifunc_vdso_lookups(scope: Sequence[ScopeObject], bound: Sequence[Bound]) -> int:
    """Relocations to libc's time and gettimeofday: each runs the resolver, which looks its function up in the vdso."""
    targets: set[tuple[int, int]] = set()
    for index, each in enumerate(scope):
        if each.elf.soname.startswith("libc.so"):
            ifuncs = np.flatnonzero(each.elf.symbols["info"] & 15 == STT_GNU_IFUNC)
            targets |= {(index, int(at)) for at in ifuncs if each.elf.name_of(int(at)) in VDSO_NAMES}
    total = 0
    for index, symbol in targets:
        for result in bound:
            total += int(np.count_nonzero((result.definitions == (index, symbol)).all(axis=1)))
    return total


def _tables_bytes(elf: ElfFile) -> int:
    return elf.rela.nbytes + elf.jmprel.nbytes + elf.dynamic.get(DT_RELRSZ, 0)


def _object(member: Member, bound: Bound, *, lazy: bool) -> ElfObject:
    elf, role = member.elf, member.role
    moved = elf.position_independent
    return replace(
        layout.laid_out(elf, role, bound, lazy=lazy),
        name=member.name,
        relative_relocations=elf.relative_count if moved else 0,
        relr_relocations=len(elf.relr) if moved else 0,
        symbol_lookups=bound.symbol_lookups,
        symbol_cache_hits=bound.symbol_cache_hits,
        lookup_probes=bound.lookup_probes,
        bloom_rejections=bound.bloom_rejections,
        string_compares=bound.string_compares,
        version_compares=bound.version_compares,
        lookup_name_bytes=bound.lookup_name_bytes,
        lookup_turns=bound.lookup_turns,
        other_relocations=bound.other_relocations,
        irelative_relocations=bound.irelative_relocations,
        copy_relocations=bound.copy_relocations,
        lazy_jump_slots=bound.lazy_jump_slots,
        constructors=layout.constructor_addresses(elf)[0],
        preinit_constructors=layout.preinit_count(elf),
        version_needs=elf.version_needs,
        tls_bytes=elf.tls_bytes,
        failed_opens=member.found.failed_opens,
        directory_stats=member.found.directory_stats,
        path_components=path_components(elf.path),
        from_cache=member.found.from_cache,
        bind_now=not lazy,
        file_bytes=elf.file_bytes,
        build_id=elf.build_id,
    )
