"""What people and monitoring see of the inbox: lists, groups of dead letters, counters. Nothing here writes."""

import contextlib
import hashlib
import os
import re
import sqlite3
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from inbox.deliveries import DEAD, RECEIVED, REFUSED, REJECTED, Stored
from inbox.file import BUSY_MS, TROUBLE, USER_VERSION, InboxFile
from inbox.rejected import rejected_by_feed

MOST_SEARCHED = 5000  # deliveries that one question of a person looks through

_COUNTERS = "SELECT * FROM counters"
_BACKLOG = f"""
SELECT count(*), (SELECT received_at FROM deliveries WHERE state = '{RECEIVED}' ORDER BY id LIMIT 1)
FROM deliveries WHERE state = '{RECEIVED}'
"""
_DEAD = f"state = '{DEAD}' AND reason <> '{REJECTED}'"  # the rejected ones are nobody's task
_DEAD_NOW = f"SELECT feed, reason, count(*) FROM deliveries WHERE {_DEAD} GROUP BY feed, reason"


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
    client_address: str
    key_hash: str


class DeadGroup(NamedTuple):
    """Dead letters of one feed with one reason and one sentence: how many, the first and last receipt, the newest ids."""

    feed: str
    reason: str
    detail: str
    size: int
    first_at: int
    last_at: int
    examples: tuple[int, ...]

    @property
    def key(self) -> str:
        """What tells this group from others, for ever."""
        return self.key_of(self.feed, self.reason, self.detail)

    @staticmethod
    def key_of(feed: str, reason: str, detail: str) -> str:
        """The group of a dead letter."""
        return hashlib.sha256(f"{feed}\n{reason}\n{_without_quotes(detail)}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Look:
    """What one consistent read of the inbox shows. `counters`, `waiting` with `since`, `dead` and `rejected` are as the
    methods of these names return them."""

    counters: list[tuple[str, str, str, int, int, str]]
    waiting: int
    since: int | None
    dead: list[tuple[str, str, int]]
    rejected: dict[str, int]
    facts: dict[str, str]

    def amounts(self, of: str) -> dict[str, int]:
        """What was added up under names that begin so, by the rest of the name. Of BYTES: about what each feed's deliveries
        took of the disk, those that are gone again too."""
        return {name.removeprefix(of): int(value) for name, value in self.facts.items() if name.startswith(of)}

    @property
    def last_deliveries(self) -> dict[str, int]:
        """Feed -> when its last delivery was stored (milliseconds), understood or not."""
        last: dict[str, int] = {}
        for feed, outcome, _, _, at, _ in self.counters:
            if outcome not in (REFUSED, TROUBLE):
                last[feed] = max(at, last.get(feed, 0))
        return last


class Looking:
    """Questions about the deliveries of an inbox's file."""

    def __init__(self, file: InboxFile) -> None:
        self._file = file

    def browse(
        self, state: str = "", feed: str = "", before: int = 0, limit: int = 50, text: str = ""
    ) -> tuple[list[Row], int | None]:
        """(deliveries before this id, the newest first; where to look on, None at the end). `text` stands in the body or in
        the query. A question looks through MOST_SEARCHED deliveries, however few of them match; those that wait or are
        dead have an index, unless a text is looked for."""
        db = self._file.connection()
        last = before or 1 + (db.execute("SELECT max(id) FROM deliveries").fetchone()[0] or 0)
        floor = max(0, last - MOST_SEARCHED - 1)
        among = (
            "id > :floor AND (:state = '' OR state = :state) AND (:feed = '' OR feed = :feed) "
            "AND (:text = '' OR instr(body, CAST(:text AS BLOB)) OR instr(query, :text))"
        )
        if state in (RECEIVED, DEAD) and not text:
            floor = 0
            among = (
                f"id IN (SELECT id FROM deliveries INDEXED BY deliveries_{state} WHERE state = '{state}' "
                "AND (:feed = '' OR feed = :feed) AND id < :last ORDER BY id DESC LIMIT :limit)"
            )
        rows = db.execute(
            "SELECT id, feed, route, received_at, substr(query, 1, 200), coalesce(substr(body, 1, 400), x''), "
            "length(body), state, reason, substr(detail, 1, 2000), client_address, key_hash FROM deliveries "
            f"WHERE id < :last AND {among} ORDER BY id DESC LIMIT :limit",
            {"state": state, "feed": feed, "last": last, "floor": floor, "limit": limit, "text": text},
        )
        found = [Row(*row) for row in rows]
        on = found[-1].id if len(found) == limit else floor + 1
        return found, on if on > 1 else None

    def received_until(self, moment: int) -> int:
        """The id of the last delivery received by then (milliseconds), 0 where there is none: ids and receipts rise
        together, so it is looked up by halves."""
        db = self._file.connection()
        low, high = 0, db.execute("SELECT max(id) FROM deliveries").fetchone()[0] or 0
        while low < high:
            middle = (low + high + 1) // 2
            row = db.execute(
                "SELECT received_at FROM deliveries WHERE id <= ? ORDER BY id DESC LIMIT 1", (middle,)
            ).fetchone()
            low, high = (middle, high) if row is None or row[0] <= moment else (low, middle - 1)
        return int(low)

    def dead_groups(self, limit: int = 50) -> list[DeadGroup]:
        """The dead letters (the newest MOST_SEARCHED of them) by feed, reason and sentence, the newest group first."""
        rows = self._file.connection().execute(
            "SELECT id, feed, reason, detail, received_at FROM deliveries WHERE id IN (SELECT id FROM deliveries "
            f"INDEXED BY deliveries_dead WHERE {_DEAD} ORDER BY id DESC LIMIT ?) ORDER BY id DESC",
            (MOST_SEARCHED,),
        )
        groups: dict[tuple[str, str, str], DeadGroup] = {}
        for id, feed, reason, detail, at in rows:
            key = (feed, reason, _without_quotes(detail))
            there = groups.get(key) or DeadGroup(feed, reason, detail, 0, at, at, ())
            groups[key] = there._replace(
                size=there.size + 1,
                first_at=min(at, there.first_at),
                last_at=max(at, there.last_at),
                examples=(*there.examples, id)[:3],
            )
        return list(groups.values())[:limit]

    def states(self, ids: list[int]) -> dict[int, str]:
        """Id -> state, of those that are there."""
        marks = ", ".join("?" * len(ids))
        return dict(self._file.connection().execute(f"SELECT id, state FROM deliveries WHERE id IN ({marks})", ids))

    def taken_since(self, feed: str, moment: int) -> int:
        """How many deliveries of the feed were understood after a moment (milliseconds), of the newest MOST_SEARCHED."""
        db = self._file.connection()
        last = db.execute("SELECT max(id) FROM deliveries").fetchone()[0] or 0
        found: int = db.execute(
            f"SELECT count(*) FROM deliveries WHERE id > ? AND feed = ? AND received_at > ? AND state <> '{DEAD}'",
            (last - MOST_SEARCHED, feed, moment),
        ).fetchone()[0]
        return found

    def dead_like(self, stored: Stored, limit: int) -> list[int]:
        """Ids of the dead letters of this one's feed, reason and sentence, the newest first."""
        rows = self._file.connection().execute(
            f"SELECT id, detail FROM deliveries INDEXED BY deliveries_dead WHERE state = '{DEAD}' AND feed = ? "
            "AND reason = ? ORDER BY id DESC",
            (stored.delivery.feed, stored.outcome.reason),
        )
        wanted = _without_quotes(stored.outcome.detail)
        return list(islice((id for id, detail in rows if _without_quotes(detail) == wanted), limit))

    def counters(self) -> list[tuple[str, str, str, int, int, str]]:
        """(feed, outcome, reason, total, last at in milliseconds, last message)."""
        return self._file.connection().execute(_COUNTERS).fetchall()

    def backlog(self) -> tuple[int, int | None]:
        """How many deliveries wait, and since when the oldest does (milliseconds)."""
        waiting, since = self._file.connection().execute(_BACKLOG).fetchone()
        return waiting, since

    def count(self) -> int:
        """How many deliveries there are."""
        found: int = self._file.connection().execute("SELECT count(*) FROM deliveries").fetchone()[0]
        return found

    def dead(self) -> list[tuple[str, str, int]]:
        """(feed, reason, how many) of the dead letters there are now, but for the rejected ones."""
        return self._file.connection().execute(_DEAD_NOW).fetchall()

    def waiting_by_feed(self) -> dict[str, int]:
        """How many deliveries of each feed wait."""
        return dict(
            self._file.connection().execute(
                f"SELECT feed, count(*) FROM deliveries WHERE state = '{RECEIVED}' GROUP BY feed"
            )
        )

    def look(self) -> Look:
        """What readyz, metrics and the page show, read in one transaction; takes no lock and writes no byte."""
        path = self._file.path
        if not path.exists():
            if self._file.was_made():
                raise sqlite3.OperationalError("inbox.db is gone")
            self._file.connection()  # makes it
        wal = path.with_name("inbox.db-wal").exists()
        # SQLite opens a WAL database on a read-only disk only where its log exists, or as immutable
        still = os.statvfs(path.parent).f_flag & os.ST_RDONLY and not wal
        address = f"{path.absolute().as_uri()}?{'immutable=1' if still else 'mode=ro'}"
        with contextlib.closing(sqlite3.connect(address, uri=True, isolation_level=None)) as db:
            db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            if db.execute("PRAGMA user_version").fetchone()[0] < USER_VERSION:
                self._file.connection()  # it is being made
            db.execute("BEGIN")
            counters = db.execute(_COUNTERS).fetchall()
            waiting, since = db.execute(_BACKLOG).fetchone()
            dead = db.execute(_DEAD_NOW).fetchall()
            facts = dict(db.execute("SELECT name, value FROM facts"))
            return Look(counters, waiting, since, dead, rejected_by_feed(db), facts)


def _without_quotes(detail: str) -> str:
    """A refusal's sentence without what it quotes of the body: one broken template is one group of dead letters."""
    return re.sub(r"«[^»]*»|\d+", "", re.sub(r"у текста «.*?»(?=: | \()", "", detail))
