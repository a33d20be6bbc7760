"""gunicorn: BIND, WORKERS and THREADS from the settings; the forwarder lives in the workers, one of them at a time."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gunicorn.glogging import Logger

import logs
import models
import schemas
from config import WrongSettings, load

try:
    _settings = load(schemas.zones(), models.parse_url)
except WrongSettings as error:
    sys.exit(str(error))

bind = [_settings.bind]
workers = _settings.workers
worker_class = "gthread"  # one idle sender would block a sync worker
threads = _settings.threads
keepalive = 30
graceful_timeout = 10
timeout = 60
control_socket_disable = True  # gunicorn >= 25.1 opens one under $HOME
logconfig_dict = logs.dict_config(_settings.log_format, _settings.log_level)
chdir = str(Path(__file__).resolve().parent.parent)


class logger_class(Logger):
    """No access log: its lines would hold the keys, and with a logconfig gunicorn formats them even for nobody."""

    def access(self, *_):  # type: ignore[no-untyped-def]
        pass


def post_worker_init(worker):  # type: ignore[no-untyped-def]
    worker.wsgi.extensions["connector"].forwarder.start()


def worker_exit(server, worker):  # type: ignore[no-untyped-def]
    if worker.wsgi is not None:
        worker.wsgi.extensions["connector"].forwarder.stop(5)
