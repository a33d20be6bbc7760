"""Nothing acknowledged is lost or doubled, and no sender waits: the call log stopped, hanging, locked, read-only, not
there yet; processes killed; the inbox full or locked."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil
import pytest
import requests

import forwarder
import models
from calllog import database
from inbox import FORWARDED, RECEIVED, TROUBLE, Outcome, now
from models import CallEvents, Calls
from tests.rig.fixtures import fixture_calls
from tests.rig.mariadb import MariaDB
from tests.rig.node import Node, ring
from tests.rig.service import Service, until
from tests.rig.traffic import Traffic, traffic

TRIES = 900  # of a night: eight hours, 30 s from one to the next and 3 s for the one that hangs
NEVER_LONGER = 2.5  # seconds: an answer that waited for a call log that hangs would take 10


def sent(traffic: Traffic, seconds: float = 3.0, more: int = 20) -> None:
    """Let the traffic flow for as long as a test needs it to, and at least a few notifications."""
    before, began = traffic.count, time.monotonic()
    until(lambda: traffic.count > before + more and time.monotonic() - began > seconds, "traffic flows", 60)


def whole(service: Service, seen: Traffic) -> None:
    """Everything acknowledged is in the call log, once."""
    service.settled(90)
    rows = {row["provider_call_id"]: row for row in service.rows(Calls)}
    for call, events in seen.accepted.items():
        assert rows[call]["events_count"] >= events
        if events == 2:
            assert (rows[call]["state"], rows[call]["disposition"]) == ("ended", "answered")
    assert sum(seen.accepted.values()) <= len(service.rows(CallEvents)) <= 2 * len(rows)
    numbers = sorted(row["change_no"] for row in rows.values())
    assert len(set(numbers)) == len(numbers)
    letters = service.deliveries()
    assert {stored.outcome.state for stored in letters} == {FORWARDED}
    assert len(letters) >= seen.count


@pytest.fixture(scope="module")
def own_mariadb(tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB) -> Iterator[MariaDB]:
    """A server that may be stopped, killed and paused."""
    with MariaDB(tmp_path_factory.mktemp("own-mariadb")) as server:
        yield server


@pytest.fixture
def on_mariadb(own_mariadb: MariaDB, tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "service", own_mariadb.create("outages")) as service:
        yield service.start()


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "service") as service:
        yield service.start()


# ----------------------------------------------------------------------------------------------- the call log is away


@pytest.mark.parametrize("how", ["stopped", "killed", "hanging", "read-only", "wrong password"])
def test_a_call_log_that_is_away_changes_no_answer_and_loses_nothing(
    how: str, on_mariadb: Service, own_mariadb: MariaDB
) -> None:
    with traffic(on_mariadb) as seen:
        sent(seen, 1)
        if how == "stopped":
            own_mariadb.stop()
            sent(seen)
            own_mariadb.start()
        elif how == "killed":
            own_mariadb.kill()
            sent(seen)
            own_mariadb.start()
        elif how == "hanging":
            own_mariadb.pause()
            sent(seen, 12)  # longer than the connection's read time-out
            own_mariadb.resume()
        elif how == "read-only":
            own_mariadb.read_only(True)
            sent(seen)
            own_mariadb.read_only(False)
        else:
            own_mariadb.execute("ALTER USER calls@'127.0.0.1' IDENTIFIED BY 'another'")
            for (id,) in own_mariadb.execute("SELECT id FROM information_schema.processlist WHERE user = 'calls'"):
                own_mariadb.execute(f"KILL {id}")
            sent(seen)
            own_mariadb.execute(f"ALTER USER calls@'127.0.0.1' IDENTIFIED BY '{own_mariadb.password}'")
        sent(seen, 1)
    assert seen.refused == []
    assert seen.broken == 0
    assert seen.slowest < NEVER_LONGER
    whole(on_mariadb, seen)


@pytest.mark.parametrize("how", ["stopped", "hanging"])
def test_a_night_without_a_database_makes_no_dead_letter(
    how: str, own_mariadb: MariaDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many tries as a night has, as fast as they fail."""
    url = own_mariadb.create("night")
    database.upgrade(url, lambda line: None)
    node = Node(tmp_path / "node", url)
    calls = list({call.name.partition("/")[0]: call for call in fixture_calls()}.values())  # one of each feed
    told = [request for call in calls for request in call.requests]
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)  # the host's certificates are read at each try, which takes longest
    monkeypatch.setattr(forwarder, "LONGEST_DELAY", 0.001)
    monkeypatch.setattr(forwarder, "open_database", partial(database.open_database, patience=0.01))  # type: ignore[arg-type]
    own_mariadb.stop() if how == "stopped" else own_mariadb.pause()
    node.forwarder.start(lambda ours: None)
    for request in told:
        node.inbox.put(request.delivery(now()), Outcome())
    tries = lambda: sum(row[3] for row in node.inbox.counters() if row[1] == TROUBLE)  # noqa: E731
    until(lambda: tries() > TRIES, "the night is over", 120)
    assert node.inbox.backlog()[0] == len(told)
    monkeypatch.undo()
    own_mariadb.start() if how == "stopped" else own_mariadb.resume()
    until(lambda: node.inbox.backlog()[0] == 0, "nothing waits")
    node.forwarder.stop()
    assert {stored.outcome.state for stored in node.inbox.deliveries(limit=-1)} == {FORWARDED}
    assert {call.call_id for call in calls} == {row["provider_call_id"] for row in node.rows()}


def test_readyz_tells_that_the_call_log_is_away_and_that_it_is_back(on_mariadb: Service, own_mariadb: MariaDB) -> None:
    until(lambda: on_mariadb.get("/readyz").json()["call_log"]["state"] == "ok", "readyz says ok")
    own_mariadb.stop()
    on_mariadb.post("/hs/UIScom/in", '{"call_session_id": 555, "direction": "in"}')

    def ready() -> Any:
        answer = on_mariadb.get("/readyz")
        assert answer.status_code == 200
        return answer.json()

    until(lambda: ready()["call_log"]["state"] == "away", "readyz says away")
    assert ready()["waiting"] == 1
    assert ready()["waiting_since"]
    own_mariadb.start()
    until(lambda: ready()["call_log"]["state"] == "ok", "readyz says ok", 40)
    assert ready()["waiting"] == 0


def test_feed_status_is_written_soon_after_the_call_log_is_back_with_nothing_going_on(
    on_mariadb: Service, own_mariadb: MariaDB
) -> None:
    until(lambda: on_mariadb.rows(models.FeedStatus), "feed_status is written")
    own_mariadb.stop()
    until(lambda: on_mariadb.get("/readyz").json()["call_log"]["state"] == "away", "readyz says away")
    began = datetime.now(ZoneInfo("Europe/Moscow")).replace(tzinfo=None, microsecond=0)
    own_mariadb.start()
    until(lambda: on_mariadb.rows(models.FeedStatus)[0]["updated_at"] >= began, "feed_status is written", 40)
    assert on_mariadb.deliveries() == []


def test_a_service_starts_without_a_call_log_and_goes_on_by_itself_when_it_is_made(tmp_path: Path) -> None:
    with Service(tmp_path / "service") as service:
        service.start(upgrade=False)
        assert service.post("/hs/UIScom/in", '{"call_session_id": 555, "direction": "in"}').json() == {
            "status": "accepted"
        }
        until(lambda: service.get("/readyz").json()["call_log"]["state"] == "away", "readyz says away")
        assert not (service.data_dir / "calllog").exists()
        service.flask("db", "upgrade")
        assert service.call("555")["state"] == "ringing"


def test_connections_cut_in_the_middle_of_a_batch_double_nothing(on_mariadb: Service, own_mariadb: MariaDB) -> None:
    with traffic(on_mariadb, pause=0) as seen:
        for _ in range(25):
            sent(seen, 0, 3)
            for (id,) in own_mariadb.execute("SELECT id FROM information_schema.processlist WHERE user = 'calls'"):
                with contextlib.suppress(Exception):
                    own_mariadb.execute(f"KILL {id}")
    assert seen.refused == []
    whole(on_mariadb, seen)


def test_a_row_locked_by_someone_else_only_delays(on_mariadb: Service, own_mariadb: MariaDB) -> None:
    on_mariadb.post("/hs/UIScom/in", '{"call_session_id": 555, "direction": "in"}')
    on_mariadb.call("555")
    db = database.open_database(on_mariadb.database_url)
    with db.connection_context():
        db.begin()
        db.execute_sql("SELECT * FROM calls FOR UPDATE").fetchall()
        answer = on_mariadb.post("/hs/UIScom/rec", '{"call_session_id": 555, "is_lost": true}')
        assert answer.json() == {"status": "accepted"}
        assert on_mariadb.rows(Calls)[0]["state"] == "ringing"
        db.rollback()
    assert on_mariadb.call("555", 2)["state"] == "ended"


def test_a_sqlite_reader_in_mid_transaction_stops_nobody(on_sqlite: Service) -> None:
    on_sqlite.post("/hs/UIScom/in", '{"call_session_id": 555, "direction": "in"}')
    on_sqlite.call("555")
    path, _ = database.parse_url(on_sqlite.database_url)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    cursor = reader.execute("SELECT state FROM calls")
    assert cursor.fetchone() == ("ringing",)
    on_sqlite.post("/hs/UIScom/rec", '{"call_session_id": 555, "is_lost": true}')
    assert on_sqlite.call("555", 2)["state"] == "ended"
    assert reader.execute("SELECT state FROM calls").fetchone() == ("ringing",)
    reader.close()


def test_a_sqlite_writer_that_holds_the_lock_only_delays(on_sqlite: Service) -> None:
    path, _ = database.parse_url(on_sqlite.database_url)
    writer = sqlite3.connect(path, isolation_level=None)
    with traffic(on_sqlite) as seen:
        sent(seen, 0.5)
        writer.execute("BEGIN IMMEDIATE")
        sent(seen, 12)  # longer than the forwarder's own patience
        writer.execute("ROLLBACK")
        sent(seen, 0.5)
    writer.close()
    assert seen.refused == []
    assert seen.slowest < NEVER_LONGER
    whole(on_sqlite, seen)


# ------------------------------------------------------------------------------------------------- processes are killed


def test_another_worker_forwards_within_a_second_of_a_kill(on_sqlite: Service) -> None:
    first = until(on_sqlite.forwarder, "somebody forwards")
    assert first in on_sqlite.workers()
    os.kill(first, signal.SIGKILL)
    until(lambda: on_sqlite.forwarder() not in (0, first), "another forwards", 1.0)
    assert on_sqlite.post("/hs/UIScom/in", '{"call_session_id": 555, "direction": "in"}').ok
    assert on_sqlite.call("555", seconds=5)["state"] == "ringing"


def test_exactly_one_worker_forwards(on_sqlite: Service) -> None:
    until(on_sqlite.forwarder, "somebody forwards")
    holders = subprocess.run(["cat", "/proc/locks"], capture_output=True, text=True, check=True).stdout
    inode = (on_sqlite.data_dir / "inbox" / "forwarder.lock").stat().st_ino
    held = [line for line in holders.splitlines() if f":{inode} " in line and "->" not in line]
    assert len(held) == 1


@pytest.mark.parametrize("victim", ["forwarder", "another worker", "master", "all"])
def test_a_kill_under_traffic_loses_nothing_that_was_acknowledged(victim: str, on_sqlite: Service) -> None:
    with traffic(on_sqlite, pause=0) as seen:
        for _ in range(3):
            sent(seen, 0, 30)
            forwarder = until(on_sqlite.forwarder, "somebody forwards")
            if victim == "forwarder":
                os.kill(forwarder, signal.SIGKILL)
            elif victim == "another worker":
                others = [pid for pid in on_sqlite.workers() if pid != forwarder]
                os.kill(others[0], signal.SIGKILL)
            elif victim == "master":
                assert on_sqlite.process is not None
                workers = on_sqlite.workers()
                on_sqlite.process.kill()
                on_sqlite.process.wait()
                psutil.wait_procs([psutil.Process(pid) for pid in workers if psutil.pid_exists(pid)], timeout=30)
                on_sqlite.start()
            else:
                on_sqlite.kill()
                on_sqlite.start()
    assert seen.refused == []
    whole(on_sqlite, seen)


@pytest.mark.parametrize("options", [("--preload",), ("--max-requests", "50")])
def test_it_forwards_under_gunicorns_other_ways(options: tuple[str, ...], tmp_path: Path) -> None:
    with Service(tmp_path / "service") as service:
        service.start(True, *options)
        with traffic(service) as seen:
            sent(seen, 2)
        assert until(service.forwarder, "somebody forwards") in service.workers()
        assert seen.refused == []
        whole(service, seen)


def test_a_hup_and_a_term_under_traffic_lose_nothing(on_sqlite: Service) -> None:
    with traffic(on_sqlite) as seen:
        sent(seen, 0.5)
        assert on_sqlite.process is not None
        before = set(on_sqlite.workers())
        on_sqlite.process.send_signal(signal.SIGHUP)
        until(lambda: not before & set(on_sqlite.workers()), "new workers")
        until(on_sqlite.forwarder, "somebody forwards")
        sent(seen, 0.5)
        began = time.monotonic()
        on_sqlite.stop()
        assert time.monotonic() - began < 15
        on_sqlite.start()
        sent(seen, 0.5)
    assert seen.refused == []
    whole(on_sqlite, seen)


def test_the_command_line_beside_the_service_forwards_nothing_twice(on_sqlite: Service) -> None:
    with traffic(on_sqlite) as seen:
        for _ in range(3):
            said = on_sqlite.flask("forward", "--once").stdout
            assert "forwards this inbox already" in said
    whole(on_sqlite, seen)


def test_two_services_on_one_data_dir_forward_once(on_sqlite: Service, tmp_path: Path) -> None:
    """An upgrade: the old and the new release run side by side for a moment."""
    with Service(tmp_path / "new", on_sqlite.database_url, DATA_DIR=str(on_sqlite.data_dir)) as new:
        new.start()
        with traffic(on_sqlite, 2, prefix="7") as old_seen, traffic(new, 2, prefix="8") as new_seen:
            sent(old_seen, 1)
            sent(new_seen, 1)
    assert old_seen.refused == new_seen.refused == []
    whole(on_sqlite, Traffic(old_seen.accepted | new_seen.accepted))


# -------------------------------------------------------------------------------------------------- the inbox in trouble


def test_an_inbox_that_another_process_locks_too_long_is_a_503_and_then_well_again(on_sqlite: Service) -> None:
    assert on_sqlite.post("/hs/UIScom/in", '{"call_session_id": 555, "direction": "in"}').ok
    on_sqlite.settled()
    other = sqlite3.connect(on_sqlite.data_dir / "inbox" / "inbox.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = on_sqlite.post("/hs/UIScom/in", '{"call_session_id": 556, "direction": "in"}')
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["error"] == "unavailable"
    assert on_sqlite.get("/healthz").ok
    other.execute("ROLLBACK")
    other.close()
    assert on_sqlite.post("/hs/UIScom/in", '{"call_session_id": 557, "direction": "in"}').json() == {
        "status": "accepted"
    }
    assert on_sqlite.call("557")["state"] == "ringing"
    assert on_sqlite.rows(Calls, provider_call_id="556") == []


def test_a_full_disk_is_a_503_and_what_was_acknowledged_stays(small_disk: Path, tmp_path: Path) -> None:
    with Service(tmp_path / "service", f"sqlite:///{tmp_path}/calls.db", DATA_DIR=str(small_disk)) as service:
        service.data_dir = small_disk
        service.start()
        padding = "я" * 20_000
        accepted = 0
        answer = None
        for number in range(1, 500):
            answer = service.post("/hs/UIScom/in", f'{{"call_session_id": {number}, "padding": "{padding}"}}')
            if answer.status_code != 200:
                break
            accepted += 1
        assert answer is not None
        assert answer.status_code == 503
        assert answer.json()["error"] == "unavailable"
        assert service.get("/readyz").status_code == 503
        assert accepted > 10
        assert len(service.deliveries()) == accepted
        subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
        assert service.post("/hs/UIScom/in", '{"call_session_id": 1000, "direction": "in"}').json() == {
            "status": "accepted"
        }
        service.settled()
        assert {row["provider_call_id"] for row in service.rows(Calls)} == {
            *map(str, range(1, accepted + 1)),
            "1000",
        }


def test_a_read_only_disk_is_a_503(small_disk: Path, tmp_path: Path) -> None:
    with Service(tmp_path / "service", f"sqlite:///{tmp_path}/calls.db", DATA_DIR=str(small_disk)) as service:
        service.data_dir = small_disk
        service.start()
        assert service.post("/hs/UIScom/in", '{"call_session_id": 1, "direction": "in"}').ok
        service.call("1")
        service.stop()
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        service.start(upgrade=False)
        answer = service.post("/hs/UIScom/in", '{"call_session_id": 2, "direction": "in"}')
        assert answer.status_code == 503
        assert service.get("/readyz").status_code == 503
        assert service.get("/healthz").status_code == 200
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        assert service.post("/hs/UIScom/in", '{"call_session_id": 3, "direction": "in"}').ok
        service.call("3")
        assert [row["provider_call_id"] for row in service.rows(Calls)] == ["1", "3"]


def test_a_delivery_waits_in_the_inbox_while_nothing_forwards(tmp_path: Path) -> None:
    import app
    from config import FeedSettings, Settings

    feeds = {name: FeedSettings(name, open=True) for name in ("uis", "mgerm")}
    url = f"sqlite:///{tmp_path}/calls.db"
    database.upgrade(url, lambda line: None)
    client = app.create_app(Settings(data_dir=tmp_path, database_url=url, feeds=feeds)).test_client()
    assert client.post("/hs/UIScom/in", json=ring("555")).json == {"status": "accepted"}
    assert client.get("/readyz").get_json()["forwarding"] is False
    (stored,) = client.application.extensions["connector"].inbox.deliveries()
    assert stored.outcome.state == RECEIVED


def test_an_address_that_nobody_serves_is_told_in_the_same_shape(on_sqlite: Service) -> None:
    answer = requests.post(f"{on_sqlite.url}/hs/UIScom/inn", timeout=5)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "message"}
