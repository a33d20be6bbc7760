"""Terms of keeping: purge deletes what is past its days, forget deletes a person; each leaves a destruction record.

Both delete in bites and with the batch's locks, so that nobody waits long (docs/decisions/0010-forgetting.md).
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from typing import TypeVar
from urllib.parse import unquote_plus

import peewee

from calllog import batch
from calllog.errors import Busy
from calllog.reading import pages
from config import Settings
from inbox import Inbox, Stored, now
from inbox.judge import DAY, understood
from models import CallEvents, CallLegs, Calls, Contacts
from schemas.event import CallEvent
from server import sqlite
from server.sqlite import disk_is_full
from upkeep import acts
from upkeep.forgotten import CallId, Forgotten

T = TypeVar("T")

BITE = 200  # calls in one transaction
ROWS = 5000  # rows that are looked through at once
TRIES = 10  # of one bite, while others hold the locks
EXPIRED_TERM = "истёк срок хранения (INBOX_DAYS, CALLS_DAYS)"
BY_HAND = "уведомления старше {days} дн. удалены по решению оператора"

Counts = dict[str, int]


# --------------------------------------------------------------------------------------------------------------- purge


def purge_inbox(
    inbox: Inbox, settings: Settings, record: acts.Record | None, at: int, days: int, dead: bool = False
) -> Counts:
    """Delete forwarded and ignored deliveries older than `days`; dead letters past CALLS_DAYS if that is set (a replay
    would be ignored as too old), with `dead` those older than `days` too. Returns state -> how many, without a record
    only how many there are. `at`: milliseconds since 1970 UTC."""
    terms = _inbox_terms(settings, at, days, dead)
    there = inbox.past(*terms)
    if record is None or not any(there.values()):
        return there
    record.begin()
    gone = inbox.purge(*terms)
    record.add(gone)
    inbox.truncate_log()
    return gone


def past_inbox(inbox: Inbox, settings: Settings, at: int, days: int, dead: bool = False) -> tuple[int, int]:
    """(how many deliveries `purge_inbox` would delete, how many there are)."""
    there = inbox.past(*_inbox_terms(settings, at, days, dead))
    return sum(count for state, count in there.items() if state != "placements"), inbox.count()


def _inbox_terms(settings: Settings, at: int, days: int, dead: bool) -> tuple[int, int]:
    """(before which moment forwarded and ignored deliveries go, and dead letters; 0: they stay)."""
    before = at - days * DAY
    dead_before = at - settings.calls_days * DAY if settings.calls_days else 0
    return before, max(before, dead_before) if dead else dead_before


def purge_calls(db: peewee.Database, settings: Settings, record: acts.Record, at: int) -> Iterator[Counts]:
    """Delete ended calls whose last event is past CALLS_DAYS, bite by bite; yields table -> how many. Open calls never."""
    past = Calls.state.in_(("ended", "")) & (Calls.last_event_at < _before(settings, at))
    while settings.calls_days:
        chosen = Calls.select(Calls.provider, Calls.provider_call_id).where(past).limit(BITE)
        page: list[CallId] = list(chosen.tuples().execute(db))
        if not page:
            truncate_log(db)
            return
        record.begin()
        began = time.monotonic()
        yield _in_room(record, page, lambda calls: batch.remove(db, calls, past), partial(truncate_log, db))
        give_way(began)


def count_past(db: peewee.Database, settings: Settings, at: int) -> tuple[int, int]:
    """(how many calls `purge_calls` would delete, how many there are)."""
    past = Calls.state.in_(("ended", "")) & (Calls.last_event_at < _before(settings, at))
    return Calls.select(Calls.id).where(past).count(db), Calls.select(Calls.id).count(db)


def _before(settings: Settings, at: int) -> str | None:
    return batch.wall(at - settings.calls_days * DAY, settings.timezone)


# -------------------------------------------------------------------------------------------------------------- forget


def own(db: peewee.Database, number: str) -> Counts:
    """Where the number is one of the company's: column -> how many rows."""
    columns = {
        "calls.line_number": Calls.line_number,
        "calls.employee_number": Calls.employee_number,
        "call_legs.employee_number": CallLegs.employee_number,
    }
    found = {name: column.model.select().where(column == number).count(db) for name, column in columns.items()}
    return {name: count for name, count in found.items() if count}


@dataclass(frozen=True, slots=True)
class Sweep:
    """Deletes all that the list `who` knows from the call log and the inbox. Numbers are compared by their hashes, so the
    same sweep forgets one number and cleans a restored call log.

    `db` None: only the inbox. `record` None: nothing is deleted, only counted (`who` is then a list of its own, not the
    service's)."""

    db: peewee.Database | None
    inbox: Inbox
    settings: Settings
    who: Forgotten
    record: acts.Record | None

    def run(self) -> Iterator[Counts]:
        """Table -> how many, bite by bite."""
        yield from self._calls()
        for page in self.inbox.pages():
            ids = [stored.delivery.id for stored in page if self._concerns(stored)]
            yield self._delete({"deliveries": len(ids)}, ids, self._erase) if ids else {}
        if self.db is not None:
            yield from self._contacts(self.db)
        if self.record is not None:
            gone = self.inbox.erase_mentions(lambda text: self.who.when_mentioned(text) >= 0)
            if any(gone.values()):
                self.record.begin()
                self.record.add(gone)
            yield gone

    def _delete(self, there: Counts, rows: list[T], delete: Callable[[list[T]], Counts]) -> Counts:
        """One bite, while no batch is between its look at the list and its commit; without a record, what is there."""
        if self.record is None:
            return there
        began = time.monotonic()
        with self.who.held():
            self.record.begin()
            gone = _in_room(self.record, rows, delete, self._make_room)
        give_way(began)
        return gone

    def _make_room(self) -> None:
        self.inbox.truncate_log()
        if self.db is not None:
            truncate_log(self.db)

    # -- calls: those of deliveries in the inbox, then those in the call log

    def _calls(self) -> Iterator[Counts]:
        at, seen = now(), set[CallId]()
        for found in chain(self._calls_of_deliveries(), self._calls_in_log(self.db) if self.db else ()):
            new = [call for call in dict.fromkeys(found) if call not in seen]
            seen.update(new)
            for bite in _bites(new):
                if self.record is None:
                    self.who.add(at, calls=bite)
                if self.db is not None:  # calls that are not in the log, too: no later delivery may make them
                    yield self._delete(_count(self.db, bite), bite, partial(self._remove, self.db, at))
            yield {}

    def _remove(self, db: peewee.Database, at: int, bite: list[CallId]) -> Counts:
        self.who.add(at, calls=[call for call in bite if not self.who.of_call(*call)])
        return batch.remove(db, bite)

    def _calls_of_deliveries(self) -> Iterator[list[CallId]]:
        for page in self.inbox.pages():
            events = ((stored, understood(stored.delivery, self.settings.feeds)[1]) for stored in page)
            yield [(e.provider, e.provider_call_id) for stored, e in events if e and self._concerns(stored, e)]

    def _calls_in_log(self, db: peewee.Database) -> Iterator[list[CallId]]:
        """By their columns, then by what their events mention."""
        columns = (Calls.provider, Calls.provider_call_id, Calls.client_number, Calls.caller_raw, Calls.called_raw,
                   Calls.first_event_at)  # fmt: skip
        for rows in pages(db, ROWS, Calls.id, *columns):
            yield [
                (provider, call)
                for _, provider, call, client, caller, called, first in rows
                if self.who.of_call(provider, call) or self._was(self.who.when_client(client, caller, called), first)
            ]
        for rows in pages(db, ROWS, CallEvents.id, CallEvents.call_id, CallEvents.payload, CallEvents.received_at):
            ids = {call for _, call, payload, at in rows if self._was(self.who.when_mentioned(payload), at)}
            chosen = Calls.select(Calls.provider, Calls.provider_call_id).where(Calls.id.in_(list(ids)))
            yield list(chosen.tuples().execute(db)) if ids else []

    # -- deliveries, contacts

    def _erase(self, ids: list[int]) -> Counts:
        return {"deliveries": self.inbox.erase(ids)}

    def _concerns(self, stored: Stored, event: CallEvent | None = None) -> bool:
        """Whether a delivery brought an event of somebody forgotten, or mentions the number, as one that came before."""
        delivery = stored.delivery
        event = event or understood(delivery, self.settings.feeds)[1]
        if event is not None and self.who.of(event):
            return True
        sent = (delivery.body.decode("utf-8", "replace"), delivery.query)
        texts = [*sent, *(unquote_plus(text) for text in sent if "%" in text or "+" in text), stored.outcome.detail]
        return self.who.when_mentioned(*texts) >= delivery.received_at

    def _contacts(self, db: peewee.Database) -> Iterator[Counts]:
        """Rows of somebody forgotten that were not written since."""
        who = self.who
        for rows in pages(db, ROWS, Contacts.id, Contacts.client_number, Contacts.client_name, Contacts.updated_at):
            ids = [
                id
                for id, number, name, at in rows
                if self._was(max(who.when_client("", number), who.when_mentioned(number, name)), at)
            ]
            for bite in _bites(ids):
                yield self._delete({"contacts": len(bite)}, bite, partial(_remove_contacts, db))

    def _was(self, forgotten_at: int, at: datetime | str | None) -> bool:
        """Whether wall clock `at`, in whole seconds (None: unknown), is from before somebody was forgotten. The same second
        counts while he is being forgotten; when the list is applied again it does not, as it came afterwards."""
        if forgotten_at < 0 or at is None:
            return forgotten_at >= 0
        moment = str(batch.wall(forgotten_at, self.settings.timezone))
        return str(at) < moment or (self.who.is_one and str(at) == moment)


def _remove_contacts(db: peewee.Database, ids: list[int]) -> Counts:
    return {"contacts": Contacts.delete().where(Contacts.id.in_(ids)).execute(db)}


def _count(db: peewee.Database, bite: list[CallId]) -> Counts:
    found = 0
    for provider in {provider for provider, _ in bite}:
        ids = [call for owner, call in bite if owner == provider]
        found += Calls.select().where(Calls.provider == provider, Calls.provider_call_id.in_(ids)).count(db)
    return {"calls": found}


def steps(db: peewee.Database, inbox: Inbox) -> int:
    """How many times `Sweep.run` yields, nearly: for a progress bar."""
    deliveries = next((page[0].delivery.id for page in [inbox.deliveries(limit=1)] if page), 0)
    rows = sum(table.select().count(db) for table in (Calls, CallEvents))
    return int(2 * deliveries / 500 + rows / ROWS) + 4


def truncate_log(db: peewee.Database) -> bool:
    """Empty the -wal of a call log on SQLite, where deleted bytes may still be; False while a reader is in the way."""
    if not isinstance(db, peewee.SqliteDatabase):
        return True
    return sqlite.truncate_log(db.execute_sql)


def _bites(items: list[T]) -> Iterator[list[T]]:
    return (items[start : start + BITE] for start in range(0, len(items), BITE))


def give_way(began: float) -> None:
    """A pause as long as the bite was: others come in between."""
    time.sleep(min(1.0, time.monotonic() - began))


def tried(record: acts.Record, delete: Callable[[], Counts]) -> Counts:
    """One transaction, tried again while others hold its locks."""
    for left in range(TRIES, 0, -1):
        try:
            gone = delete()
            break
        except peewee.OperationalError as error:
            if left == 1 or not (isinstance(error, Busy) or "locked" in str(error)):
                raise
    record.add(gone)
    return gone


def _in_room(
    record: acts.Record, rows: list[T], delete: Callable[[list[T]], Counts], make_room: Callable[[], object]
) -> Counts:
    """One bite; on a full disk half of it at a time, after what was written to SQLite's log went into its database."""
    try:
        return tried(record, partial(delete, rows))
    except (sqlite3.OperationalError, peewee.OperationalError) as error:
        if len(rows) < 2 or not disk_is_full(error):
            raise
    make_room()
    half = len(rows) // 2
    gone = Counter(_in_room(record, rows[:half], delete, make_room))
    gone.update(_in_room(record, rows[half:], delete, make_room))
    return dict(gone)
