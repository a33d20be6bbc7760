"""The tormentors: what is broken, how, and how it is put right again. Each fault is a method; its docstring is its name in
the report. A tormentor runs in a thread of its own, so that faults meet one another."""

import contextlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pymysql
import requests
from peewee import fn

import models
from calllog import database
from tests.rig import powercut, shim
from tests.rig.fixtures import Request, fixture_calls
from tests.rig.mariadb import MariaDB
from tests.rig.service import KEYS, Service, until
from tests.torture.stream import Journal

Fault = Callable[[], None]
CLOCKS = (0, 0, -30, 90, 3600, -7200, 20_000, -86_400)  # seconds


class Room:
    """A directory on a small disk of its own (a tmpfs), so that it can be full or read-only; needs root."""

    def __init__(self, directory: Path, megabytes: int) -> None:
        self.directory, self.megabytes = directory, megabytes
        self.own_disk = os.getuid() == 0
        self.lock = threading.Lock()  # one thing at a time is done to it
        self.guests: list[threading.Lock] = []
        directory.mkdir(parents=True, exist_ok=True)
        if self.own_disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory)], check=True)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """No byte is left."""
        filler = self.directory / "filler"
        with self.lock:
            try:
                with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
                yield
            finally:
                filler.unlink(missing_ok=True)

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing can be written, from the moment when nobody has a file open for writing any more."""
        remount = ["mount", "-o", "remount,ro", str(self.directory)]
        with self.lock:
            until(lambda: subprocess.run(remount, capture_output=True).returncode == 0, "nobody writes", 60)
            try:
                yield
            finally:
                subprocess.run(["mount", "-o", "remount,rw", str(self.directory)], check=True)

    def guest(self) -> threading.Lock:
        """Held by who has a SQLite file of it open in this process: see alone."""
        self.guests.append(threading.Lock())
        return self.guests[-1]

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No guest has a file open. A power cut ends every process of the host; one that lived on would checkpoint what
        the shim does not see, or join an old file and a new -wal (sqlite.org/howtocorrupt.html, section 2.4)."""
        with contextlib.ExitStack() as stack:
            for guest in self.guests:
                stack.enter_context(guest)
            yield

    def close(self) -> None:
        if self.own_disk:
            subprocess.run(["umount", "-l", str(self.directory)], check=True)


class Tormentor(threading.Thread):
    """Breaks one thing after another until told to stop; what it could not put right is `error`."""

    def __init__(self, chance: random.Random, pause: float) -> None:
        super().__init__(daemon=True)
        self.chance, self.pause = chance, pause
        self.tally: Counter[str] = Counter()
        self.error: BaseException | None = None
        self.over = threading.Event()

    def faults(self) -> list[Fault]:
        """What it can do here."""
        raise NotImplementedError

    def run(self) -> None:
        faults = self.faults()
        try:
            turn: list[Fault] = []
            while not self.over.wait(self.chance.uniform(0.3, 2) * self.pause):
                turn = turn or self.chance.sample(faults, len(faults))  # each once before any comes again
                fault = turn.pop()
                self.tally[(fault.__doc__ or fault.__name__).strip(" .")] += 1
                self.before()
                fault()
        except BaseException as error:
            self.error = error

    def before(self) -> None:
        """What must be whole before the next fault."""

    def hold(self, least: float, most: float) -> None:
        """Leave it broken for a while."""
        self.over.wait(self.chance.uniform(least, most))


class Processes(Tormentor):
    """Kills, stops, reloads and replaces the service. Between its faults the service runs."""

    def __init__(self, chance: random.Random, pause: float, service: Service, addresses: Path, room: Room) -> None:
        super().__init__(chance, pause)
        self.service, self.addresses, self.room = service, addresses, room
        self.power_cut, self.own_clock = (
            shim.build(source, service.directory) for source in (powercut.SOURCE, powercut.SOURCE.with_name("clock.c"))
        )
        self.clock = service.directory / "clock"
        self.shadow = service.directory / "survived"
        self.set_clock(0)

    def set_clock(self, seconds: int) -> None:
        """The service's wall clock from now on, against ours."""
        with self.clock.open("r+b" if self.clock.exists() else "w+b") as file:
            file.write(struct.pack("=q", seconds))

    def serve(self, *addresses: str) -> None:
        """Where senders find the service from now on; they read the file all the time."""
        new = self.addresses.with_suffix(".new")
        new.write_text("\n".join(addresses))
        new.replace(self.addresses)

    def start_service(self, can_be_cut: bool = False) -> None:
        """A new life, with a clock of its own; of one that can end in a power cut `shadow` holds what was synced."""
        loaded = {**shim.preload(self.own_clock), "CLOCK_OFFSET": str(self.clock)}
        if can_be_cut:
            shutil.rmtree(self.shadow, ignore_errors=True)
            self._copy(self.service.data_dir, self.shadow)
            loaded |= powercut.environment(self.power_cut, self.service.data_dir, self.shadow)
            loaded |= shim.preload(self.power_cut, self.own_clock)
        self.service.start(False, "--max-requests", "3000", "--max-requests-jitter", "1500", **loaded)
        self.serve(self.service.url)

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        """By another process: closing a copied file here would drop the locks that SQLite holds on it for this one."""
        subprocess.run(["cp", "-a", "-T", str(source), str(target)], check=True)

    def faults(self) -> list[Fault]:
        here = [
            self.worker,
            self.master,
            self.everything,
            self.term,
            self.hup,
            self.overlap,
            self.cut,
            self.jump,
            self.jump,
        ]
        if self.room.own_disk:
            here.append(self.read_only)
        return here

    def worker(self) -> None:
        """kill -9 of a worker"""
        workers = self.service.workers()
        if workers:
            with contextlib.suppress(ProcessLookupError):  # it may have reached max_requests just now
                os.kill(self.chance.choice(workers), signal.SIGKILL)

    def master(self) -> None:
        """kill -9 of the master"""
        assert self.service.process is not None
        workers = psutil.Process(self.service.process.pid).children()
        self.service.process.kill()
        self.service.process.wait()
        _, alive = psutil.wait_procs(workers, timeout=60)  # they notice that they are orphans
        assert not alive, "workers outlive their master"
        self.start_service()

    def everything(self) -> None:
        """kill -9 of the whole service"""
        self.service.kill()
        self.hold(0, 1)
        self.start_service()

    def term(self) -> None:
        """SIGTERM and restart"""
        self.service.stop()
        self.start_service()

    def hup(self) -> None:
        """HUP in mid-traffic"""
        assert self.service.process is not None
        before = set(self.service.workers())
        self.service.process.send_signal(signal.SIGHUP)
        until(lambda: (now := set(self.service.workers())) and not now & before, "HUP replaces the workers", 60)

    def overlap(self) -> None:
        """upgrade: two releases on one DATA_DIR, then the new one, and back"""
        other = Service(self.service.directory / "other", self.service.database_url)
        other.data_dir = self.service.data_dir
        other.environment |= {
            "DATA_DIR": str(other.data_dir),
            "SETTLE_SECONDS": self.service.environment["SETTLE_SECONDS"],
        }
        with other:
            other.start(upgrade=False)
            self.serve(self.service.url, other.url)
            self.hold(1, 3)
            self.service.stop()
            self.serve(other.url)
            self.hold(1, 3)
            self.start_service()
            self.serve(self.service.url, other.url)
            self.hold(0, 1)
            other.stop()
        self.serve(self.service.url)

    def cut(self) -> None:
        """power cut: of DATA_DIR only what was synced is left"""
        self.service.stop()
        with self.room.alone():
            with self.room.lock:
                self.start_service(can_be_cut=True)
            self.hold(2, 6)
            self.service.kill()
            with self.room.lock:
                shutil.rmtree(self.service.data_dir)
                self._copy(self.shadow, self.service.data_dir)
        self.start_service()

    def read_only(self) -> None:
        """the inbox's directory is read-only"""
        self.service.kill()
        with self.room.read_only():
            self.service.start(upgrade=False)
            assert requests.get(f"{self.service.url}/readyz", timeout=30).status_code == 503
            self.hold(0.5, 2)
            self.service.kill()
        self.start_service()

    def jump(self) -> None:
        """the clock is set back or forward"""
        self.set_clock(self.chance.choice(CLOCKS))


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


class Clients(Tormentor):
    """Senders that are slow, cut a body short or vanish. What a slow one sends whole is in its journal."""

    def __init__(self, chance: random.Random, pause: float, addresses: Path, journal: Path) -> None:
        super().__init__(chance, pause)
        self.addresses, self.journal = addresses, Journal(journal)
        self.calls = fixture_calls()
        self.numbers = iter(range(10**9))
        self.cut_bodies = 0

    def faults(self) -> list[Fault]:
        return [self.slow, self.half_sent, self.reset, self.idle]

    def _request(self) -> Request:
        return self.chance.choice(self.calls).another(f"{self.chance.getrandbits(64):x}").requests[0]

    def _connect(self) -> socket.socket:
        host, _, port = self.chance.choice(self.addresses.read_text().split()).rpartition(":")
        return socket.create_connection((host.removeprefix("http://"), int(port)), timeout=40)

    @staticmethod
    def _bytes(request: Request) -> tuple[bytes, bytes]:
        target = f"{request.target}{'&' if '?' in request.target else '?'}key={quote(KEYS[request.feed])}"
        lines = [f"{request.method} {target} HTTP/1.1", "Host: x", f"Content-Length: {len(request.body)}"]
        lines += [f"{name}: {value}" for name, value in request.headers]
        return ("\r\n".join([*lines, "Connection: close", "", ""])).encode(), request.body

    def slow(self) -> None:
        """a slow sender"""
        request, number = self._request(), next(self.numbers)
        head, body = self._bytes(request)
        self.journal.write("sent", number, request.feed, request.event().event_key, "accepted")
        status, word = 0, "broken"
        with contextlib.suppress(OSError), self._connect() as connection:
            whole = head + body
            for at in range(0, len(whole), len(whole) // 8 + 1):
                connection.sendall(whole[at : at + len(whole) // 8 + 1])
                self.hold(0.1, 0.8)
            answer = b""
            while more := connection.recv(65536):
                answer += more
            if answer:
                status, word = (
                    int(answer.split(b" ", 2)[1]),
                    "accepted" if b'"accepted"' in answer else answer[-99:].decode(errors="replace"),
                )
        self.journal.write("answer", number, status, word)

    def half_sent(self) -> None:
        """a half-sent request"""
        self._cut(linger=False)

    def reset(self) -> None:
        """a connection reset in mid-request"""
        self._cut(linger=True)

    def _cut(self, linger: bool) -> None:
        head, body = self._bytes(next(request for request in iter(self._request, None) if request.body))
        self.cut_bodies += 1
        with contextlib.suppress(OSError), self._connect() as connection:
            if linger:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(head + body[: self.chance.randrange(len(body))])
            self.hold(0, 1)

    def idle(self) -> None:
        """twenty connections that say nothing"""
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for _ in range(20):
                stack.enter_context(self._connect())
            self.hold(1, 5)


class MysqlLog(Tormentor):
    """Breaks the call log on MariaDB."""

    def __init__(self, chance: random.Random, pause: float, server: MariaDB, database: str, room: Room) -> None:
        super().__init__(chance, pause)
        self.server, self.database, self.room = server, database, room
        self.backup = server.dump(database)

    def faults(self) -> list[Fault]:
        here = [self.stop, self.kill, self.pause_, self.hang, self.cut, self.cut, self.deadlock, self.deadlock,
                self.lock_wait, self.read_only, self.password, self.restore]  # fmt: skip
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

    def _connections(self) -> list[int]:
        query = "SELECT id FROM information_schema.processlist WHERE user = 'calls'"
        return [id for (id,) in self.server.execute(query)]

    def cut(self) -> None:
        """connections are cut in mid-transaction"""
        for _ in range(20):
            for id in self._connections():
                with contextlib.suppress(pymysql.MySQLError):
                    self.server.execute(f"KILL {id}")
            self.hold(0.05, 0.2)

    def _rival(self) -> Any:
        return pymysql.connect(unix_socket=str(self.server.socket), user="root", database=self.database)

    def deadlock(self) -> None:
        """a rival's locks in the opposite order"""
        with (
            contextlib.suppress(pymysql.MySQLError),
            contextlib.closing(self._rival()) as rival,
            rival.cursor() as cursor,
        ):
            for _ in range(8):
                with contextlib.suppress(pymysql.MySQLError):
                    cursor.execute("SELECT max(change_no) FROM change_counter FOR UPDATE")
                    self.hold(0.05, 0.2)
                    cursor.execute("UPDATE calls SET id = id ORDER BY id DESC LIMIT 100")
                rival.rollback()

    def lock_wait(self) -> None:
        """a lock held longer than the time-out"""
        with (
            contextlib.suppress(pymysql.MySQLError),
            contextlib.closing(self._rival()) as rival,
            rival.cursor() as cursor,
        ):
            cursor.execute("SELECT change_no FROM change_counter FOR UPDATE")
            self.hold(11, 13)

    def read_only(self) -> None:
        """MariaDB is read-only"""
        self.server.read_only(True)
        self.hold(0.5, 3)
        self.server.read_only(False)

    def password(self) -> None:
        """the account's password is another one"""
        self.server.execute("ALTER USER calls@'127.0.0.1' IDENTIFIED BY 'another'")
        for id in self._connections():
            with contextlib.suppress(pymysql.MySQLError):
                self.server.execute(f"KILL {id}")
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
        for id in self._connections():
            with contextlib.suppress(pymysql.MySQLError):
                self.server.execute(f"KILL {id}")
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
