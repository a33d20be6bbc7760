"""The inbox's file: its tables, connections and locks, and how its processes wake one another.

SQLite in WAL mode. The workers take turns by a blocking flock, because SQLite's own busy handler sleeps and starves.
Nothing is taken for granted of the file: before every use, and after every commit that somebody is told of, it is compared
with the one that was opened (rescue.py).
"""

import contextlib
import fcntl
import logging
import os
import secrets
import select
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from inbox.rescue import overwritten, rescue
from server.sqlite import WAL_LIMIT, Connection, identity, transaction, truncate_log

log = logging.getLogger("connector.inbox")

BUSY_MS = 5000

# What makes the file of each PRAGMA user_version out of the one before. Additive, because two releases may run on one
# DATA_DIR during an upgrade; a released step never changes, because a restore compares a backup's file with it.
STEPS = (
    """
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    feed TEXT NOT NULL,
    route TEXT NOT NULL,
    method TEXT NOT NULL,
    query TEXT NOT NULL,
    content_type TEXT NOT NULL,
    declared_length INTEGER,
    client_address TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    body BLOB NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    event_key TEXT NOT NULL DEFAULT '',
    settled_at INTEGER
);
CREATE INDEX IF NOT EXISTS deliveries_received ON deliveries (id) WHERE state = 'received';
CREATE INDEX IF NOT EXISTS deliveries_dead ON deliveries (feed, reason) WHERE state = 'dead';
CREATE INDEX IF NOT EXISTS deliveries_event_key ON deliveries (event_key) WHERE event_key <> '';
CREATE TABLE IF NOT EXISTS counters (
    feed TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    total INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    last_message TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (feed, outcome, reason)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS placements (
    request_id TEXT PRIMARY KEY,
    placed_at INTEGER NOT NULL,
    status INTEGER,
    answer TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
""",
    # the forwarder takes feeds in turn
    """
CREATE INDEX IF NOT EXISTS deliveries_turn ON deliveries (feed) WHERE state = 'received';
""",
    # an account of click to call; beside placements, into which the release before writes every column by position
    """
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY,
    tried_at INTEGER NOT NULL,
    provider TEXT NOT NULL,
    ext TEXT NOT NULL,
    number TEXT NOT NULL,
    request_id TEXT NOT NULL,
    client_address TEXT NOT NULL,
    outcome TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS attempts_tried ON attempts (tried_at);
""",
    # by which key it came
    """
ALTER TABLE deliveries ADD COLUMN key_hash TEXT NOT NULL DEFAULT '';
""",
)
USER_VERSION = len(STEPS)
COUNT = """
INSERT INTO counters (feed, outcome, reason, total, last_at, last_message) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (feed, outcome, reason) DO UPDATE SET total = total + excluded.total,
    last_at = max(last_at, excluded.last_at), last_message = excluded.last_message
"""
TROUBLE = "trouble"  # a counter's outcome, of no feed: what the forwarder or the inbox had to mend or to try again
# What nginx closed or could not accept (cli/nginx.py) is counted as refused, of this feed.
NGINX, TOO_MANY_CONNECTIONS, NO_CONNECTIONS_LEFT = "nginx", "too_many_connections", "no_connections_left"
LATE_CHANGE = "late_change"  # a trouble that is none: a call that had long ended was changed
REPLACED = "inbox_replaced"  # the trouble of an inbox.db that was moved, removed or replaced


class InboxFile:
    """The inbox's file in `directory`. Safe for any number of threads and processes; opened lazily and anew after a
    fork."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "inbox.db"
        self._made = directory.with_suffix(".made")  # outside of it: that there was an inbox
        self._local = threading.local()
        self._wake = (0, -1)  # (process, file descriptor)
        self._forwarder_lock = -1

    # ------------------------------------------------------------------------------------------------ facts

    def fact(self, name: str) -> str:
        """A remembered fact, "" if there is none."""
        row = self.connection().execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return row[0] if row else ""

    def remember(self, **facts: str) -> None:
        """Remember facts; not synced."""
        with self.writing() as db:
            for name, value in facts.items():
                remember(db, name, value)

    def node(self) -> str:
        """This node's name: the host's, and four digits drawn once for this DATA_DIR."""
        return self.fact("node")

    # ------------------------------------------------------------------------------------- between processes

    def wake(self) -> None:
        """Tell the forwarder, in whatever process it is, that something waits."""
        with contextlib.suppress(OSError):  # a full pipe wakes it already; a lost wake costs a second
            os.write(self._wake_pipe(), b"!")

    def wait(self, seconds: float) -> None:
        """Until `wake` was called in any process, or the seconds have passed."""
        fd = self._wake_pipe()
        poll = select.poll()  # select() takes no descriptor beyond 1,023
        poll.register(fd, select.POLLIN)
        if poll.poll(seconds * 1000):
            with contextlib.suppress(BlockingIOError):
                os.read(fd, 65536)

    def _wake_pipe(self) -> int:
        """A FIFO: unlike a socket it has no path limit and outlives its reader."""
        pid, fd = self._wake
        if pid != os.getpid():
            self._make_directory()
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self.directory / "wake", 0o600)
            fd = os.open(self.directory / "wake", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            self._wake = (os.getpid(), fd)
        return fd

    @contextlib.contextmanager
    def forwarding(self, wait: bool = True) -> Iterator[bool]:
        """Be the one forwarder of this DATA_DIR: True once it is our turn (the kernel passes it on when a process
        dies), False at once with `wait` off and another at work."""
        self._make_directory()
        with open(self.directory / "forwarder.lock", "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                self._forwarder_lock = lock.fileno()
                yield True

    def has_turn(self) -> bool:
        """Within `forwarding`: whether the file that we have locked is still the one that others would lock."""
        try:
            ours, theirs = os.fstat(self._forwarder_lock), os.stat(self.directory / "forwarder.lock")
        except FileNotFoundError:
            return False
        return os.path.samestat(ours, theirs)

    def use(self) -> None:
        """Mark DATA_DIR as used by this process for as long as it lives; waits while a restore replaces its files."""
        self._make_directory()
        used = os.open(self.directory / "use.lock", os.O_RDONLY | os.O_CREAT, 0o600)  # a read-only disk will do
        fcntl.flock(used, fcntl.LOCK_SH)

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """False when another process uses DATA_DIR, busy or idle; True: none does, and none can until the block ends."""
        self._make_directory()
        with open(self.directory / "use.lock", "a") as used, self.forwarding(wait=False) as mine:
            try:
                fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                mine = False
            yield mine

    def is_forwarding(self) -> bool:
        """Whether any process of this host forwards this inbox. Writes nothing; takes the lock shared, so that two callers
        do not take each other for a forwarder."""
        try:
            with open(self.directory / "forwarder.lock", "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    @contextlib.contextmanager
    def writing(self, synchronous: str = "NORMAL") -> Iterator[sqlite3.Connection]:
        """A transaction of this thread, when it is its turn."""
        db = self.connection(synchronous)  # before the turn: making a connection takes one too
        with self.turn():
            with transaction(db):
                yield db
            if synchronous == "FULL":
                self.ensure_same(db)

    @contextlib.contextmanager
    def _turn_and_connection(self) -> Iterator[sqlite3.Connection]:
        db = self.connection("FULL")
        with self.turn():
            yield db

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """One writer at a time: a blocking flock wakes its next holder at once."""
        self._make_directory()
        # not open(), which asks the kernel four things
        lock = os.open(self.directory / "turn.lock", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    # ------------------------------------------------------------------------------------------- connections

    def connection(self, synchronous: str = "NORMAL") -> Connection:
        """This thread's connection."""
        known: Connection | None = self._local.db if getattr(self._local, "pid", 0) == os.getpid() else None
        if known is None or identity(self.path) != known.identity:
            with self.turn():
                self._local.db = self.reconnect(known) if known is not None else self.connect("NORMAL")
            self._local.pid = os.getpid()
        db: Connection = self._local.db
        db.execute(f"PRAGMA synchronous = {synchronous}")
        return db

    def ensure_same(self, db: Connection) -> None:
        """Raises OSError when the file is not the one that `db` has just written to: nothing of that may be acknowledged,
        though the next use of the inbox saves it."""
        if identity(self.path) != db.identity:
            raise OSError("inbox.db was moved, removed or replaced meanwhile")

    def reconnect(self, old: Connection, acknowledged: int = 0, synchronous: str = "NORMAL") -> Connection:
        """A connection in place of one whose file is gone, or was overwritten with what ends before the delivery
        `acknowledged`; what the old one holds is saved first. Call it in `turn`."""

        def connect() -> Connection:
            return self.connect("FULL")

        if acknowledged:
            done = overwritten(self.path, old, acknowledged, connect)
        else:
            done = rescue(self.path, old, connect)
        self._wake = (0, -1)  # the directory's other files may have gone with it
        db = self.connect(synchronous)
        if done:
            log.error(done)
            db.execute(COUNT, ("", TROUBLE, REPLACED, 1, time.time_ns() // 1_000_000, done))
        old.close()
        return db

    def connect(self, synchronous: str) -> Connection:
        """A connection to the inbox, which is made if it is not there. Call it in `turn`."""
        self._make_directory()
        lost = self.was_made() and not self.path.exists()
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, factory=Connection)
        db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        db.execute("PRAGMA cache_size = -512")  # KiB, not 2,000: writes go to the end, and there are many connections
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        db.execute("PRAGMA secure_delete = ON")  # what is forgotten leaves no bytes behind, nor do its earlier states
        db.execute("PRAGMA synchronous = FULL")
        if db.execute("PRAGMA user_version").fetchone()[0] < USER_VERSION:
            bring_up(db)
            node = f"{socket.gethostname()[:58]}-{secrets.token_hex(2)}"
            db.execute("INSERT OR IGNORE INTO facts VALUES ('node', ?)", (node,))
            db.execute("INSERT OR IGNORE INTO facts VALUES ('page_secret', ?)", (secrets.token_hex(16),))
        if lost:
            done = (
                f"the inbox is gone (there was one by {self._made}): a new one was made, what waited in the old is lost"
            )
            log.error(done)
            db.execute(COUNT, ("", TROUBLE, REPLACED, 1, time.time_ns() // 1_000_000, done))
        elif not self.was_made():
            with contextlib.suppress(OSError):  # a disk that cannot be written to is told by whoever has to
                self._made.touch(0o600)
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.identity = identity(self.path)
        return db

    def made_at(self) -> int:
        """About when this DATA_DIR got its first inbox (milliseconds since 1970 UTC), 0 where nobody has noted it."""
        try:
            return self._made.stat().st_mtime_ns // 1_000_000
        except OSError:
            return 0

    def was_made(self) -> bool:
        """Whether this DATA_DIR ever had an inbox."""
        return self._made.exists()

    def close(self) -> None:
        """Let go of this thread's connection."""
        if getattr(self._local, "pid", 0) == os.getpid():
            self._local.db.close()
            self._local.pid = 0

    def _make_directory(self) -> None:
        if not self.directory.is_dir():
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def check(self) -> str:
        """SQLite's own word on the file: "ok", or what is wrong with it."""
        return str(self.connection().execute("PRAGMA quick_check").fetchone()[0])

    def truncate_log(self) -> bool:
        """Bring all that was written into inbox.db itself and empty its -wal; False while a reader is in the way."""
        with self._turn_and_connection() as db:
            return truncate_log(db.execute)

    def rewrite(self) -> bool:
        """Write inbox.db anew, without what its pages hold beside rows; the others wait for their turn meanwhile. False
        while a reader keeps the old bytes."""
        with self._turn_and_connection() as db:
            db.execute("VACUUM")
            return truncate_log(db.execute)


def bring_up(db: sqlite3.Connection, version: int = USER_VERSION) -> None:
    """Make the tables and indexes of this user_version, whatever is missing of them."""
    present = db.execute("PRAGMA user_version").fetchone()[0]
    for number, step in enumerate(STEPS[present:version], present + 1):
        db.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; COMMIT")


def objects(db: sqlite3.Connection) -> set[tuple[str, str, str]]:
    """(type, name, statement) of all that is made in a database, but for what SQLite makes by itself."""
    rows = db.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master")
    return {row for row in rows if row[2] and row[1] not in ("sqlite_sequence", "sqlite_stat1", "sqlite_stat4")}


def foreign(db: sqlite3.Connection) -> str:
    """Why a file is no inbox of any of our releases, "" where it is one: exactly the tables and indexes of its
    user_version, and nothing that acts by itself (a trigger, a view)."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if not 1 <= version <= USER_VERSION:
        return f"its user_version is {version}, this release knows 1 to {USER_VERSION}"
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as ours:
        bring_up(ours, version)
        wanted, there = objects(ours), objects(db)
    if more := sorted(there - wanted):
        return f"it has what no release of ours makes: {', '.join(f'{type} {name}' for type, name, _ in more)}"
    if less := sorted(wanted - there):
        return f"it lacks {', '.join(f'{type} {name}' for type, name, _ in less)}"
    return ""


def remember(db: sqlite3.Connection, name: str, value: str) -> None:
    """Remember a fact in the transaction that the connection is in."""
    db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
