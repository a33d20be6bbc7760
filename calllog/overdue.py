"""Calls whose end never came: the events that the forwarder adds itself."""

from collections.abc import Iterable
from datetime import tzinfo

from peewee import Database, fn

from calllog.batch import stored_events, wall
from calllog.fold import settles_at
from models import CallEvents, Calls
from schemas.event import EXPIRED, HANGUP, SETTLED, SILENCES, CallEvent
from schemas.reading import KEY_VERSION, sha256


def overdue(
    db: Database, *, zone: tzinfo, now: int, expire_hours: float, settle_seconds: int, settling: Iterable[str]
) -> list[CallEvent]:
    """`expired` events for calls that have not ended EXPIRE_HOURS after their last event, and `settled` ones for calls
    of the `settling` providers SETTLE_SECONDS after their last hangup. Their keys repeat while nothing else comes, so any
    number of nodes may say it; what comes later takes it back."""
    expires = int(expire_hours * 3_600_000)
    late, quiet = wall(now - expires, zone), wall(now - settle_seconds * 1000, zone)
    open_calls = Calls.select(Calls.id).where(Calls.state.in_(("ringing", "talking")))
    found = []
    forgotten = [id for (id,) in open_calls.where(Calls.last_event_at < late).limit(500).tuples().execute(db)]
    for events in stored_events(db, forgotten).values():
        if events:
            found.append(own_event(EXPIRED, events, after=expires))
    hung_up = CallEvents.select(CallEvents.id).where(CallEvents.call_id == Calls.id, CallEvents.kind == HANGUP)
    maybe = open_calls.where(Calls.provider.in_(list(settling)), Calls.last_event_at < quiet, fn.EXISTS(hung_up))
    last_id = 0
    while len(found) < 500:  # all of them are looked at, or those that wait for a leg would hide the others
        page = [id for (id,) in maybe.where(Calls.id > last_id).order_by(Calls.id).limit(200).tuples().execute(db)]
        if not page:
            break
        last_id = page[-1]
        for events in stored_events(db, page).values():
            at = settles_at(events, settle_seconds)
            if at is not None and at <= now:
                found.append(own_event(SETTLED, events, at=at))
    return found


def own_event(kind: str, events: Iterable[CallEvent], *, at: int = 0, after: int = 0) -> CallEvent:
    """An event that the forwarder adds itself, by the same path: a silence (words.SILENCES) after the last of these events
    of a call, over at `at`, else `after` milliseconds after it. The key says which event that was, so it repeats until
    another one comes; occurred_at says when it was received, so that the fold sees what has broken the silence."""
    last = max((e for e in events if e.kind not in SILENCES), key=lambda event: (event.received_at, event.event_key))
    key = sha256(f"{KEY_VERSION}\n{last.provider}\n{last.provider_call_id}\n{kind}\n{last.event_key}")
    since = last.received_at
    return CallEvent("", last.provider, last.provider_call_id, kind, key, at or since + after, occurred_at=since)
