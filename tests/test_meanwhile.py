"""What another does between our look and our write: a lock, an event more, a deletion, a refusal."""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import peewee
import pytest

from calllog import batch, database, overdue
from inbox import FORWARDED, RECEIVED, TROUBLE, now
from inbox.judge import DAY
from inbox.watch import CallLogNote
from models import CallEvents, CallLegs, CallRecordings, Calls, ChangeCounter, Position
from schemas.event import CallEvent
from tests.rig.node import Node, end, ring
from tests.rig.service import until
from upkeep import bites

EMPLOYEE = {"extension_phone_number": "102", "employee_phone_number": "79161234567"}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    url = f"sqlite:///{tmp_path}/calls.db"
    database.upgrade(url, lambda line: None)
    node = Node(tmp_path / "node", url)
    yield node
    node.forwarder.close()


def path(node: Node) -> str:
    return node.settings.database_url.removeprefix("sqlite:///")


def test_a_call_that_was_deleted_meanwhile_is_not_brought_back_by_its_end(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else deletes calls after the forwarder has looked for late ends and before it writes them."""
    node.deliver("in", now() - 2 * DAY, **ring("1"))
    node.deliver("in", now() - 2 * DAY, **ring("2"))
    node.forwarder.step()
    found: Callable[..., list[CallEvent]] = overdue.overdue

    def and_then_one_is_deleted(db: peewee.Database, *rest: Any, **more: Any) -> list[CallEvent]:
        late = found(db, *rest, **more)
        if len(late) == 2:
            batch.remove(db, [("uis", "1")])
        return late

    monkeypatch.setattr(overdue, "overdue", and_then_one_is_deleted)
    node.forward()
    assert [(row["provider_call_id"], row["state"]) for row in node.rows()] == [("2", "ended")]


def test_a_batch_waits_while_somebody_is_forgotten_and_then_knows_it(node: Node) -> None:
    node.deliver("in", **ring("1"))
    node.deliver("in", **ring("2", calling_phone_number="79035550101"))
    who = type(node.forwarder.forgotten)(node.settings.inbox_dir)
    thread = threading.Thread(target=node.forwarder.step)
    with who.held():
        thread.start()
        inode = (node.settings.inbox_dir / "forgotten.lock").stat().st_ino

        def somebody_waits() -> bool:
            locks = Path("/proc/locks").read_text().splitlines()
            return any("->" in line and f":{inode} " in line for line in locks)

        until(lambda: somebody_waits() or not thread.is_alive(), "the batch waits for the list")
        who.add(now(), who.digest("79201119613"))
    thread.join()
    assert [row["provider_call_id"] for row in node.rows()] == ["2"]


def test_new_deliveries_of_a_call_that_is_held_join_the_others(node: Node) -> None:
    node.forwarder._held.add(("uis", "1"), [])
    node.deliver("in", **ring("1"))
    node.deliver("in", **ring("2"))
    node.forwarder.step()
    assert [row["provider_call_id"] for row in node.rows()] == ["2"]
    assert node.forwarder._held.deliveries() == {1}


def test_a_call_log_that_begins_to_refuse_everything_makes_no_dead_letter(node: Node) -> None:
    """While the forwarder is connected: its connection was tried before."""
    node.deliver("in", **ring("1"))
    node.forward()
    with closing(sqlite3.connect(path(node))) as db:
        db.execute("CREATE TRIGGER closed BEFORE INSERT ON call_events BEGIN SELECT RAISE(ABORT, 'closed'); END")
    node.deliver("in", **ring("2"))
    for _ in range(3):
        with pytest.raises(peewee.PeeweeException):
            node.forwarder.step()
    states = Counter(stored.outcome.state for stored in node.inbox.deliveries())
    assert states == {FORWARDED: 1, RECEIVED: 1}


def test_a_call_that_gets_an_event_after_it_was_chosen_is_not_purged(node: Node) -> None:
    node.deliver("rec", now() - 100 * DAY, **end("1"))
    node.deliver("rec", now() - 100 * DAY, **end("2"))
    node.forward()
    past = Calls.last_event_at < batch.wall(now() - 30 * DAY, node.settings.timezone)
    db = database.open_database(node.settings.database_url)
    with db.connection_context():
        chosen = list(Calls.select(Calls.provider, Calls.provider_call_id).where(past).tuples().execute(db))
        assert len(chosen) == 2
        node.deliver("rec", call_session_id="1", file_link="https://app.uiscom.ru/r/1")
        node.forward()
        assert batch.remove(db, chosen, past)["calls"] == 1
    assert [row["provider_call_id"] for row in node.rows()] == ["1"]


def test_a_bite_that_meets_a_lock_is_tried_again(node: Node) -> None:
    node.deliver("rec", **end("1"))
    node.forward()
    db = database.open_database(node.settings.database_url, lock_wait=0)
    tries = []
    with closing(sqlite3.connect(path(node), isolation_level=None)) as other, db.connection_context():
        db.execute_sql("PRAGMA busy_timeout = 1")

        def delete() -> dict[str, int]:
            tries.append(1)
            if len(tries) == 4:  # whoever has the lock lets go at last
                other.execute("ROLLBACK")
            return batch.remove(db, [("uis", "1")])

        other.execute("BEGIN IMMEDIATE")
        assert bites.patiently(delete)["calls"] == 1
    assert len(tries) == 4
    assert node.rows() == []


def test_better_rules_that_no_longer_give_a_leg_or_a_recording_remove_it(node: Node) -> None:
    link = {"full_record_file_link": "https://app.uiscom.ru/r/1"}
    node.deliver("rec", **end("1", **EMPLOYEE, **link))
    node.deliver("rec", **end("2", **EMPLOYEE, **link))
    node.forward()
    db = database.open_database(node.settings.database_url)
    with db.connection_context():
        stored = batch.stored_events(db, [node.rows()[0]["id"]])
        (event,) = next(iter(stored.values()))
        better = event._replace(leg_key="", employee_number="", employee_ext="", recordings=())
        batch.apply(
            db, [better], node="node", zone=node.settings.timezone, now=now(), known=node.inbox.position(),
            reach=lambda number: None,
        )  # fmt: skip
    second = node.rows()[1]["id"]
    for table in (CallLegs, CallRecordings):
        assert {row["call_id"] for row in node.rows(table)} == {second}


def test_calls_too_big_to_be_read_together_are_not_understood_together(node: Node) -> None:
    """Of few events each: their length is known once they are read, and nothing is made of them."""
    for call in ("1", "2"):
        node.deliver("in", **ring(call))
    node.forward()
    db = database.open_database(node.settings.database_url)
    with db.connection_context():
        (event, *_) = next(iter(batch.stored_events(db, [node.rows()[0]["id"]]).values()))
        CallEvents.update(payload=json.dumps("x" * 2_100_000)).execute(db)
        other = event._replace(provider_call_id="2", event_key="b" * 64)
        with pytest.raises(batch.TooMuch):
            batch.apply(
                db, [event._replace(event_key="a" * 64), other], node="node", zone=node.settings.timezone, now=now(),
                known=node.inbox.position(), reach=lambda number: None,
            )  # fmt: skip


def test_numbers_go_on_above_the_highest_in_calls(node: Node) -> None:
    """Whatever the counter's row says: somebody has restored that table alone."""
    node.deliver("in", **ring("1"))
    node.forward()
    db = database.open_database(node.settings.database_url)
    with db.connection_context():
        (event, *_) = next(iter(batch.stored_events(db, [node.rows()[0]["id"]]).values()))
        ChangeCounter.update(change_no=0).execute(db)
        batch.apply(
            db, [event._replace(provider_call_id="2", event_key="b" * 64)], node="node", zone=node.settings.timezone,
            now=now(), known=Position(), reach=lambda number: None,
        )  # fmt: skip
    assert [row["change_no"] for row in node.rows()] == [1, 2]


def test_a_short_outage_is_over_soon(tmp_path: Path) -> None:
    """The call log is made while the forwarder tries; the first tries are half a second and one second apart."""
    node = Node(tmp_path / "node", f"sqlite:///{tmp_path}/calls.db")
    node.deliver("in", **ring("1"))
    node.forwarder.start(lambda ours: None)
    try:
        until(lambda: node.inbox.fact("call_log_state") == "away", "it is away")
        database.upgrade(node.settings.database_url, lambda line: None)
        until(node.rows, "it is back", seconds=10)
    finally:
        node.forwarder.stop()


def test_what_went_wrong_is_counted_under_its_reason(node: Node) -> None:
    note = CallLogNote(node.inbox)
    errors = (ValueError(), peewee.OperationalError(), sqlite3.OperationalError(), OSError(), batch.SchemaDiffers())
    for error in errors:
        note.away(error, 0.5)
    counted = {reason: total for _, outcome, reason, total, *_ in node.inbox.counters() if outcome == TROUBLE}
    assert counted == {"our_fault": 1, "call_log_away": 1, "inbox": 2, "schema_differs": 1}
