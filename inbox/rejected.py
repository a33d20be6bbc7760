"""Deliveries that an administrator rejects: sent by the right key, but not by the provider (upkeep/reject.py)."""

import json
import sqlite3
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from calllog.bounds import BEYOND
from inbox.deliveries import DEAD, FORGOTTEN, RECEIVED, REJECTED, now
from inbox.file import InboxFile, remember

DETAIL = "Отклонено администратором: прислано под верным ключом, но не провайдером."
ASKED, DONE = "reject_asked", "reject_done"  # facts
_IS_REJECTED = f"state = '{DEAD}' AND reason = '{REJECTED}'"


@dataclass(frozen=True, slots=True)
class Suspects:
    """Deliveries of a feed received from `since` on and before `until` (milliseconds since 1970 UTC); with `address` or
    `key_hash` only those of this sender, or by this key."""

    feed: str
    since: int
    until: int
    address: str = ""
    key_hash: str = ""


class Sender(NamedTuple):
    """How many of the suspects one address has sent by one key, and what became of them."""

    address: str
    key_hash: str
    state: str
    reason: str
    size: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """What the last order of the operator page has done, and when (milliseconds)."""

    at: int
    rejected: int = 0
    call_events: int = 0
    changed: int = 0
    void: int = 0


class Rejecting:
    """What is rejected in an inbox's file."""

    def __init__(self, file: InboxFile) -> None:
        self._file = file

    def senders(self, suspects: Suspects) -> list[Sender]:
        """Who sent the suspects, most of them first."""
        where, values = _where(suspects)
        rows = self._file.connection().execute(
            f"SELECT client_address, key_hash, state, reason, count(*) AS size FROM deliveries WHERE {where} "
            "GROUP BY client_address, key_hash, state, reason ORDER BY size DESC",
            values,
        )
        return [Sender(*row) for row in rows]

    def suspects(self, suspects: Suspects, after: int, limit: int) -> list[int]:
        """Ids above `after` of the suspects that are not rejected yet and not forgotten, in order."""
        where, values = _where(suspects)
        rows = self._file.connection().execute(
            f"SELECT id FROM deliveries WHERE id > ? AND {where} AND reason <> ? AND NOT ({_IS_REJECTED}) "
            "ORDER BY id LIMIT ?",
            (after, *values, FORGOTTEN, limit),
        )
        return [id for (id,) in rows]

    def reject(self, ids: list[int]) -> int:
        """Whatever they were, these deliveries are dead now, on disk when this returns; returns how many."""
        with self._file.writing(synchronous="FULL") as db:
            return db.executemany(
                f"UPDATE deliveries SET state = ?, reason = ?, detail = ?, settled_at = ? WHERE id = ? "
                f"AND NOT ({_IS_REJECTED})",
                [(DEAD, REJECTED, DETAIL, now(), id) for id in ids],
            ).rowcount

    def rejected(self, feed: str, after: int, limit: int) -> list[tuple[int, str]]:
        """(id above `after`, event_key or "") of the feed's rejected deliveries, in order."""
        return self._file.connection().execute(
            f"SELECT id, event_key FROM deliveries INDEXED BY deliveries_dead WHERE {_IS_REJECTED} AND feed = ? "
            "AND id > ? ORDER BY id LIMIT ?",
            (feed, after, limit),
        ).fetchall()  # fmt: skip

    def rejected_by_feed(self) -> dict[str, int]:
        """How many rejected deliveries of each feed there are."""
        return rejected_by_feed(self._file.connection())

    def standing(self, event_keys: Collection[str]) -> dict[str, int]:
        """Of each event that a delivery brought which is not rejected: the id of the first such delivery."""
        rows = self._file.connection().execute(
            f"SELECT event_key, id, min(received_at) FROM deliveries WHERE event_key <> '' AND event_key IN "
            f"({', '.join('?' * len(event_keys))}) AND NOT ({_IS_REJECTED}) GROUP BY event_key",
            tuple(event_keys),
        )
        return {key: id for key, id, _ in rows}

    def make_room(self, since: int) -> int:
        """What was beyond what its call may have waits again: the rejected may have taken its place; returns how many."""
        with self._file.writing(synchronous="FULL") as db:
            return db.execute(
                "UPDATE deliveries SET state = ?, reason = '', detail = '', settled_at = NULL "
                f"WHERE state = '{DEAD}' AND reason IN ({', '.join('?' * len(BEYOND))}) AND received_at >= ?",
                (RECEIVED, *BEYOND, since),
            ).rowcount

    # -- what the operator page asks for and the forwarder does

    def ask_to_reject(self, suspects: Suspects) -> bool:
        """Order it, on disk when this returns; False while an order is being carried out."""
        with self._file.writing(synchronous="FULL") as db:
            if (db.execute("SELECT value FROM facts WHERE name = ?", (ASKED,)).fetchone() or ("",))[0]:
                return False
            remember(db, ASKED, json.dumps(asdict(suspects)))
            return True

    def asked_to_reject(self) -> Suspects | None:
        """The order, None where there is none."""
        asked = self._file.fact(ASKED)
        return Suspects(**json.loads(asked)) if asked else None

    def rejection_done(self, done: Rejection) -> None:
        """The order is carried out."""
        self._file.remember(**{ASKED: "", DONE: json.dumps(asdict(done))})

    def last_rejection(self) -> Rejection | None:
        """What the last order has done, None where there never was one."""
        done = self._file.fact(DONE)
        return Rejection(**json.loads(done)) if done else None

    def still_rejected(self, ids: list[int]) -> list[tuple[int, int]]:
        """(id, received at) of those of the ids that are rejected."""
        db = self._file.connection()
        select = f"SELECT id, received_at FROM deliveries WHERE id = ? AND {_IS_REJECTED}"
        return [row for id in ids for row in db.execute(select, (id,))]


def rejected_by_feed(db: sqlite3.Connection) -> dict[str, int]:
    """Feed -> how many of its deliveries are rejected."""
    return dict(db.execute(f"SELECT feed, count(*) FROM deliveries WHERE {_IS_REJECTED} GROUP BY feed"))


def _where(suspects: Suspects) -> tuple[str, tuple[Any, ...]]:
    where, values = "feed = ? AND received_at >= ? AND received_at < ?", [suspects.feed, suspects.since, suspects.until]
    for column, value in (("client_address", suspects.address), ("key_hash", suspects.key_hash)):
        if value:
            where += f" AND {column} = ?"
            values.append(value)
    return where, tuple(values)
