"""Terms of keeping: what is past its days is purged, who asks for it is forgotten; each leaves a destruction record.

Both delete as docs/decisions/0010-forgetting.md says: in bites, with the batch's locks, so that nobody waits long.
"""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote_plus

import peewee

from calllog import batch
from config import Settings
from inbox import Inbox, Stored, now
from inbox.judge import DAY, understood
from models import CallEvents, CallLegs, Calls, Contacts
from schemas.event import CallEvent
from upkeep import acts
from upkeep.forgotten import CallId, Forgotten

T = TypeVar("T")

BITE = 200  # calls in one transaction
PAGE = 5000  # rows that are looked through at once
TRIES = 10  # of one bite, while others hold the locks
BUSY = (1020, 1205, 1213)  # changed meanwhile, lock wait, deadlock
EXPIRED_TERM = "истёк срок хранения (INBOX_DAYS, CALLS_DAYS)"

Counts = dict[str, int]


# --------------------------------------------------------------------------------------------------------------- purge


def purge_inbox(inbox: Inbox, settings: Settings, record: acts.Record, at: int) -> Counts:
    """Delete forwarded and ignored deliveries past INBOX_DAYS, dead letters past CALLS_DAYS if that is set (a replay would
    be ignored as too old); returns state -> how many. `at`: milliseconds since 1970 UTC."""
    dead = at - settings.calls_days * DAY if settings.calls_days else False
    gone = inbox.purge(at - settings.inbox_days * DAY, dead)
    if any(gone.values()):
        record.begin()
        record.add(gone)
        inbox.truncate_log()
    return gone


def purge_calls(db: peewee.Database, settings: Settings, record: acts.Record, at: int) -> Iterator[Counts]:
    """Delete ended calls whose last event is past CALLS_DAYS, bite by bite; yields table -> how many. Open calls never."""
    past = Calls.state.in_(("ended", "")) & (Calls.last_event_at < _before(settings, at))
    while settings.calls_days:
        chosen = Calls.select(Calls.provider, Calls.provider_call_id).where(past).limit(BITE)
        page = list(chosen.tuples().execute(db))
        if not page:
            truncate_log(db)
            return
        record.begin()
        began = time.monotonic()
        yield _bite(record, partial(batch.remove, db, page, past))
        _give_way(began)


def overdue(db: peewee.Database, settings: Settings, at: int) -> int:
    """How many calls `purge_calls` would delete."""
    past = Calls.state.in_(("ended", "")) & (Calls.last_event_at < _before(settings, at))
    count: int = Calls.select(Calls.id).where(past).count(db) if settings.calls_days else 0
    return count


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


def sweep(
    db: peewee.Database | None, inbox: Inbox, settings: Settings, who: Forgotten, record: acts.Record | None
) -> Iterator[Counts]:
    """Delete all that the list `who` knows from the call log and the inbox; yields table -> how many as it goes, without a
    record only how many there are (`who` is then a list of its own, not the service's). Numbers are compared by their
    hashes, so the same sweep forgets one number and cleans a restored call log. `db` None: of the inbox only."""
    at, seen = now(), set[CallId]()
    for bite in _bites(_told_calls(inbox, settings, who), _stored_calls(db, settings, who) if db else iter(())):
        new = [call for call in bite if call not in seen]
        seen.update(new)
        if record is None:
            who.add(at, calls=new)
        yield _delete(who, record, _counted(db, new), partial(_remove_calls, db, who, new, at)) if new and db else {}
    for page in inbox.pages():
        ids = [stored.delivery.id for stored in page if _concerns(stored, settings, who)]
        yield _delete(who, record, {"deliveries": len(ids)}, partial(_erase, inbox, ids)) if ids else {}
    rows = list(_contacts(db, settings, who)) if db else []
    for start in range(0, len(rows), BITE):
        ids = rows[start : start + BITE]
        yield _delete(who, record, {"contacts": len(ids)}, partial(_remove_contacts, db, ids)) if db else {}
    if record is not None:
        gone = inbox.erase_mentions(lambda text: who.when_mentioned(text) >= 0)
        if any(gone.values()):
            record.begin()
            record.add(gone)
        yield gone


def _remove_calls(db: peewee.Database, who: Forgotten, bite: list[CallId], at: int) -> Counts:
    who.add(at, calls=[call for call in bite if not who.of_call(*call)])
    return batch.remove(db, bite)


def _erase(inbox: Inbox, ids: list[int]) -> Counts:
    return {"deliveries": inbox.erase(ids)}


def _remove_contacts(db: peewee.Database, ids: list[int]) -> Counts:
    return {"contacts": Contacts.delete().where(Contacts.id.in_(ids)).execute(db)}


def steps(db: peewee.Database, inbox: Inbox) -> int:
    """How many times `sweep` yields, nearly: for a progress bar."""
    deliveries = next((page[0].delivery.id for page in [inbox.deliveries(limit=1)] if page), 0)
    rows = sum(table.select().count(db) for table in (Calls, CallEvents))
    return int(2 * deliveries / 500 + rows / PAGE) + 4


def truncate_log(db: peewee.Database) -> bool:
    """Empty the -wal of a call log on SQLite, where deleted bytes may still be; False while a reader is in the way."""
    if not isinstance(db, peewee.SqliteDatabase):
        return True
    return bool(db.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)


def _told_calls(inbox: Inbox, settings: Settings, who: Forgotten) -> Iterator[list[CallId]]:
    """Calls that the inbox's deliveries tell of somebody forgotten, page by page."""
    for page in inbox.pages():
        found = {}
        for stored in page:
            _, event = understood(stored.delivery, settings.feeds)
            if event is not None and _concerns(stored, settings, who, event):
                found[event.provider, event.provider_call_id] = True
        yield list(found)


def _stored_calls(db: peewee.Database, settings: Settings, who: Forgotten) -> Iterator[list[CallId]]:
    """Calls in the call log of somebody forgotten: by their columns, then by what their events mention."""
    columns = (Calls.id, Calls.provider, Calls.provider_call_id, Calls.client_number, Calls.caller_raw, Calls.called_raw,
               Calls.first_event_at)  # fmt: skip
    for rows in _rows(db, *columns):
        yield [
            (provider, call)
            for _, provider, call, client, caller, called, first in rows
            if who.of_call(provider, call) or _was(who, who.when_client(client, caller, called), first, settings)
        ]
    for rows in _rows(db, CallEvents.id, CallEvents.call_id, CallEvents.payload, CallEvents.received_at):
        ids = {call for _, call, payload, at in rows if _was(who, who.when_mentioned(payload), at, settings)}
        if ids:
            chosen = Calls.select(Calls.provider, Calls.provider_call_id).where(Calls.id.in_(list(ids)))
            yield list(chosen.tuples().execute(db))
        else:
            yield []


def _contacts(db: peewee.Database, settings: Settings, who: Forgotten) -> Iterator[int]:
    """Rows of somebody forgotten that were not written since."""
    for rows in _rows(db, Contacts.id, Contacts.client_number, Contacts.client_name, Contacts.updated_at):
        for id, number, name, at in rows:
            if _was(who, max(who.when_client("", number), who.when_mentioned(number, name)), at, settings):
                yield id


def _concerns(stored: Stored, settings: Settings, who: Forgotten, event: CallEvent | None = None) -> bool:
    """Whether a delivery brought an event of somebody forgotten, or mentions the number, as one that came before."""
    delivery = stored.delivery
    event = event or understood(delivery, settings.feeds)[1]
    if event is not None and who.of(event):
        return True
    sent = (delivery.body.decode("utf-8", "replace"), delivery.query)
    texts = [*sent, *(unquote_plus(text) for text in sent if "%" in text or "+" in text), stored.outcome.detail]
    return who.when_mentioned(*texts) >= delivery.received_at


def _was(who: Forgotten, forgotten_at: int, at: datetime | str | None, settings: Settings) -> bool:
    """Whether wall clock `at`, in whole seconds (None: nobody knows), is of before somebody was forgotten. What is of the
    same second goes while he is being forgotten, and stays when the list is applied again: it was taken since."""
    if forgotten_at < 0 or at is None:
        return forgotten_at >= 0
    moment = str(batch.wall(forgotten_at, settings.timezone))
    return str(at) < moment or (who.is_one and str(at) == moment)


def _rows(db: peewee.Database, id: Any, *columns: Any) -> Iterator[list[tuple[Any, ...]]]:
    last = 0
    while True:
        query = id.model.select(id, *columns).where(id > last).order_by(id).limit(PAGE)
        rows = list(query.tuples().execute(db))
        if not rows:
            return
        last = rows[-1][0]
        yield rows


def _bites(*found: Iterator[list[CallId]]) -> Iterator[list[CallId]]:
    for pages in found:
        for page in pages:
            yield page[:BITE]
            for start in range(BITE, len(page), BITE):
                yield page[start : start + BITE]


def _counted(db: peewee.Database, bite: list[CallId]) -> Counts:
    found = 0
    for provider in {provider for provider, _ in bite}:
        ids = [call for owner, call in bite if owner == provider]
        found += Calls.select().where(Calls.provider == provider, Calls.provider_call_id.in_(ids)).count(db)
    return {"calls": found}


def _delete(who: Forgotten, record: acts.Record | None, there: Counts, delete: Callable[[], Counts]) -> Counts:
    """A bite of a sweep, while no batch is between its look at the list and its commit; without a record, what is there."""
    began = time.monotonic()
    with who.held():
        if record is None:
            return there
        record.begin()
        gone = _bite(record, delete)
    _give_way(began)
    return gone


def _give_way(began: float) -> None:
    """A pause as long as the bite was: others come in between."""
    time.sleep(min(1.0, time.monotonic() - began))


def _bite(record: acts.Record, delete: Callable[[], Counts]) -> Counts:
    """One transaction, tried again while others hold its locks."""
    for left in range(TRIES, 0, -1):
        try:
            gone = delete()
            break
        except peewee.OperationalError as error:
            if left == 1 or not (error.args[0] in BUSY or "locked" in str(error)):
                raise
    record.add(gone)
    return gone
