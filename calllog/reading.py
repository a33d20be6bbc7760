"""Queries over the call log: one call with its history; changes. Each is `query(db, ...)`. Search is beside it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from peewee import Database

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
