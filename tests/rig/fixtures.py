"""The fixture calls: a folder is a call, a file is a delivery as it arrives on the wire, call.json is what 1C sees.

A file is a request line, headers, an empty line and the raw body (one line break at the end of the file is not part of
it). The access key, Host and Content-Length are not in it. In call.json a moment "@02" is the receipt of file 02;
"@first" and "@last" are the earliest and the latest receipt. Columns that it leaves out are not compared. With
"settled" the row is that of the call after SETTLE_SECONDS of silence: its end has no delivery of its own.
"""

import hashlib
import http.client
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

from flask import Flask
from werkzeug.routing import MapAdapter

import handlers
import schemas
from calllog.batch import wall
from calllog.fold import Call
from calllog.overdue import own_event
from schemas import event as words
from schemas.event import CallEvent
from schemas.reading import Delivery
from tests.rig.nginx import Nginx
from tests.rig.service import KEYS, Service

FOLDER = Path(__file__).resolve().parent.parent / "fixtures"
ZONE = ZoneInfo("Europe/Moscow")
MOMENTS = ("started_at", "answered_at", "ended_at", "first_event_at", "last_event_at")
PART_KEYS = {
    "call_legs": ("leg_key",),
    "call_recordings": ("kind", "provider_record_id", "url"),
    "call_attributes": ("name",),  # compared where call.json has them
}

Tables = dict[str, Any]  # {"calls": row, "call_legs": [row …], "call_recordings": [row …], "call_attributes": [row …]}


@cache
def _routes() -> MapAdapter:
    app = Flask(__name__)
    for blueprint in handlers.blueprints():
        app.register_blueprint(blueprint)
    return app.url_map.bind("localhost")


@dataclass(frozen=True, slots=True)
class Request:
    """One .http file."""

    name: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def read(cls, path: Path) -> "Request":
        head, body = re.split(rb"\r?\n\r?\n", path.read_bytes(), maxsplit=1)
        line, *headers = head.decode().splitlines()
        method, target, _ = line.split(" ")
        pairs = [header.partition(":") for header in headers if header]
        return cls(path.stem, method, target, tuple((n, v.strip()) for n, _, v in pairs), body.removesuffix(b"\n"))

    @property
    def feed(self) -> str:
        """The feed whose route this is: the blueprint's name."""
        return self._match()[0]

    def _match(self) -> tuple[str, str]:
        path = unquote(self.target.partition("?")[0])
        endpoint, arguments = _routes().match(path, self.method)
        return endpoint.partition(".")[0], arguments.get("route") or path.rpartition("/")[2]

    def delivery(self, received_at: int = 0) -> Delivery:
        """The delivery that the handler makes of this request."""
        feed, route = self._match()
        return Delivery(
            feed=feed,
            route=route,
            body=self.body,
            query=self.target.partition("?")[2],
            method=self.method,
            content_type=dict(self.headers).get("Content-Type", ""),
            declared_length=len(self.body) if self.method == "POST" else None,
            received_at=received_at,
        )

    def event(self, received_at: int = 0) -> CallEvent:
        """What the delivery says."""
        return schemas.understand(self.delivery(received_at), ZONE)

    def with_call_id(self, old: str, new: str) -> "Request":
        """The same request about another call: `old` is replaced wherever it stands, also percent-encoded."""
        pattern = re.compile(rb"(?:\s|\+|%20)+".join(re.escape(part.encode()) for part in old.split()), re.IGNORECASE)

        def put(found: re.Match[bytes]) -> bytes:
            return (quote(new) if b"%" in found[0] else new).encode()

        target = pattern.sub(put, self.target.encode()).decode()
        changed = replace(self, target=target, body=pattern.sub(put, self.body))
        if changed.event().provider_call_id != new:
            raise AssertionError(f"{self.name}: the call id {old} does not stand in the request as it is")
        return changed

    def send(self, service: Service | Nginx) -> tuple[int, dict[str, Any]]:
        """Send it with the feed's key; returns the status and the answer."""
        key = KEYS[self.feed]
        target = f"{self.target}{'&' if '?' in self.target else '?'}key={quote(key)}"
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        try:
            connection.request(self.method, target, self.body or None, dict(self.headers))
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class FixtureCall:
    """One folder: the requests that tell of a call and the rows that 1C must see."""

    name: str
    requests: tuple[Request, ...]
    rows: Tables

    @classmethod
    def read(cls, folder: Path) -> "FixtureCall":
        requests = tuple(Request.read(path) for path in sorted(folder.glob("*.http")))
        rows: Tables = json.loads((folder / "call.json").read_text(encoding="utf-8"))
        return cls(f"{folder.parent.name}/{folder.name}", requests, rows)

    @property
    def call_id(self) -> str:
        """The call's id, as events have it."""
        return str(self.rows["calls"]["provider_call_id"])

    def another(self, seed: str) -> "FixtureCall":
        """The same call under another id of the same shape (digits stay digits, hex stays hex)."""
        old = self.call_id
        new = _same_shape(old, f"{self.name} {seed}")
        rows = {**self.rows, "calls": {**self.rows["calls"], "provider_call_id": new}}
        return replace(self, requests=tuple(r.with_call_id(old, new) for r in self.requests), rows=rows)

    @property
    def tells_time(self) -> bool:
        """Whether its events carry moments of their own; otherwise the order of receipt is the order of what happened."""
        return all(schemas.feeds()[request.feed].tells_time for request in self.requests)

    @property
    def settled(self) -> bool:
        """Whether the call's end is told by silence."""
        return bool(self.rows.get("settled"))

    def events(self) -> list[CallEvent]:
        """The call's events, received in the order of the files at fixed moments; our own last, where silence ends it."""
        told = [request.event(at) for request, at in zip(self.requests, self.receipts(), strict=True)]
        if self.settled:
            told.append(own_event(words.SETTLED, told, after=60_000))
        return told

    def receipts(self) -> list[int]:
        """Fixed receipt times of the files, 7.111 s apart, from 24 November 2026, noon in Moscow: no moment in them is
        a day later, which would not be believed."""
        return [1_795_510_800_000 + 7_111 * number for number, _ in enumerate(self.requests, 1)]

    def expected(self, receipts: Sequence[int]) -> Tables:
        """call.json with its receipt moments filled in; `receipts` in the order of the files, milliseconds."""
        moments = {"@first": min(receipts), "@last": max(receipts)}
        moments |= {f"@{number:02d}": at for number, at in enumerate(receipts, 1)}

        def resolved(row: dict[str, Any]) -> dict[str, Any]:
            return {
                column: wall(moments[value], ZONE) if isinstance(value, str) and value.startswith("@") else value
                for column, value in row.items()
            }

        parts = {table: [resolved(row) for row in self.rows[table]] for table in PART_KEYS if table in self.rows}
        return {"calls": resolved(self.rows["calls"]), **parts}


def _same_shape(call_id: str, seed: str) -> str:
    random = iter(hashlib.shake_256(seed.encode()).digest(len(call_id)))
    alphabets = ("123456789", "abcdef", "ABCDEF", "ghijklmnopqrstuvwxyz", "GHIJKLMNOPQRSTUVWXYZ")

    def other(letter: str, byte: int) -> str:
        alphabet = next((a for a in alphabets if letter in a or (letter == "0" and a[0] == "1")), letter)
        return alphabet[byte % len(alphabet)]

    return "".join(other(letter, byte) for letter, byte in zip(call_id, random, strict=True))


def fixture_calls() -> list[FixtureCall]:
    """Every call under tests/fixtures, whatever its feed."""
    return [FixtureCall.read(path.parent) for path in sorted(FOLDER.glob("*/*/call.json"))]


def name(value: Any) -> str | None:
    """A fixture call's name, for pytest's ids."""
    return value.name if isinstance(value, FixtureCall) else None


def tables(call: Call) -> Tables:
    """A folded call as 1C would see it."""

    def row(columns: dict[str, Any]) -> dict[str, Any]:
        return {name: wall(value, ZONE) if name in MOMENTS else value for name, value in columns.items()}

    return {
        "calls": row(call.columns),
        "call_legs": [row({"leg_key": key, **leg}) for key, leg in sorted(call.legs.items())],
        "call_recordings": [row({"url_hash": key, **r}) for key, r in sorted(call.recordings.items())],
        "call_attributes": [row({"name": key, **a}) for key, a in call.attributes.items()],
    }


def differences(expected: Tables, found: Tables) -> list[str]:
    """Every column of `expected` that `found` tells otherwise, and every part that is missing or too many."""
    wrong = _row_differences("calls", expected["calls"], found["calls"])
    for table, key in PART_KEYS.items():
        if table not in expected:
            continue
        wanted, there = _by(key, expected[table]), _by(key, found[table])
        wrong += [f"{table}: {which} is missing" for which in sorted(wanted.keys() - there.keys())]
        wrong += [f"{table}: {which} is too many" for which in sorted(there.keys() - wanted.keys())]
        for which in sorted(wanted.keys() & there.keys()):
            wrong += _row_differences(f"{table} {which}", wanted[which], there[which])
    return wrong


def _by(key: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[column] for column in key): row for row in rows}


def _row_differences(where: str, expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    return [
        f"{where}.{column}: {found.get(column, 'no such column')!r}, expected {value!r}"
        for column, value in expected.items()
        if column not in found or found[column] != value
    ]
