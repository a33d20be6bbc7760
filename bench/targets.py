"""The targets of the benchmark: each started anew in a directory of its own, on a port and a unix socket, ended by pid."""

import ast
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from tests.rig.mariadb import MariaDB
from tests.rig.needs import PATH
from tests.rig.service import ROOT, UIS_KEY, Service, free_port, until

WORKERS, THREADS = 2, 32
AWAY = "mysql://x:y@127.0.0.1:1/none"  # a call log that refuses every connection: the forwarder waits
GUNICORN = ("keepalive", "graceful_timeout", "timeout", "control_socket_disable")
QUERY = f"/hs/UIScom/rec?key={UIS_KEY}"


@dataclass(frozen=True, slots=True)
class Running:
    """A target that answers."""

    pid: int
    port: int
    socket: Path
    service: Service | None = None  # the connector's, to look into its inbox

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{QUERY}"

    def pss(self) -> float:
        """The memory of all its processes in MiB, shared pages counted by share (PSS)."""
        first = psutil.Process(self.pid)
        return sum(float(p.memory_full_info().pss) for p in (first, *first.children(recursive=True))) / 2**20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a target is started: an empty directory on a real disk, a database server, additions to its environment."""

    directory: Path
    mariadb: MariaDB
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the comparison."""

    name: str
    kind: str  # empty | connector | peer
    database: str  # "" | sqlite | mariadb
    start: Callable[[Place], Running]

    @contextmanager
    def running(self, place: Place) -> Iterator[Running]:
        """Start it, wait until it answers; killed, and its directory deleted, when the block ends."""
        place.directory.mkdir(parents=True)
        running = None
        try:
            running = self.start(place)
            yield running
        finally:
            if running is not None:
                kill_group(running.pid)
            shutil.rmtree(place.directory, ignore_errors=True)


def kill_group(pid: int) -> None:
    """End a process that we started as the leader of its group, and all of the group."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def database_url(place: Place, database: str) -> str:
    """An empty database of the target's own."""
    return place.mariadb.create("bench") if database == "mariadb" else f"sqlite:///{place.directory}/calls.db"


# ---------------------------------------------------------------------------------------------------------- the connector


def connector(database: str) -> Callable[[Place], Running]:
    """This service. `database`: sqlite, mariadb, or away (it accepts, and its forwarder waits)."""

    def start(place: Place) -> Running:
        url = AWAY if database == "away" else database_url(place, database)
        service = Service(place.directory, url, WORKERS=str(WORKERS), THREADS=str(THREADS), PYTHONWARNINGS="")
        path = place.directory / "s"
        # its own environment only for the service: `pbx-connector db upgrade` need not be slow
        if database != "away":
            service.flask("db", "upgrade")
        try:
            service.start(False, "-b", f"127.0.0.1:{service.port}", "-b", f"unix:{path}", **place.environment)
        except BaseException:
            service.kill()
            raise
        assert service.process is not None
        return Running(service.process.pid, service.port, path, service)

    return start


# ------------------------------------------------------------------------------------------------------------- the others


def gunicorn_settings() -> str:
    """deploy/gunicorn.conf.py's literal settings, as the text of a configuration without the connector."""
    said = {}
    for node in ast.parse((ROOT / "deploy" / "gunicorn.conf.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in GUNICORN:
            said[node.targets[0].id] = ast.literal_eval(node.value)
    missing = set(GUNICORN) - set(said)
    if missing:
        raise RuntimeError(f"deploy/gunicorn.conf.py does not set {', '.join(sorted(missing))}")
    said |= {"worker_class": "gthread", "workers": WORKERS, "threads": THREADS}
    return "".join(f"{name} = {value!r}\n" for name, value in said.items())


def _popen(place: Place, arguments: list[str], port: int, environment: dict[str, str]) -> Running:
    log_path = place.directory / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**os.environ, "UIS_KEY": UIS_KEY, **environment, **place.environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{arguments} ended with {process.returncode}\n{log_path.read_text(errors='replace')}")
        with suppress(requests.RequestException):
            return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).ok
        return False

    try:
        until(answers, f"{arguments[0]} answers")
    except BaseException:
        kill_group(process.pid)
        raise
    return Running(process.pid, port, place.directory / "s")


def gunicorn(place: Place, app: str, **environment: str) -> Running:
    """Another application under the connector's gunicorn settings."""
    settings = place.directory / "gunicorn.conf.py"
    settings.write_text(gunicorn_settings())
    port = free_port()
    listen = ["-b", f"127.0.0.1:{port}", "-b", f"unix:{place.directory}/s"]
    return _popen(place, ["gunicorn", "-c", str(settings), *listen, app], port, environment)


def empty(place: Place) -> Running:
    """The empty route."""
    return gunicorn(place, "bench.empty:app")


def _create(*arguments: str, **environment: str) -> None:
    subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env={**os.environ, **environment}, check=True)


def plain(database: str, wal: bool = True) -> Callable[[Place], Running]:
    """Flask + marshmallow + peewee; on SQLite in WAL with FULL, or as SQLite is by default."""

    def start(place: Place) -> Running:
        environment = {"PEER_DATABASE_URL": database_url(place, database)}
        if wal and database == "sqlite":
            environment["PEER_WAL"] = "1"
        _create("bench.plain", **environment)
        return gunicorn(place, "bench.plain:app", **environment)

    return start


def fastapi(database: str) -> Callable[[Place], Running]:
    """FastAPI + uvicorn + SQLAlchemy, as many workers."""

    def start(place: Place) -> Running:
        environment = {"PEER_DATABASE_URL": database_url(place, database)}
        _create("bench.fastapi_peer", "create", **environment)
        port = free_port()
        serve = ["bench.fastapi_peer", "serve", str(port), f"{place.directory}/s", str(WORKERS)]
        return _popen(place, serve, port, environment)

    return start


EMPTY = Target("empty Flask route", "empty", "", empty)
ACCEPTING = Target("connector, call log away", "connector", "away", connector("away"))
CONNECTORS = (
    Target("connector, SQLite", "connector", "sqlite", connector("sqlite")),
    Target("connector, MariaDB", "connector", "mariadb", connector("mariadb")),
)
PLAIN = (
    Target("plain Flask, SQLite WAL+FULL", "peer", "sqlite", plain("sqlite")),
    Target("plain Flask, SQLite defaults", "peer", "sqlite", plain("sqlite", wal=False)),
    Target("plain Flask, MariaDB", "peer", "mariadb", plain("mariadb")),
)
FASTAPI = (
    Target("FastAPI, SQLite WAL+FULL", "peer", "sqlite", fastapi("sqlite")),
    Target("FastAPI, MariaDB", "peer", "mariadb", fastapi("mariadb")),
)
PEERS = (*PLAIN, *FASTAPI)


# ------------------------------------------------------------------------------------------------------------------ nginx

NGINX = """
daemon off;
master_process on;
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000;
    upstream target {{ server unix:{socket}; keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://target;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""


@contextmanager
def nginx(directory: Path, behind: Path) -> Iterator[str]:
    """nginx before a unix socket; the address that wrk posts to."""
    directory.mkdir(parents=True)
    port = free_port()
    user = "user root;" if os.getuid() == 0 else ""
    settings = directory / "nginx.conf"
    settings.write_text(NGINX.format(user=user, directory=directory, socket=behind, port=port))
    program = shutil.which("nginx", path=PATH) or "nginx"
    process = subprocess.Popen(
        [program, "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(settings)], start_new_session=True
    )
    try:
        until(lambda: _ok(f"http://127.0.0.1:{port}/healthz"), "nginx answers")
        yield f"http://127.0.0.1:{port}{QUERY}"
    finally:
        kill_group(process.pid)
        shutil.rmtree(directory, ignore_errors=True)


def _ok(url: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(url, timeout=5).ok
    return False
