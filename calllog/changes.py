"""Changed calls, for 1C's clients that ask every second: the query, and a worker's cache of the latest."""

import bisect
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from peewee import Database, fn

from calllog.asking import QUEUE_SECONDS, Away, Desk
from calllog.workplace import Asker, known_employees, standing
from models import (
    CallAttributes,
    CallEvents,
    CallLegs,
    CallRecordings,
    Calls,
    Employees,
    FeedStatus,
    Table,
    columns,
)

HIGHEST = 2**63 - 1  # of a BIGINT
SPAN = 5000  # change numbers that one query looks through at the most
EMPLOYEES = 10_000  # rows that are known


class Changes(NamedTuple):
    """Changed calls with their legs, in the order of change_no. `position` is the `after` of the next query, `more`
    whether it would find more now. For an asker the calls are his, and `others` the ids of those that are another's."""

    position: int
    more: bool
    calls: list[dict[str, Any]]
    others: tuple[int, ...] = ()


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


PARTS: dict[str, tuple[type[Table], tuple[str, ...]]] = {
    "recordings": (CallRecordings, columns(CallRecordings)[2:]),
    "attributes": (CallAttributes, columns(CallAttributes)[2:]),
    "events": (CallEvents, tuple(name for name in columns(CallEvents)[2:] if name != "payload")),
}


def parts(db: Database, names: Iterable[str], call_ids: Sequence[int]) -> dict[int, dict[str, list[dict[str, Any]]]]:
    """Call's id -> the rows of these PARTS; what changes later comes with the call's next change_no."""
    found: dict[int, dict[str, list[dict[str, Any]]]] = {id: {name: [] for name in names} for id in call_ids}
    for name in names if call_ids else ():
        table, shown = PARTS[name]
        for row in table.select().where(table.call_id.in_(call_ids)).order_by(table.id).dicts().execute(db):
            found[row["call_id"]][name].append({column: row[column] for column in shown})
    return found


def feed_status(db: Database) -> tuple[int, list[dict[str, Any]]]:
    """(the highest change_no, the rows of feed_status)."""
    position = Calls.select(fn.MAX(Calls.change_no)).scalar(db) or 0
    return position, list(FeedStatus.select().order_by(FeedStatus.node, FeedStatus.feed).dicts().execute(db))


def employees(db: Database) -> dict[str, tuple[str, str, str]]:
    """What `employees` says of extensions and numbers, by either; of at most EMPLOYEES rows, the newest."""
    newest = Employees.select(Employees.employee_ext, Employees.employee_number, Employees.provider_employee_id)
    newest = newest.order_by(Employees.updated_at.desc(), Employees.id.desc()).limit(EMPLOYEES)
    return known_employees(reversed(list(newest.tuples().execute(db))))


def _of_asker(found: Changes, asker: Asker) -> Changes:
    """The calls that concern the asker, each with `for_you` and `closed_for_you`."""
    told = [(call, standing(call, asker)) for call in found.calls]
    return found._replace(
        calls=[{**call, "for_you": is_.for_you, "closed_for_you": is_.closed} for call, is_ in told if is_],
        others=tuple(call["id"] for call, is_ in told if is_ is None),
    )


class _Window(NamedTuple):
    """The changes that are kept: all after `since` up to `position`, read at `read_at` (monotonic seconds)."""

    since: int = 0
    position: int = -1
    more: bool = False
    calls: tuple[dict[str, Any], ...] = ()
    read_at: float = -float("inf")


class LatestChanges:
    """A worker's cache of the latest changes: one thread reads them for all clients that ask within a tenth of a second."""

    FRESH_SECONDS, STALE_SECONDS = 0.1, 3.0  # read anew after; answered from at the longest, while somebody reads
    TURN_SECONDS = 0.2  # a client waits so long for the thread that reads after a pause
    BEFORE = 500  # changes that are read when somebody asks after a pause: most clients are not farther behind
    KEPT_SECONDS, MOST = 60, 2000  # for clients that are farther behind than this the call log is asked
    EMPLOYEES_SECONDS = 10  # `employees` is read again after

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._reading = threading.Lock()
        self._failed_at = -float("inf")
        self._window = _Window()  # replaced as a whole
        self._positions: list[tuple[float, int]] = []  # when, and where the log was then; only the reader's
        self._employees: dict[str, tuple[str, str, str]] = {}  # replaced as a whole
        self._employees_at = -float("inf")

    def after(self, after: int, names: Sequence[str], limit: int) -> Changes:
        """Changes after a change_no, of at most `limit` that are looked through; with names (extensions or numbers) those
        that concern them. Raises Away."""
        found = self._after(after, limit)
        return _of_asker(found, Asker.of(names, self._employees)) if names else found

    def _after(self, after: int, limit: int) -> Changes:
        window = self._fresh()
        if after > window.position:  # another worker has read on already
            if not self._reading.acquire(blocking=False):
                return Changes(after, False, [])
            try:
                self._read_on()
            finally:
                self._reading.release()
            window = self._window
        if after > window.position:  # or it is another call log
            return Changes(window.position, False, [])
        if after < window.since:
            return self._desk.ask(changes, after, limit, queue=QUEUE_SECONDS)
        new = list(_later(window.calls, after))
        if len(new) > limit:
            return Changes(new[limit - 1]["change_no"], True, new[:limit])
        return Changes(window.position, window.more, new)

    def _fresh(self) -> _Window:
        """The window, at most STALE_SECONDS old. One thread reads on, the others use what it has read."""
        clock = time.monotonic()
        age = clock - self._window.read_at
        if age > self.FRESH_SECONDS:
            waits = age > self.STALE_SECONDS and clock - self._failed_at > 5  # else it is away: only one tries
            if self._reading.acquire(timeout=self.TURN_SECONDS) if waits else self._reading.acquire(blocking=False):
                try:
                    if time.monotonic() - self._window.read_at > self.FRESH_SECONDS:
                        self._read_on()
                finally:
                    self._reading.release()
        window = self._window
        if time.monotonic() - window.read_at > self.STALE_SECONDS:
            raise Away("the call log is being asked already")
        return window

    def _read_on(self) -> None:
        """Read what changed after the window's end, and move the window on. Raises Away."""
        window, clock = self._window, time.monotonic()
        try:
            if clock - window.read_at > self.KEPT_SECONDS:
                end = self._desk.ask(changes, HIGHEST, 1).position  # no calls, only where the log is
                window = _Window(position=max(0, end - self.BEFORE))
                self._positions = []
            new = self._desk.ask(changes, window.position, self.MOST)
            if clock - self._employees_at > self.EMPLOYEES_SECONDS:
                self._employees, self._employees_at = self._desk.ask(employees), clock
        except Away:
            self._failed_at = clock
            raise
        if new.position < window.position:  # another call log: begin anew
            window = _Window(position=new.position)
            self._positions = []
        changed = {call["id"] for call in new.calls}
        calls = (*(call for call in window.calls if call["id"] not in changed), *new.calls)
        self._positions.append((clock, window.position))
        while self._positions[0][0] < clock - self.KEPT_SECONDS:
            self._positions.pop(0)
        since = self._positions[0][1]
        calls = _later(calls, since)
        if len(calls) > self.MOST:
            calls = calls[-self.MOST :]
            since = calls[0]["change_no"] - 1
            self._positions = [(clock, since)]
        self._window = _Window(since, new.position, new.more, calls, clock)


def _later(calls: tuple[dict[str, Any], ...], change_no: int) -> tuple[dict[str, Any], ...]:
    """Those of the calls, which are in the order of change_no, that come after it."""
    return calls[bisect.bisect_right(calls, change_no, key=lambda call: call["change_no"]) :]
