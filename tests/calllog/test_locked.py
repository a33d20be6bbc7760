"""Somebody else's lock in the call log: one row delays its own call, all rows delay all, and who holds it is named."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pymysql
import pytest

from calllog import batch, database, held
from inbox import FORWARDED, RECEIVED, now
from models import Calls
from tests.rig.mariadb import MariaDB
from tests.rig.node import Node, end, ring
from tests.rig.service import Service, until

IN_TIME = 5  # seconds: one lock wait is two
EMPLOYEE = {"employee_phone_number": "79990000001", "extension_phone_number": "101"}


@pytest.fixture
def service(mariadb: MariaDB, tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "service", mariadb.create("locked"), OPERATOR_PASSWORD="a-long-enough-word") as running:
        yield running.start()


@contextlib.contextmanager
def transaction(service: Service, *statements: str) -> Iterator[pymysql.Connection]:
    """What somebody does in a database tool and leaves open."""
    name, options = database.parse_url(service.database_url)
    connection = pymysql.connect(database=name, **options)
    with contextlib.closing(connection), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        yield connection


def post(service: Service, route: str, said: dict[str, Any]) -> None:
    assert service.post(f"/hs/UIScom/{route}", json.dumps(said)).json() == {"status": "accepted"}


def blocked(service: Service) -> dict[str, Any]:
    state: dict[str, Any] = service.get("/readyz").json()["call_log"]
    return state


@pytest.mark.parametrize("table", ["calls", "call_legs"])
def test_a_locked_row_delays_its_own_call_and_no_other(table: str, service: Service) -> None:
    post(service, "in", ring("1", **EMPLOYEE))
    post(service, "in", ring("2"))
    first = service.call("1")["id"]
    edit = {"calls": "UPDATE calls SET client_name = 'Ёж' WHERE id = {}",
            "call_legs": "UPDATE call_legs SET employee_name = 'Ёж' WHERE call_id = {}"}  # fmt: skip
    with transaction(service, "BEGIN", edit[table].format(first)):
        post(service, "rec", end("1", **EMPLOYEE))
        post(service, "rec", ring("1", **EMPLOYEE, file_link="https://app.uiscom.ru/r/1", file_duration=50))
        others = {str(call) for call in range(100, 120)}
        for call in sorted(others):
            post(service, "in", ring(call))
        there = lambda: others <= {row["provider_call_id"] for row in service.rows(Calls)}  # noqa: E731
        until(there, "the others are in the log", IN_TIME)
        until(lambda: blocked(service)["blocked_calls"] == 1, "readyz tells of one")
        assert service.call("1")["events_count"] == 1
        for number in range(200, 203):  # it is tried again meanwhile, and nobody waits for that
            post(service, "rec", end(str(number)))
            service.call(str(number), seconds=IN_TIME)
            time.sleep(1)  # several tries of the locked call are to fall into this test
        states = [(stored.delivery.id, stored.outcome.state) for stored in service.deliveries(state=RECEIVED)]
        assert states == [(3, RECEIVED), (4, RECEIVED)]
    assert service.call("1", 3)["disposition"] == "answered"
    service.settled()
    until(lambda: blocked(service)["blocked_calls"] == 0, "readyz tells of none")
    assert {stored.outcome.state for stored in service.deliveries()} == {FORWARDED}
    service.logs("no call is locked any more")


def test_who_holds_the_lock_is_named_where_the_account_may_see_it(service: Service, mariadb: MariaDB) -> None:
    post(service, "in", ring("1"))
    lock = f"SELECT * FROM calls WHERE id = {service.call('1')['id']} FOR UPDATE"
    with transaction(service, "BEGIN", lock):
        post(service, "rec", end("1"))
        until(lambda: blocked(service)["blocked_calls"] == 1, "readyz tells of it")
        assert blocked(service)["state"] == "ok"
        assert blocked(service)["blocked_by"].startswith("another transaction (GRANT PROCESS")
    service.call("1", 2)
    mariadb.execute("GRANT PROCESS ON *.* TO calls@'127.0.0.1'")  # new connections have it
    for (id,) in mariadb.execute("SELECT id FROM information_schema.processlist WHERE user = 'calls'"):
        mariadb.execute(f"KILL {id}")
    try:
        with transaction(service, "BEGIN", lock) as holder:
            post(service, "rec", ring("1", file_link="https://app.uiscom.ru/r/1", file_duration=50))
            named = f"connection {holder.thread_id()} of calls@"
            until(lambda: named in blocked(service)["blocked_by"], "readyz names it")
            service.logs("1 calls cannot be written, locked by connection ")
            assert "connector_blocked_calls 1.0" in service.get("/metrics").text
            checked = service.flask("check", check=False)
            assert checked.returncode == 1
            assert f"1 calls wait, locked by {named}" in checked.stdout
            page = service.get("/service", auth=("", "a-long-enough-word")).text
            assert named in page
    finally:
        mariadb.execute("REVOKE PROCESS ON *.* FROM calls@'127.0.0.1'")
    service.call("1", 3)


def test_a_serializable_reader_of_everything_keeps_every_call_out_and_that_is_told(service: Service) -> None:
    for call in range(1, 4):
        post(service, "in", ring(str(call)))
        service.call(str(call))
    read = ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN", "SELECT * FROM calls")
    with transaction(service, *read):
        for call in range(10, 15):
            post(service, "in", ring(str(call)))
        until(lambda: blocked(service)["state"] == "away", "readyz says that it is away")
        assert "nothing can be written, a lock of others keeps every new call out" in blocked(service)["message"]
        assert "nothing can be written" in service.flask("check", check=False).stdout
        assert "our own fault" not in service.log()
    for call in range(10, 15):
        service.call(str(call), seconds=30)
    service.settled()
    assert {row["events_count"] for row in service.rows(Calls)} == {1}
    assert {stored.outcome.state for stored in service.deliveries()} == {FORWARDED}


def test_a_locked_call_whose_end_is_told_by_silence_stops_no_other(mariadb: MariaDB, tmp_path: Path) -> None:
    """The end that the forwarder adds itself meets the lock, too."""
    url = mariadb.create("locked")
    database.upgrade(url, lambda line: None)
    node = Node(tmp_path / "node", url)
    node.deliver("in", received_at=now() - 5 * 3_600_000, **ring("1"))
    node.forwarder.step()
    db = database.open_database(url)
    with db.connection_context():
        (id,) = [row["id"] for row in node.rows()]
        db.begin()
        db.execute_sql(f"SELECT * FROM calls WHERE id = {id} FOR UPDATE")
        node.deliver("rec", **end("2"))
        assert node.forward().forwarded == 1
        assert [row["state"] for row in node.rows()] == ["ringing", "ended"]
        db.rollback()
    until(lambda: node.forward() and node.rows()[0]["state"] == "ended", "it ends")
    node.forwarder.close()


def test_an_upgrade_that_ends_while_a_batch_waits_for_a_row_is_seen(
    mariadb: MariaDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = mariadb.create("locked")
    database.upgrade(url, lambda line: None)
    node = Node(tmp_path / "node", url)
    node.deliver("in", **ring("1"))
    node.forward()
    node.deliver("rec", **end("1"))
    real = batch.Batch.lock

    def lock(self: batch.Batch, calls: list[tuple[str, str]]) -> None:
        mariadb.execute("UPDATE locked.schema_info SET version = 3, readable_by = 3")
        real(self, calls)

    monkeypatch.setattr(batch.Batch, "lock", lock)
    with pytest.raises(batch.SchemaDiffers):
        node.forwarder.step()
    assert [row["state"] for row in node.rows()] == ["ringing"]
    node.forwarder.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the monotonic clock says: its one item."""
    at = [0.0]
    monkeypatch.setattr(held, "time", SimpleNamespace(monotonic=lambda: at[0]))
    return at


def test_a_locked_call_is_tried_ever_more_seldom(clock: list[float]) -> None:
    room, call, waits = held.Held(), ("uis", "1"), []
    for _ in range(6):
        room.add(call, [1])
        began = clock[0]
        while call in room:
            clock[0] += 0.5
            room.next_turn()
        waits.append(clock[0] - began)
    assert waits == [1, 2, 4, 8, 8, 8]


def test_of_locked_calls_one_at_a_time_is_tried_until_one_gets_through(clock: list[float]) -> None:
    room = held.Held()
    for number in range(3):
        room.add(("uis", str(number)), [number])
    clock[0] = 100
    room.next_turn()
    assert len(room) == 2
    room.add(("uis", "0"), [0])  # locked still
    room.next_turn()
    assert len(room) == 2
    room.next_turn()  # it got through
    assert (len(room), room.any) == (0, True)


def test_of_a_batch_in_which_one_row_is_locked_all_the_others_are_written(mariadb: MariaDB, tmp_path: Path) -> None:
    url = mariadb.create("locked")
    database.upgrade(url, lambda line: None)
    node = Node(tmp_path / "node", url)
    node.deliver("in", **ring("1"))
    node.forward()
    db = database.open_database(url)
    with db.connection_context():
        db.begin()
        db.execute_sql(f"SELECT * FROM calls WHERE id = {node.rows()[0]['id']} FOR UPDATE")
        for number in range(1, 9):
            node.deliver("rec", **end(str(number)))
        assert node.forwarder.step().forwarded == 7
        db.rollback()
    assert len(node.rows()) == 8
    node.forwarder.close()
