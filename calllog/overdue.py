"""Calls whose end never came: the events that the forwarder adds itself."""

from collections.abc import Iterable
from datetime import datetime, tzinfo

from peewee import Database, fn

from calllog.batch import stored_events, wall
from calllog.fold import settles_at
from models import CallEvents, Calls
from schemas.event import EXPIRED, HANGUP, SETTLED, CallEvent
from schemas.reading import KEY_VERSION, sha256


def overdue(
    db: Database, *, zone: tzinfo, now: int, expire_hours: float, settle_seconds: int, settling: Iterable[str]
) -> list[CallEvent]:
    """`expired` events for calls that have not ended EXPIRE_HOURS after their last event, and `settled` ones for calls
    of the `settling` providers SETTLE_SECONDS after their last hangup. Their keys repeat, so any number of nodes may
    say it; a real end that comes later outranks them."""
    expires = int(expire_hours * 3_600_000)
    late, quiet = wall(now - expires, zone), wall(now - settle_seconds * 1000, zone)
    open_calls = Calls.select(Calls.id, Calls.provider, Calls.provider_call_id, Calls.last_event_at).where(
        Calls.state.in_(("ringing", "talking"))
    )
    found = []
    for _, provider, call, last in open_calls.where(Calls.last_event_at < late).limit(500).tuples().execute(db):
        found.append(own_event(EXPIRED, provider, call, at=_moment(last, zone) + expires))
    hung_up = CallEvents.select(CallEvents.id).where(CallEvents.call_id == Calls.id, CallEvents.kind == HANGUP)
    maybe = open_calls.where(Calls.provider.in_(list(settling)), Calls.last_event_at < quiet, fn.EXISTS(hung_up))
    last_id = 0
    while len(found) < 500:  # all of them are looked at, or those that wait for a leg would hide the others
        page = list(maybe.where(Calls.id > last_id).order_by(Calls.id).limit(200).tuples().execute(db))
        if not page:
            break
        last_id = page[-1][0]
        events = stored_events(db, [id for id, *_ in page])
        for id, provider, call, _ in page:
            at = settles_at(events[id], settle_seconds)
            if at is not None and at <= now:
                found.append(own_event(SETTLED, provider, call, at))
    return found


def _moment(value: datetime | str, zone: tzinfo) -> int:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return int(moment.replace(tzinfo=zone).timestamp()) * 1000


def own_event(kind: str, provider: str, provider_call_id: str, at: int) -> CallEvent:
    """An event that the forwarder adds itself, by the same path and with a key that repeats."""
    key = sha256(f"{KEY_VERSION}\n{provider}\n{provider_call_id}\n{kind}")
    return CallEvent("", provider, provider_call_id, kind, key, at)
