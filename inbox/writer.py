"""Storing: one writer thread a process commits whatever has arrived together (group commit), synced before anyone is
answered."""

import logging
import os
import queue
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

from inbox.deliveries import COLUMNS, DEAD, IGNORED, OUR_FAULT, RECEIVED, REFUSED, Outcome, count, count_bytes, now
from inbox.file import COUNT, InboxFile, remember
from schemas.reading import Delivery
from server.sqlite import Connection, identity, transaction

log = logging.getLogger("connector.inbox")
_ADDRESS = re.compile(r"[0-9a-f:.]{2,45}")  # a proxy may pass on any text

STORED_WITHIN_SECONDS = 8  # else the provider is asked to send the delivery again
GROUP = 512  # deliveries in one commit at the most
MOST_WAITING = 2 * GROUP  # to be stored, in one process, those that were given up included
_INSERT = f"INSERT INTO deliveries ({COLUMNS}, state, reason, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# what SQLite, or Python on the way to it, raises for a row that it cannot hold: trying again does not help
_CANNOT_HOLD = (UnicodeError, OverflowError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.IntegrityError)


class Overwritten(Exception):
    """Another content was copied over the file: its ids begin again below those that were acknowledged."""


class Unavailable(Exception):
    """The inbox could not store: nothing was acknowledged, the sender has to retry."""


class Ticket:
    """A delivery (or none: a probe) on its way to the disk. `_settled` is released once it is stored or has failed, and
    acquired by whoever acts on that: the thread that waits, or the one that calls back."""

    __slots__ = ("_call", "_settled", "abandoned", "delivery", "error", "id", "outcome")

    def __init__(self, delivery: Delivery | None, outcome: Outcome) -> None:
        self.delivery, self.outcome = delivery, outcome
        self.id = 0
        self.error: Exception | None = None
        self.abandoned = False
        self._call: Callable[[], None] | None = None
        self._settled = threading.Lock()
        self._settled.acquire()

    def wait(self) -> None:
        """Until it is on disk. Raises Unavailable when that failed, or took longer than STORED_WITHIN_SECONDS."""
        error = self.broken() if self._settled.acquire(timeout=STORED_WITHIN_SECONDS) else self.give_up()
        if error is not None:
            raise error

    def then(self, call: Callable[[], None]) -> None:
        """Call back once it is stored or has failed: from this thread if it is settled already, else from the writer's."""
        self._call = call
        if self._settled.acquire(blocking=False):
            call()

    def broken(self) -> Exception | None:
        """Why it is not on disk; None: it is."""
        return None if self.error is None else Unavailable(str(self.error))

    def give_up(self) -> Exception:
        """Stop waiting. The delivery may still be stored; the sender is asked to retry."""
        self.abandoned, self._call = True, None
        self.error = TimeoutError(f"not stored within {STORED_WITHIN_SECONDS} seconds")
        return Unavailable(str(self.error))

    def settle(self, error: Exception | None = None) -> None:
        """It is on disk, or failed with this error."""
        self.error = self.error or error
        self._settled.release()
        call = self._call
        if call is not None and self._settled.acquire(blocking=False):
            try:
                call()
            except Exception:  # the writer thread lives on
                log.exception("our own fault in answering a delivery that is stored")

    def log_outcome(self) -> None:
        """One line of what was stored: a refusal as a warning, the rest for LOG_LEVEL=debug."""
        d, o, extra = self.delivery, self.outcome, {"delivery": self.id}
        assert d is not None
        if o.reason == "our_fault":
            log.error(OUR_FAULT, d.feed, self.id, self.id, extra=extra)
        elif o.state == DEAD:
            address = d.client_address if _ADDRESS.fullmatch(d.client_address) else "an unknown address"
            log.warning("%s: refused delivery %d as %s, from %s", d.feed, self.id, o.reason, address, extra=extra)
        elif o.state == IGNORED:
            log.debug("%s: delivery %d ignored: %s", d.feed, self.id, o.reason, extra=extra)
        else:
            log.debug("%s: delivery %d accepted", d.feed, self.id, extra=extra)

    def row(self) -> tuple[Any, ...]:
        """The values of _INSERT."""
        d, o = self.delivery, self.outcome
        assert d is not None
        return (
            d.feed, d.route, d.method, d.query, d.content_type, d.declared_length, d.client_address, d.received_at,
            d.body, d.key_hash, o.state, o.reason, o.detail,
        )  # fmt: skip


class Writer:
    """Stores deliveries in an inbox's file. Safe for any number of threads and processes."""

    def __init__(self, file: InboxFile) -> None:
        self._file = file
        self._starting = threading.Lock()
        self._pid = 0
        self._queue: queue.SimpleQueue[Ticket | None]  # None: a refusal was counted
        self._acknowledged = 0  # the last delivery's id that this process gave
        self._refused: dict[tuple[str, str], tuple[int, int, str]]
        self._refusing: threading.Lock

    def put(self, delivery: Delivery, outcome: Outcome) -> int:
        """Store the delivery; it is on disk when this returns its id. Raises Unavailable when it could not be stored."""
        ticket = self.begin(delivery, outcome)
        ticket.wait()
        return ticket.id

    def begin(self, delivery: Delivery | None, outcome: Outcome) -> Ticket:
        """Store it without waiting: it is on disk when the ticket says so. Raises Unavailable when too many wait."""
        self._start()
        if self._queue.qsize() >= MOST_WAITING:
            raise Unavailable(f"{MOST_WAITING} deliveries wait to be stored")
        ticket = Ticket(delivery, outcome)
        self._queue.put(ticket)
        return ticket

    def probe(self, room: int = 0) -> None:
        """Commit and sync a fact as `put` would a delivery, with so many bytes of the disk left. Raises Unavailable."""
        self.begin(None, Outcome()).wait()
        left = shutil.disk_usage(self._file.directory).free
        if left < room:
            raise Unavailable(f"the disk is full: {left} bytes left")

    def refuse(self, feed: str, reason: str, message: str) -> None:
        """Count a request of which nothing is stored (stranger, oversize); written within a second, with the next group
        if that comes sooner."""
        self._start()
        with self._refusing:
            total, _, _ = self._refused.get((feed, reason), (0, 0, ""))
            first = not self._refused
            self._refused[feed, reason] = (total + 1, now(), message)
        if first:
            self._queue.put(None)

    def _start(self) -> None:
        """The writer thread belongs to the process that stores: started on first use, and again after a fork."""
        if self._pid == os.getpid():
            return
        with self._starting:
            if self._pid != os.getpid():
                self._queue = queue.SimpleQueue()
                self._refused, self._refusing = {}, threading.Lock()
                self._acknowledged = 0
                threading.Thread(target=self._run, name="inbox-writer", daemon=True).start()
                self._pid = os.getpid()

    # ------------------------------------------------------------------------------------- the writer thread

    def _run(self) -> None:
        db: Connection | None = None
        while True:
            first = self._first()
            db = self._store([first] if first else [], db)

    def _first(self) -> Ticket | None:
        """The first delivery of the next group, None where only refusals are to be written: a second after the first."""
        ticket = self._queue.get()
        deadline = time.monotonic() + 1
        while ticket is None:
            try:
                ticket = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None
        return ticket

    def _store(self, group: list[Ticket], db: Connection | None) -> Connection | None:
        """One commit of this group and of whatever else is queued when our turn comes. Returns the connection for the
        next commit, None after an error."""
        failed: Exception | None = None
        stored: list[Ticket] = []
        try:
            with self._file.turn():
                if db is None:
                    db = self._file.connect(synchronous="FULL")
                elif identity(self._file.path) != db.identity:
                    db = self._file.reconnect(db, synchronous="FULL")
                self._add_queued(group)
                wanted = [ticket for ticket in group if not ticket.abandoned]
                try:
                    self._commit(db, wanted)
                except (Overwritten, sqlite3.DatabaseError) as error:
                    if not self._acknowledged or not _damaged(error):
                        raise
                    db = self._file.reconnect(db, self._acknowledged, "FULL")
                    self._commit(db, wanted)
                self._file.ensure_same(db)
                self._acknowledged = max([self._acknowledged, *(ticket.id for ticket in wanted)])
                stored = [ticket for ticket in wanted if ticket.delivery and ticket.error is None]
        except Exception as error:  # whatever it is, the senders are asked to retry and the thread lives on
            if not isinstance(error, sqlite3.Error | OSError):
                log.exception("our own fault in storing %d deliveries", len(group))
            failed = error
            if db is not None and identity(self._file.path) == db.identity:  # else it holds what must be saved
                db.close()
                db = None
        for ticket in group:
            ticket.settle(failed)
        if any(ticket.outcome.state == RECEIVED and ticket.delivery for ticket in group):
            self._file.wake()
        for ticket in stored:
            ticket.log_outcome()
        return db

    def _add_queued(self, group: list[Ticket]) -> None:
        while len(group) < GROUP:
            try:
                ticket = self._queue.get_nowait()
            except queue.Empty:
                return
            if ticket is not None:
                group.append(ticket)

    def _commit(self, db: sqlite3.Connection, group: list[Ticket]) -> None:
        stored = [ticket for ticket in group if ticket.delivery]
        with transaction(db):
            try:
                db.execute("SAVEPOINT deliveries")
                db.executemany(_INSERT, [ticket.row() for ticket in stored])
                last = db.execute("SELECT last_insert_rowid()").fetchone()[0]
                if stored and last - len(stored) < self._acknowledged:
                    raise Overwritten
                for id, ticket in enumerate(stored, last - len(stored) + 1):  # dense: nobody else is in their turn
                    ticket.id = id
            except _CANNOT_HOLD:
                db.execute("ROLLBACK TO deliveries")  # one of them cannot be stored: it must not take the others along
                stored = [ticket for ticket in stored if _insert_alone(db, ticket)]
            if len(stored) < len(group):
                remember(db, "probed_at", str(now()))
            count(db, [(t.delivery.feed, t.outcome, t.delivery.received_at) for t in stored if t.delivery])
            count_bytes(db, [ticket.delivery for ticket in stored if ticket.delivery])
            with self._refusing:
                refused, self._refused = self._refused, {}
            db.executemany(COUNT, [(feed, REFUSED, reason, *counted) for (feed, reason), counted in refused.items()])


def _damaged(error: Exception) -> bool:
    """Whether the file is not what this process wrote."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, Overwritten) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _insert_alone(db: sqlite3.Connection, ticket: Ticket) -> bool:
    try:
        ticket.id = db.execute(_INSERT, ticket.row()).lastrowid or 0
    except _CANNOT_HOLD as error:
        ticket.error = error
        return False
    return True
