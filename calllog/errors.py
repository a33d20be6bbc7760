"""What the call log's server or driver refuses, as a sentence with the remedy, and who holds the lock that we wait for."""

import contextlib
import struct
from typing import Any

import pymysql
from peewee import Database, MySQLDatabase, OperationalError, PeeweeException

from server.logs import masked

LOCKED = 1205  # "Lock wait timeout exceeded", also where nothing waits
BUSY = (1020, 1213)  # changed meanwhile, deadlock
SHOWN = 200  # characters of somebody's statement


class Busy(OperationalError):
    """Another transaction was in the way: the same works a moment later."""


class Locked(Busy):
    """Another transaction holds a row that this one needs."""


_RIGHTS = "run the connector's part of deploy/mysql.sql as an administrator"
_READ_ONLY = "point DATABASE_URL at a server that can be written, or SET GLOBAL read_only = 0 there"
REMEDIES = {
    1044: _RIGHTS,
    1045: "the account or the password in DATABASE_URL is wrong",
    1049: "there is no such database: run deploy/mysql.sql as an administrator, then pbx-connector db upgrade",
    1142: _RIGHTS,
    1143: _RIGHTS,
    1227: _RIGHTS,
    1290: _READ_ONLY,
    1364: "the column is not ours: give it a default value, or drop it",
    1665: "READ COMMITTED needs another binlog_format: SET GLOBAL binlog_format = 'ROW', and in the server's my.cnf",
    1792: _READ_ONLY,
    1836: _READ_ONLY,
}
_PERCONA = "run it with SET GLOBAL pxc_strict_mode = PERMISSIVE, from one node only, then set ENFORCING again"
_SHA2 = (
    "the account logs in with caching_sha2_password, which needs TLS: add ?ssl_ca=<file> to DATABASE_URL, or "
    "ALTER USER … IDENTIFIED WITH mysql_native_password BY '…'"
)

# What the driver raises beside its own errors: a login that it cannot do, a packet that it cannot read.
UNWRAPPED = (pymysql.MySQLError, RuntimeError, AssertionError, struct.error, IndexError)


def translated(error: Exception) -> PeeweeException:
    """The error in peewee's family and of its kind there, with a remedy where one is known."""
    kind = type(error) if isinstance(error, PeeweeException) else OperationalError
    code = next((part for part in error.args if isinstance(part, int)), 0)
    text = f"{error.args[-1]} ({code})" if code else str(error)
    if code == LOCKED:
        return Locked(text)
    if code in BUSY:
        return Busy(text)
    remedy = _PERCONA if "GET_LOCK" in text else _SHA2 if "caching_sha2" in text else REMEDIES.get(code, "")
    return kind(f"{text}: {remedy}" if remedy else text)


# The transactions that hold locks, the oldest first: there is no telling which of several it is once the wait is over.
_HOLDERS = (
    "SELECT p.id, p.user, p.host, p.info, TIMESTAMPDIFF(SECOND, t.trx_started, NOW()) "
    "FROM information_schema.innodb_trx t JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id "
    "WHERE p.id <> CONNECTION_ID() AND t.trx_lock_structs > 0 ORDER BY t.trx_started LIMIT 20"
)
_LAST_STATEMENT = (
    "SELECT sql_text FROM performance_schema.events_statements_current JOIN performance_schema.threads USING (thread_id) "
    "WHERE processlist_id = %s AND sql_text IS NOT NULL"
)


def holder(db: Database) -> str:
    """Who holds locks in the call log: connection, account, statement, where the account may see that (PROCESS)."""
    rows: list[Any] = []
    with contextlib.suppress(PeeweeException):
        if isinstance(db, MySQLDatabase):
            rows = db.execute_sql(_HOLDERS).fetchall()
    if not rows:
        return "another transaction (GRANT PROCESS lets the connector say whose: deploy/mysql.sql)"
    id, user, host, statement, seconds = rows[0]
    if not statement:
        with contextlib.suppress(PeeweeException):  # an idle one, where performance_schema is on and may be read
            found = db.execute_sql(_LAST_STATEMENT, (id,)).fetchone()
            statement = found[0] if found else ""
    does = masked(" ".join(str(statement).split())[:SHOWN]) if statement else "idle now"
    others = f", or one of {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"connection {id} of {user}@{host}, open for {seconds} s, {does}{others}"
