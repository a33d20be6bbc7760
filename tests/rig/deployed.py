"""The service as its unit runs it behind the shipped nginx site; the test does systemd's part: socket, notify, reload.

Releases are copies of the code side by side, `current` is a link to one, each has a link `.env` to one settings file, as
deploy/install.sh lays them out.
"""

import contextlib
import http.client
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.rig.nginx import Nginx, errors, main, site
from tests.rig.service import ROOT, WARNINGS, Service, until
from tests.rig.surroundings import socket_directory

UNIT = (ROOT / "deploy" / "pbx-connector.service").read_text(encoding="utf-8")


def commands(name: str) -> list[list[str]]:
    """The unit's ExecStart or ExecReload lines; the environment's programs are this one's."""
    lines = re.findall(rf"(?m)^{name}=(.*)$", UNIT)
    python = shlex.quote(sys.executable)
    lines = [line.replace("/opt/pbx-connector/current/.venv/bin/", f"{python} -m ") for line in lines]
    return [shlex.split(line.replace("/opt/pbx-connector/current/pbx-connector", f"{python} .")) for line in lines]


class Deployed(Service):
    """One node. `settings` are lines of its settings file; `edits` change directives of the nginx site."""

    def __init__(self, directory: Path, edits: dict[str, str] | None = None, **settings: Any) -> None:
        super().__init__(directory, "", **settings)
        self.settings_file = directory / "settings.env"
        del self.settings["BIND"]
        self.run = socket_directory()
        self.socket_path = self.run / "gunicorn.sock"
        bind = f"unix:{self.socket_path}"
        self.environment = {"PATH": os.environ["PATH"], "PYTHONWARNINGS": WARNINGS, "BIND": bind}
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.socket_path))
        self.listener.listen(4096)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(self.run / "notify"))
        self.notify.setblocking(False)
        self._statuses: list[str] = []
        self.write_settings()
        self.release("first")
        http = site(directory / "nginx", self.socket_path, **(edits or {}))
        self.nginx = Nginx(directory / "nginx", http, main(self.socket_path))

    # -- as install.sh does it

    def write_settings(self, **changes: str) -> None:
        """The settings file, with changes."""
        self.settings |= changes
        self.settings_file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))

    def release(self, name: str, edits: dict[str, tuple[str, str]] | None = None) -> None:
        """Lay out a copy of the code, and switch `current` to it."""
        target = self.directory / "releases" / name
        self.copy_code(target, edits or {})
        (target / ".env").symlink_to(self.settings_file)
        link = self.directory / "current.new"
        link.symlink_to(target)
        link.rename(self.directory / "current")
        self.root = self.directory / "current"

    # -- as systemd does it

    def start(self, upgrade: bool = True, *options: str, **environment: str) -> "Deployed":
        """ExecStart with the socket as descriptor 3; returns when the service has said READY=1, as Type=notify does."""
        if upgrade:
            self.flask("db", "upgrade")
        (command,) = commands("ExecStart")
        number = self.listener.fileno()
        shell = f'[ {number} = 3 ] || exec 3<&{number} {number}<&-; exec env LISTEN_PID=$$ LISTEN_FDS=1 "$@"'
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", shell, "bash", *command, *options],
                cwd=self.root,
                env={**self.environment, "NOTIFY_SOCKET": str(self.run / "notify"), **environment},
                pass_fds=(number,),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._ready, f"READY=1\n{self.log()}")
        if self.nginx.process is None:
            until(self._answers, f"the service answers\n{self.log()}")
            self.nginx.__enter__()
            self.url = self.nginx.url
            self.port = self.nginx.port
        return self

    def status(self) -> str:
        """What `systemctl status` shows: the last STATUS=."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._statuses += re.findall(r"(?m)^STATUS=(.*)$", self.notify.recv(4096).decode())
        return self._statuses[-1]

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"gunicorn ended with {self.process.returncode}\n{self.log()}")
        try:
            return b"READY=1" in self.notify.recv(4096)
        except BlockingIOError:
            return False

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"gunicorn ended with {self.process.returncode}\n{self.log()}")
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(self.socket_path))
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def restart(self) -> None:
        """SIGTERM, then a start; the socket is held all the while."""
        self.stop()
        self.start(upgrade=False)

    @contextlib.contextmanager
    def nginx_read(self) -> Iterator[None]:
        """`pbx-connector nginx` runs, as its unit would run it."""
        words = [sys.executable, str(self.root), "nginx", "--socket", str(errors(self.socket_path))]
        with (self.directory / "nginx-read.log").open("ab") as log:
            reader = subprocess.Popen(words, cwd=self.root, env=self.environment, stdout=log, stderr=log)
        try:
            until(errors(self.socket_path).exists, "the reader listens")
            yield
        finally:
            reader.terminate()
            reader.wait(30)

    def reload(self) -> subprocess.CompletedProcess[str]:
        """ExecReload."""
        (command,) = commands("ExecReload")
        return subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=90)

    def nginx_logs(self) -> str:
        """All that nginx has written anywhere: the site's log, its own, its error log, what it said at the start."""
        files = [path for path in self.nginx.directory.rglob("*") if path.is_file() and path.name != "nginx.conf"]
        return "\n".join(path.read_text(errors="replace") for path in files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.nginx.__exit__()
        self.kill()
        self.listener.close()
        self.notify.close()
        shutil.rmtree(self.run)
