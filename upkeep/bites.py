"""Bites: much is deleted or changed a little at a time, so that nobody waits long and a full disk stops nothing."""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import peewee

from calllog.errors import Busy
from server import sqlite
from server.sqlite import disk_is_full

T = TypeVar("T")
Counts = dict[str, int]

BITE = 200  # calls in one transaction
ROWS = 5000  # rows that are looked through at once
TRIES = 10  # of one bite, while others hold the locks


def bites(items: list[T]) -> Iterator[list[T]]:
    """The items, so many at a time."""
    return (items[start : start + BITE] for start in range(0, len(items), BITE))


def give_way(began: float) -> None:
    """A pause as long as the bite was: others come in between."""
    time.sleep(min(1.0, time.monotonic() - began))


def in_room(
    rows: list[T],
    act: Callable[[list[T]], Counts],
    make_room: Callable[[], object],
    count: Callable[[Counts], object] = lambda done: None,
) -> Counts:
    """One bite; on a full disk half of it at a time, after what was written to SQLite's log went into its database. `count`
    is told of each transaction. Returns table -> how many rows."""
    try:
        done = patiently(partial(act, rows))
        count(done)
        return done
    except (sqlite3.OperationalError, peewee.OperationalError) as error:
        if len(rows) < 2 or not disk_is_full(error):
            raise
    make_room()
    half = len(rows) // 2
    both = Counter(in_room(rows[:half], act, make_room, count))
    both.update(in_room(rows[half:], act, make_room, count))
    return dict(both)


def patiently(act: Callable[[], Counts]) -> Counts:
    """One transaction, tried again while others hold its locks."""
    for left in range(TRIES, 0, -1):
        try:
            return act()
        except peewee.OperationalError as error:
            if left == 1 or not (isinstance(error, Busy) or "locked" in str(error)):
                raise
    raise AssertionError("unreachable")


def truncate_log(db: peewee.Database) -> bool:
    """Empty the -wal of a call log on SQLite, where deleted bytes may still be; False while a reader is in the way."""
    if not isinstance(db, peewee.SqliteDatabase):
        return True
    return sqlite.truncate_log(db.execute_sql)
