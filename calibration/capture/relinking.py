"""What would a program be if it had been linked otherwise: lazily, with packed relocations, or with none at all.

The tables of each file are changed before anything is counted, so that pages, windows and look-ups follow from the same
counting as those of the file as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calibration.capture.elf_file import DT_RELACOUNT, DT_RELRSZ, ElfFile
from calibration.capture.elf_tables import NO_ADDRESSES, NO_RELOCATIONS
from calibration.capture.relocations import R_RELATIVE
from calibration.capture.relr import WORD_BYTES, relr_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Relinked:
    """How all objects but ld.so are taken to have been linked; the default: as they were.

    Attributes:
        lazy: with -z lazy, whatever their flags say.
        relr: their relative relocations packed into DT_RELR (-z pack-relative-relocs).
        prelink: with nothing to relocate: every address final, as prelink made it where no conflict remained.
    """

    lazy: bool = False
    relr: bool = False
    prelink: bool = False


AS_LINKED = Relinked()


def relinked(elf: ElfFile, how: Relinked) -> ElfFile:
    """The file with its relocation tables as they would be; a lazy linking changes none."""
    if how.prelink:
        nothing = {tag: value for tag, value in elf.dynamic.items() if tag not in (DT_RELACOUNT, DT_RELRSZ)}
        return replace(elf, rela=NO_RELOCATIONS, jmprel=NO_RELOCATIONS, relr=NO_ADDRESSES, dynamic=nothing)
    return _packed(elf) if how.relr else elf


def _packed(elf: ElfFile) -> ElfFile:
    """RELATIVE relocations of aligned words move to DT_RELR; odd ones, which it cannot hold, stay."""
    head = elf.rela[: elf.relative_count]
    fits = (head["type"] == R_RELATIVE) & (head["offset"] % np.uint64(WORD_BYTES) == 0)
    addresses = np.unique(np.concatenate([elf.relr, head["offset"][fits]]))
    dynamic = {
        **elf.dynamic,
        DT_RELACOUNT: int(np.count_nonzero(~fits)),
        DT_RELRSZ: WORD_BYTES * relr_words(addresses),
    }
    rela = np.concatenate([head[~fits], elf.rela[elf.relative_count :]])
    return replace(elf, rela=rela, relr=addresses, dynamic=dynamic)
