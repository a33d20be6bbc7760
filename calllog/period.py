"""Days put together: the figures of a period, of its lines, sources, campaigns and employees, and its hours day by day."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from statistics import median
from typing import NamedTuple
from zoneinfo import ZoneInfo

from peewee import Database

from calllog.callbacks import by_outcome
from calllog.days import Day, Days
from calllog.statistics import Employee, Numbers
from config import WorkingHours

READ_SECONDS = 1.0  # of days that nobody asked for yet, in one question


@dataclass(slots=True)
class Period:
    """`numbers` of statistics.MEASURES; people by what became of them, and how many seconds it took to call back: half of
    them at most `median`, nine of ten at most `p90`. `cells`: (day, hour) -> numbers."""

    numbers: Numbers = field(default_factory=Counter)
    not_called_back: int = 0
    called_back: int = 0
    got_through: int = 0
    median: int | None = None
    p90: int | None = None
    cells: dict[tuple[date, int], Numbers] = field(default_factory=lambda: defaultdict(Counter))
    lines: dict[str, Numbers] = field(default_factory=lambda: defaultdict(Counter))
    sources: dict[str, Numbers] = field(default_factory=lambda: defaultdict(Counter))
    campaigns: dict[tuple[str, str], Numbers] = field(default_factory=lambda: defaultdict(Counter))
    employees: dict[str, Employee] = field(default_factory=dict)


class Compared(NamedTuple):
    """A period and the one of as many days just before it. `unread`: days that were not reached in time; then both are
    empty."""

    now: Period
    before: Period
    unread: int = 0


def compared(
    db: Database,
    days: Days,
    clock: tuple[WorkingHours, ZoneInfo],
    latest: datetime,
    asked: tuple[date, date, bool | None],
) -> Compared:
    """The figures from the first day that is asked for to the last; of all hours, or only while somebody is there to answer
    (True), or while nobody is."""
    first, last, working = asked
    count = (last - first).days + 1
    before = first - timedelta(days=count)
    span = days.span(db, before, last, latest, READ_SECONDS, with_figures=True)
    if span.unread:
        return Compared(Period(), Period(), span.unread)
    dated = [(before + timedelta(days=number), day) for number, day in enumerate(span.days)]
    return Compared(_together(dated[count:], *clock, working), _together(dated[:count], *clock, working))


def _together(days: Iterable[tuple[date, Day]], hours: WorkingHours, zone: ZoneInfo, working: bool | None) -> Period:
    found, pairs = Period(), []
    for at, day in days:
        figures = day.figures
        assert figures is not None
        for part, numbers in figures.slices.items():
            if working is None or part.working is working:
                found.numbers.update(numbers)
                for there, key in ((found.lines, part.line), (found.sources, part.source)):
                    there[key].update(numbers)
                found.cells[at, part.hour].update(numbers)
        for (name, content, there_is), numbers in figures.campaigns.items():
            if working is None or there_is is working:
                found.campaigns[name, content].update(numbers)
        for (ext, number, there_is), one in figures.employees.items():
            if working is None or there_is is working:
                _add(found.employees, ext or number, one)
        pairs += [
            (call, outcome)
            for call, outcome in day.followed
            if working is None or hours.open_at(call.started_at) is working
        ]
    took = []
    for missed, outcome in by_outcome(pairs):
        if outcome.talk is None:
            found.not_called_back += 1
        elif outcome.talk.is_out:
            found.called_back += 1
            took.append(elapsed(missed[0].started_at, outcome.talk.at, zone))
        else:
            found.got_through += 1
    if took:
        took.sort()
        found.median, found.p90 = int(median(took)), took[math.ceil(0.9 * len(took)) - 1]
    return found


def _add(there: dict[str, Employee], key: str, one: Employee) -> None:
    known = there.get(key)
    if known is None:
        there[key] = replace(one)
        return
    known.name = known.name or one.name
    for what in ("rung", "answered", "missed", "talks", "talk_seconds", "outgoing"):
        setattr(known, what, getattr(known, what) + getattr(one, what))


def elapsed(since: datetime, until: datetime, zone: ZoneInfo) -> int:
    """Seconds between two moments of the wall clock, over a change to or from summer time too; of an hour that the clock
    shows twice the first is meant."""
    return max(0, int(until.replace(tzinfo=zone).timestamp() - since.replace(tzinfo=zone).timestamp()))
