"""The `contacts` table: what 1C stores in it, and the card of a caller."""

from collections.abc import Sequence
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
    wanted = {contact.client_number: contact for contact in contacts}
    with transaction(db):
        stored = _stored(db, list(wanted))
        surplus = [row.id for rows in stored.values() for row in rows[1:]]
        if surplus:
            Contacts.delete().where(Contacts.id.in_(surplus)).execute(db)
        for number, rows in stored.items():
            if rows[0][1:4] != wanted[number] or len(rows) > 1:
                fields = {**wanted[number]._asdict(), "updated_at": at}
                Contacts.update(**fields).where(Contacts.id == rows[0].id).execute(db)
        new: list[dict[str, Any]] = [
            {**contact._asdict(), "updated_at": at} for number, contact in wanted.items() if number not in stored
        ]
        if not on_mysql(db):  # BIGINT keys do not number themselves there
            last = Contacts.select(fn.MAX(Contacts.id)).scalar(db) or 0
            new = [{"id": id, **row} for id, row in enumerate(new, last + 1)]
        if new:
            Contacts.insert_many(new).execute(db)


def _stored(db: Database, numbers: Sequence[str]) -> dict[str, list[Any]]:
    """Number -> its rows, in whatever spellings, locked to the commit."""
    of = {spelling.casefold(): number for number in numbers for spelling in spellings(number)}
    query = (
        Contacts.select()
        .where(Contacts.client_number.in_([spelling for number in numbers for spelling in spellings(number)]))
        .order_by(Contacts.id)
    )
    found: dict[str, list[Any]] = {}
    for row in (query.for_update() if on_mysql(db) else query).namedtuples().execute(db):
        number = of.get(row.client_number.strip().casefold())  # MariaDB compares without case and end blanks
        if number is not None:
            found.setdefault(number, []).append(row)
    return found
