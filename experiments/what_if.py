"""What if the target were linked otherwise, had more libraries, or ran on bare metal: another image, other prices.

The model stays the same; nothing here knows what anything costs but the price of CPUID without a hypervisor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import cycle, islice

import numpy as np

from calibration.capture.credentials import THIS_PROCESS, Executor
from calibration.capture.elf import capture_elf
from calibration.capture.relinking import Relinked
from calibration.errors import BadInput
from calibration.machine_file import MachineFile
from experiments.bundled_images import bundled_image
from experiments.scenarios import DEFAULT_TARGET, Notice
from experiments.sweep_fields import LINKINGS
from model.costs import CostTable
from model.elf_image import ElfImage, ElfObject

MOST_LIBRARIES = 4096
TYPICAL = "curl"
"""Bundled image whose libraries, in turn, are added to a program: a real closure of thirty-one."""
CPUID_BARE_NS = 50.0
"""Literature: 100 to 250 clock cycles on Intel and AMD cores (Agner Fog, Instruction tables, CPUID), at 3 GHz: 33 to
83 ns. The range as others quote it of those tables, which were not at hand; some say 200 to 600 cycles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What the target is taken to be instead of what its files say; the default changes nothing.

    Attributes:
        bind_now: every JUMP_SLOT is bound at start-up, as with LD_BIND_NOW=1.
        lazy: no object is bound at start-up, as linked with -z lazy.
        prelink: no object has anything to relocate.
        relr: relative relocations are packed into DT_RELR.
        static: its libraries are linked in; no loader.
        libraries: so many shared libraries in all; None: as many as it has.
        bare_metal: no hypervisor traps CPUID.
    """

    bind_now: bool = False
    lazy: bool = False
    prelink: bool = False
    relr: bool = False
    static: bool = False
    libraries: int | None = None
    bare_metal: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are asked, as the options are spelt."""
        given = {each.name.replace("_", "-"): getattr(self, each.name) for each in fields(self)}
        asked = {name: value for name, value in given.items() if value is not None and value is not False}
        return tuple(f"--{name}" if value is True else f"--{name} {value}" for name, value in asked.items())

    def check(self) -> None:
        """Raises BadInput where two contradict each other or a number cannot be."""
        for first, second in (("bind_now", "lazy"), ("relr", "prelink")):
            if getattr(self, first) and getattr(self, second):
                named = f"--{first} and --{second}".replace("_", "-")
                raise BadInput(named, "they exclude each other", "give one of them")
        others = [name for name in self.names if name not in ("--static", "--bare-metal")]
        relinked = [name for name in others if not name.startswith("--libraries")]
        if self.libraries is not None and relinked:
            why = "libraries that are added are as they were linked"
            raise BadInput(f"--libraries and {relinked[0]}", why, "give one of them")
        if self.static and others:
            raise BadInput(f"--static and {others[0]}", "a static program has no loader", "give one of them")
        if self.libraries is not None and not 1 <= self.libraries <= MOST_LIBRARIES:
            raise BadInput(f"--libraries {self.libraries}", "no such number", f"give 1 to {MOST_LIBRARIES}")


AS_IT_IS = WhatIf()
LINKED: Mapping[str, WhatIf] = {
    word: AS_IT_IS if word == "as-is" else WhatIf(**{word.replace("-", "_"): True}) for word in LINKINGS
}
"""By the words of a sweep's axis."""


def relinked(
    path: str | None, what: WhatIf, *, glibc: str | None = None, executor: Executor = THIS_PROCESS
) -> ElfImage:
    """As `image_if`, for the path that `--exec` or a sweep's `exec` names: None is the default program."""
    if path == "none":
        raise BadInput(what.names[0], "nothing is executed", "name a program to execute")
    return image_if(path or DEFAULT_TARGET, what, glibc=glibc, executor=executor)


def image_if(path: str, what: WhatIf, *, glibc: str | None = None, executor: Executor = THIS_PROCESS) -> ElfImage:
    """The image of a program under a what-if.

    Raises:
        BadInput: the path, as for `capture_elf`; a what-if that the program cannot be asked.
    """
    what.check()
    linked = Relinked(lazy=what.lazy, relr=what.relr, prelink=what.prelink)
    bind_now = True if what.bind_now else False if what.lazy else None
    image = capture_elf(path, bind_now=bind_now, glibc=glibc, linked=linked, executor=executor)
    asked = [name for name in what.names if name not in ("--bare-metal", "--static")]
    if asked and image.loader is None:
        raise BadInput(asked[0], f"{path} is static: no loader relocates it", "name a dynamic program")
    if what.static and image.loader is not None:
        image = as_static(image)
    return image if what.libraries is None else with_libraries(image, what.libraries)


def as_static(image: ElfImage) -> ElfImage:
    """The program with its libraries linked in, not position-independent: only IRELATIVE is left to do.

    How much of its libraries a linker would take cannot be read from a dynamic program: segments, pages and windows
    stay those of the executable, IFUNCs those of the whole closure, which is one page of their addresses.
    """
    program = image.objects[0]
    static = replace(
        program,
        relative_relocations=0,
        relr_relocations=0,
        symbol_lookups=0,
        symbol_cache_hits=0,
        lookup_probes=0,
        bloom_rejections=0,
        string_compares=0,
        lookup_name_bytes=0,
        lookup_turns=0,
        other_relocations=0,
        copy_relocations=0,
        lazy_jump_slots=0,
        version_needs=0,
        irelative_relocations=max(1, sum(each.irelative_relocations for each in image.objects)),
        dirtied_pages=min(program.dirtied_pages, 1 + program.clears_bss_tail),
        dirtied_bss_pages=0,
        tls_bytes=sum(each.tls_bytes for each in image.objects),
    )
    return replace(
        image,
        kind="script" if image.script_depth else "elf-static",
        loaded_kind="elf-static",
        elf_interpreter="",
        objects=(static,),
        bind_now=True,
        glibc="",
        tables_bytes=0,
        vdso_lookups=0,
        malloc_lookups=0,
        tunable_lookups=0,
        ifunc_vdso_lookups=0,
    )


def with_libraries(image: ElfImage, count: int) -> ElfImage:
    """The program with `count` shared libraries in all: cut from the end of the scope, or grown with those of curl.

    Libraries that are added stand evenly between those there, so every look-up of the program passes as many more as
    the scope has grown; an added one probes as deep, for its place, as it does in its own program.

    Raises:
        BadInput: fewer than the program has.
    """
    own = image.libraries
    if count < len(own):
        raise BadInput(f"--libraries {count}", f"{image.path} has {len(own)}", "give at least as many")
    source = bundled_image(TYPICAL)
    scope = len(image.objects) + count - len(own)
    typical = [each for each in source.libraries if not each.name.startswith("libc.so")]
    added = list(islice(cycle(typical), count - len(own)))
    grown = [_deeper(each, scope / len(image.objects)) for each in image.objects]
    more = [
        replace(_deeper(each, scope / len(source.objects)), name=f"{each.name} (added {index})")
        for index, each in enumerate(added, start=1)
    ]
    return replace(image, objects=(*grown, *more))


def _deeper(each: ElfObject, factor: float) -> ElfObject:
    """An object whose look-ups pass `factor` times as many objects of the scope."""
    rejections = round(each.bloom_rejections * factor)
    return replace(
        each, bloom_rejections=rejections, lookup_probes=each.lookup_probes + rejections - each.bloom_rejections
    )


def machine_if(file: MachineFile, what: WhatIf) -> MachineFile:
    """The machine file under a what-if: on bare metal CPUID has its price from the literature, without covariance."""
    if not what.bare_metal or file.costs.price("cpuid") <= CPUID_BARE_NS:
        return file
    costs = file.costs
    covariance = costs.covariance
    if covariance is not None and "cpuid" in costs.names:
        at = costs.names.index("cpuid")
        covariance = np.array(covariance)
        covariance[at, :] = covariance[:, at] = 0.0
    ns = {**costs.ns, "cpuid": CPUID_BARE_NS}
    table = CostTable(ns=ns, names=costs.names, covariance=covariance, inherited=costs.inherited)
    return replace(file, costs=table)


def notices_if(what: WhatIf) -> Sequence[Notice]:
    """What a document says of the assumptions behind a what-if."""
    said = (
        "--static: how much of its libraries a linker would take is not known; pages are the executable's",
        "--prelink: every address final, no conflict left; glibc can be prelinked no more since 2.36",
        f"--bare-metal: CPUID takes {CPUID_BARE_NS:.0f} ns (literature); faults and system calls keep "
        "the prices of this machine, with nested page walks where it is a guest",
        "--libraries: libraries that are added are those of a real curl, in turn, evenly in the scope",
    )
    asked = {name.partition(" ")[0] for name in what.names}
    return [Notice("what_if", text) for text in said if text.partition(":")[0] in asked]
