"""A real nginx (Debian's) on a private port with the shipped site or a configuration of the test's, ended by pid."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import requests

from tests.rig.needs import PATH
from tests.rig.service import ROOT, free_port, until

PROGRAM = shutil.which("nginx", path=PATH)


def missing() -> str | None:
    """One sentence that names the Debian package to install, None when it is there."""
    return None if PROGRAM else "nginx is not installed: install the Debian package nginx-light"


def site(directory: Path, socket: Path, **edits: str) -> str:
    """deploy/nginx.conf as an http block, its paths in `directory`. `edits`: directives with another value."""
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    for old, new in {
        "listen [::]:80;": "",
        "listen 80;": "listen 127.0.0.1:%PORT%;",
        "/run/pbx-connector/gunicorn.sock": str(socket),
        "/run/pbx-connector/nginx.sock": str(errors(socket)),
        "/var/log/nginx": str(directory),
        "/etc/nginx/pbx-connector": str(directory / "own"),
        "/var/www/pbx-connector": str(directory / "www"),
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    for name, value in edits.items():
        text, found = re.subn(rf"(?m)^(\s*{name}) [^;]+;", rf"\1 {value};", text)
        assert found, name
    return text


def errors(socket: Path) -> Path:
    """Where nginx sends its errors: a socket beside the service's."""
    return socket.with_name("nginx.sock")


def main(socket: Path) -> str:
    """deploy/nginx-main.conf, its path that of `errors`."""
    text = (ROOT / "deploy" / "nginx-main.conf").read_text(encoding="utf-8")
    assert "/run/pbx-connector/nginx.sock" in text
    return text.replace("/run/pbx-connector/nginx.sock", str(errors(socket)))


class Nginx:
    """One nginx. `http` is what stands in its http block, with %PORT% for the port it listens on; `main` before it."""

    def __init__(self, directory: Path, http: str, main: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        (directory / "own").mkdir(parents=True)
        (directory / "own" / "known.geo").write_text("127.0.0.1/32 1;\n")  # as install.sh writes it
        temporary = "".join(
            f"{name}_temp_path {directory}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (directory / "nginx.conf").write_text(
            f"daemon off; pid {directory}/pid; error_log {directory}/error.log; worker_processes 2;\n"
            + ("user root;\n" if os.getuid() == 0 else "")
            + f"worker_rlimit_nofile 20000;\n{main}"
            + f"events {{ worker_connections 16384; }}\nhttp {{ access_log {directory}/access.log;\n{temporary}"
            + f"{http.replace('%PORT%', str(self.port))}\n}}\n"
        )

    def __enter__(self) -> "Nginx":
        assert PROGRAM is not None
        command = [PROGRAM, "-p", str(self.directory), "-c", str(self.directory / "nginx.conf"), "-e", "stderr"]
        with (self.directory / "stderr").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._answers, f"nginx answers\n{(self.directory / 'stderr').read_text()}")
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"nginx ended\n{(self.directory / 'stderr').read_text()}")
        try:
            requests.get(self.url, timeout=5, allow_redirects=False)
        except requests.RequestException:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
