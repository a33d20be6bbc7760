"""Senders that break off, and one whose call is too much."""

import contextlib
import itertools
import json
import random
import socket
from pathlib import Path
from urllib.parse import quote

from tests.rig.fixtures import Request, fixture_calls
from tests.rig.service import KEYS
from tests.torture.stream import Journal, Sender
from tests.torture.tormentor import Fault, Tormentor


class Clients(Tormentor):
    """Senders that are slow, cut a body short or vanish. What a slow one sends whole is in its journal."""

    def __init__(self, chance: random.Random, pause: float, addresses: Path, journal: Path, poison: "Poison") -> None:
        super().__init__(chance, pause)
        self.addresses, self.journal, self.poison = addresses, Journal(journal), poison
        self.calls = fixture_calls()
        self.numbers = iter(range(10**9))
        self.cut_bodies = 0

    def faults(self) -> list[Fault]:
        return [self.slow, self.half_sent, self.reset, self.idle, self.poisoned]

    def _request(self) -> Request:
        return self.chance.choice(self.calls).another(f"{self.chance.getrandbits(64):x}").requests[0]

    def _connect(self) -> socket.socket:
        host, _, port = self.chance.choice(self.addresses.read_text().split()).rpartition(":")
        return socket.create_connection((host.removeprefix("http://"), int(port)), timeout=40)

    @staticmethod
    def _bytes(request: Request) -> tuple[bytes, bytes]:
        target = f"{request.target}{'&' if '?' in request.target else '?'}key={quote(KEYS[request.feed])}"
        lines = [f"{request.method} {target} HTTP/1.1", "Host: x", f"Content-Length: {len(request.body)}"]
        lines += [f"{name}: {value}" for name, value in request.headers]
        return ("\r\n".join([*lines, "Connection: close", "", ""])).encode(), request.body

    def slow(self) -> None:
        """a slow sender"""
        request, number = self._request(), next(self.numbers)
        head, body = self._bytes(request)
        self.journal.write("sent", number, request.feed, request.event().event_key, "accepted")
        status, word = 0, "broken"
        with contextlib.suppress(OSError), self._connect() as connection:
            whole = head + body
            for at in range(0, len(whole), len(whole) // 8 + 1):
                connection.sendall(whole[at : at + len(whole) // 8 + 1])
                self.hold(0.1, 0.8)
            answer = b""
            while more := connection.recv(65536):
                answer += more
            if answer:
                status, word = (
                    int(answer.split(b" ", 2)[1]),
                    "accepted" if b'"accepted"' in answer else answer[-99:].decode(errors="replace"),
                )
        self.journal.write("answer", number, status, word)

    def half_sent(self) -> None:
        """a half-sent request"""
        self._cut(linger=False)

    def reset(self) -> None:
        """a connection reset in mid-request"""
        self._cut(linger=True)

    def _cut(self, linger: bool) -> None:
        head, body = self._bytes(next(request for request in iter(self._request, None) if request.body))
        self.cut_bodies += 1
        with contextlib.suppress(OSError), self._connect() as connection:
            if linger:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(head + body[: self.chance.randrange(len(body))])
            self.hold(0, 1)

    def idle(self) -> None:
        """twenty connections that say nothing"""
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for _ in range(20):
                stack.enter_context(self._connect())
            self.hold(1, 5)

    def poisoned(self) -> None:
        """a call of which more is told than a call may have"""
        self.poison.send(posts=10)


class Poison:
    """A call that no call log takes whole: in each notification 30 recordings with long links. What is beyond the bounds,
    or longer than a packet of the server, may be dead; whoever comes after it does not wait for it."""

    def __init__(self, chance: random.Random, addresses: Path, journal: Path) -> None:
        self._chance, self._addresses, self._journal = chance, addresses, Journal(journal)
        self._numbers = itertools.count()

    def send(self, posts: int) -> None:
        """So many notifications of a new call."""
        call = f"{self._chance.getrandbits(60)}"
        self._journal.write("poison", call)
        sender = Sender(self._addresses, self._chance)
        for post in range(posts):
            links = [f"https://app.uiscom.ru/r/{post}/{number}/{'0' * 900}" for number in range(30)]
            said = {"call_session_id": call, "direction": "in", "record_file_links": links}
            body = json.dumps(said).encode()
            request = Request("poison", "POST", "/hs/UIScom/rec", (("Content-Type", "application/json"),), body)
            number = next(self._numbers)
            self._journal.write("sent", number, request.feed, request.event().event_key, "accepted")
            self._journal.write("answer", number, *sender.send(request))
        sender.close()
