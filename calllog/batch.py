"""A batch of events into the call log: one transaction, a fixed number of statements, each event exactly once.

The order of the statements is the design (docs/decisions/0002-the-batch.md): the calls' rows are locked first, so what
is read after them is whole; the change counter's row is locked last and held to the commit, so the order of change_no
is the order of commits. Nothing here depends on what an earlier batch left in memory.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import cache, lru_cache
from typing import Any, NamedTuple

from peewee import Database, DataError, IntegrityError, OperationalError, fn

import models
from calllog.bounds import Size
from calllog.database import on_mysql, schema, transaction
from calllog.fold import Call, fold
from calllog.statements import Indigestible, among, insert, select
from models import CallAttributes, CallEvents, CallLegs, CallRecordings, Calls, FeedStatus, Position, Table
from schemas.event import CallEvent

# What a call has several of: the table, and the column that tells one from another within a call.
PARTS: dict[type[Table], str] = {CallLegs: "leg_key", CallRecordings: "url_hash", CallAttributes: "name"}

# Of one batch, unless it is of one call alone: more is cut before it is in memory.
MOST_TEXT = 4_000_000  # characters of payloads, read and written
LATE_SECONDS = 86_400  # after the last event of a call that has ended: another one is told of
UNMEASURED = 500  # stored events that are read without asking first how long they are


class SchemaDiffers(Exception):
    """The call log is not at this release's schema version; nothing is written until it is."""


class Restored(Exception):
    """The call log's counter is not where we left it: it was restored from a backup, or is another database."""


class Unwritable(OperationalError):
    """The call log does not take what a batch writes, whatever the batch is."""


class TooMuch(Exception):
    """The batch has more to read or to write than fits; nothing is written. Never raised for events of one call."""


@dataclass(slots=True)
class Applied:
    """What a batch did: the new position, the numbers of the events that are beyond what a call may have, each with the
    reason, changed calls, and (direction, disposition) of each call that ended in it. `late` are the ids of those that had
    ended LATE_SECONDS before what changed them came, `removed` the events that left, `void` the calls left without any."""

    position: Position
    surplus: dict[int, str] = field(default_factory=dict)
    changed: int = 0
    ended: list[tuple[str, str]] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    removed: int = 0
    void: int = 0


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
    create_missing: bool = True,
) -> Applied:
    """Insert the events and write the calls anew, in one transaction; repeats of an event change nothing.

    With create_missing=False, events of calls that no longer exist are skipped, so that neither a rebuild nor an end that
    never came can resurrect a purged or forgotten call.

    `now` is milliseconds since 1970 UTC, `zone` the call log's TIMEZONE, `known` the position of the last commit that
    this node saw; `reach` is called with the highest change_no before the commit, whose outcome a crash may hide. Raises
    SchemaDiffers, Restored, TooMuch, Indigestible; after any other exception the batch can be tried again.
    """
    batch = Batch(db, node, zone, now)
    try:
        with transaction(db):
            applied = batch.write(events, known, create_missing)
            if applied.changed:
                reach(applied.position.change_no)
            return applied
    except (DataError, IntegrityError) as error:
        raise Indigestible(f"{type(error).__name__}: {error}") from error


def write(db: Database, events: Sequence[CallEvent], *, node: str, zone: tzinfo, now: int) -> None:
    """The statements of a batch inside the caller's transaction, for whoever rolls it back (rehearsal.py)."""
    try:
        Batch(db, node, zone, now).write(events, Position(), True)
    except (DataError, IntegrityError) as error:
        raise Indigestible(f"{type(error).__name__}: {error}") from error


# -------------------------------------------------------------------------------------------------------------- locks


def check_schema(db: Database) -> None:
    """Raises SchemaDiffers unless this release may write to the call log; inside the transaction that writes."""
    found = schema(db)
    if not found.writable:
        older = found.version < models.VERSION
        todo = "run pbx-connector db upgrade" if older else "it belongs to a newer release: install that one"
        raise SchemaDiffers(
            f"the call log has schema version {found.version}, this release writes {models.VERSION}: {todo}"
        )


class Counter(NamedTuple):
    """The counter's row: the last change_no and (SQLite) row id given, and the call log's incarnation."""

    change_no: int
    last_id: int
    incarnation: str


def lock_counter(db: Database, known: Position) -> Counter:
    """The counter's row, locked to the commit. Raises Restored where it is not where `known` was."""
    sql = "SELECT change_no, last_id, incarnation, (SELECT MAX(change_no) FROM calls) FROM change_counter WHERE id = 1"
    row = db.execute_sql(sql + (" FOR UPDATE" if on_mysql(db) else "")).fetchone()
    if row is None:
        raise SchemaDiffers(
            "the call log's change_counter has no row: pbx-connector db copy --again, or pbx-connector db upgrade"
        )
    change_no, last_id, incarnation = max(row[0], row[3] or 0), row[1], row[2]
    if known.incarnation and (incarnation != known.incarnation or change_no < known.change_no):
        raise Restored(f"the call log is at change_no {change_no}, this node had seen {known.change_no}")
    return Counter(max(change_no, known.reached), last_id, incarnation)


def lock_present(db: Database, calls: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Those of the calls that are in the log, with their ids, locked to the commit in the order of the batch."""
    found = {}
    for provider in sorted({provider for provider, _ in calls}):
        ids = sorted(call for owner, call in calls if owner == provider)
        where = f"provider = {db.param} AND {among(db, 'provider_call_id', ids)}"
        where += " ORDER BY provider_call_id" + (" FOR UPDATE" if on_mysql(db) else "")
        for id, call in select(db, Calls, ("id", "provider_call_id"), where, [provider, *ids]):
            found[provider, call] = id
    return found


@cache
def _shape(table: type[Table]) -> tuple[tuple[str, bool, int], ...]:
    """Of each column: its name, whether it is a moment, how long its text may be (0: it is no text)."""
    fields = table._meta.sorted_fields
    return tuple(
        (f.column_name, isinstance(f, models.Moment), f.max_length if isinstance(f, models.Chars) else 0)
        for f in fields
    )


def as_row(table: type[Table], fields: Mapping[str, Any], zone: tzinfo) -> tuple[Any, ...]:
    """The fields in the order of the table's columns: moments as wall clock, text cut to its column."""
    values = []
    for name, is_moment, longest in _shape(table):
        value = fields[name]
        if is_moment and not isinstance(value, str):
            value = wall(value, zone)
        elif longest and len(value) > longest:
            value = value[:longest]
        values.append(value)
    return tuple(values)


def parts(call: Call) -> dict[type[Table], dict[str, dict[str, Any]]]:
    """A folded call's rows in each table of PARTS, by key."""
    return {CallLegs: call.legs, CallRecordings: call.recordings, CallAttributes: call.attributes}


# ----------------------------------------------------------------------------------------------------------- the batch


class Batch:
    """One transaction's work; see apply."""

    def __init__(self, db: Database, node: str, zone: tzinfo, now: int) -> None:
        self.db, self.node, self.zone, self.now = db, node, zone, now
        self.mysql = on_mysql(db)
        self.last_id = 0
        self.text = 0  # characters of payloads, read and written

    def write(self, events: Sequence[CallEvent], known: Position, create_missing: bool) -> Applied:
        calls = sorted({(event.provider, event.provider_call_id) for event in events})
        room = getattr(self.db, "max_packet", 0)
        if room and len(calls) > 1 and sum(len(call) for _, call in calls) > room // 8:
            raise TooMuch(f"{len(calls)} calls")
        if not self.mysql:  # BEGIN IMMEDIATE is the lock: the counter can be read at once
            check_schema(self.db)
            self.counter(known)
        if not create_missing:
            calls = sorted(lock_present(self.db, calls))
            events = [event for event in events if (event.provider, event.provider_call_id) in calls]
        self.lock(calls)
        if self.mysql:
            check_schema(self.db)
        rows = self.call_rows(calls)
        if len(rows) < len(calls):
            raise Unwritable(
                "calls takes two calls for one: has somebody added a unique index? pbx-connector check names it"
            )
        stored = self.stored_events([row["id"] for row in rows.values()], sum(r["events_count"] for r in rows.values()))
        surplus = self.merge(events, rows, stored)
        folded = {row["id"]: as_call(stored[row["id"]].values()) for row in rows.values() if stored[row["id"]]}
        return self.write_folded(rows, folded, known, surplus)

    def write_folded(
        self,
        rows: dict[tuple[str, str], dict[str, Any]],
        folded: dict[int, Call],
        known: Position,
        surplus: dict[int, str],
    ) -> Applied:
        moved: set[int] = set()  # calls of which a part changed
        for table, key in PARTS.items():
            moved |= self.write_parts(table, key, {id: parts(call)[table] for id, call in folded.items()})
        return self.write_calls(rows, folded, moved, known, surplus)

    def new_id(self) -> int | None:
        """MySQL numbers its rows; on SQLite the counter's row does, under the same lock (see models.Key)."""
        if self.mysql:
            return None
        self.last_id += 1
        return self.last_id

    def counter(self, known: Position) -> Counter:
        """The counter's row; ids that this batch has drawn already stay drawn."""
        counter = lock_counter(self.db, known)
        self.last_id = max(counter.last_id, self.last_id)
        return counter

    def lock(self, calls: list[tuple[str, str]]) -> None:
        """Every call's row exists and is ours until the commit. Sorted, so that two batches wait instead of deadlock."""
        columns = ("id", "change_no", "provider", "provider_call_id")
        # change_no is unique and the real one is drawn last: until then a number nobody else draws
        rows = [(self.new_id(), -secrets.randbits(62) - 1, provider, call) for provider, call in calls]
        insert(self.db, Calls, columns, rows, "keep")

    def call_rows(self, calls: list[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
        columns = models.columns(Calls)
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for provider in sorted({provider for provider, _ in calls}):
            ids = [call for owner, call in calls if owner == provider]
            where = f"provider = {self.db.param} AND {among(self.db, 'provider_call_id', ids)}"
            for values in select(self.db, Calls, columns, where, [provider, *ids]):
                row = dict(zip(columns, values, strict=True))
                rows[provider, row["provider_call_id"]] = row
        return rows

    def stored_events(self, ids: list[int], count: int) -> dict[int, dict[str, CallEvent]]:
        """The events of these calls, about `count` of them. Raises TooMuch before it has understood them."""
        several, mine = len(ids) > 1, among(self.db, "call_id", ids)
        if several and count > UNMEASURED:
            length = "CHAR_LENGTH" if self.mysql else "LENGTH"
            self.fits(select(self.db, CallEvents, (f"SUM({length}(payload))",), mine, ids)[0][0] or 0)
        found = select(self.db, CallEvents, ("call_id", "event_key", "payload"), mine, ids)
        self.text = sum(len(payload) for _, _, payload in found)
        if several:
            self.fits(self.text)
        stored: dict[int, dict[str, CallEvent]] = {id: {} for id in ids}
        self.sizes = {id: Size() for id in ids}
        for id, key, payload in found:
            stored[id][key] = event = as_event(payload)
            self.sizes[id].add(event, len(payload))
        return stored

    @staticmethod
    def fits(text: int) -> None:
        if text > MOST_TEXT:
            raise TooMuch(f"{text} characters of payloads")

    def merge(
        self,
        events: Sequence[CallEvent],
        rows: dict[tuple[str, str], dict[str, Any]],
        stored: dict[int, dict[str, CallEvent]],
    ) -> dict[int, str]:
        """New events into the table and into `stored`; returns the numbers of those that are beyond what a call may have,
        each with the reason.

        A repeat with an earlier receipt, or the same delivery understood better, takes the stored one's place.
        """
        new: dict[str, tuple[int, CallEvent, str]] = {}
        better: dict[str, CallEvent] = {}
        surplus: dict[int, str] = {}
        for number, event in enumerate(events):
            id = rows[event.provider, event.provider_call_id]["id"]
            there = stored[id].get(event.event_key)
            if there is None:
                payload = event.to_payload()
                if beyond := self.sizes[id].beyond(event, payload):
                    surplus[number] = beyond
                    continue
                self.sizes[id].add(event, len(payload))
                self.text += len(payload)
                new[event.event_key] = (id, event, payload)
            elif event.received_at > there.received_at or event == there:
                continue
            elif event.event_key in new:
                new[event.event_key] = (id, event, event.to_payload())
            else:
                better[event.event_key] = event
            stored[id][event.event_key] = event
        if len(rows) > 1:
            self.fits(self.text)
        columns = models.columns(CallEvents)
        insert(self.db, CallEvents, columns, [self.event_row(*of) for _, of in sorted(new.items())], "keep")
        for key, event in sorted(better.items()):  # rare: a replay, or a repeat that was received first
            row = dict(zip(columns, self.event_row(0, event, event.to_payload()), strict=True))
            names = ("feed", "kind", "occurred_at", "received_at", "notification_name", "payload")
            newer = {name: row[name] for name in names}
            CallEvents.update(**newer).where(CallEvents.event_key == key).execute(self.db)
        return surplus

    def event_row(self, call_id: int, event: CallEvent, payload: str) -> tuple[Any, ...]:
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
            payload,
        )

    def write_parts(self, table: type[Table], key: str, wanted: dict[int, dict[str, dict[str, Any]]]) -> set[int]:
        """Rows that changed are written in place, so that their ids never change; returns the ids of those calls."""
        if not wanted:
            return set()
        columns = models.columns(table)
        there: dict[tuple[int, str], tuple[Any, ...]] = {}
        for row in select(self.db, table, columns, among(self.db, "call_id", list(wanted)), list(wanted)):
            there[row[1], row[columns.index(key)]] = row
        rows = []
        for call_id, parts in sorted(wanted.items()):
            for name, part in sorted(parts.items()):
                old = there.pop((call_id, name), None)
                values = as_row(
                    table, {"id": old[0] if old else None, "call_id": call_id, key: name, **part}, self.zone
                )
                if values != old:
                    rows.append(values if old else (self.new_id(), *values[1:]))
        insert(self.db, table, columns, rows, "replace")
        if there:  # only when rules changed: what is understood differently now leaves no part behind
            table.delete().where(table.id.in_([row[0] for row in there.values()])).execute(self.db)
        return {row[1] for row in rows} | {call_id for call_id, _ in there}

    def write_calls(
        self,
        rows: dict[tuple[str, str], dict[str, Any]],
        folded: dict[int, Call],
        moved: set[int],
        known: Position,
        surplus: dict[int, str],
    ) -> Applied:
        columns = models.columns(Calls)
        heard = columns.index("last_event_at")
        last, _, incarnation = self.counter(known)  # the counter's row is the last lock
        changed, ended, late = [], [], []
        for old in rows.values():
            call = folded.get(old["id"])
            if call is None:
                continue
            kept = {name: old[name] for name in ("id", "change_no", "updated_at")}
            row = as_row(Calls, {**call.columns, **kept}, self.zone)
            if row != tuple(old.values()) or old["id"] in moved:
                last += 1
                numbered = {"change_no": last, "updated_at": wall(self.now, self.zone)}
                changed.append(tuple(numbered.get(name, value) for name, value in zip(columns, row, strict=True)))
                if old["state"] != "ended" == call.columns["state"]:
                    ended.append((call.columns["direction"], call.columns["disposition"]))
                if old["state"] == "ended" and _long_after(old["last_event_at"], changed[-1][heard]):
                    late.append(old["id"])
        insert(self.db, Calls, columns, changed, "replace")
        self.db.execute_sql(
            f"UPDATE change_counter SET change_no = {self.db.param}, last_id = {self.db.param} WHERE id = 1",
            (last, self.last_id),
        )
        return Applied(Position(last, incarnation, past=known.past), surplus, len(changed), ended, late)


def _long_after(before: str | None, at: str | None) -> bool:
    if before is None or at is None:
        return False
    return (datetime.fromisoformat(at) - datetime.fromisoformat(before)).total_seconds() > LATE_SECONDS


def as_call(events: Iterable[CallEvent]) -> Call:
    """The call that the events make. Raises Indigestible."""
    try:
        return fold(events)
    except MemoryError:  # the process's fault
        raise
    except Exception as error:
        raise Indigestible(f"{type(error).__name__}: {error}") from error


def as_event(payload: str) -> CallEvent:
    """A stored event. Raises Indigestible."""
    try:
        return CallEvent.from_payload(payload)
    except MemoryError:
        raise
    except Exception as error:
        raise Indigestible(f"{type(error).__name__}: {error}") from error


# ------------------------------------------------------------------------------------------------------------ rebuild


def stored_events(db: Database, ids: Sequence[int]) -> dict[int, list[CallEvent]]:
    """Call id -> its events, as they were understood when they were stored."""
    found: dict[int, list[CallEvent]] = {id: [] for id in ids}
    rows = CallEvents.select(CallEvents.call_id, CallEvents.payload).where(CallEvents.call_id.in_(list(ids)))
    for id, payload in rows.tuples().execute(db):
        found[id].append(as_event(payload))
    return found


def differences(
    db: Database, events: dict[int, list[CallEvent]], zone: tzinfo
) -> dict[int, dict[str, tuple[Any, Any]]]:
    """What folding these calls from these events would change: call id -> column -> (as it is, as it would be). Each
    table of PARTS counts as one column."""
    found: dict[int, dict[str, tuple[Any, Any]]] = {}
    names = models.columns(Calls)
    for row in select(db, Calls, names, among(db, "id", list(events)), list(events)):
        there = dict(zip(names, row, strict=True))
        kept = {name: there[name] for name in ("id", "change_no", "updated_at")}
        call = as_call(events[there["id"]])
        would = dict(zip(names, as_row(Calls, {**call.columns, **kept}, zone), strict=True))
        changed = {name: (there[name], would[name]) for name in names if there[name] != would[name]}
        for table, key in PARTS.items():
            columns = models.columns(table)[2:]
            stored = select(db, table, models.columns(table), f"call_id = {db.param}", [there["id"]])
            old = {part[2:] for part in stored}
            whole = ({"id": 0, "call_id": 0, key: name, **part} for name, part in parts(call)[table].items())
            new = {as_row(table, part, zone)[2:] for part in whole}
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
    """Delete these calls (provider, provider_call_id) with their events and parts, in one transaction with the batch's
    locks; only those for which the condition `still` holds under the lock. `also` is called with their ids
    before anything is deleted. Returns table -> how many rows. Raises SchemaDiffers."""
    inner: tuple[type[Table], ...] = (CallEvents, *PARTS)
    gone = {"calls": 0} | {table._meta.table_name: 0 for table in inner}
    with transaction(db):
        ids = set(lock_present(db, calls).values())
        check_schema(db)
        if still is not None and ids:
            chosen = Calls.select(Calls.id).where(Calls.id.in_(list(ids)), still)
            ids = {id for (id,) in chosen.tuples().execute(db)}
        if not ids:
            return gone
        if also is not None:
            also(ids)
        for table in inner:
            gone[table._meta.table_name] = table.delete().where(table.call_id.in_(list(ids))).execute(db)
        gone["calls"] = Calls.delete().where(Calls.id.in_(list(ids))).execute(db)
    return gone


# -------------------------------------------------------------------------------------------------------- feed_status


def other_nodes(db: Database, node: str, zone: tzinfo) -> dict[str, tuple[int, str]]:
    """The other nodes that write to this call log -> when each wrote its feed_status last, in milliseconds since 1970 UTC,
    and its `settings`."""
    rows = FeedStatus.select(FeedStatus.node, FeedStatus.updated_at, FeedStatus.settings).order_by(
        FeedStatus.updated_at
    )
    return {
        name: (round(datetime.fromisoformat(str(at)).replace(tzinfo=zone).timestamp() * 1000), settings)
        for name, at, settings in rows.where(FeedStatus.node != node, FeedStatus.updated_at.is_null(False))
        .tuples()
        .execute(db)
    }


def write_status(
    db: Database, node: str, settings: str, rows: Iterable[tuple[str, str | None, int, int, str | None]]
) -> None:
    """This node's rows of feed_status: (feed, last_delivery_at, waiting, dead, updated_at), moments as wall clock."""
    columns = ("last_delivery_at", "waiting", "dead", "updated_at")
    with transaction(db):
        check_schema(db)
        for feed, *values in rows:
            mine = (FeedStatus.node == node) & (FeedStatus.feed == feed)
            fields = {**dict(zip(columns, values, strict=True)), "settings": settings}
            updated = FeedStatus.update(**fields).where(mine).execute(db)
            if not updated and not FeedStatus.select().where(mine).exists(db):  # MySQL counts no row that was the same
                id = (FeedStatus.select(fn.MAX(FeedStatus.id)).scalar(db) or 0) + 1
                key = {} if on_mysql(db) else {"id": id}
                FeedStatus.insert(node=node, feed=feed, **fields, **key).execute(db)
