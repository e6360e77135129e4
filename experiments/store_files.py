"""What becomes of stores: shards put together, rows as a DataFrame, CSV or Parquet."""

from __future__ import annotations

import json
import math
import tempfile
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.errors import BadInput
from experiments.store import Store, existing_store, open_store, refuse_other

if TYPE_CHECKING:
    import pandas as pd


def merge_stores(paths: Sequence[Path], out: Path) -> tuple[int, int]:
    """One store with the rows of several of the same sweep; `out` appears whole or not at all.

    A point that failed in one and not in another counts as done. If `out` is a store of that sweep already, its rows
    are kept too.

    Returns:
        rows, and those of them with an error.

    Raises:
        BadInput: no store among them, one of another sweep, two that disagree about a point, or `out` is another file.
    """
    sources = [*paths, *([out] if out.exists() and out not in paths else [])]
    stores = [existing_store(path) for path in sources]
    about = stores[0].about
    for path, each in zip(sources, stores, strict=True):
        refuse_other(each.about, about, str(path))
        each.close()
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name[:80]}.", dir=out.parent) as scratch:
            made = open_store(Path(scratch, "merged"), about)
            for path in sources:
                _take_in(made, path)
            counts = made.counts()
            made.close()
            Path(scratch, "merged").replace(out)
    except OSError as error:
        raise BadInput(str(out), f"cannot be written: {error.strerror or error}", "give another file") from error
    return counts


def _take_in(store: Store, path: Path) -> None:
    connection = store.connection
    connection.execute("attach ? as other", (f"{path.absolute().as_uri()}?mode=ro",))
    differing = connection.execute(
        "select points.number from points join other.points as o using (key) "
        "where points.results <> o.results or points.inputs <> o.inputs limit 1"
    ).fetchone()
    if differing is not None:
        raise BadInput(str(path), f"it disagrees with another about point {differing[0]}", "compute the point again")
    with store.told():
        connection.execute(
            "insert into points select number, key, inputs, results, error from other.points where true "
            "on conflict do update set number = min(number, excluded.number), "
            "results = coalesce(results, excluded.results), "
            "error = case when coalesce(results, excluded.results) is null then error end"
        )
        columns = "started, updated, elapsed_s, host, pid, executor, workers, shard, points, failed"
        connection.execute(f"insert into runs ({columns}) select {columns} from other.runs")
        connection.commit()
        connection.execute("detach other")


def read_store(path: str | Path) -> pd.DataFrame:
    """A store as a DataFrame in the order of the points: a column each input, then `call_us_p50`, ..., `error`.

    Raises:
        BadInput: there is no store at that path.
    """
    store = existing_store(Path(path))
    try:
        return frame_of(store)
    finally:
        store.close()


def frame_of(store: Store) -> pd.DataFrame:
    """The rows of an open store, as `read_store` gives them."""
    import pandas as pd

    columns = _Columns()
    rows = store.connection.execute("select number, key, inputs, results, error from points order by number")
    for number, key, inputs, results, error in rows:
        columns.add({"number": number, "key": key, **_flat(inputs, results), "error": error})
    frame = pd.DataFrame(columns.arrays(), copy=False)
    frame["error"] = frame.pop("error") if "error" in frame else []
    return frame


def _flat(inputs: str, results: str | None) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in (json.loads(inputs) | json.loads(results or "{}")).items():
        if isinstance(value, dict):
            flat |= {f"{name}_{part}": each for part, each in value.items()}
        else:
            flat[name] = value
    return flat


class _Columns:
    """Rows become columns as they come: 8 bytes a value, and each text once. A million dicts would need gigabytes."""

    def __init__(self) -> None:
        self.length = 0
        self.numbers: dict[str, array[float]] = {}
        self.texts: dict[str, list[str | None]] = {}
        self.whole: set[str] = set()
        self.known: dict[str, str] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name in self.numbers or name in self.texts:
                continue
            if isinstance(value, int | float):
                self.numbers[name] = array("d", [math.nan]) * self.length
                self.whole |= {name} if not self.length else set()
            else:
                self.texts[name] = [None] * self.length
        for name, column in self.numbers.items():
            value = row.get(name, math.nan)
            column.append(value)
            if name in self.whole and not isinstance(value, int):
                self.whole.discard(name)
        for name, texts in self.texts.items():
            value = row.get(name)
            texts.append(self.known.setdefault(value, value) if value is not None and name != "key" else value)
        self.length += 1

    def arrays(self) -> dict[str, Any]:
        """Each column, whole numbers as such; what it holds is given away one by one."""
        import numpy as np

        order = [*self.texts, *self.numbers]
        found: dict[str, Any] = {}
        for name in sorted(order, key=_place):
            if name in self.texts:
                found[name] = self.texts.pop(name)
            else:
                numbers = np.frombuffer(self.numbers.pop(name), dtype=np.float64)
                found[name] = numbers.astype(np.int64) if name in self.whole else numbers
        return found


def _place(name: str) -> tuple[int, str]:
    """Number and key first, inputs, then results, the error last."""
    first = ("number", "key")
    if name in first:
        return first.index(name), name
    told = "." not in name and ("_us" in name or name.startswith(("writes_", "waits_")))
    return (4 if told or name in ("cause", "warnings", "errno") else 3, name)


def export_store(path: Path, out: Path) -> None:
    """Write a store's DataFrame as CSV or Parquet, by the ending of `out`; the file appears whole or not at all.

    Raises:
        BadInput: another ending, no pyarrow for Parquet, or a file that cannot be written.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise BadInput(str(out), "its ending tells no format", "name it .csv or .parquet")
    frame = read_store(path)
    scratch = out.with_name(f".{out.name[:100]}.part")
    try:
        if out.suffix == ".csv":
            frame.to_csv(scratch, index=False)
        else:
            frame.to_parquet(scratch, index=False)
        scratch.replace(out)
    except ImportError as error:
        raise BadInput(str(out), "Parquet needs pyarrow", "install spawncost[parquet], or export .csv") from error
    except OSError as error:
        raise BadInput(str(out), f"cannot be written: {error.strerror or error}", "give another file") from error
    finally:
        with suppress(OSError):
            scratch.unlink()
