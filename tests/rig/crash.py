"""Run a flask command that dies, or fails, at its k-th write: `python -m tests.rig.crash before|after|error K ARGUMENTS`.

A write is any statement but SELECT and PRAGMA that goes to the inbox or to the call log, BEGIN and COMMIT among them,
and a change of a file's name: the method of SQLite's own tests, one step at a time. Prints how many writes there were when
none was the k-th.
"""

import os
import sqlite3
import sys
from typing import Any

import peewee

mode, at = sys.argv[1], int(sys.argv[2])
writes = 0


def step(sql: str, run: Any) -> Any:
    """Run one statement, unless it is the one to die at."""
    global writes
    if sql.lstrip().upper().startswith(("SELECT", "PRAGMA", "SET", "SHOW")):
        return run()
    writes += 1
    if writes != at:
        return run()
    if mode == "error":
        raise sqlite3.OperationalError("disk I/O error (injected)")
    if mode == "after":
        run()
    os._exit(9)


class Connection(sqlite3.Connection):
    """SQLite's connection, for the inbox (plain) and for the call log on SQLite (by cursors)."""

    def execute(self, sql: str, *parameters: Any) -> Any:
        return step(sql, lambda: super(Connection, self).execute(sql, *parameters))

    def executemany(self, sql: str, rows: Any) -> Any:
        return step(sql, lambda: super(Connection, self).executemany(sql, rows))


real_connect = sqlite3.connect
sqlite3.connect = lambda *a, **k: real_connect(*a, **{"factory": Connection, **k})

real_execute, real_commit = peewee.Database.execute_sql, peewee.Database.commit


def execute_sql(self: Any, sql: str, params: Any = None) -> Any:
    return step(sql, lambda: real_execute(self, sql, params))


def commit(self: Any) -> Any:
    return step("COMMIT", lambda: real_commit(self))


def renaming(run: Any) -> Any:
    return lambda *a, **k: step(run.__name__, lambda: run(*a, **k))


peewee.Database.execute_sql = execute_sql  # type: ignore[method-assign]
peewee.Database.commit = commit  # type: ignore[method-assign]
for name in ("link", "rename", "replace"):
    setattr(os, name, renaming(getattr(os, name)))

if __name__ == "__main__":
    from wsgi import app

    app.cli(sys.argv[3:], standalone_mode=False)
    sys.stdout.write(f"{writes} writes\n")
