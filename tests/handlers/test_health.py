"""/healthz, /readyz and feed_status: what is wrong is told, and tells nobody to go away who need not."""

import os
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import app
import models
import schemas
from calllog import batch, database
from config import FeedSettings, Settings
from inbox import now
from inbox.state import OWN, node_state
from tests.rig.node import Node
from tests.rig.service import Service, until


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


def test_a_stranger_is_told_ready_and_nothing_else_and_asks_the_disk_once_a_second(tmp_path: Path) -> None:
    stranger, key = {"X-Forwarded-For": "203.0.113.7"}, {"Authorization": "Bearer an-api-key-of-1c"}
    with Service(tmp_path, WORKERS="1", API_KEY="an-api-key-of-1c", TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8") as service:
        service.start()
        answers = [service.get("/readyz", headers=stranger) for _ in range(50)]
        assert {(answer.status_code, answer.text) for answer in answers} == {(200, '{"status": "ready"}\n')}
        forged = {"X-Forwarded-For": "127.0.0.1, 203.0.113.7"}
        assert service.get("/readyz", headers=forged).json() == {"status": "ready"}
        for insider in ({}, stranger | key, {"X-Forwarded-For": "127.0.0.1"}, {"X-Forwarded-For": "10.0.0.5"}):
            assert service.get("/readyz", headers=insider).json()["node"] == service.inbox.node()
        moments = set()
        until_at = time.monotonic() + 0.5
        while time.monotonic() < until_at:
            service.get("/readyz", headers=stranger)
            moments.add(service.inbox.fact("probed_at"))
        assert len(moments) <= 2


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


def test_another_node_that_dies_is_seen_by_the_one_that_lives(tmp_path: Path, database_url: str) -> None:
    database.upgrade(database_url, lambda line: None)
    here, there = (Node(tmp_path / name, database_url, api_key="k") for name in "ab")
    for node in (there, here):
        node.forwarder.tick(always=True)
    client = app.create_app(here.settings).test_client()

    def ready() -> dict[str, Any]:
        found = client.get("/readyz").get_json()
        return {name: found[name] for name in ("other_nodes", "silent_nodes")}

    name = there.inbox.node()
    assert ready()["other_nodes"].keys() == {name}
    assert ready()["silent_nodes"] == []
    db = database.open_database(database_url)
    with db.connection_context():
        for minutes, silent in ((10, [name]), (60 * 24 * 8, [])):
            at = batch.wall(now() - minutes * 60_000, here.settings.timezone)
            models.FeedStatus.update(updated_at=at).where(models.FeedStatus.node == name).execute(db)
            here.forwarder.tick(always=True)
            assert ready()["silent_nodes"] == silent
            assert (f'connector_node_silent{{node="{name}"}} 1.0' in client.get("/metrics").text) is bool(silent)
    assert ready()["other_nodes"] == {}  # away for a week: it is no node any more


def test_nodes_whose_keys_differ_are_named(tmp_path: Path, database_url: str) -> None:
    """A provider's request is answered 200 by one and 401 by the other."""
    database.upgrade(database_url, lambda line: None)
    here, like, other = (
        Node(tmp_path / name, database_url, api_key=key) for name, key in zip("abc", "kkl", strict=True)
    )
    for node in (like, other, here):
        node.forwarder.tick(always=True)
    assert {one.name for one in fields(Settings)} >= OWN
    state = node_state(here.settings, here.inbox)
    assert state.other_nodes.keys() == {like.inbox.node(), other.inbox.node()}
    assert state.differing_nodes == [other.inbox.node()]


def test_feed_status_tells_1c_that_the_service_lives(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        service.start()
        (row, *_) = until(lambda: service.rows(models.FeedStatus), "feed_status is written", 20)
        assert row["feed"] in schemas.feeds()
        assert row["updated_at"] is not None
        assert row["waiting"] == row["dead"] == 0


@pytest.mark.parametrize("task", ["purge", "backup"])
def test_what_should_succeed_every_night_is_told_when_it_does_not(task: str, tmp_path: Path) -> None:
    with Service(tmp_path / "service", OPERATOR_PASSWORD="p") as service:
        service.start()
        assert service.get("/readyz").json()[task] == {"succeeded_at": None, "overdue": False}
        three_days_ago = time.time() - 3 * 86_400
        os.utime(service.data_dir / "inbox.made", (three_days_ago, three_days_ago))  # where it was never set up
        assert service.get("/readyz").json()[task] == {"succeeded_at": None, "overdue": True}
        assert f'connector_task_overdue{{task="{task}"}} 1.0' in service.get("/metrics").text
        assert f"{task} succeeded never" in service.flask("check", check=False).stdout
        assert f"pbx-connector {task}</code> не удаётся больше двух суток: ещё ни разу" in page(service)
        service.flask("purge")
        service.flask("backup", str(tmp_path / "copies"))
        state = service.get("/readyz").json()[task]
        assert (state["overdue"], bool(state["succeeded_at"])) == (False, True)
        assert "не удаётся" not in page(service)
        assert service.flask("check").returncode == 0
        old = str(round((time.time() - 2.1 * 86_400) * 1000))
        service.inbox.remember(**{{"purge": "purged_at", "backup": "backup_at"}[task]: old})
        assert service.get("/readyz").json()[task]["overdue"] is True
        assert service.flask("check", check=False).returncode == 1


def page(service: Service) -> str:
    return service.get("/service", auth=("operator", "p")).text
