"""Questions to the call log that somebody waits for: the contact card, and whose extension it is. Never long."""

import threading
import time
from collections.abc import Callable
from typing import Any

import peewee

from models import Calls, Contacts, open_database
from schemas.reading import phone

PATIENCE_SECONDS = 1  # for a connection, and for an answer: two seconds in all


class Away(Exception):
    """The call log does not answer, or too many wait for it already."""


class Desk:
    """Asks the call log from a request's thread: at most two threads of a worker at a time, the next goes away."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._places = threading.BoundedSemaphore(2)
        self._local = threading.local()  # a peewee Database connects under a lock of its own: one for each thread

    def ask(self, question: Callable[[peewee.Database], Any]) -> Any:
        """The question's answer within two seconds; raises Away. A connection that was lost while idle is made anew."""
        if not self._places.acquire(blocking=False):
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
