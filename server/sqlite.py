"""SQLite as we use it: whole transactions, and which file a connection has open.

A connection goes on writing into a file that was renamed or removed, without an error, and what is in a -wal that was
removed under it is lost to everybody else.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from server import files

# Bytes that a -wal file keeps when it is begun anew: more than a checkpoint of SQLite's own (1,000 pages) leaves, so that a
# file is cut only where a long reader had let it grow.
WAL_LIMIT = 16 * 2**20


class Identity(NamedTuple):
    """(device, inode) of a database's file and of its -wal, None where there is none."""

    file: tuple[int, int] | None
    wal: tuple[int, int] | None


def identity(path: str | Path) -> Identity:
    """What is at the path now. To be compared with what was there right after a connection's first statement: its -wal
    comes with that, and stays as long as any connection is open."""
    return Identity(_inode(path), _inode(f"{path}-wal"))


def _inode(path: str | Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


class Connection(sqlite3.Connection):
    """A connection that knows which file it has open."""

    identity: Identity


def truncate_log(execute: Callable[[str], Any]) -> bool:
    """Bring all that was written into the database's file itself and empty its -wal; False while a reader is in the way.
    Synced: SQLite itself is content when the old frames, and what was deleted in them, come back with a power cut."""
    done: bool = execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    path = execute("PRAGMA database_list").fetchone()[2]
    if done:
        with contextlib.suppress(FileNotFoundError):
            files.sync(Path(f"{path}-wal"))
    return done


def disk_is_full(error: Exception) -> bool:
    """Whether an error of SQLite, also through peewee, is that no byte is left."""
    return any(text in str(error) for text in ("disk is full", "No space left", "disk I/O error"))


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Ours from its begin to its commit, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
