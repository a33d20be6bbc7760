"""What takes away the ground that the service stands on: its files, its clock, its disk, whoever reads its stderr."""

import contextlib
import fcntl
import os
import random
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import requests

from tests.rig.service import Service, until
from tests.torture.processes import Processes
from tests.torture.tormentor import Fault, Room, Tormentor

ELEVEN_YEARS = 11 * 365 * 86_400  # seconds: more than the run's CALLS_DAYS


class Ground(Processes):
    """Beside what Processes does; one after the other, because each wants a service that runs."""

    def faults(self) -> list[Fault]:
        here = [*super().faults(), self.ahead, self.replaced, self.log_removed, self.stalled]
        return here + [self.calls_moved] * self.service.database_url.startswith("sqlite:")

    def ahead(self) -> None:
        """the clock is years ahead, past CALLS_DAYS, and flask purge runs"""
        self.clock.set(ELEVEN_YEARS)
        self.hold(0.5, 2)
        done = self.service.flask("purge", check=False, **self.clock.environment)
        assert done.returncode, f"purge deletes by a wrong clock: {done.stdout}"
        self.hold(0, 1)
        self.clock.set(0)

    def replaced(self) -> None:
        """inbox.db is replaced by a copy"""
        inbox = self.service.data_dir / "inbox" / "inbox.db"
        with self._left_alone():
            copy = _copy_of(inbox)
            self.hold(0, 0.5)
            self._noticed(lambda: copy.replace(inbox))

    def log_removed(self) -> None:
        """inbox.db-wal is removed"""
        log = self.service.data_dir / "inbox" / "inbox.db-wal"
        with self._left_alone():
            self._noticed(log.unlink)

    def calls_moved(self) -> None:
        """calls.db is moved away, a copy takes its place, and calls go on in that"""
        path = self.service.data_dir / "calllog" / "calls.db"
        with self._left_alone():
            copy = _copy_of(path)
            self.hold(0, 1)
            for ending in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):  # nobody has it open just now
                    Path(f"{path}{ending}").rename(path.with_name(f"aside.db{ending}"))
            self.hold(0.5, 2)
            before = _last_change(copy)
            copy.rename(path)
            until(lambda: _last_change(path) > before + 20, "calls go on in the file that is there", 90)

    @contextlib.contextmanager
    def _left_alone(self) -> Iterator[None]:
        """Nobody else does anything to the files: what is saved from a file that is gone needs room, and a guest would make
        an empty one in its place."""
        with self.room.alone(), self.room.lock:
            yield

    def _noticed(self, act: Callable[[], object]) -> None:
        """The service runs on until it has saved what only the old file has: a kill before that loses it."""

        count = partial(self._metric, "connector_inbox_replaced_total")
        before = until(lambda: (count(),), "the inbox can be read", 60)[0] or 0
        act()
        until(lambda: (count() or 0) > before, "it is noticed", 60)

    def _metric(self, start: str) -> float | None:
        """The sum of the metrics that start so, None while the service cannot tell."""
        with contextlib.suppress(requests.RequestException):
            answer = requests.get(f"{self.service.url}/metrics", timeout=10)
            if answer.ok:
                return sum(map(float, re.findall(rf"(?m)^{start}.* (\S+)$", answer.text)))
        return None

    def stalled(self) -> None:
        """whoever reads stderr stalls"""
        self.service.stop()
        path = self.service.directory / "stderr"
        os.mkfifo(path)
        pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)  # soon full
        over = threading.Event()
        try:
            self.service.stderr = path
            self.start_service(LOG_LEVEL="debug")
            self.hold(2, 4)
            for _ in range(20):  # each is logged
                strange = requests.post(f"{self.service.url}/hs/UIScom/in?key=wrong", timeout=10)
                assert strange.status_code == 401, strange.text
            count = partial(self._metric, 'connector_deliveries_total{.*outcome="forwarded"')
            before = until(count, "the service can tell", 60)
            until(lambda: (count() or 0) > before + 100, "deliveries are forwarded", 90)
            reader = threading.Thread(target=_drain, args=(pipe, over))
            reader.start()
            self.service.stop()
        finally:
            over.set()
            self.service.stderr = None
            path.unlink()
        reader.join()
        os.close(pipe)
        self.start_service()


def _copy_of(database: Path) -> Path:
    """A whole copy beside it."""
    copy = database.with_name("copy.db")
    copy.unlink(missing_ok=True)
    there, new = sqlite3.connect(database, timeout=20), sqlite3.connect(copy)
    with contextlib.closing(there), contextlib.closing(new):
        there.backup(new)
        new.execute("PRAGMA journal_mode = DELETE")
    return copy


def _last_change(calls: Path) -> int:
    with contextlib.closing(sqlite3.connect(calls, timeout=20)) as db:
        return int(db.execute("SELECT coalesce(max(change_no), 0) FROM calls").fetchone()[0])


def _drain(pipe: int, over: threading.Event) -> None:
    while not over.wait(0.01):
        with contextlib.suppress(BlockingIOError):
            os.read(pipe, 1 << 20)


class Disk(Tormentor):
    """Fills the inbox's disk and holds the inbox's lock, while the service runs."""

    def __init__(self, chance: random.Random, pause: float, service: Service, room: Room) -> None:
        super().__init__(chance, pause)
        self.service, self.room, self.guest = service, room, room.guest()

    def faults(self) -> list[Fault]:
        return [self.locked, self.locked_for_long, *([self.full] if self.room.own_disk else [])]

    def full(self) -> None:
        """the inbox's disk is full"""
        with self.room.full():
            self.hold(0.5, 3)

    def locked(self) -> None:
        """another process holds the inbox's write lock"""
        self._lock(1, 3)

    def locked_for_long(self) -> None:
        """another process holds the inbox's write lock for 10 s"""
        self._lock(10, 10)

    def _lock(self, least: float, most: float) -> None:
        inbox = self.service.data_dir / "inbox" / "inbox.db"
        with (
            self.guest,
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(inbox, timeout=5)) as db,
        ):
            db.isolation_level = None
            db.execute("BEGIN IMMEDIATE")
            self.hold(least, most)
            db.execute("ROLLBACK")
