"""Events that leave the call log: one transaction with the batch's locks and numbers, calls are folded anew."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import tzinfo
from typing import Any

from peewee import Database

from calllog import overdue
from calllog.batch import Applied, Batch, TooMuch, as_call, as_event, check_schema, lock_present
from calllog.bounds import Size
from calllog.database import transaction
from calllog.fold import Call
from calllog.statements import among, most_keys, select
from models import CallEvents, Calls, Position
from schemas.event import SILENCES, VOID, CallEvent


def withdraw(
    db: Database,
    gone: Collection[str],
    instead: Sequence[CallEvent],
    terms: overdue.Terms | None,
    *,
    node: str,
    zone: tzinfo,
    now: int,
    known: Position,
    reach: Callable[[int], object],
) -> Applied:
    """Take the events with these keys out of their calls; `instead` are those of them that stay, as another delivery has
    brought them. Our own ends by silence go too; what remains is ended anew by the `terms`, if any. A call of which no
    event remains is void. The rest as batch.apply."""
    batch = _Withdrawal(db, node, zone, now)
    with transaction(db):
        applied = batch.withdraw(gone, instead, terms, known)
        if applied.changed:
            reach(applied.position.change_no)
        return applied


def events_of(db: Database, keys: Sequence[str], node: str) -> dict[str, CallEvent]:
    """event_key -> the event, of those that a delivery of this node has brought. Raises TooMuch."""
    if len(keys) > most_keys(db):
        raise TooMuch(f"{len(keys)} keys")
    where = f"node = {db.param} AND {among(db, 'event_key', keys)}"
    rows = select(db, CallEvents, ("event_key", "payload"), where, [node, *keys])
    return {key: as_event(payload) for key, payload in rows}


class _Withdrawal(Batch):
    """One transaction's work; see withdraw."""

    def withdraw(
        self, gone: Collection[str], instead: Sequence[CallEvent], terms: overdue.Terms | None, known: Position
    ) -> Applied:
        if not self.mysql:
            check_schema(self.db)
            self.counter(known)
        rows = self.call_rows(sorted(lock_present(self.db, self.calls_of(gone))))
        if self.mysql:
            check_schema(self.db)
        stored = self.touched(rows, gone)
        rows = {call: row for call, row in rows.items() if row["id"] in stored}
        leaving = [
            key for events in stored.values() for key, event in events.items() if key in gone or event.kind in SILENCES
        ]
        self.take_out(stored, leaving)
        stay = [event for event in instead if (event.provider, event.provider_call_id) in rows]
        self.merge(stay, rows, stored)
        if terms:
            ends = (overdue.end_of(list(events.values()), terms, self.now) for events in stored.values() if events)
            self.merge([end for end in ends if end], rows, stored)
        folded = {row["id"]: as_call(stored[row["id"]].values()) if stored[row["id"]] else _void(row)
                  for row in rows.values()}  # fmt: skip
        applied = self.write_folded(rows, folded, known, {})
        applied.removed = sum(key in gone for key in leaving) - len(stay)
        applied.void = sum(not events for events in stored.values())
        return applied

    def calls_of(self, keys: Collection[str]) -> list[tuple[str, str]]:
        sql = (
            "SELECT provider, provider_call_id FROM calls WHERE id IN "
            f"(SELECT call_id FROM call_events WHERE {among(self.db, 'event_key', list(keys))})"
        )
        return [tuple(row) for row in self.db.execute_sql(sql, list(keys)).fetchall()]

    def touched(self, rows: Mapping[Any, dict[str, Any]], gone: Collection[str]) -> dict[int, dict[str, CallEvent]]:
        """The events of the calls that have some of the `gone`."""
        if not rows:
            return {}
        count = sum(row["events_count"] for row in rows.values())
        stored = self.stored_events([row["id"] for row in rows.values()], count)
        return {id: events for id, events in stored.items() if not events.keys().isdisjoint(gone)}

    def take_out(self, stored: dict[int, dict[str, CallEvent]], leaving: list[str]) -> None:
        """Out of the table, of `stored` and of what counts towards a call's bounds."""
        if not leaving:
            return
        self.db.execute_sql(f"DELETE FROM call_events WHERE {among(self.db, 'event_key', leaving)}", leaving)
        for id, events in stored.items():
            for key in leaving:
                events.pop(key, None)
            self.sizes[id] = Size()
            for event in events.values():
                self.sizes[id].add(event, len(event.to_payload()))
        self.text = sum(self.sizes[id].text for id in stored)


def _void(row: Mapping[str, Any]) -> Call:
    """A call of which no event is left: nothing is known of it but its id, and when it was told of."""
    empty = {one.column_name: None if one.null else one.default for one in Calls._meta.sorted_fields}
    kept = {name: row[name] for name in ("provider", "provider_call_id", "first_event_at", "last_event_at")}
    moments = {"started_at": row["first_event_at"], "ended_at": row["last_event_at"], "talk_seconds": 0}
    return Call({**empty, **kept, **moments, "state": "ended", "disposition": VOID}, {}, {})
