"""gunicorn: BIND, WORKERS and THREADS from the settings; the forwarder lives in the workers, one of them at a time."""

import gc
import importlib
import sys
from pathlib import Path

HERE = str(Path(__file__).resolve().parent.parent)
sys.path.insert(0, HERE)

from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

import logs
import models
import schemas
from config import WrongSettings, load

try:
    _settings = load(schemas.zones(), models.parse_url)
except WrongSettings as error:
    sys.exit(str(error))

# the workers are forked from here: without this a HUP would run new handlers with the old schemas
for _name, _module in list(sys.modules.items()):
    _file = getattr(_module, "__file__", None) or ""
    if _file.startswith(HERE) and "site-packages" not in _file:
        del sys.modules[_name]

# loaded before the fork, the libraries are in memory once for all workers
for _name in ("flask", "playhouse.migrate", "prometheus_client", "pymysql", "requests"):
    importlib.import_module(_name)

bind = [_settings.bind]
workers = _settings.workers
threads = _settings.threads
keepalive = 30
graceful_timeout = 10
timeout = 60
control_socket_disable = True  # gunicorn >= 25.1 opens one under $HOME
logconfig_dict = logs.take_over(_settings.log_format, _settings.log_level)
chdir = HERE


class _Held:
    """A connection that keeps what is to be sent until all of it is there."""

    def __init__(self, sock):  # type: ignore[no-untyped-def]
        self._sock, self._parts = sock, []

    def sendall(self, data):  # type: ignore[no-untyped-def]
        self._parts.append(bytes(data))

    def flush(self):  # type: ignore[no-untyped-def]
        parts, self._parts = self._parts, []
        if parts:
            self._sock.sendall(b"".join(parts))

    def __getattr__(self, name):  # type: ignore[no-untyped-def]
        self.flush()  # what is done to the connection past us (sendfile) comes after it
        return getattr(self._sock, name)


class worker_class(ThreadWorker):
    """Threads: one idle sender would block a sync worker. Head and body of an answer leave in one write: nginx repeats a
    request only until it has the head, and a worker may be killed between two writes."""

    def handle_request(self, req, conn):  # type: ignore[no-untyped-def]
        sock = conn.sock
        conn.sock = held = _Held(sock)
        try:
            alive = super().handle_request(req, conn)
        finally:
            conn.sock = sock
        held.flush()
        return alive


class logger_class(Logger):
    """No access log: its lines would hold the keys, and with a logconfig gunicorn formats them even for nobody."""

    def access(self, *_):  # type: ignore[no-untyped-def]
        pass


def pre_fork(server, worker):  # type: ignore[no-untyped-def]
    gc.freeze()  # a collection in a worker writes to every object it looks at, and the shared pages are copied


def post_fork(server, worker):  # type: ignore[no-untyped-def]
    # A worker born later gets the settings that were checked at the start or the reload, not a file half edited since:
    # one that fails to boot would take the whole service down.
    worker.app.callable = worker.app.callable or importlib.import_module("app").create_app(_settings)


def post_worker_init(worker):  # type: ignore[no-untyped-def]
    worker.wsgi.extensions["connector"].forwarder.start()


def worker_exit(server, worker):  # type: ignore[no-untyped-def]
    if getattr(worker, "wsgi", None) is not None:
        worker.wsgi.extensions["connector"].forwarder.stop(5)
