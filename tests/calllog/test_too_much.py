"""A call, a batch or a delivery that is too much: it stops nobody; what is beyond the bounds is dead with its reason."""

import json
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from calllog import bounds, database, restored, withdrawal
from calllog.batch import TooMuch, wall
from calllog.statements import insert
from config import FeedSettings
from inbox import DEAD, FORWARDED
from models import CallEvents, Calls, ChangeCounter, columns
from schemas.event import NOTE, CallEvent, Recording
from schemas.reading import sha256
from tests.rig.mariadb import MariaDB
from tests.rig.node import Node, end, ring
from tests.rig.service import Service, until

LINKS = [f"https://app.uiscom.ru/system/media/talk/{number}/{'0' * 400}/" for number in range(30)]


def fill(url: str, calls: int, events: int) -> None:
    """Calls of so many events with 30 recordings each, as a release before the bounds let them into the call log."""
    db = database.open_database(url)
    zone = FeedSettings("uis").timezone
    recordings = tuple(Recording("leg", sha256(link), link) for link in LINKS)
    with db.connection_context(), database.transaction(db):
        for call in range(1, calls + 1):
            event = CallEvent(
                "uis", "uis", str(call), NOTE, "", 1_709_276_400_000, direction="in", recordings=recordings
            )
            row = (call, call, "uis", str(call), "in", "ended", events)
            names = ("id", "change_no", "provider", "provider_call_id", "direction", "state", "events_count")
            insert(db, Calls, names, [row])
            rows = []
            for number in range(events):
                one = event._replace(event_key=sha256(f"{call} {number}"))
                id = call * 10_000 + number
                at = wall(one.received_at, zone)
                rows.append((id, call, one.event_key, "uis", NOTE, None, at, "", "before", one.to_payload()))
            insert(db, CallEvents, columns(CallEvents), rows)
        ChangeCounter.update(change_no=calls, last_id=10_000_000).execute(db)


@pytest.mark.long
def test_calls_too_big_to_be_read_at_once_kill_no_forwarder_and_stop_nobody(database_url: str, tmp_path: Path) -> None:
    """150 MB of payloads in forty calls, one more delivery for each, and 150 MB of memory to understand them in."""
    with Service(tmp_path / "service", database_url) as service:
        service.start()
        fill(database_url, 40, 260)
        pid = until(service.forwarder, "somebody forwards")
        used = next(int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                    if line.startswith("VmData")) * 1024  # fmt: skip
        limit = used + 150 * 2**20
        resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit))
        for call in range(1, 41):
            service.post("/hs/UIScom/rec", json.dumps(end(str(call))))
            service.post("/hs/UIScom/in", json.dumps(ring(str(1000 + call))))
        service.settled(120)
        for call in range(1001, 1041):
            assert service.call(str(call))["state"] == "ringing"
        assert {stored.outcome.reason for stored in service.deliveries(state=DEAD)} == {"call_too_large"}
        assert service.forwarder() == pid
        assert "MemoryError" not in service.log()


def test_what_is_beyond_a_calls_bounds_is_dead_with_its_reason(database_url: str, tmp_path: Path) -> None:
    database.upgrade(database_url, lambda line: None)
    node = Node(tmp_path / "node", database_url)
    links = iter(range(1_000_000))

    def recordings() -> list[str]:
        return [f"https://app.uiscom.ru/r/{next(links)}" for _ in range(30)]

    for number in range(8):  # 240 recordings
        node.deliver("rec", received_at=2_000_000_000_000 + number, **ring("1", record_file_links=recordings()))
    for number in range(bounds.MOST_PARTIES + 10):
        node.deliver("in", **ring("2", extension_phone_number=str(10_000 + number)))
    for number in range(300):  # of 8 KB each
        text = {f"key_{part}": f"{number} {'я' * 1000}" for part in range(7)}
        node.deliver("in", **ring("3", **text))
    node.deliver("in", **ring("4"))
    node.forward()
    dead: dict[str, int] = {}
    for stored in node.inbox.deliveries(state=DEAD, limit=-1):
        dead[stored.outcome.reason] = dead.get(stored.outcome.reason, 0) + 1
        assert "похоже, в шаблоне" in stored.outcome.detail
    assert dead["too_many_recordings"] == 2
    assert dead["too_many_legs"] == 10
    assert 0 < dead["call_too_large"] < 100
    counts = {row["provider_call_id"]: row["events_count"] for row in node.rows()}
    assert counts == {"1": 6, "2": bounds.MOST_PARTIES, "3": 300 - dead["call_too_large"], "4": 1}
    node.forwarder.close()


@pytest.fixture(scope="module")
def small_packets(tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB) -> Iterator[MariaDB]:
    """A server that takes no statement of more than 16 KiB."""
    with MariaDB(tmp_path_factory.mktemp("packets"), None, "--max-allowed-packet=16384") as server:
        yield server


def test_a_batch_larger_than_a_packet_is_written_and_a_delivery_larger_than_one_stops_nobody(
    small_packets: MariaDB, tmp_path: Path
) -> None:
    with Service(tmp_path / "service", small_packets.create("packets")) as service:
        service.start()
        small_packets.pause()  # what comes now is one batch
        try:
            for call in range(1, 101):
                service.post("/hs/UIScom/in", json.dumps(ring(str(call), scenario_name="я" * 200)))
                service.post("/hs/UIScom/rec", json.dumps(end(str(call), **{f"key_{n}": "я" * 90 for n in range(5)})))
            links = [f"https://app.uiscom.ru/r/{number}/{'0' * 900}" for number in range(30)]
            service.post("/hs/UIScom/rec", json.dumps(ring("666", record_file_links=links)))
        finally:
            small_packets.resume()
        service.settled()
        (dead,) = service.deliveries(state=DEAD)
        assert (dead.outcome.reason, "max_allowed_packet" in dead.outcome.detail) == ("indigestible", True)
        rows: list[dict[str, Any]] = service.rows(Calls)
        assert [row["provider_call_id"] for row in rows] == [str(call) for call in range(1, 101)]
        assert {(row["state"], row["events_count"]) for row in rows} == {("ended", 2)}
        assert len(service.deliveries(state=FORWARDED)) == 200


def test_a_restored_call_log_behind_small_packets_is_asked_for_its_keys_in_pieces(
    small_packets: MariaDB, tmp_path: Path
):
    url = small_packets.create("packets")
    database.upgrade(url, lambda line: None)
    node = Node(tmp_path / "node", url)
    for call in range(50):
        node.deliver("in", **ring(str(call)))
    node.forward()
    there, keys = [row["event_key"] for row in node.rows(CallEvents)], [sha256(f"{number}") for number in range(950)]
    db = database.open_database(url)
    with db.connection_context():
        assert restored.missing(db, there + keys) == set(keys)
        with pytest.raises(TooMuch):  # and is tried again with half of them
            withdrawal.events_of(db, there + keys, node.inbox.node())
        assert withdrawal.events_of(db, there, node.inbox.node()).keys() == set(there)
    node.forwarder.close()


def test_many_rows_of_one_batch_fit_into_sqlites_statements(tmp_path: Path) -> None:
    """The oldest SQLite that Python brings along takes 32,766 values."""
    path = tmp_path / "calls.db"
    database.upgrade(f"sqlite:///{path}", lambda line: None)
    node = Node(tmp_path / "node", f"sqlite:///{path}")
    for call in range(1, 71):
        for part in range(2):
            links = [f"https://app.uiscom.ru/r/{call}/{part}/{number}" for number in range(30)]
            node.deliver("rec", **ring(str(call), record_file_links=links, call_records=links))
    db = node.forwarder._call_log.database()
    db.connection().setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)
    assert node.forward().forwarded == 140
    node.forwarder.close()


def test_a_call_log_whose_timezone_was_changed_ends_no_open_call(database_url: str, tmp_path: Path) -> None:
    """The rows' wall clock is that of the TIMEZONE before; an event received a minute ago is a minute old."""
    from zoneinfo import ZoneInfo

    database.upgrade(database_url, lambda line: None)
    moscow = Node(tmp_path / "node", database_url)
    moscow.deliver("in", **ring("1"))
    moscow.forward()
    moscow.forwarder.close()
    vladivostok = Node(tmp_path / "node", database_url, timezone=ZoneInfo("Asia/Vladivostok"))
    vladivostok.forward()
    assert [row["state"] for row in vladivostok.rows()] == ["ringing"]
    vladivostok.forwarder.close()
