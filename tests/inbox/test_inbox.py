"""The inbox: what `put` returns from is stored whole; who arrives together shares a sync; one bad row stops no other."""

import contextlib
import os
import sqlite3
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inbox import DEAD, FORWARDED, IGNORED, RECEIVED, Inbox, Outcome, Unavailable, file, now
from inbox import writer as inbox_writer
from inbox.file import bring_up, foreign, objects
from models import Position
from schemas.reading import Delivery


def delivery(number: int, body: bytes = b"{}", feed: str = "uis", **more: object) -> Delivery:
    return Delivery(feed, "in", body, query=f"n={number}", received_at=now(), **more)  # type: ignore[arg-type]


def commits(wal: Path) -> int:
    """How many transactions the write-ahead log holds: frames whose header names a database size (SQLite file format,
    section 4.1)."""
    data = wal.read_bytes()
    (page_size,) = struct.unpack(">I", data[8:12])
    frames = range(32, len(data), 24 + page_size)
    return sum(struct.unpack(">I", data[start + 4 : start + 8])[0] != 0 for start in frames)


def test_who_arrives_together_shares_a_sync(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    inbox.probe()
    before = commits(tmp_path / "inbox" / "inbox.db-wal")
    at_once = threading.Barrier(50)

    def send(number: int) -> None:
        at_once.wait()
        inbox.put(delivery(number), Outcome())

    with ThreadPoolExecutor(50) as senders:
        list(senders.map(send, range(200)))
    assert len(inbox.deliveries(limit=1000)) == 200
    assert commits(tmp_path / "inbox" / "inbox.db-wal") - before < 100


def test_two_processes_worth_of_writers_take_turns(tmp_path: Path) -> None:
    """Two Inbox objects share nothing but the files, as two workers do."""
    one, two = Inbox(tmp_path / "inbox"), Inbox(tmp_path / "inbox")
    with ThreadPoolExecutor(16) as senders:
        list(senders.map(lambda n: (one if n % 2 else two).put(delivery(n), Outcome()), range(400)))
    assert sorted(stored.delivery.query for stored in one.deliveries(limit=1000)) == sorted(
        f"n={n}" for n in range(400)
    )
    assert one.counters()[0][:4] == ("uis", RECEIVED, "", 400)


def test_a_row_that_cannot_be_stored_stops_no_other(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    at_once = threading.Barrier(3)
    said: list[object] = []

    def send(one: Delivery) -> None:
        at_once.wait()
        try:
            inbox.put(one, Outcome())
            said.append(one.query)
        except Unavailable as error:
            said.append(str(error))

    bad = delivery(2, content_type="\ud83d")
    endless = delivery(3, declared_length=2**70)
    threads = [threading.Thread(target=send, args=(one,)) for one in (delivery(1), bad, endless)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [stored.delivery.query for stored in inbox.deliveries()] == ["n=1"]
    assert [one for one in said if str(one).startswith("n=")] == ["n=1"]  # the others are asked to come again
    assert len(said) == 3


def test_a_delivery_whose_commit_fails_is_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody beside us holds SQLite's own lock, so the failure comes in our turn."""
    monkeypatch.setattr(file, "BUSY_MS", 50)
    inbox = Inbox(tmp_path / "inbox")
    inbox.probe()
    with contextlib.closing(sqlite3.connect(inbox.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(inbox_writer, "STORED_WITHIN_SECONDS", 30)
        waiting = Inbox(tmp_path / "inbox")  # with a connection of its own, which waits for 50 ms
        with pytest.raises(Unavailable, match="locked"):
            waiting.put(delivery(1), Outcome())
        other.execute("ROLLBACK")
    assert inbox.deliveries() == []
    assert waiting.put(delivery(2), Outcome()) == 1


def test_a_purge_forgets_old_request_ids_and_attempts_and_none_of_today(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    inbox.probe()
    with inbox.file.writing() as db:
        for age in (0, 100):
            at = now() - age * 86_400_000
            db.execute("INSERT INTO placements VALUES (?, ?, 200, '{}')", (f"of {age} days", at))
            db.execute(
                "INSERT INTO attempts VALUES (NULL, ?, 'xvb', '101', '', ?, '', 'placed')", (at, f"of {age} days")
            )
    before = now() - 30 * 86_400_000
    assert inbox.past(before) == inbox.purge(before) == {FORWARDED: 0, IGNORED: 0, "placements": 1, "attempts": 1}
    assert (inbox.placement("of 0 days"), inbox.placement("of 100 days")) == ((200, "{}"), None)
    assert [tried.attempt.request_id for tried in inbox.attempts()] == ["of 0 days"]


def test_nobody_is_alone_where_another_process_uses_data_dir_however_idle(tmp_path: Path) -> None:
    one, two = Inbox(tmp_path / "inbox"), Inbox(tmp_path / "inbox")
    with two.alone() as alone:
        assert alone
    one.use()  # for life
    assert not two.is_forwarding()
    with two.alone() as alone:
        assert not alone


def test_what_is_stored_is_what_came(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    sent = Delivery("uis", "rec", b"\x00\xff{", "a=%D0", "GET", "text/plain", 7, 1_700_000_000_000, "192.0.2.1")
    inbox.put(sent, Outcome(DEAD, "not_text", "почему"))
    (stored,) = inbox.deliveries()
    assert stored.delivery == Delivery(**{**{k: getattr(sent, k) for k in Delivery.__slots__}, "id": 1})
    assert stored.outcome == Outcome(DEAD, "not_text", "почему")


def test_purge_takes_what_is_past_its_days_but_no_waiting_and_no_dead_ones(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    for number in range(8):
        inbox.put(delivery(number), Outcome())
    waiting = inbox.waiting()
    states = [FORWARDED, FORWARDED, IGNORED, DEAD]
    inbox.settle([(one, Outcome(state)) for one, state in zip(waiting, states, strict=False)])
    assert inbox.purge(now() - 60_000) == {FORWARDED: 0, IGNORED: 0}
    assert inbox.purge(now() + 1000) == {FORWARDED: 2, IGNORED: 1}
    assert inbox.purge(now() + 1000, dead=True) == {FORWARDED: 0, IGNORED: 0, DEAD: 1}
    assert len(inbox.waiting()) == 4


def test_the_inbox_directory_is_nobody_elses(tmp_path: Path) -> None:
    Inbox(tmp_path / "inbox").probe()
    assert (tmp_path / "inbox").stat().st_mode & 0o777 == 0o700


def test_facts_and_the_position_outlive_the_process(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    inbox.settle([], Position(2**40, "abc"))
    again = Inbox(tmp_path / "inbox")
    assert again.position() == Position(2**40, "abc")
    assert again.node() == inbox.node() != ""


def test_one_forwarder_at_a_time(tmp_path: Path) -> None:
    one, two = Inbox(tmp_path / "inbox"), Inbox(tmp_path / "inbox")
    assert not one.is_forwarding()
    with one.forwarding() as mine:
        assert mine
        assert two.is_forwarding()
        with two.forwarding(wait=False) as also:
            assert not also
    assert not two.is_forwarding()


def test_a_wake_reaches_whoever_waits(tmp_path: Path) -> None:
    one, two = Inbox(tmp_path / "inbox"), Inbox(tmp_path / "inbox")
    woken = threading.Event()

    def wait() -> None:
        one.wait(30)
        woken.set()

    one.wait(0)  # the pipe is there
    thread = threading.Thread(target=wait)
    thread.start()
    two.wake()
    assert woken.wait(10)
    thread.join()


def test_a_process_with_very_many_connections_is_woken_too(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    with contextlib.ExitStack() as opened:
        while opened.enter_context(open(os.devnull)).fileno() < 1200:
            pass
        inbox.wake()
        inbox.wait(60)
        began = time.monotonic()
        inbox.wait(0.05)  # the wake was taken
        assert time.monotonic() - began >= 0.05


def test_refusals_are_counted_without_waiting_for_a_delivery(tmp_path: Path) -> None:
    from tests.rig.service import until

    inbox = Inbox(tmp_path / "inbox")
    for _ in range(5):
        inbox.refuse("uis", "wrong_key", "Ключ неверный")
    counted = until(inbox.counters, "refusals are written within a second or so", 10)
    assert counted[0][:4] == ("uis", "refused", "wrong_key", 5)


@pytest.mark.parametrize("leftover", ["inbox.db-wal", "inbox.db-shm"])
def test_an_unreadable_inbox_is_unavailable_not_a_crash(tmp_path: Path, leftover: str) -> None:
    inbox = Inbox(tmp_path / "inbox")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "inbox.db").write_bytes(b"this is no database" * 1000)
    (tmp_path / "inbox" / leftover).write_bytes(b"rubbish")
    with pytest.raises(Unavailable):
        inbox.put(delivery(1), Outcome())


def test_feeds_take_turns_so_that_a_flood_of_one_delays_no_other(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    flood = [delivery(number) for number in range(1000)]
    honest = [delivery(number, b"{}", feed="mtt") for number in range(1000, 1100)]
    large = [delivery(number, b"x" * 100_000, feed="xvb") for number in range(1100, 1150)]
    for one in flood + large + honest:  # whoever floods is first in the queue
        inbox.put(one, Outcome())
    found = inbox.waiting()
    assert len(found) <= 256
    by_feed = {feed: [one.query for one in found if one.feed == feed] for feed in ("uis", "mtt", "xvb")}
    assert by_feed["mtt"] == [one.query for one in honest]  # a hundred fit into the batch, and none waits longer
    assert by_feed["uis"] == [one.query for one in flood[: len(by_feed["uis"])]]  # the oldest first
    assert 1 <= len(by_feed["xvb"]) < 10  # by bytes, not by number: large ones have no larger share
    assert [one.id for one in found] == sorted(one.id for one in found)
    inbox.settle([(one, Outcome(FORWARDED)) for one in found])
    assert {one.feed for one in inbox.waiting()} == {"uis", "xvb"}


def test_what_comes_next_is_found_by_the_index_however_much_waits(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    inbox.probe()
    with inbox.file.writing() as db:
        db.execute(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100000) INSERT INTO deliveries "
            "(feed, route, method, query, content_type, client_address, received_at, body, state) "
            "SELECT iif(n = 100000, 'mtt', 'uis'), '', '', '', '', '', n, x'', 'received' FROM n"
        )
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    inbox.file.connection().set_progress_handler(step, 100)
    assert {one.feed for one in inbox.waiting()} == {"uis", "mtt"}
    assert steps < 200  # 20,000 instructions of SQLite's: no more than a batch needs


def test_an_inbox_of_the_first_release_gets_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "inbox" / "inbox.db")) as db:
        bring_up(db, 1)
        assert foreign(db) == ""
        first = objects(db)
    inbox = Inbox(tmp_path / "inbox")
    inbox.put(delivery(1), Outcome())
    assert [one.query for one in inbox.waiting()] == ["n=1"]
    now = objects(inbox.file.connection())
    assert {name for _, name, _ in now} > {name for _, name, _ in first}
    assert foreign(inbox.file.connection()) == ""


def test_what_was_stored_wakes_the_forwarder(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    inbox.wait(0)  # the pipe is there, and nothing in it
    inbox.put(delivery(1), Outcome())
    began = time.monotonic()
    inbox.wait(30)
    assert time.monotonic() - began < 20


def test_a_batch_is_bounded_by_bytes(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")
    for number in range(5):
        inbox.put(delivery(number, b"x" * 600), Outcome())
    assert len(inbox.waiting(most_bytes=1000)) == 2
