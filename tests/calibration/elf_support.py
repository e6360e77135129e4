"""Shared by the ELF tests: build a program, ask ld.so itself, and cut files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from calibration.errors import BadInput
from model.elf_image import ElfImage

STATISTICS = re.compile(
    rb"number of relocations: (\d+).*?relocations from cache: (\d+).*?relative relocations: (\d+)", re.DOTALL
)
EXIT_C = 'void _start(void) { __asm__ volatile ("mov $60, %eax; xor %edi, %edi; syscall"); }\n'


def quiet_environ(**more: str) -> dict[str, str]:
    """This process's environment without what steers ld.so."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LD_")} | more


def loader_statistics(path: str, arguments: Sequence[str], environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """Look-ups, cache hits and relative relocations that ld.so prints before main; None if it prints nothing."""
    try:
        done = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**environ, "LD_DEBUG": "statistics", "LC_ALL": "C"},
            timeout=300,
            check=False,
            start_new_session=True,
        )
        text = done.stderr
    except subprocess.TimeoutExpired as late:
        text = late.stderr or b""
    found = STATISTICS.search(text)
    return tuple(int(each) for each in found.groups()) if found else None


def counted(image: ElfImage) -> tuple[int, ...]:
    """The same three from the files alone."""
    return (image.symbol_lookups, image.symbol_cache_hits, image.relative_relocations)


def compile_c(out: Path, source: str, *flags: str) -> Path:
    """Compile and link one C source text."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "the tests need a C compiler, as the benches do"
    file = out.with_suffix(".c")
    file.write_text(source)
    subprocess.run([compiler, "-O1", "-o", str(out), str(file), *flags], check=True, capture_output=True)
    return out


def one_line(error: BadInput) -> str:
    """The message, which the command line prints as one line."""
    text = str(error)
    assert "\n" not in text
    assert error.what
    assert error.why
    assert error.remedy
    return text
