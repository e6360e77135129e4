"""What reading a large program costs, for `make bench`: every look-up of its start counted from its files."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from calibration.build import Builder, BuildError
from calibration.errors import BadInput
from calibration.targets import TargetSpec, build_target
from model.units import NS_PER_S

LIBRARIES, RELOCATIONS = 60, 100_000
LARGE = TargetSpec(
    kind="libs", libs=LIBRARIES, exports=200, lookups=-(-RELOCATIONS // LIBRARIES), name_bytes=30, distinct=1
)
"""Each relocation names a symbol of its own that the last library defines: none is served from the loader's cache, and
each asks the bloom filters of all libraries.
"""


def reading_ns(command: Sequence[str], path: Path, *, rounds: int) -> dict[str, float]:
    """Least time of `spawncost elf` as a whole command, in ns: from the files, and again from the image it kept.

    Args:
        command: words that start spawncost.

    Raises:
        BadInput: the command fails.
    """
    best = {"first": float("inf"), "again": float("inf")}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for name in best:
                elapsed_ns = _elapsed_ns([*command, "elf", str(path), "--json"], cache)
                best[name] = min(best[name], elapsed_ns)
    return best


def _elapsed_ns(words: Sequence[str], cache: str) -> float:
    begin = time.perf_counter_ns()
    environ = {**os.environ, "XDG_CACHE_HOME": cache}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        raise BadInput(" ".join(words), f"it ends with {done.returncode}: {done.stderr.strip()}", "see above")
    return time.perf_counter_ns() - begin


def text_of(
    command: Sequence[str], *, rounds: int, spec: TargetSpec = LARGE, builder: Callable[[], Builder] = Builder
) -> list[str]:
    """The figures as lines of at most 80 columns, or why there are none."""
    head = f"spawncost elf of a program of {spec.libs} libraries, {spec.libs * spec.lookups:,} look-ups"
    try:
        found = reading_ns(command, build_target(spec, builder()), rounds=rounds)
    except BuildError as error:
        return [head, f"  not measured: {error}"[:80]]
    return [
        head,
        f"  read from its files     {found['first'] / NS_PER_S:>12.3f} s",
        f"  read again, kept        {found['again'] / NS_PER_S:>12.3f} s",
        f"  the reading itself      {(found['first'] - found['again']) / NS_PER_S:>12.3f} s",
    ]
