"""A stand-in for the providers' side of click to call: it keeps what it was asked, and answers what it was told to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from tests.rig.service import until

Answer = Callable[["Handler", "Asked"], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> list[tuple[str, str]]:
        """The fields of a form, in order, repeats and empties included."""
        return parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True)

    @property
    def json(self) -> Any:
        """The JSON."""
        return json.loads(self.body)


class Handler(BaseHTTPRequestHandler):
    """Keeps the request, then answers as the provider was told to."""

    server: "Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = Asked(self.command, self.path, dict(self.headers), body)
        provider = self.server.provider
        provider.asked.append(asked)
        provider.answer(self, asked)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests read `asked`."""


class Server(ThreadingHTTPServer):
    """Threads of its own, so that hanging answers do not wait for each other."""

    daemon_threads = True
    block_on_close = False
    provider: "Provider"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An asker that went away is what some tests are about."""


def says(status: int, body: str | bytes | dict[str, Any], **headers: str) -> Answer:
    """Answer so; a dict as JSON."""
    text = json.dumps(body, ensure_ascii=False) if isinstance(body, dict) else body
    data = text.encode() if isinstance(text, str) else text

    def answer(handler: Handler, asked: Asked) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def echoes(status: int) -> Answer:
    """Show the whole request in the answer, as an error page in debug mode does."""

    def answer(handler: Handler, asked: Asked) -> None:
        says(status, b"bad request: " + asked.body)(handler, asked)

    return answer


def breaks_off(handler: Handler, asked: Asked) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


@dataclass
class Provider:
    """`asked` is what came so far; `answer` may be changed at any time."""

    url: str = ""
    answer: Answer = field(default_factory=lambda: says(200, "OK"))
    asked: list[Asked] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)

    def hangs(self, handler: Handler, asked: Asked) -> None:
        """Say nothing until the test lets go."""
        self.let_go.wait(60)

    def drips(self, seconds: float) -> Answer:
        """Headers, then a byte of the body now and then, for ever."""

        def answer(handler: Handler, asked: Asked) -> None:
            if self.let_go.wait(seconds):
                return
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            while not self.let_go.wait(seconds):
                handler.wfile.write(b".")
                handler.wfile.flush()

        return answer

    def was_asked(self, times: int) -> None:
        """Wait until so many requests have come."""
        until(lambda: len(self.asked) >= times, f"the provider is asked {times} times")


@contextmanager
def provider() -> Iterator[Provider]:
    """A stand-in on a loopback port."""
    there = Provider()
    server = Server(("127.0.0.1", 0), Handler)
    server.provider = there
    there.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield there
    finally:
        there.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()
