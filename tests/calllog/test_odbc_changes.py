"""Following change_no over ODBC as the contract tells 1C to: under fire, beside readers that hold on, after a restore."""

import contextlib
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import peewee
import pymysql
import pyodbc
import pytest

from calllog import database
from models import Calls, ChangeCounter
from tests.rig import odbc
from tests.rig.mariadb import MariaDB
from tests.rig.node import Node, end, ring, rows
from tests.rig.service import Service, until
from tests.rig.traffic import traffic

HIGHEST = "SELECT MAX(change_no) FROM calls"
CHANGED = "SELECT * FROM calls WHERE change_no > ? AND change_no <= ? ORDER BY change_no"


@pytest.fixture(autouse=True)
def _drivers() -> None:
    odbc.require()


@pytest.fixture
def call_log(database_url: str) -> str:
    """An empty, migrated call log."""
    database.upgrade(database_url, lambda line: None)
    return database_url


class Reader:
    """1C: a position, and every call as it was last seen, by the provider's id. `step` is the contract's 5000."""

    def __init__(self, step: int = 5000) -> None:
        self.step = step
        self.position = self.polls = self.changes = self.jumps = 0
        self.went_back = False  # an older state came after a newer one
        self.calls: dict[str, dict[str, Any]] = {}

    def poll(self, connection: pyodbc.Connection) -> bool:
        """One round of the contract's section 3; whether there was anything to do."""
        highest = connection.execute(HIGHEST).fetchval() or 0
        found = []
        if highest > self.position:
            found = odbc.rows(connection, CHANGED, self.position, self.position + self.step)
        if not connection.autocommit:
            connection.commit()  # else a transaction would go on to show the same moment
        self.polls += 1
        for row in found:
            assert row["change_no"] > self.position
            self.position = row["change_no"]
            before = self.calls.get(row["provider_call_id"], row)
            older = before["events_count"] > row["events_count"]
            self.went_back |= older or (before["state"], row["state"]) == ("ended", "ringing")
            self.calls[row["provider_call_id"]] = row
            self.changes += 1
        if not found and self.position + self.step <= highest:
            self.position += self.step
            self.jumps += 1
            return True
        return bool(found)

    def catch_up(self, connection: pyodbc.Connection) -> "Reader":
        """Poll until there is nothing more."""
        while self.poll(connection):
            pass
        return self


def by_call(table: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows of calls by the provider's id."""
    return {row["provider_call_id"]: row for row in table}


@contextlib.contextmanager
def polling(url: str, step: int = 5000, autocommit: bool = True) -> Iterator[Reader]:
    """A reader that polls in a thread until the block ends, and then once more to the end."""
    connection = odbc.connect(url, autocommit=autocommit)
    reader, done = Reader(step), threading.Event()
    failures: list[BaseException] = []

    def poll() -> None:
        try:
            while not done.is_set():
                reader.poll(connection)
            reader.catch_up(connection)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield reader
    finally:
        done.set()
        thread.join()
        connection.close()
    assert failures == []


def held(url: str, how: str) -> pyodbc.Connection:
    """A reader that has begun and does not go on; what it has read of the first call stays as it was."""
    if how == "a cursor half-read":
        # by themselves the drivers fetch the whole result at once: these options make them read row by row
        options: dict[str, Any] = {"StepAPI": 1} if odbc.kind(url) == "sqlite" else {"FORWARDONLY": 1, "NO_CACHE": 1}
        connection = odbc.connect(url, **options)
        connection.execute("SELECT id, state FROM calls ORDER BY id").fetchone()
    else:
        connection = odbc.connect(url, autocommit=False)
        if how == "a transaction with locks":
            connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            connection.commit()
        connection.execute("SELECT id, state FROM calls").fetchall()
    return connection


# ----------------------------------------------------------------------------------------------------------- under fire


def deliveries() -> list[tuple[str, dict[str, Any]]]:
    """Twelve events of each of 60 calls, in no order."""
    found = [
        (route, make(str(call), scenario_name=f"вариант {variant}"))
        for call in range(1, 61)
        for route, make, variants in (("in", ring, 8), ("rec", end, 4))
        for variant in range(variants)
    ]
    random.Random(20240301).shuffle(found)
    return found


def write(node: Node, mine: list[tuple[str, dict[str, Any]]]) -> None:
    """Deliver and forward by fives; an operational error is tried again, as the forwarder's loop does."""
    for start in range(0, len(mine), 5):
        for route, said in mine[start : start + 5]:
            node.deliver(route, **said)
        while True:
            try:
                node.forward()
                break
            except peewee.OperationalError:
                node.forwarder.close()
    node.forwarder.close()


def test_no_reader_misses_a_change_of_eight_writers_or_sees_an_older_state_last(tmp_path: Path, call_log: str) -> None:
    """Eight nodes, each with its forwarder, write the same 60 calls; four readers poll, two others hold on meanwhile."""
    nodes = [Node(tmp_path / f"node{number}", call_log) for number in range(8)]
    everything = deliveries()
    failures: list[BaseException] = []
    write(nodes[0], [("in", ring("1")), ("in", ring("2"))])  # so that there is something to hold on to

    def safely(node: Node, mine: list[tuple[str, dict[str, Any]]]) -> None:
        try:
            write(node, mine)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=safely, args=(n, everything[i::8])) for i, n in enumerate(nodes)]
    with contextlib.ExitStack() as stack:
        for how in ("a cursor half-read", "a transaction"):
            stack.enter_context(closing(held(call_log, how)))
        readers = [
            stack.enter_context(polling(call_log)),
            stack.enter_context(polling(call_log)),
            stack.enter_context(polling(call_log, autocommit=False)),
            stack.enter_context(polling(call_log, step=3)),  # so narrow that whole windows have moved on
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    table = by_call(rows(call_log, Calls))
    assert len(table) == 60
    assert sum(row["events_count"] for row in table.values()) == len(everything) + 2
    highest = max(row["change_no"] for row in table.values())
    (counter,) = rows(call_log, ChangeCounter)
    assert counter["change_no"] == highest
    for reader in readers:
        assert reader.calls == table
        assert reader.position == highest
        assert not reader.went_back
        assert reader.polls > 5
    assert max(reader.changes for reader in readers) > 2 * 60  # they did read while it was written


def test_batches_that_meet_lose_none_of_their_new_calls(tmp_path: Path, mariadb: MariaDB) -> None:
    """A batch of 1, 2, 3 waits for call 1; meanwhile another has made 2, 4, 5. With `ON DUPLICATE KEY UPDATE id = id`
    MariaDB went on from the id of 2, gave 3 the id of 4, took that for the duplicate, and inserted nothing."""
    url = mariadb.create("meeting")
    database.upgrade(url, lambda line: None)
    one, two = Node(tmp_path / "one", url), Node(tmp_path / "two", url)
    for node, calls in ((one, "123"), (two, "245")):
        for call in calls:
            node.deliver("in", **ring(call))
    waits = (
        "SELECT COUNT(*) FROM information_schema.processlist WHERE db = 'meeting' "
        "AND info LIKE 'INSERT INTO calls%' AND time_ms > 300"
    )
    _, said = database.parse_url(url)
    with closing(pymysql.connect(**said, database="meeting")) as db, ThreadPoolExecutor(1) as pool:
        db.cursor().execute("INSERT INTO calls (change_no, provider, provider_call_id) VALUES (-1, 'uis', '1')")
        forwarded = pool.submit(one.forward)
        until(lambda: mariadb.execute(waits) != [(0,)], "the batch waits for call 1")
        assert two.forward().forwarded == 3
        db.rollback()
        # by then those that were locked may have been put back: they waited for longer than a lock is waited for
        assert forwarded.result(30).dead == 0
        until(lambda: pool.submit(one.forward).result(30) and len(rows(url, Calls)) == 5, "they are tried again")
        pool.submit(one.forwarder.close)
    two.forwarder.close()
    assert set(by_call(rows(url, Calls))) == set("12345")


def test_a_reader_that_was_away_for_long_catches_up_over_windows_whose_numbers_have_moved_on(
    tmp_path: Path, call_log: str
) -> None:
    node = Node(tmp_path / "node", call_log)
    for number in range(1, 11):
        node.deliver("in", **ring(str(number)))
    node.forward()
    for variant in range(60):  # 60 changes of one call: 59 of the numbers are nobody's any more
        node.deliver("in", **ring("1", scenario_name=f"вариант {variant}"))
        node.forward()
    node.deliver("rec", **end("2"))
    node.forward()
    node.forwarder.close()
    with closing(odbc.connect(call_log)) as connection:
        reader = Reader(step=7).catch_up(connection)
    assert reader.jumps >= 5
    assert reader.calls == by_call(rows(call_log, Calls))


# ------------------------------------------------------------------------------------------------- readers that hold on

HOLDING = [
    ("sqlite", "a cursor half-read"),
    ("sqlite", "a transaction"),
    ("mysql", "a cursor half-read"),
    ("mysql", "a transaction"),
    ("mysql", "a transaction with locks"),
]


@pytest.mark.parametrize(("database_url", "how"), HOLDING, indirect=["database_url"])
def test_the_connector_answers_200_beside_a_reader_that_holds_on_and_catches_up(
    database_url: str, how: str, tmp_path: Path
) -> None:
    with Service(tmp_path / "service", database_url) as service:
        service.start()
        for number in range(1, 31):
            service.post("/hs/UIScom/in", f'{{"call_session_id": {number}, "direction": "in"}}')
        service.settled()
        holder = held(database_url, how)
        with traffic(service) as seen:
            service.post("/hs/UIScom/rec", '{"call_session_id": 30, "direction": "in", "is_lost": true}')
            until(lambda: seen.count > 200, "traffic flows")
            if how != "a transaction with locks":  # nobody waits: what is sent meanwhile is read meanwhile
                with closing(odbc.connect(database_url)) as other:
                    reader = Reader()
                    until(lambda: reader.poll(other) and len(reader.calls) > 60, "another reader sees what is new")
                assert service.call("30", 2)["state"] == "ended"
            else:
                assert service.rows(Calls, provider_call_id="30")[0]["state"] == "ringing"
                assert service.inbox.backlog()[0] > 100
        assert seen.refused == []
        assert seen.broken == 0
        assert seen.slowest < 2.5
        if how == "a transaction":  # it still sees its own moment, all of it
            assert {row.state for row in holder.execute("SELECT state FROM calls").fetchall()} == {"ringing"}
            assert len(holder.execute("SELECT id FROM calls").fetchall()) == 30
            holder.commit()
        elif how == "a transaction with locks":
            holder.commit()
        holder.close()
        service.settled()
        with closing(odbc.connect(database_url)) as connection:
            reader = Reader().catch_up(connection)
        table = by_call(service.rows(Calls))
        assert reader.calls == table
        assert all(table[call]["events_count"] >= events for call, events in seen.accepted.items())


def test_a_cursor_half_read_goes_on_with_the_state_it_began_with(call_log: str, tmp_path: Path) -> None:
    node = Node(tmp_path / "node", call_log)
    for number in range(1, 301):
        node.deliver("in", **ring(str(number)))
    node.forward()
    options: dict[str, Any] = {"StepAPI": 1} if odbc.kind(call_log) == "sqlite" else {"FORWARDONLY": 1, "NO_CACHE": 1}
    with closing(odbc.connect(call_log, **options)) as connection:
        cursor = connection.execute(CHANGED, 0, 5000)
        first = cursor.fetchmany(10)
        for number in range(1, 301):
            node.deliver("rec", **end(str(number)))
        node.forward()
        node.forwarder.close()
        seen = [*first, *cursor.fetchall()]
        assert [row.change_no for row in seen] == list(range(1, 301))
        assert {row.state for row in seen} == {"ringing"}
        cursor.close()
        assert [row.state for row in connection.execute(CHANGED, 300, 5300).fetchall()] == ["ended"] * 300


# -------------------------------------------------------------------------------------------------------------- restore


@pytest.fixture
def backup(
    call_log: str, tmp_path: Path, request: pytest.FixtureRequest
) -> tuple[Callable[[], None], Callable[[], None]]:
    """(take a backup of the call log, put it back), by the database's own tools."""
    if odbc.kind(call_log) == "sqlite":
        path = Path(database.parse_url(call_log)[0])
        copy = tmp_path / "backup.db"

        def take() -> None:
            with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)

        def put_back() -> None:
            for leftover in path.parent.glob("calls.db-*"):
                leftover.unlink()
            shutil.copy(copy, path)
    else:
        server: MariaDB = request.getfixturevalue("mariadb")
        name, dump = call_log.rpartition("/")[2], []

        def take() -> None:
            dump.append(server.dump(name))

        def put_back() -> None:
            server.load(name, dump[-1])

    return take, put_back


def test_after_a_restore_the_readers_old_position_still_works(
    tmp_path: Path, call_log: str, backup: tuple[Callable[[], None], Callable[[], None]]
) -> None:
    """A reader at the end, one left at the backup and one at the beginning all come to the table as it is. By the
    provider's id: a call written after the backup may get another id when it is forwarded again."""
    take, put_back = backup
    one, two = Node(tmp_path / "one", call_log), Node(tmp_path / "two", call_log)
    ahead, behind, new = readers = [Reader(step=5000) for _ in range(3)]

    def read(reader: Reader) -> None:
        with closing(odbc.connect(call_log)) as connection:
            reader.catch_up(connection)

    def forward(*nodes: Node) -> None:
        for node in nodes:
            node.forward()
            node.forwarder.close()

    for number in range(1, 21):
        (one if number % 2 else two).deliver("in", **ring(str(number)))
    forward(one, two)
    read(ahead)
    read(behind)
    take()
    for number in range(1, 41):
        (two if number % 3 else one).deliver("rec", **end(str(number)))
    forward(one, two)
    read(ahead)
    position = ahead.position
    put_back()
    assert max(row["change_no"] for row in rows(call_log, Calls)) == behind.position < position
    read(ahead)  # before a node has noticed: nothing comes, and nothing goes wrong
    assert ahead.position == position
    one.deliver("in", **ring("100"))
    forward(one)
    two.deliver("in", **ring("200"))
    forward(two, one)
    table = by_call(rows(call_log, Calls))
    assert set(table) == {*map(str, range(1, 41)), "100", "200"}
    assert {table[str(number)]["state"] for number in range(1, 41)} == {"ended"}
    for reader in readers:
        read(reader)
        assert reader.calls == table
    assert ahead.position == behind.position == new.position > position
