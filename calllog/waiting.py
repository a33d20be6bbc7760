"""The list of people to call back: missed calls of some days by client, as the page and `/api/callbacks` show it."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from peewee import Database

from calllog import callbacks
from calllog.callbacks import OPEN, Client, Missed, Outcome
from calllog.days import Days
from config import WorkingHours

READ_SECONDS = 1.0  # of days that nobody asked for yet, in one question


class Asked(NamedTuple):
    """Whose missed calls: that began from `since` to before `until`, on a line, while somebody is there to answer or while
    nobody is, and what became of the client (of callbacks.STATES)."""

    since: datetime
    until: datetime
    line: str = ""
    working: bool | None = None
    states: tuple[str, ...] = OPEN


class Found(NamedTuple):
    """The clients that are asked for, who waits the longest first; of everybody whose calls were missed then how many there
    are in each state, and the missed calls, those of hidden numbers apart. `unread`: days that were not reached in time;
    then nothing else is said."""

    people: list[Client]
    states: Counter[str]
    missed: int
    hidden: int
    unread: int = 0

    @property
    def still_open(self) -> int:
        """People whom nobody has talked to since."""
        return sum(self.states[state] for state in OPEN)


def people(db: Database, days: Days, hours: WorkingHours, latest: datetime, *asked: Asked) -> list[Found]:
    """What is found for each of several questions."""
    first = min(one.since for one in asked).date()
    last = min(max((one.until - timedelta(seconds=1)).date() for one in asked), latest.date())
    span = days.span(db, min(first, last), last, latest, READ_SECONDS)
    if span.unread:
        return [Found([], Counter(), 0, 0, span.unread)] * len(asked)
    ahead = callbacks.missed_ahead(db, latest, min(one.since for one in asked))
    pairs = [*span.missed, *zip(ahead, callbacks.outcomes(db, ahead, latest), strict=True)]
    return [_of(pairs, one, hours) for one in asked]


def _of(pairs: Iterable[tuple[Missed, Outcome]], asked: Asked, hours: WorkingHours) -> Found:
    chosen = [
        (call, outcome)
        for call, outcome in pairs
        if asked.since <= call.started_at < asked.until
        and (not asked.line or call.line_number == asked.line)
        and (asked.working is None or hours.open_at(call.started_at) is asked.working)
    ]
    everybody = callbacks.clients(chosen)
    return Found(
        [client for client in everybody if client.state in asked.states],
        Counter(client.state for client in everybody),
        len(chosen),
        sum(call.hidden for call, _ in chosen),
    )
