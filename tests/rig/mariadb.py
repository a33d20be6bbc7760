"""A real MariaDB (Debian's mariadb-server) in a private directory, on a private port, ended by pid."""

import atexit
import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
from pymysql.cursors import Cursor

from tests.rig.needs import PATH
from tests.rig.service import free_port
from tests.rig.surroundings import socket_directory

PROGRAMS = {"mariadbd": "mariadb-server", "mariadb-install-db": "mariadb-server", "mariadb-dump": "mariadb-client"}


def missing() -> str | None:
    """One sentence that names the Debian package to install, None when all programs are there."""
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=PATH) is None:
            return f"{program} is not installed: install the Debian package {package}"
    return None


class MariaDB:
    """One server. `start` makes its data directory on first use."""

    def __init__(self, directory: Path, port: int | None = None, *options: str) -> None:
        self.directory = directory
        self.options = options  # of the server, beside the ones that every test needs
        self.data = directory / "data"
        self.log = directory / "mariadb.log"
        self.port = port or free_port()
        self.socket = socket_directory() / "s"
        self.password = secrets.token_hex(8)
        self.user = "root"  # that it runs as where we are root
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, *options: str) -> None:
        """Start it and wait until it answers."""
        user = [f"--user={self.user}"] if os.getuid() == 0 else []
        if user:
            for path in (self.directory, self.socket.parent):
                shutil.chown(path, self.user)
        if not self.data.exists():
            subprocess.run(
                [self._program("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}", "--skip-test-db", *user,
                 "--auth-root-authentication-method=socket", f"--auth-root-socket-user={getpass.getuser()}"],
                check=True, capture_output=True, timeout=120,
            )  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self._program("mariadbd"), "--no-defaults", f"--datadir={self.data}", *user, f"--socket={self.socket}",
                 f"--port={self.port}", "--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin",
                 "--innodb-buffer-pool-size=128M", "--innodb-flush-log-at-trx-commit=1", "--performance-schema=off",
                 *self.options, *options],
                stdout=log, stderr=log,
            )  # fmt: skip
        atexit.register(self.kill)
        deadline = time.monotonic() + 60
        while not self._listens():
            if not self.running or time.monotonic() > deadline:
                raise AssertionError(f"MariaDB does not start\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)
        self.execute("SELECT 1")

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:  # PyMySQL leaves a refused socket open
            return probe.connect_ex(str(self.socket)) == 0

    def stop(self) -> None:
        """Shut it down in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It hangs: the kernel still takes connections, nobody answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def create(self, database: str) -> str:
        """An empty database of this name; its URL, for an account that may do anything in it and nothing outside."""
        self.execute(f"DROP DATABASE IF EXISTS {database}")
        self.execute(f"CREATE DATABASE {database} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
        self.execute(f"CREATE USER IF NOT EXISTS calls@'127.0.0.1' IDENTIFIED BY '{self.password}'")
        exactly = database.replace("_", "\\_")  # a bare _ in a GRANT is any character
        self.execute(f"GRANT ALL ON `{exactly}`.* TO calls@'127.0.0.1'")
        return f"mysql://calls:{self.password}@127.0.0.1:{self.port}/{database}"

    def execute(self, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run it as root; the rows."""
        with self._connected(database) as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def keep(self, database: str) -> Callable[[], None]:
        """Keep a copy of what its tables hold now; call what is returned to put it back, in one transaction."""
        kept = f"{database}_kept"
        self.execute(f"DROP DATABASE IF EXISTS {kept}")
        self.execute(f"CREATE DATABASE {kept}")
        tables = [str(name) for (name,) in self.execute(f"SHOW TABLES IN {database}")]
        columns = {table: ", ".join(self._written(database, table)) for table in tables}
        for table in tables:
            self.execute(f"CREATE TABLE {kept}.{table} SELECT {columns[table]} FROM {database}.{table}")

        def put_back() -> None:
            with self._connected(database) as cursor:
                cursor.execute("BEGIN")
                for table in tables:
                    cursor.execute(f"DELETE FROM {table}")
                    cursor.execute(f"INSERT INTO {table} ({columns[table]}) SELECT * FROM {kept}.{table}")
                cursor.execute("COMMIT")

        return put_back

    def _written(self, database: str, table: str) -> list[str]:
        """The columns that it does not compute itself."""
        rows = self.execute(f"SHOW COLUMNS FROM {database}.{table}")
        return [f"`{name}`" for name, *_, extra in rows if "GENERATED" not in extra]

    @contextlib.contextmanager
    def _connected(self, database: str | None) -> Iterator[Cursor]:
        connection = pymysql.connect(
            unix_socket=str(self.socket), user=getpass.getuser(), database=database, autocommit=True
        )
        with contextlib.closing(connection) as db, db.cursor() as cursor:
            yield cursor

    def read_only(self, on: bool) -> None:
        """Refuse (or take again) the writes of every account but root."""
        self.execute(f"SET GLOBAL read_only = {int(on)}")

    def dump(self, database: str) -> str:
        """A backup, as docs/operations.md takes it."""
        return self._client("mariadb-dump", "--single-transaction", database)

    def load(self, database: str, dump: str) -> None:
        """Restore a backup."""
        self._client("mariadb", database, stdin=dump)

    def _client(self, program: str, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [self._program(program), "--no-defaults", f"--socket={self.socket}", f"-u{getpass.getuser()}", *arguments],
            input=stdin, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout

    @staticmethod
    def _program(name: str) -> str:
        return shutil.which(name, path=PATH) or name

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            self.process.wait(60)

    def __enter__(self) -> "MariaDB":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.socket.parent, ignore_errors=True)
