"""Is it alive (/healthz), does it take deliveries, and does what it took go on (/readyz)? docs/contract.md section 5."""

import sqlite3

from flask import Blueprint, Response

from handlers.answers import RETRY_AFTER_SECONDS, answer, connector
from inbox import Unavailable
from inbox.state import probe, state

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
        probe(here.settings, here.inbox)
        return answer(200, {"status": "ready", **state(here.settings, here.inbox)})
    except (Unavailable, OSError, sqlite3.Error) as error:
        return answer(503, {"status": "unavailable", "inbox": str(error)}, {"Retry-After": RETRY_AFTER_SECONDS})
