"""Page tables: how much memory they take, and what of a fork they are."""

from __future__ import annotations

from dataclasses import replace

from calibration.capture.synthetic import synthetic_parent
from experiments.headline import duration, size
from experiments.questions.asking import GIB, MIB, Answer, Row, asked
from experiments.variants import heap_of
from model.address_space import AddressSpace
from model.process import Process
from model.units import NS_PER_US, PAGE_BYTES

QUESTION = "How much memory do page tables take, how much of it does a fork copy, and what of its time is that?"
SIZES = [1 << exponent for exponent in range(28, 37, 2)]
TABLES = ("copy_table", "copy_table_beyond_pcp", "returned_table", "cold_pte_table")
"""Costs of a fork that go by the table, not by its entries."""


def answer(machine: str) -> Answer:
    """Dense 4 KiB pages, pmd mappings, and one page in every 2 MiB."""
    rows: list[Row] = []
    for rss in SIZES:
        dense = synthetic_parent(rss)
        huge = replace(dense, space=dense.space.with_thp(True))
        shapes = {"dense": dense, "THP": huge, "one page in 2 MiB": _sparse(dense)}
        rows += [_row(name, rss, parent, machine) for name, parent in shapes.items()]
    figures: dict[str, float | None] = {}
    words = []
    for row in rows:
        if row["mapped"] == int(4 * GIB):
            name = row["shape"]
            figures[f"{name}: MiB of tables of 4 GiB"] = row["tables_bytes"] / MIB
            figures[f"{name}: call_us of 4 GiB"] = row["call_us_p50"]
            figures[f"{name}: share of tables"] = row["share"]
            words.append(
                f"4 GiB, {name}: {size(row['tables_bytes'])} of page tables, fork returns after "
                f"{duration(row['call_us_p50'])}, {row['share']:.0%} of it for tables rather than their entries."
            )
    words.append(
        "THP maps without pte tables, but each pmd mapping has one set aside, in parent and child: it is counted."
    )
    return Answer(name="page_tables", question=QUESTION, words=tuple(words), figures=figures, rows=rows)


def _sparse(parent: Process) -> Process:
    """The same mapping with a single page in each 2 MiB."""
    index = heap_of(parent.space)
    vma = parent.space.vmas[index]
    spans = AddressSpace((vma,)).tables.pte
    heap = replace(vma, anon_ptes=spans, pte_spans=spans)
    return replace(parent, space=AddressSpace((*parent.space.vmas[:index], heap, *parent.space.vmas[index + 1 :])))


def _row(shape: str, mapped: int, parent: Process, machine: str) -> Row:
    tables = parent.space.tables
    count = tables.pte + tables.deposited + tables.pmd + tables.pud
    prediction = asked(parent, machine)
    spent = sum(prediction.breakdown_ns.get(name, 0.0) for name in TABLES)
    call_ns = prediction.milestones["call"].p50_ns
    return {
        "shape": shape,
        "mapped": mapped,
        "tables_bytes": count * PAGE_BYTES,
        "call_us_p50": call_ns / NS_PER_US,
        "share": spent / call_ns,
    }
