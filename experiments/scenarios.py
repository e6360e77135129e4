"""From what a user names (a program, a list of mechanisms, versions) to the values that a scenario is made of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from calibration.capture.credentials import THIS_PROCESS, Executor
from calibration.capture.elf import capture_elf
from calibration.capture.sizes import parse_size
from calibration.errors import BadInput
from model.elf_image import NO_IMAGE, ElfImage
from model.kernel.fork import KNOWN_FLAGS
from model.machine import Machine
from model.mechanisms import HELPED, IN_PLACE, MECHANISMS, NEEDS_EXEC
from model.process import Caller, Process, Runtime
from model.rules import JDK_SINCE, KERNEL_SINCE, Rules, rules_for, set_rule
from model.scenario import Load, Scenario, Spawn, spawn_and_wait
from model.units import PAGE_BYTES, PTRS_PER_TABLE

DEFAULT_PARENT = "jvm-4g"
DEFAULT_TARGET = "/bin/true"
DEFAULT_VIA = ("fork", "vfork", "posix_spawn")
JDK_VIA = ("jdk-fork", "jdk-vfork", "jdk-posix_spawn")
NOT_BUILT = frozenset({"go-forkexec", "runc"})
"""Mechanisms that have a name but no model yet."""
HELPER_NAMES = {"jdk-posix_spawn": "jspawnhelper", "shell": "sh"}
"""Helper of a mechanism; also the name of the bundled image that stands in for it."""


RULED_BY = {
    "kernel": (*KERNEL_SINCE, "posix_spawn_clear_sighand"),
    "glibc": ("posix_spawn_clear_sighand",),
    "jdk": tuple(JDK_SINCE),
}
"""Rules that a version decides."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning of a document: a code for programs, a text for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One parent, one target, the mechanisms to compare: all that a document answers, the machine left out.

    Attributes:
        helpers: images of the programs that mechanisms of `HELPED` run first.
        flags: CLONE_ flags of clone3.
        kernel: the version asked for; empty: that of the machine file.
        notices: what had to be assumed before the model was asked.
        load: what else runs.
        cold_files: whether files that are executed or mapped are read in from the storage first.
    """

    parent: Process
    target: ElfImage
    mechanisms: tuple[str, ...]
    rules: Rules
    helpers: Mapping[str, ElfImage]
    flags: frozenset[str] = frozenset()
    kernel: str = ""
    seed: int = 0
    notices: tuple[Notice, ...] = ()
    load: Load = field(default_factory=Load)
    cold_files: bool = False

    def scenario(self, mechanism: str) -> Scenario:
        """The scenario of one mechanism: spawn once and wait."""
        spawn = Spawn(
            mechanism=mechanism,
            target=self.target,
            helper=self.helpers.get(mechanism),
            flags=self.flags if mechanism == "clone3" else frozenset(),
        )
        more = {"rules": self.rules, "seed": self.seed, "load": self.load, "cold_files": self.cold_files}
        return spawn_and_wait(self.parent, spawn, **more)


def cold_files_of(page_cache: str) -> bool:
    """Whether `--page-cache` says that files are read in from the storage. Raises BadInput unless warm or cold."""
    if page_cache not in ("warm", "cold"):
        raise BadInput(f"--page-cache {page_cache}", "there is no such state", "warm or cold")
    return page_cache == "cold"


def target_of(
    path: str | None, *, glibc: str | None = None, executor: Executor = THIS_PROCESS
) -> tuple[ElfImage, tuple[Notice, ...]]:
    """The image of the program to execute.

    Args:
        path: an ELF file or a script, `none` for a child that exits at once, None for /bin/true or its bundled image.
        glibc: version whose loader rules count; None: what the program's loader says.
        executor: who executes it.

    Raises:
        BadInput: the path cannot be found, is no regular file, cannot be read or parsed.
    """
    if path == "none":
        return NO_IMAGE, ()
    if path is None:
        return _first_readable([Path(DEFAULT_TARGET)], "true", glibc)
    if not path:
        raise BadInput("--exec", "the path is empty", "name a program, or none")
    return capture_elf(path, glibc=glibc, executor=executor), ()


def helpers_of(
    mechanisms: Iterable[str], *, java: Path | None = None, glibc: str | None = None
) -> tuple[dict[str, ElfImage], tuple[Notice, ...]]:
    """Images of the helpers that the mechanisms need: of this host, else the bundled ones with a notice.

    Args:
        mechanisms: any; those without a helper are passed over.
        java: the java launcher that the parent runs, if that is known.
        glibc: as for `target_of`.
    """
    helpers: dict[str, ElfImage] = {}
    notices: list[Notice] = []
    places: dict[str, Callable[[], list[Path]]] = {
        "jdk-posix_spawn": lambda: _jspawnhelpers(java),
        "shell": lambda: [Path("/bin/sh")],
    }
    for mechanism in mechanisms:
        if mechanism in HELPED:
            name = HELPER_NAMES[mechanism]
            helpers[mechanism], found = _first_readable(places[mechanism](), name, glibc)
            notices += found
    return helpers, tuple(notices)


def _first_readable(paths: Iterable[Path], name: str, glibc: str | None) -> tuple[ElfImage, tuple[Notice, ...]]:
    for path in paths:
        try:
            return capture_elf(path, glibc=glibc), ()
        except BadInput:
            continue
    from experiments.bundled_images import bundled_image

    text = f"no {name} could be read on this host: the bundled image of one stands in"
    return bundled_image(name), (Notice("assumed_file", text),)


def _jspawnhelpers(java: Path | None) -> list[Path]:
    """Where a jspawnhelper may be: beside the parent's own java, in JAVA_HOME, beside the java on PATH."""
    on_path = shutil.which("java")
    launchers = [java] if java is not None else []
    if os.environ.get("JAVA_HOME"):
        launchers.append(Path(os.environ["JAVA_HOME"], "bin", "java"))
    if on_path is not None:
        launchers.append(Path(on_path).resolve())
    return [each.parent.parent / "lib" / "jspawnhelper" for each in launchers]


def java_of(pid: int) -> Path | None:
    """The java launcher that a process runs; None if it runs another program or may not be asked."""
    try:
        exe = Path(f"/proc/{pid}/exe").readlink()
    except OSError:
        return None
    return exe if exe.name == "java" else None


def mechanisms_of(via: str | None, parent: Process, target: ElfImage) -> tuple[str, ...]:
    """The mechanisms that `--via` names, in its order, each once.

    Args:
        via: a comma-separated list; `all`: all that start a child and make sense for the target; None: fork, vfork,
            posix_spawn, and for a JVM the JDK's three.

    Raises:
        BadInput: an unknown mechanism, one that is not built, or one that needs an exec with none.
    """
    if via is None:
        names: Sequence[str] = DEFAULT_VIA + (JDK_VIA if parent.runtime is Runtime.JVM else ())
    elif via.strip() == "all":
        names = tuple(MECHANISMS)
    else:
        return tuple(dict.fromkeys(_named(each.strip(), target) for each in via.split(",")))
    return tuple(name for name in names if target.kind != "none" or name not in NEEDS_EXEC)


def _named(name: str, target: ElfImage) -> str:
    if name in NOT_BUILT:
        raise BadInput(f"--via {name}", "it is not built yet", f"choose from {', '.join(MECHANISMS)}")
    if name not in (*MECHANISMS, IN_PLACE):
        known = ", ".join((*MECHANISMS, IN_PLACE))
        raise BadInput(f"--via {name}", "there is no such mechanism", f"choose from {known}, or all")
    if target.kind == "none" and name in NEEDS_EXEC:
        raise BadInput(f"--via {name}", "it always executes a program", "name one with --exec, or leave it out")
    return name


def flags_of(text: str | None, mechanisms: Sequence[str]) -> frozenset[str]:
    """Flags of clone3 from a comma-separated list, with or without `CLONE_`.

    Raises:
        BadInput: a flag that the model does not price, or no clone3 to use them.
    """
    if text is None:
        return frozenset()
    if "clone3" not in mechanisms:
        raise BadInput("--clone-flags", "no mechanism takes them", "add --via clone3")
    named = [each.strip().upper() for each in text.split(",") if each.strip()]
    flags = frozenset(each if each.startswith("CLONE_") else f"CLONE_{each}" for each in named)
    unknown = sorted(flags - KNOWN_FLAGS)
    if unknown:
        known = ", ".join(sorted(KNOWN_FLAGS))
        raise BadInput(f"--clone-flags {unknown[0]}", "the model does not price it", f"choose from {known}")
    return flags


def rules_of(
    machine: Machine,
    *,
    kernel: str | None = None,
    glibc: str | None = None,
    jdk: str | None = None,
    settings: Iterable[str] = (),
) -> Rules:
    """The rules in force: those the machine was measured under, versions asked for, then single rules.

    Args:
        settings: `NAME=VALUE` each.

    Raises:
        BadInput: a version that cannot be read or is too old, no such rule, or no such value.
    """
    rules = machine.rules
    asked = {"kernel": kernel, "glibc": glibc, "jdk": jdk}
    for option, version in asked.items():
        try:
            rules_for(**{option: version} if version is not None else {})
        except ValueError as error:
            raise BadInput(f"--{option} {version}", str(error), "give a version such as 6.1") from error
    known = {"kernel": machine.kernel, "glibc": machine.glibc}
    said = {name: version for name, version in asked.items() if version is not None}
    computed = rules_for(**{name: version for name, version in (known | said).items() if version})
    ruled = {name for option in said for name in RULED_BY[option]}
    rules = replace(rules, **{name: getattr(computed, name) for name in ruled})
    for setting in settings:
        name, separator, value = setting.partition("=")
        try:
            rules = set_rule(rules, name.strip(), value.strip())
        except ValueError as error:
            remedy = "write --rule NAME=VALUE" if not separator else "correct the rule"
            raise BadInput(f"--rule {setting}", str(error), remedy) from error
    return rules


def adjusted(
    parent: Process,
    *,
    caller: str | None = None,
    thp: str = "as-is",
    thp_fallback: float = 0.0,
    folio: str | None = None,
    contiguous: float | None = None,
    writable: float | None = None,
) -> Process:
    """The parent with what the user says of it; what is said is assumed no more.

    Args:
        caller: `hot` or `cold`; thp: `as-is`, `off` or `on`; contiguous, writable: fractions.
        thp_fallback: fraction of ranges that could be huge and are not; folio: size of those behind ptes.

    Raises:
        BadInput: no fraction, or another word.
    """
    if thp not in ("as-is", "off", "on"):
        raise BadInput(f"--thp {thp}", "there is no such setting", "as-is, off or on")
    if caller is not None and caller not in tuple(Caller):
        raise BadInput(f"--caller {caller}", "there is no such state", "hot or cold")
    if thp_fallback and thp != "on":
        raise BadInput("--thp-fallback", "nothing is asked to be huge", "give --thp on too")
    given = {"contiguous": contiguous, "writable": writable}
    said = {name: fraction for name, fraction in given.items() if fraction is not None}
    for name, fraction in {**said, "thp-fallback": thp_fallback}.items():
        if not 0.0 <= fraction <= 1.0:
            raise BadInput(f"--{name} {fraction}", "it is no fraction", "give a number from 0 to 1")
    space = parent.space if thp == "as-is" else parent.space.with_thp(thp == "on", fallback=thp_fallback)
    if folio is not None:
        space = space.with_folios(_folio_pages(folio))
    known = {*said, *(("folio_pages",) if folio is not None else ())}
    return replace(
        parent,
        caller=Caller(caller) if caller is not None else parent.caller,
        space=space,
        assumed=tuple(name for name in parent.assumed if name not in known),
        **said,  # type: ignore[arg-type]
    )


def _folio_pages(text: str) -> int:
    """Pages of a folio of that size: a power of two below a pmd's, as mTHP has them; 4KiB: small pages."""
    pages, rest = divmod(parse_size(text, what="--folio"), PAGE_BYTES)
    if rest or not 1 <= pages < PTRS_PER_TABLE or pages & (pages - 1):
        raise BadInput(f"--folio {text}", "no folio mapped by ptes has that size", "give 4KiB, 8KiB, ... 1MiB")
    return pages
