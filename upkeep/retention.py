"""Terms of keeping: what is past its days is deleted in bites, and leaves a destruction record."""

import time
from collections.abc import Iterator
from functools import partial

import peewee

from calllog import batch
from config import Settings
from inbox import Inbox
from inbox.judge import DAY
from models import Calls
from upkeep import acts
from upkeep.bites import BITE, Counts, give_way, in_room, truncate_log
from upkeep.forgotten import CallId

EXPIRED_TERM = "истёк срок хранения (INBOX_DAYS, CALLS_DAYS, DEAD_DAYS)"
BY_HAND = "уведомления старше {days} дн. удалены по решению оператора"


# --------------------------------------------------------------------------------------------------------------- purge


def purge_inbox(
    inbox: Inbox, settings: Settings, record: acts.Record | None, at: int, days: int, dead: bool = False
) -> Counts:
    """Delete forwarded and ignored deliveries older than `days`; dead letters past DEAD_DAYS, or CALLS_DAYS where that is
    shorter (a replay would be ignored as too old), with `dead` those older than `days` too. Returns state -> how many,
    without a record only how many there are. `at`: milliseconds since 1970 UTC."""
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
    dead_before = at - min(settings.dead_days, settings.calls_days or settings.dead_days) * DAY
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
        yield in_room(page, lambda calls: batch.remove(db, calls, past), partial(truncate_log, db), record.add)
        give_way(began)


def count_past(db: peewee.Database, settings: Settings, at: int) -> tuple[int, int]:
    """(how many calls `purge_calls` would delete, how many there are)."""
    past = Calls.state.in_(("ended", "")) & (Calls.last_event_at < _before(settings, at))
    return Calls.select(Calls.id).where(past).count(db), Calls.select(Calls.id).count(db)


def _before(settings: Settings, at: int) -> str | None:
    return batch.wall(at - settings.calls_days * DAY, settings.timezone)
