"""Where ld.so finds a library: RPATH, LD_LIBRARY_PATH, RUNPATH, /etc/ld.so.cache, default directories.

Plays glibc elf/dl-load.c:_dl_map_object and open_path with their memory of directories that do not exist, so that the
failed openat and stat calls are counted too. Nothing is executed.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from calibration.capture.elf_file import DF_1_NODEFLIB, DT_FLAGS_1, ElfFile
from calibration.capture.ld_so_cache import cached_path
from calibration.errors import BadInput

DEFAULT_DIRECTORIES = ("/lib64/", "/usr/lib64/", "/lib/", "/usr/lib/")
MAX_SYMBOLIC_LINKS = 40
MAX_FAILED_OPENS = 100_000
"""Of one program's start; a search list that long is none that a linker or a person wrote."""
HWCAPS_LEVELS: tuple[tuple[str, frozenset[str]], ...] = (
    ("x86-64-v4", frozenset(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"))),
    ("x86-64-v3", frozenset(("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"))),
    ("x86-64-v2", frozenset(("cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"))),
)
HASWELL_FLAGS = frozenset(("avx2", "fma", "bmi1", "bmi2", "abm", "movbe", "popcnt"))
AVX512_1_FLAGS = frozenset(("avx512cd", "avx512bw", "avx512dq", "avx512vl"))
XEON_PHI_FLAGS = frozenset(("avx512cd", "avx512er", "avx512pf"))


@lru_cache(maxsize=1)
def _first_cpu() -> Mapping[str, str]:
    """What /proc/cpuinfo says of the first CPU, by field; empty where it cannot be read."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as lines:
            fields = [line.partition(":") for line in itertools.takewhile(str.strip, lines)]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in fields}


def cpu_flags() -> frozenset[str]:
    """Flags of the first CPU; empty where they cannot be read."""
    return frozenset(_first_cpu().get("flags", "").split())


def cpu_is_intel() -> bool:
    """Whether CPUID names Intel as the vendor: glibc knows platforms of Intel alone."""
    return _first_cpu().get("vendor_id") == "GenuineIntel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the CPU adds to the search (glibc elf/dl-hwcaps.c:_dl_important_hwcaps)."""

    levels: tuple[str, ...]
    """glibc-hwcaps names, best first."""
    platform: str
    """$PLATFORM."""
    subdirectories: tuple[str, ...]
    """Tried in this order below each directory; the last is the directory itself."""


def capabilities(flags: frozenset[str], glibc: tuple[int, int], *, intel: bool) -> Capabilities:
    """Search subdirectories for a CPU and a glibc version: glibc-hwcaps since 2.33, legacy ones up to 2.36.

    "haswell", "xeon_phi" and "avx512_1" are looked for on CPUs of Intel only, whatever the flags of others
    (sysdeps/x86/cpu-features.c:init_cpu_features@2.36); elsewhere the platform is the kernel's AT_PLATFORM.
    """
    levels: list[str] = []
    needed: frozenset[str] = frozenset()
    for name, own in reversed(HWCAPS_LEVELS):
        needed |= own
        if needed <= flags:
            levels.insert(0, name)
    phi = intel and flags >= XEON_PHI_FLAGS
    platform = "xeon_phi" if phi else "haswell" if intel and flags >= HASWELL_FLAGS else "x86_64"
    named = [f"glibc-hwcaps/{level}/" for level in levels] if glibc >= (2, 33) else []
    if glibc >= (2, 37):
        return Capabilities(levels=tuple(levels), platform=platform, subdirectories=(*named, ""))
    legacy = ["tls", platform]
    legacy += ["avx512_1"] if intel and flags >= AVX512_1_FLAGS and not phi else []
    legacy += ["x86_64"]
    for chosen in itertools.product((True, False), repeat=len(legacy)):
        named.append("".join(f"{part}/" for part, used in zip(legacy, chosen, strict=True) if used))
    return Capabilities(levels=tuple(levels), platform=platform, subdirectories=tuple(named))


def system_directories(interpreter: bytes) -> tuple[str, ...]:
    """Default directories compiled into ld.so: its first run of two or more strings that begin and end with a slash."""
    found = re.search(rb"(?<=\0)(?:/(?:usr/)?lib[!-~]*/\0){2,8}", interpreter)
    if found is None:
        return DEFAULT_DIRECTORIES
    return tuple(os.fsdecode(each) for each in found.group().split(b"\0") if each)


def cache_path(interpreter: bytes) -> str:
    """Path of the cache compiled into ld.so."""
    found = re.search(rb"(?<=\0)/[!-~]*/ld\.so\.cache(?=\0)", interpreter)
    return os.fsdecode(found.group()) if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Result of one search; `path` is empty where nothing was found."""

    path: str
    failed_opens: int = 0
    directory_stats: int = 0
    from_cache: bool = False


@dataclass(slots=True, kw_only=True)
class _Tally:
    opens: int = 0
    stats: int = 0


@dataclass(slots=True, kw_only=True)
class LibrarySearch:
    """The search state of one program start."""

    executable: ElfFile
    library_path: Sequence[str]
    """LD_LIBRARY_PATH, split."""
    capabilities: Capabilities
    directories: tuple[str, ...]
    """Default directories, each with a slash at its end."""
    cache: str
    """ld.so.cache; empty: none is read."""
    secure: bool = False
    """AT_SECURE: a search directory with $ORIGIN counts only within the default ones."""
    known: dict[tuple[str, int], bool] = field(default_factory=dict)
    """Directory and index of the subdirectory to whether it exists, once the loader knows.

    By index, for where platform and hardware capability are both x86_64 a name comes twice and is tried twice.
    """
    missed: list[str] = field(default_factory=list)
    """Paths where there was no library, and directories that do not exist: what appears there changes the answer."""
    cache_mapped: bool = False
    """Whether a search came as far as the cache, which is mapped then if it is there."""

    def find(self, name: str, requesters: Sequence[ElfFile]) -> Found:
        """Find DT_NEEDED `name`; `requesters`: who needs it, who loaded that one, and so on up."""
        tally = _Tally()
        if "/" in name:
            path = self.expand(name, requesters[0] if requesters else self.executable)
            usable = bool(path) and _is_library(path)
            self.missed += [] if usable else [path]
            return Found(path=path if usable else "", failed_opens=int(not usable))
        loader = requesters[0] if requesters else self.executable
        path = self._in_directories(name, self._before_cache(requesters, loader), tally)
        from_cache = False
        if not path:
            path = self._from_cache(name, loader, tally)
            from_cache = bool(path)
        if not path and not loader.dynamic.get(DT_FLAGS_1, 0) & DF_1_NODEFLIB:
            path = self._in_directories(name, self.directories, tally)
        return Found(path=path, failed_opens=tally.opens, directory_stats=tally.stats, from_cache=from_cache)

    def expand(self, text: str, owner: ElfFile) -> str:
        """Replace $ORIGIN, $LIB and $PLATFORM (glibc elf/dl-load.c:_dl_dst_substitute)."""
        values: Mapping[str, str] = {
            "ORIGIN": self._origin(owner),
            "PLATFORM": self.capabilities.platform,
            "LIB": "lib/x86_64-linux-gnu" if "/lib/x86_64-linux-gnu/" in self.directories else "lib64",
        }
        pattern = r"\$(?:\{(ORIGIN|PLATFORM|LIB)\}|(ORIGIN|PLATFORM|LIB)(?![A-Za-z0-9_]))"
        return re.sub(pattern, lambda found: values[found.group(1) or found.group(2)], text)

    def _origin(self, owner: ElfFile) -> str:
        """Directory of the file: the executable's without symbolic links, as the kernel tells it."""
        path = os.path.realpath(owner.path) if owner is self.executable else owner.path
        absolute = path if path.startswith("/") else f"{Path.cwd()}/{path}"
        return absolute.rpartition("/")[0] or "/"

    def _directories(self, parts: Sequence[str], owner: ElfFile) -> list[str]:
        """Search list as fillin_rpath makes it: expanded, one slash at the end, no directory twice; "" is the cwd."""
        expanded = (self.expand(each, owner) for each in parts if self._trusted(each, owner))
        return list(dict.fromkeys(each.rstrip("/") + "/" if each else "" for each in expanded))

    def _trusted(self, part: str, owner: ElfFile) -> bool:
        """Whether a part of a search path counts (glibc elf/dl-load.c:is_trusted_path_normalize)."""
        if not self.secure or "ORIGIN" not in part:
            return True
        path = os.path.normpath(self.expand(part, owner)) + "/"
        return part.startswith(("$ORIGIN", "${ORIGIN}")) and path.startswith(self.directories)

    def _rpath(self, text: str, owner: ElfFile) -> list[str]:
        return self._directories(text.split(":"), owner) if text else []

    def _before_cache(self, requesters: Sequence[ElfFile], loader: ElfFile) -> Iterable[str]:
        main = self.executable
        if not loader.runpath:
            for each in requesters:
                if not each.runpath:
                    yield from self._rpath(each.rpath, each)
            if main not in requesters and not main.runpath:
                yield from self._rpath(main.rpath, main)
        yield from self._directories(self.library_path, main)
        yield from self._rpath(loader.runpath, loader)

    def _in_directories(self, name: str, directories: Iterable[str], tally: _Tally) -> str:
        for directory in directories:
            for index, below in enumerate(self.capabilities.subdirectories):
                if self.known.get((directory, index)) is False:
                    continue
                path = directory + below + name
                if _is_library(path):
                    self.known[directory, index] = True
                    return path
                tally.opens += 1
                self.missed.append(path)
                if len(self.missed) > MAX_FAILED_OPENS:
                    remedy = "shorten its RPATH, RUNPATH or LD_LIBRARY_PATH"
                    raise BadInput(self.executable.path, f"seeks libraries in over {MAX_FAILED_OPENS} places", remedy)
                if directory.startswith("/") and (directory, index) not in self.known:
                    tally.stats += 1
                    exists = self.known[directory, index] = Path(directory + below).is_dir()
                    self.missed += [] if exists else [directory + below]
        return ""

    def _from_cache(self, name: str, loader: ElfFile, tally: _Tally) -> str:
        self.cache_mapped = self.cache_mapped or bool(self.cache and Path(self.cache).is_file())
        path = cached_path(name, self.capabilities.levels, self.cache) if self.cache else ""
        if not path:
            return ""
        inhibited = loader.dynamic.get(DT_FLAGS_1, 0) & DF_1_NODEFLIB
        if inhibited and any(path.startswith(each) for each in self.directories):
            return ""
        if _is_library(path):
            return path
        tally.opens += 1
        self.missed.append(path)
        return ""


def _is_library(path: str) -> bool:
    """Openable, and not an ELF file of another class or machine, which open_verify passes over."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            return False
        with Path(path).open("rb") as stream:
            head = stream.read(20)
    except (OSError, ValueError):
        return False
    return head[:4] != b"\x7fELF" or (head[4:5] == b"\x02" and head[18:20] == b"\x3e\x00")


def path_components(path: str) -> int:
    """Components that a path walk passes, those of symbolic links on the way included."""
    pending, base, count, links = path.split("/")[::-1], Path("/" if path.startswith("/") else "."), 0, 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        count += 1
        if part == "..":
            base = base / ".."
            continue
        try:
            target = os.fspath((base / part).readlink())
        except (OSError, ValueError):
            base = base / part
            continue
        links += 1
        if links > MAX_SYMBOLIC_LINKS:
            return count
        if target.startswith("/"):
            base = Path("/")
        pending.extend(target.split("/")[::-1])
    return count
