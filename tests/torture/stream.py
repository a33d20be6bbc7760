"""The load generator, a process of its own: every fixture call of every feed under new ids, interleaved, in any order, with
repeats. Each request is written down before it is sent and each answer after it came, so that the account survives a kill.

    python -m tests.torture.stream JOURNAL ADDRESSES SEED RATE THREADS

JOURNAL gets one JSON array a line: ["call", id, rows, requests, fixture, seed] once a call, then ["sent", number, feed,
event_key, expected word], then ["answer", number, status, word] if one came. ADDRESSES is a file with one base address a
line, read again all the time.
It ends in order on SIGTERM.
"""

import http.client
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

import setup
from config import Settings
from tests.rig.fixtures import FixtureCall, Request, fixture_calls
from tests.rig.service import KEYS

REPEATED = 0.25  # of the deliveries are sent a second time, some of them much later
RESENT = 0.5  # of what was not answered 200 is sent once more; no provider promises even that
OPEN_CALLS = 12  # that a sender tells in turn


class Journal:
    """An append-only file; a line is one write, so that a kill never cuts one."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, *line: object) -> None:
        os.write(self._file, json.dumps(line, ensure_ascii=False).encode() + b"\n")


def self_tests() -> Iterator[Request]:
    """What each feed ignores by design."""
    for entered in setup.feeds().values():
        if entered.self_test:
            target, fields = entered.self_test("torture", Settings())
            body = json.dumps(fields).encode()
            yield Request(entered.feed.name, "POST", target, (("Content-Type", "application/json"),), body)


def deliveries(chance: random.Random, calls: list[FixtureCall], journal: Journal) -> Iterator[tuple[str, str, Request]]:
    """(event_key, expected word, request) for ever: of some open calls in turn, shuffled, with repeats."""
    pool: list[list[tuple[str, str, Request]]] = []
    ignored = list(self_tests())
    while True:
        if len(pool) < OPEN_CALLS:
            seed = f"{chance.getrandbits(64):x}"
            call = chance.choice(calls).another(seed)
            journal.write("call", call.call_id, call.rows["calls"], len(call.requests), call.name, seed)
            told = [(request.event().event_key, "accepted", request) for request in call.requests]
            told += [one for one in told if chance.random() < REPEATED]
            chance.shuffle(told)
            pool.append(told)
        elif chance.random() < 0.02:
            yield "", "ignored", chance.choice(ignored)
        else:
            at = chance.randrange(len(pool))
            yield pool[at].pop()
            if not pool[at]:
                del pool[at]


class Sender:
    """One connection to one of the addresses, made again whenever it broke."""

    def __init__(self, addresses: Path, chance: random.Random, keys: Mapping[str, str] = KEYS) -> None:
        self._addresses, self._chance, self._keys = addresses, chance, keys
        self._connection: http.client.HTTPConnection | None = None
        self._uses = 0

    def send(self, request: Request) -> tuple[int, str]:
        """(status, the answer's word); (0, what broke) when no whole answer came."""
        key = self._keys[request.feed]
        target = f"{request.target}{'&' if '?' in request.target else '?'}key={quote(key)}"
        try:
            if self._connection is None or self._uses > 200:
                self.close()
                address = urlsplit(self._chance.choice(self._addresses.read_text().split()))
                self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=40)
                self._uses = 0
            self._uses += 1
            self._connection.request(request.method, target, request.body or None, dict(request.headers))
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return 0, type(error).__name__
        if response.status != 200:
            return response.status, body.decode(errors="replace")[:200]
        return 200, str(json.loads(body)["status"])

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def run(journal_path: Path, addresses: Path, seed: str, rate: float, threads: int) -> None:
    """Send until SIGTERM, at most `rate` requests a second."""
    journal, calls, numbers = Journal(journal_path), fixture_calls(), itertools.count()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def work(which: int) -> None:
        chance = random.Random(f"{seed} {which}")
        sender = Sender(addresses, chance)
        due = time.monotonic()
        for event_key, expected, request in deliveries(chance, calls, journal):
            for again in (False, True):
                number = next(numbers)
                journal.write("sent", number, request.feed, event_key, expected)
                status, word = sender.send(request)
                journal.write("answer", number, status, word)
                if status == 200 or again or chance.random() > RESENT:
                    break
                stop.wait(0.2)
            due = max(due + threads / rate, time.monotonic() - 1)
            if stop.wait(max(0.0, due - time.monotonic())):
                break
        sender.close()

    workers = [threading.Thread(target=work, args=(which,)) for which in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
