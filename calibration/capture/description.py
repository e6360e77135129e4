"""A parent described in TOML (`spawncost.parent/1`): groups of like vmas, laid out in an address space.

Groups without `start` are laid out upwards from 16 TiB, between where the kernel puts heaps and where it puts
libraries, in the order of the file. Vmas of 2 MiB and more begin on a 2 MiB boundary, where the kernel puts them too
(`mm/huge_memory.c:thp_get_unmapped_area_vmflags@v6.18`), so they share no page table. Smaller ones of a group stand
close together with one unmapped page between them, as small mappings of a real process do, and share the tables of
their 2 MiB. Each group begins on a fresh 2 MiB boundary.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from calibration.capture.sizes import parse_size
from calibration.errors import BadInput
from model.address_space import AddressSpace, Vma, VmaKind
from model.process import Caller, Process, Runtime
from model.units import PAGE_BYTES, PMD_BYTES, pages_of, spans

MAX_VMAS = 1 << 20
"""Sixteen times the kernel's default of vm.max_map_count."""
MAX_FDS = 1 << 30
MAX_THREADS = 1 << 22
FIRST_ADDRESS = 1 << 44
_LAST_ADDRESS = 0x7FFF_FFFF_F000
_PRIVATE = (VmaKind.ANON, VmaKind.STACK, VmaKind.FILE_PRIVATE)


def _size(value: Any) -> int:
    if not isinstance(value, (str, int)):
        raise ValueError(f"{value!r} is no size")
    try:
        return parse_size(value)
    except BadInput as error:
        raise ValueError(f"{error.why}; {error.remedy}") from error


Size = Annotated[int, BeforeValidator(_size)]
Count = Annotated[int, Field(ge=0, le=1 << 36)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class VmaGroup(BaseModel):
    """`[[vma]]`: `count` vmas of one kind.

    `size`, `resident`, `huge` are those of each. `resident` is anonymous memory, of file-private the written pages, of
    file-shared the mapped ones; `huge` is the fraction of it mapped by pmd. The other keys are fields of `Vma`, for
    what a real capture knows; left out, they follow from the kind.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    count: Annotated[int, Field(ge=1, le=MAX_VMAS)] = 1
    kind: Annotated[VmaKind, Field(strict=False)]
    size: Annotated[Size, Field(gt=0)]
    resident: Size = 0
    huge: Fraction = 0.0
    start: Annotated[int, Field(gt=0, lt=_LAST_ADDRESS, multiple_of=PAGE_BYTES)] | None = None
    path: Annotated[str, Field(max_length=4096)] = ""
    file_ptes: Count = 0
    swap_ptes: Count = 0
    file_huge_pmds: Count = 0
    hugetlb_pages: Count = 0
    folio_pages: Annotated[int, Field(ge=1, le=512)] = 1
    pte_spans: Count | None = None
    pmd_spans: Count | None = None
    head_populated: bool | None = None
    tail_populated: bool | None = None
    anon_vma: bool | None = None
    anon_vma_chain: Annotated[int, Field(ge=1, le=1 << 20)] = 1
    dontcopy: bool = False
    wipeonfork: bool = False
    account: bool | None = None
    writable_private: bool | None = None

    @model_validator(mode="after")
    def _fits(self) -> VmaGroup:
        pages = pages_of(self.size)
        if self.resident > pages * PAGE_BYTES:
            raise ValueError("resident is more than size")
        if self.kind is VmaKind.GUARD and self.resident:
            raise ValueError("a guard has nothing resident")
        if self.start is not None and self.count > 1:
            raise ValueError("start fits a single vma: leave count out")
        extra = self.file_ptes + self.swap_ptes + self.file_huge_pmds * 512
        if pages_of(self.resident) + extra > pages:
            raise ValueError("more pages than size has room for")
        if self.pte_spans is not None and self.pte_spans > pages // 512 + 2:
            raise ValueError("more pte_spans than size has room for")
        if self.pmd_spans is not None and self.pmd_spans > pages // 512**2 + 2:
            raise ValueError("more pmd_spans than size has room for")
        return self


class ParentDescription(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    schema_name: Literal["spawncost.parent/1"] = Field(alias="schema")
    name: Annotated[str, Field(min_length=1, max_length=200)]
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)] = 1
    running_threads: Annotated[int, Field(ge=0, le=MAX_THREADS)] = 0
    fds: Annotated[int, Field(ge=0, le=MAX_FDS)] = 3
    highest_fd: Annotated[int, Field(ge=-1, lt=MAX_FDS)] | None = None
    cloexec_fds: Annotated[int, Field(ge=0, le=MAX_FDS)] = 0
    runtime: Annotated[Runtime, Field(strict=False)] = Runtime.C
    caller: Annotated[Caller, Field(strict=False)] = Caller.COLD
    contiguous: Fraction | None = None
    writable: Fraction | None = None
    vma: Annotated[tuple[VmaGroup, ...], Field(min_length=1, strict=False)]

    @model_validator(mode="after")
    def _agrees(self) -> ParentDescription:
        if self.highest_fd is not None and self.highest_fd < self.fds - 1:
            raise ValueError(f"highest_fd is too low for {self.fds} fds")
        if self.cloexec_fds > self.fds:
            raise ValueError("cloexec_fds is more than fds")
        if self.running_threads >= self.threads:
            raise ValueError("running_threads counts other threads than the caller: it is less than threads")
        if sum(group.count for group in self.vma) > MAX_VMAS:
            raise ValueError(f"more than {MAX_VMAS} vmas")
        return self


def next_boundary(end: int) -> int:
    """The 2 MiB boundary after `end`, at least a page away: mappings that touch could merge."""
    return -(-(end + PAGE_BYTES) // PMD_BYTES) * PMD_BYTES


def lay_out(size_bytes: int, count: int, first: int) -> range:
    """Start addresses of `count` vmas of one size from `first`, a 2 MiB boundary, upwards."""
    big = size_bytes >= PMD_BYTES
    step = -(-size_bytes // PMD_BYTES) * PMD_BYTES if big else pages_of(size_bytes) * PAGE_BYTES + PAGE_BYTES
    return range(first, first + step * count, step)


def _huge_pmds(group: VmaGroup, start: int, end: int) -> int:
    """Pmd mappings nearest to the fraction asked for, as far as aligned 2 MiB of the vma reach."""
    aligned = max(0, end // PMD_BYTES - -(-start // PMD_BYTES))
    pages = pages_of(group.resident)
    return min(round(pages * group.huge / 512), pages // 512, aligned)


def group_vma(group: VmaGroup, start: int) -> Vma:
    """One vma of a group, at `start`."""
    end = start + pages_of(group.size) * PAGE_BYTES
    pages, pmds = pages_of(group.resident), _huge_pmds(group, start, end)
    small = pages - 512 * pmds
    private = group.kind in _PRIVATE
    shared = group.kind is VmaKind.FILE_SHARED
    holds = pages > 0 or group.swap_ptes > 0 or group.hugetlb_pages > 0
    by_kind = private and group.kind is not VmaKind.GUARD
    top_down = group.kind is VmaKind.STACK and pages > 0
    pte_spans = group.pte_spans
    if top_down and pte_spans is None and not group.huge:
        pte_spans = spans(end - small * PAGE_BYTES, end, PMD_BYTES)
    head = group.head_populated
    if head is None:
        head = not top_down or spans(start, end, PMD_BYTES) == pte_spans
    return Vma(
        start=start,
        end=end,
        kind=group.kind,
        anon_ptes=0 if shared else small,
        file_ptes=group.file_ptes + (small if shared else 0),
        huge_pmds=0 if shared else pmds,
        file_huge_pmds=group.file_huge_pmds + (pmds if shared else 0),
        swap_ptes=group.swap_ptes,
        hugetlb_pages=group.hugetlb_pages,
        folio_pages=group.folio_pages,
        anon_vma=(private and holds) if group.anon_vma is None else group.anon_vma,
        anon_vma_chain=group.anon_vma_chain,
        dontcopy=group.dontcopy,
        wipeonfork=group.wipeonfork,
        account=by_kind if group.account is None else group.account,
        writable_private=by_kind if group.writable_private is None else group.writable_private,
        pte_spans=pte_spans,
        pmd_spans=group.pmd_spans,
        head_populated=head,
        tail_populated=top_down if group.tail_populated is None else group.tail_populated,
        path=group.path,
    )


def _placed(groups: tuple[VmaGroup, ...]) -> tuple[Vma, ...]:
    vmas: list[Vma] = []
    cursor = FIRST_ADDRESS
    for group in groups:
        starts = range(group.start, group.start + 1) if group.start else lay_out(group.size, group.count, cursor)
        end = starts[-1] + pages_of(group.size) * PAGE_BYTES
        if end > _LAST_ADDRESS:
            raise ValueError("the vmas need more than the 128 TiB of an address space")
        vmas += [group_vma(group, start) for start in starts]
        cursor = cursor if group.start else next_boundary(end)
    return tuple(sorted(vmas, key=lambda vma: vma.start))


def described_process(description: ParentDescription, *, assumed_contiguous: float) -> Process:
    """The process that a description stands for; what it leaves out of contiguous and writable is assumed.

    Raises:
        ValueError: the vmas overlap or do not fit an address space.
    """
    assumed = [name for name in ("contiguous", "writable") if getattr(description, name) is None]
    highest = description.fds - 1 if description.highest_fd is None else description.highest_fd
    return Process(
        name=description.name,
        space=AddressSpace(_placed(description.vma)),
        threads=description.threads,
        running_threads=description.running_threads,
        open_fds=description.fds,
        highest_fd=highest,
        cloexec_fds=description.cloexec_fds,
        runtime=description.runtime,
        caller=description.caller,
        contiguous=assumed_contiguous if description.contiguous is None else description.contiguous,
        writable=0.0 if description.writable is None else description.writable,
        assumed=tuple(assumed),
        origin="description",
    )
