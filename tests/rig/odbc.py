"""The call log as 1C reads it: over ODBC, by the drivers that Debian has, with no DSN to set up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyodbc

import models
from calllog import database
from tests.rig import needs

# the names under which odbcinst may know the driver, its library, the Debian package
DRIVERS = {
    "sqlite": (("SQLite3",), "libsqlite3odbc.so", "libsqliteodbc"),
    "mysql": (("MariaDB Unicode", "MariaDB"), "libmaodbc.so", "odbc-mariadb"),
}
pyodbc.pooling = False  # a closed connection is closed: tests look at files and grants


def driver(database: str) -> str | None:
    """The driver's registered name, else the path of its library, else None."""
    names, library, _ = DRIVERS[database]
    for name in names:
        if name in pyodbc.drivers():
            return name
    found = sorted(
        str(path) for where in ("*/odbc", "odbc", "*") for path in Path("/usr/lib").glob(f"{where}/{library}")
    )
    return found[0] if found else None


def missing() -> str | None:
    """One sentence that names the Debian package to install, None when both drivers are there."""
    for kind, (_, library, package) in DRIVERS.items():
        if driver(kind) is None:
            return f"{library} is not installed: install the Debian package {package}"
    return None


def require() -> None:
    """Both drivers are there, or the test is not for this machine."""
    needs.present(missing())


def kind(url: str) -> str:
    """`sqlite` or `mysql`."""
    return "sqlite" if url.startswith("sqlite") else "mysql"


def connect(url: str, autocommit: bool = True, **options: Any) -> pyodbc.Connection:
    """A connection to the call log at this URL; `options` are the driver's own (StepAPI=1)."""
    name, said = database.parse_url(url)
    words: dict[str, Any] = {"Driver": f"{{{driver(kind(url))}}}", "Database": name}
    if said:
        words |= {"Server": said["host"], "Port": said["port"], "UID": said["user"], "PWD": said["password"]}
    else:
        words |= {"NoCreat": 1, "Timeout": 10_000}
    connection = pyodbc.connect(";".join(f"{k}={v}" for k, v in (words | options).items()), autocommit=autocommit)
    # beyond this length pyodbc sends a string in pieces, and Connector/ODBC 3.1 spoils a letter of which it has a half
    connection.maxwrite = 1 << 30
    return connection


def rows(connection: pyodbc.Connection, sql: str, *values: Any) -> list[dict[str, Any]]:
    """The statement's rows, each a dict."""
    cursor = connection.execute(sql, *values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


# --------------------------------------------------------------------------------------- what a column is meant to be


@dataclass(frozen=True, slots=True)
class Column:
    """What ODBC is to say of a column. `sizes`: the lengths that SQLColumns and a result description may tell, where it
    is a length that matters."""

    code: int
    name: str
    python: type
    sizes: Sequence[int] = ()


def column(field: Any, database: str) -> Column:
    """The intended ODBC type of a model's field on `sqlite` or `mysql`: what 1C's wizard builds its field from."""
    mysql = database == "mysql"
    if isinstance(field, models.Key | models.Big):
        return Column(pyodbc.SQL_BIGINT, "SQL_BIGINT", int, (19, 20))
    if isinstance(field, models.Whole):
        return Column(pyodbc.SQL_INTEGER, "SQL_INTEGER", int, (9, 10))  # SQLite's says 9 in SQLColumns
    if isinstance(field, models.Small):
        return Column(pyodbc.SQL_SMALLINT, "SQL_SMALLINT", int, (5, 6))
    if isinstance(field, models.Moment):  # the length is anything: 19, or 3 and 32 with SQLite's
        return Column(pyodbc.SQL_TYPE_TIMESTAMP, "SQL_TYPE_TIMESTAMP", datetime)
    if isinstance(field, models.Long):  # "no limit" is 0, 65535 or 65536
        code, name = (
            (pyodbc.SQL_WLONGVARCHAR, "SQL_WLONGVARCHAR") if mysql else (pyodbc.SQL_LONGVARCHAR, "SQL_LONGVARCHAR")
        )
        return Column(code, name, str, (0, 65535, 65536))
    assert isinstance(field, models.Chars)
    longest = field.max_length
    if mysql:
        code, name = pyodbc.SQL_WVARCHAR, "SQL_WVARCHAR"
    elif longest > 255:  # SQLite's driver makes a long text of it
        code, name = pyodbc.SQL_LONGVARCHAR, "SQL_LONGVARCHAR"
    else:
        code, name = pyodbc.SQL_VARCHAR, "SQL_VARCHAR"
    return Column(code, f"{name}({longest})", str, (longest,))
