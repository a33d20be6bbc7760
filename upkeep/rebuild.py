"""Rebuild: today's rules for old calls. Deliveries are understood again, and calls folded anew, by the one path."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import peewee

from calllog import batch
from config import Settings
from inbox import REJECTED, Inbox, now
from inbox.judge import understood
from inbox.links import with_known_links
from models import CallEvents, Calls
from schemas.event import CallEvent

BATCH = 100  # calls in one transaction

Differences = dict[int, dict[str, tuple[Any, Any]]]


def count(db: peewee.Database, since: datetime | None, feed: str | None) -> int:
    """How many calls `rebuild` looks at."""
    found: int = _chosen(since, feed).count(db)
    return found


def rebuild(
    db: peewee.Database, inbox: Inbox, settings: Settings, *, since: datetime | None, feed: str | None, dry_run: bool
) -> Iterator[tuple[int, Differences]]:
    """(how many calls were looked at, what changed of them), batch by batch; with `dry_run` what would change.

    `since` is wall clock in TIMEZONE: calls whose last event is not older. An event whose delivery this inbox has no more
    (purged, or another node's) stays as it was understood. Ids are kept; change_no moves for what changed. Raises what
    batch.apply raises; the batches before are written then.
    """
    last = 0
    while True:
        page = _chosen(since, feed).where(Calls.id > last).order_by(Calls.id).limit(BATCH)
        ids = [id for (id,) in page.tuples().execute(db)]
        if not ids:
            return
        last = ids[-1]
        stored = batch.stored_events(db, ids)
        events = {
            id: [_again(event, inbox, settings) for event in of_call] for id, of_call in stored.items() if of_call
        }
        changes = batch.differences(db, events, settings.timezone) if events else {}
        # an event may be understood better without a change of the row: it is kept all the same
        if events and not dry_run:
            applied = batch.apply(
                db, [event for of_call in events.values() for event in of_call],
                node=inbox.node(), zone=settings.timezone, now=now(), known=inbox.position(),
                reach=inbox.reach, create_missing=False,
            )  # fmt: skip
            inbox.settle([], applied.position)
        yield len(ids), changes


def _chosen(since: datetime | None, feed: str | None) -> Any:
    chosen = Calls.select(Calls.id)
    if since is not None:
        chosen = chosen.where(Calls.last_event_at >= since)
    if feed is not None:
        chosen = chosen.where(Calls.id.in_(CallEvents.select(CallEvents.call_id).where(CallEvents.feed == feed)))
    return chosen


def _again(event: CallEvent, inbox: Inbox, settings: Settings) -> CallEvent:
    """The event as today's rules understand its first delivery; as it was where that is gone or is refused today."""
    brought = [stored for stored in inbox.with_event(event.event_key) if stored.outcome.reason != REJECTED]
    if not brought:
        return event
    delivery = min((stored.delivery for stored in brought), key=lambda one: one.received_at)
    _, again = understood(delivery, settings.feeds)
    if again is None:
        return event
    if again.event_key != event.event_key or again.provider_call_id != event.provider_call_id:
        return event  # another event: `pbx-connector inbox replay` stores it beside this one
    again = with_known_links(again, settings, inbox)
    return again._replace(received_at=min(again.received_at, event.received_at))
