"""The account: every acknowledged notification is in the call log once, every call is the fold of its events."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peewee import Database

import models
import schemas
from calllog import bounds, database
from calllog.batch import wall
from calllog.fold import fold
from calllog.overdue import own_event
from inbox import DEAD, FORWARDED, IGNORED, RECEIVED, REJECTED, Inbox, now
from models import CallEvents, CallLegs, CallRecordings, Calls, ChangeCounter
from schemas import event as words
from schemas.event import SILENCES, CallEvent
from tests.rig.fixtures import ZONE

MOMENTS = ("started_at", "answered_at", "ended_at", "first_event_at", "last_event_at")
TIMELESS = {feed.provider for feed in schemas.feeds().values() if not feed.tells_time}  # their order is that of receipt
DROPPED = {"too_old", "forgotten"}  # reasons of deliveries that are ignored; nothing here is
TOO_MUCH = {*bounds.BEYOND, "indigestible"}  # reasons of dead letters
# What a fixture knows of its call without our fold, whatever our clock and the order were.
KNOWN_ALIKE = (
    "direction", "client_number", "line_number", "employee_number", "employee_ext", "employee_name", "caller_raw",
    "called_raw", "account", "external_id", "redirected_from", "disposition", "is_answered", "is_missed", "provider_lost",
    "reason", "reason_raw", "hangup_by",
)  # fmt: skip
# And where every moment of it stands in a body and was past when that came.
KNOWN_MOMENTS = ("started_at", "answered_at", "ended_at", "wait_seconds", "talk_seconds", "total_seconds")
PAST = 1_795_510_800_000  # of every fixture: 24 November 2026


@dataclass
class Journal:
    """What the generator wrote down."""

    sent: Counter[str] = field(default_factory=Counter)  # by event_key; "" are the ones to be ignored
    acknowledged: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    calls: dict[str, tuple[dict[str, Any], int]] = field(default_factory=dict)
    poison: set[str] = field(default_factory=set)  # calls of which more was told than a call may have
    wrong: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, *paths: Path) -> "Journal":
        said = cls()
        for path in paths:
            pending: dict[int, tuple[str, str]] = {}
            for line in path.read_text(encoding="utf-8").splitlines():
                what, *rest = json.loads(line)
                if what == "call":
                    said.calls[rest[0]] = (rest[1], rest[2])
                elif what == "poison":
                    said.poison.add(rest[0])
                elif what == "sent":
                    number, _, key, expected = rest
                    pending[number] = (key, expected)
                    said.sent[key] += 1
                else:
                    number, status, word = rest
                    key, expected = pending.pop(number)
                    said.statuses[status] += 1
                    if status == 200:
                        said.acknowledged[key] += 1
                        if word != expected:
                            said.wrong.append(f"answered {word}, expected {expected}")
                    elif status not in (0, 502, 503):
                        said.wrong.append(f"answered {status}: {word}")
        return said


@dataclass
class Verdict:
    """What the account found; `faults` names every sentence of the promise that does not hold."""

    sent: int = 0
    acknowledged: int = 0
    calls: int = 0
    lost: int = 0
    doubled: int = 0
    dead: Counter[str] = field(default_factory=Counter)  # dead letters by their reasons
    faults: list[str] = field(default_factory=list)


def judge(
    journal: Journal,
    inboxes: list[Path],
    url: str,
    cut_bodies: int,
    copy: dict[tuple[str, str], Any],
    liar: str = "",
) -> Verdict:
    """Compare what was acknowledged with what is on disk. `cut_bodies` is how many half-sent requests there were at the
    most: they alone may be dead. `copy` is the rows as a reader that followed change_no has them. What came by a key with
    the hash `liar` is rejected, and all the rest as if it had never come."""
    verdict = Verdict(sum(journal.sent.values()), sum(journal.acknowledged.values()), faults=journal.wrong[:20])
    beyond = _inboxes(journal, inboxes, cut_bodies, liar, verdict)
    db = database.open_database(url)
    with db.connection_context():
        _call_log(journal, beyond, db, copy, verdict)
        _intact(db, verdict)
    return verdict


def _inboxes(journal: Journal, inboxes: list[Path], cut_bodies: int, liar: str, verdict: Verdict) -> Counter[str]:
    """Returns the events that are dead letters of the poison."""
    stored: Counter[str] = Counter()
    states: Counter[str] = Counter()
    beyond: Counter[str] = Counter()
    for inbox in inboxes:
        with closing(sqlite3.connect(inbox)) as db:
            rows = db.execute("SELECT state, event_key, reason, key_hash FROM deliveries")
            for state, key, reason, sender in rows:
                if liar and sender == liar:
                    if (state, reason) != (DEAD, REJECTED):
                        verdict.faults.append(f"a lie is {state}: {reason}")
                    continue
                states[state] += 1
                stored[key if state == FORWARDED else state] += 1
                if reason in DROPPED:
                    verdict.faults.append(f"a delivery is {state}: {reason}")
            found = db.execute("PRAGMA integrity_check").fetchone()[0]
            if found != "ok":
                verdict.faults.append(f"the inbox is damaged: {found}")
        beyond += _dead(journal, inbox, liar, verdict)
    stored += beyond
    for key, count in journal.acknowledged.items():
        there, name = stored[key] if key else states[IGNORED], key or "the ignored ones"
        if there < count:
            verdict.lost += count - there
            verdict.faults.append(f"{count} deliveries of {name} were acknowledged, {there} are there")
        if there > journal.sent[key]:
            verdict.faults.append(f"{there} deliveries of {name}, {journal.sent[key]} were sent")
    if states[RECEIVED]:
        verdict.faults.append(f"{states[RECEIVED]} deliveries still wait")
    if states[DEAD] - beyond.total() > cut_bodies:
        verdict.faults.append(f"{states[DEAD]} dead letters, but {cut_bodies} bodies were cut")
    return beyond


def _dead(journal: Journal, inbox: Path, liar: str, verdict: Verdict) -> Counter[str]:
    """The events that are dead letters of the poison, which no call log takes whole; another one is a fault, unless its
    body was cut."""
    found: Counter[str] = Counter()
    for stored in Inbox(inbox.parent).deliveries(state=DEAD, limit=-1):
        reason = stored.outcome.reason
        verdict.dead[reason] += 1
        if liar and stored.delivery.key_hash == liar:
            continue
        event = schemas.understand(stored.delivery, ZONE) if reason in TOO_MUCH else None
        if event and event.provider_call_id in journal.poison:
            found[event.event_key] += 1
        elif reason != "cut_short":
            verdict.faults.append(f"a dead letter: {reason} {stored.outcome.detail[-300:]}")
    return found


def _call_log(
    journal: Journal, beyond: Counter[str], db: Database, copy: dict[tuple[str, str], Any], verdict: Verdict
) -> None:
    rows = {row["id"]: row for row in Calls.select().dicts().execute(db)}
    verdict.calls = len(rows)
    names = Counter((row["provider"], row["provider_call_id"]) for row in rows.values())
    verdict.doubled += sum(count - 1 for count in names.values())
    keys: Counter[str] = Counter()
    own: set[str] = set()
    for row, events, legs, recordings in _stories(db, rows):
        keys.update(event.event_key for event in events)
        own |= {
            own_event(kind, [event]).event_key for kind in SILENCES for event in events if event.kind not in SILENCES
        }
        if row["disposition"] == words.VOID and not events:  # only a liar told of it
            continue
        last = max((event.received_at for event in events), default=0)
        own |= {
            event.event_key for event in events if event.kind in SILENCES and event.received_at < last
        }  # broken ones
        _same_as_fold(row, events, legs, recordings, verdict)
        _as_the_fixture_says(journal, row, events, verdict)
    missing = [key for key in journal.acknowledged if key and not keys[key] and not beyond[key]]
    verdict.lost += len(missing)
    verdict.faults += [f"the event {key} was acknowledged and is not in the call log" for key in missing[:5]]
    verdict.doubled += sum(count - 1 for count in keys.values())
    strange = [key for key in keys if key not in journal.sent and key not in own]
    verdict.faults += [f"nobody sent the event {key}" for key in strange[:5]]
    _followed(db, rows, copy, verdict)
    if verdict.lost or verdict.doubled:
        verdict.faults.append(f"{verdict.lost} lost, {verdict.doubled} doubled")


def _stories(db: Database, rows: dict[int, Any]) -> Iterator[tuple[Any, list[CallEvent], list[Any], list[Any]]]:
    """Each call with its events, legs and recordings; a part of no call is a fault of the batch."""
    parts: list[dict[int, list[Any]]] = []
    for table in (CallEvents, CallLegs, CallRecordings):
        found: dict[int, list[Any]] = {}
        for part in table.select().dicts().execute(db).iterator():
            found.setdefault(part["call_id"], []).append(part)
        assert found.keys() <= rows.keys(), f"{table.__name__} of calls that are not there"
        parts.append(found)
    events, legs, recordings = parts
    for id, row in rows.items():
        told = [CallEvent.from_payload(event["payload"]) for event in events.get(id, [])]
        yield row, told, legs.get(id, []), recordings.get(id, [])


def _same_as_fold(
    row: dict[str, Any], events: list[CallEvent], legs: list[Any], recordings: list[Any], verdict: Verdict
) -> None:
    if not events:
        verdict.faults.append(f"call {row['id']} has no event")
        return
    call = fold(events)
    for column, value in call.columns.items():
        wanted = wall(value, ZONE) if column in MOMENTS else value
        if _shown(column, row[column]) != wanted:
            verdict.faults.append(f"call {row['id']}.{column} is {row[column]!r}, its events fold to {wanted!r}")
    if len(recordings) > bounds.MOST_RECORDINGS:
        verdict.faults.append(f"call {row['id']} has {len(recordings)} recordings, more than a call may have")
    if not _same_parts("leg_key", legs, call.legs):
        verdict.faults.append(f"call {row['id']} has other legs than its events")
    if not _same_parts("url_hash", recordings, call.recordings):
        verdict.faults.append(f"call {row['id']} has other recordings than its events")


def _same_parts(key: str, rows: list[dict[str, Any]], parts: dict[str, dict[str, Any]]) -> bool:
    """Whether these rows are just these parts, column by column."""
    there = {row[key]: row for row in rows}
    return (len(rows), there.keys()) == (len(parts), parts.keys()) and all(
        _shown(column, there[name][column]) == (wall(value, ZONE) if column in MOMENTS else value)
        for name, part in parts.items()
        for column, value in part.items()
    )


def _shown(column: str, value: Any) -> Any:
    """A row's value, a moment as text."""
    return str(value) if column in MOMENTS and value is not None else value


def _as_the_fixture_says(journal: Journal, row: dict[str, Any], events: list[CallEvent], verdict: Verdict) -> None:
    """Of a call all of whose events are there: what does not depend on the clock is what its fixture expects."""
    expected, count = journal.calls.get(row["provider_call_id"], ({}, 0))
    told = [event for event in events if event.kind not in (words.EXPIRED, words.SETTLED)]
    if expected.get("state") != "ended" or len(told) < count or row["provider"] in TIMELESS:
        return
    if row["state"] == "ringing" and max(event.received_at for event in told) > now() - 60_000:
        return  # silence has not lasted yet: the clock may have been set forward when it was received
    clocked = any(str(expected.get(column)).startswith("@") for column in MOMENTS[:3])
    known = KNOWN_ALIKE if clocked or min(event.received_at for event in told) < PAST else KNOWN_ALIKE + KNOWN_MOMENTS
    for column in known:
        if column in expected and _shown(column, row[column]) != expected[column]:
            verdict.faults.append(f"call {row['id']}.{column} is {row[column]!r}, expected {expected[column]!r}")


def _followed(db: Database, rows: dict[int, Any], copy: dict[tuple[str, str], Any], verdict: Verdict) -> None:
    """change_no: unique, none above the counter, and a reader that followed it has every row as it is."""
    numbers = [row["change_no"] for row in rows.values()]
    last = ChangeCounter.select(ChangeCounter.change_no).scalar(db)
    if len(set(numbers)) != len(numbers) or (numbers and max(numbers) > last):
        verdict.faults.append(
            f"change_no: {len(numbers)} rows, {len(set(numbers))} numbers up to {max(numbers)}, counter {last}"
        )
    there = {(row["provider"], row["provider_call_id"]): row for row in rows.values()}
    missed = [name for name, row in there.items() if copy.get(name) != row]
    if missed:
        verdict.faults.append(
            f"a reader of change_no missed {len(missed)} rows, {copy.keys() - there.keys()} are no more"
        )


def _intact(db: Database, verdict: Verdict) -> None:
    if isinstance(db, database.SqliteCallLog):
        found = [db.execute_sql("PRAGMA integrity_check").fetchone()[0]]
    else:
        tables = ", ".join(table._meta.table_name for table in models.TABLES)
        found = [row[-1].lower() for row in db.execute_sql(f"CHECK TABLE {tables}").fetchall()]
    if set(found) != {"ok"}:
        verdict.faults.append(f"the call log is damaged: {found}")
