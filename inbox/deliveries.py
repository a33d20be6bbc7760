"""A stored delivery's life: it waits, is forwarded, ignored or dead, is replayed, purged or erased."""

import contextlib
import heapq
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from inbox.file import COUNT, TROUBLE, InboxFile, remember
from models import Position
from schemas.fields import BLANK
from schemas.reading import Delivery
from server.sqlite import disk_is_full

RECEIVED, FORWARDED, IGNORED, DEAD = "received", "forwarded", "ignored", "dead"
REFUSED = "refused"  # a request of which nothing is stored (stranger, oversize): a counter's outcome only
FORGOTTEN = "forgotten"  # the reason of an ignored delivery of which nothing is kept (upkeep/forget.py)
REJECTED = "rejected"  # the reason of a dead letter that an administrator rejected (inbox/rejected.py)
UNKNOWN_FEED = "unknown_feed"  # the reason of a dead letter that a newer release will take up (inbox/judge.py)
OUR_FAULT = (
    "%s: delivery %d is a dead letter, our own fault in understanding it: pbx-connector inbox show %d has the traceback"
)

COLUMNS = "feed, route, method, query, content_type, declared_length, client_address, received_at, body, key_hash"
BYTES = "bytes:"  # and a feed: the fact that has its received bytes
ENDED = "ended:"  # and direction:disposition: calls that have ended so
TO_ROW = (
    "to_row:"  # and a key of TO_ROW_SECONDS, or `more`: deliveries that took so long to their row; `sum`: milliseconds
)
TO_ROW_SECONDS = (1, 2, 5, 10, 30, 60, 300, 3600)
ROW_BYTES = 300  # of a delivery beside its body and query, about
COST = 1000  # of forwarding a delivery beside its bytes, in bytes: by what feeds take turns
# The feeds of which something waits, each found by one step in the index however many there are.
_NEXT_FEED = f"SELECT min(feed) FROM deliveries INDEXED BY deliveries_turn WHERE state = '{RECEIVED}'"
_WAITING_FEEDS = (
    f"WITH RECURSIVE feeds (feed) AS ({_NEXT_FEED} UNION ALL SELECT ({_NEXT_FEED} AND feed > feeds.feed) FROM feeds "
    "WHERE feed IS NOT NULL) SELECT feed FROM feeds WHERE feed IS NOT NULL"
)
_BLANKED = BLANK.encode()  # in a body: a number in it was forgotten, and it is not what brought its event any more
BITE = 1000  # deliveries that one transaction deletes or requeues: the writer threads wait meanwhile
PAGE = 500  # deliveries that are looked at together


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a delivery: `received` waits for the forwarder; ignored and dead have a reason and a sentence
    (or the traceback of our own fault)."""

    state: str = RECEIVED
    reason: str = ""
    detail: str = ""
    event_key: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """A delivery in the inbox, and what became of it. `settled_at`: milliseconds since 1970 UTC, None while it waits."""

    delivery: Delivery
    outcome: Outcome
    settled_at: int | None


class Text(NamedTuple):
    """What stands in a column of a table beside the deliveries, in the row with this key."""

    table: str
    column: str
    key: str | int
    words: str


TEXTS = (
    ("placements", "request_id"), ("placements", "answer"), ("attempts", "number"), ("attempts", "request_id"),
    ("counters", "last_message"), ("facts", "value"),
)  # fmt: skip
_KEYS = {
    "placements": "request_id",
    "attempts": "id",
    "counters": "feed || ' ' || outcome || ' ' || reason",
    "facts": "name",
}


def now() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class Deliveries:
    """The deliveries of an inbox's file, and what the forwarder remembers beside them."""

    def __init__(self, file: InboxFile) -> None:
        self._file = file

    # ------------------------------------------------------------------------------------------- forwarding

    def waiting(self, most: int = 256, most_bytes: int = 4_000_000, but: Collection[int] = ()) -> list[Delivery]:
        """What is forwarded next. Feeds in turn, by what they cost: a flood of one delays no other by more than a batch;
        of one feed the oldest first. In the order in which they came, without those whose ids are in `but`."""
        found: list[Delivery] = []
        size = 0
        with contextlib.ExitStack() as stack:
            feeds = [
                (0, feed, self._waiting_of(feed, most, but))
                for (feed,) in self._file.connection().execute(_WAITING_FEEDS)
            ]
            for _, _, queue in feeds:
                stack.enter_context(contextlib.closing(queue))
            while feeds and len(found) < most and size <= most_bytes:
                cost, feed, queue = heapq.heappop(feeds)
                if stored := next(queue, None):
                    found.append(stored.delivery)
                    size += len(stored.delivery.body)
                    heapq.heappush(feeds, (cost + COST + len(stored.delivery.body), feed, queue))
        return sorted(found, key=lambda delivery: delivery.id)

    def _waiting_of(self, feed: str, most: int, but: Collection[int]) -> Generator[Stored]:
        where, values = f"state = '{RECEIVED}' AND feed = ?", [feed]
        if but:
            where, values = f"{where} AND id NOT IN (SELECT value FROM json_each(?))", [feed, json.dumps(list(but))]
        return self._stored(where, (*values, most), "id LIMIT ?", "deliveries INDEXED BY deliveries_turn")

    def settle(
        self,
        outcomes: list[tuple[Delivery, Outcome]],
        position: Position | None = None,
        ended: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Mark deliveries forwarded, ignored or dead, remember the call log's position, and count the calls that have ended
        by (direction, disposition). Not synced: forwarding twice changes nothing."""
        at = now()
        with self._file.writing() as db:
            db.executemany(
                "UPDATE deliveries SET state = ?, reason = ?, detail = ?, event_key = ?, settled_at = ? WHERE id = ?",
                [(o.state, o.reason, o.detail, o.event_key, at, d.id) for d, o in outcomes],
            )
            db.executemany(
                "UPDATE deliveries SET body = x'', query = '' WHERE id = ?",
                [(d.id,) for d, o in outcomes if o.reason == FORGOTTEN],
            )
            count(db, [(d.feed, o, d.received_at) for d, o in outcomes])
            add_up(db, _measured([at - d.received_at for d, o in outcomes if o.state == FORWARDED], ended))
            if position is not None:
                remember(db, "position", json.dumps([position.change_no, position.incarnation, position.past]))

    def position(self) -> Position:
        """The call log's position as this node last saw it."""
        return read_position(self._file.connection())

    def reach(self, change_no: int) -> None:
        """Remember the highest change_no of the batch that is about to be committed to the call log."""
        self._file.remember(reached=str(change_no))

    def trouble(self, reason: str, message: str, times: int = 1) -> None:
        """Count a failure to forward; not synced."""
        with self._file.writing() as db:
            db.execute(COUNT, ("", TROUBLE, reason, times, now(), message))

    # --------------------------------------------------------------------------------------- forwarding again

    def requeue(self, missing: Callable[[list[str]], set[str]], feed: str = "", since: int = 0) -> int:
        """Every forwarded delivery (of this feed, received from then on) whose event_key `missing` returns waits again;
        returns how many."""
        last, total = 0, 0
        while True:
            rows = self._file.connection().execute(
                "SELECT id, event_key FROM deliveries WHERE id > ? AND state = ? AND event_key <> '' "
                "AND (? = '' OR feed = ?) AND received_at >= ? ORDER BY id LIMIT ?",
                (last, FORWARDED, feed, feed, since, PAGE),
            ).fetchall()  # fmt: skip
            if not rows:
                return total
            last = rows[-1][0]
            gone = missing(sorted({key for _, key in rows}))
            with self._file.writing() as db:
                again = [(RECEIVED, id) for id, key in rows if key in gone]
                db.executemany("UPDATE deliveries SET state = ?, settled_at = NULL WHERE id = ?", again)
            total += len(again)

    def take_up(self, feeds: Collection[str]) -> int:
        """Dead letters that were of an unknown feed wait again where `feeds` has theirs; returns how many."""
        return self._in_bites(
            "UPDATE deliveries SET state = ?, reason = '', detail = '', settled_at = NULL WHERE id IN "
            f"(SELECT id FROM deliveries WHERE state = '{DEAD}' AND reason = '{UNKNOWN_FEED}' "
            f"AND feed IN ({', '.join('?' * len(feeds))}) LIMIT ?)",
            (RECEIVED, *feeds),
        )

    def replay(self, ids: list[int], rejected: bool = False) -> int:
        """Understand these deliveries again: they wait for the forwarder whatever they were, but for the forgotten ones,
        of which nothing is left to understand, and without `rejected` the rejected ones; returns how many."""
        but = (FORGOTTEN, FORGOTTEN if rejected else REJECTED)
        try:
            with self._file.writing(synchronous="FULL") as db:
                changed = db.executemany(
                    "UPDATE deliveries SET state = ?, reason = '', detail = '', settled_at = NULL "
                    "WHERE id = ? AND reason NOT IN (?, ?)",
                    [(RECEIVED, id, *but) for id in ids],
                ).rowcount
        except sqlite3.OperationalError as error:
            if len(ids) < 2 or not disk_is_full(error):
                raise
            self._file.truncate_log()
            half = len(ids) // 2
            return self.replay(ids[:half], rejected) + self.replay(ids[half:], rejected)
        self._file.wake()
        return int(changed)

    # --------------------------------------------------------------------------------------------- deleting

    def purge(self, before: int, dead: bool | int = False) -> dict[str, int]:
        """Delete forwarded and ignored deliveries received before the moment, dead ones only with `dead` (or before a
        moment of their own), waiting ones never; returns how many of each state. What is kept of click to call goes with
        them."""
        statement = (
            "DELETE FROM deliveries WHERE id IN "
            "(SELECT id FROM deliveries WHERE state = ? AND received_at < ? ORDER BY id LIMIT ?)"
        )
        gone = {state: self._in_bites(statement, (state, at)) for state, at in _terms(before, dead).items()}
        with self._file.writing() as db:
            placements = db.execute("DELETE FROM placements WHERE placed_at < ?", (before,)).rowcount
            attempts = db.execute("DELETE FROM attempts WHERE tried_at < ?", (before,)).rowcount
        return gone | {name: count for name, count in (("placements", placements), ("attempts", attempts)) if count}

    def past(self, before: int, dead: bool | int = False) -> dict[str, int]:
        """How many `purge` would delete."""
        db = self._file.connection()
        count = "SELECT count(*) FROM deliveries WHERE state = ? AND received_at < ?"
        there = {state: db.execute(count, (state, at)).fetchone()[0] for state, at in _terms(before, dead).items()}
        for table, moment in (("placements", "placed_at"), ("attempts", "tried_at")):
            old = db.execute(f"SELECT count(*) FROM {table} WHERE {moment} < ?", (before,)).fetchone()[0]
            there |= {table: old} if old else {}
        return there

    def _in_bites(self, statement: str, values: tuple[Any, ...]) -> int:
        """Run a statement whose last parameter is a LIMIT until it finds no more; returns how many rows it changed. On a
        full disk the bites become small, and what each has written to the log goes into inbox.db before the next."""
        total, bite = 0, BITE
        while True:
            try:
                with self._file.writing() as db:
                    changed = db.execute(statement, (*values, bite)).rowcount
            except sqlite3.OperationalError as error:
                if bite == 1 or not disk_is_full(error):
                    raise
                bite = max(1, bite // 10)
                self._file.truncate_log()
                continue
            total += changed
            if changed < bite:
                return total
            if bite < BITE:
                self._file.truncate_log()

    def erase(self, ids: list[int]) -> int:
        """Delete these deliveries, whatever their state; returns how many were there."""
        with self._file.writing(synchronous="FULL") as db:
            return db.executemany("DELETE FROM deliveries WHERE id = ?", [(id,) for id in ids]).rowcount

    def blank(self, blanked: list[tuple[Delivery, str]]) -> int:
        """Keep deliveries as they are given, each with the sentence of what became of it (upkeep/blanking.py); one that
        brings an event keeps the key that this has. Returns how many were there."""
        with self._file.writing(synchronous="FULL") as db:
            return db.executemany(
                "UPDATE deliveries SET body = ?, query = ?, declared_length = ?, detail = ?, event_key = ? WHERE id = ?",
                [(d.body, d.query, d.declared_length, detail, d.event_key, d.id) for d, detail in blanked],
            ).rowcount

    def texts(self) -> list[Text]:
        """What is kept beside the deliveries and may mention somebody."""
        db = self._file.connection()
        return [Text(table, column, *row) for table, column in TEXTS for row in _texts(db, table, column)]

    def put_texts(self, changes: list[tuple[Text, str | None]]) -> None:
        """Other words in place of these; None: their row is deleted."""
        with self._file.writing(synchronous="FULL") as db:
            for (table, column, key, _), words in changes:
                if words is None:
                    db.execute(f"DELETE FROM {table} WHERE {_KEYS[table]} = ?", (key,))
                else:
                    db.execute(f"UPDATE {table} SET {column} = ? WHERE {_KEYS[table]} = ?", (words, key))

    # ---------------------------------------------------------------------------------------------- reading

    def delivery(self, id: int) -> Stored | None:
        """One stored delivery."""
        return next(self._stored("id = ?", (id,)), None)

    def deliveries(
        self, state: str | None = None, feed: str | None = None, since: int = 0, limit: int = 50
    ) -> list[Stored]:
        """Stored deliveries, the newest first; limit -1: all of them."""
        where = "(? IS NULL OR state = ?) AND (? IS NULL OR feed = ?) AND received_at >= ?"
        return list(self._stored(where, (state, state, feed, feed, since, limit), "id DESC LIMIT ?"))

    def with_event(self, event_key: str, limit: int = -1) -> list[Stored]:
        """The deliveries (a first one and its repeats) that brought an event, the oldest first."""
        return list(self._stored("event_key = ? AND event_key <> ''", (event_key, limit), "id LIMIT ?"))

    def pages(self, where: str = "1", values: tuple[Any, ...] = (), size: int = 0) -> Iterator[list[Stored]]:
        """Every stored delivery in the order of ids, page by page, of `size` or PAGE."""
        last = 0
        while page := list(self._stored(f"id > ? AND {where}", (last, *values, size or PAGE), "id LIMIT ?")):
            last = page[-1].delivery.id
            yield page

    def stream(self, feed: str, since: int) -> Iterator[Stored]:
        """Every stored delivery of a feed received since the moment (milliseconds) that is not rejected, the oldest first,
        a page in memory."""
        for page in self.pages("feed = ? AND received_at >= ? AND reason <> ?", (feed, since, REJECTED), 100):
            yield from page

    def latest(self, feed: str, since: int, limit: int, most_bytes: int) -> Iterator[Stored]:
        """The newest deliveries of a feed received since a moment, the oldest of them first: `limit` at most, among the
        newest 20 * limit of all, and no more than so many bytes of bodies."""
        db = self._file.connection()
        last = db.execute("SELECT max(id) FROM deliveries").fetchone()[0] or 0
        rows = db.execute(
            "SELECT id, length(body) FROM deliveries WHERE id > ? AND feed = ? AND received_at >= ? "
            "ORDER BY id DESC LIMIT ?",
            (last - 20 * limit, feed, since, limit),
        )
        first, size = last + 1, 0
        for id, length in rows:
            size += length or 0
            if size > most_bytes:
                break
            first = id
        return self._stored("feed = ? AND id >= ? AND id <= ?", (feed, first, last))

    def _stored(
        self, where: str, values: Collection[Any], order: str = "id", source: str = "deliveries"
    ) -> Generator[Stored]:
        rows = self._file.connection().execute(
            f"SELECT id, {COLUMNS}, state, reason, detail, event_key, settled_at FROM {source} WHERE {where} "
            f"ORDER BY {order}",
            tuple(values),
        )
        with contextlib.closing(rows):
            for row in rows:
                *outcome, settled_at = row[11:]
                yield Stored(_delivery(row[:11], outcome[-1]), Outcome(*outcome), settled_at)


def count(db: sqlite3.Connection, rows: Iterable[tuple[str, Outcome, int]]) -> None:
    """Count deliveries (feed, outcome, when received) by feed, state and reason, with the last of each: what health and
    metrics read."""
    totals: dict[tuple[str, str, str], tuple[int, int, str]] = {}
    for feed, outcome, at in rows:
        key = (feed, outcome.state, outcome.reason)
        totals[key] = (totals.get(key, (0,))[0] + 1, at, outcome.detail)
    db.executemany(COUNT, [(*key, *counted) for key, counted in totals.items()])


def count_bytes(db: sqlite3.Connection, deliveries: Iterable[Delivery]) -> None:
    """Count what each feed's deliveries take of the disk."""
    total: Counter[str] = Counter()
    for one in deliveries:
        total[f"{BYTES}{one.feed}"] += len(one.body) + len(one.query) + ROW_BYTES
    add_up(db, total)


def _measured(waits: list[int], ended: Iterable[tuple[str, str]]) -> Counter[str]:
    """What the forwarder's metrics are made of: how long deliveries took from their receipt to their row (milliseconds),
    and the calls that have ended."""
    total = Counter(f"{ENDED}{direction}:{disposition}" for direction, disposition in ended)
    for wait in waits:
        total[f"{TO_ROW}{next((most for most in TO_ROW_SECONDS if wait <= most * 1000), 'more')}"] += 1
        total[f"{TO_ROW}sum"] += max(0, wait)
    return total


def add_up(db: sqlite3.Connection, amounts: Mapping[str, int]) -> None:
    """Facts that only grow: no counters, because the release before takes every counter for a number of deliveries."""
    db.executemany(
        "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        list(amounts.items()),
    )


def read_position(db: sqlite3.Connection) -> Position:
    """The call log's position as the inbox in this database last saw it."""
    facts = dict(db.execute("SELECT name, value FROM facts WHERE name IN ('position', 'reached')"))
    change_no, incarnation, *past = json.loads(facts.get("position", '[0, ""]'))
    known = tuple((mark, number) for mark, number in (past[0] if past else ()))
    return Position(change_no, incarnation, int(facts.get("reached", 0)), known)


def _delivery(row: tuple[Any, ...], event_key: str) -> Delivery:
    id, feed, route, method, query, content_type, declared_length, client_address, received_at, body, key_hash = row
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
        key_hash=key_hash,
        id=id,
        event_key=event_key if _BLANKED in body else "",
    )


def _texts(db: sqlite3.Connection, table: str, column: str) -> list[tuple[Any, str]]:
    where = "WHERE name IN ('call_log_message', 'blocked_by', 'purge_refused')" if table == "facts" else ""
    return db.execute(f"SELECT {_KEYS[table]}, {column} FROM {table} {where}").fetchall()


def _terms(before: int, dead: bool | int) -> dict[str, int]:
    """State -> the moment before which its deliveries are purged."""
    terms = {FORWARDED: before, IGNORED: before, DEAD: before if dead is True else int(dead)}
    return {state: moment for state, moment in terms.items() if moment}
