"""Transfer: a whole call log into another database, from one snapshot, while the service goes on with the old one.

Nothing is paused: what comes after the snapshot is missing in the copy as it is missing in a call log restored from a
backup, and is filled in the same way when the service is started on it (docs/decisions/0006 and 0009). While the copy
is not whole, its change_counter has no row, and no forwarder writes to such a call log.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from peewee import SQL, Database, DataError, IntegrityError, MySQLDatabase, SqliteDatabase, fn

import models
from calllog import database, statements
from calllog.reading import pages
from config import Stop
from models import ChangeCounter, SchemaInfo, Table

ROWS = 500  # rows read at once
WEIGHT = 200_000  # characters in one INSERT: well below the smallest max_allowed_packet
ID_GAP = 1_000_000  # ids that the old call log may give out before the service is started on the new one
# tables whose ids 1C may keep, and those of which the target may have no row
NUMBERED = (models.Calls, models.CallLegs, models.CallRecordings, models.CallAttributes, models.CallEvents)
DATA = (*NUMBERED, models.Contacts, models.Employees)


class Progress(NamedTuple):
    """So many rows of a table were copied, or read again and found the same; of `total` such steps."""

    table: str
    rows: int
    total: int
    verified: bool


def copy(source_url: str, target_url: str, again: bool, log: Callable[[str], None]) -> Iterator[Progress]:
    """Copy the call log at `source_url` into the one at `target_url`, which is made and must hold nothing.

    Ids and change_no are kept. With `again` a copy that was broken off is emptied first. Raises Stop,
    peewee's errors; the source is only read.
    """
    target = database.open_database(target_url, create=True)
    source = database.open_database(source_url, patience=600)
    if _place(source) == _place(target):
        raise Stop("the target is the call log that DATABASE_URL names")
    with source.connection_context():
        if database.present_schema(source).version != models.VERSION:
            raise Stop(
                "the call log to copy is not at this release's schema version: run pbx-connector db upgrade first"
            )
    with target.connection_context():
        _check_letters(target)
    database.upgrade(target_url, log)
    with database.alone(target), target.connection_context(), _snapshot(source):
        counter: dict[str, Any] = next(iter(ChangeCounter.select().dicts().execute(source)))
        _take(target, counter["incarnation"], again)
        tables = [table for table in models.TABLES if table not in (ChangeCounter, SchemaInfo)]
        counts = {table: table.select().count(source) for table in tables}
        total = 2 * sum(counts.values())
        for table in tables:
            name, sums = table._meta.table_name, (hashlib.sha256(), hashlib.sha256())
            for rows in _pages(source, table):
                _add(sums[0], rows)
                _insert(target, table, rows)
                yield Progress(name, len(rows), total, False)
            there = 0
            for rows in _pages(target, table):
                _add(sums[1], rows)
                there += len(rows)
                yield Progress(name, len(rows), total, True)
            if there != counts[table] or sums[0].digest() != sums[1].digest():
                raise Stop(f"{name} differs: {counts[table]} rows were copied, {there} are there; copy it --again")
        _finish(target, counter)


def _place(db: Database) -> tuple[Any, ...]:
    if isinstance(db, SqliteDatabase):
        return (Path(unquote(urlsplit(db.database).path)).resolve(),)
    return db.connect_params["host"], db.connect_params["port"], db.database


@contextmanager
def _snapshot(db: Database) -> Iterator[None]:
    """All that is read within is as it was at the first read; writers are not held up."""
    with db.connection_context():
        if isinstance(db, MySQLDatabase):
            db.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with db.atomic():
            yield


# ------------------------------------------------------------------------------------------------------------ the target


def _check_letters(db: Database) -> None:
    """Raises Stop where a text of ours would not survive, or ids that differ by case would be one."""
    if not isinstance(db, MySQLDatabase):
        return
    default = db.execute_sql(
        "SELECT default_character_set_name FROM information_schema.schemata WHERE schema_name = DATABASE()"
    ).fetchone()
    if default and default[0] != "utf8mb4":
        raise Stop(
            f"the target's character set is {default[0]}, it must be utf8mb4 (Russian and emoji would be lost): "
            f"ALTER DATABASE `{db.database}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
        )
    there = db.execute_sql(
        "SELECT table_name, column_name, character_set_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND character_set_name IS NOT NULL"
    ).fetchall()
    fields = {table._meta.table_name: table._meta.columns for table in models.TABLES}
    for table, column, letters, collation in there:
        field = fields.get(table, {}).get(column)
        exact = isinstance(field, models.ProviderId)
        if field is not None and (letters != "utf8mb4" or (exact and collation != "utf8mb4_bin")):
            raise Stop(
                f"the target's column {table}.{column} is {collation}, it must be "
                f"{'utf8mb4_bin' if exact else 'utf8mb4'}: drop the target's tables, they are made anew"
            )


def _take(db: Database, incarnation: str, again: bool) -> None:
    """The target is ours, empty, and marked as not whole."""
    mark = ChangeCounter.select(ChangeCounter.incarnation).where(ChangeCounter.id == 1).scalar(db)
    if mark == incarnation:
        raise Stop("the target is this very call log, or a finished copy of it")
    used = [table._meta.table_name for table in DATA if table.select().exists(db)]
    if mark is None and not again:
        raise Stop(
            "the target holds a copy that was broken off: pbx-connector db copy --again empties it and starts anew"
        )
    if mark is not None and used:
        raise Stop(f"the target is in use, its {', '.join(used)} are not empty: nothing was changed there")
    ChangeCounter.delete().execute(db)
    for table in models.TABLES:
        if table is not SchemaInfo:
            while (first := table.select(fn.MIN(table.id)).scalar(db)) is not None:  # in bites: no giant transaction
                table.delete().where(table.id < first + 10_000).execute(db)


def _finish(db: Database, counter: dict[str, Any]) -> None:
    """New ids begin above all that the source may still give out; the counter's row makes the copy a call log."""
    highest: int = max([counter["last_id"], *(table.select(fn.MAX(table.id)).scalar(db) or 0 for table in NUMBERED)])
    if isinstance(db, MySQLDatabase):
        for table in NUMBERED:
            db.execute_sql(f"ALTER TABLE {table._meta.table_name} AUTO_INCREMENT = {highest + ID_GAP + 1}")
    ChangeCounter.insert(**counter | {"last_id": highest + ID_GAP}).execute(db)


# -------------------------------------------------------------------------------------------------------------- the rows


def _pages(db: Database, table: type[Table]) -> Iterator[list[tuple[Any, ...]]]:
    """The table's rows by id, moments as text in whole seconds: the same on both databases."""
    moments = [isinstance(field, models.Moment) for field in table._meta.sorted_fields]
    for rows in pages(db, ROWS, table.id, *map(SQL, models.columns(table)[1:])):
        yield [
            tuple(str(value)[:19] if moment and value else value for value, moment in zip(row, moments, strict=True))
            for row in rows
        ]


def _add(digest: Any, rows: list[tuple[Any, ...]]) -> None:
    for row in rows:
        digest.update(repr(row).encode())


def _insert(db: Database, table: type[Table], rows: list[tuple[Any, ...]]) -> None:
    try:
        with db.atomic():
            for part in _parts(rows):
                statements.insert(db, table, models.columns(table), part)
    except (DataError, IntegrityError) as error:
        where = f"{table._meta.table_name}, ids {rows[0][0]} to {rows[-1][0]}"
        raise Stop(f"the target does not take a row of {where}: {type(error).__name__}: {error}") from error


def _parts(rows: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    part: list[tuple[Any, ...]] = []
    weight = 0
    for row in rows:
        characters: int = sum(len(value) for value in row if isinstance(value, str))
        if part and weight + characters > WEIGHT:
            yield part
            part, weight = [], 0
        part.append(row)
        weight += characters
    yield part
