"""The service as it runs in production: real gunicorn on a private port and DATA_DIR, ended by pid."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import psutil
import requests

import models
import schemas
from calllog import database
from inbox import Inbox, Stored
from tests.rig import openapi, surroundings

ROOT = surroundings.ROOT
KEYS = {feed: f"test-{feed}-key" for feed in schemas.feeds()}  # of whatever feeds there are
UIS_KEY, MGERM_KEY, HOOKTYPE_KEY, MTT_KEY, XVB_KEY = (KEYS[feed] for feed in ("uis", "mgerm", "hooktype", "mtt", "xvb"))


RECORDING_HOSTS = ("example", "example.com", "example.ru", "pbx", "vpbx18-dev", "localhost")  # of the tests' links
PORTS = range(15_000, 32_000)  # below those that the kernel gives to outgoing connections
WARNINGS = "error,ignore:unclosed database:ResourceWarning"
_reserved: list[socket.socket] = []


def free_port() -> int:
    """A loopback port that nobody listens on, and that no other process of the tests gets as long as this one lives."""
    while True:
        port = random.choice(PORTS)
        mark = socket.socket(type=socket.SOCK_DGRAM)  # the UDP port of that number is the reservation
        try:
            mark.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
            continue
        _reserved.append(mark)
        return port


def until(true: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """The first true value of `true`, asked every 20 ms; fails, naming `what`, when it never comes."""
    deadline = time.monotonic() + seconds
    while True:
        value = true()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Service:
    """One connector node. `settings` are environment variables beside the ones that every test needs."""

    def __init__(self, directory: Path, database_url: str = "", **settings: str) -> None:
        self.directory = directory
        self.root = surroundings.code()  # the code that runs; see copy_code
        self.data_dir = directory / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database_url = database_url or f"sqlite:///{self.data_dir}/calllog/calls.db"
        self.log_path = directory / "service.log"
        self.stderr: Path | None = None  # where it logs to instead of log_path
        self.process: subprocess.Popen[bytes] | None = None
        self.settings = {
            "BIND": f"127.0.0.1:{self.port}",
            "PUBLIC_URL": self.url,
            "DATA_DIR": str(self.data_dir),
            "DATABASE_URL": self.database_url,
            "WORKERS": "2",
            "THREADS": "8",
            "CONTACT_QUESTIONS_MINUTE": "100000",
            **{f"{feed.upper()}_RECORDING_HOSTS": ", ".join(RECORDING_HOSTS) for feed in schemas.feeds()},
            **{f"{feed.upper()}_KEY": key for feed, key in KEYS.items()},
            "TIMEZONE": "Europe/Moscow",
            **settings,
        }
        self.environment = {**surroundings.environment(), "PYTHONWARNINGS": WARNINGS, **self.settings}
        directory.mkdir(parents=True, exist_ok=True)

    # -- running

    def flask(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """`pbx-connector <arguments>` beside the service, with its settings."""
        done = subprocess.run(
            [sys.executable, str(self.root), *arguments],
            cwd=self.directory,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start(self, upgrade: bool = True, *options: str, **environment: str) -> "Service":
        """Create the tables unless told not to, start gunicorn and wait until it answers."""
        if upgrade and self.root == surroundings.code():
            database.upgrade(self.database_url, lambda line: None)
        elif upgrade:
            self.flask("db", "upgrade")
        with (self.stderr or self.log_path).open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", *options, "wsgi:app"],
                cwd=self.root,
                env={**self.environment, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, f"the service answers\n{self.log()}")
        return self

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"gunicorn ended with {self.process.returncode}\n{self.log()}")
        try:
            return requests.get(f"{self.url}/healthz", timeout=5).ok
        except requests.RequestException:
            return False

    def copy_code(self, target: Path, edits: dict[str, tuple[str, str]]) -> None:
        """Run a copy of the code with some text replaced: what a test must show red when it is broken."""
        surroundings.copy_code(target)
        for name, (old, new) in edits.items():
            text = (target / name).read_text()
            assert old in text
            (target / name).write_text(text.replace(old, new))
        self.root = target

    def workers(self) -> list[int]:
        """The pids of the workers: WORKERS that answer, and the one that forwards."""
        assert self.process is not None
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def answering(self) -> list[int]:
        """The pids of the workers that do not forward, once one does."""
        forwarder = until(self.forwarder, "somebody forwards")
        return [pid for pid in self.workers() if pid != forwarder]

    def forwarder(self) -> int:
        """The pid of the worker that forwards: the one that holds forwarder.lock."""
        inode = (self.data_dir / "inbox" / "forwarder.lock").stat().st_ino
        held = re.findall(r"FLOCK\s+ADVISORY\s+WRITE (\d+) \S+:(\d+) ", Path("/proc/locks").read_text())
        return next((int(pid) for pid, locked in held if int(locked) == inode), 0)

    def kill(self) -> None:
        """kill -9 of the whole service."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """SIGTERM, as systemd does it."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"gunicorn did not stop in 30 s\n{self.log()}") from None
            self.process = None

    def log(self) -> str:
        """All that it has logged."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def logs(self, text: str) -> None:
        """Wait until the log has this text: lines are written by a thread of their own."""
        until(lambda: text in self.log(), f"the log has {text!r}\n{self.log()[-3000:]}")

    # -- talking

    def post(self, path: str, body: bytes | str, key: str | None = UIS_KEY, **options: Any) -> requests.Response:
        """POST the raw body."""
        data = body.encode() if isinstance(body, str) else body
        query = f"?key={key}" if key is not None else ""
        return self._checked(requests.post(f"{self.url}{path}{query}", data=data, timeout=30, **options))

    def get(self, path: str, key: str | None = None, **options: Any) -> requests.Response:
        """GET a path."""
        query = f"?key={key}" if key is not None else ""
        return self._checked(requests.get(f"{self.url}{path}{query}", timeout=30, **options))

    def _checked(self, answer: requests.Response) -> requests.Response:
        """Every answer that a test meets is one that docs/openapi.yaml promises, unless the code was broken on purpose."""
        return openapi.check(answer) if self.root == surroundings.code() else answer

    # -- looking

    def rows(self, table: type[models.Table], **where: Any) -> list[dict[str, Any]]:
        """Rows of the call log as 1C would see them, by id."""
        db = database.open_database(self.database_url)
        with db.connection_context():
            query = table.select().order_by(table.id)
            for name, value in where.items():
                query = query.where(getattr(table, name) == value)
            return list(query.dicts().execute(db))

    def call(self, provider_call_id: str, events: int = 1, seconds: float = 30) -> dict[str, Any]:
        """The call's row, once it has so many events."""

        def found() -> Any:
            rows = self.rows(models.Calls, provider_call_id=provider_call_id)
            return rows[0] if rows and rows[0]["events_count"] >= events else None

        row: dict[str, Any] = until(found, f"call {provider_call_id} with {events} events", seconds)
        return row

    @property
    def inbox(self) -> Inbox:
        """The service's inbox, opened beside it."""
        return Inbox(self.data_dir / "inbox")

    def deliveries(self, **where: Any) -> list[Stored]:
        """Stored deliveries, the oldest first."""
        return self.inbox.deliveries(limit=1_000_000, **where)[::-1]

    def settled(self, seconds: float = 60) -> None:
        """Wait until nothing waits to be forwarded."""
        box = self.inbox
        until(lambda: box.backlog()[0] == 0, f"nothing waits\n{self.log()[-3000:]}", seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def running(directory: Path, database_url: str = "", **settings: str) -> Iterator[Service]:
    """A started service, for a fixture's `yield from`."""
    with Service(directory, database_url, **settings) as service:
        yield service.start()
