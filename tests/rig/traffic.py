"""A stream of notifications from a few senders, and what each was answered: for tests that break things meanwhile."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests

from tests.rig.node import end, ring
from tests.rig.service import UIS_KEY, Service


@dataclass
class Traffic:
    """What was sent: `accepted` maps each acknowledged call id to its number of acknowledged events."""

    accepted: dict[str, int] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    broken: int = 0
    slowest: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.accepted.values())


@contextmanager
def traffic(service: Service, senders: int = 4, pause: float = 0.01, prefix: str = "7") -> Iterator[Traffic]:
    """Send «Входящий звонок» and «Завершение звонка» of ever new calls until the block ends."""
    seen = Traffic()
    lock = threading.Lock()
    stop = threading.Event()

    def send(number: int) -> None:
        session = requests.Session()
        turn = 0
        while not stop.is_set():
            turn += 1
            call = f"{prefix}{number}{turn:06}"
            for route, said in (("in", ring(call)), ("rec", end(call))):
                began = time.monotonic()
                try:
                    answer = session.post(
                        f"{service.url}/buh/hs/UIScom/{route}?key={UIS_KEY}", data=json.dumps(said), timeout=60
                    )
                except requests.RequestException:
                    with lock:
                        seen.broken += 1
                    stop.wait(0.05)
                    continue
                with lock:
                    seen.slowest = max(seen.slowest, time.monotonic() - began)
                    if answer.status_code == 200:
                        seen.accepted[call] = seen.accepted.get(call, 0) + 1
                    else:
                        seen.refused.append(answer.status_code)
            stop.wait(pause)
        session.close()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(senders)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
