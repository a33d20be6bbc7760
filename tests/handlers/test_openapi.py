"""docs/openapi.yaml: a valid description of just the routes that there are, and of what they answer when all is well. Every
other answer that a test meets through the rig is held to it as well (tests/rig/service.py)."""

import re
from pathlib import Path
from typing import Any

import pytest
import requests
from jsonschema import Draft202012Validator

import config
import schemas
from app import create_app
from config import Settings
from models import (
    CallAttributes,
    CallEvents,
    CallLegs,
    CallRecordings,
    Calls,
    Contacts,
    Employees,
    FeedStatus,
    Table,
    columns,
)
from tests.rig import openapi
from tests.rig.service import Service

API_KEY = "openapi-test-api-key"
TABLES = {
    "ChangedCall": (Calls, ()),
    "Leg": (CallLegs, ("id", "call_id")),
    "Recording": (CallRecordings, ("id", "call_id")),
    "Attribute": (CallAttributes, ("id", "call_id")),
    "Event": (CallEvents, ("id", "call_id", "payload")),
    "Contact": (Contacts, ()),
    "Employee": (Employees, ()),
    "FeedStatus": (FeedStatus, ("id",)),
}
MORE = {"ChangedCall": {"legs", "recordings", "attributes", "events", "for_you", "closed_for_you"}}


def test_it_is_a_description_in_which_every_reference_leads_somewhere() -> None:
    told = openapi.description()
    assert told["openapi"] == "3.1.0"
    assert told["info"]["version"] == config.VERSION
    for schema in told["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    text = str(told)
    for reference in set(re.findall(r"'\$ref': '([^']+)'", text)):
        assert openapi.resolved({"$ref": reference})
    for name, schema in told["components"]["schemas"].items():
        assert f"#/components/schemas/{name}'" in text, f"nobody uses {name}"
        assert set(schema.get("required", [])) <= set(schema.get("properties", {}))


def test_it_has_just_the_routes_that_there_are(tmp_path: Path) -> None:
    feeds = {name: config.FeedSettings(name) for name in schemas.feeds()}
    app = create_app(Settings(data_dir=tmp_path, database_url="sqlite:///none.db", feeds=feeds))
    there = set()
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("page."):
            continue
        path = re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule.replace("<any(in, out, rec):route>", "{route}"))
        lists = re.search(r"<any\(([\w, ]+)\):name>", path)
        names = lists[1].split(", ") if lists else [""]
        for name in names:
            here = path.replace(lists[0], name) if lists else path
            there |= {(method.lower(), here) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    told = {(m, path) for path, item in openapi.description()["paths"].items() for m in item if m in openapi.METHODS}
    assert told == there


@pytest.mark.parametrize("name", TABLES)
def test_a_row_has_the_columns_of_its_table(name: str) -> None:
    table: type[Table]
    table, hidden = TABLES[name]
    told = openapi.description()["components"]["schemas"][name]["properties"]
    assert set(told) - MORE.get(name, set()) == set(columns(table)) - set(hidden)


def test_what_is_asked_is_answered_as_it_says(tmp_path: Path) -> None:
    bearer = {"Authorization": f"Bearer {API_KEY}"}
    with Service(tmp_path, API_KEY=API_KEY) as service:
        service.start()
        body = '{"call_session_id": 7001, "direction": "in", "calling_phone_number": "79161112233", "tags": "опт"}'
        assert service.post("/hs/UIScom/in", body).json() == {"status": "accepted"}
        assert "Ключ верный" in service.get("/hs/UIScom/in", "test-uis-key").text
        assert service.post("/crm-api", "cmd=contact&phone=79161112233", "test-xvb-key").json() == {}
        service.settled()

        def asked(method: str, path: str, **options: Any) -> Any:
            return openapi.check(
                requests.request(method, f"{service.url}{path}", headers=bearer, timeout=30, **options)
            ).json()

        for name, key, row in (("contacts", "client_number", "79161112233"), ("employees", "employee_ext", "101")):
            path = f"/api/{name}"
            assert asked("PUT", path, json=[{key: row}]) == {"written": 1}
            assert asked("PUT", path, json=[{key: row}, {}])["refused"][0]["index"] == 1
            assert len(asked("GET", path)[name]) == 1
            assert asked("DELETE", path, params={key: row}) == {"deleted": 1}
        (call,) = asked("GET", "/api/changes?ext=101&with=legs,recordings,attributes,events")["calls"]
        assert call["attributes"] == [{"name": "tags", "content": "опт"}]
        assert asked("GET", "/api/status")["position"] == 1
        assert service.get("/readyz").json()["call_log"]["state"] == "ok"
        assert service.get("/metrics").ok
        assert asked("POST", "/api/make-call", json={"provider": "uis", "from": "101", "to": "79161112233"})["error"]


def test_an_answer_that_it_does_not_promise_is_noticed(tmp_path: Path) -> None:
    answer = requests.Response()
    answer.request = requests.Request("GET", "http://127.0.0.1/healthz").prepare()
    answer.status_code, answer._content = 200, b'{"status": "alive"}'
    answer.headers["Content-Type"] = "application/json; charset=utf-8"
    openapi.check(answer)
    for name, value in (
        ("_content", b'{"status": "well"}'),
        ("status_code", 418),
        ("headers", {"Content-Type": "text/html"}),
    ):
        before = getattr(answer, name)
        setattr(answer, name, value)
        with pytest.raises(AssertionError, match="openapi"):
            openapi.check(answer)
        setattr(answer, name, before)
