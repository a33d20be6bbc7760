"""What 1C asks and writes over HTTP: changed calls for a card while it rings, and contacts."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
from peewee import fn

from calllog.database import open_database
from models import Calls, Contacts, Employees
from tests.conftest import DATABASES
from tests.rig.mariadb import MariaDB
from tests.rig.node import end, ring
from tests.rig.service import MTT_KEY, XVB_KEY, Service, running, until
from tests.rig.traffic import traffic

API_KEY = "test-api-key"
HEADERS = {"Authorization": f"Bearer {API_KEY}"}
EMPLOYEE = {"extension_phone_number": "102", "employee_phone_number": "79161234567"}


STARTS: dict[str, int] = {}  # address of a service -> where its call log was when the test began


@pytest.fixture(scope="module", params=DATABASES)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One worker: two may be a tenth of a second apart."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("mariadb").create("changes")
    yield from running(tmp_path_factory.mktemp("changes"), url, API_KEY=API_KEY, WORKERS="1")


@pytest.fixture
def api(shared: Service) -> Service:
    """The module's service, with no contact and no employee; its calls so far are before the test's start."""
    db = open_database(shared.database_url)
    with db.connection_context():
        for table in (Contacts, Employees):
            table.delete().execute(db)
        STARTS[shared.url] = Calls.select(fn.MAX(Calls.change_no)).scalar(db) or 0
    return shared


def changes(service: Service, after: int | None = None, status: int = 200, **said: Any) -> dict[str, Any]:
    given = {"after": STARTS.get(service.url, 0) if after is None else after, **said}
    answer = requests.get(f"{service.url}/api/changes", params=given, headers=HEADERS, timeout=30)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def put(service: Service, contacts: Any, status: int = 200) -> dict[str, Any]:
    body = contacts if isinstance(contacts, bytes) else json.dumps(contacts).encode()
    answer = requests.put(f"{service.url}/api/contacts", data=body, headers=HEADERS, timeout=30)
    assert answer.status_code == status, answer.text
    said: dict[str, Any] = answer.json()
    return said


def told(service: Service, *events: tuple[str, dict[str, Any]]) -> None:
    for route, said in events:
        assert service.post(f"/buh/hs/UIScom/{route}", json.dumps(said)).json() == {"status": "accepted"}
    caught_up(service)


def caught_up(service: Service) -> None:
    """Wait until all that was sent is told: what was read a tenth of a second ago is read anew."""
    service.settled()
    last = max(row["change_no"] for row in service.rows(Calls))
    until(lambda: changes(service)["position"] >= last, "the worker has read on")


def ids(answer: dict[str, Any]) -> list[str]:
    return [call["provider_call_id"] for call in answer["calls"]]


# ----------------------------------------------------------------------------------------------------------- changes


def test_a_changed_call_is_told_once_to_each_position_and_again_when_it_changes(api: Service):
    until(lambda: changes(api) == {"position": STARTS[api.url], "more": False, "calls": []}, "nothing is new")
    told(api, ("in", ring("801")), ("in", ring("802")))
    until(lambda: len(changes(api)["calls"]) == 2, "what was read a tenth of a second ago is read anew")
    first = changes(api)
    assert sorted(ids(first)) == ["801", "802"]
    assert changes(api, first["position"]) == {"position": first["position"], "more": False, "calls": []}
    told(api, ("rec", end("801", **EMPLOYEE)))
    until(lambda: changes(api, first["position"])["calls"], "the change is told")
    second = changes(api, first["position"])
    assert ids(second) == ["801"]
    assert (second["calls"][0]["state"], second["calls"][0]["started_at"]) == ("ended", "2024-03-01T10:00:00")
    assert second["position"] == second["calls"][0]["change_no"] > first["position"]


def test_a_long_way_is_told_in_portions(api: Service):
    told(api, *(("in", ring(f"81{number}")) for number in range(7)))
    until(lambda: len(ids(changes(api))) == 7, "the worker has read them")
    seen: list[str] = []
    position, turns = STARTS[api.url], 0
    while True:
        answer = changes(api, position, limit=3)
        seen += ids(answer)
        position, turns = answer["position"], turns + 1
        if not answer["more"]:
            break
    assert sorted(seen) == [f"81{number}" for number in range(7)]
    assert turns == 3


def test_what_was_read_for_others_is_told_in_the_same_order_and_portions(api: Service):
    """Clients that keep up are answered from what the worker read last, each with its own position and extension."""
    start = changes(api)["position"]
    told(api, *(("in", ring(f"89{number}", **(EMPLOYEE if number % 2 else {}))) for number in range(6)))
    until(lambda: len(ids(changes(api, start))) == 6, "the worker has read them")
    whole = changes(api, start)
    assert [call["change_no"] for call in whole["calls"]] == sorted(call["change_no"] for call in whole["calls"])
    assert whole["position"] == whole["calls"][-1]["change_no"]
    assert sorted(ids(changes(api, start, ext="103"))) == ["890", "892", "894"]  # they ring, nobody knows whom
    seen, position = [], start
    while (answer := changes(api, position, limit=4))["calls"]:
        seen += ids(answer)
        assert answer["more"] == (len(seen) < 6)
        position = answer["position"]
    assert seen == ids(whole)
    told(api, ("rec", end("890", **EMPLOYEE)))
    until(lambda: ids(changes(api, position)) == ["890"], "the change is told")
    again = changes(api, start)
    assert ids(again) == [*(id for id in ids(whole) if id != "890"), "890"]  # each call once, as it is now
    assert changes(api, 2**62)["position"] == again["position"]  # ahead of the call log: it is another one


def test_an_extension_is_told_of_its_calls_its_legs_and_of_ringing_calls_that_are_nobodys_yet(api: Service):
    told(
        api,
        ("in", ring("821")),  # rings, nobody knows whom
        ("in", ring("822", **EMPLOYEE)),  # answered by 102
        ("in", ring("823", extension_phone_number="103", employee_phone_number="79162345678")),
        ("rec", end("824")),  # ended, nobody is named
        ("in", ring("825", extension_phone_number="103", employee_phone_number="79162345678")),
        ("in", ring("825", **EMPLOYEE)),  # two legs: 103, then 102
        ("rec", end("825", extension_phone_number="103", employee_phone_number="79162345678")),
    )
    first = changes(api, ext="102")
    told_102 = {c["provider_call_id"]: (c["for_you"], c["closed_for_you"]) for c in first["calls"]}
    assert told_102 == {
        "821": ("unknown", False), "822": ("talking", False), "824": ("unknown", True), "825": ("was_rung", True),
    }  # fmt: skip
    assert sorted(ids(changes(api, ext="103"))) == ["821", "823", "824", "825"]
    assert sorted(ids(changes(api, ext="999"))) == ["821", "824"]
    assert sorted(ids(changes(api, ext="102,103"))) == ["821", "822", "823", "824", "825"]
    both = changes(api, ext=["102", "103"])
    assert sorted(ids(both)) == ["821", "822", "823", "824", "825"]
    call = next(call for call in first["calls"] if call["provider_call_id"] == "825")
    assert sorted(leg["employee_ext"] for leg in call["legs"]) == ["102", "103"]
    whole = changes(api)
    of_103 = [call["id"] for call in whole["calls"] if call["provider_call_id"] == "823"]
    assert (first["position"], first["not_yours"]) == (whole["position"], of_103)  # what is another's is passed
    assert "not_yours" not in whole
    assert "for_you" not in whole["calls"][0]


def test_what_is_asked_for_is_told_and_nothing_else(api: Service):
    record = {"full_record_file_link": "https://app.uiscom.ru/media/7", "tags": "vip"}
    told(api, ("in", ring("871")), ("rec", end("871", **EMPLOYEE, **record)))
    until(lambda: ids(changes(api)) == ["871"], "the call is told")
    wanted: dict[str, Any] = {"columns": "client_number,state", "with": "recordings,attributes,events"}
    (call,) = changes(api, **wanted)["calls"]
    assert call.keys() == {"id", "change_no", "client_number", "state", "recordings", "attributes", "events"}
    assert [recording["url"] for recording in call["recordings"]] == ["https://app.uiscom.ru/media/7"]
    assert {row["name"]: row["content"] for row in call["attributes"]}["tags"] == "vip"
    assert [event["kind"] for event in call["events"]] == ["ringing", "ended"]
    assert "payload" not in call["events"][0]
    wanted = {"columns": "provider_call_id", "ext": "102", "with": ""}
    (bare,) = changes(api, **wanted)["calls"]
    assert bare.keys() == {"id", "change_no", "provider_call_id", "for_you", "closed_for_you"}
    assert "legs" in changes(api)["calls"][0]


def test_the_status_tells_the_clock_the_position_and_who_writes(api: Service):
    told(api, ("in", ring("881")))
    found = until(lambda: (body := ask(api, "GET", "status"))["is_writing"] and body, "feed_status is written", 90)
    assert found["timezone"] == "Europe/Moscow"
    moscow = datetime.now(ZoneInfo("Europe/Moscow")).replace(tzinfo=None)
    assert abs(datetime.fromisoformat(found["time"]) - moscow) < timedelta(seconds=30)
    assert found["position"] == max(row["change_no"] for row in api.rows(Calls))
    assert found["open_feeds"] == ["hooktype", "mgerm", "mtt", "uis", "xvb"]
    assert {row["feed"] for row in found["feed_status"]} >= {"uis"}


def test_an_employee_of_a_provider_without_extensions_is_known_by_the_number(api: Service):
    said = {
        "data": "event=o_79684881033_2019-05-23-15-15-19", "event": {"type": "o"}, "redirect_number": "79684881033",
        "h323_conf_id": "BC5F236C 5AD211E9 81BA5CB9 01FED6FC", "numberA": "79154368886",
    }  # fmt: skip
    api.post("/mtt/events", json.dumps(said), key=MTT_KEY)
    caught_up(api)
    assert len(changes(api, ext="89684881033")["calls"]) == 1
    assert changes(api, ext="102")["calls"] == []


@pytest.mark.parametrize(
    ("query", "named"),
    [("after=x", "after"), ("after=-1", "after"), ("after=1.5", "after"), (f"after={2**64}", "after"),
     ("limit=0", "limit"), ("limit=501", "limit"), ("limit=%D9%A1", "limit"),
     ("ext=" + ",".join(map(str, range(100, 121))), "ext"), ("columns=payload", "columns"), ("with=calls", "with")],
)  # fmt: skip
def test_a_wrong_parameter_is_named(sqlite_api: Service, query: str, named: str):
    answer = requests.get(f"{sqlite_api.url}/api/changes?{query}", headers=HEADERS, timeout=30)
    assert (answer.status_code, answer.json()["error"]) == (422, "bad_field")
    assert named in answer.json()["message"]


@pytest.fixture(scope="module")
def sqlite_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    yield from running(tmp_path_factory.mktemp("api"), API_KEY=API_KEY)


def test_only_the_api_key_opens_it(sqlite_api: Service):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {API_KEY}"}):
        assert requests.get(f"{sqlite_api.url}/api/changes", headers=headers, timeout=30).status_code == 401
        for method, path in (("PUT", "contacts"), ("GET", "employees"), ("DELETE", "contacts"), ("GET", "status")):
            address = f"{sqlite_api.url}/api/{path}"
            assert requests.request(method, address, data="[]", headers=headers, timeout=30).status_code == 401


def test_a_call_log_that_is_away_or_hangs_is_said_at_once_and_harms_no_delivery(tmp_path: Path, mariadb: MariaDB):
    """Fifty questions a second, from clients that wait for their answers, while MariaDB is stopped dead."""
    with MariaDB(tmp_path / "own") as server, Service(tmp_path / "s", server.create("api"), API_KEY=API_KEY) as api:
        api.start()
        told(api, ("in", ring("841")))
        until(lambda: ids(changes(api)) == ["841"], "the call is told")
        server.pause()
        stop, longest = threading.Event(), [0.0]
        statuses: list[int] = []

        def ask() -> None:
            while not stop.wait(0.2):
                began = time.monotonic()
                statuses.append(requests.get(f"{api.url}/api/changes", headers=HEADERS, timeout=30).status_code)
                longest[0] = max(longest[0], time.monotonic() - began)

        clients = [threading.Thread(target=ask) for _ in range(10)]
        for client in clients:
            client.start()
        with traffic(api) as seen:
            until(
                lambda: len(statuses) > 20 and set(statuses[-20:]) == {503},
                "what was read last is not told for long",
                20,
            )
            away = len(statuses)
            until(lambda: len(statuses) > away + 100 and seen.count > 200, "questions and deliveries flow", 60)
        stop.set()
        for client in clients:
            client.join()
        assert set(statuses[away:]) == {503}
        assert longest[0] < 4
        assert (seen.refused, seen.broken) == ([], 0)
        assert seen.slowest < 2.5
        assert changes(api, status=503)["error"] == "call_log_away"
        server.resume()
        until(lambda: requests.get(f"{api.url}/api/changes", headers=HEADERS, timeout=30).ok, "it is back")


# ---------------------------------------------------------------------------------------------------------- contacts


def contact(number: str, name: str = "", ext: str = "") -> dict[str, str]:
    return {"client_number": number, "client_name": name, "responsible_ext": ext}


def card(service: Service, number: str) -> dict[str, str]:
    said = {"access_code": "10019", "cmd": "contact", "phone": number, "callid": "x"}
    found: dict[str, str] = requests.post(f"{service.url}/crm-api?key={XVB_KEY}", data=said, timeout=30).json()
    return found


def stored(service: Service) -> list[tuple[str, str, str]]:
    rows = service.rows(Contacts)
    return [(row["client_number"], row["client_name"], row["responsible_ext"]) for row in rows]


def test_contacts_are_normalised_and_used_at_once(api: Service):
    assert put(api, [contact("8 (920) 111-96-13", "Вася/Рога и Копыта 📞", "100"), contact("102", "Склад")]) == {
        "written": 2
    }
    assert stored(api) == [("79201119613", "Вася/Рога и Копыта 📞", "100"), ("102", "Склад", "")]
    assert card(api, "+79201119613") == {"contact_name": "Вася/Рога и Копыта 📞", "responsible": "100"}


def test_the_same_list_again_changes_nothing(api: Service):
    told_once = [contact(f"7920111{number:04}", f"Клиент {number}", "100") for number in range(1000)]
    assert put(api, told_once) == {"written": 1000}
    before = api.rows(Contacts)
    assert len(before) == 1000
    assert put(api, told_once) == {"written": 1000}
    assert api.rows(Contacts) == before
    put(api, [contact("79201110000", "Другое имя")])
    after = api.rows(Contacts)
    assert [row["id"] for row in after] == [row["id"] for row in before]
    assert [row for row in after if row not in before] == [
        row for row in after if row["client_number"] == "79201110000"
    ]
    assert card(api, "9201110000") == {"contact_name": "Другое имя"}


def test_what_1c_wrote_itself_in_any_spelling_is_replaced(api: Service):
    db = open_database(api.database_url)
    with db.connection_context():
        spelled = ["+79201119613", "89201119613", "9201119613"]
        rows = [{"id": id, **contact(number, f"старое {id}")} for id, number in enumerate(spelled, 1)]
        Contacts.insert_many(rows).execute(db)
    assert card(api, "79201119613") != {}
    put(api, [contact("79201119613", "новое", "100")])
    assert stored(api) == [("79201119613", "новое", "100")]


def test_a_number_that_is_a_word_may_be_there_in_another_case(api: Service):
    put(api, [contact("SIP-Login", "первый")])
    put(api, [contact("sip-login", "второй"), contact("Ёж", "третий")])
    put(api, [contact("еж", "четвёртый")])  # to MariaDB the same word, to SQLite another
    rows = stored(api)
    assert ("sip-login", "второй", "") in rows
    assert ("еж", "четвёртый", "") in rows


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        (b"", 400, "JSON"), (b"{", 400, "JSON"), (b"{}", 400, "JSON"), (b"\xff", 400, "JSON"),
        (b"[" * 100_000, 400, "JSON"),
        (json.dumps([contact("1")] * 1001).encode(), 422, "1000"),
        (b" " * 1_100_000, 413, "частями"),
    ],
)  # fmt: skip
def test_a_wrong_list_is_refused_by_name_and_nothing_of_it_is_written(
    sqlite_api: Service, body: bytes, status: int, named: str
):
    assert named in put(sqlite_api, body, status)["message"]
    assert sqlite_api.rows(Contacts) == []


def test_a_bad_row_is_named_and_keeps_no_other_out(api: Service):
    good = [contact("79201119613", "Вася"), contact("79201119614", "Петя")]
    bad = [
        {"client_name": "x"}, contact(""), contact(" + "), contact("1", "x" * 256), contact("1", "\ud83d"), 7,
        {"client_number": "1", "responsible_ext": ["100"]}, {"client_number": None},
    ]  # fmt: skip
    answer = put(api, [good[0], *bad, good[1]], 422)
    assert (answer["error"], answer["written"]) == ("rows_refused", 2)
    assert [(row["index"], row["field"]) for row in answer["refused"]] == [
        (1, "client_number"), (2, "client_number"), (3, "client_number"), (4, "client_name"), (5, ""), (6, ""),
        (7, "responsible_ext"), (8, "client_number"),
    ]  # fmt: skip
    assert answer["refused"][3]["message"].startswith("Контакт 5: поле client_name")
    assert answer["message"].startswith("Записано 2, отвергнуто 8. Контакт 2: поле client_number")
    assert stored(api) == [("79201119613", "Вася", ""), ("79201119614", "Петя", "")]
    wrong_id = {"employee_ext": "102", "provider_employee_id": "x"}
    answer = ask(api, "PUT", "employees", 422, json=[wrong_id, {"employee_ext": "101"}])
    assert (answer["written"], answer["refused"][0]["field"]) == (1, "provider_employee_id")


def ask(service: Service, method: str, path: str, status: int = 200, **given: Any) -> dict[str, Any]:
    answer = requests.request(method, f"{service.url}/api/{path}", headers=HEADERS, timeout=30, **given)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_contacts_are_read_page_by_page_and_deleted_in_whatever_spelling(api: Service):
    put(api, [contact(f"7920111961{number}", f"Клиент {number}") for number in range(5)])
    seen: list[str] = []
    after = 0
    while after is not None:
        page = ask(api, "GET", "contacts", params={"after": after, "limit": 2})
        seen, after = seen + [row["client_name"] for row in page["contacts"]], page["next"]
    assert seen == [f"Клиент {number}" for number in range(5)]
    found = ask(api, "GET", "contacts", params={"client_number": "8 (920) 111-96-13"})
    assert [row["client_name"] for row in found["contacts"]] == ["Клиент 3"]
    gone = {"client_number": ["8 (920) 111-96-13", "+79201119614", "79990000000"]}
    assert ask(api, "DELETE", "contacts", params=gone) == {"deleted": 2}
    assert ask(api, "DELETE", "contacts", params=gone) == {"deleted": 0}
    assert [row[1] for row in stored(api)] == ["Клиент 0", "Клиент 1", "Клиент 2"]
    assert "client_number" in ask(api, "DELETE", "contacts", 422)["message"]
    assert "after" in ask(api, "GET", "contacts", 422, params={"after": "x"})["message"]
    ask(api, "PUT", "employees", json=[{"employee_ext": "102", "employee_name": "Иванова"}, {"employee_ext": "103"}])
    assert ask(api, "DELETE", "employees", params={"employee_ext": "103"}) == {"deleted": 1}
    assert [row["employee_name"] for row in ask(api, "GET", "employees")["employees"]] == ["Иванова"]


def test_contacts_make_no_call_and_move_no_change(api: Service):
    told(api, ("in", ring("861")))
    before = api.rows(Calls)
    put(api, [contact("79201119613", "x")])
    assert api.rows(Calls) == before
