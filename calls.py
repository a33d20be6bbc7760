"""A batch of events into the call log: one transaction, a fixed number of statements, each event exactly once.

The order of the statements is the design (docs/decisions/0002-the-batch.md): the calls' rows are locked first, so what
is read after them is whole; the change counter's row is locked last and held to the commit, so the order of change_no
is the order of commits. Nothing here depends on what an earlier batch left in memory.
"""

import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import cache, lru_cache
from typing import Any

from peewee import Database, DataError, IntegrityError, MySQLDatabase, fn

import models
from fold import Call, fold, settles_at
from models import CallEvents, CallLegs, CallRecordings, Calls, FeedStatus, Position, Table
from schemas.event import EXPIRED, HANGUP, SETTLED, CallEvent
from schemas.reading import KEY_VERSION, sha256

PAST = 100  # restores that a node remembers
MOST_EVENTS = 1000  # of one call: a constant id for all calls must not make every batch read the whole log


class SchemaDiffers(Exception):
    """The call log is not at this release's schema version: nothing is written until it is."""


class Restored(Exception):
    """The call log's counter is not where we left it: it was restored from a backup, or is another database."""


class Indigestible(Exception):
    """Our pure code raised, or the database refuses the data itself: not a matter of trying again."""


@dataclass(slots=True)
class Applied:
    """What a batch did: the new position, the numbers of the events that were too many for their call, changed calls."""

    position: Position
    surplus: list[int] = field(default_factory=list)
    changed: int = 0


@lru_cache(maxsize=1024)
def wall(moment: int | None, zone: tzinfo) -> str | None:
    """Milliseconds since 1970 UTC as the zone's wall clock in whole seconds (cut), the form of a DATETIME column."""
    return None if moment is None else str(datetime.fromtimestamp(moment // 1000, zone).replace(tzinfo=None))


def apply(
    db: Database,
    events: Sequence[CallEvent],
    *,
    node: str,
    zone: tzinfo,
    now: int,
    known: Position,
    reach: Callable[[int], object],
    raise_calls: bool = True,
) -> Applied:
    """Insert the events and write the calls anew, in one transaction; repeats of an event change nothing.

    With `raise_calls` off, events of calls that are not there are left out: what is purged or forgotten meanwhile is not
    brought back by who speaks of a call that he has seen (a rebuild, ends that never come).

    `now` is milliseconds since 1970 UTC, `zone` the call log's TIMEZONE, `known` the position of the last commit that
    this node saw; `reach` is told the highest change_no before the commit, whose outcome a crash may hide. Raises
    SchemaDiffers, Restored, Indigestible; any other exception means: not now, try again.
    """
    batch = _Batch(db, node, zone, now)
    try:
        with db.atomic("IMMEDIATE") if not batch.mysql else db.atomic():
            applied = batch.write(events, known, raise_calls)
            if applied.changed:
                reach(applied.position.change_no)
            return applied
    except (DataError, IntegrityError) as error:
        raise Indigestible(f"{type(error).__name__}: {error}") from error


@cache
def _shape(table: type[Table]) -> tuple[tuple[str, bool, int], ...]:
    """Of each column: its name, whether it is a moment, how long its text may be (0: it is no text)."""
    fields = table._meta.sorted_fields
    return tuple(
        (f.column_name, isinstance(f, models.Moment), f.max_length if isinstance(f, models.Chars) else 0)
        for f in fields
    )


class _Batch:
    """One transaction's work; see apply."""

    def __init__(self, db: Database, node: str, zone: tzinfo, now: int) -> None:
        self.db, self.node, self.zone, self.now = db, node, zone, now
        self.mysql = isinstance(db, MySQLDatabase)
        self.last_id = 0

    # -- statements, each for a whole batch

    def insert(self, table: type[Table], columns: Sequence[str], rows: Sequence[Sequence[Any]], conflict: str) -> None:
        """One multi-row INSERT. `conflict`: "keep" the row that is there, or "replace" it by id."""
        if not rows:
            return
        one = f"({', '.join([self.db.param] * len(columns))})"
        sql = f"INSERT INTO {table._meta.table_name} ({', '.join(columns)}) VALUES {', '.join([one] * len(rows))}"
        if conflict == "keep":
            # not id = id: it sets the statement's counter back, and the next new row is taken for a duplicate
            sql += f" ON DUPLICATE KEY UPDATE {columns[1]} = {columns[1]}" if self.mysql else " ON CONFLICT DO NOTHING"
        elif self.mysql:
            sql += " ON DUPLICATE KEY UPDATE " + ", ".join(f"{c} = VALUES({c})" for c in columns[1:])
        else:
            sql += " ON CONFLICT (id) DO UPDATE SET " + ", ".join(f"{c} = excluded.{c}" for c in columns[1:])
        self.db.execute_sql(sql, [value for row in rows for value in row])

    def select(
        self, table: type[Table], columns: Sequence[str], where: str, values: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        sql = f"SELECT {', '.join(columns)} FROM {table._meta.table_name} WHERE {where}"
        rows = self.db.execute_sql(sql, list(values)).fetchall()
        return [tuple(str(v) if isinstance(v, datetime) else v for v in row) for row in rows]

    def among(self, column: str, values: Sequence[Any]) -> str:
        return f"{column} IN ({', '.join([self.db.param] * len(values))})"

    def new_id(self) -> int | None:
        """MySQL numbers its rows; on SQLite the counter's row does, under the same lock (see models.Key)."""
        if self.mysql:
            return None
        self.last_id += 1
        return self.last_id

    # -- the batch

    def write(self, events: Sequence[CallEvent], known: Position, raise_calls: bool = True) -> Applied:
        calls = sorted({(event.provider, event.provider_call_id) for event in events})
        if not self.mysql:  # BEGIN IMMEDIATE is the lock: the counter can be read at once
            self.check_schema()
            self.counter(known)
        if not raise_calls:
            calls = sorted(self.there(calls))
            events = [event for event in events if (event.provider, event.provider_call_id) in calls]
        self.lock(calls)
        if self.mysql:
            self.check_schema()
        rows = self.call_rows(calls)
        stored = self.stored_events([row["id"] for row in rows.values()])
        surplus = self.merge(events, rows, stored)
        folded = {row["id"]: _fold(stored[row["id"]].values()) for row in rows.values() if stored[row["id"]]}
        self.write_parts(CallLegs, "leg_key", {id: call.legs for id, call in folded.items()})
        self.write_parts(CallRecordings, "url_hash", {id: call.recordings for id, call in folded.items()})
        return self.write_calls(rows, folded, known, surplus)

    def lock(self, calls: list[tuple[str, str]]) -> None:
        """Every call's row exists and is ours until the commit. Sorted, so that two batches wait instead of deadlock."""
        columns = ("id", "change_no", "provider", "provider_call_id")
        # change_no is unique and the real one is drawn last: until then a number nobody else draws
        rows = [(self.new_id(), -secrets.randbits(62) - 1, provider, call) for provider, call in calls]
        self.insert(Calls, columns, rows, "keep")

    def there(self, calls: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Those of the calls that there are, with their ids, locked to the commit in the order of `lock`."""
        found = {}
        for provider in sorted({provider for provider, _ in calls}):
            ids = sorted(call for owner, call in calls if owner == provider)
            where = f"provider = {self.db.param} AND {self.among('provider_call_id', ids)}"
            where += " ORDER BY provider_call_id" + (" FOR UPDATE" if self.mysql else "")
            for id, call in self.select(Calls, ("id", "provider_call_id"), where, [provider, *ids]):
                found[provider, call] = id
        return found

    def check_schema(self) -> None:
        row = self.db.execute_sql("SELECT version FROM schema_info WHERE id = 1").fetchone()
        version = row[0] if row else 0
        if version != models.VERSION:
            todo = "run flask db upgrade" if version < models.VERSION else "it belongs to a newer release"
            raise SchemaDiffers(
                f"the call log has schema version {version}, this release writes {models.VERSION}: {todo}"
            )

    def counter(self, known: Position) -> tuple[int, str]:
        """The counter's row, locked to the commit; the highest change_no given, and the call log's incarnation."""
        sql = "SELECT change_no, last_id, incarnation, (SELECT MAX(change_no) FROM calls) FROM change_counter WHERE id = 1"
        row = self.db.execute_sql(sql + (" FOR UPDATE" if self.mysql else "")).fetchone()
        if row is None:
            raise SchemaDiffers("the call log's change_counter has no row: flask db copy --again, or flask db upgrade")
        change_no, self.last_id, incarnation = max(row[0], row[3] or 0), max(row[1], self.last_id), row[2]
        if known.incarnation and (incarnation != known.incarnation or change_no < known.change_no):
            raise Restored(f"the call log is at change_no {change_no}, this node had seen {known.change_no}")
        return max(change_no, known.reached), incarnation

    def call_rows(self, calls: list[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
        columns = models.columns(Calls)
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for provider in sorted({provider for provider, _ in calls}):
            ids = [call for owner, call in calls if owner == provider]
            where = f"provider = {self.db.param} AND {self.among('provider_call_id', ids)}"
            for values in self.select(Calls, columns, where, [provider, *ids]):
                row = dict(zip(columns, values, strict=True))
                rows[provider, row["provider_call_id"]] = row
        return rows

    def stored_events(self, ids: list[int]) -> dict[int, dict[str, CallEvent]]:
        stored: dict[int, dict[str, CallEvent]] = {id: {} for id in ids}
        for id, key, payload in self.select(
            CallEvents, ("call_id", "event_key", "payload"), self.among("call_id", ids), ids
        ):
            stored[id][key] = _event(payload)
        return stored

    def merge(
        self,
        events: Sequence[CallEvent],
        rows: dict[tuple[str, str], dict[str, Any]],
        stored: dict[int, dict[str, CallEvent]],
    ) -> list[int]:
        """New events into the table and into `stored`; returns the numbers of those beyond MOST_EVENTS.

        A repeat with an earlier receipt, or the same delivery understood better, takes the stored one's place.
        """
        new: dict[str, tuple[int, CallEvent]] = {}
        better: dict[str, CallEvent] = {}
        surplus: list[int] = []
        for number, event in enumerate(events):
            id = rows[event.provider, event.provider_call_id]["id"]
            there = stored[id].get(event.event_key)
            if there is None:
                if len(stored[id]) >= MOST_EVENTS:
                    surplus.append(number)
                    continue
                new[event.event_key] = (id, event)
            elif event.received_at > there.received_at or event == there:
                continue
            elif event.event_key in new:
                new[event.event_key] = (id, event)
            else:
                better[event.event_key] = event
            stored[id][event.event_key] = event
        columns = models.columns(CallEvents)
        self.insert(CallEvents, columns, [self.event_row(id, e) for _, (id, e) in sorted(new.items())], "keep")
        for key, event in sorted(better.items()):  # rare: a replay, or a repeat that was received first
            row = dict(zip(columns, self.event_row(0, event), strict=True))
            said = {name: row[name] for name in ("feed", "kind", "occurred_at", "received_at", "payload")}
            CallEvents.update(**said).where(CallEvents.event_key == key).execute(self.db)
        return surplus

    def event_row(self, call_id: int, event: CallEvent) -> tuple[Any, ...]:
        return (
            self.new_id(),
            call_id,
            event.event_key,
            event.feed,
            event.kind,
            wall(event.occurred_at, self.zone),
            wall(event.received_at, self.zone),
            event.notification_name,
            self.node,
            event.to_payload(),
        )

    def write_parts(self, table: type[Table], key: str, wanted: dict[int, dict[str, dict[str, Any]]]) -> None:
        """Legs and recordings: rows that changed are written in place, so that their ids never change."""
        if not wanted:
            return
        columns = models.columns(table)
        there: dict[tuple[int, str], tuple[Any, ...]] = {}
        for row in self.select(table, columns, self.among("call_id", list(wanted)), list(wanted)):
            there[row[1], row[columns.index(key)]] = row
        rows = []
        for call_id, parts in sorted(wanted.items()):
            for name, part in sorted(parts.items()):
                old = there.pop((call_id, name), None)
                values = self.row(table, {"id": old[0] if old else None, "call_id": call_id, key: name, **part})
                if values != old:
                    rows.append(values if old else (self.new_id(), *values[1:]))
        self.insert(table, columns, rows, "replace")
        if there:  # only when rules changed: what is understood differently now leaves no part behind
            table.delete().where(table.id.in_([row[0] for row in there.values()])).execute(self.db)

    def row(self, table: type[Table], said: dict[str, Any]) -> tuple[Any, ...]:
        """`said` as the table's row: moments as wall clock, text cut to its column."""
        values = []
        for name, is_moment, longest in _shape(table):
            value = said[name]
            if is_moment and not isinstance(value, str):
                value = wall(value, self.zone)
            elif longest and len(value) > longest:
                value = value[:longest]
            values.append(value)
        return tuple(values)

    def write_calls(
        self,
        rows: dict[tuple[str, str], dict[str, Any]],
        folded: dict[int, Call],
        known: Position,
        surplus: list[int],
    ) -> Applied:
        columns = models.columns(Calls)
        last, incarnation = self.counter(known)  # the counter's row is the last lock
        changed = []
        for old in rows.values():
            call = folded.get(old["id"])
            if call is None:
                continue
            kept = {name: old[name] for name in ("id", "change_no", "updated_at")}
            row = self.row(Calls, {**call.columns, **kept})
            if row != tuple(old.values()):
                last += 1
                numbered = {"change_no": last, "updated_at": wall(self.now, self.zone)}
                changed.append(tuple(numbered.get(name, value) for name, value in zip(columns, row, strict=True)))
        self.insert(Calls, columns, changed, "replace")
        self.db.execute_sql(
            f"UPDATE change_counter SET change_no = {self.db.param}, last_id = {self.db.param} WHERE id = 1",
            (last, self.last_id),
        )
        return Applied(Position(last, incarnation, past=known.past), surplus, len(changed))


def _fold(events: Iterable[CallEvent]) -> Call:
    try:
        return fold(events)
    except Exception as error:
        raise Indigestible(f"{type(error).__name__}: {error}") from error


def _event(payload: str) -> CallEvent:
    try:
        return CallEvent.from_payload(payload)
    except Exception as error:
        raise Indigestible(f"{type(error).__name__}: {error}") from error


# ------------------------------------------------------------------------------------------------- after a restore


def check_position(db: Database, known: Position) -> Position:
    """Where the call log is, by whatever node's writing. Raises Restored when it is not where this node left it,
    SchemaDiffers when it is another release's."""
    batch = _Batch(db, "", UTC, 0)
    with db.atomic("IMMEDIATE") if not batch.mysql else db.atomic():
        batch.check_schema()
        batch.counter(known)
        change_no, incarnation = batch.counter(Position())
        return Position(change_no, incarnation, past=known.past)


def mend(db: Database, known: Position) -> Position:
    """Bring a restored call log's counter above every number that a reader may hold; returns the new position.

    A log of an incarnation that this node has known is a backup: it gets a new incarnation. One of an unknown
    incarnation was mended by another node already. Calls written since the two logs parted are numbered anew: a reader
    may hold another version of them under a higher number (docs/decisions/0006-restore-and-incarnation.md)."""
    batch = _Batch(db, "", UTC, 0)
    with db.atomic("IMMEDIATE") if not batch.mysql else db.atomic():
        batch.check_schema()
        change_no, incarnation = batch.counter(Position())
        marks = [mark for mark, _ in known.past] + [known.incarnation]
        if incarnation in marks:
            since = marks.index(incarnation)
            parted = min([change_no, *(number for _, number in known.past[since:])])
            incarnation = secrets.token_hex(16)
        else:
            parted = db.execute_sql("SELECT restored_from FROM change_counter WHERE id = 1").fetchone()[0]
        seen = max(known.change_no, known.reached)
        last = max(change_no, seen)
        if seen > parted:
            up = last - parted  # above every number there is: none meets another on the way
            Calls.update(change_no=Calls.change_no + up).where(Calls.change_no > parted).execute(db)
            last = max(last, change_no + up)
        models.ChangeCounter.update(change_no=last, incarnation=incarnation, restored_from=parted).execute(db)
    return Position(last, incarnation, past=(*known.past, (known.incarnation, parted))[-PAST:])


def missing(db: Database, event_keys: Sequence[str]) -> set[str]:
    """Those of the keys that the call log has no event of."""
    found = CallEvents.select(CallEvents.event_key).where(CallEvents.event_key.in_(event_keys))
    return set(event_keys) - {key for (key,) in found.tuples().execute(db)}


# ---------------------------------------------------------------------------------------------- ends that never come


def overdue(
    db: Database, *, zone: tzinfo, now: int, expire_hours: float, settle_seconds: int, settling: Iterable[str]
) -> list[CallEvent]:
    """`expired` events for calls that have not ended EXPIRE_HOURS after their last event, and `settled` ones for calls
    of the `settling` providers SETTLE_SECONDS after their last hangup. Their keys repeat, so any number of nodes may
    say it; a real end that comes later outranks them."""
    expires = int(expire_hours * 3_600_000)
    late, quiet = wall(now - expires, zone), wall(now - settle_seconds * 1000, zone)
    open_calls = Calls.select(Calls.id, Calls.provider, Calls.provider_call_id, Calls.last_event_at).where(
        Calls.state.in_(("ringing", "talking"))
    )
    found = []
    for _, provider, call, last in open_calls.where(Calls.last_event_at < late).limit(500).tuples().execute(db):
        found.append(own_event(EXPIRED, provider, call, at=_moment(last, zone) + expires))
    hung_up = CallEvents.select(CallEvents.id).where(CallEvents.call_id == Calls.id, CallEvents.kind == HANGUP)
    maybe = open_calls.where(Calls.provider.in_(list(settling)), Calls.last_event_at < quiet, fn.EXISTS(hung_up))
    last_id = 0
    while len(found) < 500:  # all of them are looked at, or those that wait for a leg would hide the others
        page = list(maybe.where(Calls.id > last_id).order_by(Calls.id).limit(200).tuples().execute(db))
        if not page:
            break
        last_id = page[-1][0]
        events = stored_events(db, [id for id, *_ in page])
        for id, provider, call, _ in page:
            at = settles_at(events[id], settle_seconds)
            if at is not None and at <= now:
                found.append(own_event(SETTLED, provider, call, at))
    return found


def _moment(value: datetime | str, zone: tzinfo) -> int:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return int(moment.replace(tzinfo=zone).timestamp()) * 1000


def own_event(kind: str, provider: str, provider_call_id: str, at: int) -> CallEvent:
    """An event that the forwarder adds itself, by the same path and with a key that repeats."""
    key = sha256(f"{KEY_VERSION}\n{provider}\n{provider_call_id}\n{kind}")
    return CallEvent("", provider, provider_call_id, kind, key, at)


# ------------------------------------------------------------------------------------------------------------ rebuild


def stored_events(db: Database, ids: Sequence[int]) -> dict[int, list[CallEvent]]:
    """Call id -> its events, as they were understood when they were stored."""
    found: dict[int, list[CallEvent]] = {id: [] for id in ids}
    rows = CallEvents.select(CallEvents.call_id, CallEvents.payload).where(CallEvents.call_id.in_(list(ids)))
    for id, payload in rows.tuples().execute(db):
        found[id].append(_event(payload))
    return found


def differences(
    db: Database, events: dict[int, list[CallEvent]], zone: tzinfo
) -> dict[int, dict[str, tuple[Any, Any]]]:
    """What folding these calls from these events would change: call id -> column -> (as it is, as it would be). Legs and
    recordings count as one column each."""
    batch = _Batch(db, "", zone, 0)
    found: dict[int, dict[str, tuple[Any, Any]]] = {}
    names = models.columns(Calls)
    for row in batch.select(Calls, names, batch.among("id", list(events)), list(events)):
        there = dict(zip(names, row, strict=True))
        kept = {name: there[name] for name in ("id", "change_no", "updated_at")}
        call = _fold(events[there["id"]])
        would = dict(zip(names, batch.row(Calls, {**call.columns, **kept}), strict=True))
        changed = {name: (there[name], would[name]) for name in names if there[name] != would[name]}
        for table, key, parts in ((CallLegs, "leg_key", call.legs), (CallRecordings, "url_hash", call.recordings)):
            columns = models.columns(table)[2:]
            old = {
                part[2:] for part in batch.select(table, models.columns(table), "call_id = " + db.param, [there["id"]])
            }
            whole = ({"id": 0, "call_id": 0, key: name, **part} for name, part in parts.items())
            new = {batch.row(table, part)[2:] for part in whole}
            if old != new:
                at = columns.index(key)
                changed[table._meta.table_name] = (sorted(p[at] for p in old - new), sorted(p[at] for p in new - old))
        if changed:
            found[there["id"]] = changed
    return found


# ------------------------------------------------------------------------------------------------------------ removal


def remove(
    db: Database, calls: Sequence[tuple[str, str]], still: Any = None, also: Callable[[set[int]], None] | None = None
) -> dict[str, int]:
    """Delete these calls (provider, provider_call_id) with their events, legs and recordings, in one transaction with the
    batch's locks; those only for which the condition `still` holds under the lock. `also` is told their ids before
    anything is deleted. Returns table -> how many rows. Raises SchemaDiffers."""
    batch = _Batch(db, "", UTC, 0)
    gone = {table._meta.table_name: 0 for table in (Calls, CallEvents, CallLegs, CallRecordings)}
    with db.atomic("IMMEDIATE") if not batch.mysql else db.atomic():
        ids = set(batch.there(calls).values())
        batch.check_schema()
        if still is not None and ids:
            chosen = Calls.select(Calls.id).where(Calls.id.in_(list(ids)), still)
            ids = {id for (id,) in chosen.tuples().execute(db)}
        if not ids:
            return gone
        if also is not None:
            also(ids)
        for table in (CallEvents, CallLegs, CallRecordings):
            gone[table._meta.table_name] = table.delete().where(table.call_id.in_(list(ids))).execute(db)
        gone["calls"] = Calls.delete().where(Calls.id.in_(list(ids))).execute(db)
    return gone


# -------------------------------------------------------------------------------------------------------- feed_status


def write_status(db: Database, node: str, rows: Iterable[tuple[str, str | None, int, int, str | None]]) -> None:
    """This node's rows of feed_status: (feed, last_delivery_at, waiting, dead, updated_at), moments as wall clock."""
    columns = ("last_delivery_at", "waiting", "dead", "updated_at")
    batch = _Batch(db, node, UTC, 0)
    with db.atomic("IMMEDIATE") if not batch.mysql else db.atomic():
        batch.check_schema()
        for feed, *said in rows:
            mine = (FeedStatus.node == node) & (FeedStatus.feed == feed)
            values = dict(zip(columns, said, strict=True))
            if not FeedStatus.update(**values).where(mine).execute(db) and not FeedStatus.select().where(mine).exists(
                db
            ):
                id = (FeedStatus.select(fn.MAX(FeedStatus.id)).scalar(db) or 0) + 1
                key = {} if batch.mysql else {"id": id}
                FeedStatus.insert(node=node, feed=feed, **values, **key).execute(db)


# ------------------------------------------------------------------------------------------------------------ reading


@dataclass(slots=True)
class Story:
    """A call as `flask calls show` and the operator page tell it: the row, its parts, its events, and which event gave
    which column."""

    row: dict[str, Any]
    legs: list[dict[str, Any]]
    recordings: list[dict[str, Any]]
    events: list[CallEvent]
    sources: dict[str, list[str]]

    def said(self, event: CallEvent) -> dict[str, Any]:
        """What an event says of the call: its payload without the envelope."""
        return {name: value for name, value in json.loads(event.to_payload()).items() if name not in _ENVELOPE}

    def gave(self, event: CallEvent) -> list[str]:
        """The columns that an event gave."""
        return [name for name, keys in self.sources.items() if event.event_key in keys]


_ENVELOPE = frozenset(
    {"v", "feed", "provider", "provider_call_id", "event_key", "received_at", "kind", "notification_name"}
)


def story(db: Database, id: int) -> Story | None:
    """The call with this id, or None."""
    row = Calls.select().where(Calls.id == id).dicts().execute(db)
    if not row:
        return None
    legs, recordings = (
        list(table.select().where(table.call_id == id).order_by(table.id).dicts().execute(db))
        for table in (CallLegs, CallRecordings)
    )
    payloads = CallEvents.select(CallEvents.payload).where(CallEvents.call_id == id).tuples().execute(db)
    events = sorted((CallEvent.from_payload(payload) for (payload,) in payloads), key=lambda e: (e.moment, e.event_key))
    return Story(row[0], legs, recordings, events, fold(events).sources if events else {})
