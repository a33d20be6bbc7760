"""Whether the call log's file in a backup holds our tables, and nothing that acts by itself when we write to them.

1C's developers may have added to it. Refused: a trigger; a view or virtual table in place of a table of ours; a table of
ours that lacks a column or a unique index, has a column of another type, a CHECK, a generated column, or a unique index
of somebody else's, which would turn deliveries into dead letters. Told: other tables, views, indexes and columns.
"""

import re
import sqlite3
import tempfile
from collections.abc import Container
from contextlib import closing
from typing import Any, NamedTuple

import models
from calllog import database
from inbox.file import objects

_ACTS = re.compile(r"\b(CHECK|GENERATED|REFERENCES|VIRTUAL)\b", re.IGNORECASE)


class _Tables(NamedTuple):
    """Table -> column -> what it is; (table, columns) of the unique indexes."""

    columns: dict[str, dict[str, Any]]
    unique: set[tuple[str, ...]]


def foreign(db: sqlite3.Connection) -> tuple[str, str]:
    """(why the file is not restored, "" where it may be; what it has beside ours, as a sentence, or "")."""
    with tempfile.TemporaryDirectory() as directory:
        database.upgrade(f"sqlite:///{directory}/calls.db", lambda line: None)
        with closing(sqlite3.connect(f"{directory}/calls.db")) as made:
            names = {name for _, name, _ in objects(made)}
            wanted = _tables(made, names)
    there = sorted(objects(db))
    acting = [
        f"{type} {name}"
        for type, name, sql in there
        if type == "trigger" or (name in wanted.columns and (type != "table" or _ACTS.search(sql)))
    ]
    if acting:
        return f"it has what acts by itself: {', '.join(acting)}", ""
    found = _tables(db, wanted.columns)
    older = db.execute("SELECT version FROM schema_info").fetchone()[0] < models.VERSION
    for table, columns in wanted.columns.items():
        mine = found.columns.get(table, {})
        if any(mine.get(name) != what and (name in mine or not older) for name, what in columns.items()):
            return f"its table {table} is not as this release makes it", ""
    if differ := found.unique ^ {key for key in wanted.unique if key[0] in found.columns}:
        return f"its unique indexes are not ours: {'; '.join(' '.join(key) for key in sorted(differ))}", ""
    beside = [f"{type} {name}" for type, name, _ in there if name not in names]
    for table, mine in found.columns.items():
        beside += [f"column {table}.{name}" for name in sorted(mine.keys() - wanted.columns[table].keys())]
    return "", f"the call log also has what is not ours: {', '.join(beside)}" if beside else ""


def _tables(db: sqlite3.Connection, names: Container[str]) -> _Tables:
    columns, unique = {}, set()
    for type, table, _ in objects(db):
        if type == "table" and table in names:
            rows = db.execute('SELECT name, upper(type), "notnull", pk FROM pragma_table_xinfo(?)', (table,))
            columns[table] = {name: what for name, *what in rows.fetchall()}
            for (index,) in db.execute(
                "SELECT name FROM pragma_index_list(?) WHERE \"unique\" AND origin <> 'pk'", (table,)
            ):
                inside = db.execute("SELECT coalesce(name, '?') FROM pragma_index_info(?)", (index,)).fetchall()
                unique.add((table, *(name for (name,) in inside)))
    return _Tables(columns, unique)
