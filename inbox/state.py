"""What this node knows of itself: what waits, what is dead, who is silent, how the call log was last seen, the disk left.

Readyz, metrics, the page, `pbx-connector check`, feed_status and the forwarder's warnings all render one NodeState.
"""

import hashlib
import hmac
import json
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from calllog import database
from config import VERSION, Settings
from inbox import LATE_CHANGE, TROUBLE, UNKNOWN_FEED, Inbox, Unavailable, clock, now
from inbox.deliveries import BYTES, ENDED, TO_ROW

# The disk is low when less is left than a tenth of it, and less than this. A delivery with a body of 750 bytes takes 1 KiB
# of the inbox, and with an SQLite call log 1 KiB of that: at 100,000 a day 5 GiB last three weeks, a tenth of the smallest
# server's 10 GiB four days.
LOW_SHARE, LOW_BYTES = 0.1, 5 * 2**30
SILENT_NODE, GONE_NODE = 5 * 60_000, 7 * clock.DAY
TASK_DAYS = 2  # without a success of what is to be done every night


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that we write to, in bytes; `holds` is `inbox`, or `call_log` where an SQLite call log has another one."""

    holds: str
    directory: Path
    free: int
    size: int

    @property
    def low(self) -> bool:
        """A warning before it is full."""
        return self.free < min(self.size * LOW_SHARE, LOW_BYTES)

    def __str__(self) -> str:
        return f"{self.free / 2**30:.1f} GiB of {self.size / 2**30:.1f} left in {self.directory}"


def disks(settings: Settings) -> list[Disk]:
    """The disk of DATA_DIR, and that of the SQLite call log where it is another."""
    places = [("inbox", settings.inbox_dir)]
    path, _ = database.parse_url(settings.database_url)
    if settings.database_url.startswith("sqlite:"):
        places.append(("call_log", Path(path).parent))
    found: dict[int, Disk] = {}
    for holds, directory in places:
        there = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.is_dir())
        usage = shutil.disk_usage(there)
        found.setdefault(there.stat().st_dev, Disk(holds, there, usage.free, usage.total))
    return list(found.values())


class Probe:
    """Whether a delivery could be stored now, tried at most once a second in a process: anybody may ask /readyz."""

    FRESH_SECONDS = 1.0

    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self._settings, self._inbox = settings, inbox
        self._trying = threading.Lock()
        self._tried_at = -float("inf")
        self._error: Exception | None = None

    def ensure(self) -> None:
        """Store as a delivery would be, with room for one body (its pages, and the log's copy of them). Raises Unavailable,
        as the last try did where that is fresh."""
        with self._trying:
            if time.monotonic() - self._tried_at > self.FRESH_SECONDS:
                self._error = None
                try:
                    self._inbox.probe(room=2 * self._settings.max_body_bytes)
                except (Unavailable, OSError, sqlite3.Error) as error:
                    self._error = error
                self._tried_at = time.monotonic()
            if self._error is not None:
                raise Unavailable(str(self._error)) from self._error


@dataclass(frozen=True, slots=True)
class Task:
    """What is to succeed every night: when it last did (None: never), and whether that is more than TASK_DAYS ago; a node
    where it never did counts from its beginning."""

    name: str
    succeeded_at: int | None
    overdue: bool


def _tasks(facts: Mapping[str, str], made_at: int, doubt: str) -> list[Task]:
    """While the clock is doubted, nothing is overdue."""
    found = []
    for name, fact in (("purge", "purged_at"), ("backup", "backup_at")):
        at = int(facts[fact]) if facts.get(fact) else None
        late = now() - max(at or 0, made_at) > TASK_DAYS * clock.DAY
        found.append(Task(name, at, late and not doubt))
    return found


def _wal_bytes(settings: Settings) -> dict[str, int]:
    places = {"inbox": settings.inbox_dir / "inbox.db-wal"}
    if settings.database_url.startswith("sqlite:"):
        places["call_log"] = Path(f"{database.parse_url(settings.database_url)[0]}-wal")
    return {holds: path.stat().st_size if path.exists() else 0 for holds, path in places.items()}


class Standstill(NamedTuple):
    """Why nothing is forwarded: `reason` is a key of watch.TROUBLES, "" where no process forwards; since when, how many
    deliveries wait, when it is tried again (milliseconds)."""

    reason: str
    since: int | None
    waiting: int
    next_at: int | None


def standstill(inbox: Inbox) -> Standstill | None:
    """What is wrong with forwarding, None where all is well; cheap enough for every page."""
    away = inbox.fact("call_log_state") == "away"
    if not away and inbox.is_forwarding():
        return None
    waiting, since = inbox.backlog()
    if not away:
        return Standstill("", since, waiting, None)
    since_text, next_text = inbox.fact("call_log_away_since"), inbox.fact("call_log_next_at")
    return Standstill(
        inbox.fact("call_log_reason") or "call_log_away",
        int(since_text) if since_text else None,
        waiting,
        int(next_text) if next_text else None,
    )


@dataclass(frozen=True, slots=True)
class NodeState:
    """This node at one moment, as readyz, metrics, the page, `pbx-connector check` and feed_status show it. Moments are
    milliseconds since 1970 UTC. The call log is as the forwarder last saw it: no connection is opened for this."""

    node: str
    settings: str  # fingerprint of the settings of whoever looks: equal where they and DATA_DIR are, and nothing else
    forwarding: bool
    call_log: str  # "ok", "away"; "" while nobody has asked it yet
    call_log_message: str
    call_log_reason: str  # a key of watch.TROUBLES, "" where nothing is wrong
    call_log_seen_at: int | None
    blocked_calls: int  # that wait because somebody has locked their rows
    blocked_by: str  # who that is, as far as the connector's account may see it
    waiting: int
    waiting_since: int | None
    dead: list[tuple[str, str, int]]  # (feed, reason, how many), but for the rejected
    rejected: dict[str, int]  # feed -> how many
    counters: list[tuple[str, str, str, int, int, str]]  # as Inbox.counters
    last_deliveries: dict[str, int]
    received_bytes: dict[str, int]  # by feed
    ended_calls: dict[str, int]  # by direction:disposition
    to_row: dict[str, int]  # deliveries by how long they took to their row: keys as of inbox.deliveries.TO_ROW
    other_nodes: dict[str, int]  # of this call log -> when the forwarder saw that each had written last
    differing_nodes: list[str]  # of the same version, with other settings where all nodes have the same
    silent_feeds: list[str]  # nobody while the clock is doubted
    tasks: list[Task]
    purge_refused: str  # why pbx-connector purge deleted nothing the last time, in a sentence
    wal_bytes: dict[str, int]  # what is written and not in its database yet: inbox, and an SQLite call log
    clock_doubt: str  # why the wall clock is not believed, in a sentence; "" while it is
    disks: list[Disk]

    @property
    def silent_nodes(self) -> list[str]:
        """Other nodes that have written nothing for minutes while this one reaches the call log: dead, or cut off."""
        last = (self.call_log_seen_at or 0) - SILENT_NODE if self.call_log == "ok" else 0
        return sorted(node for node, at in self.other_nodes.items() if at < last)

    @property
    def dead_by_feed(self) -> Counter[str]:
        """How many dead letters each feed has."""
        found: Counter[str] = Counter()
        for feed, _, count in self.dead:
            found[feed] += count
        return found

    @property
    def late_changes(self) -> tuple[int, int, str]:
        """(how many calls that had long ended were changed, when the last one was, which it was)."""
        found = (row[3:] for row in self.counters if row[1:3] == (TROUBLE, LATE_CHANGE))
        return next(found, (0, 0, ""))

    @property
    def unknown_feeds(self) -> list[str]:
        """Feeds whose deliveries wait for a release that knows them."""
        return sorted({feed for feed, reason, _ in self.dead if reason == UNKNOWN_FEED})


def node_state(settings: Settings, inbox: Inbox) -> NodeState:
    """How this node is now."""
    look = inbox.look()
    seen_at = look.facts.get("call_log_seen_at")
    doubt, nodes = clock.seen_in(look.facts).doubt, _other_nodes(look.facts)
    return NodeState(
        node=look.facts.get("node", ""),
        settings=fingerprint(settings, look.facts),
        forwarding=inbox.is_forwarding(),
        call_log=look.facts.get("call_log_state", ""),
        call_log_message=look.facts.get("call_log_message", ""),
        call_log_reason=look.facts.get("call_log_reason", ""),
        call_log_seen_at=int(seen_at) if seen_at else None,
        blocked_calls=int(look.facts.get("blocked_calls", 0)),
        blocked_by=look.facts.get("blocked_by", ""),
        waiting=look.waiting,
        waiting_since=look.since,
        dead=look.dead,
        rejected=look.rejected,
        counters=look.counters,
        last_deliveries=look.last_deliveries,
        received_bytes=look.amounts(BYTES),
        ended_calls=look.amounts(ENDED),
        to_row=look.amounts(TO_ROW),
        other_nodes={node: at for node, (at, _) in nodes.items()},
        differing_nodes=sorted(node for node, (_, theirs) in nodes.items() if _differ(theirs, shared(settings))),
        silent_feeds=[] if doubt else _silent(settings, look.last_deliveries),
        clock_doubt=doubt,
        tasks=_tasks(look.facts, inbox.file.made_at(), doubt),
        purge_refused=look.facts.get("purge_refused", ""),
        wal_bytes=_wal_bytes(settings),
        disks=disks(settings),
    )


def _other_nodes(facts: Mapping[str, str]) -> dict[str, tuple[int, str]]:
    """Those that are silent for a week are no nodes any more."""
    found: dict[str, tuple[int, str]] = json.loads(facts.get("other_nodes") or "{}")
    return {node: (at, settings) for node, (at, settings) in found.items() if at > now() - GONE_NODE}


# What each node may have its own; docs/operations.md, «Несколько узлов», has the table.
OWN = frozenset(
    "bind workers threads data_dir database_url trusted_proxies max_body_bytes log_format log_level".split()
)


def shared(settings: Settings) -> str:
    """The version, and a fingerprint of the settings that are equal on all nodes, for the call log: keyed with the
    connector's password there, which whoever only reads has not."""
    values = [(one.name, getattr(settings, one.name)) for one in fields(settings) if one.name not in OWN]
    key = urlsplit(settings.database_url).password or ""
    return f"{VERSION} {hmac.new(key.encode(), repr(values).encode(), hashlib.sha256).hexdigest()[:12]}"


def _differ(theirs: str, ours: str) -> bool:
    """Between versions nothing is compared: each has settings that the other has not."""
    return theirs != ours and theirs.partition(" ")[0] == ours.partition(" ")[0]


def fingerprint(settings: Settings, facts: Mapping[str, str]) -> str:
    """Changes with any setting and tells none, not even to whoever knows all of them but one: it is keyed with a secret
    that stays in this inbox."""
    key = facts.get("page_secret", "")
    return hmac.new(key.encode(), f"settings {settings!r}".encode(), hashlib.sha256).hexdigest()[:12] if key else ""


def _silent(settings: Settings, last: dict[str, int]) -> list[str]:
    """Feeds that have been silent for longer than their <FEED>_SILENCE_MINUTES; one that never spoke counts too."""
    return [
        name
        for name, feed in sorted(settings.feeds.items())
        if feed.silence_minutes and not feed.closed and now() - last.get(name, 0) > feed.silence_minutes * 60_000
    ]
