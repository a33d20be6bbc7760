"""What this node knows of itself: what waits, what is dead, who is silent, how the call log was last seen, the disk left.

Readyz, metrics, the page, `flask check` and the forwarder's warnings all tell it from here. No connection to the call log.
"""

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from calllog import database
from config import Settings
from inbox import Inbox, Look, now

# The disk is low when less is left than a tenth of it, and less than this. A delivery with a body of 750 bytes takes 1 KiB
# of the inbox, and with an SQLite call log 1 KiB of that: at 100,000 a day 5 GiB last three weeks, a tenth of the smallest
# server's 10 GiB four days.
LOW_SHARE, LOW_BYTES = 0.1, 5 * 2**30


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


def probe(settings: Settings, inbox: Inbox) -> None:
    """Store as a delivery would be, with room for one body (its pages, and the log's copy of them). Raises Unavailable."""
    inbox.probe(room=2 * settings.max_body_bytes)


def silent_feeds(settings: Settings, inbox: Inbox | Look) -> list[str]:
    """Feeds that have been silent for longer than their <FEED>_SILENCE_MINUTES; one that never spoke counts too."""
    last = (inbox.look() if isinstance(inbox, Inbox) else inbox).last_deliveries
    return [
        name
        for name, feed in sorted(settings.feeds.items())
        if feed.silence_minutes and not feed.closed and now() - last.get(name, 0) > feed.silence_minutes * 60_000
    ]


def state(settings: Settings, inbox: Inbox) -> dict[str, Any]:
    """The fields of readyz; moments are wall clock in TIMEZONE."""
    look = inbox.look()
    seen_at = look.facts.get("call_log_seen_at")
    return {
        "node": look.facts.get("node", ""),
        "forwarding": inbox.is_forwarding(),
        "call_log": {
            "state": look.facts.get("call_log_state") or "not seen yet",
            "message": look.facts.get("call_log_message", ""),
            "seen_at": _local(settings, int(seen_at)) if seen_at else None,
        },
        "waiting": look.waiting,
        "waiting_since": _local(settings, look.since) if look.since is not None else None,
        "dead": sum(count for _, _, count in look.dead),
        "silent_feeds": silent_feeds(settings, look),
        "disk": [
            {"holds": disk.holds, "free_bytes": disk.free, "size_bytes": disk.size, "low": disk.low}
            for disk in disks(settings)
        ],
    }


def _local(settings: Settings, moment: int) -> str:
    return datetime.fromtimestamp(moment // 1000, settings.timezone).isoformat()
