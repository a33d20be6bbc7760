"""The `contacts` table: what 1C stores in it, and the card of a caller."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import peewee
from peewee import fn

from calllog.database import SqliteCallLog
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


def card(number: str) -> Callable[[peewee.Database], dict[str, str]]:
    """The question whose contact it is: `{}` for an unknown number, `responsible` left out where nobody is
    (docs/feeds/xvb.md). Of several rows the newest wins."""

    def question(db: peewee.Database) -> dict[str, str]:
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
            said = {"contact_name": name, "responsible": ext}
            return {key: value for key, value in said.items() if value}
        return {}

    return question


class Contact(NamedTuple):
    """One row of `contacts` as 1C tells it; the number is normalised."""

    client_number: str
    client_name: str
    responsible_ext: str


def store_contacts(contacts: Sequence[Contact], at: datetime) -> Callable[[peewee.Database], None]:
    """The order to have exactly these rows for these numbers, whatever spellings of them are there; `at` is wall clock in
    TIMEZONE. What is there as told is not written again."""
    wanted = {contact.client_number: contact for contact in contacts}

    def order(db: peewee.Database) -> None:
        numbered = isinstance(db, SqliteCallLog)  # BIGINT keys do not number themselves there
        with db.atomic("IMMEDIATE") if numbered else db.atomic():
            spelled = {spelling.casefold(): number for number in wanted for spelling in spellings(number)}
            there: dict[str, list[Any]] = {}
            query = (
                Contacts.select()
                .where(Contacts.client_number.in_([s for number in wanted for s in spellings(number)]))
                .order_by(Contacts.id)
            )
            for row in (query if numbered else query.for_update()).namedtuples().execute(db):
                found = spelled.get(
                    row.client_number.strip().casefold()
                )  # MariaDB compares without case and end blanks
                if found is not None:
                    there.setdefault(found, []).append(row)
            surplus = [row.id for rows in there.values() for row in rows[1:]]
            if surplus:
                Contacts.delete().where(Contacts.id.in_(surplus)).execute(db)
            for number, rows in there.items():
                if rows[0][1:4] != wanted[number] or len(rows) > 1:
                    said = {**wanted[number]._asdict(), "updated_at": at}
                    Contacts.update(**said).where(Contacts.id == rows[0].id).execute(db)
            new: list[dict[str, Any]] = [
                {**contact._asdict(), "updated_at": at} for number, contact in wanted.items() if number not in there
            ]
            if numbered:
                last = Contacts.select(fn.MAX(Contacts.id)).scalar(db) or 0
                new = [{"id": id, **row} for id, row in enumerate(new, last + 1)]
            if new:
                Contacts.insert_many(new).execute(db)

    return order
