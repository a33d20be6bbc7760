"""What people really send, each as a kind: what is read, what is refused, and in which words."""

import json
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest

import schemas
from calllog.batch import wall
from schemas.event import CallEvent
from schemas.fields import phone
from schemas.reading import Delivery, Ignored, Refusal
from tests.rig.fixtures import ZONE

RECEIVED = int(datetime(2026, 11, 24, 12, tzinfo=ZONE).timestamp()) * 1000
CALL = {"call_session_id": 9010000303, "direction": "in", "calling_phone_number": "79031112233"}
TEXT = json.dumps(CALL)
GATEWAYS = [("uis", "rec"), ("mgerm", "ended")]


def delivered(body: str | bytes | dict[str, Any], feed: str = "uis", route: str = "in", query: str = "") -> CallEvent:
    """What a body posted to the route says."""
    text = json.dumps(body) if isinstance(body, dict) else body
    raw = text.encode() if isinstance(text, str) else text
    return schemas.understand(Delivery(feed, route, raw, query, received_at=RECEIVED), ZONE)


def refused(body: str | bytes | dict[str, Any], feed: str = "uis", route: str = "in") -> Refusal:
    """How a body posted to the route is refused."""
    with pytest.raises(Refusal) as refusal:
        delivered(body, feed, route)
    return refusal.value


# ------------------------------------------------------------------------------------------------------------ numbers

NUMBERS = {
    "a scheme and a host": [
        ("sip:79031112233@sip.example.ru", "79031112233"),
        ("tel:+7-903-111-22-33", "79031112233"),
        ("SIPS:89031112233@10.0.0.1:5061;transport=tls", "79031112233"),
        ("sip:%2B79031112233@sip.example.ru;user=phone", "79031112233"),
        ("101@pbx.example.ru", "101"),
    ],
    "brackets": [
        ("<sip:79031112233@sip.example.ru>", "79031112233"),
        ('"Иванов, отдел 5" <sip:79031112233@sip.example.ru>;tag=18', "79031112233"),
        ("Reception <102>", "102"),
    ],
    "pauses, keys and an extension": [
        ("79031112233,,,9", "79031112233"),
        ("8 (903) 111-22-33;1;2", "79031112233"),
        ("+7 903 111-22-33#101", "79031112233"),
        ("89031112233*7", "79031112233"),
        ("8 (903) 111-22-33 доб. 12", "79031112233"),
        ("79031112233 Доб.12", "79031112233"),
        ("+79031112233 ext. 12", "79031112233"),
        ("9031112233x12", "79031112233"),
        ("74959268686...9.2.3.3", "74959268686"),
    ],
    "a float": [
        ("79031112233.0", "79031112233"),
        ("101.0", "101"),
        ("7.9031112233E10", "79031112233"),
    ],
    "another country, by an explicit +": [
        ("+84951112233", "84951112233"),
        ("+81901234567", "81901234567"),
        ("+82 10 1234 567", "82101234567"),
        ("+4712345678", "4712345678"),
        ("tel:+84-95-111-22-33", "84951112233"),
        ("(+84)951112233", "84951112233"),
    ],
    "+8 9…, a Russian habit": [
        ("+89031112233", "79031112233"),
        ("+8 9031112233", "79031112233"),
        ("+8 (903) 111-22-33", "79031112233"),
    ],
    "pasted with what cannot be seen": [
        ("\u202a+7 903 111-22-33\u202c", "79031112233"),
        ("8\u00a0(903)\u00a0111-22-33", "79031112233"),
        ("79031112233\u200b", "79031112233"),
    ],
    "a login without its scheme and host": [
        ("sip:vasya@example.org", "vasya"),
        ("<sip:vasya@example.org>", "vasya"),
        ("anonymous@anonymous.invalid", "anonymous"),
        ('"Anonymous" <sip:anonymous@anonymous.invalid>', "anonymous"),
        ("<unknown>", "unknown"),
    ],
    "no number: as it was sent": [
        ("ivanov5x2", "ivanov5x2"),
        ("0334421_office", "0334421_office"),
        ("9.0E9", "9.0E9"),
    ],
    "short, long: its own digits": [
        ("101", "101"),
        ("*101", "101"),
        ("900", "900"),
        ("800774994086005", "800774994086005"),
        ("84951112233", "74951112233"),
        ("4951112233", "74951112233"),
    ],
}


@pytest.mark.parametrize(
    ("sent", "ours"),
    [pytest.param(*pair, id=f"{kind}: {pair[0]}") for kind, pairs in NUMBERS.items() for pair in pairs],
)
def test_of_an_address_the_number_is_kept(sent: str, ours: str) -> None:
    assert phone(sent) == ours
    event = delivered({**CALL, "calling_phone_number": sent})
    assert (event.client_number, event.caller_raw) == (ours, sent.strip("\u00a0"))


# -------------------------------------------------------------------------------------------------------------- times

TIMES = [
    "24.11.2026 10:20:30",
    "24.11.2026T10:20:30",
    "24.11.2026, 10:20:30",
    "24.11.2026 10:20:30.999",
    "2026-11-24 10:20:30",
    "2026-11-24T10:20:30",
    "2026/11/24 10:20:30",
    "20261124102030",
    "20261124T102030",
    "Tue, 24 Nov 2026 10:20:30 +0300",
    "Tue, 24 Nov 2026 07:20:30 GMT",
    "24 Nov 2026 10:20:30 +0300",
    "Tuesday, 24-Nov-26 07:20:30 GMT",
    "Tue Nov 24 10:20:30 2026",
    "2026-11-24T10:20:30+03:00",
    "2026-11-24T07:20:30Z",
    "2026-11-24T07:20:30.123456789Z",
    "2026-11-24 10:20:30 +0300",
    "2026-11-24 07:20:30 UTC",
    "1795504830",
    "1795504830.5",
    "1795504830.0",
    "1795504830000",
]


@pytest.mark.parametrize("sent", TIMES)
def test_a_time_is_read_however_it_is_written(sent: str) -> None:
    assert wall(delivered({**CALL, "start_time": sent}).started_at, ZONE) == "2026-11-24 10:20:30"
    hook = {"SessionID": "1", "HookType": "CreateIncCall", "StartTime": sent}
    assert wall(delivered(hook, "hooktype", "hooktype").started_at, ZONE) == "2026-11-24 10:20:30"


def test_an_hour_of_one_digit_and_a_time_without_seconds_are_read() -> None:
    assert wall(delivered({**CALL, "start_time": "24.11.2026 9:20"}).started_at, ZONE) == "2026-11-24 09:20:00"
    assert wall(delivered({**CALL, "start_time": "2026-11-24 9:05:06"}).started_at, ZONE) == "2026-11-24 09:05:06"


@pytest.mark.parametrize(
    "sent", ["не время", "11/24/2026 10:20:30", "24.11.2026 25:00:00", "10:20:30", "٢٠٢٦-١١-٢٤", "²"]
)
def test_what_is_no_time_is_told(sent: str) -> None:
    body = json.dumps({**CALL, "start_time": sent, "finish_time": "0000-00-00 00:00:00"})
    delivery = Delivery("uis", "in", body.encode(), received_at=RECEIVED)
    assert schemas.understand(delivery, ZONE).started_at is None
    assert schemas.unread_moments(delivery) == {"start_time": sent}


# ----------------------------------------------------------------------------------------------------- the call's id


@pytest.mark.parametrize(("feed", "route"), GATEWAYS)
@pytest.mark.parametrize(
    ("sent", "id"),
    [
        ("9010000303.0", "9010000303"),
        ('"9010000303.0"', "9010000303"),
        ("28461039010.00", "28461039010"),
        ("9.010000303E9", "9010000303"),
        ("2.8461039010e+10", "28461039010"),
        ('"9.010000303E9"', "9010000303"),
    ],
)
def test_a_floats_zero_is_no_part_of_an_id(sent: str, id: str, feed: str, route: str) -> None:
    assert delivered(f'{{"call_session_id": {sent}}}', feed, route).provider_call_id == id


@pytest.mark.parametrize(("feed", "route"), GATEWAYS)
@pytest.mark.parametrize("sent", ["9.01E9", "9.0E9", "1.8702e+08", "2.846103901E10", '"9E9"', "9.01E-9"])
def test_an_id_whose_digits_are_lost_is_refused(sent: str, feed: str, route: str) -> None:
    refusal = refused(f'{{"call_session_id": {sent}}}', feed, route)
    assert (refusal.status, refusal.code) == (422, "bad_call_id")
    assert sent.strip('"') in refusal.message
    assert "цифры потеряны" in refusal.message


@pytest.mark.parametrize(("feed", "route"), GATEWAYS)
@pytest.mark.parametrize(
    "sent",
    [
        "%call_session_id%", "<call_session_id>", "${call_session_id}", "{call_session_id}", "{{call_session_id",
        "call_session_id}}", "call_session_id", "$call1", "%1%", "[id5]", "номер звонка", "²", "—",
    ],
)  # fmt: skip
def test_an_id_that_is_the_templates_own_text_is_refused_with_that_text(sent: str, feed: str, route: str) -> None:
    refusal = refused({"call_session_id": sent, "direction": "in"}, feed, route)
    assert (refusal.status, refusal.code) == (422, "bad_call_id")
    assert f"«{sent}»" in refusal.message
    assert "{{call_session_id}}" in refusal.message
    assert "«JSON для тела запроса»" in refusal.message


def test_two_calls_of_such_a_template_are_not_one() -> None:
    for client in ("79031112233", "79031112234"):
        refused({"call_session_id": "%call_session_id%", "calling_phone_number": client})


# --------------------------------------------------------------------------------------------- nothing said of a call


@pytest.mark.parametrize("route", ["in", "out"])
@pytest.mark.parametrize(
    "body",
    [
        '{"call_session_id": 5}',
        '{"call_session_id": 5, "direction": null, "calling_phone_number": "{{calling_phone_number}}", "employee_ids": []}',
        '{"app_id": 1, "notification_name": "Входящий", "call_session_id": 5, "start_time": ""}',
        '{"call": {"session_id": 5}}',
        "call_session_id=5&direction=",
    ],
)
def test_an_id_alone_is_no_ringing_call(body: str, route: str) -> None:
    with pytest.raises(Ignored) as ignored:
        delivered(body, route=route)
    assert ignored.value.reason == "nothing_told"
    assert "«JSON для тела запроса»" in ignored.value.message


@pytest.mark.parametrize(("feed", "route"), GATEWAYS)
def test_the_address_of_the_end_with_an_id_alone_tells_an_end(feed: str, route: str) -> None:
    assert delivered({"call_session_id": 5}, feed, route).kind == "ended"


@pytest.mark.parametrize("route", ["in", "out", "rec"])
@pytest.mark.parametrize(
    "body",
    [
        {"call_session_id": 5, "ext_id": "1c-17", "status": "success"},
        {"ext_id": "1c-17", "call_session_id": 5, "error": None},
        {"result": {"ext_id": 17, "call_session_id": 5}},
        {"call_session_id": 5, "upload_id": 3},
    ],
)
def test_the_answer_to_an_upload_is_no_call(body: dict[str, Any], route: str) -> None:
    with pytest.raises(Ignored) as ignored:
        delivered(body, route=route)
    assert ignored.value.reason == "upload"


def test_a_call_with_an_id_of_the_owners_own_is_a_call() -> None:
    assert delivered({**CALL, "ext_id": "1c-17"}).kind == "ringing"


# ------------------------------------------------------------------------------------------------ what cannot be seen

ODD = {"U+00A0": "\u00a0", "U+200B": "\u200b", "U+FEFF": "\ufeff", "U+2060": "\u2060", "U+2009": "\u2009"}


@pytest.mark.parametrize("code", ODD)
def test_what_cannot_be_seen_between_the_parts_of_json_is_no_matter(code: str) -> None:
    odd = ODD[code]
    for body in (
        TEXT.replace(", ", f",{odd}{odd}"),
        TEXT.replace("{", f"{{{odd}\n").replace("}", f"{odd}}}"),
        f"{odd}{TEXT}{odd}\n",
        TEXT.replace(": ", f"{odd}:{odd}").replace('"in"', '""in""'),
    ):
        assert delivered(body) == delivered(TEXT)


@pytest.mark.parametrize("code", ODD)
def test_what_cannot_be_seen_inside_a_text_is_kept_and_told_by_its_code(code: str) -> None:
    assert delivered(
        TEXT.replace('"in"', f'"in", "scenario_name": "а{ODD[code]}б",{ODD[code]}"x": 1')
    ).scenario_name == (f"а{ODD[code]}б")
    refusal = refused(f'{{"call_session_id": 1,{ODD[code]}"direction" "in"}}')
    assert f"[{code}]" in refusal.message


# ---------------------------------------------------------------------------------------------------------- envelopes

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"


def multipart(fields: dict[str, Any], line: str = "\r\n", kind: str = "") -> str:
    """A multipart/form-data body."""
    head = f"{line}Content-Type: {kind}" if kind else ""
    parts = [
        f'--{BOUNDARY}{line}Content-Disposition: form-data; name="{name}"{head}{line}{line}{value}{line}'
        for name, value in fields.items()
    ]
    return "".join(parts) + f"--{BOUNDARY}--{line}"


ENVELOPES = {
    "a form's field": f"json={quote(TEXT)}",
    "another field": f"data={quote(TEXT)}&source=crm",
    "a field as it is": f"payload={TEXT}",
    "a form's key": quote(TEXT),
    "an array in a form's field": f"json={quote(f'[{TEXT}]')}",
    "JSON in a JSON string": json.dumps(TEXT),
    "twice": json.dumps(json.dumps(TEXT)),
    "a string in an object": json.dumps({"body": TEXT}),
    "a string in an object of more": json.dumps({"event": "x", "data": TEXT}),
    "an array of one": f"[{TEXT}]",
    "an array of one string": json.dumps([TEXT]),
    "multipart": multipart(CALL),
    "multipart with line feeds": multipart(CALL, "\n"),
    "multipart with JSON in a field": multipart({"json": TEXT}, kind="application/json"),
    "an object in an object": json.dumps({"data": CALL}),
}


@pytest.mark.parametrize("kind", ENVELOPES)
def test_a_notification_is_read_in_its_envelope(kind: str) -> None:
    event = delivered(ENVELOPES[kind])
    plain = delivered(TEXT)
    assert event._replace(event_key="", attributes=()) == plain._replace(event_key="", attributes=())


def test_an_envelope_by_get_is_opened_too() -> None:
    assert delivered(b"", query=f"json={quote(TEXT)}").client_number == "79031112233"


def test_json_beside_a_calls_id_is_no_envelope() -> None:
    """It was read so before: its key stays."""
    one = delivered(f"call_session_id=7&direction=in&extra={quote(TEXT)}")
    assert one.provider_call_id == "7"
    assert delivered({"call": {"session_id": 7}, "direction": "in", "extra": TEXT}).provider_call_id == "7"


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ('<?xml version="1.0"?><call><call_session_id>5</call_session_id></call>', "not_json", "XML"),
        ("\ufeff\n <call id='5'/>", "not_json", "XML"),
        ('<soap:Envelope xmlns:soap="x"></soap:Envelope>\n', "not_json", "XML"),
        ("<!DOCTYPE html><html><body>502</body></html>", "not_json", "HTML"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xabVJ\xcf\x07\x00", "not_text", "gzip"),
        ('{"call_session_id": 5}'.encode("utf-16"), "not_text", "UTF-16"),
        (f"[{TEXT}, {TEXT}]", "not_object", "объектов: 2"),
        (f"json={quote(f'[{TEXT},{TEXT}]')}", "no_call_id", "call_session_id"),
        (json.dumps(f"[{TEXT},{TEXT},{TEXT}]"), "not_object", "объектов: 3"),
        ("[]", "not_object", "массив"),
        ('"call_session_id"', "not_object", "строка"),
    ],
)
@pytest.mark.parametrize(("feed", "route"), GATEWAYS)
def test_what_is_no_notification_is_named_for_what_it_is(
    body: str | bytes, code: str, words: str, feed: str, route: str
) -> None:
    refusal = refused(body, feed, route)
    assert refusal.code == code
    assert words in refusal.message
    assert "«JSON для тела запроса»" in refusal.message


# ---------------------------------------------------------------------------------------------------- whose form it is

NOT_READ: list[str | bytes] = [
    "",
    "{",
    "[]",
    "hello",
    "<a/>",
    "{'a':1}",
    '{"a":""b""}',
    b"\xff",
    b"\0",
    "[" * 40,
    '"a"',
    "a=1",
]


@pytest.mark.parametrize("body", NOT_READ, ids=repr)
@pytest.mark.parametrize("feed", ["hooktype", "mtt", "xvb"])
def test_a_feed_without_a_template_is_never_told_to_mend_one(body: str | bytes, feed: str) -> None:
    message = refused(body, feed, feed).message
    assert not [word for word in ("шаблон", "{{", "call_session_id", "«JSON для тела запроса»") if word in message]


# ------------------------------------------------------------------------------------------- digits that are no digits


@pytest.mark.parametrize("digit", ["²", "١", "１", "Ⅷ", "①"])
def test_a_digit_that_is_none_is_no_fault_of_ours(digit: str) -> None:
    """`isdigit` is true for them, `int` reads some and refuses others."""
    for data in (None, f"event=h_s7_2026-11-24-10-20-30&cause={digit}", f"event=h_s7_{digit * 4}-11-24-10-20-30"):
        hangup = {"h323_conf_id": "1 2 3 4", "event": {"type": "h"}, "cause": digit, "side": "B", "data": data}
        assert delivered(hangup, "mtt", "mtt").reason == "unknown"
    body = dict.fromkeys(("start_time", "talk_time_duration", "total_time_duration", "finish_time"), digit)
    event = delivered({**CALL, **body, "calling_phone_number": digit}, route="rec")
    assert (event.started_at, event.client_number) == (None, digit)


# ------------------------------------------------------------------------------------------------------------ the very edge


def test_ids_that_end_with_the_column_are_all_kept() -> None:
    ids = [10**6 + number for number in range(32)]  # of seven digits: 255 characters with their commas
    line = ",".join(map(str, ids))
    assert len(line) == 255
    assert delivered({**CALL, "employee_ids": ids}).employee_ids == line
    assert delivered({**CALL, "employee_ids": [*ids, 5]}).employee_ids == line


def test_brackets_in_a_text_nest_nothing() -> None:
    text = '"' + "[" * 40
    assert delivered({**CALL, "scenario_name": text}).scenario_name == text


def test_32_levels_are_read_and_33_are_not() -> None:
    def nested(levels: int) -> str:
        return f'{TEXT[:-1]}, "x": {"[" * (levels - 1)}{"]" * (levels - 1)}, "y": []}}'

    assert delivered(nested(32)).provider_call_id == "9010000303"
    assert refused(nested(33)).code == "too_deep"


def test_a_length_has_no_underscore() -> None:
    assert (
        delivered({**CALL, "total_time_duration": "10", "wait_time_duration": "1_0"}, route="rec").total_seconds == 10
    )
    assert delivered({**CALL, "wait_time_duration": "1_0"}, route="rec").wait_seconds is None
