"""The loader's list of objects: executable, interpreter, LD_PRELOAD and the DT_NEEDED closure, breadth first.

Plays glibc elf/dl-deps.c:_dl_map_object_deps; where a library is found is `loader_search`'s matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from calibration.capture.elf_file import DT_AUXILIARY, DT_NEEDED, ElfFile, read_elf
from calibration.capture.loader_search import (
    Capabilities,
    Found,
    LibrarySearch,
    cache_path,
    capabilities,
    cpu_flags,
    cpu_is_intel,
    system_directories,
)
from calibration.errors import BadInput
from model.elf_image import Role

PRELOAD_FILE = "/etc/ld.so.preload"
MAX_OBJECTS = 4096
MUSL_PARTS = ("pthread", "rt", "m", "dl", "util", "xnet")
"""Libraries that musl has in its libc (ldso/dynlink.c:load_library)."""
NEWEST_KNOWN = (2, 42)


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One object of the program and how the loader came to it."""

    elf: ElfFile
    role: Role
    name: str
    names: set[str]
    """Names under which it is known already."""
    identity: tuple[int, int] = (0, 0)
    """Device and inode."""
    requester: Member | None = None
    found: Found = field(default_factory=lambda: Found(path=""))

    def requesters(self) -> list[ElfFile]:
        """This object, who loaded it, and so on up to the executable."""
        chain: list[ElfFile] = []
        member: Member | None = self
        while member is not None:
            chain.append(member.elf)
            member = member.requester
        return chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What of the environment the loader looks at."""

    library_path: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    bind_now: bool = False
    secure: bool = False
    """AT_SECURE: the loader takes nothing of the above but LD_BIND_NOW, and $ORIGIN only below its own directories."""


def loader_environment(environ: Mapping[str, str], *, secure: bool) -> Environment:
    """LD_LIBRARY_PATH, LD_PRELOAD and LD_BIND_NOW; in secure mode (set-user-ID) as far as ld.so heeds them."""
    path = environ.get("LD_LIBRARY_PATH", "")
    preload = [each for each in re.split("[ :]", environ.get("LD_PRELOAD", "")) if each]
    if secure:
        path, preload = "", []
    return Environment(
        library_path=tuple(re.split("[:;]", path)) if path else (),
        preload=(*preload, *_preload_file()),
        bind_now=bool(environ.get("LD_BIND_NOW", "")),
        secure=secure,
    )


def _preload_file() -> list[str]:
    try:
        with Path(PRELOAD_FILE).open(encoding="utf-8", errors="surrogateescape") as lines:
            text = "\n".join(line.partition("#")[0] for line in lines)
    except OSError:
        return []
    return [each for each in re.split(r"[ \t\n:]+", text) if each]


def glibc_version(path: str) -> str:
    """Version that an interpreter tells about itself, such as "2.36"; empty if it is no glibc."""
    if not Path(path).is_file():
        return ""
    found = re.search(rb"release version (\d+\.\d+)", _contents(path))
    return found.group(1).decode() if found else ""


def _contents(path: str) -> bytes:
    status = Path(path).stat()
    return _contents_cached(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _contents_cached(path: str, _size: int, _mtime_ns: int) -> bytes:
    with Path(path).open("rb") as stream:
        return stream.read(16 << 20)


def parse_version(text: str) -> tuple[int, int]:
    """(2, 36) of "2.36"; the newest known one if empty.

    Raises:
        BadInput: no such version.
    """
    if not text:
        return NEWEST_KNOWN
    found = re.fullmatch(r"(\d+)\.(\d+)(?:\..*)?", text)
    if found is None:
        raise BadInput(text, "is no glibc version", "write it as 2.36")
    return int(found.group(1)), int(found.group(2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What the loader has before it relocates.

    Attributes:
        members: objects in scope order.
        interpreter: ld.so, which stands among them where something needs it.
        maps_cache: whether ld.so.cache was needed, and is there; cache_bytes: its size then.
        asked: files beside the members that the search looked at or for: the answer holds while they stay as they are.
    """

    members: list[Member]
    interpreter: Member
    maps_cache: bool
    cache_bytes: int
    asked: list[str]


def load_program(executable: ElfFile, shown: str, environment: Environment, glibc: tuple[int, int]) -> Loaded:
    """Find and read all objects of a program.

    Raises:
        BadInput: interpreter or library missing, or one of the files unusable.
    """
    interpreter = _interpreter(executable, shown)
    first = Member(elf=executable, role="executable", name=Path(executable.path).name, names=set())
    search = _search(executable, environment, interpreter, glibc)
    closure = _Closure(search=search, shown=shown, scope=[first], interpreter=interpreter)
    for name in environment.preload:
        closure.preload(name)
    at = 0
    while at < len(closure.scope):
        at = closure.take_needs(at)
    first.found = closure.lost
    asked = [search.cache, PRELOAD_FILE, *search.missed]
    mapped = search.cache_mapped
    return Loaded(
        members=closure.scope,
        interpreter=interpreter,
        maps_cache=mapped,
        cache_bytes=Path(search.cache).stat().st_size if mapped else 0,
        asked=asked,
    )


def _search(
    executable: ElfFile, environment: Environment, interpreter: Member, glibc: tuple[int, int]
) -> LibrarySearch:
    if is_musl(interpreter.elf.path):
        return LibrarySearch(
            executable=executable,
            library_path=environment.library_path,
            capabilities=Capabilities(levels=(), platform="x86_64", subdirectories=("",)),
            directories=_musl_directories(),
            cache="",
        )
    contents = _contents(interpreter.elf.path)
    return LibrarySearch(
        executable=executable,
        library_path=environment.library_path,
        capabilities=capabilities(cpu_flags(), glibc, intel=cpu_is_intel()),
        directories=system_directories(contents),
        secure=environment.secure,
        cache=cache_path(contents),
    )


def is_musl(interpreter: str) -> bool:
    """Whether the interpreter is musl's: libc and loader in one file, no cache, everything bound at start-up."""
    return Path(interpreter).name.startswith("ld-musl-")


def _musl_directories() -> tuple[str, ...]:
    try:
        with Path("/etc/ld-musl-x86_64.path").open(encoding="utf-8", errors="surrogateescape") as lines:
            parts = re.split("[:\n]", lines.read())
    except OSError:
        parts = ["/lib", "/usr/local/lib", "/usr/lib"]
    return tuple(each.rstrip("/") + "/" for each in parts if each)


def _interpreter(executable: ElfFile, shown: str) -> Member:
    path = executable.interpreter
    if not Path(path).exists():
        raise BadInput(shown, f"its interpreter {path} cannot be found", "install the C library that it was built for")
    elf = read_elf(path)
    soname = elf.soname or Path(path).name
    names = {path, soname}
    if is_musl(path):
        names |= {"libc.so", "libc.musl-x86_64.so.1"} | {f"lib{each}.so" for each in MUSL_PARTS}
    return Member(elf=elf, role="interpreter", name=soname, names=names, identity=_identity(path))


def _identity(path: str) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_dev, status.st_ino


@dataclass(slots=True, kw_only=True, eq=False)
class _Closure:
    search: LibrarySearch
    shown: str
    scope: list[Member]
    interpreter: Member
    lost: Found = field(default_factory=lambda: Found(path=""))
    """Failed calls of searches that found nothing: LD_PRELOAD and DT_AUXILIARY need not be there."""

    def preload(self, name: str) -> None:
        """A preloaded object that cannot be found is passed over, as ld.so does with a message."""
        member = self._member(name, self.scope[0])
        if member is not None and member not in self.scope:
            self.scope.append(member)

    def take_needs(self, at: int) -> int:
        """Handle the needs of one object: DT_NEEDED go to the end, DT_AUXILIARY and DT_FILTER before the object."""
        member, insert = self.scope[at], at
        for tag, raw in member.elf.needed:
            name = self.search.expand(raw, member.elf)
            needed = self._member(name, member)
            if needed is None:
                if tag == DT_AUXILIARY:
                    continue
                user = self.shown if member is self.scope[0] else f"{self.shown}: {member.elf.path}"
                raise BadInput(user, f"needs {name}, which cannot be found", "install it or set LD_LIBRARY_PATH")
            if tag == DT_NEEDED:
                if needed not in self.scope:
                    self.scope.append(needed)
            elif needed not in self.scope[:insert]:
                if needed in self.scope:
                    self.scope.remove(needed)
                self.scope.insert(insert, needed)
                insert += 1
        if len(self.scope) > MAX_OBJECTS:
            raise BadInput(self.shown, f"needs more than {MAX_OBJECTS} libraries", "name another program")
        return insert + 1

    def _member(self, name: str, requester: Member) -> Member | None:
        """The object of that name: one already there, or a new one."""
        members = [*self.scope, self.interpreter]
        for each in members:
            if name in each.names or (each.role == "library" and name == each.elf.soname):
                return each
        found = self.search.find(name, requester.requesters())
        if not found.path:
            opens = self.lost.failed_opens + found.failed_opens
            stats = self.lost.directory_stats + found.directory_stats
            self.lost = Found(path="", failed_opens=opens, directory_stats=stats)
            return None
        identity = _identity(found.path)
        same = next((each for each in members if each.identity == identity), None)
        if same is not None:
            same.names.add(name)
            return same
        elf = read_elf(found.path)
        names = {name, found.path}
        return Member(
            elf=elf, role="library", name=name, names=names, identity=identity, requester=requester, found=found
        )


def scope_of(members: Sequence[Member], interpreter: Member) -> list[Member]:
    """Order of `ElfImage.objects`: executable, interpreter, then the libraries in scope order."""
    return [members[0], interpreter, *(each for each in members[1:] if each is not interpreter)]
