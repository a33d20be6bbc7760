"""Files that are moved, removed or replaced under the running service: what was acknowledged is in the call log once, and
somebody is told. What SQLite, the backup and the restore do themselves alarms nobody."""

import gc
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from inbox import DEAD, FORWARDED, IGNORED, RECEIVED, REPLACED, Inbox, Outcome, now
from inbox.rescue import merge
from models import Calls
from schemas.reading import Delivery
from tests.rig.node import ring
from tests.rig.service import Service, until

ALARM = "under the running service"


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[Service]:
    """A service whose call log is not there yet: everything waits in the inbox."""
    with Service(tmp_path / "s") as service:
        yield service.start(upgrade=False)


def post(service: Service, numbers: range) -> set[str]:
    """Post a ringing call for each number; returns those that were acknowledged."""
    acknowledged = set()
    for number in numbers:
        answer = service.post("/hs/UIScom/in", json.dumps(ring(str(number))))
        assert answer.status_code in (200, 503), answer.text
        if answer.ok:
            acknowledged.add(str(number))
    return acknowledged


def calls(service: Service) -> dict[str, int]:
    return {row["provider_call_id"]: row["events_count"] for row in service.rows(Calls)}


def replaced(service: Service) -> int:
    return sum(row[3] for row in service.inbox.counters() if row[2] == REPLACED)


def copy_of(database: Path, target: Path) -> Path:
    with closing(sqlite3.connect(database)) as there, closing(sqlite3.connect(target)) as copy:
        there.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    return target


def remove(inbox: Path, copy: Path) -> None:
    for path in inbox.glob("inbox.db*"):
        path.unlink()


def remove_log(inbox: Path, copy: Path) -> None:
    (inbox / "inbox.db-wal").unlink()
    (inbox / "inbox.db-shm").unlink()


def remove_log_alone(inbox: Path, copy: Path) -> None:
    (inbox / "inbox.db-wal").unlink()


def remove_directory(inbox: Path, copy: Path) -> None:
    shutil.rmtree(inbox)


def move_away(inbox: Path, copy: Path) -> None:
    (inbox / "inbox.db").rename(inbox / "inbox.db.old")


def put_copy_in_place(inbox: Path, copy: Path) -> None:
    copy.rename(inbox / "inbox.db")


def put_copy_and_no_log_in_place(inbox: Path, copy: Path) -> None:
    remove(inbox, copy)
    put_copy_in_place(inbox, copy)


WAYS = [
    remove, remove_log, remove_log_alone, remove_directory, move_away, put_copy_in_place, put_copy_and_no_log_in_place,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_was_acknowledged_survives_its_file(
    waiting: Service, tmp_path: Path, way: Callable[[Path, Path], None]
) -> None:
    inbox = waiting.data_dir / "inbox"
    acknowledged = post(waiting, range(100, 110))
    copy = copy_of(inbox / "inbox.db", tmp_path / "copy.db")
    acknowledged |= post(waiting, range(110, 120))
    assert len(acknowledged) == 20
    way(inbox, copy)
    acknowledged |= post(waiting, range(120, 140))
    waiting.logs(ALARM)
    until(lambda: waiting.get("/readyz").json()["waiting"] >= len(acknowledged), "all of it waits in the new file")
    waiting.flask("db", "upgrade")
    waiting.settled()
    assert acknowledged <= set(calls(waiting))
    assert set(calls(waiting).values()) == {1}
    assert replaced(waiting) >= 1
    assert waiting.get("/readyz").ok
    assert re.search(r"(?m)^connector_inbox_replaced_total [1-9]", waiting.get("/metrics").text)

    # and it is an inbox like any other: a restart, and new deliveries
    waiting.stop()
    waiting.start(upgrade=False)
    acknowledged |= post(waiting, range(140, 145))
    waiting.settled()
    assert acknowledged <= set(calls(waiting))
    assert waiting.inbox.check() == "ok"


def test_what_was_forwarded_since_the_copy_is_saved_too_for_a_call_log_that_is_restored_later(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox")

    def forward(body: bytes) -> None:
        inbox.put(Delivery("uis", "in", body, received_at=1), Outcome())
        inbox.settle([(inbox.waiting()[0], Outcome(FORWARDED))])

    forward(b"1")
    forward(b"2")
    copy = copy_of(inbox.path, tmp_path / "copy.db")
    forward(b"3")
    copy.replace(inbox.path)
    forward(b"4")
    deliveries = [(stored.delivery.body, stored.outcome.state) for stored in inbox.deliveries()]
    assert deliveries == [(body, FORWARDED) for body in (b"4", b"3", b"2", b"1")]


def test_another_content_copied_over_the_file_is_noticed_and_what_comes_is_kept(
    waiting: Service, tmp_path: Path
) -> None:
    inbox = waiting.data_dir / "inbox"
    acknowledged = post(waiting, range(200, 205))
    copy = copy_of(inbox / "inbox.db", tmp_path / "copy.db")
    for _ in range(3):  # and some that are past what the log holds
        post(waiting, range(205, 225))
        with closing(sqlite3.connect(inbox / "inbox.db")) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(copy, inbox / "inbox.db")  # cp keeps the inode
    acknowledged |= post(waiting, range(225, 245))
    waiting.logs("was overwritten under the running service")
    waiting.flask("db", "upgrade")
    waiting.settled()
    assert acknowledged <= set(calls(waiting))
    assert replaced(waiting) >= 1
    assert waiting.inbox.check() == "ok"


def test_an_inbox_that_is_gone_at_the_start_is_told(waiting: Service) -> None:
    post(waiting, range(300, 302))
    waiting.stop()
    shutil.rmtree(waiting.data_dir / "inbox")
    waiting.start(upgrade=False)
    assert post(waiting, range(302, 303)) == {"302"}
    waiting.logs("the inbox is gone")
    assert replaced(waiting) == 1


def test_sqlites_own_doings_a_backup_and_a_restore_alarm_nobody(tmp_path: Path) -> None:
    with Service(tmp_path / "s") as service:
        service.start()
        post(service, range(400, 410))
        service.settled()
        for path in (service.data_dir / "inbox" / "inbox.db", service.data_dir / "calllog" / "calls.db"):
            with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as db:
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert post(service, range(410, 420)) == set(map(str, range(410, 420)))
        service.settled()
        service.flask("backup", str(tmp_path / "backups"))
        (backup,) = (tmp_path / "backups").iterdir()
        post(service, range(420, 425))
        service.settled()
        service.stop()
        gc.collect()  # the connections with which this test has looked
        done = service.flask("restore", str(backup), "--calls", "--inbox", "--yes")
        assert ALARM not in done.stdout + done.stderr
        service.start()
        assert post(service, range(430, 440)) == set(map(str, range(430, 440)))
        service.settled()
        assert set(calls(service)) >= {str(number) for number in (*range(400, 420), *range(430, 440))}
        service.stop()
        assert ALARM not in service.log()
        assert "the inbox is gone" not in service.log()
        assert replaced(service) == 0


# ---------------------------------------------------------------------------------------------------- the SQLite call log


def log_moved(calls_db: Path, copy: Path) -> None:
    for path in calls_db.parent.glob("calls.db*"):
        path.rename(path.with_name(f"{path.name}.aside"))


def log_removed(calls_db: Path, copy: Path) -> None:
    for path in calls_db.parent.glob("calls.db*"):
        path.unlink()


def log_replaced(calls_db: Path, copy: Path) -> None:
    log_removed(calls_db, copy)
    copy.rename(calls_db)


def log_of_it_removed(calls_db: Path, copy: Path) -> None:
    calls_db.with_name("calls.db-wal").unlink()
    calls_db.with_name("calls.db-shm").unlink()


@pytest.mark.parametrize("way", [log_moved, log_removed, log_replaced, log_of_it_removed], ids=lambda way: way.__name__)
def test_a_call_log_that_is_not_its_file_any_more_is_away_and_is_filled_again(
    tmp_path: Path, way: Callable[[Path, Path], None]
) -> None:
    with Service(tmp_path / "s") as service:
        service.start()
        calls_db = service.data_dir / "calllog" / "calls.db"
        acknowledged = post(service, range(500, 510))
        service.settled()
        copy = copy_of(calls_db, tmp_path / "copy.db")
        acknowledged |= post(service, range(510, 520))
        service.settled()
        way(calls_db, copy)
        acknowledged |= post(service, range(520, 530))
        assert len(acknowledged) == 30
        service.logs("calls.db was moved, removed or replaced")
        if not calls_db.exists():
            service.flask("db", "upgrade")
        until(lambda: acknowledged <= set(calls(service)), f"all are in the log\n{service.log()[-2000:]}", 60)
        service.settled()
        assert set(calls(service).values()) == {1}
        assert service.get("/api/changes?after=0", headers={"Authorization": "Bearer k"}).status_code in (200, 401, 403)


# ----------------------------------------------------------------------------------------------------------- what is merged


def test_of_the_old_file_everything_comes_along_that_is_nowhere_else(tmp_path: Path) -> None:
    old, new = Inbox(tmp_path / "old"), Inbox(tmp_path / "new")
    states = (Outcome(RECEIVED), Outcome(DEAD, "bad_json"), Outcome(FORWARDED), Outcome(IGNORED))
    for outcome in states:
        old.put(Delivery("uis", "in", outcome.state.encode(), received_at=now()), outcome)
    with old.file.writing() as db:
        db.execute("INSERT INTO placements VALUES ('order', ?, 200, '{}')", (now(),))
        db.execute("INSERT INTO attempts VALUES (NULL, ?, 'xvb', '101', '7', 'order', '', 'placed')", (now(),))
    new.probe()
    assert merge(old.file.connection(), new.file.connection()) == 2
    assert {stored.delivery.body for stored in new.deliveries()} == {b"received", b"dead"}
    assert new.placement("order") == (200, "{}")
    assert len(new.attempts()) == 1
    assert new.put(Delivery("uis", "in", b"next", received_at=now()), Outcome()) == 5  # no id is given again
