"""Calls whose end never came: the events that the forwarder adds itself."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Self

from peewee import Database, fn

import schemas
from calllog.batch import UNMEASURED, as_call, stored_events, wall
from calllog.fold import settles_at
from config import Settings
from models import CallEvents, Calls
from schemas.event import EXPIRED, HANGUP, SETTLED, SILENCES, CallEvent
from schemas.reading import KEY_VERSION, sha256

MOST = 500  # events at a time
PAGE = 200  # calls that are looked at at once


@dataclass(frozen=True, slots=True)
class Terms:
    """After what silence a call is over: EXPIRE_HOURS; SETTLE_SECONDS with one of the `settling` providers."""

    expire_hours: float
    settle_seconds: int
    settling: Collection[str]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """This node's."""
        settling = {feed.provider for feed in schemas.feeds().values() if feed.settles}
        return cls(settings.expire_hours, settings.settle_seconds, settling)

    def expired(self, events: list[CallEvent], now: int) -> CallEvent | None:
        """`expired`, EXPIRE_HOURS after the last of an open call's events."""
        expires = int(self.expire_hours * 3_600_000)
        late = max(event.received_at for event in events) + expires <= now
        return own_event(EXPIRED, events, after=expires) if late else None

    def settled(self, events: list[CallEvent], now: int) -> CallEvent | None:
        """`settled`, SETTLE_SECONDS after the last hangup of an open call."""
        at = settles_at(events, self.settle_seconds) if events[0].provider in self.settling else None
        return own_event(SETTLED, events, at=at) if at is not None and at <= now else None


def overdue(db: Database, terms: Terms, *, zone: tzinfo, now: int) -> list[CallEvent]:
    """`expired` events for calls that have not ended EXPIRE_HOURS after their last event, and `settled` ones for calls
    of the `settling` providers SETTLE_SECONDS after their last hangup. Their keys repeat while nothing else comes, so any
    number of nodes may say it; what comes later takes it back.

    The rows' wall clock only chooses whom to look at: it may have been written under another TIMEZONE. What is judged is
    when the events were received, in milliseconds."""
    late, quiet = wall(now - int(terms.expire_hours * 3_600_000), zone), wall(now - terms.settle_seconds * 1000, zone)
    hung_up = CallEvents.select(CallEvents.id).where(CallEvents.call_id == Calls.id, CallEvents.kind == HANGUP)
    found: list[CallEvent] = []
    _judge(db, Calls.last_event_at < late, lambda events: terms.expired(events, now), found)
    chosen = Calls.provider.in_(list(terms.settling)) & (Calls.last_event_at < quiet) & fn.EXISTS(hung_up)
    _judge(db, chosen, lambda events: terms.settled(events, now), found)
    return found


def end_of(events: list[CallEvent], terms: Terms, now: int) -> CallEvent | None:
    """The event by which silence has ended the call of these events, none of them a silence; None where it has not."""
    if as_call(events).columns["state"] == "ended":
        return None
    return terms.settled(events, now) or terms.expired(events, now)


def _judge(
    db: Database, chosen: Any, judge: Callable[[list[CallEvent]], CallEvent | None], found: list[CallEvent]
) -> None:
    """Append what `judge` makes of the open calls for which `chosen` holds, up to MOST. All of them are looked at, or those
    that wait on would hide the others."""
    open_calls = Calls.select(Calls.id, Calls.events_count).where(Calls.state.in_(("ringing", "talking")), chosen)
    last_id = 0
    while len(found) < MOST:
        query = open_calls.where(Calls.id > last_id).order_by(Calls.id).limit(PAGE)
        page = list(query.tuples().execute(db))
        if not page:
            return
        last_id = page[-1][0]
        for ids in _bites(page):
            events = filter(None, stored_events(db, ids).values())
            found += filter(None, map(judge, events))


def _bites(page: list[tuple[int, int]]) -> Iterator[list[int]]:
    """The ids of (id, events_count) in lists of not too many events each."""
    ids: list[int] = []
    events = 0
    for id, count in page:
        if ids and events + count > UNMEASURED:
            yield ids
            ids, events = [], 0
        ids.append(id)
        events += count
    yield ids


def own_event(kind: str, events: Iterable[CallEvent], *, at: int = 0, after: int = 0) -> CallEvent:
    """An event that the forwarder adds itself, by the same path: a silence (words.SILENCES) after the last of these events
    of a call, over at `at`, else `after` milliseconds after it. The key says which event that was, so it repeats until
    another one comes; occurred_at says when it was received, so that the fold sees what has broken the silence."""
    last = max((e for e in events if e.kind not in SILENCES), key=lambda event: (event.received_at, event.event_key))
    key = sha256(f"{KEY_VERSION}\n{last.provider}\n{last.provider_call_id}\n{kind}\n{last.event_key}")
    since = last.received_at
    return CallEvent("", last.provider, last.provider_call_id, kind, key, at or since + after, occurred_at=since)
