"""Queries that an HTTP client is waiting on. Each is bounded to two seconds, and to two threads a worker."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import peewee

from calllog.database import open_database, same_file

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
