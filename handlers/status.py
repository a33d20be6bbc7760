"""GET /api/status: what 1C needs to know of the service, for «Проверить связь» and to tell silence from a standstill."""

from datetime import datetime, timedelta

from flask import Blueprint, Response

import models
from calllog.asking import QUEUE_SECONDS, Away
from calllog.changes import feed_status
from handlers.access import api_refusal
from handlers.answers import answer, call_log_away, connector, plain
from handlers.webhook import log

bp = Blueprint("status", __name__)

WRITES_EVERY = timedelta(minutes=3)  # feed_status is written every minute


@bp.get("/api/status")
def status() -> Response:
    """The clock and its zone, how far the call log is, and `feed_status`. 503 while the call log is away."""
    stranger = api_refusal()
    if stranger is not None:
        return stranger
    zone = connector().settings.timezone
    try:
        position, rows = connector().desk.ask(feed_status, queue=QUEUE_SECONDS)
    except Away as why:
        log.debug("status: %s", why)
        return call_log_away()
    now = datetime.now(zone).replace(tzinfo=None, microsecond=0)
    body = {
        "time": now.isoformat(),
        "timezone": str(zone),
        "schema_version": models.VERSION,
        "position": position,
        "is_writing": any(row["updated_at"] and row["updated_at"] > now - WRITES_EVERY for row in rows),
        "open_feeds": sorted(name for name, feed in connector().settings.feeds.items() if not feed.closed),
        "feed_status": [{name: plain(value) for name, value in row.items() if name != "id"} for row in rows],
    }
    return answer(200, body)
