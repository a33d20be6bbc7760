"""gunicorn: BIND, WORKERS and THREADS from the settings; the forwarder lives in the workers, one of them at a time."""

import gc
import importlib
import sys
from pathlib import Path

HERE = str(Path(__file__).resolve().parent.parent)
sys.path.insert(0, HERE)

from gunicorn.glogging import Logger

import logs
import models
import schemas
from config import WrongSettings, load
from worker import Worker

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
worker_class = Worker
keepalive = 30
graceful_timeout = 10
timeout = 60
control_socket_disable = True  # gunicorn >= 25.1 opens one under $HOME
logconfig_dict = logs.take_over(_settings.log_format, _settings.log_level)
chdir = HERE


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
