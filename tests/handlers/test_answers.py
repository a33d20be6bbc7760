"""The answers, row by row of docs/contract.md section 1, and the sentence that each fault in a template is told with."""

import itertools
import json
import re

import pytest
import requests

from inbox import REFUSED
from tests.rig.service import KEYS, UIS_KEY, Service

_ids = itertools.count(6_000_000)
IN = "/hs/UIScom/in"

# a fault in the template -> what its sentence must name
FAULTS: dict[str, tuple[str | bytes, list[str]]] = {
    "a comma is missing": ('{"direction":"in"\n"call_session_id":1}', ["строка 2, столбец 1", "не хватает запятой"]),
    "quotes round a placeholder that hold quotes": ('{"call_session_id":1,"n":""a"b""}', ["{{…}}", "столбец 28"]),
    "typographic quotes": ("{“call_session_id”:1}", ["строка 1, столбец 2", "вместо кавычек"]),
    "single quotes": ("{'call_session_id':1}", ["вместо кавычек"]),
    "the closing brace is missing": ('{"call_session_id":1', ["закрывающей скобки"]),
    "something after the object": ('{"call_session_id":1} конец', ["столбец 23", "конец"]),
    "a value is missing": ('{"call_session_id":,"a":1}', ["столбец 20", "не хватает значения"]),
    "a key without quotes": ("{call_session_id:1}", ["столбец 2", "call_session_id"]),
    "an array": ("[1]", ["массив"]),
    "text": ("hello", ["начинается с «hello»", "call_session_id"]),
    "no call id": ('{"direction":"in"}', ["call_session_id", "{{call_session_id}}"]),
    "nothing": ("", ["пустое", "POST"]),
    "another coding": ('{"n":"Привет"}'.encode("cp1251"), ["UTF-8", "позиции 6", "Привет"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_template_is_told_with_the_place_and_the_field_to_change(
    fault: str, sqlite_service: Service
) -> None:
    body, names = FAULTS[fault]
    answer = sqlite_service.post(IN, body)
    assert answer.status_code in (400, 422)
    assert set(answer.json()) == {"error", "message"}
    for name in [*names, "«JSON для тела запроса»"]:
        assert name in answer.json()["message"]


def test_stored_and_understood_is_accepted_also_a_repeat(sqlite_service: Service) -> None:
    body = json.dumps({"call_session_id": next(_ids), "direction": "in"})
    for _ in range(3):
        answer = sqlite_service.post(IN, body)
        assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


def test_a_notification_that_is_not_about_a_call_is_ignored_with_a_reason(sqlite_service: Service) -> None:
    answer = sqlite_service.post(IN, '{"chat_id": 5, "text": "Здравствуйте"}')
    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
    assert "чат" in answer.json()["reason"]


@pytest.mark.parametrize("path", ["/hs", "/hs/UIScom", "/hs/UIScom/inn", "/api"])
def test_an_unknown_path_is_404_in_the_same_shape(path: str, sqlite_service: Service) -> None:
    answer = requests.post(sqlite_service.url + path, data="{}", timeout=10, allow_redirects=False)
    assert answer.status_code == 404
    assert answer.json()["error"] == "not_found"
    assert "«URL»" in answer.json()["message"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_a_wrong_method_is_405_and_names_the_right_ones(method: str, sqlite_service: Service) -> None:
    answer = requests.request(method, f"{sqlite_service.url}{IN}?key={UIS_KEY}", timeout=10)
    assert answer.status_code == 405
    assert answer.json()["error"] == "method_not_allowed"
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("base", ["", "/", "/buh", "/a/b/c", "/%D0%91%D1%83%D1%85", "/Бух 2024", "/hs"])
@pytest.mark.parametrize("route", ["in", "out", "rec"])
def test_the_old_address_works_under_any_base_name(base: str, route: str, sqlite_service: Service) -> None:
    call = str(next(_ids))
    answer = sqlite_service.post(f"{base}/hs/UIScom/{route}", json.dumps({"call_session_id": call, "direction": "in"}))
    assert answer.json() == {"status": "accepted"}
    stored = next(
        stored for stored in sqlite_service.inbox.deliveries(limit=5) if call.encode() in stored.delivery.body
    )
    assert (stored.delivery.feed, stored.delivery.route) == ("uis", route)


@pytest.mark.parametrize("base", ["", "/buh"])
def test_ping_answers_as_the_1c_service_did_and_stores_nothing(base: str, sqlite_service: Service) -> None:
    before = len(sqlite_service.deliveries())
    answer = sqlite_service.get(f"{base}/hs/UIScom/ping")
    assert (answer.status_code, answer.text) == (200, "HTTP-Сервис работает! Its Work!")
    assert len(sqlite_service.deliveries()) == before


def test_a_get_with_nothing_but_the_key_says_that_all_is_well_and_stores_nothing(sqlite_service: Service) -> None:
    sqlite_service.post(IN, json.dumps({"call_session_id": next(_ids), "direction": "in"}))
    sqlite_service.post(IN, "[]")
    before = len(sqlite_service.deliveries())
    answer = sqlite_service.get(IN, UIS_KEY)
    assert answer.status_code == 200
    assert "Ключ верный" in answer.text
    assert "Последнее уведомление: " in answer.text
    assert "массив" in answer.text
    assert requests.head(f"{sqlite_service.url}{IN}?key={UIS_KEY}&call_session_id=5", timeout=10).status_code == 200
    assert len(sqlite_service.deliveries()) == before


def test_a_provider_that_adds_a_second_question_mark_is_understood(sqlite_service: Service) -> None:
    call = str(next(_ids))
    answer = sqlite_service.get(f"{IN}?key={UIS_KEY}?call_session_id={call}&direction=in")
    assert answer.json() == {"status": "accepted"}
    assert sqlite_service.call(call)["direction"] == "in"


def test_a_503_is_told_with_retry_after_and_oversize_is_counted(sqlite_service: Service) -> None:
    def counted() -> int:
        return sum(c[3] for c in sqlite_service.inbox.counters() if c[1:3] == (REFUSED, "too_large"))

    from tests.rig.service import until

    before = counted()
    assert sqlite_service.post(IN, b"x" * 300_000).status_code == 413
    until(lambda: counted() > before, "the refusal is counted")


def test_a_body_of_exactly_the_limit_is_taken(sqlite_service: Service) -> None:
    call = next(_ids)
    body = json.dumps({"call_session_id": call, "direction": "in", "padding": ""})
    body = body.replace('""', '"' + "x" * (262_144 - len(body)) + '"')
    assert len(body) == 262_144
    assert sqlite_service.post(IN, body).json() == {"status": "accepted"}
    assert sqlite_service.post(IN, body + " ").status_code == 413


def test_a_greeting_tells_of_no_other_feeds_refusal(sqlite_service: Service) -> None:
    assert (
        requests.post(f"{sqlite_service.url}/hooktype?key={KEYS['hooktype']}", data="{}", timeout=10).status_code == 422
    )
    sqlite_service.deliveries()
    told = sqlite_service.get("/mtt/events", KEYS["mtt"]).text
    assert "Ключ верный" in told
    assert "SessionID" not in told


def test_an_address_with_its_key_shows_nobodys_number_name_or_link(sqlite_service: Service):
    """The last refusal says where the template is wrong, to whoever has no more than the feed's key."""
    for body in (
        '{"contact_full_name": "Пётр Первый" "calling_phone_number": "+7 (920) 111-96-13"}',
        "Пётр 8 920 111-96-13 https://app.uiscom.ru/r/1",
        '{"call_session_id": "{{Пётр 89201119613}}x"}',
    ):
        assert sqlite_service.post("/hs/UIScom/in", body).status_code in (400, 422)
        shown = sqlite_service.get("/hs/UIScom/in", UIS_KEY).text
        assert "Последний отказ" in shown
        assert not re.search("Пётр|920|111|9613|uiscom.ru", shown), shown
        assert "«" in shown
