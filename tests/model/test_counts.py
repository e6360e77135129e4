"""The counts of an mm against a slow form that says each count in a line of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.address_space import AddressSpace, PageTables, Vma, page_tables
from model.kernel.mm import MmCounts, mm_counts, vma_needs_copy
from model.rules import Rules
from model.units import P4D_BYTES, PMD_BYTES, PUD_BYTES, spans
from tests.model.builders import GIB, OLD_RULES, anon, vma_lists

often = settings(max_examples=300, deadline=None)


@st.composite
def spaces(draw: st.DrawFn) -> AddressSpace:
    """Vmas of every kind, some with what only a capture knows: spans, populated ends, swap, hugetlb."""
    vmas: list[Vma] = []
    for vma in draw(vma_lists(most=8)):
        reach = spans(vma.start, vma.end, PMD_BYTES)
        known = draw(st.booleans())
        vmas.append(
            replace(
                vma,
                swap_ptes=draw(st.sampled_from((0, 2))),
                hugetlb_pages=draw(st.sampled_from((0, 3))),
                pte_spans=draw(st.integers(0, reach)) if known else None,
                pmd_spans=draw(st.integers(1, 3)) if known and draw(st.booleans()) else None,
                head_populated=draw(st.booleans()),
                tail_populated=draw(st.booleans()),
            )
        )
    return AddressSpace(tuple(vmas))


def slow_tables(vma: Vma) -> int:
    """Populated 2 MiB spans of one vma."""
    if vma.pte_spans is not None:
        return vma.pte_spans
    if vma.ptes == 0:
        return 0
    reach = min(vma.end, vma.start + vma.ptes * 4096)
    room = spans(vma.start, vma.end, PMD_BYTES) - vma.huge_pmds
    return max(1, min(spans(vma.start, reach, PMD_BYTES), room))


def slow_end(vma: Vma) -> int:
    """End of the populated part."""
    spanned = (slow_tables(vma) + vma.huge_pmds) * PMD_BYTES
    return vma.end if vma.tail_populated else min(vma.end, vma.start // PMD_BYTES * PMD_BYTES + spanned)


def slow_page_tables(vmas: Iterable[Vma]) -> PageTables:
    """Tables by level, one level like the other."""
    pte = pmd = pud = deposited = 0
    last = {PMD_BYTES: -1, PUD_BYTES: -1, P4D_BYTES: -1}
    for vma in vmas:
        populated = slow_tables(vma) + vma.huge_pmds
        if not populated:
            continue
        end = slow_end(vma)
        start = vma.start if vma.head_populated else max(vma.start, end - populated * PMD_BYTES)
        pte += slow_tables(vma)
        if slow_tables(vma) > 0 and vma.head_populated and start // PMD_BYTES == last[PMD_BYTES]:
            pte -= 1
        deposited += vma.huge_pmds
        for span_bytes in (PUD_BYTES, P4D_BYTES):
            known = vma.pmd_spans if span_bytes == PUD_BYTES else None
            fresh = known if known is not None else min(spans(start, end, span_bytes), populated)
            fresh -= start // span_bytes == last[span_bytes]
            pmd += fresh if span_bytes == PUD_BYTES else 0
            pud += fresh if span_bytes == P4D_BYTES else 0
            last[span_bytes] = (end - 1) // span_bytes
        last[PMD_BYTES] = (end - 1) // PMD_BYTES if vma.tail_populated or vma.pte_spans is None else -1
    return PageTables(pte=pte, pmd=pmd, pud=pud, deposited=deposited)


def slow_counts(space: AddressSpace, rules: Rules) -> MmCounts:
    """Every count by a pass of its own."""
    copied = [vma for vma in space.vmas if not vma.dontcopy]
    walked = [vma for vma in copied if vma_needs_copy(vma, rules)]
    batched = [vma for vma in walked if vma.folio_pages > 1 and rules.fork_batches_large_folios]
    chained = [vma for vma in copied if vma.anon_vma and not vma.wipeonfork]
    return MmCounts(
        vmas=len(copied),
        dontcopy=len(space.vmas) - len(copied),
        accounted=sum(vma.account for vma in copied),
        with_anon_vma=len(chained),
        chain_links=sum(vma.anon_vma_chain - 1 for vma in chained),
        files=sum(vma.is_file for vma in copied),
        tables=slow_page_tables(walked),
        small_ptes=sum(vma.anon_ptes for vma in walked) - sum(vma.anon_ptes for vma in batched),
        folios=sum(vma.anon_ptes / vma.folio_pages for vma in batched),
        folio_ptes=sum(vma.anon_ptes for vma in batched),
        file_ptes=sum(vma.file_ptes for vma in walked),
        swap_ptes=sum(vma.swap_ptes for vma in walked),
        huge_pmds=sum(vma.huge_pmds for vma in walked),
        hugetlb_pages=sum(vma.hugetlb_pages for vma in walked),
        private_ptes=sum(vma.anon_ptes for vma in walked if vma.writable_private),
    )


@often
@given(spaces())
def test_tables_are_those_of_the_slow_form(space: AddressSpace) -> None:
    assert [vma.tables for vma in space.vmas] == [slow_tables(vma) for vma in space.vmas]
    assert page_tables(space.vmas) == slow_page_tables(space.vmas)
    assert space.tables == slow_page_tables(space.vmas)


@often
@given(spaces())
def test_counts_are_those_of_the_slow_form_under_all_rules(space: AddressSpace) -> None:
    chosen = [
        Rules(hugetlb_lazy=lazy, fork_batches_large_folios=batched)
        for lazy in (True, False)
        for batched in (True, False)
    ]
    for rules in (*chosen, OLD_RULES, *chosen):
        assert mm_counts(space, rules) == slow_counts(space, rules)


def test_what_was_counted_is_no_part_of_a_space() -> None:
    counted, fresh = (AddressSpace((anon(700), anon(9, start=2 * GIB))) for _ in range(2))
    mm_counts(counted, Rules())
    assert counted == fresh
    assert hash(counted) == hash(fresh)
    assert repr(counted) == repr(fresh)
    assert mm_counts(counted, Rules()) is mm_counts(counted, Rules(vma_tree="maple"))
    with pytest.raises(ValueError, match="overlap"):
        AddressSpace((anon(700), anon(9)))
