"""GET /metrics: Prometheus text counted from the inbox's tables at each scrape; no state in the process.

docs/contract.md section 5 has the names, docs/operations.md what to do when deploy/alerts.yml rings.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flask import Blueprint, Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from config import Settings
from handlers.access import STRANGERS, api_refusal, client_address, parsed
from handlers.answers import connector, on_inbox_error
from inbox import DEAD, FORWARDED, IGNORED, LATE_CHANGE, RECEIVED, REFUSED, REPLACED, TROUBLE, Inbox, Unavailable, now
from inbox.deliveries import TO_ROW_SECONDS
from inbox.file import NGINX, NO_CONNECTIONS_LEFT, TOO_MANY_CONNECTIONS
from inbox.orders import NOT_ALLOWED, OVER_LIMIT
from inbox.state import NodeState, Probe, node_state
from inbox.watch import TROUBLES
from schemas.event import DIRECTIONS, DISPOSITIONS
from server.running import Running

bp = Blueprint("metrics", __name__)


@bp.get("/metrics")
def metrics() -> Response:
    """For this host itself, and for whoever has the API key."""
    here = connector()
    stranger = None if _is_local(client_address(here.settings)) else api_refusal()
    if stranger is not None:
        return stranger
    try:
        text = generate_latest(Tables(here.settings, here.inbox, here.probe, here.running))
    except OSError as error:
        return on_inbox_error(error)
    return Response(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _is_local(address: str) -> bool:
    known = parsed(address)
    return not address or (known is not None and known.is_loopback)  # a peer on a unix socket has no address


class Tables(Collector):
    """One NodeState as metrics. What alerts count from is there as 0 before it first happens: an
    increase from nothing is none to Prometheus."""

    def __init__(self, settings: Settings, inbox: Inbox, probe: Probe, running: Running) -> None:
        self.settings, self.inbox, self.probe, self.running = settings, inbox, probe, running

    def collect(self) -> Iterator[Metric]:
        """Every metric. Raises sqlite3.Error or OSError when the inbox cannot be read."""
        state, at = node_state(self.settings, self.inbox), now()
        feeds = sorted(name for name, feed in self.settings.feeds.items() if not feed.closed)
        deliveries = {(feed, state): 0 for feed in feeds for state in (RECEIVED, FORWARDED, IGNORED, DEAD)}
        refusals = {(feed, reason): 0 for feed in [*feeds, "api"] for reason in STRANGERS}
        refusals |= {("api", reason): 0 for reason in (NOT_ALLOWED, OVER_LIMIT)}
        refusals |= {(feed, "too_many_questions"): 0 for feed in feeds}
        refusals |= {(NGINX, reason): 0 for reason in (TOO_MANY_CONNECTIONS, NO_CONNECTIONS_LEFT)}
        errors = {(reason,): 0 for reason in TROUBLES}
        replaced = 0
        for feed, outcome, reason, total, _, _ in state.counters:
            if outcome == TROUBLE and reason == REPLACED:
                replaced = total
            elif outcome == TROUBLE and reason != LATE_CHANGE:
                errors[(reason,)] = total
            elif outcome == REFUSED:
                refusals[feed, reason] = total
            elif outcome != TROUBLE:
                deliveries[feed, outcome] = deliveries.get((feed, outcome), 0) + total
        dead = {(feed, "our_fault"): 0 for feed in feeds} | {(feed, reason): n for feed, reason, n in state.dead}
        last = {(feed,): moment / 1000 for feed, moment in state.last_deliveries.items()}
        nodes = {(node,): at / 1000 for node, at in state.other_nodes.items()}
        mute = {(node,): node in state.silent_nodes for node in state.other_nodes}
        watched = [feed for feed in feeds if self.settings.feeds[feed].silence_minutes]
        silent = {(feed,): feed in state.silent_feeds for feed in watched}
        seen_at = (state.call_log_seen_at or 0) / 1000
        age = (at - state.waiting_since) / 1000 if state.waiting_since is not None else 0

        yield from self._running(state)
        yield _counter("deliveries", "Deliveries that came to be so.", FEED_OUTCOME, deliveries)
        yield _counter("refusals", "Requests that were refused and not kept.", FEED_REASON, refusals)
        size = {(feed,): 0 for feed in feeds} | {(feed,): bytes for feed, bytes in state.received_bytes.items()}
        yield _counter("received_bytes", "Bytes of the disk that deliveries took, about.", FEED, size)
        ended = {(direction, disposition): 0 for direction in DIRECTIONS for disposition in DISPOSITIONS if disposition}
        ended |= {tuple(name.split(":")): total for name, total in state.ended_calls.items()}  # type: ignore[misc]
        yield _counter("calls_ended", "Calls that have ended.", ("direction", "disposition"), ended)
        yield _to_row(state.to_row)
        yield _gauge("last_delivery_timestamp_seconds", "When the feed's last delivery was stored.", FEED, last)
        yield _gauge("feed_silent", "1: silent for longer than its <FEED>_SILENCE_MINUTES.", FEED, silent)
        yield _gauge("node_seen_timestamp_seconds", "When another node wrote to the call log last.", NODE, nodes)
        yield _gauge("node_silent", "1: it has not for five minutes, while this one does.", NODE, mute)
        yield _gauge("dead_letters", "Dead letters that there are now.", FEED_REASON, dead)
        rejected = {(feed,): 0 for feed in feeds} | {(feed,): n for feed, n in state.rejected.items()}
        yield _gauge("rejected_deliveries", "Deliveries that pbx-connector inbox reject took out.", FEED, rejected)
        yield _one("waiting_deliveries", "Deliveries that wait to be forwarded.", state.waiting)
        yield _one("oldest_waiting_age_seconds", "How long ago the oldest waiting delivery was received; 0: none.", age)
        yield _counter("forward_errors", "Batches that failed and were tried again.", ("reason",), errors)
        changed_late = {(): state.late_changes[0]}
        yield _counter("late_changes", "Calls changed by what came a day after all else of them.", (), changed_late)
        yield _one("forwarding", "1: a process of this host forwards this inbox.", state.forwarding)
        yield _one("call_log_up", "1: the call log answered the forwarder's last question.", state.call_log == "ok")
        yield _one("call_log_seen_timestamp_seconds", "When the forwarder last asked the call log.", seen_at)
        differs = state.call_log_reason == "schema_differs"
        yield _one("call_log_schema_differs", "1: its tables are of another release, nothing is forwarded.", differs)
        yield _one("blocked_calls", "Calls that wait because somebody has locked their rows.", state.blocked_calls)
        yield _one("inbox_accepting", "1: a delivery could be stored now.", self._accepting())
        yield _counter(
            "inbox_replaced", "Times that inbox.db was found moved, removed or replaced.", (), {(): replaced}
        )
        yield from _host(state)

    def _running(self, state: NodeState) -> Iterator[Metric]:
        release = (self.running.version, Path(self.running.release).name, state.settings)
        yield _gauge("build_info", "Which release runs, with which settings.", BUILD, {release: 1})
        yield _one("start_timestamp_seconds", "When the service started.", self.running.started_at / 1000)
        yield _one("generation", "1 after the start, one more with each reload.", self.running.generation)
        refused = bool(self.running.refused)
        yield _one("settings_refused", "1: the settings in the file are wrong, those of before are in force.", refused)

    def _accepting(self) -> bool:
        try:
            self.probe.ensure()
        except Unavailable:
            return False
        return True


FEED, FEED_OUTCOME, FEED_REASON = ("feed",), ("feed", "outcome"), ("feed", "reason")
DISK, TASK, NODE, BUILD = ("holds",), ("task",), ("node",), ("version", "release", "settings")


def _host(state: NodeState) -> Iterator[Metric]:
    """The clock, what should succeed every night, files and disks."""
    places = state.disks
    yield _one("clock_doubted", "1: this host's clock is not believed, nothing is deleted.", bool(state.clock_doubt))
    done = {(task.name,): (task.succeeded_at or 0) / 1000 for task in state.tasks}
    yield _gauge("task_success_timestamp_seconds", "When it last succeeded; 0: never.", TASK, done)
    late = {(task.name,): task.overdue for task in state.tasks}
    yield _gauge("task_overdue", "1: no success for two days.", TASK, late)
    yield _one("purge_refused", "1: the last pbx-connector purge refused to delete.", bool(state.purge_refused))
    wal = {(holds,): size for holds, size in state.wal_bytes.items()}
    yield _gauge("wal_bytes", "Size of the database's -wal file.", DISK, wal)
    yield _gauge("disk_free_bytes", "Bytes left to us on the disk.", DISK, {(d.holds,): d.free for d in places})
    yield _gauge("disk_size_bytes", "Bytes that the disk has.", DISK, {(d.holds,): d.size for d in places})
    yield _gauge("disk_low", "1: time to make room.", DISK, {(d.holds,): d.low for d in places})


def _counter(name: str, what: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    return _filled(CounterMetricFamily(f"connector_{name}", what, labels=labels), values)


def _gauge(name: str, what: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    return _filled(GaugeMetricFamily(f"connector_{name}", what, labels=labels), values)


def _to_row(counted: Mapping[str, int]) -> Metric:
    buckets, total = [], 0
    for most in (*TO_ROW_SECONDS, "more"):
        total += counted.get(str(most), 0)
        buckets.append(("+Inf" if most == "more" else str(most), total))
    what = "Seconds from a delivery's receipt to its row in the call log."
    metric = HistogramMetricFamily("connector_to_row_seconds", what)
    metric.add_metric([], buckets, sum_value=counted.get("sum", 0) / 1000)
    return metric


def _filled(metric: CounterMetricFamily | GaugeMetricFamily, values: Mapping[Any, float]) -> Metric:
    for labels, value in sorted(values.items()):
        metric.add_metric(labels, value)
    return metric


def _one(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"connector_{name}", what, value)
