"""Many parents as arrays: what the price of a spawn depends on, one array an attribute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.address_space import PageTables
from model.kernel.mm import MmCounts, mm_counts
from model.process import Process
from model.rules import Rules

Array = NDArray[np.float64]

TABLES = {"pte_tables": "pte", "pmd_tables": "pmd", "pud_tables": "pud"}
"""Attribute: its level in `PageTables`."""
MM = tuple(each.name for each in fields(MmCounts) if each.name != "tables")
"""Attributes that are counts of the parent's mm by name."""
PROCESS = ("threads", "running_threads", "open_fds", "fd_slots", "cloexec_fds", "contiguous", "writable")
"""Attributes that are the process's own by name."""
NAMES = (*MM, *TABLES, *PROCESS)
FRACTIONS = ("contiguous", "writable")


@dataclass(frozen=True)
class ParentArrays:
    """Attributes of many parents, each an array of (points,).

    Attributes:
        columns: by name of `NAMES`: fields of `MmCounts` and `Process`, and page tables by level. Floats.

    Raises:
        ValueError: an attribute is missing or unknown, lengths differ, or a value is impossible.
    """

    columns: Mapping[str, Array]

    def __post_init__(self) -> None:
        odd = sorted(set(self.columns) ^ set(NAMES))
        if odd:
            raise ValueError(f"attributes of parents: {odd[0]} is {'missing' if odd[0] in NAMES else 'unknown'}")
        if len({each.shape for each in self.columns.values()}) != 1 or next(iter(self.columns.values())).ndim != 1:
            raise ValueError("attributes of parents have one length")
        for name, values in self.columns.items():
            least, most = 1.0 if name == "threads" else 0.0, 1.0 if name in FRACTIONS else float("inf")
            if not bool(np.all((values >= least) & (values <= most) & np.isfinite(values))):
                raise ValueError(f"{name} of a parent lies between {least:g} and {most:g}")

    def __len__(self) -> int:
        return len(self.columns["threads"])

    def __getitem__(self, points: slice | NDArray[np.intp]) -> ParentArrays:
        part = object.__new__(ParentArrays)  # its values have been checked
        object.__setattr__(part, "columns", {name: values[points] for name, values in self.columns.items()})
        return part

    def with_columns(self, **columns: ArrayLike) -> ParentArrays:
        """The same parents with other columns: arrays of (points,), or one value for all."""
        changed = {name: np.broadcast_to(np.asarray(each, np.float64), (len(self),)) for name, each in columns.items()}
        return ParentArrays({**self.columns, **changed})

    def distinct(self, names: Iterable[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Parents that differ in some attributes: the first of each kind, and each one's kind by number."""
        code = np.zeros(len(self), dtype=np.intp)
        for name in names:
            values, number = np.unique(self.columns[name], return_inverse=True)
            if len(values) > 1:
                _, code = np.unique(code * len(values) + number, return_inverse=True)
        _, first, kind = np.unique(code, return_index=True, return_inverse=True)
        return first, kind

    @classmethod
    def of(cls, parents: Iterable[Process], rules: Rules) -> ParentArrays:
        """The attributes of some parents, counted as `simulate` counts them under these rules."""
        rows = [attributes_of(each, rules) for each in parents]
        return cls({name: np.array([row[name] for row in rows], dtype=np.float64) for name in NAMES})

    @classmethod
    def like(cls, parent: Process, rules: Rules, points: int, **columns: ArrayLike) -> ParentArrays:
        """So many parents that are one, but for the columns given: arrays of (points,), or one value for all."""
        known: dict[str, ArrayLike] = {**attributes_of(parent, rules), **columns}
        return cls({name: np.broadcast_to(np.asarray(each, np.float64), (points,)) for name, each in known.items()})

    @classmethod
    def joined(cls, parts: Sequence[ParentArrays]) -> ParentArrays:
        """All parents of several arrays, in their order."""
        return cls({name: np.concatenate([each.columns[name] for each in parts]) for name in NAMES})


def attributes_of(parent: Process, rules: Rules) -> dict[str, float]:
    """The attributes of one parent by name."""
    mm = mm_counts(parent.space, rules)
    return {
        **{name: float(getattr(mm, name)) for name in MM},
        **{name: float(getattr(mm.tables, level)) for name, level in TABLES.items()},
        **{name: float(getattr(parent, name)) for name in PROCESS},
    }


def mm_of(attributes: Mapping[str, float]) -> MmCounts:
    """The counts of an mm from its attributes, whatever they are made of: the way back of `attributes_of`."""
    tables = PageTables(**{level: attributes[name] for name, level in TABLES.items()}, deposited=0)  # type: ignore[arg-type]
    return MmCounts(tables=tables, **{name: attributes[name] for name in MM})  # type: ignore[arg-type]
