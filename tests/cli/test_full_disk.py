"""The commands that a sysadmin is sent to when the disk is full, with no byte left on it: inbox and call log on SQLite are
on it, the service runs or is stopped."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from config import Settings
from inbox import RECEIVED, now, reserve
from inbox.clock import DAY
from models import Calls
from tests.rig.fixtures import ZONE
from tests.rig.node import end
from tests.rig.service import Service, until

PERSON = "79201119613"
CALLS = 15


class Full(Service):
    """A service whose DATA_DIR is a small disk."""

    def __init__(self, disk: Path, directory: Path) -> None:
        super().__init__(directory / "service", f"sqlite:///{disk}/calllog/calls.db", DATA_DIR=str(disk))
        self.data_dir, self.filler, self.reserve = disk, disk / "filler", disk / "inbox" / reserve.NAME
        self.copy_code(directory / "code", {"inbox/watch.py": ("LOOK_EVERY = 60.0", "LOOK_EVERY = 0.2")})

    def fill(self) -> None:
        """The disk to its last byte."""
        with suppress(OSError), self.filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with suppress(OSError), self.filler.open("ab", buffering=0) as file:
            while True:
                file.write(b"x")
        assert shutil.disk_usage(self.data_dir).free == 0


@pytest.fixture(params=["running", "stopped"])
def full(request: pytest.FixtureRequest, small_disk: Path, tmp_path: Path) -> Iterator[Full]:
    """Its calls are a hundred days old."""
    old = datetime.now(ZONE) - timedelta(days=100)
    with Full(small_disk, tmp_path) as service:
        service.start()
        until(service.reserve.exists, "the reserve is made")
        for number in range(CALLS):
            sent = {**end(str(100 + number)), "start_time": f"{old:%Y-%m-%d %H:%M:%S}"}
            assert service.post("/hs/UIScom/rec", json.dumps(sent)).ok
        service.settled()
        with closing(sqlite3.connect(small_disk / "inbox" / "inbox.db")) as db, db:
            db.execute("UPDATE deliveries SET received_at = ?", (now() - 100 * DAY,))
        with closing(sqlite3.connect(small_disk / "calllog" / "calls.db")) as db, db:
            db.execute("UPDATE calls SET last_event_at = ?", (f"{old:%Y-%m-%d %H:%M:%S}",))
        if request.param == "stopped":
            service.stop()
        service.fill()
        yield service


def test_purge_makes_room(full: Full) -> None:
    done = full.flask("purge", INBOX_DAYS="30", CALLS_DAYS="30")
    assert f"inbox: {CALLS} forwarded" in done.stdout
    assert f"call log: {CALLS} calls deleted" in done.stdout
    assert "the reserve of 768 KiB is given up" in done.stderr
    assert full.deliveries() == []
    assert full.rows(Calls) == []
    if full.process is not None:  # and the service takes what comes again
        assert full.post("/hs/UIScom/rec", json.dumps(end("900"))).ok
        full.call("900")
        full.filler.unlink()
        until(full.reserve.exists, "the reserve is made anew")


def test_forget_and_replay_work(full: Full) -> None:
    replayed = full.flask("inbox", "replay", "--status", "forwarded")
    assert f"{CALLS} deliveries wait to be understood again" in replayed.stdout
    if full.process is None:
        assert len(full.deliveries(state=RECEIVED)) == CALLS
    assert f"{CALLS} calls" in full.flask("forget", PERSON, "--yes").stdout
    assert full.rows(Calls) == []
    assert full.deliveries() == []


def test_a_backup_to_another_disk_works(full: Full, tmp_path: Path) -> None:
    made = full.flask("backup", str(tmp_path / "copies"))
    assert f"{CALLS} calls" in made.stdout
    assert f"{CALLS} deliveries" in made.stdout
    assert reserve.NAME not in [path.name for path in (tmp_path / "copies").rglob("*")]


@pytest.mark.parametrize(
    "command", [("purge",), ("forget", PERSON, "--yes"), ("inbox", "replay", "--status", "forwarded"), ("backup", "x")]
)
def test_without_a_reserve_it_is_a_sentence(full: Full, command: tuple[str, ...], tmp_path: Path) -> None:
    full.reserve.unlink()
    full.filler.unlink()
    full.fill()
    arguments = [
        argument.replace("x", str(tmp_path / "copies")) if argument == "x" else argument for argument in command
    ]
    done = full.flask(*arguments, check=False, INBOX_DAYS="30", CALLS_DAYS="30")
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or len(done.stderr.replace("replaying\n", "").strip().splitlines()) == 1, done.stderr


def test_a_reserve_takes_no_room_that_is_needed_and_goes_only_when_there_is_less(small_disk: Path) -> None:
    settings = Settings(data_dir=small_disk, database_url=f"sqlite:///{small_disk}/calllog/calls.db")
    (small_disk / "inbox").mkdir()
    (small_disk / "calllog").mkdir()
    kept, size = small_disk / "inbox" / reserve.NAME, 3 * 2**20 // reserve.SHARE
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - size - size // 2))
    reserve.keep(settings)
    assert not kept.exists()
    filler.unlink()
    reserve.keep(settings)
    assert kept.stat().st_size == size
    assert reserve.give_up(settings) == 0
    assert kept.exists()
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - size // 2))
    assert reserve.give_up(settings) == size
    assert not kept.exists()
