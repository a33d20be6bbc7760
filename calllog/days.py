"""What a worker keeps of each day of the call log, so that a page about a month does not read the month again.

A day is right as long as three things hold: the call log is the same one (its incarnation); no call with a change_no above
the one that the log had when the day was read begins on it; and it has as many calls as then. Whatever is written, by a
batch or a rebuild, gets a higher change_no; whatever is deleted or begins on another day now (purge, forget, a taken back
delivery) leaves fewer. No row is written for it and no lock taken.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain
from typing import NamedTuple

from peewee import Database

from calllog import callbacks, statistics
from calllog.callbacks import FORMAT, Missed, Outcome
from calllog.statistics import Figures
from config import WorkingHours

RINGS = timedelta(hours=4)  # at the longest, before somebody answers: a call of the day before may be talked to today


@dataclass(slots=True)
class Day:
    """A day as it was read: how many calls it has, its missed ones with what followed each, and its figures if somebody
    asked for them. `outcomes` has None where nobody has looked, or where it may be something else by now; `rests_on` the
    last day that an outcome rests on, None where it is that nothing followed."""

    calls: int
    missed: list[Missed]
    outcomes: list[Outcome | None]
    rests_on: list[date | None]
    figures: Figures | None = None

    @property
    def followed(self) -> Iterator[tuple[Missed, Outcome]]:
        """Every missed call with what followed it."""
        for call, outcome in zip(self.missed, self.outcomes, strict=True):
            yield call, outcome or Outcome()


class Span(NamedTuple):
    """Days in a row. `unread` of them were not reached in the time that there was: then the rest says nothing yet."""

    days: list[Day]
    unread: int

    @property
    def missed(self) -> Iterator[tuple[Missed, Outcome]]:
        """Every missed call with what followed it."""
        return chain.from_iterable(day.followed for day in self.days)


class Days:
    """The days that a worker keeps, the latest used."""

    KEPT = 800  # a year and the one before
    MOST_CHANGES = 200_000  # since the last look; after more (a rebuild, a month's holiday) every day is read anew

    def __init__(self, hours: WorkingHours) -> None:
        self._hours, self._lock = hours, threading.Lock()
        self._days: OrderedDict[date, Day] = OrderedDict()
        self._log, self._position = "", 0

    def span(
        self, db: Database, first: date, last: date, latest: datetime, seconds: float, with_figures: bool = False
    ) -> Span:
        """The days from `first` to `last`, as the call log has them now; `latest` as of callbacks.outcomes. After
        `seconds` it stops reading, and goes on when it is asked again."""
        with self._lock:
            until = time.monotonic() + seconds
            self._forget_changed(db)
            wanted = [first + timedelta(days=number) for number in range((last - first).days + 1)]
            self._forget_fewer(db, wanted)
            unread = [day for day in wanted if not self._has(day, with_figures)]
            for number, day in enumerate(unread):
                if number and time.monotonic() > until:  # at least one a question, or it would never end
                    return Span([], len(unread) - number)
                self._read(db, day, with_figures)
            self._follow(db, wanted, latest)
            days = [self._days[day] for day in wanted]
            while len(self._days) > max(self.KEPT, len(wanted)):
                self._days.popitem(last=False)
            return Span(days, 0)

    # ------------------------------------------------------------------------------------------- what is not right now

    def _forget_changed(self, db: Database) -> None:
        position, log = db.execute_sql("SELECT change_no, incarnation FROM change_counter WHERE id = 1").fetchone()
        if log != self._log or not 0 <= position - self._position <= self.MOST_CHANGES:
            self._days.clear()
        elif position > self._position and self._days:
            sql = f"SELECT DISTINCT SUBSTR(started_at, 1, 10), client_number FROM calls WHERE change_no > {db.param}"
            found = db.execute_sql(sql, (self._position,)).fetchall()
            for day in {day for day, _ in found}:
                self._forget(date.fromisoformat(day))
            self._doubt_open({client for _, client in found})
        self._log, self._position = log, position

    def _forget_fewer(self, db: Database, wanted: list[date]) -> None:
        kept = [day for day in wanted if day in self._days]
        for run in _runs(kept):
            if _count(db, run[0], run[-1]) != sum(self._days[day].calls for day in run):
                for day in run:
                    if _count(db, day, day) != self._days[day].calls:
                        self._forget(day)

    def _forget(self, changed: date) -> None:
        """The day, and every outcome that may rest on it: a talk settles a missed call for good as long as no day from the
        one to the other changes."""
        self._days.pop(changed, None)
        for at, day in self._days.items():
            if at <= changed + timedelta(days=1):
                for number, last in enumerate(day.rests_on):
                    if last is not None and last >= changed:
                        day.outcomes[number] = None

    def _doubt_open(self, clients: set[str]) -> None:
        """Outcomes without a talk, of clients of whom something was written."""
        for day in self._days.values():
            for number, outcome in enumerate(day.outcomes):
                if outcome is not None and outcome.talk is None and day.missed[number].client_number in clients:
                    day.outcomes[number] = None

    # ----------------------------------------------------------------------------------------------------- what is read

    def _has(self, day: date, with_figures: bool) -> bool:
        """Whether the day is there, as far as it is wanted."""
        there = self._days.get(day)
        if there is None:
            return False
        self._days.move_to_end(day)
        return not with_figures or there.figures is not None

    def _read(self, db: Database, day: date, with_figures: bool) -> None:
        there = self._days.get(day)
        if there is None:
            since = datetime.combine(day, datetime.min.time())
            calls = _count(
                db, day, day
            )  # before the rest: a call that is deleted in between is missed at the next check
            missed = callbacks.missed_between(db, since, since + timedelta(days=1))
            self._forget(day)  # nobody watched it until now
            there = self._days[day] = Day(calls, missed, [None] * len(missed), [None] * len(missed))
        if with_figures:
            there.figures = statistics.figures(db, day, self._hours)

    def _follow(self, db: Database, wanted: list[date], latest: datetime) -> None:
        """Ask what followed each missed call of which it is not known, or of which it rests on days that nobody has checked
        now."""
        first = datetime.combine(wanted[0], datetime.min.time()) + RINGS
        stale = [
            (day, number)
            for day in (self._days[at] for at in wanted)
            for number, last in enumerate(day.rests_on)
            if day.outcomes[number] is None
            or (last is not None and (last > wanted[-1] or day.missed[number].started_at < first))
        ]
        found = callbacks.outcomes(db, [day.missed[number] for day, number in stale], latest)
        for (day, number), outcome in zip(stale, found, strict=True):
            day.outcomes[number], day.rests_on[number] = outcome, _rests_on(day.missed[number], outcome)


def _rests_on(call: Missed, outcome: Outcome) -> date | None:
    calls = [outcome.talk] if outcome.talk else outcome.attempts
    if any(other.started_at < call.started_at - RINGS for other in calls):
        return date.max  # of a day that is not looked at for it: never for good
    return max((max(other.at, other.started_at).date() for other in calls), default=None)


def _runs(days: Iterable[date]) -> Iterator[list[date]]:
    """Days that follow each other, together."""
    run: list[date] = []
    for day in days:
        if run and day - run[-1] != timedelta(days=1):
            yield run
            run = []
        run.append(day)
    if run:
        yield run


def _count(db: Database, first: date, last: date) -> int:
    """How many calls begin on these days: read from the index alone."""
    sql = f"SELECT COUNT(*) FROM calls WHERE started_at >= {db.param} AND started_at < {db.param}"
    midnight = datetime.min.time()
    since, until = datetime.combine(first, midnight), datetime.combine(last + timedelta(days=1), midnight)
    found: int = db.execute_sql(sql, (since.strftime(FORMAT), until.strftime(FORMAT))).fetchone()[0]
    return found
