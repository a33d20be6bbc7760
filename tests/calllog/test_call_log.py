"""The call log: each event once, ids for ever, change_no in the order of commits, whatever happens in between."""

import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import peewee
import pytest

import models
from calllog import batch, bounds, database
from config import Stop
from inbox import DEAD, FORWARDED, now
from models import CallEvents, CallLegs, CallRecordings, Calls, ChangeCounter, Position, SchemaInfo
from tests.rig.node import Node, end, ring, rows
from tests.rig.service import ROOT


@pytest.fixture
def call_log(database_url: str) -> str:
    """An empty, migrated call log."""
    database.upgrade(database_url, lambda line: None)
    return database_url


@pytest.fixture
def node(tmp_path: Path, call_log: str) -> Iterator[Node]:
    node = Node(tmp_path / "node", call_log)
    yield node
    node.forwarder.close()


def follow(url: str, position: int, step: int = 5000) -> list[dict[str, Any]]:
    """One poll of the contract's query, section 3."""
    db = database.open_database(url)
    with db.connection_context():
        query = Calls.select().where(Calls.change_no > position, Calls.change_no <= position + step)
        return list(query.order_by(Calls.change_no).dicts().execute(db))


# ------------------------------------------------------------------------------------------------------------ the batch


def test_a_repeat_changes_nothing_and_moves_no_number(node: Node) -> None:
    node.deliver("in", **ring("1"))
    node.deliver("rec", **end("1"))
    node.forward()
    before = node.rows()
    for _ in range(3):
        node.deliver("rec", **end("1"))
        node.deliver("in", **ring("1"))
    assert node.forward().forwarded == 6
    assert node.rows() == before
    assert len(node.rows(CallEvents)) == 2


def test_a_delivery_forwarded_twice_is_in_the_call_log_once(node: Node) -> None:
    """A crash after the commit and before the mark: the batch is forwarded again."""
    delivery = node.deliver("rec", **end("1"))
    node.forward()
    before = node.rows()
    node.inbox.replay([stored.delivery.id for stored in node.inbox.deliveries()])
    assert node.forward().forwarded == 1
    assert node.rows() == before
    assert [stored.outcome.state for stored in node.inbox.deliveries()] == [FORWARDED]
    assert node.inbox.deliveries()[0].delivery.body == delivery.body


def test_ids_of_call_legs_and_recordings_never_change(node: Node) -> None:
    node.deliver("in", **ring("1", employee_phone_number="79990000001", extension_phone_number="101"))
    node.deliver("rec", **ring("1", file_link="https://app.uiscom.ru/r/1", file_duration=50))
    node.forward()
    first = [node.rows(table) for table in (Calls, CallLegs, CallRecordings)]
    node.deliver("rec", **end("1", employee_phone_number="79990000001", extension_phone_number="101"))
    node.forward()
    second = [node.rows(table) for table in (Calls, CallLegs, CallRecordings)]
    assert [[row["id"] for row in part] for part in first] == [[row["id"] for row in part] for part in second]
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_a_repeat_that_was_received_first_lowers_the_receipt_time(node: Node) -> None:
    at = now() // 1000 * 1000 - 60_000
    node.deliver("in", received_at=at, **ring("1"))
    node.forward()
    node.deliver("in", received_at=at - 10_000, **ring("1"))
    node.forward()
    (row,) = node.rows()
    assert str(row["first_event_at"]) == batch.wall(at - 10_000, node.settings.timezone)
    assert row["events_count"] == 1
    node.deliver("in", received_at=at + 10_000, **ring("1"))
    node.forward()
    assert node.rows() == [row]


def test_moments_are_wall_clock_of_the_call_logs_zone(tmp_path: Path, call_log: str) -> None:
    from zoneinfo import ZoneInfo

    node = Node(tmp_path / "node", call_log, timezone=ZoneInfo("Asia/Vladivostok"))
    node.deliver("rec", **end("1"))
    node.forward()
    (row,) = node.rows()
    assert str(row["started_at"]) == "2024-03-01 17:00:00"
    assert str(row["ended_at"]) == "2024-03-01 17:01:00"
    assert row["total_seconds"] == 60


POISON = {
    "sqlite": "CREATE TRIGGER poison BEFORE INSERT ON call_events WHEN new.payload LIKE '%79990000666%' "
    "BEGIN SELECT RAISE(ABORT, 'poison'); END",
    "mysql": "CREATE TRIGGER poison BEFORE INSERT ON call_events FOR EACH ROW "
    "IF new.payload LIKE '%%79990000666%%' THEN SIGNAL SQLSTATE '23000' SET MESSAGE_TEXT = 'poison', MYSQL_ERRNO = 1062; "
    "END IF",
}


def test_an_event_that_the_database_refuses_is_dead_and_stops_no_other(node: Node) -> None:
    url = node.settings.database_url
    db = database.open_database(url)
    with db.connection_context():
        db.execute_sql(POISON[url.split(":")[0]])
    for number in range(20):
        phone = "79990000666" if number in (3, 11) else f"7999000{number:04}"
        node.deliver("in", **ring(f"1{number}", calling_phone_number=phone))
    report = node.forward()
    assert (report.forwarded, report.dead) == (18, 2)
    dead = node.inbox.deliveries(state=DEAD)
    assert {stored.outcome.reason for stored in dead} == {"indigestible"}
    assert all("poison" in stored.outcome.detail for stored in dead)
    assert {row["provider_call_id"] for row in node.rows()} == {f"1{n}" for n in range(20)} - {"13", "111"}


def test_our_own_fault_in_the_fold_is_a_dead_letter_with_its_traceback(node: Node) -> None:
    """A stored payload that cannot be read (written by a broken release) fails the fold of its call, and only that."""
    node.deliver("in", **ring("1"))
    node.forward()
    db = database.open_database(node.settings.database_url)
    with db.connection_context():
        CallEvents.update(payload='{"v": 1}').execute(db)
    node.deliver("rec", **end("1"))
    node.deliver("rec", **end("2"))
    report = node.forward()
    assert (report.forwarded, report.dead) == (1, 1)
    (dead,) = node.inbox.deliveries(state=DEAD)
    assert "KeyError: 'kind'" in dead.outcome.detail
    assert {row["provider_call_id"]: row["state"] for row in node.rows()} == {"1": "ringing", "2": "ended"}


def test_events_beyond_a_thousand_in_one_call_are_dead_letters_with_that_reason(node: Node) -> None:
    for number in range(bounds.MOST_EVENTS + 5):
        node.deliver("in", received_at=1_709_276_400_000 + number, **ring("1", scenario_name=f"сценарий {number}"))
    node.deliver("in", **ring("2"))
    report = node.forward()
    assert (report.forwarded, report.dead) == (bounds.MOST_EVENTS + 1, 5)
    assert {stored.outcome.reason for stored in node.inbox.deliveries(state=DEAD)} == {"too_many_events"}
    assert [row["events_count"] for row in node.rows()] == [bounds.MOST_EVENTS, 1]


def test_a_call_whose_end_never_comes_expires_and_a_real_end_outranks_it(node: Node) -> None:
    five_hours = 5 * 3_600_000
    node.deliver("in", received_at=now() - five_hours, **ring("1"))
    node.deliver("in", received_at=now(), **ring("2"))
    node.forward()
    assert [(row["state"], row["disposition"]) for row in node.rows()] == [("ended", "unknown"), ("ringing", "")]
    before = node.rows()
    node.forward()
    assert node.rows() == before
    node.deliver("rec", **end("1"))
    node.forward()
    first = node.rows()[0]
    assert (first["state"], first["disposition"], first["id"]) == ("ended", "answered", before[0]["id"])


# ----------------------------------------------------------------------------------------------------------- change_no


def test_change_no_is_dense_and_in_the_order_of_commits_with_several_forwarders(tmp_path: Path, call_log: str) -> None:
    """Four nodes forward events of the same 40 calls while a reader polls: it misses no change and sees none late."""
    nodes = [Node(tmp_path / f"node{number}", call_log) for number in range(4)]
    kinds = [("in", ring), ("rec", end)]
    deliveries = [
        (route, make(str(call), scenario_name=f"вариант {variant}"))
        for call in range(1, 41)
        for variant in range(3)
        for route, make in kinds
    ]
    shuffle = random.Random(20240301)
    shuffle.shuffle(deliveries)
    seen: dict[int, dict[str, Any]] = {}
    numbers: list[int] = []
    done = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        position = 0
        while True:
            last_look = done.is_set()
            for row in follow(call_log, position):
                numbers.append(row["change_no"])
                assert row["change_no"] > position
                position = row["change_no"]
                seen[row["id"]] = row
            if last_look:
                return

    def write(node: Node, mine: list[tuple[str, dict[str, Any]]]) -> None:
        try:
            for start in range(0, len(mine), 7):
                for route, said in mine[start : start + 7]:
                    node.deliver(route, **said)
                while True:  # what the forwarder's loop does: an operational error (deadlock, lock time-out) repeats
                    try:
                        node.forward()
                        break
                    except peewee.OperationalError:
                        node.forwarder.close()
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(n, deliveries[i::4])) for i, n in enumerate(nodes)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert not failures
    table = rows(call_log, Calls)
    assert len(table) == 40
    assert {row["events_count"] for row in table} == {6}
    assert {row["id"]: row for row in table} == seen
    assert numbers == sorted(set(numbers))
    db = database.open_database(call_log)
    with db.connection_context():
        (last,) = ChangeCounter.select(ChangeCounter.change_no).tuples().execute(db)[0]
    assert last == max(row["change_no"] for row in table)
    assert len(rows(call_log, CallEvents)) == 240


def test_numbers_are_dense(node: Node) -> None:
    for number in range(1, 31):
        node.deliver("in", **ring(str(number)))
    node.forward()
    assert sorted(row["change_no"] for row in node.rows()) == list(range(1, 31))
    node.deliver("rec", **end("7"))
    node.deliver("rec", **end("8"))
    node.forward()
    assert sorted(row["change_no"] for row in node.rows())[-2:] == [31, 32]


# -------------------------------------------------------------------------------------------------------------- restore


@pytest.fixture
def backup(call_log: str, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """(take a backup of the call log, put it back), as an administrator does with the database's own tools."""
    if call_log.startswith("sqlite"):
        path, _ = database.parse_url(call_log)

        def take(name: str = "backup") -> None:
            with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(tmp_path / name)) as target:
                source.backup(target)

        def put_back(name: str = "backup") -> None:
            for leftover in Path(path).parent.glob("*-wal"):
                leftover.unlink()
            for leftover in Path(path).parent.glob("*-shm"):
                leftover.unlink()
            shutil.copy(tmp_path / name, path)
    else:
        server = request.getfixturevalue("mariadb")
        dumps: dict[str, str] = {}
        schema_name = call_log.rpartition("/")[2]

        def take(name: str = "backup") -> None:
            dumps[name] = server.dump(schema_name)

        def put_back(name: str = "backup") -> None:
            server.load(schema_name, dumps[name])

    return take, put_back


def test_a_restored_call_log_is_made_whole_and_readers_miss_nothing(tmp_path: Path, call_log: str, backup: Any) -> None:
    take, put_back = backup
    one, two = Node(tmp_path / "one", call_log), Node(tmp_path / "two", call_log)
    one.deliver("in", **ring("1"))
    two.deliver("in", **ring("2"))
    one.forward(), two.forward()
    take()
    one.deliver("rec", **end("1"))
    two.deliver("rec", **end("2"))
    for number in range(3, 9):
        (one if number % 2 else two).deliver("in", **ring(str(number)))
    one.forward(), two.forward()
    before = {row["provider_call_id"]: row for row in rows(call_log, Calls)}
    position = max(row["change_no"] for row in before.values())
    for one_of_them in (one, two):
        one_of_them.forwarder.close()
    put_back()
    assert len(rows(call_log, Calls)) == 2

    # the first node goes on alone for a while, far beyond the second one's memory
    one.deliver("in", **ring("100"))
    one.forward()
    for number in range(101, 120):
        one.deliver("in", **ring(str(number)))
        one.forward()
    two.deliver("in", **ring("200"))
    two.forward()
    one.forward()

    after = {row["provider_call_id"]: row for row in rows(call_log, Calls)}
    assert set(after) == set(before) | {"100", "200"} | {str(n) for n in range(101, 120)}
    for call, row in before.items():
        told = {k: v for k, v in row.items() if k not in ("id", "change_no", "updated_at")}
        assert {k: v for k, v in after[call].items() if k in told} == told
    # a reader that had read everything before the restore sees every call that was written after it
    seen = {row["provider_call_id"] for row in follow(call_log, position)}
    rewritten = {call for call, row in after.items() if call not in ("1", "2")} | {"1", "2"}
    assert seen == rewritten
    assert len({row["change_no"] for row in after.values()}) == len(after)


@pytest.mark.parametrize("behind", [0, 1], ids=["just before it", "earlier"])
def test_a_reader_saw_a_commit_that_the_node_never_learned_of_before_a_restore(
    tmp_path: Path, call_log: str, backup: Any, behind: int
) -> None:
    take, put_back = backup
    node = Node(tmp_path / "one", call_log)
    node.deliver("in", **ring("1"))
    node.forward()
    if behind:
        take()
        node.deliver("in", **ring("2"))
        node.forward()
    else:
        take()
    for number in range(10, 20):
        node.deliver("in", **ring(str(number)))
    real = node.inbox.settle
    node.inbox.settle = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):  # it dies between the commit and its own mark
        node.forward()
    node.inbox.settle = real
    position = max(row["change_no"] for row in rows(call_log, Calls))
    assert position > node.inbox.position().change_no
    node.forwarder.close()
    put_back()
    node.deliver("in", **ring("30"))
    node.forward()
    seen = {row["provider_call_id"] for row in follow(call_log, position)}
    assert seen >= {str(number) for number in range(10, 20)} | {"30"}


def test_the_wrong_backup_and_then_the_right_one_leave_a_reader_nothing_old(
    tmp_path: Path, call_log: str, backup: Any
) -> None:
    """What the reader saw while the first one was filled up is taken back by the second."""
    take, put_back = backup
    node = Node(tmp_path / "one", call_log)
    node.deliver("in", **ring("1"))
    node.forward()
    take("old")
    names = [str(number) for number in range(1000, 1300)]
    for say in (ring, end):
        for name in names:
            node.deliver("in" if say is ring else "rec", **say(name))
    node.forward()
    take("new")
    node.forwarder.close()
    put_back("old")
    node.deliver("in", **ring("2"))
    node.forwarder.step()  # notices
    node.forwarder.step()  # the first 256 again: these calls ring, and a reader sees them
    position = max(row["change_no"] for row in node.rows())
    assert {row["state"] for row in node.rows() if row["provider_call_id"] in names} == {"ringing"}
    node.forwarder.close()
    put_back("new")
    node.deliver("in", **ring("3"))
    node.forward()
    seen = {row["provider_call_id"]: row["state"] for row in follow(call_log, position)}
    assert {name: seen.get(name) for name in names} == dict.fromkeys(names, "ended")
    for again in ("old", "new", "new", "old"):  # and on, and back
        node.forwarder.close()
        position = max(row["change_no"] for row in node.rows())
        put_back(again)
        node.deliver("in", **ring(f"{again}{position}"))
        node.forward()
        assert len(node.rows()) > len(names)
        assert follow(call_log, position)
        assert {row["state"] for row in node.rows() if row["provider_call_id"] in names} == {"ended"}


def test_a_node_that_slept_through_another_nodes_writing_still_notices_a_restore(
    tmp_path: Path, call_log: str, backup: Any
) -> None:
    take, put_back = backup
    one, two = Node(tmp_path / "one", call_log), Node(tmp_path / "two", call_log)
    one.deliver("in", **ring("1"))
    one.forward()
    take()
    for number in range(10, 20):
        two.deliver("in", **ring(str(number)))
    two.forward()
    one.forward()  # nothing to do but its look of every minute
    position = max(row["change_no"] for row in one.rows())
    for node in (one, two):
        node.forwarder.close()
    put_back()
    for number in range(30, 50):  # more than two had written
        one.deliver("in", **ring(str(number)))
    one.forward()
    two.forward()
    seen = {row["provider_call_id"] for row in follow(call_log, position)}
    assert seen == {str(number) for number in (*range(10, 20), *range(30, 50))}


def test_a_new_empty_call_log_gets_everything_that_the_inbox_still_holds(tmp_path: Path, call_log: str) -> None:
    node = Node(tmp_path / "node", call_log)
    for number in range(1, 11):
        node.deliver("rec", **end(str(number)))
    node.forward()
    other = f"sqlite:///{tmp_path}/other/calls.db"
    database.upgrade(other, lambda line: None)
    moved = Node(tmp_path / "node", other)
    moved.deliver("in", **ring("11"))
    moved.forward()
    assert {row["provider_call_id"] for row in rows(other, Calls)} == {str(number) for number in range(1, 12)}
    assert min(row["change_no"] for row in rows(other, Calls)) > 10


# ---------------------------------------------------------------------------------------------------------- migrations


THIS_RELEASE = {"id": 1, "version": models.VERSION, "readable_by": models.READABLE_BY}


def schema(url: str) -> dict[str, Any]:
    """All that the database says of its tables."""
    db = database.open_database(url)
    with db.connection_context():
        return {
            table: (
                sorted((c.name, c.data_type, c.null, c.primary_key) for c in db.get_columns(table)),
                sorted((i.name, tuple(i.columns), i.unique) for i in db.get_indexes(table)),
            )
            for table in db.get_tables()
        }


def test_the_schema_is_what_the_models_say(call_log: str) -> None:
    db = database.open_database(call_log)
    with db.connection_context():
        for table in models.TABLES:
            there = {column.name: column for column in db.get_columns(table._meta.table_name)}
            there.pop("client_last_digits", None)  # MySQL keeps it by itself, and SELECT * does not show it
            assert tuple(there) == models.columns(table)
            for field in table._meta.sorted_fields:
                assert there[field.column_name].null == field.null
            assert [column.name for column in there.values() if column.primary_key] == ["id"]
    assert rows(call_log, SchemaInfo) == [THIS_RELEASE]


def test_sqlite_declares_the_types_that_the_odbc_driver_reads_right(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/calls.db"
    database.upgrade(url, lambda line: None)
    with closing(sqlite3.connect(tmp_path / "calls.db")) as db:
        declared = {row[1]: row[2] for row in db.execute("PRAGMA table_info(calls)")}
    assert declared["id"] == declared["change_no"] == "BIGINT"
    assert declared["is_missed"] == "SMALLINT"
    assert declared["talk_seconds"] == "INTEGER"
    assert declared["recording_url"] == "VARCHAR(1024)"
    assert declared["started_at"] == "DATETIME"


def test_mysql_tables_and_columns_have_russian_comments(mariadb: Any) -> None:
    url = mariadb.create("test_comments")
    database.upgrade(url, lambda line: None)
    for table in models.TABLES:
        name = table._meta.table_name
        (comment,) = mariadb.execute(
            "SELECT table_comment FROM information_schema.tables "
            f"WHERE table_schema = 'test_comments' AND table_name = '{name}'"
        )[0]
        assert comment == table.__doc__
        found = mariadb.execute(
            "SELECT column_name, column_comment FROM information_schema.columns "
            f"WHERE table_schema = 'test_comments' AND table_name = '{name}'"
        )
        assert {column for column, text in found if not any("а" <= letter <= "я" for letter in text)} == set()


def test_ids_that_differ_only_by_case_are_two_calls(node: Node) -> None:
    node.deliver("in", **ring("1AbC"))
    node.deliver("in", **ring("1aBc"))
    node.forward()
    assert [row["provider_call_id"] for row in node.rows()] == ["1AbC", "1aBc"] or len(node.rows()) == 2


def test_an_upgrade_that_died_at_any_statement_can_be_repeated(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Die before the 1st, 2nd, 3rd … statement of the upgrade in turn; each next one starts on what is there."""

    class Died(BaseException):
        pass

    real = peewee.Database.execute_sql
    left = [0]

    def execute_sql(self: peewee.Database, sql: str, params: Any = None) -> Any:
        if left[0] == 0:
            raise Died(sql)
        left[0] -= 1
        return real(self, sql, params)

    monkeypatch.setattr(peewee.Database, "execute_sql", execute_sql)
    for statements in range(1, 400):
        left[0] = statements
        try:
            database.upgrade(database_url, lambda line: None)
        except Died:
            continue
        break
    else:
        raise AssertionError("the upgrade never came to its end")
    monkeypatch.undo()
    assert statements > 20
    fresh = f"sqlite:///{tmp_path}/fresh.db"
    if database_url.startswith("mysql"):
        fresh = request.getfixturevalue("mariadb").create("test_fresh")
    database.upgrade(fresh, lambda line: None)
    assert schema(database_url) == schema(fresh)
    assert rows(database_url, SchemaInfo) == [THIS_RELEASE]
    assert len(rows(database_url, ChangeCounter)) == 1


def test_several_upgrades_may_start_at_once(database_url: str, tmp_path: Path) -> None:
    script = "import sys; from calllog import database; print(database.upgrade(sys.argv[1], lambda line: None))"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, database_url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(6)
    ]
    said = sorted(process.communicate(timeout=120)[0].strip() for process in running)
    assert said == ["['0001_call_log', '0002_attributes_employees']"] + ["[]"] * 5


def test_a_call_log_of_another_release_is_not_written(node: Node) -> None:
    db = database.open_database(node.settings.database_url)
    for version, todo in ((models.VERSION + 1, "newer release"), (models.VERSION - 1, "pbx-connector db upgrade")):
        with db.connection_context():
            SchemaInfo.update(version=version, readable_by=version).execute(db)
        node.deliver("in", **ring("1"))
        with pytest.raises(batch.SchemaDiffers, match=todo):
            node.forward()
        assert node.rows() == []
        assert node.inbox.backlog()[0] >= 1
    with db.connection_context():
        SchemaInfo.update(version=models.VERSION + 1, readable_by=models.VERSION + 1).execute(db)
    with pytest.raises(Stop):
        database.upgrade(node.settings.database_url, lambda line: None)
    with db.connection_context():
        SchemaInfo.update(version=models.VERSION).execute(db)
    assert node.forward().forwarded == 2
    assert len(node.rows()) == 1


def test_a_position_is_remembered_only_after_the_commit(node: Node) -> None:
    assert node.inbox.position() == Position()
    node.deliver("in", **ring("1"))
    node.forward()
    position = node.inbox.position()
    assert position.change_no == 1
    assert len(position.incarnation) == 32
