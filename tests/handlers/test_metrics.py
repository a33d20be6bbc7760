"""/metrics: counted from the tables, whatever is broken; the alerts built on it; feeds that fall silent; a low disk."""

import ipaddress
import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

import app
import models
from calllog import database
from config import FeedSettings, Settings
from inbox import Outcome
from inbox.deliveries import ROW_BYTES
from inbox.state import LOW_BYTES, Disk
from schemas.reading import Delivery
from tests.rig import needs
from tests.rig.node import Node
from tests.rig.service import ROOT, Service, free_port, until

ALERTS = (ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8")
NAMES = re.findall(r"- alert: (\w+)", ALERTS)
API_KEY = "metrics-api-key"
REFUSED = (("uis", "wrong_key"), ("uis", "no_key"), ("uis", "too_large"), ("api", "api_closed"))


def read(service: Service) -> dict[str, float]:
    """Each sample by its name and labels as they stand in the text: `connector_feed_silent{feed="uis"}`."""
    answer = service.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return samples(answer.text)


def samples(text: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_what_was_sent_is_counted_from_the_tables_and_outlives_every_process(tmp_path: Path) -> None:
    with Service(tmp_path, UIS_SILENCE_MINUTES="60", MTT_SILENCE_MINUTES="60", MAX_BODY_BYTES="1024") as service:
        service.start()
        assert read(service)['connector_deliveries_total{feed="uis",outcome="dead"}'] == 0
        for id in (1, 2, 3):
            assert service.post("/hs/UIScom/in", f'{{"call_session_id": {id}, "direction": "in"}}').ok
        service.post("/hs/UIScom/in", "[")
        service.post("/hs/UIScom/in", "{}")
        service.post("/hs/UIScom/in", "{}", "wrong")
        service.post("/hs/UIScom/in", "{}", None)
        service.post("/hs/UIScom/in", "x" * 2000)
        service.post("/mtt/events", '{"event_type": "of another world", "call_id": "5"}', "test-mtt-key")
        service.get("/api/changes?after=0")
        service.settled()
        asked = [f'connector_refusals_total{{feed="{feed}",reason="{reason}"}}' for feed, reason in REFUSED]
        until(lambda: [read(service).get(name) for name in asked] == [1] * len(asked), "every refusal counted")
        before = read(service)
        service.kill()
        service.start()
        until(service.forwarder, "somebody forwards")
        said = read(service)
        moving = ("age_seconds", "connector_disk", "connector_wal", "call_log_seen", "start_timestamp")
        assert {n: v for n, v in said.items() if not any(part in n for part in moving)} == {
            n: v for n, v in before.items() if not any(part in n for part in moving)
        }
    for name, value in {
        'connector_deliveries_total{feed="uis",outcome="received"}': 3,
        'connector_deliveries_total{feed="uis",outcome="forwarded"}': 3,
        'connector_deliveries_total{feed="uis",outcome="dead"}': 2,
        'connector_deliveries_total{feed="uis",outcome="ignored"}': 0,
        'connector_dead_letters{feed="uis",reason="bad_json"}': 1,
        'connector_dead_letters{feed="uis",reason="no_call_id"}': 1,
        'connector_dead_letters{feed="uis",reason="our_fault"}': 0,
        'connector_refusals_total{feed="uis",reason="wrong_key"}': 1,
        'connector_refusals_total{feed="uis",reason="no_key"}': 1,
        'connector_refusals_total{feed="api",reason="api_closed"}': 1,
        'connector_refusals_total{feed="mgerm",reason="wrong_key"}': 0,
        'connector_feed_silent{feed="uis"}': 0,
        "connector_waiting_deliveries": 0,
        "connector_oldest_waiting_age_seconds": 0,
        "connector_forwarding": 1,
        "connector_inbox_accepting": 1,
        "connector_call_log_up": 1,
        "connector_call_log_schema_differs": 0,
    }.items():
        assert said.get(name) == value, name
    assert said['connector_to_row_seconds_bucket{le="+Inf"}'] == said["connector_to_row_seconds_count"] == 3
    assert said['connector_last_delivery_timestamp_seconds{feed="uis"}'] > 1_700_000_000
    bodies = 3 * len('{"call_session_id": 1, "direction": "in"}') + len("[{}")
    assert said['connector_received_bytes_total{feed="uis"}'] == 5 * ROW_BYTES + bodies
    assert said['connector_received_bytes_total{feed="hooktype"}'] == 0
    assert 0 < said['connector_disk_free_bytes{holds="inbox"}'] <= said['connector_disk_size_bytes{holds="inbox"}']


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("", {}, 200),  # a unix socket
        ("192.0.2.7", {}, 401),
        ("192.0.2.7", {"X-Forwarded-For": "127.0.0.1"}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1, 192.0.2.7"}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "<script>"}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7", "Authorization": f"Bearer {API_KEY}"}, 200),
        ("192.0.2.7", {"Authorization": f"Bearer {API_KEY}"}, 200),
        ("192.0.2.7", {"Authorization": "Bearer wrong"}, 401),
    ],
)
def test_metrics_are_for_this_host_and_for_the_api_key(
    peer: str, headers: dict[str, str], status: int, tmp_path: Path
) -> None:
    settings = Settings(
        data_dir=tmp_path,
        database_url=f"sqlite:///{tmp_path}/none.db",
        feeds={"uis": FeedSettings("uis", keys=("k",))},
        api_key=API_KEY,
        trusted_proxies=(ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("::1")),
    )
    client = app.create_app(settings).test_client()
    answer = client.get("/metrics", headers=headers, environ_overrides={"REMOTE_ADDR": peer})
    assert answer.status_code == status


def test_forward_errors_are_counted_in_the_inbox_and_the_scrape_asks_no_call_log(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        service.start(upgrade=False)
        service.post("/hs/UIScom/in", '{"call_session_id": 1, "direction": "in"}')
        until(lambda: read(service)['connector_forward_errors_total{reason="call_log_away"}'] > 0, "it is counted")
        said = read(service)
        assert (said["connector_call_log_up"], said["connector_waiting_deliveries"]) == (0, 1)
        assert 0 < said["connector_oldest_waiting_age_seconds"] < 60
        service.kill()
        service.start(upgrade=False)
        errors = read(service)['connector_forward_errors_total{reason="call_log_away"}']
        assert errors >= said['connector_forward_errors_total{reason="call_log_away"}']
        assert not (service.data_dir / "calllog").exists()
        service.flask("db", "upgrade")
        until(lambda: read(service)["connector_call_log_up"] == 1, "the call log is up", 40)
        db = database.open_database(service.database_url)
        with db.connection_context():
            db.execute_sql("UPDATE schema_info SET version = version + 1, readable_by = version + 1")
        service.post("/hs/UIScom/in", '{"call_session_id": 2, "direction": "in"}')
        until(lambda: read(service)["connector_call_log_schema_differs"] == 1, "the schema differs")
        assert read(service)['connector_forward_errors_total{reason="schema_differs"}'] > 0


def test_metrics_and_the_warning_outlive_a_full_and_a_read_only_disk(small_disk: Path, tmp_path: Path) -> None:
    call_log = f"sqlite:///{tmp_path}/calls/calls.db"
    with Service(tmp_path / "service", call_log, DATA_DIR=str(small_disk)) as service:
        service.data_dir = small_disk
        service.start()
        while service.post("/hs/UIScom/in", '{"call_session_id": 1, "direction": "in"}' + " " * 50_000).ok:
            pass
        said = read(service)
        assert said["connector_inbox_accepting"] == 0
        assert said['connector_disk_low{holds="inbox"}'] == 1
        assert said['connector_disk_free_bytes{holds="call_log"}'] != said['connector_disk_free_bytes{holds="inbox"}']
        assert service.get("/readyz").status_code == 503
        checked = service.flask("check", check=False)
        assert checked.returncode == 1
        assert "disk: WRONG: RuntimeError: low: 0.0 GiB of 0.0 left" in checked.stdout
        service.stop()
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        service.start(upgrade=False)
        said = read(service)
        assert (said["connector_inbox_accepting"], said["connector_forwarding"]) == (0, 0)
        assert said['connector_deliveries_total{feed="uis",outcome="received"}'] > 5
        subprocess.run(["mount", "-o", "remount,rw,size=16m", str(small_disk)], check=True)
        assert service.post("/hs/UIScom/in", '{"call_session_id": 3, "direction": "in"}').ok
        until(lambda: read(service)["connector_forwarding"] == 1, "it forwards again")
        # each worker answers by its own last try, which may be a second old
        state = until(lambda: (answer := service.get("/readyz")).ok and answer.json(), "a worker has tried again")
        (disk, *_) = state["disk"]
        assert (disk["holds"], disk["low"]) == ("inbox", False)


@pytest.mark.parametrize(
    ("free", "size", "low"),
    [(0.9, 10, True), (1.1, 10, False), (4.9, 1000, True), (5.1, 1000, False), (0.01, 0.05, False)],
)
def test_a_disk_is_low_below_a_tenth_and_five_gibibytes(free: float, size: float, low: bool) -> None:
    gibibyte = LOW_BYTES // 5
    assert Disk("inbox", Path("/"), int(free * gibibyte), int(size * gibibyte)).low is low


def test_a_silent_feed_is_told_once_in_the_log_in_readyz_and_in_metrics_until_it_speaks(tmp_path: Path) -> None:
    settings = {"UIS_SILENCE_MINUTES": "5", "XVB_SILENCE_MINUTES": "5", "LOG_FORMAT": "text"}
    with Service(tmp_path / "service", **settings) as service:
        often = {
            "forwarder.py": ("STATUS_EVERY = 60.0", "STATUS_EVERY = 0.2"),
            "inbox/watch.py": ("LOOK_EVERY = 60.0", "LOOK_EVERY = 0.2"),
        }
        service.copy_code(tmp_path / "code", often)
        service.start()
        warning = "uis: no delivery for more than 5 minutes (UIS_SILENCE_MINUTES)"
        until(lambda: warning in service.log(), "the log says that it is silent")
        assert service.get("/readyz").json()["silent_feeds"] == ["uis", "xvb"]
        assert read(service)['connector_feed_silent{feed="uis"}'] == 1
        assert 'connector_feed_silent{feed="mtt"}' not in read(service)
        (status, *_) = until(lambda: service.rows(models.FeedStatus), "feed_status is written")
        until(lambda: service.rows(models.FeedStatus)[0]["updated_at"] > status["updated_at"], "with nothing going on")
        assert service.post("/hs/UIScom/in", '{"call_session_id": 1, "direction": "in"}').ok
        until(
            lambda: "INFO connector.forwarder" in service.log() and "uis: deliveries come again" in service.log(),
            "it speaks",
        )
        assert service.get("/readyz").json()["silent_feeds"] == ["xvb"]
        assert read(service)['connector_feed_silent{feed="uis"}'] == 0
        assert service.log().count(warning) == 1


def test_a_delivery_has_its_id_as_soon_as_it_is_stored(tmp_path: Path) -> None:
    node = Node(tmp_path, f"sqlite:///{tmp_path}/none.db")

    def put(number: int) -> tuple[int, bytes]:
        body = str(number).encode()
        return node.inbox.put(Delivery("uis", "in", body), Outcome()), body

    with ThreadPoolExecutor(16) as pool:
        stored = dict(pool.map(put, range(300)))
    assert len(stored) == 300
    assert {stored.delivery.id: stored.delivery.body for stored in node.inbox.deliveries(limit=-1)} == stored


# --------------------------------------------------------------------------------------------------------------- alerts


def test_every_alert_counts_what_is_exposed_and_every_metric_is_in_the_contract(sqlite_service: Service) -> None:
    exposed = {name.partition("{")[0] for name in read(sqlite_service)} | {
        "connector_feed_silent",  # there with <FEED>_SILENCE_MINUTES
        "connector_last_delivery_timestamp_seconds",  # there with a first delivery
        "connector_node_silent",  # there with another node
    }
    assert set(re.findall(r"\bconnector_\w+", ALERTS)) <= exposed
    contract = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    assert [name for name in exposed if f"`{name}" not in contract] == []


def test_calls_are_counted_once_as_they_end_and_every_query_of_the_dashboard_finds_something(tmp_path: Path) -> None:
    program = needs.program("prometheus", "prometheus")
    board = json.loads((ROOT / "deploy" / "grafana.json").read_text(encoding="utf-8"))
    with Service(tmp_path) as service:
        service.start()
        for id, lost in ((1, False), (2, True)):
            body = json.dumps({
                "call_session_id": id, "direction": "in", "calling_phone_number": "79161112233",
                "finish_time": "2026-11-25 10:00:09", "is_lost": lost, "talk_time_duration": 0 if lost else 5,
            })  # fmt: skip
            for _ in range(2):  # a repeat ends nothing
                assert service.post("/hs/UIScom/rec", body).ok
                service.settled()
        port = free_port()
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\n"
            f"scrape_configs: [{{job_name: connector, static_configs: [{{targets: ['127.0.0.1:{service.port}']}}]}}]\n"
        )
        storage = [f"--storage.tsdb.path={tmp_path}/tsdb", f"--web.listen-address=127.0.0.1:{port}"]
        with (tmp_path / "prometheus.log").open("wb") as log:
            prometheus = subprocess.Popen([program, f"--config.file={config}", *storage], stdout=log, stderr=log)

        def asked(query: str) -> list[dict[str, Any]]:
            """What Prometheus finds; nothing while it is not there yet."""
            for name, value in (("$instance", ".*"), ("$__rate_interval", "1m")):
                query = query.replace(name, value)
            try:
                answer = requests.get(f"http://127.0.0.1:{port}/api/v1/query", {"query": query}, timeout=10)
            except requests.ConnectionError:
                return []
            if answer.status_code == 503:  # it is starting
                return []
            assert answer.ok, (query, answer.text)
            found: list[dict[str, Any]] = answer.json()["data"]["result"]
            return found

        try:
            until(lambda: asked('rate(connector_deliveries_total{feed="uis",outcome="dead"}[1m])'), "two scrapes")
            ended = asked('connector_calls_ended_total{direction="in"} > 0')
            assert {one["metric"]["disposition"]: one["value"][1] for one in ended} == {"answered": "1", "missed": "1"}
            queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
            assert len(queries) > 10
            assert [query for query in queries if not asked(query)] == []
        finally:
            prometheus.kill()
            prometheus.wait()


@pytest.mark.parametrize(
    "arguments", [("check", "rules", "deploy/alerts.yml"), ("test", "rules", "tests/alerts.test.yml")]
)
def test_promtool_finds_no_fault_with_the_alerts(arguments: tuple[str, ...]) -> None:
    promtool = needs.program("promtool", "prometheus")
    done = subprocess.run([promtool, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_is_tested_and_has_its_paragraph(name: str) -> None:
    assert f'alertname="{name}"' in (ROOT / "tests" / "alerts.test.yml").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (paragraph,) = re.findall(rf"(?ms)^### {name}\n(.*?)(?=^#|\Z)", page)
    assert "Что делать" in paragraph
    (rule,) = re.findall(rf"(?ms)- alert: {name}\n(.*?)(?=- alert|\Z)", ALERTS)
    (runbook,) = re.findall(r'runbook_url: "file:///opt/pbx-connector/current/docs/operations.md#(\w+)"', rule)
    assert runbook == name.lower()
