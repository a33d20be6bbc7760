"""A call of the call log with its history, and a table page by page. Each is `query(db, ...)`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peewee import Database

from calllog.fold import fold
from models import CallAttributes, CallEvents, CallLegs, CallRecordings, Calls
from schemas.event import CallEvent


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
    nodes: dict[str, str]  # event_key -> the node that has taken it, which may have the delivery still

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
    rows = CallEvents.select(CallEvents.payload, CallEvents.event_key, CallEvents.node).where(CallEvents.call_id == id)
    found = list(rows.tuples().execute(db))
    events = sorted((CallEvent.from_payload(payload) for payload, *_ in found), key=lambda e: (e.moment, e.event_key))
    nodes = {event_key: node for _, event_key, node in found}
    return Story(row[0], legs, recordings, attributes, events, fold(events).sources if events else {}, nodes)


def call_of(db: Database, event_key: str) -> int | None:
    """The id of the call that has this event."""
    found: int | None = CallEvents.select(CallEvents.call_id).where(CallEvents.event_key == event_key).scalar(db)
    return found
