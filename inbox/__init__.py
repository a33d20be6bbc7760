"""The inbox: store a delivery first, understand it second, lose it never.

A local SQLite database in DATA_DIR/inbox (file.py), with synchronous=FULL: when `put` returns, the delivery is on
disk. One writer thread a worker commits whatever has arrived together (group commit). The forwarder marks what it has
done; its marks need no sync of their own, since forwarding twice changes nothing.
"""

import contextlib
import json
import logging
import os
import queue
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from inbox.file import BUSY_MS, USER_VERSION, InboxFile, remember, transaction
from models import Position
from schemas.reading import Delivery

log = logging.getLogger("connector.inbox")

PATIENCE_SECONDS = 8  # for a delivery to be stored; after it the provider is told to come again
GROUP = 512  # deliveries in one commit at the most
MOST_WAITING = 2 * GROUP  # to be stored, in one process: what nobody waits for any longer still lies there
LOOKED_THROUGH = 5000  # deliveries that one question of a person looks through at the most
RECEIVED, FORWARDED, IGNORED, DEAD = "received", "forwarded", "ignored", "dead"
REFUSED = "refused"  # never stored (stranger, oversize): a counter's outcome only
TROUBLE = "trouble"  # the forwarder's, of no feed: a counter's outcome only
OUR_FAULT = "%s: delivery %d is a dead letter, our own fault in understanding it: flask inbox show %d has the traceback"
FORGOTTEN = "forgotten"  # the reason of an ignored delivery of which nothing is kept (upkeep/retention.py)

_COLUMNS = "feed, route, method, query, content_type, declared_length, client_address, received_at, body"
_INSERT = f"INSERT INTO deliveries ({_COLUMNS}, state, reason, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_COUNT = """
INSERT INTO counters (feed, outcome, reason, total, last_at, last_message) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (feed, outcome, reason) DO UPDATE SET total = total + excluded.total,
    last_at = max(last_at, excluded.last_at), last_message = excluded.last_message
"""
_COUNTERS = "SELECT * FROM counters"
_BACKLOG = f"""
SELECT count(*), (SELECT received_at FROM deliveries WHERE state = '{RECEIVED}' ORDER BY id LIMIT 1)
FROM deliveries WHERE state = '{RECEIVED}'
"""
_DEAD_NOW = f"SELECT feed, reason, count(*) FROM deliveries WHERE state = '{DEAD}' GROUP BY feed, reason"


class Unavailable(Exception):
    """The inbox could not store: nothing was acknowledged, the sender must come again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a delivery: `received` waits for the forwarder; ignored and dead have a reason and a sentence
    (or the traceback of our own fault)."""

    state: str = RECEIVED
    reason: str = ""
    detail: str = ""
    event_key: str = ""


class Row(NamedTuple):
    """A stored delivery on a list: `start` is the beginning of its body, `size` the body's length in bytes."""

    id: int
    feed: str
    route: str
    received_at: int
    query: str
    start: bytes
    size: int
    state: str
    reason: str
    detail: str


class DeadGroup(NamedTuple):
    """Dead letters of one feed with one reason and one sentence: how many, the first and last receipt, the newest ids."""

    feed: str
    reason: str
    detail: str
    letters: int
    first_at: int
    last_at: int
    examples: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored delivery as `flask inbox` shows it."""

    delivery: Delivery
    outcome: Outcome
    settled_at: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """What one consistent read of the inbox shows. `counters`, `waiting` with `since` and `dead` are as the methods of
    these names return them."""

    counters: list[tuple[str, str, str, int, int, str]]
    waiting: int
    since: int | None
    dead: list[tuple[str, str, int]]
    facts: dict[str, str]

    @property
    def last_deliveries(self) -> dict[str, int]:
        """Feed -> when its last delivery was stored (milliseconds), understood or not."""
        last: dict[str, int] = {}
        for feed, outcome, _, _, at, _ in self.counters:
            if outcome not in (REFUSED, TROUBLE):
                last[feed] = max(at, last.get(feed, 0))
        return last


class Ticket:
    """A delivery (or none: a probe) on its way to the disk. `_settled` is released when it is there or will not be, and
    taken by the one who is to act on that: who waits, or who calls back."""

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
        """Until it is on disk. Raises Unavailable when it will not be, or not within PATIENCE_SECONDS."""
        error = self.broken() if self._settled.acquire(timeout=PATIENCE_SECONDS) else self.give_up()
        if error is not None:
            raise error

    def then(self, call: Callable[[], None]) -> None:
        """Call back once it is on disk or will not be: from this thread if it is so already, else from the writer's."""
        self._call = call
        if self._settled.acquire(blocking=False):
            call()

    def broken(self) -> Exception | None:
        """Why it is not on disk; None: it is."""
        return None if self.error is None else Unavailable(str(self.error))

    def give_up(self) -> Exception:
        """It may be stored yet or not; whoever sent it comes again."""
        self.abandoned, self._call = True, None
        self.error = TimeoutError(f"not stored within {PATIENCE_SECONDS} seconds")
        return Unavailable(str(self.error))

    def settle(self, error: Exception | None = None) -> None:
        """It is on disk, or will not be for this reason."""
        self.error = self.error or error
        self._settled.release()
        call = self._call
        if call is not None and self._settled.acquire(blocking=False):
            try:
                call()
            except Exception:  # the writer thread lives on
                log.exception("our own fault in telling that a delivery is stored")

    def tell(self) -> None:
        """One line of what was stored: a refusal loudly, the rest for LOG_LEVEL=debug."""
        d, o, extra = self.delivery, self.outcome, {"delivery": self.id}
        assert d is not None
        if o.reason == "our_fault":
            log.error(OUR_FAULT, d.feed, self.id, self.id, extra=extra)
        elif o.state == DEAD:
            log.warning("%s: refused delivery %d as %s", d.feed, self.id, o.reason, extra=extra)
        elif o.state == IGNORED:
            log.debug("%s: delivery %d ignored: %s", d.feed, self.id, o.reason, extra=extra)
        else:
            log.debug("%s: delivery %d accepted", d.feed, self.id, extra=extra)

    def row(self) -> tuple[Any, ...]:
        d, o = self.delivery, self.outcome
        assert d is not None
        return (
            d.feed, d.route, d.method, d.query, d.content_type, d.declared_length, d.client_address, d.received_at,
            d.body, o.state, o.reason, o.detail,
        )  # fmt: skip


def now() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class Inbox(InboxFile):
    """The inbox in `directory`. Safe for any number of threads and processes; opened lazily and anew after a fork."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._starting = threading.Lock()
        self._pid = 0
        self._queue: queue.SimpleQueue[Ticket | None]
        self._refused: dict[tuple[str, str], tuple[int, int, str]]
        self._refusing: threading.Lock

    # ---------------------------------------------------------------------------------------------- storing

    def put(self, delivery: Delivery, outcome: Outcome) -> int:
        """Store the delivery; it is on disk when this returns its id. Raises Unavailable when it could not be stored."""
        ticket = self.begin(delivery, outcome)
        ticket.wait()
        return ticket.id

    def begin(self, delivery: Delivery | None, outcome: Outcome) -> Ticket:
        """The same without waiting: it is on disk when the ticket says so. Raises Unavailable when too many wait."""
        self._start()
        if self._queue.qsize() >= MOST_WAITING:
            raise Unavailable(f"{MOST_WAITING} deliveries wait to be stored")
        ticket = Ticket(delivery, outcome)
        self._queue.put(ticket)
        return ticket

    def probe(self, room: int = 0) -> None:
        """Commit and sync a fact as `put` would a delivery, with so many bytes of the disk left. Raises Unavailable."""
        self.begin(None, Outcome()).wait()
        left = shutil.disk_usage(self.directory).free
        if left < room:
            raise Unavailable(f"the disk is full: {left} bytes left")

    def refuse(self, feed: str, reason: str, message: str) -> None:
        """Count what is not stored (strangers, oversize); written within a second, with the next group if sooner."""
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
                threading.Thread(target=self._write, name="inbox-writer", daemon=True).start()
                self._pid = os.getpid()

    def _write(self) -> None:
        """The writer thread: whatever is queued when its turn comes is one commit."""
        db: sqlite3.Connection | None = None
        flush_at: float | None = None
        while True:
            try:
                first = self._queue.get(timeout=None if flush_at is None else max(0.0, flush_at - time.monotonic()))
            except queue.Empty:
                first = None
            if first is None and (flush_at is None or time.monotonic() < flush_at):
                flush_at = flush_at or time.monotonic() + 1
                continue
            flush_at = None
            group = [first] if first else []
            failed: Exception | None = None
            try:
                with self._turn():
                    if db is None:
                        db = self._connect(synchronous="FULL")
                    while len(group) < GROUP:
                        try:
                            ticket = self._queue.get_nowait()
                        except queue.Empty:
                            break
                        if ticket is not None:
                            group.append(ticket)
                    self._commit(db, [ticket for ticket in group if not ticket.abandoned])
            except Exception as error:  # whatever it is, the senders are told to come again and the thread lives on
                if not isinstance(error, sqlite3.Error | OSError):
                    log.exception("our own fault in storing %d deliveries", len(group))
                failed = error
                if db is not None:
                    db.close()
                    db = None
            for ticket in group:
                ticket.settle(failed)
            if any(ticket.outcome.state == RECEIVED and ticket.delivery for ticket in group):
                self.wake()

    def _commit(self, db: sqlite3.Connection, group: list[Ticket]) -> None:
        stored = [ticket for ticket in group if ticket.delivery]
        with transaction(db):
            try:
                db.execute("SAVEPOINT deliveries")
                db.executemany(_INSERT, [ticket.row() for ticket in stored])
                last = db.execute("SELECT last_insert_rowid()").fetchone()[0]
                for id, ticket in enumerate(stored, last - len(stored) + 1):  # dense: nobody else is in their turn
                    ticket.id = id
            except (UnicodeError, OverflowError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.IntegrityError):
                db.execute("ROLLBACK TO deliveries")  # one of them cannot be stored: it must not take the others along
                stored = [ticket for ticket in stored if self._insert_alone(db, ticket)]
            if len(stored) < len(group):
                db.execute("INSERT OR REPLACE INTO facts VALUES ('probed_at', ?)", (str(now()),))
            self._count(db, [(t.delivery.feed, t.outcome, t.delivery.received_at) for t in stored if t.delivery])
            with self._refusing:
                refused, self._refused = self._refused, {}
            rows = [(feed, REFUSED, reason, *counted) for (feed, reason), counted in refused.items()]
            db.executemany(_COUNT, rows)
        for ticket in stored:
            ticket.tell()

    @staticmethod
    def _insert_alone(db: sqlite3.Connection, ticket: Ticket) -> bool:
        try:
            ticket.id = db.execute(_INSERT, ticket.row()).lastrowid or 0
        except (
            UnicodeError,
            OverflowError,
            sqlite3.ProgrammingError,
            sqlite3.DataError,
            sqlite3.IntegrityError,
        ) as error:
            ticket.error = error
            return False
        return True

    @staticmethod
    def _count(db: sqlite3.Connection, rows: Iterable[tuple[str, Outcome, int]]) -> None:
        """Deliveries counted by feed, outcome and reason, with the last of each: what health and metrics read."""
        totals: dict[tuple[str, str, str], tuple[int, int, str]] = {}
        for feed, outcome, at in rows:
            key = (feed, outcome.state, outcome.reason)
            totals[key] = (totals.get(key, (0,))[0] + 1, at, outcome.detail)
        db.executemany(_COUNT, [(*key, *counted) for key, counted in totals.items()])

    # ------------------------------------------------------------------------------------------- forwarding

    def waiting(self, most: int = 256, most_bytes: int = 4_000_000) -> list[Delivery]:
        """The oldest deliveries that wait to be forwarded."""
        found: list[Delivery] = []
        size = 0
        rows = self._db().execute(
            f"SELECT id, {_COLUMNS} FROM deliveries WHERE state = '{RECEIVED}' ORDER BY id LIMIT ?", (most,)
        )
        for row in rows:
            found.append(_delivery(row))
            size += len(found[-1].body)
            if size > most_bytes:
                break
        rows.close()
        return found

    def settle(self, outcomes: list[tuple[Delivery, Outcome]], position: Position | None = None) -> None:
        """Mark deliveries forwarded, ignored or dead, and remember the call log's position."""
        at = now()
        with self._writing() as db:
            db.executemany(
                "UPDATE deliveries SET state = ?, reason = ?, detail = ?, event_key = ?, settled_at = ? WHERE id = ?",
                [(o.state, o.reason, o.detail, o.event_key, at, d.id) for d, o in outcomes],
            )
            db.executemany(
                "UPDATE deliveries SET body = x'', query = '' WHERE id = ?",
                [(d.id,) for d, o in outcomes if o.reason == FORGOTTEN],
            )
            self._count(db, [(d.feed, o, d.received_at) for d, o in outcomes])
            if position is not None:
                remember(db, "position", json.dumps([position.change_no, position.incarnation, position.past]))

    def position(self) -> Position:
        """The call log's position as this node last saw it."""
        return read_position(self._db())

    def reach(self, change_no: int) -> None:
        """The highest number of the batch that is about to be committed to the call log."""
        self.remember(reached=str(change_no))

    def requeue(self, missing: Callable[[list[str]], set[str]]) -> int:
        """Every forwarded delivery whose event_key `missing` returns waits again; returns how many."""
        last, count = 0, 0
        while True:
            rows = self._db().execute(
                "SELECT id, event_key FROM deliveries WHERE id > ? AND state = ? AND event_key <> '' ORDER BY id LIMIT 500",
                (last, FORWARDED),
            ).fetchall()  # fmt: skip
            if not rows:
                return count
            last = rows[-1][0]
            gone = missing(sorted({key for _, key in rows}))
            with self._writing() as db:
                again = [(RECEIVED, id) for id, key in rows if key in gone]
                db.executemany("UPDATE deliveries SET state = ?, settled_at = NULL WHERE id = ?", again)
            count += len(again)

    def replay(self, ids: list[int]) -> int:
        """Understand these deliveries again: they wait for the forwarder whatever they were, but for the forgotten ones,
        of which nothing is left to understand; returns how many."""
        with self._writing(synchronous="FULL") as db:
            changed = db.executemany(
                "UPDATE deliveries SET state = ?, reason = '', detail = '', settled_at = NULL WHERE id = ? AND reason <> ?",
                [(RECEIVED, id, FORGOTTEN) for id in ids],
            ).rowcount
        self.wake()
        return int(changed)

    def purge(self, before: int, dead: bool | int = False) -> dict[str, int]:
        """Delete forwarded and ignored deliveries received before the moment, dead ones only when told to (or before a
        moment of their own), waiting ones never; returns how many of each state."""
        gone: dict[str, int] = {}
        for state, moment in ((FORWARDED, before), (IGNORED, before), (DEAD, before if dead is True else int(dead))):
            if not moment:
                continue
            gone[state] = 0
            while True:  # in small bites: the writer threads wait meanwhile
                with self._writing() as db:
                    count = db.execute(
                        "DELETE FROM deliveries WHERE id IN "
                        "(SELECT id FROM deliveries WHERE received_at < ? AND state = ? ORDER BY id LIMIT 1000)",
                        (moment, state),
                    ).rowcount
                gone[state] += count
                if count < 1000:
                    break
        with self._writing() as db:
            db.execute("DELETE FROM placements WHERE placed_at < ?", (before,))
        return gone

    def pages(self, after: int = 0, size: int = 500) -> Iterator[list[Stored]]:
        """Every stored delivery after this id, in the order of ids, page by page."""
        while True:
            rows = self._db().execute(
                f"SELECT id, {_COLUMNS}, state, reason, detail, event_key, settled_at FROM deliveries "
                "WHERE id > ? ORDER BY id LIMIT ?",
                (after, size),
            ).fetchall()  # fmt: skip
            if not rows:
                return
            after = rows[-1][0]
            yield [_letter(row) for row in rows]

    def erase(self, ids: list[int]) -> int:
        """Delete these deliveries, whatever their state; returns how many were there."""
        with self._writing(synchronous="FULL") as db:
            return db.executemany("DELETE FROM deliveries WHERE id = ?", [(id,) for id in ids]).rowcount

    def erase_mentions(self, mentioned: Callable[[str], bool]) -> dict[str, int]:
        """Beside the deliveries: placements whose answer mentions somebody are deleted, a counter's last message and the
        facts that do are emptied; returns how many of each."""
        done = {}
        with self._writing(synchronous="FULL") as db:
            for table, key, text, change in (
                ("placements", "request_id", "answer", "DELETE FROM placements WHERE request_id = ?"),
                ("counters", "last_message", "last_message",
                 "UPDATE counters SET last_message = '' WHERE last_message = ?"),
                ("facts", "value", "value", "UPDATE facts SET value = '' WHERE value = ? AND name = 'call_log_message'"),
            ):  # fmt: skip
                rows = db.execute(f"SELECT DISTINCT {key}, {text} FROM {table}").fetchall()
                done[table] = db.executemany(change, [(key,) for key, said in rows if mentioned(said)]).rowcount
        return {table: max(0, count) for table, count in done.items()}

    # ------------------------------------------------------------------------------------------ click to call

    def claim(self, request_id: str) -> tuple[int | None, str] | None:
        """None when this request_id was never seen: it is ours now, synced before anything is dialled. Else the first
        answer (status, JSON), with status None while nobody knows it."""
        with self._writing("FULL") as db:
            mine = db.execute("INSERT OR IGNORE INTO placements VALUES (?, ?, NULL, '')", (request_id, now())).rowcount
            if mine:
                return None
            first = db.execute("SELECT status, answer FROM placements WHERE request_id = ?", (request_id,)).fetchone()
            return first[0], first[1]

    def placement(self, request_id: str) -> tuple[int | None, str] | None:
        """The first answer to this request_id, as `claim` returns it; claims nothing."""
        row = self._db().execute("SELECT status, answer FROM placements WHERE request_id = ?", (request_id,)).fetchone()
        return (row[0], row[1]) if row else None

    def placed(self, request_id: str, status: int, answer: str) -> None:
        """Keep what became of it."""
        with self._writing() as db:
            db.execute(
                "UPDATE placements SET status = ?, answer = ? WHERE request_id = ?", (status, answer, request_id)
            )

    # ---------------------------------------------------------------------------------------------- looking

    def deliveries(
        self, state: str | None = None, feed: str | None = None, since: int = 0, limit: int = 50
    ) -> list[Stored]:
        """Stored deliveries, the newest first."""
        rows = self._db().execute(
            f"SELECT id, {_COLUMNS}, state, reason, detail, event_key, settled_at FROM deliveries "
            "WHERE (:state IS NULL OR state = :state) AND (:feed IS NULL OR feed = :feed) AND received_at >= :since "
            "ORDER BY id DESC LIMIT :limit",
            {"state": state, "feed": feed, "since": since, "limit": limit},
        )
        return [_letter(row) for row in rows]

    def delivery(self, id: int) -> Stored | None:
        """One stored delivery."""
        row = self._db().execute(
            f"SELECT id, {_COLUMNS}, state, reason, detail, event_key, settled_at FROM deliveries WHERE id = ?", (id,)
        ).fetchone()  # fmt: skip
        return _letter(row) if row else None

    def browse(self, state: str = "", feed: str = "", before: int = 0, limit: int = 50) -> tuple[list[Row], int | None]:
        """(deliveries before this id, the newest first; where to look on, None at the end). A question looks through
        LOOKED_THROUGH deliveries at the most, however few of them match; those that wait or are dead have an index."""
        last = before or 1 + (self._db().execute("SELECT max(id) FROM deliveries").fetchone()[0] or 0)
        floor = max(0, last - LOOKED_THROUGH - 1)
        among = "id > :floor AND (:state = '' OR state = :state) AND (:feed = '' OR feed = :feed)"
        if state in (RECEIVED, DEAD):
            floor = 0
            among = (
                f"id IN (SELECT id FROM deliveries INDEXED BY deliveries_{state} WHERE state = '{state}' "
                "AND (:feed = '' OR feed = :feed) AND id < :last ORDER BY id DESC LIMIT :limit)"
            )
        rows = self._db().execute(
            "SELECT id, feed, route, received_at, substr(query, 1, 200), coalesce(substr(body, 1, 400), x''), "
            "length(body), state, reason, substr(detail, 1, 2000) FROM deliveries "
            f"WHERE id < :last AND {among} ORDER BY id DESC LIMIT :limit",
            {"state": state, "feed": feed, "last": last, "floor": floor, "limit": limit},
        )
        found = [Row(*row) for row in rows]
        on = found[-1].id if len(found) == limit else floor + 1
        return found, on if on > 1 else None

    def dead_groups(self, limit: int = 50) -> list[DeadGroup]:
        """The dead letters (the newest LOOKED_THROUGH of them) by feed, reason and sentence, the newest group first."""
        rows = self._db().execute(
            "SELECT id, feed, reason, detail, received_at FROM deliveries WHERE id IN (SELECT id FROM deliveries "
            f"INDEXED BY deliveries_dead WHERE state = '{DEAD}' ORDER BY id DESC LIMIT ?) ORDER BY id DESC",
            (LOOKED_THROUGH,),
        )
        groups: dict[tuple[str, str, str], DeadGroup] = {}
        for id, feed, reason, detail, at in rows:
            key = (feed, reason, _sentence(detail))
            there = groups.get(key) or DeadGroup(feed, reason, detail, 0, at, at, ())
            first, last = min(at, there.first_at), max(at, there.last_at)
            examples = (*there.examples, id)[:3]
            groups[key] = there._replace(letters=there.letters + 1, first_at=first, last_at=last, examples=examples)
        return list(groups.values())[:limit]

    def dead_like(self, stored: Stored, limit: int) -> list[int]:
        """Ids of the dead letters of this one's feed, reason and sentence, the newest first."""
        rows = self._db().execute(
            f"SELECT id, detail FROM deliveries INDEXED BY deliveries_dead WHERE state = '{DEAD}' AND feed = ? "
            "AND reason = ? ORDER BY id DESC",
            (stored.delivery.feed, stored.outcome.reason),
        )
        wanted = _sentence(stored.outcome.detail)
        return list(islice((id for id, detail in rows if _sentence(detail) == wanted), limit))

    def stream(self, feed: str, since: int) -> Iterator[Stored]:
        """Every stored delivery of a feed received since the moment (milliseconds), the oldest first, a page in memory."""
        last = 0
        while True:
            rows = self._db().execute(
                f"SELECT id, {_COLUMNS}, state, reason, detail, event_key, settled_at FROM deliveries "
                "WHERE id > ? AND feed = ? AND received_at >= ? ORDER BY id LIMIT 100",
                (last, feed, since),
            ).fetchall()  # fmt: skip
            if not rows:
                return
            last = rows[-1][0]
            yield from map(_letter, rows)

    def with_event(self, event_key: str, limit: int = -1) -> list[Stored]:
        """The deliveries (a first one and its repeats) that brought an event, the oldest first."""
        rows = self._db().execute(
            f"SELECT id, {_COLUMNS}, state, reason, detail, event_key, settled_at FROM deliveries "
            "WHERE event_key = ? AND event_key <> '' ORDER BY id LIMIT ?",
            (event_key, limit),
        )
        return [_letter(row) for row in rows]

    def counters(self) -> list[tuple[str, str, str, int, int, str]]:
        """(feed, outcome, reason, total, last at in milliseconds, last message)."""
        return self._db().execute(_COUNTERS).fetchall()

    def look(self) -> Look:
        """All that readyz, metrics and the page tell, of one moment; asks no lock and no byte of the disk."""
        if not self.path.exists():
            self._db()  # makes it
        wal = self.path.with_name("inbox.db-wal").exists()
        # SQLite opens a WAL database on a read-only disk only where its log is there, or when told that nobody writes
        still = os.statvfs(self.directory).f_flag & os.ST_RDONLY and not wal
        address = f"{self.path.absolute().as_uri()}?{'immutable=1' if still else 'mode=ro'}"
        with contextlib.closing(sqlite3.connect(address, uri=True, isolation_level=None)) as db:
            db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            if db.execute("PRAGMA user_version").fetchone()[0] < USER_VERSION:
                self._db()  # it is being made
            db.execute("BEGIN")
            counters = db.execute(_COUNTERS).fetchall()
            waiting, since = db.execute(_BACKLOG).fetchone()
            dead = db.execute(_DEAD_NOW).fetchall()
            return Look(counters, waiting, since, dead, dict(db.execute("SELECT name, value FROM facts")))

    def last_deliveries(self) -> dict[str, int]:
        """Feed -> when its last delivery was stored (milliseconds), understood or not."""
        return self.look().last_deliveries

    def backlog(self) -> tuple[int, int | None]:
        """How many deliveries wait, and since when the oldest does (milliseconds)."""
        count, since = self._db().execute(_BACKLOG).fetchone()
        return count, since

    def dead(self) -> list[tuple[str, str, int]]:
        """(feed, reason, how many) of the dead letters there are now."""
        return self._db().execute(_DEAD_NOW).fetchall()

    def waiting_by_feed(self) -> dict[str, int]:
        """How many deliveries of each feed wait."""
        return dict(
            self._db().execute(f"SELECT feed, count(*) FROM deliveries WHERE state = '{RECEIVED}' GROUP BY feed")
        )

    def trouble(self, reason: str, message: str) -> None:
        """Count a failure to forward; not synced."""
        with self._writing() as db:
            db.execute(_COUNT, ("", TROUBLE, reason, 1, now(), message))


def _sentence(detail: str) -> str:
    """A refusal's sentence without what it quotes of the body: one broken template is one group of dead letters."""
    return re.sub(r"«[^»]*»|\d+", "", re.sub(r"у текста «.*?»(?=: | \()", "", detail))


def read_position(db: sqlite3.Connection) -> Position:
    """The call log's position as the inbox in this database last saw it."""
    facts = dict(db.execute("SELECT name, value FROM facts WHERE name IN ('position', 'reached')"))
    change_no, incarnation, *past = json.loads(facts.get("position", '[0, ""]'))
    known = tuple((mark, number) for mark, number in (past[0] if past else ()))
    return Position(change_no, incarnation, int(facts.get("reached", 0)), known)


def _delivery(row: tuple[Any, ...]) -> Delivery:
    id, feed, route, method, query, content_type, declared_length, client_address, received_at, body = row
    return Delivery(
        feed=feed,
        route=route,
        body=body,
        query=query,
        method=method,
        content_type=content_type,
        declared_length=declared_length,
        received_at=received_at,
        client_address=client_address,
        id=id,
    )


def _letter(row: tuple[Any, ...]) -> Stored:
    state, reason, detail, event_key, settled_at = row[10:]
    return Stored(_delivery(row[:10]), Outcome(state, reason, detail, event_key), settled_at)
