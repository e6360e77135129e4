"""Where the rows of a sweep lie: one SQLite file, which a reader opens without any of this code.

`points` holds what does not depend on when, where and how it was computed: number, key, inputs, results, error. `runs`
holds the rest. `sweep` says which sweep it is. In one line: `pandas.read_sql("select * from points", connection)`, or
`read_store(path)` with a column each input and result.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from calibration.errors import BadInput

SCHEMA = "spawncost.store/1"
_APPLICATION_ID = 0x5350_4354
_BUSY_S = 60.0
_KEYS_AT_ONCE = 500
_TABLES = f"""
create table points (
    number integer primary key,
    key text not null unique,
    inputs text not null,
    results text,
    error text,
    check ((results is null) <> (error is null))
);
create table runs (
    id integer primary key, started text not null, updated text not null, elapsed_s real not null, host text not null,
    pid integer not null, executor text not null, workers integer not null, shard text not null,
    points integer not null, failed integer not null
);
create table sweep (name text primary key, value text not null);
pragma application_id = {_APPLICATION_ID};
"""
_ADD = """
insert into points (number, key, inputs, results, error) values (?, ?, ?, ?, ?)
on conflict do update set
    number = min(number, excluded.number), results = excluded.results, error = excluded.error
"""


class StoredRow(Protocol):
    """What a row must tell."""

    @property
    def number(self) -> int: ...
    @property
    def key(self) -> str: ...
    @property
    def inputs(self) -> str: ...
    @property
    def results(self) -> str | None: ...
    @property
    def error(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """What a store has of a key."""

    number: int
    failed: bool


class Store:
    """An open store. Rows are visible to others, and safe from a kill, when `commit` has returned."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self.connection = connection
        self.path = path

    @property
    def about(self) -> dict[str, str]:
        """What the store says of its sweep: schema, identity, name, specification, ..."""
        return dict(self.connection.execute("select name, value from sweep"))

    def known(self, keys: Sequence[str]) -> dict[str, Known]:
        """Those of the keys that have a row."""
        found: dict[str, Known] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            marks = ",".join("?" * len(some))
            asked = f"select key, number, error is not null from points where key in ({marks})"
            found |= {key: Known(number, bool(failed)) for key, number, failed in self.connection.execute(asked, some)}
        return found

    def add(self, rows: Iterable[StoredRow]) -> None:
        """Put rows in; one of the same key is replaced, and bears the lower of the two numbers."""
        told = [(each.number, each.key, each.inputs, each.results, each.error) for each in rows]
        with self.told():
            self.connection.executemany(_ADD, told)

    def renumber(self, key: str, number: int) -> None:
        """Give a row its number: the lowest of the points that share its key."""
        with self.told():
            self.connection.execute("update points set number = ? where key = ? and number > ?", (number, key, number))

    def begin_run(self, run: Mapping[str, Any]) -> int:
        """Note a run in `runs`; returns its id."""
        names, marks = ", ".join(run), ", ".join("?" * len(run))
        with self.told():
            made = self.connection.execute(f"insert into runs ({names}) values ({marks})", tuple(run.values()))
            self.connection.commit()
        return int(made.lastrowid or 0)

    def commit(self, run: int, facts: Mapping[str, Any]) -> None:
        """Make what was added last, and note how far the run is."""
        pairs = ", ".join(f"{name} = ?" for name in facts)
        with self.told():
            self.connection.execute(f"update runs set {pairs} where id = ?", (*facts.values(), run))
            self.connection.commit()

    def counts(self) -> tuple[int, int]:
        """Rows, and those of them with an error."""
        rows, failed = self.connection.execute("select count(*), count(error) from points").fetchone()
        return int(rows), int(failed)

    def first_error(self) -> tuple[int, str, str] | None:
        """Number, key and error of the first point that failed."""
        found = self.connection.execute("select number, key, error from points where error is not null order by number")
        return found.fetchone()  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close the file; what was not committed is gone."""
        self.connection.close()

    @contextmanager
    def told(self) -> Iterator[None]:
        """What SQLite refuses, as BadInput."""
        try:
            yield
        except sqlite3.Error as error:
            why = f"cannot be written: {error}"
            raise BadInput(str(self.path or "store"), why, "make room, or use another file") from error


def open_store(path: Path | None, about: Mapping[str, str]) -> Store:
    """The store of a sweep, made if there is none; None: one in memory.

    Args:
        about: what `Store.about` will say: `identity` must be that of a store that is there already; the others tell in
            the refusal in what it differs.

    Raises:
        BadInput: the file is no store, or that of another sweep, or cannot be opened. It stays as it is.
    """
    store = Store(_connected(path, "rwc") if path is not None else sqlite3.connect(":memory:"), path)
    where = str(path)
    try:
        if store.connection.execute("select count(*) from sqlite_master").fetchone()[0] == 0:
            _make(store, about)
        _refuse_foreign(store, where)
        refuse_other(store.about, about, where)
    except sqlite3.Error as error:
        store.close()
        raise _no_store(where, error) from error
    except BadInput:
        store.close()
        raise
    return store


def existing_store(path: Path) -> Store:
    """A store to read from.

    Raises:
        BadInput: there is none at that path.
    """
    if not path.is_file():
        raise BadInput(str(path), "there is no such file", "give a store that `spawncost sweep` wrote")
    store = Store(_connected(path, "ro"), path)
    try:
        _refuse_foreign(store, str(path))
    except sqlite3.Error as error:
        store.close()
        raise _no_store(str(path), error) from error
    except BadInput:
        store.close()
        raise
    return store


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    try:
        return sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level="IMMEDIATE")
    except sqlite3.Error as error:
        raise BadInput(
            str(path), f"cannot be opened: {error}", "give a file in a directory that can be written"
        ) from error


def _no_store(where: str, error: sqlite3.Error) -> BadInput:
    return BadInput(where, f"is no store of a sweep: {error}", "give another file")


def _make(store: Store, about: Mapping[str, str]) -> None:
    """All tables in one transaction: a kill leaves an empty file or a whole store."""
    cursor = store.connection.cursor()
    cursor.execute("begin immediate")
    if cursor.execute("select count(*) from sqlite_master").fetchone()[0] == 0:
        for statement in filter(str.strip, _TABLES.split(";")):
            cursor.execute(statement)
        cursor.executemany("insert into sweep values (?, ?)", {"schema": SCHEMA, **about}.items())
    store.connection.commit()


def _refuse_foreign(store: Store, where: str) -> None:
    found = store.connection.execute("pragma application_id").fetchone()[0]
    if store.path is not None and found != _APPLICATION_ID:
        raise BadInput(where, "is no store of a sweep", "give another file")
    schema = store.about.get("schema", "")
    if schema != SCHEMA:
        raise BadInput(where, f"its schema is {schema!r}, not {SCHEMA!r}", "read it with the version that wrote it")


_DIFFERS = {
    "specification": ("it holds another sweep", "give another --store"),
    "model": ("it was made with another version of the model", "give another --store"),
    "identity": ("a machine file, parent or program that the sweep names has changed since", "give another --store"),
}


def refuse_other(there: Mapping[str, str], asked: Mapping[str, str], where: str) -> None:
    """BadInput unless two stores are of the same sweep, by what their `about` says."""
    if there.get("identity") == asked["identity"]:
        return
    for name, (why, remedy) in _DIFFERS.items():
        if there.get(name) != asked[name]:
            raise BadInput(where, why, remedy)
