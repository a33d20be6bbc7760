"""What somebody waits for at the call log: the contact card, whose extension it is, changed calls, contacts. Never long."""

import bisect
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import peewee
from peewee import SQL, fn

import schemas
from models import CallEvents, CallLegs, Calls, Contacts, SqliteCallLog, columns, open_database
from schemas.reading import phone

PATIENCE_SECONDS = 1  # for a connection, and for an answer: two seconds in all
QUEUE_SECONDS = 0.05  # for a place at the desk, where one may wait for it
SPAN = 5000  # change numbers that one question looks through at the most
HIGHEST = 2**63 - 1  # of a BIGINT


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


class Wanted(NamedTuple):
    """Which calls a person looks for; `sought` is a phone number in any spelling, or the provider's id of a call. Moments
    are wall clock in TIMEZONE, `before` (with the id there) is where an earlier answer ended."""

    sought: str = ""
    ext: str = ""
    direction: str = ""
    provider: str = ""
    missed: bool = False
    since: datetime | None = None
    until: datetime | None = None
    before: tuple[datetime, int] | None = None


class Page(NamedTuple):
    """Calls, the newest first; `looked_to` is how far back was looked when that is not the log's beginning, `on` where to
    look on, None at the end."""

    calls: list[dict[str, Any]]
    on: tuple[datetime, int] | None
    looked_to: datetime | None


LOOKED_THROUGH = 10_000  # calls that one question of a person looks through at the most
OF_ONE = 2000  # calls of one number or extension that it finds


def search(wanted: Wanted, limit: int = 50) -> Callable[[peewee.Database], Page]:
    """The question for calls by what a person remembers of them. Bounded by an index each, whatever the log's size: a
    number's and an extension's newest OF_ONE calls, else LOOKED_THROUGH calls by their start."""

    def question(db: peewee.Database) -> Page:
        # rowid is in every index of SQLite, id is not (models.Key); ids grow, so both put the newest first
        newest = SQL("rowid") if isinstance(db, SqliteCallLog) else Calls.id
        chosen = Calls.select()
        windows: list[set[int]] = []

        def ids(column: Any, table: Any, match: Any) -> set[int]:
            order = newest if isinstance(newest, SQL) else table.id
            rows = table.select(column).where(match).order_by(order.desc()).limit(OF_ONE).tuples().execute(db)
            return {id for (id,) in rows}

        if wanted.sought:
            providers = Calls.provider.in_(sorted({module.PROVIDER for module in schemas.feeds().values()}))
            windows.append(
                ids(Calls.id, Calls, Calls.client_number == phone(wanted.sought))
                | ids(Calls.id, Calls, providers & (Calls.provider_call_id == wanted.sought))
            )
        if wanted.ext:
            windows.append(
                ids(Calls.id, Calls, Calls.employee_ext == wanted.ext)
                | ids(CallLegs.call_id, CallLegs, CallLegs.employee_ext == wanted.ext)
            )
        last = min((moment for moment in (wanted.until, wanted.before and wanted.before[0]) if moment), default=None)
        looked_to = None
        if windows:
            among = set.intersection(*windows)
            chosen = chosen.where(Calls.id.in_(sorted(among, reverse=True)[: 2 * OF_ONE]))
        else:
            starts = Calls.select(Calls.started_at).order_by(Calls.started_at.desc())
            if last:
                starts = starts.where(Calls.started_at <= last)
            looked_to = starts.limit(1).offset(LOOKED_THROUGH).scalar(db)
            if looked_to:
                chosen = chosen.where(Calls.started_at >= looked_to)
        if last:
            chosen = chosen.where(Calls.started_at <= last)
        if wanted.before:
            at, id = wanted.before
            chosen = chosen.where((Calls.started_at < at) | (Calls.id < id))
        if wanted.since:
            chosen = chosen.where(Calls.started_at >= wanted.since)
            if looked_to and looked_to < wanted.since:
                looked_to = None
        for column, value in ((Calls.direction, wanted.direction), (Calls.provider, wanted.provider)):
            if value:
                chosen = chosen.where(column == value)
        if wanted.missed:
            chosen = chosen.where(Calls.is_missed == 1)
        rows = list(chosen.order_by(Calls.started_at.desc(), Calls.id.desc()).limit(limit).dicts().execute(db))
        if len(rows) == limit:
            return Page(rows, (rows[-1]["started_at"], rows[-1]["id"]), None)
        # of the calls that began in that very second some may have been looked at: they are looked at again
        return Page(rows, (looked_to, HIGHEST) if looked_to else None, looked_to)

    return question


def call_of(event_key: str) -> Callable[[peewee.Database], int | None]:
    """The question which call has this event."""

    def question(db: peewee.Database) -> int | None:
        found: int | None = CallEvents.select(CallEvents.call_id).where(CallEvents.event_key == event_key).scalar(db)
        return found

    return question


class Changes(NamedTuple):
    """Changed calls with their legs, in the order of change_no; `position` is what to ask after next, `more` whether
    there is more now."""

    position: int
    more: bool
    calls: list[dict[str, Any]]


def changes(after: int, limit: int) -> Callable[[peewee.Database], Changes]:
    """The question which calls changed after a change_no, at most `limit` of them (docs/contract.md section 3)."""

    def question(db: peewee.Database) -> Changes:
        last = db.execute_sql("SELECT MAX(change_no) FROM calls").fetchone()[0] or 0  # before the rows, never after
        until = min(last, after + SPAN)
        if until <= after:
            return Changes(min(after, last), False, [])
        chosen = Calls.select().where(Calls.change_no > after, Calls.change_no <= until)
        rows = list(chosen.order_by(Calls.change_no).limit(limit).dicts().execute(db))
        if len(rows) == limit:
            until = rows[-1]["change_no"]
        legs: dict[int, list[dict[str, Any]]] = {row["id"]: [] for row in rows}
        names = [name for name in columns(CallLegs) if name not in ("id", "call_id")]
        if rows:
            for leg in (
                CallLegs.select().where(CallLegs.call_id.in_(list(legs))).order_by(CallLegs.id).dicts().execute(db)
            ):
                legs[leg["call_id"]].append({name: leg[name] for name in names})
        return Changes(until, until < last, [{**row, "legs": legs[row["id"]]} for row in rows])

    return question


def concerns(call: dict[str, Any], ext: str) -> bool:
    """Whether a call with its legs is one of this extension (or employee's number, for providers that know no extensions):
    who talked, any leg, or ringing with nobody named yet."""
    number = phone(ext)
    named = [part for part in (call, *call["legs"]) if part["employee_ext"] or part["employee_number"]]
    if not named:
        return bool(call["state"] == "ringing")
    return any(part["employee_ext"] == ext or part["employee_number"] == number for part in named)


class News:
    """The latest changes, read once for all who ask within a tenth of a second, however many they are."""

    FRESH_SECONDS, STALE_SECONDS = 0.1, 3.0  # read anew after; answered from at the longest, while somebody reads
    PATIENCE_SECONDS = 0.2  # for who comes after a pause, all at once
    BEFORE = 500  # changes that are read when somebody asks after a pause: most clients are not farther behind
    KEPT_SECONDS, MOST = 60, 2000  # longer ago, or more than these: the call log is asked

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._reading = threading.Lock()
        self._failed_at = -float("inf")
        # (calls with the position they were read at, the position since which they are whole, when): changed as one
        self._known: tuple[Changes, int, float] = (Changes(-1, False, []), 0, -float("inf"))
        self._positions: list[tuple[float, int]] = []  # when, and where the log was then; the reader's own

    def after(self, after: int, ext: str, limit: int) -> Changes:
        """Changes after a change_no that concern the extension, of at most `limit` that are looked through. Raises Away."""
        known, since = self._read()
        if after > known.position:  # another worker has read on already
            if not self._reading.acquire(blocking=False):
                return Changes(after, False, [])
            try:
                self._read_on()
            finally:
                self._reading.release()
            known, since, _ = self._known
        if after > known.position:  # or it is another call log
            return Changes(known.position, False, [])
        if after < since:
            found: Changes = self._desk.ask(changes(after, limit), QUEUE_SECONDS)
        else:
            new = known.calls[bisect.bisect_right(known.calls, after, key=_change_no) :]
            found = Changes(known.position, known.more, new)
            if len(new) > limit:
                found = Changes(new[limit - 1]["change_no"], True, new[:limit])
        return found._replace(calls=[call for call in found.calls if not ext or concerns(call, ext)])

    def _read(self) -> tuple[Changes, int]:
        """What is known, at most STALE_SECONDS old, and since which position. One reads, the others use what was read."""
        clock = time.monotonic()
        age = clock - self._known[2]
        if age > self.FRESH_SECONDS:
            waits = age > self.STALE_SECONDS and clock - self._failed_at > 5  # else it is away: only one tries
            if self._reading.acquire(timeout=self.PATIENCE_SECONDS) if waits else self._reading.acquire(blocking=False):
                try:
                    if time.monotonic() - self._known[2] > self.FRESH_SECONDS:
                        self._read_on()
                finally:
                    self._reading.release()
        known, since, at = self._known
        if time.monotonic() - at > self.STALE_SECONDS:
            raise Away("the call log is being asked already")
        return known, since

    def _read_on(self) -> None:
        known, _, at = self._known
        clock = time.monotonic()
        try:
            if known.position < 0 or clock - at > self.KEPT_SECONDS:
                now: Changes = self._desk.ask(changes(HIGHEST, 1))  # no calls, only where the log is
                known = Changes(max(0, now.position - self.BEFORE), False, [])
                self._positions = []
            news: Changes = self._desk.ask(changes(known.position, self.MOST))
        except Away:
            self._failed_at = clock
            raise
        if news.position < known.position:  # another call log: begin anew
            known = Changes(news.position, False, [])
            self._positions = []
        changed = {call["id"] for call in news.calls}
        calls = [call for call in known.calls if call["id"] not in changed] + news.calls
        self._positions.append((clock, known.position))
        while self._positions[0][0] < clock - self.KEPT_SECONDS:
            self._positions.pop(0)
        since = self._positions[0][1]
        calls = calls[bisect.bisect_right(calls, since, key=_change_no) :]
        if len(calls) > self.MOST:
            calls = calls[-self.MOST :]
            since = calls[0]["change_no"] - 1
            self._positions = [(clock, since)]
        self._known = (Changes(news.position, news.more, calls), since, clock)


def _change_no(call: dict[str, Any]) -> int:
    number: int = call["change_no"]
    return number
