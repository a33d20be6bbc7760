"""A -wal that a long reader let grow is small again once the reader is gone, of the inbox and of an SQLite call log."""

import sqlite3
from contextlib import closing
from pathlib import Path

from calllog import database
from inbox import Outcome, now
from inbox.state import node_state
from schemas.reading import Delivery
from server.sqlite import WAL_LIMIT
from tests.rig.node import Node

BODY = b"x" * 60_000


def size(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


def test_the_inboxs_log_shrinks_after_a_long_reader(tmp_path: Path) -> None:
    node = Node(tmp_path, f"sqlite:///{tmp_path}/calls.db")
    inbox = node.inbox
    inbox.put(Delivery("uis", "in", BODY, received_at=now()), Outcome())
    with closing(sqlite3.connect(inbox.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM deliveries").fetchone()
        while size(inbox.path) <= 2 * WAL_LIMIT:
            inbox.put(Delivery("uis", "in", BODY, received_at=now()), Outcome())
        assert node_state(node.settings, inbox).wal_bytes["inbox"] == size(inbox.path)
        reader.execute("ROLLBACK")
    for _ in range(3):
        inbox.put(Delivery("uis", "in", BODY, received_at=now()), Outcome())
    assert size(inbox.path) <= WAL_LIMIT
    inbox.close()


def test_the_call_logs_log_shrinks_after_a_long_reader(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    url = f"sqlite:///{path}"
    database.upgrade(url, lambda line: None)
    db = database.open_database(url)
    write = "UPDATE change_counter SET incarnation = ?"
    with db.connection_context():
        db.execute_sql("CREATE TABLE much (some BLOB)")
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM calls").fetchone()
            while size(path) <= 2 * WAL_LIMIT:
                db.execute_sql("INSERT INTO much VALUES (zeroblob(1000000))")
            assert size(path) > 2 * WAL_LIMIT
            reader.execute("ROLLBACK")
        for number in range(3):
            db.execute_sql(write, (str(number),))
        assert size(path) <= WAL_LIMIT
