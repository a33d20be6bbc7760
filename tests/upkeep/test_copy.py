"""db copy: a call log moves to another database while the service runs; nothing is lost, doubled or renumbered."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

import models
from calllog import database
from inbox import RECEIVED
from models import CallAttributes, CallEvents, CallLegs, Calls, ChangeCounter, Contacts, SchemaInfo
from tests.rig.mariadb import MariaDB
from tests.rig.node import Node, end, ring, rows
from tests.rig.service import Service, until
from tests.rig.traffic import traffic

EMPLOYEE = {"extension_phone_number": "102", "employee_phone_number": "79161234567"}
HARD = "Ёжик 🦔 «ё», \\ '%s' " + "я" * 200


@pytest.fixture(params=["sqlite to mysql", "mysql to sqlite"])
def two(request: pytest.FixtureRequest, mariadb: MariaDB, tmp_path: Path) -> tuple[str, str]:
    """(a migrated call log, an empty database of the other kind)."""
    sqlite, mysql = f"sqlite:///{tmp_path}/other/calls.db", mariadb.create("test_copy")
    source, target = (sqlite, mysql) if request.param.startswith("sqlite") else (mysql, sqlite)
    database.upgrade(source, lambda line: None)
    return source, target


def filled(directory: Path, url: str, calls: int = 20) -> Node:
    """A node that has forwarded so many calls, with legs, recordings and texts that a wrong character set would spoil."""
    node = Node(directory, url)
    for number in range(1, calls + 1):
        node.deliver("in", **ring(str(number), scenario_name=HARD, tags=[HARD], **EMPLOYEE))
        node.deliver("rec", **end(str(number), wav_call_records=["a" * 32, "b" * 32], contact_full_name=f"😀 {number}"))
    node.forward()
    db = database.open_database(url)
    with db.connection_context():
        Contacts.insert(id=7, client_number="79201119613", client_name="Зоя ё 😀").execute(db)
    return node


def beside(node: Node) -> Service:
    """The command line with this node's settings."""
    return Service(node.settings.data_dir.parent, node.settings.database_url, DATA_DIR=str(node.settings.data_dir))


def test_every_row_is_copied_as_it_is_and_numbers_go_on_above(tmp_path: Path, two: tuple[str, str]) -> None:
    source, target = two
    node = filled(tmp_path / "node", source)
    before = {table: rows(source, table) for table in models.TABLES}
    said = beside(node).flask("db", "copy", target).stdout
    assert (
        "copied and compared: 20 calls, 20 call_legs, 40 call_recordings, 20 call_attributes, 40 call_events, 1 contacts"
        in said
    )
    for table in models.TABLES:
        if table is not ChangeCounter:
            assert rows(target, table) == before[table]
    (old,), (new,) = before[ChangeCounter], rows(target, ChangeCounter)
    assert {k: v for k, v in new.items() if k != "last_id"} == {k: v for k, v in old.items() if k != "last_id"}
    assert HARD in {row["scenario_name"] for row in rows(target, Calls)}

    moved = Node(tmp_path / "node", target)  # the service, started on the copy
    moved.deliver("in", **ring("9999", tags=[HARD], **EMPLOYEE))
    assert moved.forward().forwarded == 1
    for table in (Calls, CallLegs, CallAttributes, CallEvents):
        assert rows(target, table)[-1]["id"] > max(row["id"] for row in before[table]) + 1000
        assert rows(target, table)[:-1] == before[table]
    assert rows(target, Calls)[-1]["change_no"] == max(row["change_no"] for row in before[Calls]) + 1


def test_nothing_is_lost_or_doubled_when_the_service_runs_while_it_moves(tmp_path: Path, mariadb: MariaDB) -> None:
    """Traffic before, during and after; the service is stopped only to be started on the copy, some time later."""
    target = mariadb.create("test_moved")
    with Service(tmp_path) as service:
        service.start()
        source = service.database_url
        reader: dict[str, dict[str, Any]] = {}
        position = 0
        with traffic(service, senders=2) as seen:
            until(lambda: seen.count > 100, "traffic flows", 60)
            copied_from = seen.count
            service.flask("db", "copy", target)
            assert seen.count > copied_from, "the traffic stood still while the call log was copied"
            copied = {row["provider_call_id"]: row for row in rows(target, Calls)}
            assert copied
            after_copy = seen.count
            until(lambda: seen.count > after_copy + 50, "traffic flows", 60)
            for row in follow(source, position):  # 1C reads the old call log up to the last moment
                reader[row["provider_call_id"]], position = row, row["change_no"]
            service.stop()
            at_stop = seen.count
            service.database_url = service.environment["DATABASE_URL"] = target
            service.start(upgrade=False)
            until(lambda: seen.count > at_stop + 50, "traffic flows", 60)
        service.settled(90)
        assert position > max(row["change_no"] for row in copied.values()), "the copy held all: nothing was proved"
        service.logs("it was restored or replaced")
        for row in follow(target, position):
            reader[row["provider_call_id"]] = row
        table = {row["provider_call_id"]: row for row in service.rows(Calls)}
        for call, events in seen.accepted.items():
            assert table[call]["events_count"] >= events
        for call, row in copied.items():
            assert table[call]["id"] == row["id"]
        stored = service.rows(CallEvents)
        assert (
            len({event["event_key"] for event in stored})
            == len(stored)
            == sum(r["events_count"] for r in table.values())
        )
        assert len({row["change_no"] for row in table.values()}) == len(table)
        # what the reader holds is what the new call log says; an id that the copy did not have was given anew
        ours = ("provider_call_id", "state", "disposition", "events_count", "talk_seconds", "client_number")
        assert {c: [r[k] for k in ours] for c, r in reader.items()} == {
            c: [r[k] for k in ours] for c, r in table.items()
        }
        later = {row["id"] for call, row in table.items() if call not in copied}
        assert not later & {row["id"] for row in rows(source, Calls)}, (
            "an id of the old call log means another call now"
        )


def follow(url: str, position: int) -> list[dict[str, Any]]:
    """What changed since, as 1C reads it."""
    return sorted((row for row in rows(url, Calls) if row["change_no"] > position), key=lambda row: row["change_no"])


@contextlib.contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """Nobody else may insert into this empty table of a MySQL call log: the gap is locked."""
    name, options = database.parse_url(url)
    with contextlib.closing(pymysql.connect(database=name, **options)) as db, db.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} FOR UPDATE")
        yield


def test_a_copy_killed_in_the_middle_is_no_call_log_and_is_made_anew(tmp_path: Path, mariadb: MariaDB) -> None:
    source, target = f"sqlite:///{tmp_path}/calls.db", mariadb.create("test_killed")
    database.upgrade(source, lambda line: None)
    database.upgrade(target, lambda line: None)
    node = filled(tmp_path / "node", source)
    service = beside(node)
    with locked(target, "call_events"):
        running = subprocess.Popen(
            [sys.executable, str(service.root), "db", "copy", target], cwd=service.root,
            env=service.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(lambda: rows(target, Calls) and rows(target, CallLegs), "half of it is copied")
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert rows(target, ChangeCounter) == []
    too_early = Node(tmp_path / "node", target)
    too_early.deliver("in", **ring("77"))
    with pytest.raises(Exception, match="pbx-connector db copy --again"):
        too_early.forward()
    half = rows(target, Calls)
    refused = service.flask("db", "copy", target, check=False)
    assert refused.returncode == 1
    assert "broken off: pbx-connector db copy --again" in refused.stderr
    assert rows(target, Calls) == half
    assert "pbx-connector db copy --again" in service.flask("check", check=False, DATABASE_URL=target).stdout
    service.flask("db", "copy", target, "--again")
    assert rows(target, Calls) == rows(source, Calls)
    assert too_early.forward().forwarded == 1
    assert not node.inbox.deliveries(state=RECEIVED)


def test_a_target_that_is_in_use_is_refused_and_left_alone(tmp_path: Path, two: tuple[str, str]) -> None:
    source, target = two
    node = filled(tmp_path / "node", source, 2)
    database.upgrade(target, lambda line: None)
    other = filled(tmp_path / "other-node", target, 1)
    before = {table: other.rows(table) for table in models.TABLES}
    for again in ((), ("--again",)):
        done = beside(node).flask("db", "copy", target, *again, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert "the target is in use, its calls, call_legs" in done.stderr
    assert {table: other.rows(table) for table in models.TABLES} == before


def test_a_finished_copy_is_not_emptied_by_again(tmp_path: Path, two: tuple[str, str]) -> None:
    source, target = two
    node = filled(tmp_path / "node", source, 2)
    beside(node).flask("db", "copy", target)
    done = beside(node).flask("db", "copy", target, "--again", check=False)
    assert done.returncode == 1
    assert "this very call log, or a finished copy" in done.stderr
    assert rows(target, Calls) == rows(source, Calls)


def test_what_cannot_be_copied_is_said(tmp_path: Path, mariadb: MariaDB) -> None:
    service = Service(tmp_path)
    target = mariadb.create("test_refused")
    for url, sentence in (
        ("mysql://nowhere", "TARGET_URL must be sqlite:///<path> or mysql://"),
        (service.database_url, "not copied: OperationalError: there is no call log"),
        ("mysql://x:y@127.0.0.1:1/none", "there is no call log"),
    ):
        done = service.flask("db", "copy", url, check=False)
        assert done.returncode == 1
        assert sentence in done.stderr
    service.flask("db", "upgrade")
    itself = service.flask("db", "copy", f"sqlite:///{service.data_dir}/calllog/../calllog/calls.db", check=False)
    assert "the target is the call log that DATABASE_URL names" in itself.stderr
    away = service.flask("db", "copy", "mysql://x:y@127.0.0.1:1/none", check=False)
    assert "OperationalError" in away.stderr
    mariadb.execute("ALTER DATABASE test_refused CHARACTER SET latin1")
    latin = service.flask("db", "copy", target, check=False)
    assert "character set is latin1, it must be utf8mb4" in latin.stderr
    assert mariadb.execute("SHOW TABLES", "test_refused") == []
    mariadb.execute("ALTER DATABASE test_refused CHARACTER SET utf8mb4")
    service.flask("db", "upgrade", DATABASE_URL=target)
    mariadb.execute("ALTER TABLE calls CONVERT TO CHARACTER SET latin1", "test_refused")
    table = service.flask("db", "copy", target, check=False)
    assert "the target's column calls." in table.stderr


def test_a_row_that_the_target_does_not_take_is_named(tmp_path: Path, mariadb: MariaDB) -> None:
    source, target = f"sqlite:///{tmp_path}/calls.db", mariadb.create("test_row")
    database.upgrade(source, lambda line: None)
    node = filled(tmp_path / "node", source, 2)
    db = database.open_database(source)
    with db.connection_context():
        Contacts.update(client_name="я" * 300).execute(db)  # SQLite keeps it, whatever the column is declared
    done = beside(node).flask("db", "copy", target, check=False)
    assert "the target does not take a row of contacts, ids 7 to 7: DataError" in done.stderr
    assert rows(target, ChangeCounter) == []
    assert rows(target, SchemaInfo) == rows(source, SchemaInfo)


def test_a_terminal_has_a_progress_bar(tmp_path: Path) -> None:
    source, target = f"sqlite:///{tmp_path}/calls.db", f"sqlite:///{tmp_path}/new/calls.db"
    database.upgrade(source, lambda line: None)
    service = beside(filled(tmp_path / "node", source))
    master, terminal = pty.openpty()
    command = [sys.executable, str(service.root), "db", "copy", target]
    done = subprocess.run(command, cwd=service.root, env=service.environment, stderr=terminal, timeout=60)
    shown = os.read(master, 65536).decode()
    os.close(terminal)
    os.close(master)
    assert done.returncode == 0
    assert "copying" in shown
    assert "100%" in shown
