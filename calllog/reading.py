"""Queries over the call log: one call with its history, search, changes. Each is `query(db, ...)`."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from peewee import SQL, Database

import schemas
from calllog.database import on_mysql
from calllog.fold import fold
from models import CallAttributes, CallEvents, CallLegs, CallRecordings, Calls, columns
from schemas.event import CallEvent
from schemas.fields import phone


@dataclass(slots=True)
class Story:
    """A call as `pbx-connector calls show` and the operator page show it: the row, its parts, its events, and which event
    gave which column."""

    row: dict[str, Any]
    legs: list[dict[str, Any]]
    recordings: list[dict[str, Any]]
    attributes: list[dict[str, Any]]
    events: list[CallEvent]
    sources: dict[str, tuple[str, ...]]

    def gave(self, event: CallEvent) -> list[str]:
        """The columns that an event gave."""
        return [name for name, keys in self.sources.items() if event.event_key in keys]


def pages(db: Database, size: int, id: Any, *columns: Any) -> Iterator[list[tuple[Any, ...]]]:
    """(id, columns) of every row of a table, in the order of ids, page by page."""
    last: Any = 0
    while True:
        query = id.model.select(id, *columns).where(id > last).order_by(id).limit(size)
        rows = list(query.tuples().execute(db))
        if not rows:
            return
        last = rows[-1][0]
        yield rows


def story(db: Database, id: int) -> Story | None:
    """The call with this id, or None."""
    row = Calls.select().where(Calls.id == id).dicts().execute(db)
    if not row:
        return None
    legs, recordings, attributes = (
        list(table.select().where(table.call_id == id).order_by(order).dicts().execute(db))
        for table, order in (
            (CallLegs, CallLegs.id),
            (CallRecordings, CallRecordings.id),
            (CallAttributes, CallAttributes.name),
        )
    )
    payloads = CallEvents.select(CallEvents.payload).where(CallEvents.call_id == id).tuples().execute(db)
    events = sorted((CallEvent.from_payload(payload) for (payload,) in payloads), key=lambda e: (e.moment, e.event_key))
    return Story(row[0], legs, recordings, attributes, events, fold(events).sources if events else {})


def call_of(db: Database, event_key: str) -> int | None:
    """The id of the call that has this event."""
    found: int | None = CallEvents.select(CallEvents.call_id).where(CallEvents.event_key == event_key).scalar(db)
    return found


# -------------------------------------------------------------------------------------------------------------- search

SEARCHED = 10_000  # calls that one search looks through at the most
OF_ONE = 2000  # calls of one number or extension that it finds


class Wanted(NamedTuple):
    """Which calls a person looks for; `sought` is a phone number in any spelling, or the provider's id of a call. Moments
    are wall clock in TIMEZONE, `before` (with the id there) is where the page before ended."""

    sought: str = ""
    ext: str = ""
    direction: str = ""
    provider: str = ""
    missed: bool = False
    since: datetime | None = None
    until: datetime | None = None
    before: tuple[datetime, int] | None = None
    latest: datetime | None = None  # a call that claims a later start stands where its first event was received


class Page(NamedTuple):
    """Calls, the newest first. `on` is where the next page begins, None at the end; `looked_to` how far back the search
    looked, None if to the log's beginning."""

    calls: list[dict[str, Any]]
    on: tuple[datetime, int] | None
    looked_to: datetime | None


def search(db: Database, wanted: Wanted, limit: int = 50) -> Page:
    """Calls by what a person remembers of them. Bounded by an index, whatever the log's size: the newest OF_ONE calls of a
    number or an extension, else SEARCHED calls by their start."""
    moments = (wanted.until, wanted.before and wanted.before[0], wanted.latest)
    last = min((moment for moment in moments if moment), default=None)
    ids, looked_to = _of_one(db, wanted), None
    chosen = Calls.select()
    if ids is not None:
        chosen = chosen.where(Calls.id.in_(sorted(ids, reverse=True)[: 2 * OF_ONE]))
    else:
        starts = Calls.select(Calls.started_at).order_by(Calls.started_at.desc())
        if last:
            starts = starts.where(Calls.started_at <= last)
        looked_to = starts.limit(1).offset(SEARCHED).scalar(db)
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
    newest = _like(chosen, wanted).order_by(Calls.started_at.desc(), Calls.id.desc()).limit(limit)
    rows = list(newest.dicts().execute(db)) + _ahead(db, wanted, ids, limit, looked_to)
    rows = sorted(rows, key=lambda row: _place(row, wanted), reverse=True)[:limit]
    if len(rows) == limit:
        return Page(rows, _place(rows[-1], wanted), None)
    # of the calls that began in that very second some may have been looked at: they are looked at again
    return Page(rows, (looked_to, HIGHEST) if looked_to else None, looked_to)


def _like(chosen: Any, wanted: Wanted) -> Any:
    for column, value in ((Calls.direction, wanted.direction), (Calls.provider, wanted.provider)):
        if value:
            chosen = chosen.where(column == value)
    return chosen.where(Calls.is_missed == 1) if wanted.missed else chosen


def _place(row: dict[str, Any], wanted: Wanted) -> tuple[datetime, int]:
    """Where a call stands on the list."""
    ahead = wanted.latest is not None and row["started_at"] > wanted.latest
    return (row["first_event_at"] or row["started_at"]) if ahead else row["started_at"], row["id"]


def _ahead(
    db: Database, wanted: Wanted, ids: set[int] | None, limit: int, looked_to: datetime | None
) -> list[dict[str, Any]]:
    """Calls that claim to begin after `latest`, by the receipt: one dated 2099 would hide every other for ever."""
    if wanted.latest is None:
        return []
    claimed = Calls.select(Calls.id).where(Calls.started_at > wanted.latest).order_by(Calls.started_at.desc())
    there = {id for (id,) in claimed.limit(SEARCHED).tuples().execute(db)}
    there = there if ids is None else there & ids
    if not there:
        return []
    chosen = _like(Calls.select().where(Calls.id.in_(sorted(there, reverse=True)[: 2 * OF_ONE])), wanted)
    at = Calls.first_event_at
    if wanted.before:
        chosen = chosen.where((at < wanted.before[0]) | ((at == wanted.before[0]) & (Calls.id < wanted.before[1])))
    for far, moment in (
        (at > wanted.until, wanted.until),
        (at < wanted.since, wanted.since),
        (at < looked_to, looked_to),
    ):
        if moment:
            chosen = chosen.where(~far)
    return list(chosen.order_by(at.desc(), Calls.id.desc()).limit(limit).dicts().execute(db))


def _of_one(db: Database, wanted: Wanted) -> set[int] | None:
    """Ids of the newest calls of the number and the extension that are wanted, None where neither is."""
    windows: list[set[int]] = []
    if wanted.sought:
        providers = Calls.provider.in_(sorted({feed.provider for feed in schemas.feeds().values()}))
        windows.append(
            _newest(db, Calls.id, Calls.client_number == phone(wanted.sought))
            | _newest(db, Calls.id, providers & (Calls.provider_call_id == wanted.sought))
        )
    if wanted.ext:
        windows.append(
            _newest(db, Calls.id, Calls.employee_ext == wanted.ext)
            | _newest(db, CallLegs.call_id, CallLegs.employee_ext == wanted.ext)
        )
    return set.intersection(*windows) if windows else None


def _newest(db: Database, column: Any, match: Any) -> set[int]:
    # rowid is in every index of SQLite, id is not (models.Key); ids grow, so both put the newest first
    order = column.model.id if on_mysql(db) else SQL("rowid")
    rows = column.model.select(column).where(match).order_by(order.desc()).limit(OF_ONE).tuples().execute(db)
    return {id for (id,) in rows}


# ------------------------------------------------------------------------------------------------------------- changes

SPAN = 5000  # change numbers that one query looks through at the most
HIGHEST = 2**63 - 1  # of a BIGINT


class Changes(NamedTuple):
    """Changed calls with their legs, in the order of change_no. `position` is the `after` of the next query, `more`
    whether it would find more now."""

    position: int
    more: bool
    calls: list[dict[str, Any]]


def changes(db: Database, after: int, limit: int) -> Changes:
    """Calls that changed after a change_no, at most `limit` of them (docs/contract.md section 3)."""
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
        found = CallLegs.select().where(CallLegs.call_id.in_(list(legs))).order_by(CallLegs.id)
        for leg in found.dicts().execute(db):
            legs[leg["call_id"]].append({name: leg[name] for name in names})
    return Changes(until, until < last, [{**row, "legs": legs[row["id"]]} for row in rows])


def concerns(call: dict[str, Any], ext: str) -> bool:
    """Whether a call with its legs is one of this extension (or employee's number, for providers that know no extensions):
    whoever talked, any leg, or ringing with nobody named yet."""
    number = phone(ext)
    named = [part for part in (call, *call["legs"]) if part["employee_ext"] or part["employee_number"]]
    if not named:
        return bool(call["state"] == "ringing")
    return any(part["employee_ext"] == ext or part["employee_number"] == number for part in named)
