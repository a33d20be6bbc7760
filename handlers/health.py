"""Is it alive (/healthz), does it take deliveries, and does what it took go on (/readyz)? docs/contract.md section 5."""

import sqlite3
from datetime import datetime
from typing import Any

from flask import Blueprint, Response

from handlers.webhook import Connector, answer, connector
from inbox import Unavailable, now

bp = Blueprint("health", __name__)


@bp.get("/healthz")
def healthz() -> Response:
    """The process answers."""
    return answer(200, {"status": "alive"})


@bp.get("/readyz")
def readyz() -> Response:
    """503 only when the inbox cannot store; the call log's state is a field, as the forwarder last saw it."""
    here = connector()
    try:
        here.inbox.probe(room=2 * here.settings.max_body_bytes)  # of one body: its pages, and the log's copy of them
        return answer(200, {"status": "ready", **state(here)})
    except (Unavailable, OSError, sqlite3.Error) as error:
        return answer(503, {"status": "unavailable", "inbox": str(error)}, {"Retry-After": "5"})


def state(here: Connector) -> dict[str, Any]:
    """What waits, what is dead, who is silent, whether anything forwards, and how the call log was last seen."""
    waiting, since = here.inbox.backlog()
    seen_at = here.inbox.fact("call_log_seen_at")
    return {
        "node": here.inbox.node(),
        "forwarding": here.inbox.is_forwarding(),
        "call_log": {
            "state": here.inbox.fact("call_log_state") or "not seen yet",
            "message": here.inbox.fact("call_log_message"),
            "seen_at": _local(here, int(seen_at)) if seen_at else None,
        },
        "waiting": waiting,
        "waiting_since": _local(here, since) if since else None,
        "dead": sum(count for _, _, count in here.inbox.dead()),
        "silent_feeds": silent_feeds(here),
    }


def silent_feeds(here: Connector) -> list[str]:
    """Feeds that have been silent for longer than their <FEED>_SILENCE_MINUTES; one that never spoke counts too."""
    last = here.inbox.last_deliveries()
    return [
        name
        for name, feed in sorted(here.settings.feeds.items())
        if feed.silence_minutes and not feed.closed and now() - last.get(name, 0) > feed.silence_minutes * 60_000
    ]


def _local(here: Connector, moment: int) -> str:
    return datetime.fromtimestamp(moment // 1000, here.settings.timezone).isoformat()
