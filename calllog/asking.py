"""What somebody waits for at the call log: the contact card, whose extension it is, changed calls, contacts. Never long."""

import bisect
import threading
import time
from collections.abc import Callable
from typing import Any

import peewee

from calllog.database import open_database
from calllog.reading import HIGHEST, Changes, changes, concerns

PATIENCE_SECONDS = 1  # for a connection, and for an answer: two seconds in all
QUEUE_SECONDS = 0.05  # for a place at the desk, where one may wait for it


class Away(Exception):
    """The call log does not answer, or too many wait for it already."""


class Desk:
    """Asks the call log from a request's thread: at most two threads of a worker at a time."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._places = threading.BoundedSemaphore(2)
        self._local = threading.local()  # a peewee Database connects under a lock of its own: one for each thread

    def ask(self, question: Callable[[peewee.Database], Any], queue: float = 0) -> Any:
        """The question's answer within two seconds; raises Away. A connection that was lost while idle is made anew.
        Where two ask already the next one goes away, after waiting `queue` seconds for a place."""
        if not self._places.acquire(timeout=queue) if queue else not self._places.acquire(blocking=False):
            raise Away("two questions wait for the call log already")
        try:
            began = time.monotonic()
            try:
                return self._ask(question)
            except peewee.PeeweeException as error:
                if time.monotonic() - began > PATIENCE_SECONDS / 2:
                    raise Away(str(error)) from error
                try:
                    return self._ask(question)
                except peewee.PeeweeException as again:
                    raise Away(str(again)) from again
        finally:
            self._places.release()

    def _ask(self, question: Callable[[peewee.Database], Any]) -> Any:
        db: peewee.Database | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = open_database(self._url, patience=PATIENCE_SECONDS)
        try:
            if db.is_closed():
                db.connect()
            return question(db)
        except BaseException:
            db.close()
            raise


# --------------------------------------------------------------------------------------------------------- contacts


# ------------------------------------------------------------------------------------------------------------ calls


class News:
    """The latest changes, read once for all who ask within a tenth of a second, however many they are."""

    FRESH_SECONDS, STALE_SECONDS = 0.1, 3.0  # read anew after; answered from at the longest, while somebody reads
    PATIENCE_SECONDS = 0.2  # for who comes after a pause, all at once
    BEFORE = 500  # changes that are read when somebody asks after a pause: most clients are not farther behind
    KEPT_SECONDS, MOST = 60, 2000  # longer ago, or more than these: the call log is asked

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._reading = threading.Lock()
        self._failed_at = -float("inf")
        # (calls with the position they were read at, the position since which they are whole, when): changed as one
        self._known: tuple[Changes, int, float] = (Changes(-1, False, []), 0, -float("inf"))
        self._positions: list[tuple[float, int]] = []  # when, and where the log was then; the reader's own

    def after(self, after: int, ext: str, limit: int) -> Changes:
        """Changes after a change_no that concern the extension, of at most `limit` that are looked through. Raises Away."""
        known, since = self._read()
        if after > known.position:  # another worker has read on already
            if not self._reading.acquire(blocking=False):
                return Changes(after, False, [])
            try:
                self._read_on()
            finally:
                self._reading.release()
            known, since, _ = self._known
        if after > known.position:  # or it is another call log
            return Changes(known.position, False, [])
        if after < since:
            found: Changes = self._desk.ask(changes(after, limit), QUEUE_SECONDS)
        else:
            new = known.calls[bisect.bisect_right(known.calls, after, key=_change_no) :]
            found = Changes(known.position, known.more, new)
            if len(new) > limit:
                found = Changes(new[limit - 1]["change_no"], True, new[:limit])
        return found._replace(calls=[call for call in found.calls if not ext or concerns(call, ext)])

    def _read(self) -> tuple[Changes, int]:
        """What is known, at most STALE_SECONDS old, and since which position. One reads, the others use what was read."""
        clock = time.monotonic()
        age = clock - self._known[2]
        if age > self.FRESH_SECONDS:
            waits = age > self.STALE_SECONDS and clock - self._failed_at > 5  # else it is away: only one tries
            if self._reading.acquire(timeout=self.PATIENCE_SECONDS) if waits else self._reading.acquire(blocking=False):
                try:
                    if time.monotonic() - self._known[2] > self.FRESH_SECONDS:
                        self._read_on()
                finally:
                    self._reading.release()
        known, since, at = self._known
        if time.monotonic() - at > self.STALE_SECONDS:
            raise Away("the call log is being asked already")
        return known, since

    def _read_on(self) -> None:
        known, _, at = self._known
        clock = time.monotonic()
        try:
            if known.position < 0 or clock - at > self.KEPT_SECONDS:
                now: Changes = self._desk.ask(changes(HIGHEST, 1))  # no calls, only where the log is
                known = Changes(max(0, now.position - self.BEFORE), False, [])
                self._positions = []
            news: Changes = self._desk.ask(changes(known.position, self.MOST))
        except Away:
            self._failed_at = clock
            raise
        if news.position < known.position:  # another call log: begin anew
            known = Changes(news.position, False, [])
            self._positions = []
        changed = {call["id"] for call in news.calls}
        calls = [call for call in known.calls if call["id"] not in changed] + news.calls
        self._positions.append((clock, known.position))
        while self._positions[0][0] < clock - self.KEPT_SECONDS:
            self._positions.pop(0)
        since = self._positions[0][1]
        calls = calls[bisect.bisect_right(calls, since, key=_change_no) :]
        if len(calls) > self.MOST:
            calls = calls[-self.MOST :]
            since = calls[0]["change_no"] - 1
            self._positions = [(clock, since)]
        self._known = (Changes(news.position, news.more, calls), since, clock)


def _change_no(call: dict[str, Any]) -> int:
    number: int = call["change_no"]
    return number
