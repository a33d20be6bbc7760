"""The `contacts` table: what 1C stores in it, and the card of a caller; and how a row of such a table is written."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from peewee import Database, fn

from calllog.database import on_mysql, transaction
from models import Contacts
from schemas.fields import phone


def spellings(number: str) -> tuple[str, ...]:
    """The ways in which 1C may have written a Russian number, bare or as it shows them (+7 (920) 111-96-13); of any other
    the number itself."""
    normal = phone(number)
    if len(normal) == 11 and normal[0] == "7" and normal.isdigit():
        shown = f"({normal[1:4]}){{}}{normal[4:7]}-{normal[7:9]}-{normal[9:]}"
        bare = (normal, f"+{normal}", f"8{normal[1:]}", normal[1:])
        return (*bare, *(f"{first}{gap}{shown.format(gap)}" for first in ("+7", "8") for gap in (" ", "")))
    return tuple(dict.fromkeys((normal, number)))


def card(db: Database, number: str) -> dict[str, str]:
    """The contact card of a number: `{}` for an unknown one, `responsible` left out where nobody is (docs/feeds/xvb.md).
    Of several rows the newest wins."""
    if not number:
        return {}
    rows = (
        Contacts.select(Contacts.client_name, Contacts.responsible_ext)
        .where(Contacts.client_number.in_(spellings(number)))
        .order_by(Contacts.updated_at.desc(), Contacts.id.desc())
        .limit(1)
        .tuples()
        .execute(db)
    )
    for name, ext in rows:
        fields = {"contact_name": name, "responsible": ext}
        return {key: value for key, value in fields.items() if value}
    return {}


class Contact(NamedTuple):
    """One row of `contacts` as 1C sends it; the number is normalised."""

    client_number: str
    client_name: str
    responsible_ext: str


def store_contacts(db: Database, contacts: Sequence[Contact], at: datetime) -> None:
    """Write exactly these rows for these numbers, whatever spellings of them are there; `at` is wall clock in TIMEZONE. A
    row that is the same already is not written again."""
    with transaction(db):
        put_rows(db, Contacts.client_number, [contact._asdict() for contact in contacts], at, spellings)


def contacts_page(db: Database, numbers: Sequence[str], after: int, limit: int) -> list[dict[str, Any]]:
    """Rows of `contacts` by id, after that one; with numbers those of them, in whatever spelling."""
    return rows_page(db, Contacts.client_number, numbers, after, limit, spellings)


def delete_contacts(db: Database, numbers: Sequence[str]) -> int:
    """Delete the rows of these numbers, in whatever spelling. Returns how many."""
    return delete_rows(db, Contacts.client_number, numbers, spellings)


def rows_page(
    db: Database,
    key: Any,
    values: Sequence[str],
    after: int,
    limit: int,
    spelled: Callable[[str], tuple[str, ...]] = lambda key: (key,),
) -> list[dict[str, Any]]:
    """Rows of a table that 1C writes, by id, after that one; with values those that have one in the column `key`."""
    query = key.model.select().where(key.model.id > after)
    if values:
        query = query.where(key.in_([spelling for value in values for spelling in spelled(value)]))
    return list(query.order_by(key.model.id).limit(limit).dicts().execute(db))


def delete_rows(
    db: Database,
    key: Any,
    values: Sequence[str],
    spelled: Callable[[str], tuple[str, ...]] = lambda key: (key,),
) -> int:
    """Delete the rows that have one of the values in the column `key`. Returns how many."""
    with transaction(db):
        there = _stored(db, key, values, spelled)
        ids = [row["id"] for rows in there.values() for row in rows]
        if ids:
            key.model.delete().where(key.model.id.in_(ids)).execute(db)
    return len(ids)


def put_rows(
    db: Database,
    key: Any,
    rows: Sequence[dict[str, Any]],
    at: datetime,
    spelled: Callable[[str], tuple[str, ...]] = lambda key: (key,),
) -> None:
    """In a transaction: one row for each value of the column `key`, with these columns, in a table that 1C writes too. Of
    several rows of one value, in whatever spelling, the first is kept; of several in `rows` the last counts."""
    table, wanted = key.model, {row[key.column_name]: row for row in rows}
    stored = _stored(db, key, list(wanted), spelled)
    surplus = [row["id"] for there in stored.values() for row in there[1:]]
    if surplus:
        table.delete().where(table.id.in_(surplus)).execute(db)
    for value, there in stored.items():
        if len(there) > 1 or not wanted[value].items() <= there[0].items():
            table.update(**wanted[value], updated_at=at).where(table.id == there[0]["id"]).execute(db)
    new: list[dict[str, Any]] = [{**row, "updated_at": at} for value, row in wanted.items() if value not in stored]
    if not on_mysql(db):  # BIGINT keys do not number themselves there
        last = table.select(fn.MAX(table.id)).scalar(db) or 0
        new = [{"id": id, **row} for id, row in enumerate(new, last + 1)]
    if new:
        table.insert_many(new).execute(db)


def _stored(
    db: Database, key: Any, values: Sequence[str], spelled: Callable[[str], tuple[str, ...]]
) -> dict[str, list[dict[str, Any]]]:
    """Value of the column -> its rows, in whatever spellings, locked to the commit."""
    of = {spelling.casefold(): value for value in values for spelling in spelled(value)}
    sought = [spelling for value in values for spelling in spelled(value)]
    query = key.model.select().where(key.in_(sought)).order_by(key.model.id)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in (query.for_update() if on_mysql(db) else query).dicts().execute(db):
        value = of.get(row[key.column_name].strip().casefold())  # MariaDB compares without case and end blanks
        if value is not None:
            found.setdefault(value, []).append(row)
    return found
