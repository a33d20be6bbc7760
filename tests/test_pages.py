"""Every loop that goes through pages, at a page and one more: what comes after the first page is not forgotten.

The pages are made small where the code has a name for their size. tests/test_crash_points.py does the same for forget,
purge and mending.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from calllog import database, overdue
from inbox import DEAD, FORWARDED, IGNORED, RECEIVED, UNKNOWN_FEED, Outcome, deliveries, now, writer
from inbox.judge import DAY
from models import Calls
from schemas.reading import Delivery
from tests.rig.node import Node, end, ring, rows
from upkeep import rebuild, transfer


@pytest.fixture
def node(tmp_path: Path) -> Node:
    url = f"sqlite:///{tmp_path}/calls.db"
    database.upgrade(url, lambda line: None)
    return Node(tmp_path / "node", url)


def shrink(monkeypatch: pytest.MonkeyPatch, module: object, **sizes: int) -> None:
    for name, size in sizes.items():
        assert getattr(module, name) > size
        monkeypatch.setattr(module, name, size)


def many(node: Node, count: int, state: str = RECEIVED, reason: str = "") -> None:
    """So many deliveries of a call each, in one transaction."""
    node.inbox.probe()
    with node.inbox.file.writing() as db:
        db.executemany(
            "INSERT INTO deliveries (feed, route, method, query, content_type, client_address, received_at, body, state, "
            "reason) VALUES ('uis', 'in', 'POST', '', '', '', ?, ?, ?, ?)",
            [(now(), b'{"call_session_id": %d, "direction": "in"}' % number, state, reason)
             for number in range(1, count + 1)],
        )  # fmt: skip


def states(node: Node) -> dict[str, int]:
    with closing(sqlite3.connect(node.inbox.path)) as db:
        return dict(db.execute("SELECT state, count(*) FROM deliveries GROUP BY state"))


def test_a_batch_and_one_more_are_forwarded(node: Node) -> None:
    many(node, 257)
    assert node.forwarder.step().forwarded == 256
    assert node.forward().forwarded == 1
    many(node, 257)
    assert node.forward().forwarded == 257  # until nothing waits
    assert len(node.rows()) == 257


def test_a_group_and_one_more_are_stored_with_the_next_commit(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, writer, GROUP=3)
    node.inbox.probe()
    with node.inbox.file.turn():
        tickets = [node.inbox.begin(Delivery("uis", "in", b"%d" % number), Outcome()) for number in range(8)]
    for ticket in tickets:
        ticket.wait()
    assert [ticket.id for ticket in tickets] == list(range(1, 9))
    assert [stored.delivery.body for stored in node.inbox.deliveries()] == [
        b"%d" % number for number in range(7, -1, -1)
    ]


def test_all_of_a_feed_are_streamed_and_all_of_everything_are_paged(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(node, 201)
    assert len({stored.delivery.id for stored in node.inbox.stream("uis", 0)}) == 201
    shrink(monkeypatch, deliveries, PAGE=67)
    assert [len(page) for page in node.inbox.pages()] == [67, 67, 67]
    many(node, 1)
    assert sum(len(page) for page in node.inbox.pages()) == 202


def test_all_dead_letters_of_a_feed_that_is_known_now_are_taken_up(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, deliveries, BITE=3)
    many(node, 7, DEAD, UNKNOWN_FEED)
    assert node.inbox.take_up(["uis"]) == 7
    assert states(node) == {RECEIVED: 7}


def test_a_purge_takes_every_bite_of_every_state(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, deliveries, BITE=3)
    for state in (FORWARDED, IGNORED, DEAD, RECEIVED):
        many(node, 7, state)
    assert node.inbox.purge(now() + 1000, dead=True) == {FORWARDED: 7, IGNORED: 7, DEAD: 7}
    assert states(node) == {RECEIVED: 7}


def test_more_than_five_hundred_are_replayed(node: Node) -> None:
    many(node, 501, FORWARDED)
    assert node.inbox.replay(list(range(1, 502))) == 501


def test_every_call_whose_end_never_came_is_ended(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, overdue, PAGE=2, MOST=3)
    for number in range(1, 8):
        node.deliver("in", now() - 2 * DAY, **ring(str(number)))
    node.forward()
    assert [row["state"] for row in node.rows()] == ["ended"] * 7


def test_every_call_is_rebuilt(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, rebuild, BATCH=2)
    for number in range(1, 6):
        node.deliver("rec", **end(str(number)))
    node.forward()
    db = database.open_database(node.settings.database_url)
    with db.connection_context():
        Calls.update(line_number="?").execute(db)
        found = list(rebuild.rebuild(db, node.inbox, node.settings, since=None, feed=None, dry_run=False))
    assert [count for count, _ in found] == [2, 2, 1]
    assert {row["line_number"] for row in node.rows()} == {"74951234567"}


def test_every_row_is_copied(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, transfer, ROWS=2)
    for number in range(1, 6):
        node.deliver("rec", **end(str(number)))
    node.forward()
    target = f"sqlite:///{tmp_path}/copy.db"
    list(transfer.copy(node.settings.database_url, target, False, lambda line: None))
    assert rows(target, Calls) == node.rows()
