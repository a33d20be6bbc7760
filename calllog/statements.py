"""The batch's statements, each for many rows."""

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from peewee import Database

from calllog.database import on_mysql
from models import Table

MOST_VALUES = 32_000  # of one statement: SQLite's limit is 32,766


class Indigestible(Exception):
    """Our pure code raised, or the database refuses the data itself: trying again does not help."""


def insert(
    db: Database, table: type[Table], columns: Sequence[str], rows: Sequence[Sequence[Any]], conflict: str = ""
) -> None:
    """One multi-row INSERT, or as many as the server's longest packet asks for. `conflict`: "keep" the row that is there,
    "replace" it by id, or fail."""
    for some in _statements(db, len(columns), rows):
        _insert(db, table, columns, some, conflict)


def _statements(db: Database, columns: int, rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    """The rows of one statement after the other: of so many values, and of so much text that its bytes (four of a character
    at most) fit into a packet."""
    room, start, size = getattr(db, "max_packet", 0) // 4 or sys.maxsize, 0, 0
    for number, row in enumerate(rows):
        length = (
            sum(len(value) if isinstance(value, str) else 8 for value in row) + 8 * columns if room < sys.maxsize else 0
        )
        if number > start and (size + length > room or (number - start + 1) * columns > MOST_VALUES):
            yield rows[start:number]
            start, size = number, 0
        size += length
    if rows:
        yield rows[start:]


def _insert(
    db: Database, table: type[Table], columns: Sequence[str], rows: Sequence[Sequence[Any]], conflict: str
) -> None:
    one = f"({', '.join([db.param] * len(columns))})"
    sql = f"INSERT INTO {table._meta.table_name} ({', '.join(columns)}) VALUES {', '.join([one] * len(rows))}"
    if conflict == "keep":
        # not id = id: it sets the statement's counter back, and the next new row is taken for a duplicate
        sql += f" ON DUPLICATE KEY UPDATE {columns[1]} = {columns[1]}" if on_mysql(db) else " ON CONFLICT DO NOTHING"
    elif conflict and on_mysql(db):
        sql += " ON DUPLICATE KEY UPDATE " + ", ".join(f"{c} = VALUES({c})" for c in columns[1:])
    elif conflict:
        sql += " ON CONFLICT (id) DO UPDATE SET " + ", ".join(f"{c} = excluded.{c}" for c in columns[1:])
    values = [value for row in rows for value in row]
    if len(rows) == 1:
        _check_packet(db, sql, values)
    db.execute_sql(sql, values)


def _check_packet(db: Database, sql: str, values: list[Any]) -> None:
    """Raises Indigestible for a row that no packet of the server's can hold."""
    room = getattr(db, "max_packet", 0)
    if room and sum(len(value) for value in values if isinstance(value, str)) > room // 8:
        size = len(db.connection().cursor().mogrify(sql, values).encode())
        if size >= room:
            raise Indigestible(f"a row of {size} bytes: max_allowed_packet of the call log's server is {room}")


def select(
    db: Database, table: type[Table], columns: Sequence[str], where: str, values: Sequence[Any]
) -> list[tuple[Any, ...]]:
    """Rows as tuples, moments as text in whole seconds on both databases."""
    sql = f"SELECT {', '.join(columns)} FROM {table._meta.table_name} WHERE {where}"
    rows = db.execute_sql(sql, list(values)).fetchall()
    return [tuple(str(v) if isinstance(v, datetime) else v for v in row) for row in rows]


def among(db: Database, column: str, values: Sequence[Any]) -> str:
    """The condition that the column has one of these values."""
    return f"{column} IN ({', '.join([db.param] * len(values))})"


def most_keys(db: Database) -> int:
    """How many event keys one statement may name: each is 64 characters, and the server has a longest packet."""
    return getattr(db, "max_packet", 0) // 200 or MOST_VALUES
