"""The torture run, for a person: `make torture`, or with options of one's own:

    python -m tests.torture [--database sqlite|mysql] [--seconds N] [--seed X] [--rate N] [--pause N]
                            [--only TEXT …]

Breaks everything at random moments while the generator posts and a liar lies, then gives account. Exit status 0 when
nothing was lost, doubled or left half-done. As root it also fills disks and makes them read-only (its own, mounted for the
run).
"""

import argparse
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil
import requests

from inbox import Inbox
from tests.rig.mariadb import MariaDB
from tests.rig.provider import Provider, provider, says
from tests.rig.service import ROOT, Service, until
from tests.rig.surroundings import isolate
from tests.torture import liar
from tests.torture.calllogs import MysqlLog, Reader, SqliteLog
from tests.torture.ground import ELEVEN_YEARS, Disk, Ground
from tests.torture.liar import Liar
from tests.torture.oracle import Journal, Verdict, judge
from tests.torture.senders import Clients, Poison
from tests.torture.tormentor import Room, Tormentor

T = TypeVar("T", bound=Tormentor)


@dataclass(frozen=True)
class Options:
    """One run."""

    database: str
    seconds: float
    seed: str
    rate: float
    pause: float
    only: tuple[str, ...]


def footprint(service: Service) -> tuple[int, int]:
    """(PSS in KiB, file descriptors) of the whole service."""
    assert service.process is not None
    master = psutil.Process(service.process.pid)
    family = [master, *master.children(recursive=True)]
    return sum(p.memory_full_info().pss for p in family) // 1024, sum(p.num_fds() for p in family)


class Progress:
    """One line that is written over, or one a minute where nobody watches."""

    def __init__(self, journals: list[Path]) -> None:
        self.journals, self.counts = journals, Counter[str]()
        self._read = dict.fromkeys(journals, 0)
        self._told = time.monotonic()

    def look(self) -> int:
        """How many were acknowledged until now."""
        for path in self.journals:
            if path.exists():
                with path.open("rb") as file:
                    file.seek(self._read[path])
                    text = file.read()
                self._read[path] += len(text)
                self.counts["sent"] += text.count(b'["sent"')
                self.counts["acknowledged"] += text.count(b', 200, "')
        return self.counts["acknowledged"]

    def tell(self, left: float, faults: int) -> None:
        self.look()
        sent, acknowledged = self.counts["sent"], self.counts["acknowledged"]
        line = f"{left:6.0f} s left, {sent} sent, {acknowledged} acknowledged, {faults} faults"
        if sys.stderr.isatty():
            print(f"\r{line}  ", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._told > 60:
            self._told = time.monotonic()
            print(line, file=sys.stderr, flush=True)


@dataclass
class Stage:
    """What is tormented, and what watches it."""

    service: Service
    room: Room  # of its DATA_DIR
    provider: Provider
    addresses: Path
    journals: list[Path]
    tormentors: list[Tormentor] = field(default_factory=list)

    def one(self, kind: type[T]) -> T:
        """The tormentor of this kind."""
        return next(one for one in self.tormentors if isinstance(one, kind))


def prepared(stack: ExitStack, options: Options) -> Stage:
    """The service, started, and its tormentors, not started yet."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torture")))
    room = Room(directory / "disk", 1500)
    stack.callback(room.close)
    url, server, server_room = "", None, None
    if options.database == "mysql":
        server_room = Room(directory / "server", 1500)
        stack.callback(server_room.close)
        server = stack.enter_context(MariaDB(directory / "server"))
        url = server.create("torture")
    there = stack.enter_context(provider())
    there.answer = says(200, {"jsonrpc": "2.0", "id": 1, "result": {"data": {"call_session_id": 1}}})
    service = Service(directory / "service", url or f"sqlite:///{room.directory}/data/calllog/calls.db")
    service.data_dir = room.directory / "data"
    service.environment |= {"DATA_DIR": str(service.data_dir), "SETTLE_SECONDS": "5", **liar.settings(there)}
    service.environment |= {"CALLS_DAYS": "3650", "INBOX_DAYS": "3650"}
    stack.enter_context(service)
    service.flask("db", "upgrade")
    addresses, journals = directory / "addresses", [directory / name for name in ("journal", "clients", "poison")]
    stage = Stage(service, room, there, addresses, journals)
    chance = random.Random(options.seed)
    another = lambda: random.Random(chance.random())  # noqa: E731
    poison = Poison(another(), addresses, journals[2])
    stage.tormentors += [
        Ground(another(), options.pause, service, addresses, room),
        Clients(another(), options.pause, addresses, journals[1], poison),
        Disk(another(), options.pause * 2, service, room),
        Liar(another(), options.pause, service, addresses, journals[0]),
    ]
    stage.one(Ground).start_service()
    if server and server_room:
        stage.tormentors.append(MysqlLog(another(), options.pause, server, "torture", server_room, poison))
    else:
        calls = service.data_dir / "calllog" / "calls.db"
        stage.tormentors.append(SqliteLog(another(), options.pause, calls, room))
    for one in stage.tormentors:
        one.only = options.only
    return stage


def run(options: Options) -> tuple[Verdict, Counter[str], str]:
    """One torture run; (the account, faults of each kind, the footprint in words)."""
    with ExitStack() as stack:
        stage = prepared(stack, options)
        service, tormentors = stage.service, stage.tormentors
        generator = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.stream", str(stage.journals[0]), str(stage.addresses), options.seed,
             str(options.rate), "6"], cwd=ROOT,
        )  # fmt: skip
        stack.callback(generator.kill)
        progress = Progress(stage.journals)
        until(lambda: progress.look() > 300, "the first notifications are acknowledged", 120)
        before = footprint(service)
        reader = Reader(service.database_url, stage.room.guest())
        for thread in (*tormentors, reader):
            thread.start()
        end = time.monotonic() + options.seconds
        while time.monotonic() < end and generator.poll() is None and not any(one.error for one in tormentors):
            progress.tell(end - time.monotonic(), sum(one.tally.total() for one in tormentors))
            time.sleep(0.5)
        for one in tormentors:
            one.over.set()
        for one in tormentors:
            one.join(180)
        for error in (one.error for one in tormentors if one.error):
            raise error
        after, believed = settle(stage, generator, reader)
        service.stop()
        verdict = judge(
            Journal.read(*stage.journals), [service.data_dir / "inbox" / "inbox.db"], service.database_url,
            stage.one(Clients).cut_bodies, reader.copy, liar.HASH,
        )  # fmt: skip
        verdict.faults += believed
        grown = after[0] > before[0] * 1.5 or after[1] > before[1] + 24
        size = f"{before[0]} KiB and {before[1]} file descriptors before, {after[0]} KiB and {after[1]} after"
        if grown:
            verdict.faults.append(f"the service has grown: {size}")
        return verdict, sum((one.tally for one in tormentors), Counter[str]()), size


def settle(stage: Stage, generator: "subprocess.Popen[bytes]", reader: Reader) -> tuple[tuple[int, int], list[str]]:
    """All is in order again, on a fresh life of the service: wait until nothing waits, take out what the liar sent, and
    wait until the reader has read it all. Returns the footprint and what the liar has got."""
    service, ground = stage.service, stage.one(Ground)
    ground.clock.set(0)
    service.stop()
    ground.start_service()
    inbox = Inbox(service.data_dir / "inbox")
    warm = inbox.deliveries(limit=1)[0].delivery.id
    until(lambda: inbox.deliveries(limit=1)[0].delivery.id > warm + 300, "traffic flows", 120)
    generator.send_signal(signal.SIGTERM)
    assert generator.wait(120) == 0

    def drain() -> None:
        """Until nothing waits, as long as it becomes less: after a restore there may be much, on a busy machine."""
        least, since = inbox.backlog()[0], time.monotonic()
        while waiting := inbox.backlog()[0]:
            for one in stage.tormentors:
                if isinstance(one, MysqlLog):
                    one.attend(inbox.fact("call_log_message"))
            if waiting < least:
                least, since = waiting, time.monotonic()
            assert time.monotonic() - since < 120, f"{waiting} wait for ever\n{service.log()[-3000:]}"
            time.sleep(0.1)

    drain()
    ready = requests.get(f"{service.url}/readyz", timeout=10)
    assert ready.status_code == 200, ready.text
    after = footprint(service)
    believed = liar.wanted(service, stage.provider)
    ground.clock.set(2 * ELEVEN_YEARS)  # past what was received while it was ahead: a reject ends now
    print(liar.reject(service, **ground.clock.environment))
    ground.clock.set(0)
    drain()
    still = [0.0, time.monotonic()]

    def quiet() -> bool:  # calls end by silence: SETTLE_SECONDS after the last one, and looked for every five
        if inbox.position().change_no != still[0]:
            still[:] = [inbox.position().change_no, time.monotonic()]
        return time.monotonic() - still[1] > 12

    until(quiet, "the last calls are settled", 300)
    reader.over.set()
    reader.join()
    reader.poll()
    return after, believed


def main() -> int:
    isolate()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "mysql"), default="mysql")
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--rate", type=float, default=300, help="notifications a second at the most")
    parser.add_argument("--pause", type=float, default=2, help="seconds between the faults of one kind, about")
    parser.add_argument("--only", action="append", metavar="TEXT", help="faults whose names have it; repeatable")
    arguments = vars(parser.parse_args())
    options = Options(**{**arguments, "only": tuple(arguments["only"] or ())})
    print(f"seed {options.seed}, call log on {options.database}, {options.seconds:.0f} s", flush=True)
    if os.getuid() != 0:
        print("not root: no full and no read-only disks in this run")
    verdict, faults, size = run(options)
    print(f"\n{verdict.sent} sent, {verdict.acknowledged} acknowledged, {verdict.calls} calls")
    for name, count in faults.most_common():
        print(f"{count:6} × {name}")
    print("dead letters:", ", ".join(f"{count} {reason}" for reason, count in verdict.dead.most_common()) or "none")
    print(f"{faults.total()} faults of {len(faults)} kinds; {verdict.lost} lost, {verdict.doubled} doubled; {size}")
    alike: Counter[str] = Counter()
    for fault in verdict.faults:
        kind = re.sub(r"[0-9a-f]*\d[0-9a-f]*", "N", fault)
        alike[kind] += 1
        if alike[kind] <= 3:
            print(f"BROKEN PROMISE: {fault}")
    print("".join(f"{count:6} × {kind}\n" for kind, count in alike.most_common(20)), end="")
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
