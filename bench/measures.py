"""The measurements: each runs all its targets in turn, round after round, and returns the lines of the issue."""

import contextlib
import gc
import http.client
import json
import os
import random
import shutil
import sqlite3
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any, Protocol

import pymysql
from pymysql.converters import conversions

from bench import load
from bench.fill import fill
from bench.load import Load, Sustained
from bench.report import Line, spread, table
from bench.targets import ACCEPTING, CONNECTORS, EMPTY, FASTAPI, PEERS, PLAIN, QUERY, Place, Running, Target, nginx
from calllog import database
from tests.rig.mariadb import MariaDB
from tests.rig.node import Node, end
from tests.rig.service import until

Figures = dict[str, list[Load]]


@dataclass
class Bench:
    """What every measurement needs: the options, a directory on a real disk, and a MariaDB when it asks for one."""

    directory: Path
    seconds: float = 5
    rounds: int = 3
    hold: float = 60
    rows: int = 5_000_000
    notifications: int = 1_000_000
    connections: int = 64
    samples: int = 100
    sync_ms: float = 5
    say: Callable[[str], None] = print
    show: Callable[[str], None] = print
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _mariadb: MariaDB | None = None
    _places: int = 0

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def mariadb(self) -> MariaDB:
        """The server for all measurements but those that slow it, started on first use."""
        if self._mariadb is None:
            self._mariadb = self._stack.enter_context(MariaDB(self.directory / "mariadb"))
        return self._mariadb

    def fresh(self, name: str = "t") -> Path:
        """A name for a new directory."""
        self._places += 1
        return self.directory / f"{name}{self._places}"

    def place(self, mariadb: MariaDB | None = None, **environment: str) -> Place:
        """Where the next target is started."""
        return Place(self.fresh(), mariadb or self.mariadb, environment)


# --------------------------------------------------------------------------------------------------------------- helpers


def ratios(figures: Figures, name: str, of: str = EMPTY.name) -> list[float]:
    """The target's requests a second over another's in the same round."""
    return [ours.rate / theirs.rate for ours, theirs in zip(figures[name], figures[of], strict=True)]


def latency_ratios(figures: Figures, name: str) -> list[float]:
    """The target's p99 over the empty route's in the same round."""
    return [ours.p99 / theirs.p99 for ours, theirs in zip(figures[name], figures[EMPTY.name], strict=True)]


def ahead(rates: dict[str, list[float]], ours: str, peers: Sequence[str]) -> Line:
    """Our requests a second over those of the best peer, round by round."""
    best = max(peers, key=lambda name: median(rates[name]))
    values = [mine / max(rates[name][number] for name in peers) for number, mine in enumerate(rates[ours])]
    return Line("", values, least=1, note=f"best peer: {best}")


def requests_table(title: str, figures: Figures) -> str:
    """Side by side: requests a second, over the empty route's, latencies, what failed."""
    rows = []
    for name, loads in figures.items():
        rows.append(
            (
                name,
                spread([one.rate for one in loads], 0),
                spread(ratios(figures, name), 3),
                *(spread([getattr(one, at) for one in loads], 1) for at in ("p50", "p99")),
                f"{max(one.longest for one in loads):.0f}",
                str(sum(one.failed for one in loads)),
            )
        )
    head = (title, "requests/s", "of the empty route", "p50 ms", "p99 ms", "longest", "failed")
    return table(head, rows)


def blast(bench: Bench, running: Running, url: str | None = None, seconds: float = 0) -> Load:
    """A second to warm up, then the load."""
    load.blast(url or running.url, 1, bench.connections)
    return load.blast(url or running.url, seconds or bench.seconds, bench.connections, first=500_000_000)


def refused_too_many(figures: Figures, name: str) -> bool:
    """Whether the target failed requests: its figure does not count then."""
    return any(one.failed for one in figures[name])


# ------------------------------------------------------------------------------------------------------- accepting alone


def accept(bench: Bench) -> list[Line]:
    """Accepting alone: the call log is away and the forwarder waits; directly and through nginx."""
    direct: Figures = defaultdict(list)
    proxied: Figures = defaultdict(list)
    for number in range(bench.rounds):
        for target in (EMPTY, ACCEPTING, *PEERS):
            place = bench.place()
            with target.running(place) as running:
                direct[target.name].append(blast(bench, running))
                with nginx(bench.fresh("n"), running.socket) as url:
                    proxied[target.name].append(blast(bench, running, url))
            rates = f"{direct[target.name][-1].rate:.0f}/s, through nginx {proxied[target.name][-1].rate:.0f}/s"
            bench.say(f"accept, round {number + 1}: {target.name} {rates}")
    lines = []
    for how, figures in (("directly", direct), ("through nginx", proxied)):
        bench.show(requests_table(f"accepting, {how}", figures))
        failed = refused_too_many(figures, ACCEPTING.name)
        name = ACCEPTING.name
        lines += [
            Line(f"accept, {how}: of the empty route's requests/s", ratios(figures, name), least=0.65, failed=failed),
            Line(f"accept, {how}: p99 over the empty route's", latency_ratios(figures, name), most=2.5, failed=failed),
        ]
        all_rates = {target: [one.rate for one in loads] for target, loads in figures.items()}
        best = ahead(all_rates, name, [peer.name for peer in PEERS])
        lines.append(Line(f"accept, {how}: over the best peer", best.values, least=1, note=best.note))
    return lines


def slow_disk(bench: Bench) -> list[Line]:
    """Accepting alone while every sync takes 5 ms, of the targets and of a MariaDB of its own."""
    shim = build_shim(bench.directory)
    slow = {"LD_PRELOAD": str(shim), "SLOWSYNC_US": str(round(bench.sync_ms * 1000))}
    figures: Figures = defaultdict(list)
    plain = [target for target in PLAIN if "defaults" not in target.name]
    with slowed_mariadb(bench, slow) as server:
        for number in range(bench.rounds):
            for target in (EMPTY, ACCEPTING, *plain, *FASTAPI):
                place = bench.place(server, **slow)
                with target.running(place) as running:
                    figures[target.name].append(blast(bench, running))
                bench.say(f"slow disk, round {number + 1}: {target.name} {figures[target.name][-1].rate:.0f}/s")
    bench.show(requests_table(f"accepting, sync {bench.sync_ms:g} ms", figures))
    what = f"accept, sync {bench.sync_ms:g} ms"
    failed = refused_too_many(figures, ACCEPTING.name)
    lines = [
        Line(f"{what}: of the empty route's requests/s", ratios(figures, ACCEPTING.name), least=0.5, failed=failed)
    ]
    for target in plain:
        lines.append(Line(f"{what}: the plain handler's part ({target.name})", ratios(figures, target.name), most=0.1))
    return lines


@contextmanager
def slowed_mariadb(bench: Bench, environment: dict[str, str]) -> Iterator[MariaDB]:
    """A second server whose syncs are slow: made quickly, then started again under the shim."""
    server = MariaDB(bench.fresh("slow-mariadb"))
    with server:
        server.stop()
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            server.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
        yield server
    shutil.rmtree(server.directory, ignore_errors=True)


def build_shim(directory: Path) -> Path:
    """Compile slowsync.c."""
    shim, source = directory / "slowsync.so", Path(__file__).with_name("slowsync.c")
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler: install the Debian package gcc")
    command = [compiler, "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(shim), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return shim


# -------------------------------------------------------------------------------------------------- accept and forward


def sustained(bench: Bench) -> list[Line]:
    """Accept and forward together, at the most that leaves the inbox as it is, for a minute. The empty route has its turn
    before and after each minute: a machine that others use too is not as fast a minute later."""
    figures: Figures = defaultdict(list)
    together: dict[str, list[Sustained]] = defaultdict(list)
    turns = (EMPTY, CONNECTORS[0], EMPTY, CONNECTORS[1], EMPTY, *PEERS)
    for number in range(bench.rounds):
        for target in turns:
            with target.running(bench.place()) as running:
                if running.service is None:
                    figures[target.name].append(blast(bench, running, seconds=max(bench.seconds, bench.hold / 6)))
                    said = f"{figures[target.name][-1].rate:.0f}/s"
                else:
                    held = hold(bench, running)
                    together[target.name].append(held)
                    said = f"{held.rate:.0f}/s, waiting {held.quarters[0]:.0f} -> {held.quarters[1]:.0f}"
            bench.say(f"sustained, round {number + 1}: {target.name} {said}")
    rates = {
        target.name: [one.rate for one in (figures.get(target.name) or together[target.name])]
        for target in (EMPTY, *CONNECTORS, *PEERS)
    }
    of_round = [rates[EMPTY.name][at : at + 3] for at in range(0, 3 * bench.rounds, 3)]
    around = {CONNECTORS[0].name: slice(0, 2), CONNECTORS[1].name: slice(1, 3)}
    limits = {name: [fmean(turns[around.get(name, slice(3))]) for turns in of_round] for name in rates}
    rates[EMPTY.name] = limits[EMPTY.name]
    ratio = {name: [a / b for a, b in zip(rates[name], limits[name], strict=True)] for name in rates}
    rows = []
    for name, values in rates.items():
        loads = figures.get(name) or [held.load for held in together[name]]
        waiting = " ".join("{:.0f}->{:.0f}".format(*held.quarters) for held in together.get(name, []))
        p99 = spread([one.p99 for one in loads], 1)
        rows.append(
            (name, spread(values, 0), spread(ratio[name], 3), p99, str(sum(one.failed for one in loads)), waiting)
        )
    head = (
        "in the final table",
        "notifications/s",
        "of the empty route",
        "p99 ms",
        "failed",
        "waiting, first -> last quarter",
    )
    bench.show(table(head, rows))
    lines = []
    for target, least in zip(CONNECTORS, (0.40, 0.30), strict=True):
        held_all = together[target.name]
        failed = any(held.grew or held.load.failed for held in held_all)
        what = f"accept and forward, {target.name.split(', ')[1]}, {bench.hold:g} s"
        lines.append(Line(f"{what}: of the empty route", ratio[target.name], least=least, failed=failed,
                          note="the inbox grew" if any(held.grew for held in held_all) else ""))  # fmt: skip
        peers = [peer.name for peer in PEERS if peer.database == target.database]
        best = ahead(rates, target.name, peers)
        lines.append(Line(f"{what}: over the best peer on it", best.values, least=1, note=best.note))
    return lines


def hold(bench: Bench, running: Running) -> Sustained:
    """The steered minute on a connector."""
    assert running.service is not None
    directory = running.service.directory
    return load.sustained(running.url, running.service.inbox, directory, bench.connections, 8, bench.hold)


# --------------------------------------------------------------------------------------------------- MariaDB goes away


def outage(bench: Bench) -> list[Line]:
    """Accepting while MariaDB runs, is stopped, and hangs."""
    states = ("runs", "stopped", "hangs")
    figures: dict[str, list[Load]] = {state: [] for state in states}
    target = CONNECTORS[1]
    server = bench.mariadb
    for number in range(bench.rounds):
        for state in states:
            with target.running(bench.place()) as running:
                try:
                    if state == "stopped":
                        server.stop()
                    elif state == "hangs":
                        server.pause()
                    figures[state].append(blast(bench, running))
                finally:
                    if state == "hangs":
                        server.resume()
                    elif state == "stopped":
                        server.start()
            bench.say(f"outage, round {number + 1}: MariaDB {state}: {figures[state][-1].rate:.0f}/s")
    rows = [
        (state, spread([one.rate for one in loads], 0), spread([one.p50 for one in loads], 1),
         spread([one.p99 for one in loads], 1), f"{max(one.longest for one in loads):.0f}",
         str(sum(one.failed for one in loads)))
        for state, loads in figures.items()
    ]  # fmt: skip
    bench.show(table(("accepting while MariaDB", "requests/s", "p50 ms", "p99 ms", "longest", "failed"), rows))
    lines = []
    for state in states[1:]:
        pairs = list(zip(figures[state], figures["runs"], strict=True))
        failed = any(one.failed for one in figures[state])
        what = f"accept while MariaDB {'is stopped' if state == 'stopped' else state}"
        lines += [
            Line(f"{what}: requests/s over while it runs", [a.rate / b.rate for a, b in pairs], least=1, failed=failed),
            Line(f"{what}: p99 over while it runs", [a.p99 / b.p99 for a, b in pairs], most=1, failed=failed),
        ]
    return lines


# ------------------------------------------------------------------------------------------------------ visible, when idle


class Eyes(Protocol):
    """A kept connection to a database, beside the service."""

    def visible(self, call: str) -> bool: ...
    def insert(self, call: str) -> None: ...
    def changes(self, first: int, last: int) -> int: ...
    def newest(self) -> int: ...
    def close(self) -> None: ...


PLAIN_TABLE = (
    "CREATE TABLE plain_insert (id {key}, provider_call_id VARCHAR(128) NOT NULL, client_number VARCHAR(32) NOT NULL, "
    "started_at DATETIME NOT NULL, payload TEXT NOT NULL)"
)
INSERT = "INSERT INTO plain_insert (provider_call_id, client_number, started_at, payload) VALUES ({0}, {0}, {0}, {0})"
VISIBLE = "SELECT 1 FROM calls WHERE provider = 'uis' AND provider_call_id = {0}"
CHANGES = "SELECT * FROM calls WHERE change_no > {0} AND change_no <= {0} ORDER BY change_no"
NEWEST = "SELECT MAX(change_no) FROM calls"


class SqliteEyes:
    """SQLite; its plain insert goes to a file of its own beside the call log, with the same WAL and FULL."""

    def __init__(self, url: str) -> None:
        path = database.parse_url(url)[0]
        self.db = sqlite3.connect(path, isolation_level=None)
        self.own = sqlite3.connect(Path(path).with_name("plain.db"), isolation_level=None)
        self.own.execute("PRAGMA journal_mode = WAL")
        self.own.execute("PRAGMA synchronous = FULL")
        self.own.execute("DROP TABLE IF EXISTS plain_insert")
        self.own.execute(PLAIN_TABLE.format(key="INTEGER PRIMARY KEY"))
        self.body = json.dumps(end("0"))

    def visible(self, call: str) -> bool:
        return self.db.execute(VISIBLE.format("?"), (call,)).fetchone() is not None

    def insert(self, call: str) -> None:
        self.own.execute(INSERT.format("?"), (call, "79201119613", "2024-03-01 10:00:00", self.body))

    def changes(self, first: int, last: int) -> int:
        return len(self.db.execute(CHANGES.format("?"), (first, last)).fetchall())

    def newest(self) -> int:
        return int(self.db.execute(NEWEST).fetchone()[0])

    def close(self) -> None:
        self.db.close()
        self.own.close()


class MariadbEyes:
    """MariaDB, each statement a transaction of its own; the plain insert goes to a table beside the call log's."""

    def __init__(self, url: str) -> None:
        name, options = database.parse_url(url)
        raw: dict[Any, Any] = {
            kind: how for kind, how in conversions.items() if not isinstance(kind, int)
        }  # columns stay text
        self.db = pymysql.connect(database=name, autocommit=True, charset="utf8mb4", conv=raw, **options)
        self.cursor = self.db.cursor()
        self.cursor.execute("DROP TABLE IF EXISTS plain_insert")
        self.cursor.execute(PLAIN_TABLE.format(key="BIGINT AUTO_INCREMENT PRIMARY KEY") + " ENGINE=InnoDB")
        self.body = json.dumps(end("0"))

    def visible(self, call: str) -> bool:
        return bool(self.cursor.execute(VISIBLE.format("%s"), (call,)))

    def insert(self, call: str) -> None:
        self.cursor.execute(INSERT.format("%s"), (call, "79201119613", "2024-03-01 10:00:00", self.body))

    def changes(self, first: int, last: int) -> int:
        self.cursor.execute(CHANGES.format("%s"), (first, last))
        return len(self.cursor.fetchall())

    def newest(self) -> int:
        self.cursor.execute(NEWEST)
        row: Any = self.cursor.fetchone()
        return int(row[0])

    def close(self) -> None:
        self.db.close()


@contextmanager
def eyes(url: str) -> Iterator[Eyes]:
    """The kept connection to this call log."""
    looking: Eyes = SqliteEyes(url) if url.startswith("sqlite") else MariadbEyes(url)
    try:
        yield looking
    finally:
        looking.close()


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1]


def latency(bench: Bench) -> list[Line]:
    """An idle service: from the first byte of a notification to its row in the call log, beside a plain insert."""
    seen: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    for number in range(bench.rounds):
        for target in CONNECTORS:
            with target.running(bench.place()) as running:
                figures = one_by_one(bench, running)
            seen[target.name].append(figures)
            said = "visible after {:.2f} ms (p95 {:.2f}), a plain insert {:.2f} ms (p95 {:.2f})".format(*figures)
            bench.say(f"latency, round {number + 1}: {target.name} {said}")
    rows = [(name, *(spread(list(column)) for column in zip(*rounds, strict=True))) for name, rounds in seen.items()]
    head = ("idle, ms", "visible, median", "visible, p95", "plain insert, median", "plain insert, p95")
    bench.show(table(head, rows))
    lines = []
    for name, rounds in seen.items():
        what = f"visible when idle, {name.split(', ')[1]}, over a plain insert"
        lines.append(Line(f"{what}: median", [visible / insert for visible, _, insert, _ in rounds], most=15))
        lines.append(Line(f"{what}: p95", [visible / insert for _, visible, _, insert in rounds], most=15))
    return lines


def one_by_one(bench: Bench, running: Running) -> tuple[float, float, float, float]:
    """(visible median, p95, plain insert median, p95) in milliseconds; the two take turns, with pauses between."""
    assert running.service is not None
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    visible, inserts = [], []
    pause = random.Random(7)
    with eyes(running.service.database_url) as looking:
        for number in range(bench.samples + 10):
            call = str(3_000_000_000 + number)
            body = json.dumps(end(call)).encode()
            time.sleep(pause.uniform(0.02, 0.06))
            inserts.append(timed(lambda call=call: looking.insert(call)))  # type: ignore[misc]
            time.sleep(pause.uniform(0.02, 0.06))
            began = time.perf_counter()
            connection.request("POST", QUERY, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"a notification was answered {answer.status}")
            while not looking.visible(call):
                if time.perf_counter() - began > 30:
                    raise RuntimeError("a notification is not in the call log after 30 s")
                time.sleep(0.0001)
            visible.append((time.perf_counter() - began) * 1000)
    connection.close()
    visible, inserts = visible[10:], inserts[10:]  # the first ones open connections
    return median(visible), p95(visible), median(inserts), p95(inserts)


# --------------------------------------------------------------------------------------------------------- a large call log


@dataclass
class Cost:
    """Milliseconds of one round on one call log."""

    batch: float  # of a notification in batches of 256
    alone: float  # of a notification alone
    read: float  # of the newest 500 changes
    anywhere: float  # of 500 changes somewhere in the log
    overdue: float  # of a look for overdue calls, which the idle forwarder takes every few seconds


POOL = 6 * 2**30  # bytes


def large(bench: Bench) -> list[Line]:
    """The cost of a notification and of reading 500 changes, with no calls in the log and with five million."""
    lines: list[Line] = []
    for kind in ("SQLite", "MariaDB"):
        nodes: dict[str, Node] = {}
        directory = bench.fresh("large")
        try:
            for name, rows in (("none", 0), (f"{bench.rows:,}", bench.rows)):
                place = directory / f"with-{rows}"
                place.mkdir(parents=True)
                url = f"sqlite:///{place}/calls.db" if kind == "SQLite" else bench.mariadb.create(f"bench_{rows}")
                database.upgrade(url, lambda _: None)
                if rows and kind == "MariaDB":  # what docs/operations.md asks of the server: the indexes fit in memory
                    bench.mariadb.execute(f"SET GLOBAL innodb_buffer_pool_size = {POOL}")
                if rows:
                    fill(url, rows, lambda said: bench.say(f"large: {said}"))
                nodes[name] = Node(place / "data", url)
                forward(nodes[name], 1024, 0)  # rows to read, and warm caches
            costs: dict[str, list[Cost]] = {name: [] for name in nodes}
            for number in range(max(3, bench.rounds)):
                for name, node in nodes.items():
                    costs[name].append(cost(node, 10_000 * (number + 1)))
                    bench.say(f"large, round {number + 1}: {kind} with {name}: {costs[name][-1]}")
            lines += large_lines(bench, kind, costs)
        finally:
            for node in nodes.values():
                node.forwarder.close()
            shutil.rmtree(directory, ignore_errors=True)
            if kind == "MariaDB":
                bench.mariadb.execute(f"DROP DATABASE IF EXISTS bench_{bench.rows}")
    return lines


def large_lines(bench: Bench, database: str, costs: dict[str, list[Cost]]) -> list[Line]:
    """The table and the lines of one database."""
    names = {"batch": "notification, in batches", "alone": "notification, alone", "read": "500 newest changes",
             "anywhere": "500 changes anywhere", "overdue": "look for overdue calls"}  # fmt: skip
    rows = [
        (what, *(spread([getattr(one, name) for one in rounds], 3) for rounds in costs.values()))
        for name, what in names.items()
    ]
    bench.show(table((f"{database}, ms", *(f"with {name} calls" for name in costs)), rows))
    none, full = costs.values()
    lines = []
    for name, what in names.items():
        values = [getattr(b, name) / getattr(a, name) for a, b in zip(none, full, strict=True)]
        most = 1.2 if name in ("batch", "alone", "read") else None
        lines.append(Line(f"{bench.rows:,} calls, {database}: {what}, over with none", values, most=most))
    return lines


def forward(node: Node, count: int, first: int) -> float:
    """Store so many notifications and forward them; milliseconds each, of forwarding alone."""
    for number in range(count):
        node.deliver("rec", **end(str(5_000_000_000 + first + number)))

    def all_of_them() -> None:
        while node.forwarder.step().total:
            pass

    gc.collect()
    return timed(all_of_them) / count


def cost(node: Node, first: int) -> Cost:
    """One round on one call log."""
    batch = forward(node, 1024, first)
    alone = median(forward(node, 1, first + 2000 + number) for number in range(100))
    overdue = median(timed(lambda: node.forwarder.tick(always=True)) for _ in range(5))
    with eyes(node.settings.database_url) as looking:
        newest = looking.newest()
        read = median(timed(lambda: looking.changes(newest - 500, newest)) for _ in range(50))
        starts = [random.randrange(0, newest - 500) for _ in range(50)]
        anywhere = median(timed(lambda at=at: looking.changes(at, at + 500)) for at in starts)  # type: ignore[misc]
    return Cost(batch, alone, read, anywhere, overdue)


# ------------------------------------------------------------------------------------------------------------------- memory

FLAT = 1.05  # the last tenth of a million over the second tenth: what "flat" may mean


def memory(bench: Bench) -> list[Line]:
    """PSS of the whole service beside the empty Flask application's, and over a million notifications."""
    seen: dict[str, list[float]] = defaultdict(list)
    targets: tuple[Target, ...] = (EMPTY, *CONNECTORS)
    for number in range(bench.rounds):
        for target in targets:
            with target.running(bench.place()) as running:
                if running.service is None:
                    blast(bench, running)
                else:
                    service = running.service
                    load.sustained(
                        running.url, service.inbox, service.directory, bench.connections, 5, max(5, bench.seconds)
                    )
                    service.settled()
                seen[target.name].append(running.pss())
            bench.say(f"memory, round {number + 1}: {target.name} {seen[target.name][-1]:.1f} MiB")
    bench.show(table(("after load", "PSS MiB"), [(name, spread(values, 1)) for name, values in seen.items()]))
    lines = []
    for target in CONNECTORS:
        values = [a / b for a, b in zip(seen[target.name], seen[EMPTY.name], strict=True)]
        lines.append(
            Line(f"memory, {target.name.split(', ')[1]}: PSS over the empty Flask application's", values, most=1.6)
        )
    return [*lines, flat(bench)]


def flat(bench: Bench) -> Line:
    """The service's memory while so many notifications are accepted and forwarded, on SQLite."""
    samples: list[tuple[int, float]] = []
    with CONNECTORS[0].running(bench.place()) as running:
        service = running.service
        assert service is not None
        with load.steered(running.url, service.inbox, service.directory, bench.connections) as (steering, process):
            told = time.monotonic()
            while True:
                steering.steer()
                forwarded = steering.totals()[1]
                if forwarded >= bench.notifications * (len(samples) + 1) / 100:
                    samples.append((forwarded, running.pss()))
                if forwarded >= bench.notifications:
                    break
                if process.poll() is not None:
                    raise RuntimeError("wrk ended before the last notification")
                if time.monotonic() - told > 15:
                    told = time.monotonic()
                    bench.say(
                        f"memory: {forwarded:,} of {bench.notifications:,} notifications, {running.pss():.1f} MiB"
                    )
        until(lambda: service.inbox.backlog()[0] == 0, "nothing waits", 120)
    values = [pss for _, pss in samples]
    tenth = max(1, len(values) // 10)
    bench.show(
        table(
            ("SQLite, notifications", "PSS MiB"),
            [(f"{count:,}", f"{pss:.1f}") for count, pss in samples[tenth - 1 :: tenth]],
        )
    )
    ratio = median(values[-tenth:]) / median(values[tenth : 2 * tenth] or values[:1])
    return Line(f"memory over {bench.notifications:,} notifications: last tenth over the second", [ratio], most=FLAT)
