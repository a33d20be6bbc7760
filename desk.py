"""What somebody waits for at the call log: the contact card, whose extension it is, changed calls, contacts. Never long."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import peewee
from peewee import fn

from models import CallLegs, Calls, Contacts, SqliteCallLog, columns, open_database
from schemas.reading import phone

PATIENCE_SECONDS = 1  # for a connection, and for an answer: two seconds in all
QUEUE_SECONDS = 0.05  # for a place at the desk, where one may wait for it
SPAN = 5000  # change numbers that one question looks through at the most


class Away(Exception):
    """The call log does not answer, or too many wait for it already."""


class Desk:
    """Asks the call log from a request's thread: at most two threads of a worker at a time."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._places = threading.BoundedSemaphore(2)
        self._local = threading.local()  # a peewee Database connects under a lock of its own: one for each thread

    def ask(self, question: Callable[[peewee.Database], Any], queue: float = 0) -> Any:
        """The question's answer within two seconds; raises Away. A connection that was lost while idle is made anew.
        Where two ask already the next one goes away, after waiting `queue` seconds for a place."""
        if not self._places.acquire(timeout=queue) if queue else not self._places.acquire(blocking=False):
            raise Away("two questions wait for the call log already")
        try:
            began = time.monotonic()
            try:
                return self._ask(question)
            except peewee.PeeweeException as error:
                if time.monotonic() - began > PATIENCE_SECONDS / 2:
                    raise Away(str(error)) from error
                try:
                    return self._ask(question)
                except peewee.PeeweeException as again:
                    raise Away(str(again)) from again
        finally:
            self._places.release()

    def _ask(self, question: Callable[[peewee.Database], Any]) -> Any:
        db: peewee.Database | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = open_database(self._url, patience=PATIENCE_SECONDS)
        try:
            if db.is_closed():
                db.connect()
            return question(db)
        except BaseException:
            db.close()
            raise


# --------------------------------------------------------------------------------------------------------- contacts


def spellings(number: str) -> tuple[str, ...]:
    """The ways in which 1C may have written a Russian number; of any other the number itself."""
    normal = phone(number)
    if len(normal) == 11 and normal[0] == "7" and normal.isdigit():
        return normal, f"+{normal}", f"8{normal[1:]}", normal[1:]
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
            spelled = {spelling: number for number in wanted for spelling in spellings(number)}
            there: dict[str, list[Any]] = {}
            query = Contacts.select().where(Contacts.client_number.in_(list(spelled))).order_by(Contacts.id)
            for row in (query if numbered else query.for_update()).namedtuples().execute(db):
                there.setdefault(spelled[row.client_number], []).append(row)
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


# ------------------------------------------------------------------------------------------------------------ calls


def employee(provider: str, ext: str) -> Callable[[peewee.Database], tuple[str, str]]:
    """The question who an extension is: (the provider's id where it is told alone, number), as the newest call that
    shows either."""

    def question(db: peewee.Database) -> tuple[str, str]:
        rows = (
            Calls.select(Calls.employee_ids, Calls.employee_number)
            .where(
                Calls.provider == provider,
                Calls.employee_ext == ext,
                (Calls.employee_number != "") | ((Calls.employee_ids != "") & ~Calls.employee_ids.contains(",")),
            )
            .order_by(Calls.change_no.desc())
            .limit(1)
            .tuples()
            .execute(db)
        )
        for ids, number in rows:
            return "" if "," in ids else ids, number
        return "", ""

    return question


class Changes(NamedTuple):
    """Changed calls with their legs; `position` is what to ask after next, `more` whether there is more now."""

    position: int
    more: bool
    calls: list[dict[str, Any]]


def changes(after: int, ext: str, limit: int) -> Callable[[peewee.Database], Changes]:
    """The question which calls changed after a change_no: at most `limit`, of at most SPAN numbers, in their order.

    `ext`, where not empty, chooses the calls of an extension (or an employee's number, for providers that know no
    extensions): who talked, any leg, and ringing calls of which nobody knows yet whom they ring.
    """

    def question(db: peewee.Database) -> Changes:
        last = Calls.select(fn.MAX(Calls.change_no)).scalar(db) or 0  # before the rows: docs/contract.md section 3
        until = min(last, after + SPAN)
        if until <= after:
            return Changes(after, False, [])
        chosen = Calls.select().where(Calls.change_no > after, Calls.change_no <= until)
        if ext:
            chosen = chosen.where(_concerns(ext))
        rows = list(chosen.order_by(Calls.change_no).limit(limit).dicts().execute(db))
        if len(rows) == limit:
            until = rows[-1]["change_no"]
        legs: dict[int, list[dict[str, Any]]] = {row["id"]: [] for row in rows}
        names = [name for name in columns(CallLegs) if name not in ("id", "call_id")]
        for leg in CallLegs.select().where(CallLegs.call_id.in_(list(legs))).order_by(CallLegs.id).dicts().execute(db):
            legs[leg["call_id"]].append({name: leg[name] for name in names})
        return Changes(until, until < last, [{**row, "legs": legs[row["id"]]} for row in rows])

    return question


def _concerns(ext: str) -> Any:
    number = phone(ext)
    legs = CallLegs.select(peewee.SQL("1")).where(CallLegs.call_id == Calls.id)
    named = (CallLegs.employee_ext != "") | (CallLegs.employee_number != "")
    nobody_yet = (
        (Calls.state == "ringing")
        & (Calls.employee_ext == "")
        & (Calls.employee_number == "")
        & ~fn.EXISTS(legs.where(named))
    )
    mine = fn.EXISTS(legs.where((CallLegs.employee_ext == ext) | (CallLegs.employee_number == number)))
    return nobody_yet | (Calls.employee_ext == ext) | (Calls.employee_number == number) | mine
