"""What the service is: which release runs, since when, by which reload. It publishes that itself (/readyz, /metrics, the
page, systemctl status, the log), and whoever wants to know asks it over its own socket."""

import http.client
import json
import socket
from dataclasses import dataclass, replace
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Running:
    """One generation of the service's workers. `started_at`, of the service, is in milliseconds since 1970 UTC."""

    version: str
    release: str  # the directory of the code
    started_at: int
    generation: int = 1  # one more with each reload
    refused: str = ""  # why the last reload has left the settings of before in force

    def reloaded(self, refused: str = "") -> Self:
        """The generation after this one."""
        return replace(self, generation=self.generation + 1, refused=refused)

    def __str__(self) -> str:
        old = "; the settings in the file were REFUSED, those of before are in force" if self.refused else ""
        return f"version {self.version}, generation {self.generation}, {self.release}{old}"


def ask(
    bind: str, path: str, api_key: str = "", host: str = "localhost", seconds: float = 5
) -> tuple[int, dict[str, Any]]:
    """GET a path of who listens at BIND (host:port or unix:/path) on this host: the status and the JSON of the answer, {}
    where it is none. Raises OSError when nobody answers."""
    connection = http.client.HTTPConnection("localhost", timeout=seconds)
    try:
        connection.sock = _connected(bind, seconds)
        headers = {"Host": host, **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        text = answer.read(1 << 20)
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"no HTTP is spoken there: {type(error).__name__}") from error
    finally:
        connection.close()
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    return answer.status, body if isinstance(body, dict) else {}


def _connected(bind: str, seconds: float) -> socket.socket:
    if bind.startswith("unix:"):
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(seconds)
        connected.connect(bind.removeprefix("unix:"))
        return connected
    host, _, port = bind.rpartition(":")
    any_address = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}  # noqa: S104
    return socket.create_connection((any_address.get(host, host.strip("[]")), int(port)), seconds)
