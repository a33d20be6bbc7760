"""gunicorn: BIND, WORKERS and THREADS from the settings. WORKERS answer; one more forwards: whichever has the turn."""

import gc
import importlib
import logging
import os
import socket
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from gunicorn import systemd

HERE = str(Path(__file__).resolve().parent.parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)
KEPT = "pbx_connector_kept"  # in sys.modules, which alone outlives a reload: what the last good one has loaded


def _load(before):  # type: ignore[no-untyped-def]
    """Our code, the settings and the application. Code and libraries, those too that are imported late, are loaded before
    the fork: they are in memory once for all workers."""
    import schemas
    from app import create_app
    from calllog import database
    from config import HERE as release
    from config import VERSION, load
    from handlers.webhook import count_malformed
    from inbox import now
    from server import logs, worker
    from server.running import Running
    from setup.doors import weak_doors

    for name in ("playhouse.migrate", "prometheus_client", "pymysql", "requests"):
        importlib.import_module(name)
    settings = load(schemas.zones(), database.parse_url)
    running = before.running.reloaded() if before else Running(VERSION, str(release), now())
    return SimpleNamespace(
        settings=settings,
        running=running,
        app=create_app(settings, running),
        logs=logs,
        worker=worker,
        weak_doors=weak_doors,
        count_malformed=count_malformed,
    )


def _is_ours(module):  # type: ignore[no-untyped-def]
    file = getattr(module, "__file__", None) or ""
    return file.startswith(HERE) and "site-packages" not in file


def _load_anew():  # type: ignore[no-untyped-def]
    """A reload (HUP) reads this file again, in the process from which all workers are forked, and loads our code anew.
    Where that fails, whatever was checked before, the service goes on with what it has: a file half edited does not end
    it."""
    before, old = sys.modules.get(KEPT), _taken_out()
    try:
        kept = _load(before)
    except Exception as error:
        if before is None:
            if type(error).__name__ == "WrongSettings":
                from server.logs import for_journal, in_journal

                sys.exit(for_journal(str(error), logging.ERROR) if in_journal() else str(error))
            raise
        _taken_out()
        sys.modules.update(old)
        kept = before
        kept.running = kept.app.extensions["connector"].running = kept.running.reloaded(refused=str(error))
    sys.modules[KEPT] = kept
    return kept


def _taken_out():  # type: ignore[no-untyped-def]
    """Our modules, which the next import loads from the disk."""
    return {name: sys.modules.pop(name) for name, module in list(sys.modules.items()) if _is_ours(module)}


_kept = _load_anew()
_settings = _kept.settings
_log = logging.getLogger("connector.process")

bind = [_settings.bind]
workers = _settings.workers + 1
threads = _settings.threads
worker_class = _kept.worker.Worker
logger_class = _kept.worker.Logger
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
logconfig_dict = _kept.logs.take_over(_settings.log_format, _settings.log_level)
chdir = HERE


def on_starting(server):  # type: ignore[no-untyped-def]
    _log.info("pbx-connector %s", _kept.running)
    _ensure_free(_settings.bind)


def _ensure_free(address):  # type: ignore[no-untyped-def]
    host, _, port = address.rpartition(":")
    if address.startswith("unix:") or {"LISTEN_FDS", "GUNICORN_FD"} & os.environ.keys():
        return
    try:  # gunicorn tries five times, and does not say what to do
        family = socket.AF_INET6 if "[" in host else socket.AF_INET
        socket.create_server((host.strip("[]"), int(port)), family=family).close()
    except OSError as error:
        _log.error("BIND=%s cannot be used (%s): set another BIND, or stop what listens there", address, error.strerror)
        sys.exit(1)


def when_ready(server):  # type: ignore[no-untyped-def]
    systemd.sd_notify(f"STATUS={_kept.running}", server.log)
    for door in _kept.weak_doors(_settings):
        _log.warning("weak door: %s", door.sentence)


def on_reload(server):  # type: ignore[no-untyped-def]
    gc.unfreeze()  # see pre_fork: what was loaded before would stay
    gc.collect()
    if _kept.running.refused:
        _log.error("not reloaded, the settings of before stay in force: %s", _kept.running.refused)
    _log.info("pbx-connector %s", _kept.running)
    when_ready(server)


def nworkers_changed(server, new, old):  # type: ignore[no-untyped-def]
    if new == 1:  # by TTOU: the one that forwards takes no connections
        server.num_workers = 2


def pre_fork(server, worker):  # type: ignore[no-untyped-def]
    gc.freeze()  # a collection in a worker writes to every object it looks at, and the shared pages are copied


def post_fork(server, worker):  # type: ignore[no-untyped-def]
    # A worker born later gets the settings that were checked at the start or the reload, not a file half edited since:
    # one that fails to boot would take the whole service down.
    worker.app.callable = worker.app.callable or _kept.app


def post_worker_init(worker):  # type: ignore[no-untyped-def]
    worker.malformed = partial(_kept.count_malformed, worker.wsgi)
    worker.wsgi.extensions["connector"].forwarder.start(worker.forwards)


def worker_exit(server, worker):  # type: ignore[no-untyped-def]
    if getattr(worker, "wsgi", None) is not None:
        worker.wsgi.extensions["connector"].forwarder.stop(5)
