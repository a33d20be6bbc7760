"""XVB: what the PBX posts to /crm-api and what 1C sees of it; no event has a time, so the moment of receipt is its own."""

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

import schemas
from calllog import database
from calllog.batch import wall
from calllog.fold import fold
from inbox import DEAD, FORWARDED, IGNORED, Outcome
from models import Calls
from schemas import event as words
from schemas.event import CallEvent
from schemas.reading import Delivery
from tests.rig.fixtures import ZONE, FixtureCall, fixture_calls, name
from tests.rig.node import Node
from tests.rig.service import XVB_KEY, Service, running, until

CALLS = [call for call in fixture_calls() if call.name.startswith("xvb/")]
NOON = 1_711_962_000_000  # 1 April 2024, noon in Moscow
numbers = itertools.count(1)


def new_id() -> str:
    """A callid of the PBX's shape that no other test uses."""
    return f"{random.getrandbits(64):016x}-{next(numbers):04}_x"


def event(call_id: str, what: str, **said: Any) -> dict[str, Any]:
    """The fields of cmd=event."""
    return {
        "access_code": "10019",
        "cmd": "event",
        "callid": call_id,
        "type": "in",
        "event": what,
        "phone": "79201119613",
        **said,
    }


def understood(said: dict[str, Any] | str, at: int = NOON) -> CallEvent:
    """What a form says."""
    body = said if isinstance(said, str) else urlencode(said)
    return schemas.understand(Delivery("xvb", "crm-api", body.encode(), received_at=at), ZONE)


def columns(*events: CallEvent) -> dict[str, Any]:
    """The folded call."""
    return fold(events).columns


def post(service: Service, said: dict[str, Any], **options: Any) -> requests.Response:
    """As the PBX posts it."""
    return service.post("/crm-api", urlencode(said), key=XVB_KEY, **options)


@pytest.fixture
def node(tmp_path: Path, database_url: str) -> Node:
    """A node whose receipt times the test chooses."""
    database.upgrade(database_url, lambda line: None)
    return Node(tmp_path / "node", database_url, expire_hours=10**6)  # receipts of 2024 expire nothing


@pytest.mark.parametrize("call", CALLS, ids=name)
def test_the_service_accepts_every_fixture_delivery(sqlite_service: Service, call: FixtureCall):
    another = call.another("accepted")
    for request in another.requests:
        assert request.send(sqlite_service) == (200, {"status": "accepted"})
    row = sqlite_service.call(another.call_id, len(another.requests))
    for column in ("direction", "state", "disposition", "client_number", "employee_ext", "reason", "account"):
        assert row[column] == call.rows["calls"][column]


# ----------------------------------------------------------------------------------------------------- the status table

STATUSES = [
    # status, incoming, outgoing, reason: FEEDS, XVB
    ("Success", "answered", "answered", "normal"),
    ("ANSWER", "answered", "answered", "normal"),
    ("missed", "missed", "no_answer", "no_answer"),
    ("NOANSWER", "missed", "no_answer", "no_answer"),
    ("Cancel", "missed", "cancelled", "cancelled_by_caller"),
    ("Busy", "busy", "busy", "busy"),
    ("NotAvailable", "failed", "failed", "unavailable"),
    ("CONGESTION", "failed", "failed", "unavailable"),
    ("CHANUNAVAIL", "failed", "failed", "unavailable"),
    ("NotAllowed", "failed", "failed", "forbidden"),
    ("NotFound", "failed", "failed", "invalid_number"),
    ("ТакогоСловаНет", "unknown", "unknown", "unknown"),
    ("", "unknown", "unknown", "unknown"),
]


@pytest.mark.parametrize("spelled", [str, str.upper, str.lower, str.title], ids=["as is", "upper", "lower", "title"])
@pytest.mark.parametrize(("status", "incoming", "outgoing", "reason"), STATUSES)
def test_a_status_is_told_in_our_words(status: str, incoming: str, outgoing: str, reason: str, spelled: Any):
    for direction, disposition in (("in", incoming), ("out", outgoing)):
        said = event("a", "COMPLETED", type=direction, status=spelled(status), ext="100")
        row = columns(understood(event("a", "INCOMING", type=direction), NOON - 9000), understood(said))
        assert (row["state"], row["disposition"], row["reason"]) == ("ended", disposition, reason)
        assert row["reason_raw"] == spelled(status)
        assert row["is_answered"] == (disposition == "answered")
        assert row["is_missed"] == (direction == "in" and disposition not in ("answered", "unknown"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("INCOMING", words.RINGING),
        ("OUTGOING", words.RINGING),
        ("ANSWERED", words.ANSWERED),
        ("COMPLETED", words.ENDED),
        ("COMPLETEd", words.ENDED),
        ("CANCELLED", words.LEG_ENDED),
    ],
)
def test_an_event_is_known_in_any_case(name: str, kind: str):
    for spelled in (name, name.lower(), name.title(), name.swapcase(), f" {name} "):
        assert understood(event("a", spelled)).kind == kind


def test_who_answered_beats_a_miss():
    row = columns(
        understood(event("a", "INCOMING"), NOON),
        understood(event("a", "ANSWERED", ext="100"), NOON + 5000),
        understood(event("a", "COMPLETED", status="missed"), NOON + 9000),
    )
    assert (row["disposition"], row["is_missed"], row["employee_ext"]) == ("answered", 0, "100")


def test_cancelled_ends_no_call():
    row = columns(understood(event("a", "INCOMING")), understood(event("a", "CANCELLED", ext="101"), NOON + 1000))
    assert (row["state"], row["disposition"], row["ended_at"]) == ("ringing", "", None)


def test_an_end_without_its_beginning_began_duration_before():
    for status, direction in (("Success", "in"), ("missed", "in"), ("NOANSWER", "out"), ("Busy", "out")):
        said = event("a", "COMPLETED", type=direction, status=status, duration="25")
        row = columns(understood(said))
        assert (row["started_at"], row["ended_at"]) == (NOON - 25_000, NOON)


def test_a_call_began_when_its_beginning_was_received_whatever_duration_says():
    for status in ("Success", "missed", "Busy", "Cancel", "что-то"):
        ring = understood(event("a", "INCOMING"), NOON - 25_000)
        row = columns(ring, understood(event("a", "COMPLETED", status=status, duration="5")))
        assert (row["started_at"], row["ended_at"]) == (NOON - 25_000, NOON)


def test_the_length_of_an_answered_call_is_its_talk():
    ring = understood(event("a", "INCOMING"), NOON - 30_000)
    row = columns(ring, understood(event("a", "COMPLETED", status="Success", duration="16")))
    assert (row["talk_seconds"], row["wait_seconds"], row["total_seconds"]) == (16, 14, 30)
    assert row["answered_at"] == NOON - 16_000


def test_a_missed_call_of_duration_zero_lasted_as_long_as_it_rang():
    ring = understood(event("a", "INCOMING"), NOON - 25_000)
    row = columns(ring, understood(event("a", "COMPLETED", status="missed", duration="0")))
    assert (row["talk_seconds"], row["wait_seconds"], row["total_seconds"]) == (0, 25, 25)


def test_an_end_that_tells_no_direction_does_not_swap_who_called_whom():
    ring = understood(event("a", "INCOMING", type="out", ext="100"), NOON - 9000)
    end = event("a", "COMPLETED", status="Success", duration="5", ext="100")
    del end["type"]
    row = columns(ring, understood(end))
    assert (row["direction"], row["client_number"], row["employee_ext"]) == ("out", "79201119613", "100")
    assert (row["caller_raw"], row["called_raw"]) == ("100", "79201119613")


def test_a_beginning_received_after_the_end_does_not_move_the_end():
    end = understood(event("a", "COMPLETED", status="missed"), NOON)
    row = columns(end, understood(event("a", "INCOMING"), NOON + 3000))
    assert row["ended_at"] == NOON
    assert row["started_at"] <= NOON


def test_what_is_absent_blanks_nothing():
    ring = understood(event("a", "INCOMING", line_number="84951234567", ext=""))
    row = columns(ring, understood(event("a", "COMPLETED", status="Success", phone="", line_number=""), NOON + 1))
    assert (row["client_number"], row["line_number"]) == ("79201119613", "74951234567")


def test_a_recording_that_is_no_address_is_no_recording():
    for link in ("", "null", "/ui/msg_download/120", "javascript:alert(1)"):
        assert columns(understood(event("a", "COMPLETED", record_link=link)))["recording_url"] == ""


# ----------------------------------------------------------------------------------------------- the printed requests


def test_the_printed_requests_are_told_right_with_their_lost_underscores(service: Service):
    """The bodies of the document; each has the callid that its Content-Length has room for."""
    call = new_id()
    printed = (
        f"access_code=10019&cmd=event&callid={call}&type=in&event=INCOMING&ext=&phone=79201119613",
        f"access_code=10019&cmd=event&callid={call}&type=in&event=ANSWERED&ext=100&phone=79201119613",
        "cmd=event&status=Success&duration=16&event=COMPLETED&phone=79201119613&access_code=10019&record_link=https%3A%2F"
        f"%2Fvpbx18-dev%2Fui%2Fmsg_download%2F120%2F10019%2Ff92H16GAUDE7R10EMOLYYw.g722&callid={call}&type=in",
    )
    headers = {"TE": "deflate,gzip;q=0.3", "Content-Type": "application/x-www-form-urlencoded"}
    for body, more in zip(printed, ({}, {"X-XVB-AC": "10019"}, {}), strict=True):
        answer = service.post("/crm-api", body, key=XVB_KEY, headers={**headers, **more})
        assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
    row = service.call(call, 3)
    assert (row["account"], row["direction"], row["client_number"]) == ("10019", "in", "79201119613")
    assert (row["state"], row["disposition"], row["employee_ext"], row["talk_seconds"]) == (
        "ended",
        "answered",
        "100",
        16,
    )
    assert row["recording_url"] == "https://vpbx18-dev/ui/msg_download/120/10019/f92H16GAUDE7R10EMOLYYw.g722"


def test_an_event_without_callid_is_refused_in_words_and_kept(sqlite_service: Service):
    """The printed COMPLETED as it is printed: its last 79 bytes are cut off, and the callid with them."""
    body = (
        "cmd=event&status=Success&duration=16&event=COMPLETED&phone=79201119613&access_code=10019&record_link="
        "https%3A%2F%2Fvpbx18-dev%2Fui%2Fmsg_download%2F120%2F10019%2Ff92H16GAUDE7R10EMOLYYw.g722"
    )
    for text in (body, *(f"{body}&callid={nothing}" for nothing in ("", "null", "None", "0", "%20"))):
        answer = sqlite_service.post("/crm-api", text, key=XVB_KEY)
        assert answer.status_code == 422
        assert answer.json()["error"] == "no_call_id"
        assert "callid" in answer.json()["message"]
        stored = sqlite_service.inbox.deliveries(feed="xvb", limit=1)[0]
        assert (stored.outcome.state, stored.delivery.body) == (DEAD, text.encode())
        assert stored.outcome.detail == answer.json()["message"]


def test_an_event_without_its_name_is_refused_and_kept(sqlite_service: Service):
    for absent in ("event", "cmd"):
        said = event(new_id(), "INCOMING")
        del said[absent]
        answer = post(sqlite_service, said)
        assert answer.status_code == 422
        assert absent in answer.json()["message"]
        assert sqlite_service.inbox.deliveries(feed="xvb", limit=1)[0].outcome.state == DEAD


@pytest.mark.parametrize("body", ["", "[]", '"cmd=event"', "{", '{"cmd": "event"', "просто текст", "\x00", "[" * 990])
def test_what_is_no_form_and_no_object_is_refused_and_kept(sqlite_service: Service, body: str):
    answer = sqlite_service.post("/crm-api", body, key=XVB_KEY)
    assert answer.status_code == 400
    assert answer.json()["message"]
    stored = sqlite_service.inbox.deliveries(feed="xvb", limit=1)[0]
    assert (stored.outcome.state, stored.delivery.body) == (DEAD, body.encode())


@pytest.mark.parametrize("said", [{"cmd": "history"}, {"cmd": "event", "event": "TRANSFERRED"}])
def test_an_unknown_command_or_event_is_acknowledged_and_kept(sqlite_service: Service, said: dict[str, str]):
    call = new_id()
    answer = post(sqlite_service, {**event(call, "INCOMING"), **said})
    assert answer.status_code == 200
    assert answer.json()["status"] == "ignored"
    assert answer.json()["reason"]
    assert sqlite_service.inbox.deliveries(feed="xvb", limit=1)[0].outcome.state == IGNORED
    assert sqlite_service.rows(Calls, provider_call_id=call) == []


# --------------------------------------------------------------------------------------------------------- identities


def test_ids_that_differ_only_by_case_are_two_calls(service: Service):
    one = "Ab" + new_id()
    for call, status in ((one, "Success"), (one.swapcase(), "missed"), (one, "Success")):
        assert post(service, event(call, "INCOMING")).json() == {"status": "accepted"}
        assert post(service, event(call, "COMPLETED", status=status)).json() == {"status": "accepted"}
    assert service.call(one, 2)["disposition"] == "answered"
    assert service.call(one.swapcase(), 2)["disposition"] == "missed"
    service.settled()
    rows = [row for row in service.rows(Calls) if row["provider_call_id"].lower() == one.lower()]
    assert sorted(row["events_count"] for row in rows) == [2, 2]


def test_the_same_content_again_is_the_same_event_however_it_is_written(service: Service):
    call = new_id()
    said = event(call, "COMPLETED", status="Success", duration="16", ext="100", line_number="")
    assert post(service, said).ok
    assert post(service, {key.upper(): value for key, value in reversed(said.items())}).ok
    as_json = {**said, "duration": 16, "ext": 100, "line_number": None, "access_code": 10019}
    assert service.post("/crm-api", json.dumps(as_json), key=XVB_KEY).ok
    service.settled()
    assert service.call(call)["events_count"] == 1


def test_a_repeat_only_lowers_the_moment(node: Node):
    for at in (NOON + 4000, NOON, NOON + 9000):
        node.inbox.put(
            Delivery("xvb", "crm-api", urlencode(event("r", "INCOMING")).encode(), received_at=at), Outcome()
        )
        node.forward()
    (row,) = node.rows(Calls)
    assert (str(row["started_at"]), row["events_count"]) == (wall(NOON, ZONE), 1)


# ---------------------------------------------------------------------------------------------------- who is let in


def refused(service: Service, reason: str) -> int:
    """How often it was refused, by the counters."""
    return sum(row[3] for row in service.inbox.counters() if row[:3] == ("xvb", "refused", reason))


def test_a_header_that_names_another_tenant_is_refused_and_not_stored(sqlite_service: Service):
    stored, before = len(sqlite_service.deliveries(feed="xvb")), refused(sqlite_service, "access_code_differs")
    for said in (event(new_id(), "INCOMING"), {"access_code": "10019", "cmd": "contact", "phone": "79201119613"}):
        answer = post(sqlite_service, said, headers={"X-XVB-AC": "10020"})
        assert answer.status_code == 403
        assert "X-XVB-AC" in answer.json()["message"]
    assert len(sqlite_service.deliveries(feed="xvb")) == stored
    until(lambda: refused(sqlite_service, "access_code_differs") == before + 2, "the refusals are counted")


def test_a_header_that_agrees_is_let_in_with_a_number_or_a_text(sqlite_service: Service):
    said = event(new_id(), "INCOMING")
    assert post(sqlite_service, said, headers={"X-XVB-AC": "10019"}).ok
    as_json = json.dumps({**said, "access_code": 10019})
    assert sqlite_service.post("/crm-api", as_json, key=XVB_KEY, headers={"X-XVB-AC": "10019"}).ok


@pytest.fixture(scope="module")
def for_two_tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    yield from running(tmp_path_factory.mktemp("tenants"), XVB_ACCESS_CODES="10019, 10077")


def test_only_listed_tenants_are_let_in(for_two_tenants: Service):
    for known in ("10019", "10077"):
        assert post(for_two_tenants, event(new_id(), "INCOMING", access_code=known)).ok
    stored = len(for_two_tenants.deliveries())
    for stranger in ("10018", "1001", "", "10019, 10077"):
        answer = post(for_two_tenants, event(new_id(), "INCOMING", access_code=stranger))
        assert answer.status_code == 403
        assert "access_code" in answer.json()["message"]
    asked = {"access_code": "10018", "cmd": "contact", "phone": "79201119613"}
    assert post(for_two_tenants, asked).status_code == 403
    assert len(for_two_tenants.deliveries()) == stored
    until(lambda: refused(for_two_tenants, "unknown_tenant") == 5, "the refusals are counted")


def test_a_wrong_or_missing_key_is_refused_and_not_stored(sqlite_service: Service):
    stored = len(sqlite_service.deliveries())
    body = urlencode(event(new_id(), "INCOMING"))
    for key in ("wrong", None, "test-uis-key"):
        assert sqlite_service.post("/crm-api", body, key=key).status_code == 401
    assert len(sqlite_service.deliveries()) == stored


def test_the_key_may_be_the_password_of_basic(sqlite_service: Service):
    body = urlencode(event(new_id(), "INCOMING"))
    assert sqlite_service.post("/crm-api", body, key=None, auth=("crm", XVB_KEY)).json() == {"status": "accepted"}


def test_get_with_the_key_says_that_it_is_right_and_stores_nothing(sqlite_service: Service):
    stored = len(sqlite_service.deliveries())
    answer = sqlite_service.get("/crm-api", key=XVB_KEY)
    assert answer.status_code == 200
    assert "Ключ верный" in answer.text
    assert len(sqlite_service.deliveries()) == stored
    assert sqlite_service.get("/crm-api").status_code == 401


def test_get_with_parameters_is_a_delivery(sqlite_service: Service):
    call = new_id()
    answer = requests.get(
        f"{sqlite_service.url}/crm-api", params={"key": XVB_KEY, **event(call, "INCOMING")}, timeout=30
    )
    assert answer.json() == {"status": "accepted"}
    assert sqlite_service.call(call)["state"] == "ringing"
    assert sqlite_service.inbox.deliveries(feed="xvb", limit=1)[0].outcome.state == FORWARDED


def test_feeds_show_prints_the_address_and_what_to_tick(sqlite_service: Service):
    shown = sqlite_service.flask("feeds", "show", "xvb").stdout
    assert f"{sqlite_service.url}/crm-api?key={XVB_KEY}" in shown
    for button in (
        "WebHook URL",
        "Запрос ответственного",
        "оповещение о начале звонка",
        "оповещение об окончании звонка",
    ):
        assert button in shown


# ------------------------------------------------------------------------------------------------- the row as a whole


@pytest.mark.parametrize(
    ("said", "direction"),
    [
        ({"phone": "102", "ext": "101"}, "internal"),
        ({"phone": "102", "ext": "101", "type": "out"}, "internal"),
        ({"phone": "102", "ext": "101", "line_number": "74951234567"}, "in"),
        ({"phone": "79201119613", "ext": "101"}, "in"),
        ({"phone": "102"}, "in"),
    ],
)
def test_two_extensions_without_a_line_are_an_internal_call(said: dict[str, str], direction: str):
    ended = understood(event("c-1", "COMPLETED", status="missed", **said))
    row = columns(ended)
    assert (row["direction"], row["is_missed"]) == (direction, int(direction == "in"))
    assert row["disposition"] == ("missed" if direction == "in" else "no_answer")
    assert bool(row["client_number"]) == (direction == "in")


def test_a_call_contains_what_was_received_of_it_and_its_talk():
    """COMPLETED tells a talk that is longer than what lies between the receipts: the network held INCOMING back."""
    ring = understood(event("c-2", "INCOMING"), NOON + 50_000)
    end = understood(event("c-2", "COMPLETED", status="Success", duration="60", ext="101"), NOON + 60_000)
    row = columns(ring, end)
    assert (row["started_at"], row["answered_at"], row["ended_at"]) == (NOON, NOON, NOON + 60_000)
    assert (row["talk_seconds"], row["total_seconds"]) == (60, 60)


@pytest.mark.parametrize("what", ["CANCELLED", "canceled"])
def test_a_leg_that_was_given_up_ends_no_call(what: str):
    call = fold(
        [understood(event("c-3", "INCOMING", ext="101")), understood(event("c-3", what, ext="101"), NOON + 9000)]
    )
    assert (call.columns["state"], call.legs["101"]["ended_at"]) == ("ringing", NOON + 9000)
