"""What breaks the call log, on MariaDB and on SQLite, and the reader that follows it meanwhile."""

import contextlib
import random
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql
from peewee import fn
from pymysql.cursors import Cursor

import models
from calllog import database
from tests.rig.mariadb import MariaDB
from tests.rig.service import until
from tests.torture.senders import Poison
from tests.torture.tormentor import Fault, Room, Tormentor


class MysqlLog(Tormentor):
    """Breaks the call log on MariaDB."""

    def __init__(
        self, chance: random.Random, pause: float, server: MariaDB, database: str, room: Room, poison: Poison
    ) -> None:
        super().__init__(chance, pause)
        self.server, self.database, self.room, self.poison = server, database, room, poison
        self.backup = server.dump(database)

    def faults(self) -> list[Fault]:
        here = [self.stop, self.kill, self.pause_, self.hang, self.cut, self.cut, self.deadlock, self.deadlock,
                self.lock_wait, self.row, self.packet, self.read_only, self.password, self.restore]  # fmt: skip
        return [*here, *([self.full] if self.room.own_disk else [])]

    def stop(self) -> None:
        """MariaDB is stopped"""
        self.server.stop()
        self.hold(0.5, 3)
        self.server.start()

    def kill(self) -> None:
        """kill -9 of MariaDB"""
        self.server.kill()
        self.hold(0, 2)
        self.server.start()

    def pause_(self) -> None:
        """MariaDB hangs for a moment"""
        self._pause(0.5, 3)

    def hang(self) -> None:
        """MariaDB hangs for 20 s"""
        self._pause(20, 20)

    def _pause(self, least: float, most: float) -> None:
        self.server.pause()
        try:
            self.hold(least, most)
        finally:
            self.server.resume()

    def cut(self) -> None:
        """connections are cut in mid-transaction"""
        for _ in range(20):
            self._kill_connections()
            self.hold(0.05, 0.2)

    def _kill_connections(self) -> None:
        for (id,) in self.server.execute("SELECT id FROM information_schema.processlist WHERE user = 'calls'"):
            with contextlib.suppress(pymysql.MySQLError):
                self.server.execute(f"KILL {id}")

    @contextlib.contextmanager
    def _rival(self) -> Iterator[Cursor]:
        """Of a connection beside the service's; what the server refuses it is no fault of ours."""
        with contextlib.suppress(pymysql.MySQLError):
            rival = pymysql.connect(unix_socket=str(self.server.socket), user="root", database=self.database)
            with contextlib.closing(rival), rival.cursor() as cursor:
                yield cursor

    def _go_on(self, but: Sequence[int] = ()) -> None:
        """Until calls that are none of these change in the log; to be called while something is broken."""
        select = "SELECT {} FROM calls WHERE id NOT IN (0{})".format("{}", "".join(f", {id}" for id in but))
        (before,), *_ = self.server.execute(select.format("coalesce(max(change_no), 0)"), self.database)
        changed = select.format("count(*)") + f" AND change_no > {before}"
        until(lambda: self.server.execute(changed, self.database)[0][0] > 20, "the calls of others go on", 90)

    def deadlock(self) -> None:
        """a rival's locks in the opposite order"""
        with self._rival() as cursor:
            for _ in range(8):
                with contextlib.suppress(pymysql.MySQLError):
                    cursor.execute("SELECT max(change_no) FROM change_counter FOR UPDATE")
                    self.hold(0.05, 0.2)
                    cursor.execute("UPDATE calls SET id = id ORDER BY id DESC LIMIT 100")
                cursor.execute("ROLLBACK")

    def lock_wait(self) -> None:
        """a lock held longer than the time-out"""
        with self._rival() as cursor:
            cursor.execute("SELECT change_no FROM change_counter FOR UPDATE")
            self.hold(11, 13)

    def row(self) -> None:
        """the rows of some calls are locked, and those of others go on"""
        with self._rival() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.execute("SELECT id FROM calls ORDER BY id DESC LIMIT 5")
            calls = [id for (id,) in cursor.fetchall()]
            cursor.execute(f"SELECT id FROM calls WHERE id IN ({', '.join(map(str, calls))}) FOR UPDATE")
            self.hold(2, 5)
            self._go_on(but=calls)

    def packet(self) -> None:
        """packets are too small for a batch and for a delivery, and others go on"""
        (usual,), *_ = self.server.execute("SELECT @@GLOBAL.max_allowed_packet")
        self.server.execute("SET GLOBAL max_allowed_packet = 16384")
        self._kill_connections()
        self.poison.send(posts=1)
        self.server.pause()  # what comes now is one batch
        try:
            self.hold(1, 2)
        finally:
            self.server.resume()
        self._go_on()
        self.hold(1, 2)
        self.server.execute(f"SET GLOBAL max_allowed_packet = {usual}")
        self._kill_connections()

    def read_only(self) -> None:
        """MariaDB is read-only"""
        self.server.read_only(True)
        self.hold(0.5, 3)
        self.server.read_only(False)

    def password(self) -> None:
        """the account's password is another one"""
        self.server.execute("ALTER USER calls@'127.0.0.1' IDENTIFIED BY 'another'")
        self._kill_connections()
        self.hold(0.5, 3)
        self.server.execute(f"ALTER USER calls@'127.0.0.1' IDENTIFIED BY '{self.server.password}'")

    def full(self) -> None:
        """MariaDB's disk is full"""
        with self.room.full():
            self.hold(1, 4)
        with contextlib.suppress(pymysql.MySQLError):
            self.server.execute("SELECT 1")

    def before(self) -> None:
        """A MariaDB that died of its full disk, at once or a little later, is started again."""
        if not self.server.running:
            self.server.start()

    def restore(self) -> None:
        """the call log is restored from an old backup"""
        newer = self.server.dump(self.database)
        self._load_backup()
        self.backup = newer

    def _load_backup(self) -> None:
        """As docs/operations.md tells."""
        self.server.execute("ALTER USER calls@'127.0.0.1' ACCOUNT LOCK")
        self._kill_connections()
        self.server.load(self.database, self.backup)
        self.server.execute("ALTER USER calls@'127.0.0.1' ACCOUNT UNLOCK")

    def attend(self, message: str) -> None:
        """What the service says of the call log, to its administrator: InnoDB may lose an index when its disk is full
        (error 1034, on every statement from then on); the last backup is loaded, and the service fills it up."""
        if "(1034," in message:
            self.tally["an index lost by MariaDB with its disk full: the backup is loaded"] += 1
            self._load_backup()


class SqliteLog(Tormentor):
    """Sits in the way of the call log on SQLite."""

    def __init__(self, chance: random.Random, pause: float, path: Path, room: Room) -> None:
        super().__init__(chance, pause)
        self.path, self.guest = path, room.guest()

    def faults(self) -> list[Fault]:
        return [self.reader, self.cursor, self.writer]

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with (
            self.guest,
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(self.path, timeout=20)) as db,
        ):
            db.isolation_level = None
            yield db

    def reader(self) -> None:
        """a reader in the middle of a long transaction"""
        with self._open() as db:
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM calls").fetchone()
            self.hold(1, 12)
            db.execute("SELECT max(change_no) FROM calls").fetchone()
            db.execute("ROLLBACK")

    def cursor(self) -> None:
        """a cursor that is read half"""
        with self._open() as db:
            rows = db.execute("SELECT * FROM calls ORDER BY change_no")
            rows.fetchone()
            self.hold(1, 12)
            rows.fetchmany(1000)

    def writer(self) -> None:
        """a writer that holds the lock"""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            self.hold(1, 15)
            db.execute("ROLLBACK")


class Reader(threading.Thread):
    """1C: follows change_no all the while by the query of docs/contract.md section 3, whatever becomes of the call log."""

    def __init__(self, url: str, guest: contextlib.AbstractContextManager[Any] | None = None) -> None:
        super().__init__(daemon=True)
        self.url, self.position, self.guest = url, 0, guest or contextlib.nullcontext()
        self.copy: dict[tuple[str, str], Any] = {}
        self.over = threading.Event()
        self.errors = 0

    def run(self) -> None:
        while not self.over.wait(0.2):
            try:
                self.poll()
            except Exception:  # whatever the driver says while the call log is away: 1C tries again
                self.errors += 1

    def poll(self) -> None:
        """Read on to the end."""
        db = database.open_database(self.url)
        with self.guest, db.connection_context():
            while (last := models.Calls.select(fn.MAX(models.Calls.change_no)).scalar(db) or 0) > self.position:
                span = (models.Calls.change_no > self.position) & (models.Calls.change_no <= self.position + 5000)
                rows = list(models.Calls.select().where(span).order_by(models.Calls.change_no).dicts().execute(db))
                for row in rows:
                    assert row["change_no"] > self.position
                    self.copy[row["provider"], row["provider_call_id"]] = row
                    self.position = row["change_no"]
                if not rows and self.position + 5000 <= last:
                    self.position += 5000  # all of these numbers have moved on
