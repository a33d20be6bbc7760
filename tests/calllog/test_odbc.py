"""What 1C sees over ODBC: types, lengths, keys and values of every column on both databases, and no reserved word."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyodbc
import pytest

import models
from calllog import database
from models import (
    CallAttributes,
    CallEvents,
    CallLegs,
    CallRecordings,
    Calls,
    ChangeCounter,
    Contacts,
    Employees,
    ForgottenList,
)
from tests import odbc_report
from tests.rig import odbc, reserved
from tests.rig.node import Node, end, rows
from tests.rig.service import ROOT

TABLES = pytest.mark.parametrize("table", models.TABLES, ids=lambda table: table._meta.table_name)
NAMES = sorted({name for table in models.TABLES for name in (table._meta.table_name, *models.columns(table))})
BEYOND = {"over 2^31": 2**31 + 5, "over 2^53": 2**53 + 5}


@pytest.fixture
def connection(database_url: str) -> Iterator[pyodbc.Connection]:
    """1C's connection to an empty call log."""
    odbc.require()
    database.upgrade(database_url, lambda line: None)
    with contextlib.closing(odbc.connect(database_url)) as connection:
        yield connection


def has(connection: pyodbc.Connection) -> str:
    """`sqlite` or `mysql`."""
    return "sqlite" if "SQLite" in str(connection.getinfo(pyodbc.SQL_DBMS_NAME)) else "mysql"


GENERATED = "client_last_digits"  # by MySQL, for the page's search; no column of the contract's, nor of SELECT *

# ---------------------------------------------------------------------------------------------------------------- types


@TABLES
def test_every_column_is_told_as_the_type_length_and_nullability_that_it_is(
    table: type[models.Table], connection: pyodbc.Connection
) -> None:
    name, database = table._meta.table_name, has(connection)
    told = {row.column_name: row for row in connection.cursor().columns(table=name)}
    told.pop(GENERATED, None)
    described = {column[0]: column for column in connection.execute(f"SELECT * FROM {name}").description}
    assert list(told) == list(described) == list(models.columns(table))
    for field in table._meta.sorted_fields:
        meant, row, result = odbc.column(field, database), told[field.column_name], described[field.column_name]
        assert (row.data_type, result[1]) == (meant.code, meant.python), field.column_name
        if meant.sizes:
            assert row.column_size in meant.sizes, field.column_name
            assert result[3] in meant.sizes, field.column_name
        # MariaDB's driver tells an AUTO_INCREMENT as one that may be NULL, because an INSERT may leave it out
        nullable = field.null or (database == "mysql" and isinstance(field, models.Key))
        assert bool(row.nullable) == nullable, field.column_name
        if database == "mysql":  # SQLite's driver describes every column of a result as nullable
            assert result[6] == nullable, field.column_name


@TABLES
def test_every_table_has_one_numeric_key(table: type[models.Table], connection: pyodbc.Connection) -> None:
    keys = connection.cursor().primaryKeys(table=table._meta.table_name).fetchall()
    assert [(key.column_name, key.key_seq) for key in keys] == [("id", 1)]
    assert odbc.column(table._meta.fields["id"], has(connection)).code == pyodbc.SQL_BIGINT


def test_the_tables_are_seen_with_their_russian_comments_on_mariadb(connection: pyodbc.Connection) -> None:
    tables = {row.table_name: row.remarks for row in connection.cursor().tables(tableType="TABLE")}
    assert {table._meta.table_name for table in models.TABLES} <= set(tables)
    if has(connection) == "mysql":
        told = {row.column_name: row.remarks for row in connection.cursor().columns(table="calls")}
        assert told.pop(GENERATED)
        assert told == {field.column_name: field.help_text for field in Calls._meta.sorted_fields}


# --------------------------------------------------------------------------------------------------------------- values


def numbers_go_on_from(url: str, number: int) -> None:
    """The next ids and change_no are above `number`, as they are in a call log that has lived long."""
    db = database.open_database(url)
    with db.connection_context():
        ChangeCounter.update(change_no=number, last_id=number).execute(db)
        if isinstance(db, database.MysqlCallLog):
            for table in (Calls, CallLegs, CallRecordings, CallAttributes, CallEvents, Contacts):
                db.execute_sql(f"ALTER TABLE {table._meta.table_name} AUTO_INCREMENT = {number}")


LINK = "https://media.uis.example/" + "a1b2c3d4e5" * 97 + "/rec"  # 1,000 characters
WORDS = "Ёлка и партнёры 🎄 «ООО»"


@pytest.fixture(params=BEYOND, ids=lambda name: name.replace(" ", "-"))
def written(request: pytest.FixtureRequest, connection: pyodbc.Connection, database_url: str, tmp_path: Path) -> int:
    """Calls of all kinds, written by the connector itself; the number that all ids are above."""
    first = BEYOND[request.param]
    numbers_go_on_from(database_url, first)
    node = Node(tmp_path / "node", database_url)
    node.deliver("in", call_session_id="ringing-1", direction="in", start_time="2024-03-01 10:00:00.987")
    told = end(
        "ended-1", full_record_file_link=LINK, contact_full_name=WORDS, extension_phone_number="101", region=WORDS
    )
    node.deliver("rec", **{**told, "finish_time": "2024-03-01 10:01:00.999"})
    node.deliver("rec", **{**end("missed-1"), "is_lost": True, "wait_time_duration": 60})
    assert node.forward().forwarded == 3
    db = database.open_database(database_url)
    with db.connection_context():
        Contacts.insert(id=first, client_number="7920", client_name=WORDS).execute(db)
        Employees.insert(id=first, employee_ext="101", employee_name=WORDS).execute(db)
        ForgottenList.insert(id=first, list_key="41d0", kind="call", digest="7be0", forgotten_ms=1 << 53).execute(db)
    node.forwarder.close()
    return first


@TABLES
def test_every_value_reads_over_odbc_as_the_connector_wrote_it(
    table: type[models.Table], connection: pyodbc.Connection, written: int, database_url: str
) -> None:
    ours = rows(database_url, table)
    theirs = odbc.rows(connection, f"SELECT * FROM {table._meta.table_name} ORDER BY id")
    assert theirs == ours
    assert ours
    for row in theirs:
        for field in table._meta.sorted_fields:
            value, meant = row[field.column_name], odbc.column(field, has(connection))
            assert type(value) is meant.python or (value is None and field.null), field.column_name
            assert not isinstance(value, datetime) or value.microsecond == 0, field.column_name
            assert not isinstance(field, models.Small) or value in (0, 1), field.column_name
    if table in (Calls, CallRecordings, CallAttributes, CallEvents, Contacts, Employees):
        assert min(row["id"] for row in theirs) >= written


def test_the_hard_values_are_among_them(connection: pyodbc.Connection, written: int) -> None:
    calls = {row["provider_call_id"]: row for row in odbc.rows(connection, "SELECT * FROM calls")}
    ended, ringing, missed = calls["ended-1"], calls["ringing-1"], calls["missed-1"]
    assert ended["client_name"] == WORDS
    assert (len(ended["recording_url"]), ended["recording_url"]) == (1000, LINK)
    assert ended["started_at"] == datetime(2024, 3, 1, 10)
    assert ended["ended_at"] == datetime(2024, 3, 1, 10, 1)  # cut, not rounded
    assert ringing["started_at"] == datetime(2024, 3, 1, 10)
    assert (ringing["ended_at"], ringing["total_seconds"], ringing["client_name"]) == (None, None, "")
    assert (missed["is_missed"], missed["is_answered"], missed["talk_seconds"]) == (1, 0, 0)
    assert (ended["is_missed"], ended["is_answered"]) == (0, 1)
    assert all(row["change_no"] > written for row in calls.values())


def test_1c_finds_rows_by_number_by_text_by_emptiness_and_by_null(connection: pyodbc.Connection, written: int) -> None:
    def found(where: str, *values: Any) -> set[str]:
        return {row["provider_call_id"] for row in odbc.rows(connection, f"SELECT * FROM calls WHERE {where}", *values)}

    everything = found("1 = 1")
    assert len(everything) == 3
    assert found("change_no > ? AND change_no <= ?", written, written + 5000) == everything
    assert found("change_no > ?", written + 3) == set()
    for row in odbc.rows(connection, "SELECT id, provider_call_id FROM calls"):
        assert found("id = ?", row["id"]) == {row["provider_call_id"]}
    assert found("client_name = ?", WORDS) == {"ended-1"}
    assert found("recording_url = ?", LINK) == {"ended-1"}
    assert found("client_name = ''") == {"ringing-1", "missed-1"}
    assert found("ended_at IS NULL") == {"ringing-1"}
    assert found("is_missed = 1") == {"missed-1"}
    assert found("is_missed = ?", 1) == {"missed-1"}


def test_a_moment_as_a_parameter_is_found_by_a_range_and_on_sqlite_not_by_equality(
    connection: pyodbc.Connection, written: int
) -> None:
    """SQLite compares text, and its driver sends 10:00:00 as 10:00:00.000: a range has to begin a second earlier."""

    def found(where: str, *moments: datetime) -> int:
        return len(odbc.rows(connection, f"SELECT id FROM calls WHERE {where}", *moments))

    equal = found("started_at = ?", datetime(2024, 3, 1, 10))
    since = found("started_at >= ?", datetime(2024, 3, 1, 10))
    assert (equal, since) == ((3, 3) if has(connection) == "mysql" else (0, 0))
    assert found("started_at >= ? AND started_at < ?", datetime(2024, 3, 1, 9, 59, 59), datetime(2024, 3, 2)) == 3
    assert found("started_at < ?", datetime(2024, 3, 1, 9, 59, 59)) == 0


def test_the_highest_change_no_is_read_from_the_column_because_sqlites_driver_cuts_an_expression(
    connection: pyodbc.Connection, written: int
) -> None:
    """A function has no declared type, and SQLite's driver takes it for 32 bits; the connection's BigInt=1 mends it."""
    highest = max(row["change_no"] for row in odbc.rows(connection, "SELECT change_no FROM calls"))
    assert highest > 2**31
    assert connection.execute("SELECT change_no FROM calls ORDER BY change_no DESC LIMIT 1").fetchval() == highest
    told = connection.execute("SELECT MAX(change_no) FROM calls").fetchval()
    if has(connection) == "mysql":
        assert told == highest
        return
    assert told == (highest + 2**31) % 2**32 - 2**31
    path = connection.getinfo(pyodbc.SQL_DATABASE_NAME)
    with contextlib.closing(odbc.connect(f"sqlite:///{path}", BigInt=1)) as other:
        assert other.execute("SELECT MAX(change_no) FROM calls").fetchval() == highest


def test_1c_writes_a_contact_over_odbc_and_the_connector_reads_it(mariadb: Any) -> None:
    odbc.require()
    url = mariadb.create("odbc_contacts")
    database.upgrade(url, lambda line: None)
    with contextlib.closing(odbc.connect(url)) as connection:
        insert = "INSERT INTO contacts (client_number, client_name, responsible_ext, updated_at) VALUES (?, ?, ?, ?)"
        long = "Ж" * 254 + "😀"
        connection.execute(insert, "8 (920) 111-96-13", WORDS, "", datetime(2024, 3, 1, 10))
        connection.execute(insert, "79201119614", long, "101", None)
        connection.execute("UPDATE contacts SET responsible_ext = ? WHERE client_number = ?", "102", "79201119614")
        one, two = rows(url, Contacts)
        assert (one["client_name"], one["responsible_ext"], one["updated_at"]) == (WORDS, "", datetime(2024, 3, 1, 10))
        assert (two["client_name"], two["responsible_ext"], two["updated_at"]) == (long, "102", None)
        assert two["id"] > one["id"] > 0
        connection.execute("DELETE FROM contacts WHERE id = ?", one["id"])
        assert [row["id"] for row in rows(url, Contacts)] == [two["id"]]


# ---------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", NAMES)
def test_no_table_and_no_column_is_called_by_a_reserved_word(name: str) -> None:
    assert name not in reserved.SQL | reserved.MYSQL | reserved.ONEC
    assert name.isascii()
    assert name.isidentifier()
    assert name == name.lower()


def test_the_lists_of_reserved_words_have_the_words_that_the_contract_warns_of() -> None:
    words = reserved.SQL | reserved.MYSQL | reserved.ONEC
    assert {"number", "date", "type", "value", "ref", "call", "key", "order", "group", "rank"} <= words


def test_every_name_works_without_quotes_and_is_no_keyword_of_the_driver(connection: pyodbc.Connection) -> None:
    said = str(connection.getinfo(pyodbc.SQL_KEYWORDS)).lower().split(",")
    assert set(NAMES) & set(said) == set()
    for table in models.TABLES:
        name, columns = table._meta.table_name, models.columns(table)
        for column in columns:
            connection.execute(
                f"SELECT {column}, {name}.{column} AS {column} FROM {name} WHERE {column} IS NULL ORDER BY {column}"
            ).fetchall()
    connection.execute(f"CREATE TABLE probe ({', '.join(f'{name} INT' for name in NAMES)})")
    connection.execute("DROP TABLE probe")


# --------------------------------------------------------------------------------------------------------------- report


def test_the_page_for_1c_is_as_the_models_are() -> None:
    """Else: python -m tests.odbc_report > docs/1c-schema.md"""
    assert (ROOT / "docs" / "1c-schema.md").read_text(encoding="utf-8") == odbc_report.page()


@TABLES
def test_an_example_of_the_page_fits_its_column(table: type[models.Table]) -> None:
    examples = odbc_report.EXAMPLES[table._meta.table_name]
    assert list(examples) == list(models.columns(table))
    for field in table._meta.sorted_fields:
        value = examples[field.column_name]
        if isinstance(field, models.Moment):
            datetime.strptime(str(value), "%Y-%m-%d %H:%M:%S")
        elif isinstance(field, models.Chars):
            assert isinstance(value, str), field.column_name
            assert len(value) <= field.max_length, field.column_name
        elif isinstance(field, models.Long):
            assert isinstance(value, str), field.column_name
        else:
            assert isinstance(value, int), field.column_name
            assert not isinstance(field, models.Small) or value in (0, 1), field.column_name
