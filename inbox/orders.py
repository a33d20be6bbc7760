"""Click to call: each request_id is claimed once, each attempt has its row, and no more is dialled than the limits allow.

`attempts` stands beside `placements`, into which the release before writes every column by position.
"""

import sqlite3
from typing import NamedTuple

from inbox.deliveries import now
from inbox.file import InboxFile

DIALLING, PLACED, REFUSED_BY_PROVIDER, NOT_KNOWN = "", "placed", "provider_refused", "outcome_unknown"
NOT_ALLOWED, OVER_LIMIT = "destination_not_allowed", "too_many_calls"  # nothing was dialled
MINUTE, DAY = 60_000, 86_400_000  # milliseconds
MOST_REFUSED = 1000  # attempts a day that have a row though nothing was dialled; more are only counted
_REFUSED = f"outcome IN ('{NOT_ALLOWED}', '{OVER_LIMIT}')"


class Attempt(NamedTuple):
    """Who asks to call whom, and from which address."""

    provider: str
    ext: str
    number: str
    request_id: str
    client_address: str


class Tried(NamedTuple):
    """A row of `attempts`; `tried_at` in milliseconds since 1970 UTC."""

    id: int
    tried_at: int
    attempt: Attempt
    outcome: str


class Limits(NamedTuple):
    """Calls dialled a minute and a day: by one extension, and in all."""

    ext: tuple[int, int]
    total: tuple[int, int]


class Claim(NamedTuple):
    """`id` of an attempt that may dial, else 0. `first`: the first answer to this request_id (status, JSON), with status
    None while nobody knows it; `over`: the limit that is reached."""

    id: int
    first: tuple[int | None, str] | None = None
    over: str = ""


class Orders:
    """What an inbox's file keeps of click to call."""

    def __init__(self, file: InboxFile) -> None:
        self._file = file

    def placement(self, request_id: str) -> tuple[int | None, str] | None:
        """The first answer to this request_id, as `Claim.first`; claims nothing."""
        row = self._file.connection().execute(
            "SELECT status, answer FROM placements WHERE request_id = ?", (request_id,)
        ).fetchone()  # fmt: skip
        return (row[0], row[1]) if row else None

    def claim(self, attempt: Attempt, limits: Limits) -> Claim:
        """Claim the request_id, if there is one, and an attempt; synced before anything is dialled."""
        with self._file.writing("FULL") as db:
            if attempt.request_id:
                wanted = "SELECT status, answer FROM placements WHERE request_id = ?"
                first = db.execute(wanted, (attempt.request_id,)).fetchone()
                if first:
                    return Claim(0, first=(first[0], first[1]))
            over = _over(db, attempt.ext, limits)
            if over:
                _insert(db, attempt, OVER_LIMIT)
                return Claim(0, over=over)
            if attempt.request_id:
                db.execute("INSERT INTO placements VALUES (?, ?, NULL, '')", (attempt.request_id, now()))
            return Claim(_insert(db, attempt, DIALLING))

    def placed(self, id: int, outcome: str, request_id: str, status: int, answer: str) -> None:
        """Keep what became of an attempt, and the answer to its request_id."""
        with self._file.writing() as db:
            db.execute("UPDATE attempts SET outcome = ? WHERE id = ?", (outcome, id))
            db.execute(
                "UPDATE placements SET status = ?, answer = ? WHERE request_id = ?", (status, answer, request_id)
            )

    def not_allowed(self, attempt: Attempt) -> None:
        """Keep an attempt to call where nobody may; not synced."""
        with self._file.writing() as db:
            _insert(db, attempt, NOT_ALLOWED)

    def attempts(self, before: int = 0, limit: int = 100) -> list[Tried]:
        """The newest first; `before`: only those with a smaller id."""
        rows = self._file.connection().execute(
            "SELECT id, tried_at, outcome, provider, ext, number, request_id, client_address FROM attempts "
            "WHERE (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?",
            (before, before, limit),
        )
        return [Tried(id, at, Attempt(*attempt), outcome) for id, at, outcome, *attempt in rows]


def _over(db: sqlite3.Connection, ext: str, limits: Limits) -> str:
    """The limit that is reached, "" if none is."""
    at = now()
    dialled = f"SELECT count(*), total(ext = ?) FROM attempts WHERE tried_at > ? AND NOT {_REFUSED}"
    for span, name, of_ext, of_all in (
        (MINUTE, "minute", limits.ext[0], limits.total[0]),
        (DAY, "day", limits.ext[1], limits.total[1]),
    ):
        in_all, by_ext = db.execute(dialled, (ext, at - span)).fetchone()
        if by_ext >= of_ext:
            return f"ext_{name}"
        if in_all >= of_all:
            return f"all_{name}"
    return ""


def _insert(db: sqlite3.Connection, attempt: Attempt, outcome: str) -> int:
    """The row's id, 0 where too many have been refused within a day."""
    at = now()
    if outcome != DIALLING:
        refused = f"SELECT count(*) FROM attempts WHERE tried_at > ? AND {_REFUSED}"
        if db.execute(refused, (at - DAY,)).fetchone()[0] >= MOST_REFUSED:
            return 0
    added = "INSERT INTO attempts (tried_at, provider, ext, number, request_id, client_address, outcome)"
    done = db.execute(f"{added} VALUES (?, ?, ?, ?, ?, ?, ?)", (at, *attempt, outcome))
    return done.lastrowid or 0
