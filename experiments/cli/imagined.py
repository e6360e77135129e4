"""The options that take the target for something else than it is; declared once for every command that has them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

BindNow: TypeAlias = Annotated[bool, typer.Option("--bind-now", help="The target is bound as with LD_BIND_NOW=1.")]
Lazy: TypeAlias = Annotated[bool, typer.Option("--lazy", help="The target as if linked with -z lazy throughout.")]
Prelink: TypeAlias = Annotated[bool, typer.Option("--prelink", help="The target as if nothing were to relocate.")]
Relr: TypeAlias = Annotated[bool, typer.Option("--relr", help="Its relative relocations packed into DT_RELR.")]
Static: TypeAlias = Annotated[bool, typer.Option("--static", help="The target with its libraries linked in.")]
Libraries: TypeAlias = Annotated[
    int | None, typer.Option("--libraries", metavar="N", help="The target with N shared libraries in all.")
]
PageCache: TypeAlias = Annotated[
    str,
    typer.Option("--page-cache", metavar="warm|cold", help="cold: all files are read from the storage."),
]
BareMetal: TypeAlias = Annotated[bool, typer.Option("--bare-metal", help="No hypervisor traps CPUID.")]
