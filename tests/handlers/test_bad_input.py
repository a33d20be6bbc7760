"""Bad input of every kind: a clear answer, never a 500; the body is kept as it came; nothing stops another delivery."""

import itertools
import json
import socket
from typing import Any

import pytest

from calllog.bounds import MOST_EVENTS
from inbox import DEAD, FORWARDED, IGNORED, Stored
from models import Calls
from tests.rig.service import UIS_KEY, Service, until

_ids = itertools.count(5_000_000)
PATH = "/hs/UIScom/rec"


def new_id() -> str:
    return str(next(_ids))


def last_stored(service: Service, body: bytes) -> Stored:
    return next(stored for stored in service.inbox.deliveries(limit=20) if stored.delivery.body == body)


def goes_on(service: Service) -> None:
    """A good delivery after the bad one is in the call log."""
    call = new_id()
    assert service.post(PATH, json.dumps({"call_session_id": call})).json() == {"status": "accepted"}
    assert service.call(call)["state"] == "ended"


def raw(service: Service, head: str, body: bytes, half_close: bool = True) -> bytes:
    """What is answered to bytes that no HTTP library would send."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
            if b"\r\n\r\n" in answer and answer.rstrip().endswith(b"}"):
                break
        return answer


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "empty"),
    "blank": (b" \r\n ", 400, "empty"),
    "brackets just under the limit": (b"[" * 262_000, 400, "too_deep"),
    "990 brackets": (b"[" * 990, 400, "too_deep"),
    "33 levels": (b'{"a":' * 33 + b"1" + b"}" * 33, 400, "too_deep"),
    "invalid UTF-8": (b'{"call_session_id":1,"n":"\xff\xfe"}', 400, "not_text"),
    "cp1251": ('{"call_session_id":1,"n":"Привет"}'.encode("cp1251"), 400, "not_text"),
    "NUL": (b'{"call_session_id":1,"n":"\x00"}', 400, "not_text"),
    "an array": (b'[{"call_session_id":1},{"call_session_id":2}]', 400, "not_object"),
    "a string": (b'"call_session_id"', 400, "not_object"),
    "a number": (b"42", 400, "not_json"),
    "plain text": (b"hello", 400, "not_json"),
    "cut JSON": (b'{"call_session_id":1', 400, "bad_json"),
    "XML": (b'<call id="1"/>', 400, "not_json"),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xabV\x02\x00", 400, "not_text"),
    "no id": (b'{"direction":"in"}', 422, "no_call_id"),
    "id 0": (b'{"call_session_id":0}', 422, "no_call_id"),
    'id "0"': (b'{"call_session_id":"0"}', 422, "no_call_id"),
    "id null": (b'{"call_session_id":null}', 422, "no_call_id"),
    'id "null"': (b'{"call_session_id":"null"}', 422, "no_call_id"),
    'id "None"': (b'{"call_session_id":"None"}', 422, "no_call_id"),
    "id empty": (b'{"call_session_id":""}', 422, "no_call_id"),
    "id blank": (b'{"call_session_id":"  "}', 422, "no_call_id"),
    "id unrendered": (b'{"call_session_id":"{{call_session_id}}"}', 422, "no_call_id"),
    "id unrendered and bare": (b'{"call_session_id":{{call_session_id}}}', 422, "no_call_id"),
    "id an object": (b'{"call_session_id":{"x":1}}', 422, "no_call_id"),
    "id a list": (b'{"call_session_id":[7]}', 422, "no_call_id"),
    "id of 129 characters": (b'{"call_session_id":"' + b"7" * 129 + b'"}', 422, "bad_call_id"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_a_notification_is_refused_and_kept_as_it_came(case: str, sqlite_service: Service) -> None:
    body, status, code = REFUSED[case]
    answer = sqlite_service.post(PATH, body)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert any("а" <= letter <= "я" for letter in answer.json()["message"])
    stored = last_stored(sqlite_service, body)
    assert (stored.outcome.state, stored.outcome.reason) == (DEAD, code)
    assert stored.outcome.detail == answer.json()["message"]


def test_after_every_refusal_the_next_delivery_goes_on(sqlite_service: Service) -> None:
    for body, _, _ in REFUSED.values():
        sqlite_service.post(PATH, body)
    goes_on(sqlite_service)


@pytest.mark.parametrize("how", ["declared", "chunked"])
def test_a_body_over_the_limit_is_413_and_not_kept(how: str, sqlite_service: Service) -> None:
    body = b"[" * (1024 * 1024)
    before = len(sqlite_service.deliveries())
    if how == "declared":
        answer = sqlite_service.post(PATH, body)
        status, text = answer.status_code, answer.text
    else:
        head = f"POST {PATH}?key={UIS_KEY} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"10000\r\n" + b"[" * 65536 + b"\r\n"
        said = raw(sqlite_service, head, chunk * 5 + b"0\r\n\r\n", half_close=False).decode()
        status, text = int(said.split(" ")[1]), said
    assert status == 413
    assert "too_large" in text
    assert len(sqlite_service.deliveries()) == before
    goes_on(sqlite_service)


def test_a_body_cut_short_of_its_content_length_is_400_and_kept(sqlite_service: Service) -> None:
    call = new_id()
    body = f'{{"call_session_id":{call}}}'.encode()
    head = f"POST {PATH}?key={UIS_KEY} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 10}\r\n\r\n"
    answer = raw(sqlite_service, head, body).decode()
    assert " 400 " in answer.split("\r\n")[0]
    assert "cut_short" in answer
    stored = last_stored(sqlite_service, body)
    assert (stored.outcome.state, stored.outcome.reason) == (DEAD, "cut_short")
    sqlite_service.settled()
    assert sqlite_service.rows(Calls, provider_call_id=call) == []


def test_broken_chunks_are_never_a_500_and_make_no_call(sqlite_service: Service) -> None:
    call = new_id()
    head = f"POST {PATH}?key={UIS_KEY} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw(sqlite_service, head, f'zz\r\n{{"call_session_id":{call}}}\r\n0\r\n\r\n'.encode()).decode()
    assert " 500 " not in answer.split("\r\n")[0]
    assert '"accepted"' not in answer
    goes_on(sqlite_service)
    assert sqlite_service.rows(Calls, provider_call_id=call) == []


def test_a_body_that_ends_in_a_broken_chunk_is_kept_as_cut_short(sqlite_service: Service) -> None:
    call = new_id()
    part = f"call_session_id={call}&calling_phone_number=7920111".encode()  # a whole form, but for its end
    head = f"POST {PATH}?key={UIS_KEY} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw(sqlite_service, head, b"%x\r\n%s\r\nzz\r\n" % (len(part), part)).decode()
    assert "cut_short" in answer
    stored = last_stored(sqlite_service, part)
    assert (stored.outcome.state, stored.outcome.reason) == (DEAD, "cut_short")
    assert sqlite_service.rows(Calls, provider_call_id=call) == []


def told(service: Service, route: str = PATH, **said: Any) -> dict[str, Any]:
    """The row of a call that was accepted with these values."""
    call = new_id()
    body = json.dumps({"call_session_id": call, "direction": "in", **said})
    answer = service.post(route, body)
    assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
    row = service.call(call)
    forwarded = "it is marked forwarded, which comes after its row"
    until(lambda: last_stored(service, body.encode()).outcome.state == FORWARDED, forwarded)
    return row


@pytest.mark.parametrize("length", [1, 11, 20, 128])
@pytest.mark.parametrize("quoted", [True, False])
def test_a_call_id_of_any_length_is_kept_whole(length: int, quoted: bool, sqlite_service: Service) -> None:
    call = (new_id() + "1" * 128)[:length] if length > 1 else ("7" if quoted else "8")
    body = f'{{"call_session_id": {json.dumps(call) if quoted else call}, "scenario_name": "{length}"}}'
    assert sqlite_service.post(PATH, body).json() == {"status": "accepted"}
    assert sqlite_service.call(call)["provider_call_id"] == call


BODIES = {
    "NaN": ('{"call_session_id":%s,"total_time_duration":NaN}', "total_seconds", 0),
    "1e400": ('{"call_session_id":%s,"wait_time_duration":1e400,"direction":"in","is_lost":true}', "state", "ended"),
    "5,000 digits": ('{"call_session_id":%s,"talk_time_duration":' + "9" * 5000 + "}", "state", "ended"),
    "a lone surrogate": ('{"call_session_id":%s,"scenario_name":"a\\ud83db"}', "scenario_name", "a\ufffdb"),
    "duplicate keys": ('{"call_session_id":%s,"scenario_name":"a","scenario_name":"b"}', "scenario_name", "b"),
    "a duplicate that blanks": (
        '{"call_session_id":%s,"scenario_name":"a","scenario_name":null}',
        "scenario_name",
        "a",
    ),
    "a BOM": ('\ufeff{"call_session_id":%s,"scenario_name":"с меткой"}', "scenario_name", "с меткой"),
    "raw control characters": ('{"call_session_id":%s,"scenario_name":"a\tb\x01c"}', "scenario_name", "a bc"),
    "a form": ("call_session_id=%s&scenario_name=%%D0%%AF", "scenario_name", "Я"),
}


@pytest.mark.parametrize("case", BODIES)
def test_odd_but_readable_bodies_are_accepted(case: str, sqlite_service: Service) -> None:
    template, column, value = BODIES[case]
    call = new_id()
    assert sqlite_service.post(PATH, template % call).json() == {"status": "accepted"}
    assert sqlite_service.call(call)[column] == value


@pytest.mark.parametrize("number", [2**31, 2**31 - 1, 2**63, 2**64, -1, -0.5])
@pytest.mark.parametrize("key", ["total_time_duration", "wait_time_duration", "talk_time_duration", "file_duration"])
def test_lengths_of_any_size_are_whole_seconds_or_not_told(key: str, number: float, sqlite_service: Service) -> None:
    said: dict[str, Any] = {key: number}
    row = told(sqlite_service, **said)
    for column in ("total_seconds", "wait_seconds", "talk_seconds"):
        assert row[column] is None or 0 <= row[column] < 2**31


@pytest.mark.parametrize("key", ["contact_id", "external_id", "app_id", "employee_ids", "communication_id"])
def test_big_numbers_in_ids_are_kept_as_text(key: str, sqlite_service: Service) -> None:
    row = told(
        sqlite_service, route="/hs/UIScom/out", **{key: 2**63 + 1, "direction": "out", "employee_phone_number": 79}
    )
    column = {"contact_id": "provider_contact_id", "app_id": "account"}.get(key, key)
    if column in row:
        assert row[column] == str(2**63 + 1)


def test_fractional_seconds_are_cut(sqlite_service: Service) -> None:
    assert told(sqlite_service, total_time_duration="26.9", wait_time_duration=3.99)["wait_seconds"] == 3


TIMES = {
    "2024-03-01 10:00:00": "2024-03-01 10:00:00",
    "2024-03-01 10:00:00.999": "2024-03-01 10:00:00",
    "": None,
    "0000-00-00 00:00:00": None,
    "9999-12-31 23:59:59": None,
    "не время": None,
}


@pytest.mark.parametrize("sent", TIMES)
def test_times_are_read_or_left_to_the_receipt(sent: str, sqlite_service: Service) -> None:
    row = told(sqlite_service, start_time=sent)
    assert str(row["started_at"]) == TIMES[sent] or (TIMES[sent] is None and row["started_at"] == row["first_event_at"])


@pytest.mark.parametrize("sent", ["2099-01-01 00:00:00", "01.01.2099 00:00:00", 4070898000])
def test_a_moment_from_the_future_stays_in_its_column_and_is_marked(sent: Any, service: Service) -> None:
    row = told(service, route="/hs/UIScom/rec", start_time="2024-03-01 10:00:00", finish_time=sent)
    assert (str(row["started_at"]), str(row["ended_at"])) == ("2024-03-01 10:00:00", "2099-01-01 00:00:00")
    assert "not believed" in service.flask("calls", "show", str(row["id"])).stdout


def test_a_moment_from_the_future_outranks_no_later_event(sqlite_service: Service) -> None:
    call = new_id()
    sent: dict[str, Any] = {
        "call_session_id": call,
        "direction": "in",
        "scenario_name": "ошибка",
        "notification_time": "2099-01-01 00:00:00",
    }
    sqlite_service.post("/hs/UIScom/in", json.dumps(sent))
    sqlite_service.call(call, 1)
    sent |= {"scenario_name": "верно", "notification_time": "2024-03-01 10:00:00"}
    assert sqlite_service.post("/hs/UIScom/in", json.dumps(sent)).ok
    assert sqlite_service.call(call, 2)["scenario_name"] == "ошибка"  # received later: as if it had no time at all
    sent |= {"scenario_name": "новее", "notification_time": None}
    assert sqlite_service.post("/hs/UIScom/in", json.dumps(sent)).ok
    assert sqlite_service.call(call, 3)["scenario_name"] == "новее"


def test_a_finish_before_the_start_leaves_the_moments_in_order(sqlite_service: Service) -> None:
    row = told(sqlite_service, start_time="2024-03-01 10:00:00", finish_time="2024-03-01 09:00:00", is_lost=True)
    assert str(row["started_at"]) == "2024-03-01 10:00:00"
    assert row["started_at"] <= row["ended_at"]


NUMBERS = {
    "74959268686...9.2.3.3": "74959268686",
    "anonymous": "anonymous",
    "sip:vasya@example.org": "vasya",
    "0004": "0004",
    "8 (920) 111-96-13": "79201119613",
    79201119613: "79201119613",
}


@pytest.mark.parametrize("sent", NUMBERS)
def test_numbers_of_any_kind_are_kept(sent: Any, sqlite_service: Service) -> None:
    row = told(sqlite_service, calling_phone_number=sent)
    assert (row["client_number"], row["caller_raw"]) == (NUMBERS[sent], str(sent))


def test_300_employee_ids_are_cut_at_a_whole_id(sqlite_service: Service) -> None:
    ids = [100_000 + number for number in range(300)]
    said = {"employee_ids": ids, "employee_phone_number": "79990000001", "direction": "out"}
    kept = told(sqlite_service, route="/hs/UIScom/out", **said)["employee_ids"]
    assert len(kept) <= 255
    assert kept.split(",") == [str(id) for id in ids[: len(kept.split(","))]]


def test_a_scenario_of_10_000_characters_with_emoji_is_cut(service: Service) -> None:
    name = "Сценарий 🎉 " * 1000
    assert told(service, scenario_name=name)["scenario_name"] == name.strip()[:255]


def test_a_finish_reason_never_heard_of_is_unknown_and_kept(sqlite_service: Service) -> None:
    row = told(sqlite_service, finish_reason="brand_new_reason", is_lost=True)
    assert (row["reason"], row["reason_raw"], row["disposition"]) == ("unknown", "brand_new_reason", "missed")


def test_one_constant_id_for_all_calls_is_one_call_and_stops_no_other(sqlite_service: Service) -> None:
    call = new_id()
    for number in range(5):
        said = {
            "call_session_id": call,
            "calling_phone_number": f"7900000000{number}",
            "start_time": f"2024-03-0{number + 1}",
        }
        assert sqlite_service.post("/hs/UIScom/in", json.dumps(said)).json() == {"status": "accepted"}
    assert sqlite_service.call(call, 5)["events_count"] == 5
    goes_on(sqlite_service)


def test_the_1001st_event_of_a_call_is_dead_with_that_reason(service: Service) -> None:
    call = new_id()
    for number in range(MOST_EVENTS + 1):
        answer = service.post("/hs/UIScom/in", json.dumps({"call_session_id": call, "scenario_name": str(number)}))
        assert answer.json() == {"status": "accepted"}
    assert service.call(call, MOST_EVENTS)["events_count"] == MOST_EVENTS
    service.settled()
    (dead,) = [stored for stored in service.inbox.deliveries(state=DEAD) if stored.outcome.reason == "too_many_events"]
    assert call in dead.outcome.detail
    goes_on(service)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x/y; charset=cp1251"],
)
def test_the_content_type_decides_nothing(content_type: str, sqlite_service: Service) -> None:
    call = new_id()
    answer = sqlite_service.post(PATH, f'{{"call_session_id":{call}}}', headers={"Content-Type": content_type})
    assert answer.json() == {"status": "accepted"}
    assert sqlite_service.call(call)["state"] == "ended"


def test_a_get_with_values_in_quotes_and_in_cp1251_is_a_delivery(sqlite_service: Service) -> None:
    call = new_id()
    query = f'call_session_id="{call}"&direction="in"&scenario_name=%CF%F0%E8%E2%E5%F2'
    answer = sqlite_service.get(f"{PATH}?key={UIS_KEY}&{query}")
    assert answer.json() == {"status": "accepted"}
    assert sqlite_service.call(call)["scenario_name"] == "Привет"
    (stored,) = [stored for stored in sqlite_service.inbox.deliveries(limit=5) if call in stored.delivery.query]
    assert UIS_KEY not in stored.delivery.query


RAW_TARGETS = {
    "Cyrillic in the query": "/hs/UIScom/in?key=%s&call_session_id=%s&direction=in&scenario_name=Будни",
    "Cyrillic in the path": "/Бухгалтерия/hs/UIScom/in?key=%s&call_session_id=%s&direction=in&scenario_name=Будни",
    "blanks": "/hs/UIScom/in?key=%s&call_session_id=%s&direction=in&start_time=2026-11-24 10:20:30&scenario_name=Будни",
    "quotes": '/hs/UIScom/in?key=%s&call_session_id="%s"&direction="in"&scenario_name="Будни"',
}


@pytest.mark.parametrize("case", RAW_TARGETS)
def test_a_request_line_with_raw_letters_and_blanks_is_read(case: str, sqlite_service: Service) -> None:
    call = new_id()
    answer = raw(sqlite_service, f"GET {RAW_TARGETS[case] % (UIS_KEY, call)} HTTP/1.1\r\nHost: x\r\n\r\n", b"")
    assert b'"accepted"' in answer
    row = sqlite_service.call(call)
    assert (row["direction"], row["scenario_name"]) == ("in", "Будни")


MALFORMED = {
    "a tab in the address": ("GET /hs/UIScom/in?key=k&call_session_id=5\t HTTP/1.1\r\nHost: x\r\n\r\n", "uis"),
    "an address without an end": (f"GET /buh/hs/UIScom/rec?key={'k' * 9000} HTTP/1.1\r\nHost: x\r\n\r\n", "uis"),
    "no version": ("POST /hooktype?key=k HTTP/x\r\nHost: x\r\n\r\n", "hooktype"),
    "a header without a name": ("POST /crm-api HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", "xvb"),
    "no address of ours": ("GET /wp-login\x01 HTTP/1.1\r\nHost: x\r\n\r\n", "other"),
    "no HTTP": ("\x16\x03\x01 \r\n\r\n", "other"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_the_http_server_refuses_is_counted_under_its_feed(case: str, sqlite_service: Service) -> None:
    head, feed = MALFORMED[case]

    def counted() -> int:
        return sum(row[3] for row in sqlite_service.inbox.counters() if row[:3] == (feed, "refused", "bad_request"))

    before = counted()
    assert b" 4" in raw(sqlite_service, head, b"").split(b"\r\n")[0]
    until(lambda: counted() == before + 1, "the refusal is counted")
    goes_on(sqlite_service)


def test_the_test_button_is_ignored_with_a_sentence(sqlite_service: Service) -> None:
    body = '{"call_session_id":187020303,"virtual_phone_number":79260000001,"start_time":"2016-04-21 10:30:00"}'
    answer = sqlite_service.post("/hs/UIScom/in", body)
    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
    assert "virtual_phone_number" not in answer.json()["reason"]  # what lacks is named, and this does not
    assert "call_source" in answer.json()["reason"]
    assert last_stored(sqlite_service, body.encode()).outcome.state == IGNORED
    assert sqlite_service.rows(Calls, provider_call_id="187020303") == []
