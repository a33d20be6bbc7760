"""Is it alive (/healthz), does it take deliveries, and does what it took go on (/readyz)? docs/contract.md section 5."""

import os
import sqlite3
from dataclasses import asdict
from datetime import datetime, tzinfo
from typing import Any

from flask import Blueprint, Response

from handlers.access import is_insider
from handlers.answers import RETRY_AFTER_SECONDS, answer, connector
from inbox import Unavailable
from inbox.state import NodeState, node_state

bp = Blueprint("health", __name__)


@bp.get("/healthz")
def healthz() -> Response:
    """The process answers."""
    return answer(200, {"status": "alive"})


@bp.get("/readyz")
def readyz() -> Response:
    """503 only when the inbox cannot store; the call log's state is a field, as the forwarder last saw it. A stranger is
    told ready or not, and nothing else."""
    here = connector()
    more = is_insider()
    zone, running = here.settings.timezone, here.running
    service = {**asdict(running), "started_at": _local(running.started_at, zone), "master": os.getppid()}
    try:
        here.probe.ensure()
        if not more:
            return answer(200, {"status": "ready"})
        state = node_state(here.settings, here.inbox)
        service["settings"] = state.settings
        return answer(200, {"status": "ready", "service": service, **_body(state, zone)})
    except (Unavailable, OSError, sqlite3.Error) as error:
        why = {"inbox": str(error), "service": service} if more else {}
        return answer(503, {"status": "unavailable", **why}, {"Retry-After": RETRY_AFTER_SECONDS})


def _local(moment: int | None, zone: tzinfo) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment // 1000, zone).isoformat()


def _body(state: NodeState, zone: tzinfo) -> dict[str, Any]:
    """Moments are wall clock in TIMEZONE."""
    return {
        "node": state.node,
        "forwarding": state.forwarding,
        "call_log": {
            "state": state.call_log or "not seen yet",
            "message": state.call_log_message,
            "seen_at": _local(state.call_log_seen_at, zone),
            "blocked_calls": state.blocked_calls,
            "blocked_by": state.blocked_by,
        },
        "waiting": state.waiting,
        "waiting_since": _local(state.waiting_since, zone),
        "dead": state.dead_by_feed.total(),
        "unknown_feeds": state.unknown_feeds,
        "silent_feeds": state.silent_feeds,
        "other_nodes": {node: _local(at, zone) for node, at in sorted(state.other_nodes.items())},
        "silent_nodes": state.silent_nodes,
        "differing_nodes": state.differing_nodes,
        "clock_doubt": state.clock_doubt,
        **{
            task.name: {"succeeded_at": _local(task.succeeded_at, zone), "overdue": task.overdue}
            for task in state.tasks
        },
        "purge_refused": state.purge_refused,
        "disk": [
            {"holds": disk.holds, "free_bytes": disk.free, "size_bytes": disk.size, "low": disk.low}
            for disk in state.disks
        ],
    }
