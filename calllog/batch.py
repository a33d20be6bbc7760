"""A batch of events into the call log: one transaction, a fixed number of statements, each event exactly once.

The order of the statements is the design (docs/decisions/0002-the-batch.md): the calls' rows are locked first, so what
is read after them is whole; the change counter's row is locked last and held to the commit, so the order of change_no
is the order of commits. Nothing here depends on what an earlier batch left in memory.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import cache, lru_cache
from typing import Any

from peewee import Database, DataError, IntegrityError, MySQLDatabase, fn

import models
from calllog.fold import Call, fold
from models import CallEvents, CallLegs, CallRecordings, Calls, FeedStatus, Position, Table
from schemas.event import CallEvent

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


# ---------------------------------------------------------------------------------------------- ends that never come


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
