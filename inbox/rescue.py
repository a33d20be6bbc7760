"""An inbox.db that was moved, removed or replaced under the running service: what was acknowledged is saved from the old
file, which whoever has it open can still read.

Every process that meets it comes here, one after the other: the first puts the old file back where there is none, the
others add what they alone have acknowledged since.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from server import files
from server.sqlite import Connection, identity, transaction

log = logging.getLogger("connector.inbox")

_NOWHERE_ELSE = "state IN ('received', 'dead')"  # other deliveries are in the call log, or of no effect
# But a call log that is restored later lacks those again. So many of them, the newest, are saved in a few seconds.
MOST_SETTLED = 100_000


def rescue(path: Path, old: Connection, connect: Callable[[], Connection]) -> str:
    """Make the file at the inbox's path whole again by what `old` holds; returns in a sentence what was done, "" where
    nothing had to be. Call it in the inbox's turn. After an OSError or sqlite3.Error it is to be tried again with `old`."""
    with _one_at_a_time(path):
        there = identity(path)
        if there == old.identity:
            return ""
        if there.file in (None, old.identity.file):
            what = "inbox.db" if there.file is None else "inbox.db-wal"
            _write_anew(old, path)
            return f"{what} was removed under the running service: the inbox was written anew from what is still open"
        if there.wal == old.identity.wal:  # the old file's, whose pages would be read as the new one's
            _remove_logs(path)
        with contextlib.closing(connect()) as new:
            saved = merge(old, new)
        return f"inbox.db was replaced under the running service: {saved} deliveries of the old one were saved"


def overwritten(path: Path, db: Connection, acknowledged: int, connect: Callable[[], Connection]) -> str:
    """Another content was copied over inbox.db: its next id is not above `acknowledged`, the last one that this process
    has given. What can be read of it is kept; where it is damaged, it is put aside first. Call it in the inbox's turn;
    returns in a sentence what was done."""
    done = (
        f"inbox.db was overwritten under the running service, the last delivery that was acknowledged is {acknowledged}"
    )
    with _one_at_a_time(path):
        if _sound(db):
            with transaction(db):
                _continue_after(db, acknowledged)
            return f"{done}; what is in it now is sound and is kept"
        aside = path.with_name(f"{path.name}.damaged")
        for ending in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{path}{ending}", f"{aside}{ending}")
        with contextlib.closing(connect()) as new:
            with contextlib.suppress(sqlite3.DatabaseError):
                merge(db, new)
            with transaction(new):
                _continue_after(new, acknowledged)
        return f"{done}; it was damaged and is {aside.name} now, what could be read is in a new one"


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """By a lock outside of the inbox's directory, which may be another one for each process by now."""
    with open(path.parent.with_suffix(".rescue"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sound(db: Connection) -> bool:
    try:
        return bool(db.execute("PRAGMA quick_check").fetchone()[0] == "ok")
    except sqlite3.DatabaseError:
        return False


def _write_anew(old: Connection, path: Path) -> None:
    """The whole content of the old file at the path, in one step."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(part)) as new:
        old.backup(new)
        new.execute("PRAGMA journal_mode = DELETE")  # all of it in the one file
    files.sync(part)
    _remove_logs(path)
    os.replace(part, path)
    files.sync(path.parent)


def _remove_logs(path: Path) -> None:
    """What SQLite keeps beside a database's file; whoever has them open can still read them."""
    for ending in ("-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)


def merge(old: sqlite3.Connection, new: sqlite3.Connection, whole: bool = False) -> int:
    """Bring into `new`, in one transaction, the deliveries of `old` that it lacks (all that wait or are dead, of the others
    what came since `new` was copied, with `whole` all) and what else must not be forgotten: positions, request_ids,
    counters. Returns how many deliveries were added."""
    known = {row[1] for row in new.execute("PRAGMA table_info(deliveries)")}
    columns = [row[1] for row in old.execute("PRAGMA table_info(deliveries)") if row[1] in known]
    insert = f"INSERT INTO deliveries ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    added, last = 0, old.execute("SELECT coalesce(max(id), 0) FROM deliveries").fetchone()[0]
    with transaction(new):
        since = 0 if whole else max(_copied(old, new, last), last - MOST_SETTLED)
        lacking = f"SELECT {', '.join(columns)} FROM deliveries WHERE {_NOWHERE_ELSE} OR id > ? ORDER BY id"
        for row in old.execute(lacking, (since,)):
            delivery = dict(zip(columns, row, strict=True))
            same = (delivery["received_at"], delivery["feed"], delivery["body"])
            there = _one(new, "SELECT received_at, feed, body FROM deliveries WHERE id = ?", delivery["id"])
            if there is not None and there != same:  # its id was given again
                there = _one(new, "SELECT 1 FROM deliveries WHERE received_at = ? AND feed = ? AND body = ?", *same)
                row = (None, *row[1:])
            if there is None:
                new.execute(insert, row)
                added += 1
        _continue_after(new, _one(old, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence")[0])  # type: ignore[index]
        _merge_facts(old, new)
    return added


def _copied(old: sqlite3.Connection, new: sqlite3.Connection, last: int) -> int:
    """The last delivery that is in both under one id: `new` was copied then. Where there is none it is no copy: `last`."""
    newest = "SELECT id, received_at, feed, body FROM deliveries ORDER BY id DESC"
    for delivery in new.execute(newest):
        if delivery == _one(old, "SELECT id, received_at, feed, body FROM deliveries WHERE id = ?", delivery[0]):
            return int(delivery[0])
    return last


def _merge_facts(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    reached = "SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM facts WHERE name = 'reached'"
    if new.execute(reached).fetchone() <= old.execute(reached).fetchone():  # a copy's position may be of yesterday
        positions = old.execute("SELECT name, value FROM facts WHERE name IN ('position', 'reached')").fetchall()
        new.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", positions)
    for table in ("facts", "placements", "attempts", "counters"):
        for row in old.execute(f"SELECT * FROM {table}").fetchall():
            new.execute(f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def _one(db: sqlite3.Connection, query: str, *values: object) -> tuple[object, ...] | None:
    row: tuple[object, ...] | None = db.execute(query, values).fetchone()
    return row


def _continue_after(db: sqlite3.Connection, id: object) -> None:
    """No id up to this one is given again."""
    if not db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'deliveries'", (id,)).rowcount:
        db.execute("INSERT INTO sqlite_sequence VALUES ('deliveries', ?)", (id,))
