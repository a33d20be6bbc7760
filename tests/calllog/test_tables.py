"""The tables as a database has them, against the contract's own words: types, and what may not be there twice."""

import re
from pathlib import Path
from typing import Any

import peewee
import pytest

from calllog import database

CONTRACT = (Path(__file__).resolve().parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")
TABLES = CONTRACT.partition("## 2.")[2].partition("\n## ")[0]

# What "unique" in section 2 of the contract means, and what follows from "one row" a node and feed, a version, a counter.
UNIQUE: dict[str, set[tuple[str, ...]]] = {
    "calls": {("change_no",), ("provider", "provider_call_id")},
    "call_legs": {("call_id", "leg_key")},
    "call_recordings": {("call_id", "url_hash")},
    "call_attributes": {("call_id", "name")},
    "call_events": {("event_key",)},
    "feed_status": {("node", "feed")},
    "contacts": set(),
    "employees": set(),
    "change_counter": set(),
    "schema_info": set(),
}
# Of the tables that the contract describes in a line the types that it leaves to its rules.
BY_NAME = {
    "id": "BIGINT", "call_id": "BIGINT", "change_no": "BIGINT", "last_id": "BIGINT", "restored_from": "BIGINT",
    "seconds": "INTEGER", "waiting": "INTEGER", "dead": "INTEGER", "version": "INTEGER", "readable_by": "INTEGER",
    "payload": "TEXT",
}  # fmt: skip
NULLABLE = re.compile(r".*_at|.*_seconds|seconds")  # "NULL only for moments and lengths not known yet"


def told_types() -> dict[str, str]:
    """The types of calls, column by column, as its table in the contract has them."""
    found: dict[str, str] = {}
    for names, types in re.findall(r"(?m)^\| ([a-z_, ]+) \| ([A-Z][^|]*) \|", TABLES):
        columns = names.split(", ")
        kinds = re.sub(r" (key|NULL|0/1|unique)|, unique", "", types).split(", ")
        kinds = [kind if kind.isalpha() or kind.startswith("VARCHAR") else f"VARCHAR{kind}" for kind in kinds]
        found |= dict(zip(columns, kinds * len(columns) if len(kinds) == 1 else kinds, strict=len(kinds) > 1))
    return found


def columns(db: peewee.Database, table: str) -> dict[str, tuple[str, bool]]:
    """column -> (declared type, whether it may be NULL), but for what the database computes itself."""
    if isinstance(db, peewee.SqliteDatabase):
        rows = db.execute_sql(f"PRAGMA table_info({table})").fetchall()
        return {name: (kind, not filled) for _, name, kind, filled, _, _ in rows}
    rows = db.execute_sql(f"SHOW COLUMNS FROM {table}").fetchall()
    return {name: (_plain(kind), null == "YES") for name, kind, null, *_, extra in rows if "GENERATED" not in extra}


def _plain(kind: str) -> str:
    """MariaDB's name of a type: int(11) is INTEGER."""
    kind = re.sub(r"(int)\(\d+\)", r"\1", kind).upper()
    return "INTEGER" if kind == "INT" else kind


def unique(db: peewee.Database, table: str) -> set[tuple[str, ...]]:
    return {tuple(index.columns) for index in db.get_indexes(table) if index.unique} - {("id",)}


@pytest.fixture
def call_log(database_url: str) -> Any:
    database.upgrade(database_url, lambda line: None)
    db = database.open_database(database_url)
    with db.connection_context():
        yield db


def test_columns_have_the_contracts_types_and_what_is_unique_cannot_be_twice(call_log: peewee.Database) -> None:
    calls = told_types()
    assert (calls["id"], calls["is_missed"], calls["employee_ids"]) == ("BIGINT", "SMALLINT", "VARCHAR(255)")
    for table, keys in UNIQUE.items():
        there = columns(call_log, table)
        assert unique(call_log, table) == keys, table
        assert {name for name, (_, null) in there.items() if null} == set(filter(NULLABLE.fullmatch, there)), table
        if table == "calls":
            assert {name: kind for name, (kind, _) in there.items()} == calls
            continue
        (line,) = re.findall(rf"(?m)^`{table}`: (.*)$", TABLES)
        for name, (kind, _) in there.items():
            length = re.search(rf"\b{name} (VARCHAR\(\d+\)|TEXT)", line)
            wanted = length[1] if length else BY_NAME.get(name, "DATETIME" if name.endswith("_at") else calls.get(name))
            assert kind == wanted or (wanted is None and kind.startswith("VARCHAR(")), f"{table}.{name}"


def test_the_contract_calls_unique_what_is() -> None:
    for table, keys in UNIQUE.items():
        for key in keys:
            first, *more = key
            pattern = {
                "calls": rf"\| {', '.join(key)} \| [^|]*unique|\| {', '.join(key)} \|[^|]*\|[^|]*unique together",
                "feed_status": "feed_status",
            }.get(
                table, rf"`{table}`:.*{more[0]} VARCHAR\(\d+\) \(unique with {first}\)" if more else f"{first}.*unique"
            )
            assert re.search(pattern, TABLES), (table, key)
