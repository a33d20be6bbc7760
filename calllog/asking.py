"""Queries that an HTTP client is waiting on. Each is bounded to two seconds, and to two threads a worker."""

import bisect
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import peewee

from calllog.database import open_database, same_file
from calllog.reading import HIGHEST, Changes, changes, concerns

T = TypeVar("T")

ANSWER_SECONDS = 1  # for a connection, and for an answer: two seconds in all
QUEUE_SECONDS = 0.05  # for one of the two places, where a client can wait for it


class Away(Exception):
    """The call log does not answer, or as many queries as may wait for it do already."""


class Desk:
    """Runs queries from request threads: two at a time in a worker."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._places = threading.BoundedSemaphore(2)
        self._local = threading.local()  # a peewee Database connects under a lock of its own: one for each thread

    def ask(self, query: Callable[..., T], *about: Any, queue: float = 0) -> T:
        """query(db, *about) within two seconds; raises Away. A connection that was lost while idle is made anew. Waits at
        most `queue` seconds for a place."""
        if not self._places.acquire(timeout=queue) if queue else not self._places.acquire(blocking=False):
            raise Away("two queries wait for the call log already")
        try:
            began = time.monotonic()
            try:
                return self._run(query, about)
            except peewee.PeeweeException as error:
                if time.monotonic() - began > ANSWER_SECONDS / 2:
                    raise Away(str(error)) from error
                try:
                    return self._run(query, about)
                except peewee.PeeweeException as again:
                    raise Away(str(again)) from again
        finally:
            self._places.release()

    def _run(self, query: Callable[..., T], about: tuple[Any, ...]) -> T:
        db: peewee.Database | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = open_database(self._url, patience=ANSWER_SECONDS)
        try:
            if not db.is_closed() and not same_file(db):
                db.close()
            if db.is_closed():
                db.connect()
            return query(db, *about)
        except BaseException:
            db.close()
            raise


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

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._reading = threading.Lock()
        self._failed_at = -float("inf")
        self._window = _Window()  # replaced as a whole
        self._positions: list[tuple[float, int]] = []  # when, and where the log was then; only the reader's

    def after(self, after: int, ext: str, limit: int) -> Changes:
        """Changes after a change_no that concern the extension, of at most `limit` that are looked through. Raises Away."""
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
            found = self._desk.ask(changes, after, limit, queue=QUEUE_SECONDS)
        else:
            new = list(_later(window.calls, after))
            found = Changes(window.position, window.more, new)
            if len(new) > limit:
                found = Changes(new[limit - 1]["change_no"], True, new[:limit])
        return found._replace(calls=[call for call in found.calls if not ext or concerns(call, ext)])

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
