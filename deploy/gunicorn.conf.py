"""gunicorn: BIND, WORKERS and THREADS from the settings. WORKERS answer; one more forwards: whichever has the turn."""

import gc
import importlib
import logging
import os
import sys
from functools import partial
from pathlib import Path

HERE = str(Path(__file__).resolve().parent.parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

# A reload (HUP) reads this file again, in the process from which all workers are forked: our code is loaded anew.
for _name, _module in list(sys.modules.items()):
    _file = getattr(_module, "__file__", None) or ""
    if _file.startswith(HERE) and "site-packages" not in _file:
        del sys.modules[_name]
gc.unfreeze()  # see pre_fork: what was loaded before would stay
gc.collect()

import schemas
from app import create_app
from calllog import database
from config import WrongSettings, load
from handlers.webhook import count_malformed
from server import logs
from server.worker import Logger, Worker
from setup.doors import weak_doors

# Made before the fork: code and libraries, those too that are imported late, are in memory once for all workers.
for _name in ("playhouse.migrate", "prometheus_client", "pymysql", "requests"):
    importlib.import_module(_name)
try:
    _settings = load(schemas.zones(), database.parse_url)
    _app = create_app(_settings)
except WrongSettings as error:
    sys.exit(str(error))

bind = [_settings.bind]
workers = _settings.workers + 1
threads = _settings.threads
worker_class = Worker
logger_class = Logger
keepalive = 30
graceful_timeout = 10
timeout = 60
_memory = "/dev/shm"  # noqa: S108
if os.access(
    _memory, os.W_OK
):  # no cleaner comes there; without its directory the master could not make another worker
    worker_tmp_dir = _memory
http_parser = "python"  # server/worker.py reads request lines that the other one refuses
limit_request_line = 8190  # as nginx: a GET with values in it is long
control_socket_disable = True  # gunicorn >= 25.1 opens one under $HOME
logconfig_dict = logs.take_over(_settings.log_format, _settings.log_level)
chdir = HERE


def when_ready(server):  # type: ignore[no-untyped-def]
    for door in weak_doors(_settings):
        logging.getLogger("connector.process").warning("weak door: %s", door.sentence)


on_reload = when_ready


def nworkers_changed(server, new, old):  # type: ignore[no-untyped-def]
    if new == 1:  # by TTOU: the one that forwards takes no connections
        server.num_workers = 2


def pre_fork(server, worker):  # type: ignore[no-untyped-def]
    gc.freeze()  # a collection in a worker writes to every object it looks at, and the shared pages are copied


def post_fork(server, worker):  # type: ignore[no-untyped-def]
    # A worker born later gets the settings that were checked at the start or the reload, not a file half edited since:
    # one that fails to boot would take the whole service down.
    worker.app.callable = worker.app.callable or _app


def post_worker_init(worker):  # type: ignore[no-untyped-def]
    worker.malformed = partial(count_malformed, worker.wsgi)
    worker.wsgi.extensions["connector"].forwarder.start(worker.forwards)


def worker_exit(server, worker):  # type: ignore[no-untyped-def]
    if getattr(worker, "wsgi", None) is not None:
        worker.wsgi.extensions["connector"].forwarder.stop(5)
