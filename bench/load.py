"""Load by wrk: as fast as answers come, or so fast as the service can also forward what it has accepted."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from inbox import FORWARDED, RECEIVED, Inbox

SCRIPT = Path(__file__).with_name("post.lua")
WRK_THREADS = 2
EVERY = 0.2  # seconds between two looks at the inbox
AHEAD = 1024  # deliveries that may wait while the load is steered: four of the forwarder's batches
CATCH_UP = 2.0  # seconds in which the load comes back to AHEAD


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw. Latencies are milliseconds."""

    answered: int  # with 200
    seconds: float
    failed: int  # refused, broken off or timed out
    p50: float
    p95: float
    p99: float
    longest: float

    @property
    def rate(self) -> float:
        """Requests answered 200 in a second."""
        return self.answered / self.seconds


@dataclass(frozen=True, slots=True)
class Sustained:
    """A window in which accepting and forwarding went on together."""

    accepted: float  # a second
    forwarded: float  # a second
    waiting: list[int]  # in the inbox, at every look of the window
    load: Load

    @property
    def rate(self) -> float:
        """What was both accepted and forwarded in a second."""
        return min(self.accepted, self.forwarded)

    @property
    def quarters(self) -> tuple[float, float]:
        """How many waited on average in the first and in the last quarter of the window."""
        quarter = max(1, len(self.waiting) // 4)
        return fmean(self.waiting[:quarter]), fmean(self.waiting[-quarter:])

    @property
    def grew(self) -> bool:
        """Whether more waited at the end, by over one percent of what came meanwhile (and two batches, which is how
        much it goes up and down)."""
        first, last = self.quarters
        return last - first > max(512.0, self.load.answered / 100)


def _command(url: str, seconds: float, connections: int, *arguments: str) -> list[str]:
    return ["wrk", f"-t{WRK_THREADS}", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s",
            "-s", str(SCRIPT), url, "--", *arguments]  # fmt: skip


def _start(command: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "BENCH_WRK_THREADS": str(WRK_THREADS), "BENCH_POST_LUA": str(SCRIPT)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def _end(process: subprocess.Popen[str]) -> Load:
    """Wait for wrk and read its last line."""
    output, _ = process.communicate(timeout=600)
    for line in output.splitlines():
        if line.startswith("BENCH "):
            said = json.loads(line.removeprefix("BENCH "))
            return Load(
                answered=said["requests"] - said["refused"],
                seconds=said["seconds"],
                failed=said["refused"] + said["broken"] + said["timeouts"],
                **{name: said[name] for name in ("p50", "p95", "p99", "longest")},
            )
    raise RuntimeError(f"wrk said no figures:\n{output}")


def blast(url: str, seconds: float, connections: int, first: int = 0) -> Load:
    """As fast as answers come, on so many connections. `first` is the number of the first call, below 10**9."""
    process = _start(_command(url, seconds, connections, str(first)))
    try:
        return _end(process)
    finally:
        _kill(process)


def paced(url: str, seconds: float, connections: int, rate: float, directory: Path, first: int = 0) -> Load:
    """At so many requests a second."""
    rate_file = directory / "rate"
    rate_file.write_text(f"{rate:.1f}\n")
    process = _start(_command(url, seconds, connections, str(first), str(rate_file)))
    try:
        return _end(process)
    finally:
        _kill(process)


@contextmanager
def asked(url: str, seconds: float, clients: int, key: str, position: int) -> Iterator[Callable[[], Load]]:
    """So many clients ask /api/changes from a position on, once a second each; the result tells what they saw."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--timeout", "30s",
               "-s", str(SCRIPT.with_name("ask.lua")), url, "--", key, str(position)]  # fmt: skip
    process = _start(command)
    try:
        yield lambda: _end(process)
    finally:
        _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


class Steered:
    """wrk at a rate that keeps about AHEAD deliveries waiting: the most that the service accepts and forwards."""

    def __init__(self, inbox: Inbox, rate_file: Path, rate: float) -> None:
        self.inbox, self.rate_file = inbox, rate_file
        self.waiting: list[int] = []
        self._forwarding = rate
        self._seen = (time.monotonic(), self.totals()[1])
        self._set(rate)

    def totals(self) -> tuple[int, int]:
        """(accepted, forwarded) since DATA_DIR was made."""
        found = {RECEIVED: 0, FORWARDED: 0}
        for _, outcome, _, total, _, _ in self.inbox.counters():
            if outcome in found:
                found[outcome] += total
        return found[RECEIVED], found[FORWARDED]

    def steer(self) -> None:
        """One look: offer what is being forwarded, and a little more or less to come to AHEAD."""
        time.sleep(EVERY)
        at, (accepted, forwarded) = time.monotonic(), self.totals()
        passed = at - self._seen[0]
        weight = min(1.0, passed / 1.5)
        self._forwarding += weight * ((forwarded - self._seen[1]) / passed - self._forwarding)
        self._seen = (at, forwarded)
        self.waiting.append(accepted - forwarded)
        self._set(max(20.0, self._forwarding + (AHEAD - (accepted - forwarded)) / CATCH_UP))

    def steer_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.steer()

    def _set(self, rate: float) -> None:
        part = self.rate_file.with_suffix(".part")
        part.write_text(f"{rate:.1f}\n")
        part.rename(self.rate_file)


@contextmanager
def steered(
    url: str, inbox: Inbox, directory: Path, connections: int, first: int = 0, longest: float = 36_000
) -> Iterator[tuple[Steered, subprocess.Popen[str]]]:
    """A running wrk and its steering; ended when the block ends."""
    rate_file = directory / "rate"
    steering = Steered(inbox, rate_file, 300.0)
    process = _start(_command(url, longest, connections, str(first), str(rate_file)))
    try:
        yield steering, process
    finally:
        _kill(process)


def sustained(url: str, inbox: Inbox, directory: Path, connections: int, settle: float, seconds: float) -> Sustained:
    """Steer for `settle` seconds, then count for `seconds` what is accepted and what is forwarded."""
    with steered(url, inbox, directory, connections) as (steering, process):
        steering.steer_for(settle)
        steering.waiting.clear()
        began, (accepted, forwarded) = time.monotonic(), steering.totals()
        steering.steer_for(seconds)
        passed, (accepted_last, forwarded_last) = time.monotonic() - began, steering.totals()
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)  # wrk stops and says its figures
        load = _end(process)
    return Sustained(
        accepted=(accepted_last - accepted) / passed,
        forwarded=(forwarded_last - forwarded) / passed,
        waiting=steering.waiting,
        load=load,
    )
