"""/healthz, /readyz, and logs that a night call can be answered from without giving anybody away."""

import json
from pathlib import Path

import pytest

import app
import logs
import models
import schemas
from config import FeedSettings, Settings
from tests.rig.node import end
from tests.rig.service import MGERM_KEY, UIS_KEY, Service, until


def test_healthz_says_that_the_process_answers(sqlite_service: Service) -> None:
    assert sqlite_service.get("/healthz").json() == {"status": "alive"}


def test_readyz_tells_what_waits_what_is_dead_and_who_forwards(sqlite_service: Service) -> None:
    sqlite_service.post("/hs/UIScom/in", "[")
    until(lambda: sqlite_service.get("/readyz").json()["call_log"]["state"] == "ok", "the call log was seen")
    said = sqlite_service.get("/readyz").json()
    assert said["status"] == "ready"
    assert said["forwarding"] is True
    assert said["dead"] >= 1
    assert said["silent_feeds"] == []
    assert said["call_log"]["seen_at"]


@pytest.mark.parametrize("state", ["nothing forwards", "silent", "no call log"])
def test_what_is_wrong_is_a_field_and_no_503(state: str, tmp_path: Path) -> None:
    feeds = {name: FeedSettings(name, keys=("k",), silence_minutes=5 * (state == "silent")) for name in schemas.feeds()}
    settings = Settings(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path}/none.db", feeds=feeds)
    application = app.create_app(settings)
    answer = application.test_client().get("/readyz")
    assert answer.status_code == 200
    said = answer.get_json()
    assert said["forwarding"] is False
    assert said["silent_feeds"] == (sorted(schemas.feeds()) if state == "silent" else [])
    assert said["call_log"]["state"] == "not seen yet"


def test_feed_status_tells_1c_that_the_service_lives(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        service.start()
        (row, *_) = until(lambda: service.rows(models.FeedStatus), "feed_status is written", 20)
        assert row["feed"] in schemas.feeds()
        assert row["updated_at"] is not None
        assert row["waiting"] == row["dead"] == 0


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("GET /hs/UIScom/in?key=abc-def&x=1", "GET /hs/UIScom/in?key=***&x=1"),
        ("call from 79201119613 to +74951234567", "call from 7920***9613 to +7495***4567"),
        ("delivery 12345678 of call 70", "delivery 12345678 of call 70"),
        (
            "2026-11-21 11:08:31,123 id 8f14e45fceea167a5a36dedd4bea2543",
            "2026-11-21 11:08:31,123 id 8f14e45fceea167a5a36dedd4bea2543",
        ),
    ],
)
def test_keys_and_numbers_are_masked(line: str, masked: str) -> None:
    assert logs.masked(line) == masked


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_runs_log_has_no_key_no_number_no_link_and_no_body(log_format: str, tmp_path: Path) -> None:
    with Service(tmp_path, LOG_FORMAT=log_format, LOG_LEVEL="debug") as service:
        service.start()
        link = "https://app.uiscom.ru/system/media/talk/secret-recording"
        body = json.dumps(end("800", full_record_file_link=link, contact_full_name="Иванова"), ensure_ascii=False)
        assert service.post("/hs/UIScom/rec", body).ok
        assert service.post("/hs/UIScom/rec", body + "}", UIS_KEY).status_code == 400
        assert service.post("/hs/UIScom/rec", body, "wrong-" + UIS_KEY).status_code == 401
        assert service.get("/hs/UIScom/in", UIS_KEY).ok
        assert service.get(f"/hs/UIScom/nowhere?key={UIS_KEY}").status_code == 404
        service.call("800")
        until(lambda: "wrong key" in service.log(), "the refusal is logged")
        service.stop()
        said = service.log()
    for secret in (UIS_KEY, MGERM_KEY, "79201119613", "74951234567", "secret-recording", "Иванова", "call_session_id"):
        assert secret not in said
    if log_format == "json":
        lines = [json.loads(line) for line in said.splitlines()]
        assert {"at", "level", "logger", "process", "message"} <= set(lines[0])
