"""What UIS says, in our words: tables of what owners' templates render to, and what the call log makes of it."""

import csv
import json
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import pytest

import schemas
from calllog.batch import wall
from calllog.fold import fold
from schemas import event as words
from schemas.event import CallEvent
from schemas.reading import Delivery, Ignored, Refusal, sha256
from setup import uis
from tests.rig.fixtures import ZONE
from tests.rig.service import ROOT

RECEIVED = int(datetime(2024, 3, 11, 12, tzinfo=ZONE).timestamp()) * 1000
CLIENT, LINE, EMPLOYEE = "79031112233", "74951234567", "79161234567"
IN = {"direction": "in", "calling_phone_number": CLIENT, "called_phone_number": LINE, "virtual_phone_number": LINE}
OUT = {
    "direction": "out",
    "calling_phone_number": EMPLOYEE,
    "called_phone_number": CLIENT,
    "virtual_phone_number": LINE,
}
DURATIONS = {"total_time_duration": 60, "wait_time_duration": 10}
NOT_LOST = {"is_lost": False, "lost_reason": None}


def delivered(route: str, body: str | dict[str, Any], feed: str = "uis") -> CallEvent:
    """What a body posted to the route says."""
    text = body if isinstance(body, str) else json.dumps(body)
    return schemas.understand(Delivery(feed, route, text.encode(), received_at=RECEIVED), ZONE)


def said(route: str = "rec", **keys: Any) -> CallEvent:
    """What a notification with these keys says of call 1."""
    return delivered(route, {"call_session_id": 1, **keys})


def row(*events: CallEvent) -> dict[str, Any]:
    """The call's columns."""
    return fold(events).columns


# -------------------------------------------------------------------------------------------------- finish reasons

DOCUMENT = (ROOT / "tests" / "fixtures" / "uis_finish_reasons.tsv").read_text(encoding="utf-8")
REASONS = list(csv.DictReader(DOCUMENT.splitlines(), delimiter="\t"))  # as UIS lists them, with our words beside
# blocked where it is the other side's number; our own account, number or trunk is suspended (docs/contract.md)
SUSPENDED = ("app_is_inactive", "locked_numb", "net_lock", "sip_trunk_is_locked")
REASONS = [line | ({"reason": "suspended"} if line["mnemonic"] in SUSPENDED else {}) for line in REASONS]


@pytest.mark.parametrize("line", REASONS, ids=lambda line: line["mnemonic"])
def test_a_known_finish_reason_is_told_in_our_words(line: dict[str, str]):
    event = said(finish_reason=line["mnemonic"], is_lost=False)
    assert (event.reason, event.hangup_by) == (line["reason"], line["hangup_by"] or "")
    assert event.reason_raw == line["mnemonic"]
    assert said(finish_reason=f" {line['mnemonic'].upper()} ").reason == line["reason"]


def test_the_code_knows_the_documents_reasons_and_no_other():
    ours = (ROOT / "schemas" / "uis_reasons.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert [line.split("\t")[:2] for line in ours] == [[line["mnemonic"], line["text"]] for line in REASONS]
    assert len({line["mnemonic"] for line in REASONS}) == 92
    assert {line["reason"] for line in REASONS} <= set(words.REASONS) - {""}


def test_an_unknown_finish_reason_is_unknown_and_kept_as_sent():
    event = said(finish_reason="Robot_Answered", **IN)
    assert (event.reason, event.reason_raw, event.hangup_by) == ("unknown", "Robot_Answered", "")


def test_a_lost_reason_is_the_russian_text_of_a_finish_reason():
    event = said(lost_reason="Сотрудник занят", **IN)
    assert (event.reason, event.reason_raw, event.lost, event.answered) == ("busy", "Сотрудник занят", True, False)


@pytest.mark.parametrize("line", [line for line in REASONS if line["text"]], ids=lambda line: line["mnemonic"])
def test_a_finish_reason_is_known_by_its_russian_text_too(line: dict[str, str]):
    same = {other["reason"] for other in REASONS if other["text"] == line["text"]}
    expected = {""} if line["text"] == "Не определена" else same
    for text in (line["text"], f" {line['text'].upper()} ", line["text"].replace("ё", "е").rstrip(".")):
        assert {said(lost_reason=text, **IN).reason} <= expected
    assert said(finish_reason=line["text"]).reason in (same if line["text"] != "Не определена" else {"unknown"})


@pytest.mark.parametrize(
    ("finish", "lost", "reason"),
    [
        ("timeout", "Сотрудник занят", "no_answer"),  # the mnemonic before the text
        ("something_new", "Сотрудник занят", "busy"),  # a text that is known before a mnemonic that is not
        ("success_finish", "Сотрудник занят", "busy"),  # what says something before what only says that it ended
        ("success_finish", "Не определена", "normal"),
        ("subscriber_disconnects", "Сотрудник занят", "normal"),  # that says who
        ("something_new", "что-то новое", "unknown"),
        (None, "что-то новое", ""),
    ],
)
def test_of_two_reasons_the_one_that_says_more_counts(finish: str | None, lost: str, reason: str):
    assert said(finish_reason=finish, lost_reason=lost, **IN).reason == reason


# --------------------------------------------------------------------------------------------------- what happened

EMPLOYED = {"employee_phone_number": EMPLOYEE}
FINISHED = {"finish_time": "2024-03-11 10:01:00", "finish_reason": "timeout", **DURATIONS}
RECORD = {"file_link": "https://app.uiscom.ru/system/media/talk/1/x/", "file_duration": 50}


@pytest.mark.parametrize(
    ("route", "keys", "kind"),
    [
        ("in", IN, words.RINGING),
        ("in", {**IN, "employee_phone_number": None, "extension_phone_number": ""}, words.RINGING),
        ("in", {**IN, "extension_phone_number": "{{extension_phone_number}}"}, words.RINGING),
        ("in", {**IN, **EMPLOYED}, words.ANSWERED),
        ("in", {**IN, "extension_phone_number": 102}, words.ANSWERED),
        ("in", {**OUT, **EMPLOYED, "notification_mnemonic": "call_connected"}, words.ANSWERED),
        ("in", {**IN, **FINISHED, "lost_reason": "Сотрудник занят"}, words.LOST),
        ("in", {**OUT, **FINISHED, "lost_reason": "Абонент занят"}, words.LOST),
        ("in", {**OUT, "lost_reason": "Абонент занят"}, words.LOST),
        ("in", {**IN, **FINISHED}, words.LOST),
        ("in", {**IN, **FINISHED, "is_lost": False}, words.ENDED),  # «Завершение звонка» at the wrong URL
        ("out", {**OUT, **FINISHED, "is_lost": True, "lost_reason": "Абонент занят"}, words.ENDED),
        ("out", OUT, words.RINGING),
        ("out", {**OUT, **EMPLOYED}, words.RINGING),
        ("rec", IN, words.ENDED),
        ("rec", {**IN, **EMPLOYED}, words.ENDED),
        ("rec", {**IN, **FINISHED, "is_lost": True}, words.ENDED),
        ("rec", {}, words.ENDED),
        ("ended", {}, words.ENDED),
        ("rec", {**IN, **RECORD}, words.RECORDING),
        ("in", {**IN, **RECORD, **EMPLOYED}, words.RECORDING),
        ("in", {**IN, **EMPLOYED, "talk_time_duration": 20}, words.TALK_ENDED),
        ("in", {**IN, **EMPLOYED, "leg_id": 77}, words.LEG_RINGING),
        ("rec", {**IN, "notification_mnemonic": "in_call_session"}, words.RINGING),
        ("rec", {**OUT, "notification_mnemonic": "OUT_CALL_SESSION"}, words.RINGING),
        ("out", {**IN, "notification_mnemonic": "call_session_finished"}, words.ENDED),
        ("rec", {**IN, "notification_mnemonic": "lost_call"}, words.LOST),
        ("in", {**IN, "notification_mnemonic": "something_new"}, words.RINGING),
        ("in", {**IN, "notification_name": "Завершение звонкак"}, words.RINGING),  # the name is the owner's
        ("rec", {**IN, "notification_name": "Входящий звонок"}, words.ENDED),
    ],
)
def test_what_happened_is_told_by_the_route_the_mnemonic_and_the_keys(route: str, keys: dict[str, Any], kind: str):
    assert said(route, **keys).kind == kind


@pytest.mark.parametrize("key", ["file_link", "file_duration"])
def test_an_unrendered_file_placeholder_leaves_the_end_an_end(key: str):
    assert said("rec", **IN, **FINISHED, **{key: f"{{{{{key}}}}}"}).kind == words.ENDED


@pytest.mark.parametrize("extra", [{"file_duration": 0, "file_link": None}, RECORD])
def test_an_end_that_also_tells_of_a_file_is_an_end(extra: dict[str, Any]):
    assert said("rec", **IN, **FINISHED, is_lost=False, **extra).kind == words.ENDED


def test_a_lost_notice_with_nothing_but_the_wait_is_lost():
    assert said("in", **IN, wait_time_duration=25).kind == words.LOST


# -------------------------------------------------------------------------------------------- direction, the parties


@pytest.mark.parametrize(
    ("route", "keys", "direction"),
    [
        ("in", {"direction": "in"}, "in"),
        ("in", {"direction": "out"}, "out"),
        ("out", {"direction": "in"}, "in"),
        ("rec", {"direction": "out"}, "out"),
        ("in", {"call_source": "va"}, "in"),
        ("out", {"call_source": "va"}, "out"),
        ("out", {"direction": None, "call_source": "va"}, "out"),
        ("in", {"direction": "{{direction}}", "call_source": "va"}, "in"),
        ("in", {"direction": "sideways"}, "in"),
        ("rec", {}, ""),
        ("ended", {}, ""),
        ("in", {"lost_reason": "x"}, ""),  # the "lost" notice goes to /in for outgoing calls too
        ("in", {"direction": "out", "lost_reason": "x"}, "out"),
        ("rec", {"direction": " IN "}, "in"),
        ("rec", {"direction": "Входящий звонок"}, "in"),
        ("rec", {"direction": "Исходящий"}, "out"),
        ("rec", {"direction": "in", "is_internal": True}, "internal"),
        ("out", {"direction": "out", "is_internal": "true"}, "internal"),
        ("rec", {"direction": "out", "is_internal": False}, "out"),
    ],
)
def test_direction_in_the_body_wins_over_the_url(route: str, keys: dict[str, Any], direction: str):
    assert said(route, **keys).direction == direction


@pytest.mark.parametrize(
    ("keys", "client"),
    [
        (IN, CLIENT),
        (OUT, CLIENT),
        ({**IN, "contact_phone_number": "79990000000"}, "79990000000"),
        ({**OUT, "contact_phone_number": "79990000000"}, "79990000000"),
        ({**IN, "is_internal": True, "contact_phone_number": "102"}, ""),
        ({**IN, "direction": None}, ""),  # at /rec nobody knows who is who
    ],
)
def test_the_client_is_the_contact_else_the_other_party(keys: dict[str, Any], client: str):
    event = said("rec", **keys)
    assert event.client_number == client
    assert (event.caller_raw, event.called_raw) == (keys["calling_phone_number"], keys["called_phone_number"])


def test_the_contact_is_the_client_also_where_the_direction_is_not_told():
    assert said("rec", contact_phone_number=CLIENT).client_number == CLIENT


def test_every_printed_template_asks_whether_the_call_is_internal():
    assert [n.name for n in uis.NOTIFICATIONS if "is_internal" not in n.keys] == []


def test_a_direction_that_a_body_or_a_mnemonic_tells_is_stronger_than_any_address():
    """«Начало разговора» of an outgoing call, at /in, without a direction: only its end has one."""
    answer = said("in", calling_phone_number=EMPLOYEE, called_phone_number=CLIENT, **EMPLOYED)
    assert row(answer)["direction"] == "in"
    for other in (
        said("rec", **OUT),
        said("in", **{**OUT, "direction": None}, notification_mnemonic="out_call_session"),
    ):
        assert (row(answer, other)["direction"], row(answer, other)["client_number"]) == ("out", CLIENT)
    told = said("in", **IN, notification_mnemonic="out_call_session")
    assert row(told)["direction"] == "in"  # the body before the mnemonic
    assert row(said("rec", **{**IN, "direction": None}, notification_mnemonic="in_call_session"))["direction"] == "in"


def test_the_client_of_a_call_whose_direction_an_address_tells_is_the_far_party():
    assert row(said("in", **{**IN, "direction": None}))["client_number"] == CLIENT
    assert row(said("out", **{**OUT, "direction": None}))["client_number"] == CLIENT


@pytest.mark.parametrize(
    ("keys", "client"),
    [
        # the lost notice of an outgoing call says "in", the line stands where the caller does
        ({"direction": "in", "calling_phone_number": LINE, "called_phone_number": CLIENT}, CLIENT),
        ({"direction": "out", "calling_phone_number": CLIENT, "called_phone_number": LINE}, CLIENT),
        ({"direction": "in", "calling_phone_number": LINE, "called_phone_number": LINE}, LINE),
        ({"direction": "in", "calling_phone_number": LINE, "called_phone_number": EMPLOYEE, **EMPLOYED}, LINE),
        ({"direction": "in", "calling_phone_number": LINE, "contact_phone_number": CLIENT}, CLIENT),
    ],
)
def test_our_own_line_is_not_the_client_while_another_party_is_known(keys: dict[str, Any], client: str):
    assert row(said("rec", virtual_phone_number=LINE, **keys))["client_number"] == client
    apart = said("in", virtual_phone_number=LINE, direction=keys["direction"])
    assert row(apart, said("rec", **keys))["client_number"] == client


@pytest.mark.parametrize(
    ("keys", "direction"),
    [
        ({"calling_phone_number": "101", "called_phone_number": "102"}, "internal"),
        ({"calling_phone_number": 101, "called_phone_number": "100500"}, "internal"),
        ({"calling_phone_number": "101", "called_phone_number": "102", "virtual_phone_number": "900"}, "internal"),
        ({"calling_phone_number": "101", "called_phone_number": "900", "virtual_phone_number": LINE}, "out"),
        ({"calling_phone_number": "101", "called_phone_number": "112", "is_internal": False}, "out"),
        ({"calling_phone_number": "101", "called_phone_number": "1"}, "out"),
        ({"calling_phone_number": "101", "called_phone_number": "1020304"}, "out"),
        ({"calling_phone_number": "101", "called_phone_number": "ivanov"}, "out"),
        ({"calling_phone_number": "101"}, "out"),
        ({"calling_phone_number": "101", "called_phone_number": CLIENT, "is_internal": "true"}, "internal"),
    ],
)
def test_two_extensions_without_a_line_are_an_internal_call(keys: dict[str, Any], direction: str):
    columns = row(said("rec", direction="out", **keys, is_lost=True, finish_reason="operator_not_responsible"))
    assert (columns["direction"], columns["disposition"], columns["is_missed"]) == (direction, "no_answer", 0)
    assert bool(columns["client_number"]) == (direction == "out" and "called_phone_number" in keys)


@pytest.mark.parametrize("reason", ["subscriber_busy", "timeout", "subscriber_disconnects", "no_active_scenario", None])
@pytest.mark.parametrize("keys", [{"is_internal": True}, {"direction": "out"}, {"direction": None}])
def test_missed_is_said_of_incoming_calls_alone(reason: str | None, keys: dict[str, Any]):
    columns = row(said("rec", **{**IN, **keys}, is_lost=True, finish_reason=reason))
    assert columns["disposition"] not in ("", "missed", "unknown", "answered")
    assert columns["is_missed"] == 0


@pytest.mark.parametrize("named", [{"employee_phone_number": "101"}, {"extension_phone_number": "102"}, {}])
def test_the_employee_of_an_internal_call_is_its_caller_whomever_the_end_names(named: dict[str, Any]):
    columns = row(said("rec", is_internal=True, calling_phone_number="101", called_phone_number="102", **named))
    assert {"101"} <= {columns["employee_ext"], columns["employee_number"]} <= {"101", ""}


# --------------------------------------------------------------------------------------------------------- who talked

SECOND = "79162345678"
BEGAN = {**IN, "start_time": "2024-03-11 10:00:00"}
ENDED = {**BEGAN, "finish_time": "2024-03-11 10:02:08", "total_time_duration": 128, "wait_time_duration": 8, **NOT_LOST}


def answer(at: str, number: str = "", ext: str = "", **keys: Any) -> CallEvent:
    """«Начало разговора», at a time of 11 March."""
    who = {"employee_phone_number": number or None, "extension_phone_number": ext or None}
    return said("in", **BEGAN, **who, **keys, notification_time=f"2024-03-11 {at}")


def who(*events: CallEvent) -> list[str]:
    """Number, extension and ids of who talked."""
    columns = row(*events)
    return [columns[f"employee_{name}"] for name in ("number", "ext", "ids")]


def test_of_a_transfer_who_talked_last_is_the_employee():
    first, second = (
        answer("10:00:08", EMPLOYEE, "102", employee_ids=[11]),
        answer("10:01:08", SECOND, "103", employee_ids=[12]),
    )
    names_the_first = {"employee_phone_number": EMPLOYEE, "extension_phone_number": "102", "employee_ids": [11, 12]}
    end = said("rec", **ENDED, **names_the_first)
    assert who(first, second, end) == [SECOND, "103", "12"]  # the latest answer
    assert who(end) == [EMPLOYEE, "102", "11,12"]  # whom the end names
    for key in ("last_talked_employee_id", "last_answered_employee_id"):
        told = said("rec", **ENDED, **names_the_first, **{key: 12})
        assert who(first, told) == ["", "", "12"]  # who it is nobody said, but not the first
        assert who(first, second, told) == [SECOND, "103", "12"]
    back = said("rec", **ENDED, last_talked_employee_id=11, last_answered_employee_id=12)
    assert who(first, second, back) == [EMPLOYEE, "102", "11"]  # he who talked, before him who picked up


def test_answers_without_a_time_do_not_tell_which_was_the_last():
    first = said("in", **IN, employee_phone_number=EMPLOYEE)
    second = said("in", **IN, employee_phone_number=SECOND)._replace(received_at=RECEIVED + 60_000)
    end = said("rec", **ENDED, employee_phone_number=EMPLOYEE)
    assert who(first, second, end)[0] == EMPLOYEE
    assert who(first, second)[0] == SECOND  # for want of anything better, the receipts
    assert who(first, said("rec", **ENDED, employee_phone_number=SECOND))[0] == EMPLOYEE


@pytest.mark.parametrize("key", ["employee_ids", "employee_id"])
def test_an_employee_known_by_id_alone_is_an_employee(key: str):
    answered = said("in", **BEGAN, **{key: 323001}, notification_time="2024-03-11 10:00:08")
    assert answered.kind == words.ANSWERED
    call = fold([answered])
    assert (call.columns["state"], call.columns["employee_ids"]) == ("talking", "323001")
    assert list(call.legs) == ["323001"]
    missed = fold([said("rec", **IN, **{key: 323001}, is_lost=True)])
    assert (missed.columns["employee_ids"], list(missed.legs)) == ("", ["323001"])  # who missed it is in the legs


def test_of_several_ids_each_is_a_leg_of_the_call_that_they_missed():
    missed = fold([said("rec", **IN, employee_ids=[11, 12], is_lost=True)])
    assert (list(missed.legs), missed.columns["is_missed"]) == (["11", "12"], 1)
    named = fold([said("rec", **IN, employee_ids=[11, 12], extension_phone_number="102", is_lost=True)])
    assert list(named.legs) == ["102"]


def test_one_employee_told_by_extension_here_and_by_number_there_is_one_leg():
    waits = said("in", **IN, leg_id=1, extension_phone_number="102")
    talks = answer("10:00:08", EMPLOYEE, employee_ids=[11])
    tie, by_id = (
        said("rec", **ENDED, employee_phone_number=EMPLOYEE, extension_phone_number="102"),
        said("rec", employee_id=11),
    )
    assert sorted(fold([waits, talks]).legs) == ["102", EMPLOYEE]
    legs = fold([waits, talks, tie, by_id]).legs
    assert list(legs) == [EMPLOYEE]
    assert legs[EMPLOYEE]["employee_ext"] == "102"
    assert legs[EMPLOYEE]["started_at"] is not None is not legs[EMPLOYEE]["answered_at"]


def test_a_waiting_leg_starts_when_it_rings_and_its_call_when_it_began():
    waits = said("in", **BEGAN, leg_id=1, extension_phone_number="102", notification_time="2024-03-11 10:00:03.200")
    assert waits.kind == words.LEG_RINGING
    call = fold([waits])
    assert wall(call.legs["102"]["started_at"], ZONE) == "2024-03-11 10:00:03"
    assert wall(call.columns["started_at"], ZONE) == "2024-03-11 10:00:00"
    assert fold([said("in", **BEGAN, leg_id=1, employee_id=11)]).legs.keys() == {"11"}


def test_a_leg_that_never_ended_ends_with_its_call_and_none_is_outside_of_it():
    waits = [
        said("in", **IN, leg_id=n, extension_phone_number=n, notification_time=at)
        for n, at in (("102", "2024-03-11 10:00:03"), ("103", "2024-03-11 09:00:00"), ("104", "2024-03-11 11:00:00"))
    ]
    call = fold([*waits, said("rec", **ENDED)])
    began, over = call.columns["started_at"], call.columns["ended_at"]
    assert [leg["ended_at"] for leg in call.legs.values()] == [over] * 3
    assert [call.legs[ext]["started_at"] for ext in ("103", "104")] == [began, over]


@pytest.mark.parametrize(
    ("keys", "talk"),
    [({"talk_time_duration": 100}, 100), ({}, 90), ({"total_time_duration": None, "wait_time_duration": None}, 90)],
)
def test_the_talks_of_a_transfer_are_told_by_the_end_else_one_by_one(keys: dict[str, Any], talk: int):
    parts = [
        said("in", **IN, employee_phone_number=number, talk_time_duration=seconds)
        for number, seconds in ((EMPLOYEE, 30), (SECOND, 60))
    ]
    assert row(*parts, said("rec", **{**ENDED, **keys}))["talk_seconds"] == talk
    assert row(said("rec", **{**ENDED, **keys}))["talk_seconds"] in (talk, 120, None)


def test_a_talk_that_began_before_the_first_answer_that_was_told_moves_the_answer():
    end = said("rec", **ENDED, talk_time_duration=115)
    told, lost = answer("10:00:08", EMPLOYEE), answer("10:01:08", SECOND)
    assert wall(row(told, lost, end)["answered_at"], ZONE) == "2024-03-11 10:00:08"
    assert wall(row(lost, end)["answered_at"], ZONE) == "2024-03-11 10:00:13"
    assert (
        wall(row(answer("10:00:15", SECOND), end)["answered_at"], ZONE) == "2024-03-11 10:00:15"
    )  # within two seconds


def test_a_recording_that_is_told_next_day_moves_no_moment_of_the_call():
    end = said("rec", **ENDED)
    recorded = said("rec", **IN, **RECORD, notification_time="2024-03-12 09:00:00")
    for column in ("started_at", "answered_at", "ended_at", "total_seconds"):
        assert row(end, recorded)[column] == row(end)[column]
    assert row(recorded, said("in", **BEGAN))["ended_at"] is None


def test_a_proof_that_another_notification_has_outranks_the_weaker_one():
    """Two templates for one end: the one without a talk says "not lost, longer than the wait"."""
    lengths, zero = said("rec", **OUT, **NOT_LOST, **DURATIONS), said("rec", **OUT, talk_time_duration=0, is_lost=False)
    assert (row(lengths)["disposition"], row(lengths, zero)["disposition"]) == ("answered", "unknown")
    assert row(lengths, said("rec", **OUT, is_lost=True))["disposition"] == "no_answer"
    assert row(zero, said("rec", **OUT, is_lost=True))["disposition"] == "no_answer"  # lost: no menu served him
    assert row(said("rec", **OUT, finish_reason="timeout"), lengths)["disposition"] == "answered"


# ------------------------------------------------------------------------------------------------- who hung up, lost


@pytest.mark.parametrize(
    ("route", "keys", "hangup_by"),
    [
        # a reason that names neither side: nobody hung up
        ("in", {"finish_reason": "timeout", "lost_reason": "x"}, ""),
        ("in", {"direction": "out", "finish_reason": "timeout", "lost_reason": "x"}, ""),
        ("rec", {"finish_reason": "timeout", "lost_reason": "x"}, ""),
        ("rec", {"lost_reason": "Группа сотрудников неактивна согласно расписанию"}, ""),
        ("in", {"lost_reason": "Абонент занят"}, ""),
        ("in", {"lost_reason": "Абонент разорвал соединение"}, "client"),
        # no reason, or one that only says that the call ended: the document's remark
        ("in", {"lost_reason": "x"}, "client"),  # the lost event: the client
        ("in", {"finish_reason": "success_finish", "lost_reason": "Не определена"}, "client"),
        ("rec", {"finish_reason": "add_cdr_timeout", "lost_reason": "x"}, "employee"),  # «сброшен Оператором!»
        ("rec", {"finish_reason": "transfer_disconnects", "lost_reason": "x"}, "employee"),
        ("rec", {"finish_reason": "timeout", "is_lost": True}, ""),
        ("rec", {"finish_reason": "timeout", "is_lost": False}, ""),
        ("in", {"finish_reason": "operator_disconnects", "lost_reason": "x"}, "employee"),  # the reason says who
        ("rec", {"finish_reason": "subscriber_disconnects", "lost_reason": "x"}, "client"),
        ("rec", {"finish_reason": "disconnect_before_call_processing", "lost_reason": "x"}, "client"),
        ("rec", {"finish_reason": "something_new", "lost_reason": "x"}, "employee"),
        ("rec", {"lost_reason": "x"}, "employee"),
        ("rec", {}, ""),
        ("out", {"direction": "out"}, ""),
    ],
)
def test_who_hung_up_is_told_by_the_reason_else_by_the_document(route: str, keys: dict[str, Any], hangup_by: str):
    assert said(route, **keys).hangup_by == hangup_by


@pytest.mark.parametrize(
    ("route", "keys", "lost"),
    [
        ("rec", {"is_lost": True}, True),
        ("rec", {"is_lost": "true"}, True),
        ("rec", {"is_lost": 1}, True),
        ("rec", {"is_lost": False}, False),
        ("rec", {"is_lost": "false", "lost_reason": None}, False),
        ("rec", {"is_lost": False, "lost_reason": "Сотрудник занят"}, True),
        ("rec", {"lost_reason": "Сотрудник занят"}, True),
        ("rec", {"lost_reason": ""}, None),
        ("rec", {"lost_reason": "null"}, None),
        ("rec", {"is_lost": "{{is_lost}}"}, None),
        ("rec", {}, None),
        ("in", {"notification_mnemonic": "lost_call"}, True),
        ("in", FINISHED, True),
    ],
)
def test_lost_is_what_uis_calls_lost(route: str, keys: dict[str, Any], lost: bool | None):
    assert said(route, **keys).lost is lost


# ----------------------------------------------------------------------------------------------------- disposition

LOST = {"is_lost": True, "lost_reason": "x"}
SILENT = {"total_time_duration": 25, "wait_time_duration": 25}


@pytest.mark.parametrize(
    ("keys", "incoming", "outgoing"),
    [
        # answered: UIS says "not lost" and more passed than the wait, or there was a talk
        ({**NOT_LOST, **DURATIONS, "finish_reason": "success_finish"}, "answered", "answered"),
        ({**NOT_LOST, **DURATIONS, "finish_reason": "operator_busy"}, "answered", "answered"),
        ({**NOT_LOST, **DURATIONS}, "answered", "answered"),
        ({"talk_time_duration": 1}, "answered", "answered"),
        ({**LOST, "talk_time_duration": 1}, "answered", "answered"),
        ({"talk_time_duration": 1, "finish_reason": "operator_not_responsible"}, "answered", "answered"),
        # lost: the menu's time counts in total
        ({**LOST, **DURATIONS, "finish_reason": "timeout"}, "missed", "no_answer"),
        ({**LOST, **SILENT, "finish_reason": "timeout"}, "missed", "no_answer"),
        ({"is_lost": True, **DURATIONS}, "missed", "no_answer"),
        ({"is_lost": True}, "missed", "no_answer"),
        ({"lost_reason": "x"}, "missed", "no_answer"),
        ({**LOST, "talk_time_duration": 0}, "missed", "no_answer"),
        ({**LOST, "finish_reason": "something_new"}, "missed", "no_answer"),
        ({**LOST, "finish_reason": "success_finish"}, "rejected", "cancelled"),  # the document: dropped by the operator
        ({**LOST, "finish_reason": "operator_busy"}, "busy", "busy"),
        ({**LOST, "finish_reason": "subscriber_busy"}, "busy", "busy"),
        ({**LOST, "finish_reason": "disconnect_before_call_processing"}, "missed", "cancelled"),
        ({**LOST, "finish_reason": "sip_offline"}, "missed", "no_answer"),
        ({**LOST, "finish_reason": "another_operator_answer"}, "missed", "no_answer"),
        ({**LOST, "finish_reason": "numb_not_exists"}, "failed", "failed"),
        ({**LOST, "finish_reason": "no_active_scenario"}, "failed", "failed"),
        ({**LOST, "finish_reason": "out_call_not_allowed"}, "failed", "failed"),
        ({**LOST, "finish_reason": "no_money"}, "failed", "failed"),
        ({**LOST, "finish_reason": "numa_in_black_list"}, "failed", "failed"),
        ({**LOST, "finish_reason": "numa_in_spam_list"}, "failed", "failed"),
        ({**LOST, "finish_reason": "numa_dnd_interval"}, "failed", "failed"),
        ({**LOST, "finish_reason": "locked_numb"}, "failed", "failed"),
        ({**LOST, "finish_reason": "locked_phone"}, "failed", "failed"),
        # a reason that excludes a talk, of a call that nobody calls lost
        ({**DURATIONS, "finish_reason": "operator_busy"}, "busy", "busy"),
        ({"finish_reason": "operator_not_responsible"}, "missed", "no_answer"),
        ({**NOT_LOST, "finish_reason": "timeout"}, "missed", "no_answer"),
        # no second of talk, in so many words
        ({**NOT_LOST, **DURATIONS, "talk_time_duration": 0, "finish_reason": "subscriber_busy"}, "busy", "busy"),
        ({"talk_time_duration": 0}, "missed", "no_answer"),
        ({**DURATIONS, "talk_time_duration": 0, "finish_reason": "success_finish"}, "missed", "no_answer"),
        # the same of a call that was not lost: a menu served him
        ({**NOT_LOST, **DURATIONS, "talk_time_duration": 0}, "unknown", "unknown"),
        ({**NOT_LOST, "talk_time_duration": 0, "finish_reason": "subscriber_disconnects"}, "unknown", "unknown"),
        ({**NOT_LOST, "talk_time_duration": 0, "finish_reason": "call_enqueued"}, "unknown", "unknown"),
        # who gave up before an answer: the caller cancelled, the called side declined
        ({**LOST, "finish_reason": "subscriber_disconnects"}, "missed", "rejected"),
        ({**LOST, "finish_reason": "operator_disconnects"}, "rejected", "cancelled"),
        # not told: never guessed
        ({}, "unknown", "unknown"),
        (DURATIONS, "unknown", "unknown"),
        ({**DURATIONS, "finish_reason": "success_finish"}, "unknown", "unknown"),
        ({**DURATIONS, "finish_reason": "another_operator_answer"}, "unknown", "unknown"),
        (NOT_LOST, "unknown", "unknown"),
        ({**NOT_LOST, "total_time_duration": 60}, "unknown", "unknown"),
        ({**NOT_LOST, **SILENT}, "unknown", "unknown"),
    ],
)
def test_the_result_of_a_call_that_has_ended(keys: dict[str, Any], incoming: str, outgoing: str):
    for direction, disposition in ((IN, incoming), (OUT, outgoing)):
        columns = row(said("rec", **direction, **keys))
        assert columns["state"] == "ended"
        assert columns["disposition"] == disposition
        assert columns["is_answered"] == (disposition == "answered")
        unwanted = keys.get("finish_reason") in ("numa_in_black_list", "numa_in_spam_list")
        assert columns["is_missed"] == (direction is IN and disposition not in ("answered", "unknown") and not unwanted)
        assert columns["provider_lost"] == int(bool(keys.get("is_lost") or keys.get("lost_reason")))


def test_a_lost_outgoing_call_is_not_a_missed_call():
    columns = row(said("out", **OUT), said("in", **OUT, **FINISHED, lost_reason="Абонент не отвечает"))
    assert (columns["provider_lost"], columns["is_missed"]) == (1, 0)
    assert (columns["direction"], columns["disposition"]) == ("out", "no_answer")


def test_a_lost_internal_call_is_not_a_missed_call_of_a_client():
    columns = row(said("rec", **IN, **LOST, is_internal=True))
    assert (columns["direction"], columns["is_missed"], columns["client_number"]) == ("internal", 0, "")


def test_hanging_up_before_an_answer_is_cancelling():
    columns = row(said("rec", **IN, **LOST, **SILENT, finish_reason="subscriber_disconnects"))
    assert (columns["reason"], columns["reason_raw"]) == ("cancelled_by_caller", "subscriber_disconnects")
    answered = row(said("rec", **IN, **NOT_LOST, **DURATIONS, finish_reason="subscriber_disconnects"))
    assert (answered["reason"], answered["hangup_by"]) == ("normal", "client")


def test_an_answer_event_makes_a_lost_call_answered():
    answer = said("in", **IN, **EMPLOYED)
    columns = row(answer, said("rec", **IN, **LOST, **SILENT, finish_reason="timeout"))
    assert (columns["disposition"], columns["is_missed"], columns["provider_lost"]) == ("answered", 0, 1)


def test_both_ends_of_a_lost_call_agree_who_dropped_it():
    finished = {**FINISHED, "finish_reason": None}
    lost = said("in", **IN, **finished, lost_reason="x")
    end = said("rec", **IN, **finished, lost_reason="x", is_lost=True)
    assert (end.hangup_by, row(lost, end)["hangup_by"], row(end, lost)["hangup_by"]) == ("employee", "client", "client")


def test_a_reason_that_one_of_both_ends_has_is_the_calls():
    """The remark of an end without a reason is no fact beside an end that has one."""
    lost = said("in", **IN, lost_reason="x")
    end = said("rec", **IN, **FINISHED, is_lost=True)
    assert [row(lost, end)[column] for column in ("reason", "reason_raw", "hangup_by")] == ["no_answer", "timeout", ""]


# -------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("sent", "ours"),
    [
        ("79031112233", "79031112233"),
        (79031112233, "79031112233"),
        ("89031112233", "79031112233"),
        ("9031112233", "79031112233"),
        ("+79031112233", "79031112233"),
        ("+7 (903) 111-22-33", "79031112233"),
        ("8 800 555-35-35", "78005553535"),
        ("102", "102"),
        (102, "102"),
        ("0334421", "0334421"),
        ("88005553", "88005553"),
        ("anonymous", "anonymous"),
        ("Anonymous", "Anonymous"),
        ("ivanov_sip", "ivanov_sip"),
        ("0334421_office", "0334421_office"),
        ("sip:102@pbx.example", "102"),
        ("74959268686...9.2.3.3", "74959268686"),
        ("84959268686...9", "74959268686"),
        ("4915112345678", "4915112345678"),
        ("+1 212 555 01 23", "12125550123"),
        ("800774994086005", "800774994086005"),
        ("", ""),
        (None, ""),
        ("{{calling_phone_number}}", ""),
        ("1" * 50, "1" * 32),
    ],
)
def test_a_number_is_normalised_for_matching_and_kept_as_sent(sent: Any, ours: str):
    event = said("in", **{**IN, "calling_phone_number": sent})
    assert event.client_number == ours
    assert event.caller_raw == (str(sent)[:64] if ours else "")
    assert said("in", call_source="va", employee_phone_number=sent).employee_number == ours
    assert said("in", call_source="va", virtual_phone_number=sent).line_number == ours


# ----------------------------------------------------------------------------------------------- moments and lengths


@pytest.mark.parametrize(
    ("sent", "ours"),
    [
        ("2024-03-11 10:15:30", "2024-03-11 10:15:30"),
        ("2024-03-11 10:15:30.4", "2024-03-11 10:15:30"),
        ("2024-03-11 10:15:30.999", "2024-03-11 10:15:30"),  # cut, not rounded
        ("2024-03-11T10:15:30.999", "2024-03-11 10:15:30"),
        (" 2024-03-11 10:15:30 ", "2024-03-11 10:15:30"),
        ("2024-03-11T07:15:30Z", "2024-03-11 10:15:30"),
        (1710141330, "2024-03-11 10:15:30"),
        ("1710141330", "2024-03-11 10:15:30"),
        (1710141330999, "2024-03-11 10:15:30"),
        ("", None),
        (None, None),
        ("null", None),
        ("{{start_time}}", None),
        ("0000-00-00 00:00:00", None),
        ("9999-12-31 23:59:59", None),
        ("1970-01-01 00:00:00", None),
        ("2024-02-30 10:00:00", None),
        ("вчера", None),
        (0, None),
        (-1, None),
        (10**30, None),
        ([], None),
        (True, None),
    ],
)
def test_a_moment_is_wall_clock_of_the_accounts_zone_and_nonsense_is_none(sent: Any, ours: str | None):
    event = said("rec", start_time=sent, finish_time=sent)
    assert (wall(event.started_at, ZONE), wall(event.ended_at, ZONE)) == (ours, ours)


def test_milliseconds_are_kept_until_the_row_is_written():
    assert (said("rec", finish_time="2024-03-11 10:15:30.412").ended_at or 0) % 1000 == 412


def test_a_finish_before_the_start_is_no_finish():
    event = said("rec", start_time="2024-03-11 10:15:30", finish_time="2024-03-10 10:15:30", total_time_duration=60)
    assert event.ended_at is None
    columns = row(event)
    assert columns["ended_at"] - columns["started_at"] == 60_000


def test_a_finish_in_the_second_of_its_start_is_kept():
    """One may have milliseconds, the other not."""
    event = said("rec", start_time="2024-03-11 10:15:30.900", finish_time="2024-03-11 10:15:30")
    assert event.ended_at is not None
    assert said("rec", start_time="2024-03-11 10:15:31", finish_time="2024-03-11 10:15:30").ended_at is None


def test_the_notification_time_is_the_answers_moment():
    event = said("in", **IN, **EMPLOYED, start_time="2024-03-11 10:00:00", notification_time="2024-03-11 10:00:12.345")
    assert wall(event.answered_at, ZONE) == "2024-03-11 10:00:12"
    assert event.occurred_at == event.answered_at


def test_unix_seconds_stand_in_for_a_notification_time():
    assert wall(said("in", **EMPLOYED, notification_timestamp=1710141330).answered_at, ZONE) == "2024-03-11 10:15:30"


@pytest.mark.parametrize(
    ("sent", "ours"),
    [
        (60, 60),
        ("60", 60),
        (" 60 ", 60),
        (0, 0),
        ("0", 0),
        (26.5, 26),
        ("26.999", 26),
        (-5, None),
        ("-1", None),
        ("", None),
        (None, None),
        ("{{total_time_duration}}", None),
        ("минута", None),
        ("00:01:30", None),
        ("NaN", None),
        ("Infinity", None),
        (2**31, None),
        (2**31 - 1, 2**31 - 1),
        ([60], None),
        (True, None),
    ],
)
def test_a_length_is_whole_seconds_and_nonsense_is_none(sent: Any, ours: int | None):
    event = said("rec", total_time_duration=sent, wait_time_duration=sent, talk_time_duration=sent)
    assert (event.total_seconds, event.wait_seconds, event.talk_seconds) == (ours, ours, ours)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", "9" * 5000, "1." + "0" * 5000])
def test_numbers_that_no_column_holds_are_no_lengths(number: str):
    event = delivered("rec", f'{{"call_session_id": 1, "total_time_duration": {number}, "start_time": {number}}}')
    assert (event.total_seconds, event.started_at) == (None, None)


def test_talk_is_total_without_the_wait_of_an_answered_call():
    columns = row(said("rec", **IN, **NOT_LOST, **DURATIONS, finish_time="2024-03-11 10:01:00"))
    assert (columns["talk_seconds"], columns["wait_seconds"], columns["total_seconds"]) == (50, 10, 60)
    assert wall(columns["answered_at"], ZONE) == "2024-03-11 10:00:10"


# ------------------------------------------------------------------------------------------------------ recordings

HASH = "5d41402abc4b2a76b9719d911017c592"
WAV = f"https://app.uiscom.ru/system/media/wav/301245678/{HASH}/"
FILE = "https://app.uiscom.ru/system/media/talk/301245678/x/"
TALK, VOICE = (f"https://app.uiscom.ru/system/media/{place}/301245678/{HASH}/" for place in ("talk", "voice_mail"))


@pytest.mark.parametrize(
    ("keys", "recordings"),
    [
        ({"wav_call_records": [HASH], "communication_id": 301245678}, [("leg", WAV, HASH, None)]),
        ({"wav_call_records": [HASH]}, [("leg", "", HASH, None)]),
        ({"wav_call_records": f'["{HASH}"]'}, [("leg", "", HASH, None)]),
        ({"wav_call_records": HASH}, [("leg", "", HASH, None)]),
        ({"wav_call_records": [HASH, HASH]}, [("leg", "", HASH, None)]),
        ({"wav_call_records": [HASH, "other"]}, [("leg", "", HASH, None), ("leg", "", "other", None)]),
        ({"wav_call_records": ["file.wav"]}, []),
        ({"wav_call_records": []}, []),
        ({"wav_call_records": "[]"}, []),
        ({"wav_call_records": None}, []),
        ({"wav_call_records": [None, ""]}, []),
        ({"wav_call_records": [FILE]}, [("leg", FILE, "", None)]),
        ({"full_record_file_link": FILE}, [("full", FILE, "", None)]),
        ({"full_record_file_link": "http://pbx/х y"}, [("full", "http://pbx/%D1%85%20y", "", None)]),
        ({"full_record_file_link": "нет"}, []),
        ({"full_record_file_link": "{{full_record_file_link}}"}, []),
        ({"file_link": FILE, "file_duration": 50}, [("full", FILE, "", 50)]),
        ({"file_link": FILE, "full_record_file_link": FILE}, [("full", FILE, "", None)]),
        ({"file_duration": 50}, []),
        ({"record_file_links": [FILE]}, [("leg", FILE, "", None)]),
        ({"record_file_links": FILE}, [("leg", FILE, "", None)]),
        ({"record_file_links": [HASH]}, []),
        ({"call_records": [HASH], "communication_id": 301245678}, [("leg", TALK, HASH, None)]),
        ({"call_records": [HASH]}, [("leg", "", HASH, None)]),
        (
            {"call_records": [HASH], "wav_call_records": [HASH], "communication_id": 301245678},
            [("leg", TALK, HASH, None)],
        ),
        ({"call_records": ["file.wav"]}, []),
        ({"voice_mail_records": [HASH], "communication_id": 301245678}, [("voice", VOICE, HASH, None)]),
        ({"voice_mail_records": [FILE], "call_records": None}, [("voice", FILE, "", None)]),
    ],
)
def test_recordings_are_links_or_hashes(keys: dict[str, Any], recordings: list[tuple[Any, ...]]):
    found = said("rec", **keys).recordings
    assert [(r.kind, r.url, r.provider_record_id, r.seconds) for r in found] == recordings
    assert [r.url_hash for r in found] == [sha256(r.provider_record_id or r.url) for r in found]


def test_the_best_recording_is_the_whole_talk_then_its_part_then_what_the_caller_left():
    voice, leg = ({key: [f"https://pbx/{key}"]} for key in ("voice_mail_records", "call_records"))
    full = {"full_record_file_link": "https://pbx/full"}
    assert row(said("rec", **voice, **leg, **full))["recording_url"] == "https://pbx/full"
    assert row(said("rec", **voice, **leg))["recording_url"] == "https://pbx/call_records"
    assert row(said("rec", **voice))["recording_url"] == "https://pbx/voice_mail_records"
    assert row(said("rec", wav_call_records=["https://pbx/wav"], **leg))["recording_url"] == "https://pbx/call_records"


def test_a_hash_told_again_with_its_communication_is_one_recording_with_an_address():
    bare, whole = said("rec", wav_call_records=[HASH]), said("rec", wav_call_records=[HASH], communication_id=301245678)
    for order in ((bare, whole), (whole, bare)):
        call = fold(order)
        assert [r["url"] for r in call.recordings.values()] == [WAV]
        assert call.columns["recording_url"] == WAV


def test_a_json_array_that_the_owner_quoted_is_read():
    event = delivered("rec", f'{{"call_session_id": 1, "wav_call_records": "["{HASH}","b"]", "employee_ids": "[1,2]"}}')
    assert [r.provider_record_id for r in event.recordings] == [HASH, "b"]
    assert event.employee_ids == "1,2"


@pytest.mark.parametrize(
    ("sent", "ours"),
    [
        ([482911, 482912], "482911,482912"),
        (["482911", 482912], "482911,482912"),
        ("[482911, 482912]", "482911,482912"),
        ("482911,482912", "482911,482912"),
        (482911, "482911"),
        (None, ""),
        ([], ""),
        ("[]", ""),
        ([None, 5], "5"),
        ("{{employee_ids}}", ""),
    ],
)
def test_employee_ids_are_an_array_or_its_text(sent: Any, ours: str):
    assert said("rec", employee_ids=sent).employee_ids == ours


def test_three_hundred_employee_ids_are_cut_at_a_whole_id():
    ids = [482000 + number for number in range(300)]
    kept = said("rec", employee_ids=ids).employee_ids
    assert len(kept) <= 255
    assert kept.split(",") == [str(id) for id in ids[: kept.count(",") + 1]]
    assert len(kept) > 255 - len(",482000")


# ------------------------------------------------------------------------------------------------------ identity


@pytest.mark.parametrize("id", [None, "", "null", "None", 0, "0", "   ", "{{call_session_id}}", [], {}])
def test_a_delivery_without_a_call_id_is_refused_by_the_keys_name(id: Any):
    with pytest.raises(Refusal) as refused:
        delivered("rec", {"call_session_id": id, **IN})
    assert (refused.value.status, refused.value.code) == (422, "no_call_id")
    assert "call_session_id" in refused.value.message
    assert "«JSON для тела запроса»" in refused.value.message


@pytest.mark.parametrize(
    ("body", "id"),
    [
        ('{"call_session_id": 28461039010}', "28461039010"),
        ('{"call_session_id": "28461039010"}', "28461039010"),
        ('{"callsessionid": " 28461039010 "}', "28461039010"),
        ('{"Call_Session_ID ": 28461039010}', "28461039010"),
        ('{"call_session_id": 99999999999999999999999}', "99999999999999999999999"),
        ('{"call": {"session_id": 5}}', "5"),
        ('{"call_session_id": null, "callSessionId": 5}', "5"),
        ('{"call_session_id": "a-B_5"}', "a-B_5"),
    ],
)
def test_the_call_id_is_kept_as_text_whatever_it_came_as(body: str, id: str):
    assert delivered("rec", body).provider_call_id == id
    assert delivered("ended", body, feed="mgerm").provider_call_id == id


def test_a_call_told_by_both_feeds_is_one_call_and_equal_content_one_event():
    body = {"call_session_id": 5, "direction": "in"}
    here, there = delivered("rec", body), delivered("ended", body, feed="mgerm")
    assert (here.provider, here.provider_call_id) == (there.provider, there.provider_call_id) == ("uis", "5")
    assert here.event_key == there.event_key


@pytest.mark.parametrize("feed", ["uis", "mgerm"])
@pytest.mark.parametrize("id", [187020303, "187020303"])
def test_the_test_button_is_ignored_with_the_fields_it_had(feed: str, id: Any):
    sample = {
        "call_session_id": id,
        "calling_phone_number": 79260000001,
        "start_time": "2016-04-21 10:30:00",
        "finish_time": "2016-04-20 10:30:00",
        "scenario_name": None,
    }
    with pytest.raises(Ignored) as ignored:
        delivered("rec", sample, feed)
    assert ignored.value.reason == "test"
    for field in ("call_session_id", "calling_phone_number", "start_time", "finish_time"):
        assert field in ignored.value.message
    assert "scenarioname" not in ignored.value.message
    assert "79260000001" not in ignored.value.message


def test_an_id_that_begins_as_the_samples_is_a_call():
    assert said("in", **IN, call_session_id="1870203031").provider_call_id == "1870203031"


@pytest.mark.parametrize(
    "keys",
    [
        {"chat_id": 5, "visitor_id": 6},
        {"message_id": 5, "notification_name": "Новое сообщение"},
        {"offline_message_id": 5},
        {"goal_id": 7},
        {"balance": -10},
    ],
)
def test_a_notification_that_is_not_about_a_call_is_ignored(keys: dict[str, Any]):
    with pytest.raises(Ignored) as ignored:
        delivered("in", keys)
    assert ignored.value.reason == "not_a_call"
    assert "не о звонке" in ignored.value.message


def test_a_call_that_came_from_a_chat_is_a_call():
    assert said("in", **IN, chat_id=5).kind == words.RINGING


# ------------------------------------------------------------------------------------------- what owners' templates do


@pytest.mark.parametrize(
    "body",
    [
        '{"call_session_id": 1, "direction": ""in"", "calling_phone_number": ""79031112233""}',
        '{"call_session_id":"1","direction":"\\"in\\"","calling_phone_number":"79031112233"}',
        '{"call_session_id": "1", "direction": "in", "calling_phone_number": 79031112233, "x": {{x}}}',
        '{"call_session_id": 1, "direction": "in", "calling_phone_number": "79031112233", "x": "{{x}}",}',
        '{"call_session_id": 1, "direction": ""in"", "calling_phone_number": "79031112233", "scenario_name": ""}',
        '\ufeff\r\n{"call_session_id": 1,\r\n "direction": "in",\t"calling_phone_number": "+7 903\t111-22-33"}',
    ],
)
def test_what_owners_do_to_a_template_is_repaired(body: str):
    event = delivered("in", body)
    assert (event.provider_call_id, event.direction, event.client_number) == ("1", "in", CLIENT)
    assert event.scenario_name == ""


def test_a_legal_empty_string_is_no_doubled_quote():
    event = delivered("in", '{"call_session_id": 1, "scenario_name": "", "direction": "out", "call_source": ""}')
    assert (event.scenario_name, event.direction, event.call_source) == ("", "out", "")


def test_quotes_inside_a_name_survive_the_repair():
    event = delivered(
        "in", '{"call_session_id": 1, "contact_full_name": ""ООО \\"Ромашка\\" и К"", "direction": ""in""}'
    )
    assert event.client_name == 'ООО "Ромашка" и К'


def test_an_empty_value_in_doubled_quotes_is_repaired():
    event = delivered("in", '{"call_session_id": 1, "scenario_name": """", "direction": ""in""}')
    assert (event.scenario_name, event.direction) == ("", "in")


def test_a_name_that_begins_and_ends_with_quoted_words_keeps_them():
    assert said("in", contact_full_name='"Ромашка" и "Лютик"').client_name == '"Ромашка" и "Лютик"'


@pytest.mark.parametrize("quotes", ["", '"'])
def test_a_get_says_what_a_post_says(quotes: str):
    sent = {"call_session_id": "1", "direction": "in", "calling_phone_number": CLIENT, "scenario_name": "Ночь и день"}
    query = urlencode({name: f"{quotes}{value}{quotes}" for name, value in sent.items()})
    got = schemas.understand(Delivery("uis", "in", b"", query, "GET", received_at=RECEIVED), ZONE)
    posted = delivered("in", sent)
    assert got._replace(received_at=0) == posted._replace(received_at=0)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_the_content_type_decides_nothing(content_type: str):
    body = json.dumps({"call_session_id": 1, **IN}).encode()
    typed = schemas.understand(Delivery("uis", "in", body, content_type=content_type, received_at=RECEIVED), ZONE)
    assert typed == said("in", **IN)


def test_unknown_keys_are_never_an_error():
    event = said("in", **IN, tags=[{"tag_id": 1, "tag_name": "VIP"}], x={"y": {"z": [1, [2, {"direction": "out"}]]}})
    assert (event.direction, event.client_number) == ("in", CLIENT)


def test_long_values_are_cut_to_their_columns():
    long = said("in", **IN, scenario_name="С" * 1000, contact_full_name="К" * 1000, external_id="e" * 1000)
    assert (len(long.scenario_name), len(long.client_name), len(long.external_id)) == (255, 255, 128)


def test_the_printed_templates_render_to_events():
    values = {"call_session_id": 5, "direction": "in", "employee_phone_number": EMPLOYEE, "total_time_duration": 60}
    values |= {"wait_time_duration": 10, "file_link": FILE, "notification_mnemonic": None, "is_lost": False}
    values["leg_id"] = 7001
    kinds = {}
    for notification in uis.NOTIFICATIONS:
        body = notification.template
        for key in notification.keys:
            body = body.replace(f"{{{{{key}}}}}", json.dumps(values.get(key)))
        kinds[notification.name] = delivered(notification.route, body).kind
    assert kinds == {
        "Входящий звонок": words.RINGING,
        "Начало разговора": words.ANSWERED,
        "Потерянный звонок": words.LOST,
        "Исходящий звонок": words.RINGING,
        "Завершение звонка": words.ENDED,
        "Записанный разговор": words.RECORDING,
        "Ожидание ответа": words.LEG_RINGING,
    }


def test_a_talk_of_nothing_is_no_answer_whether_or_not_it_was_lost():
    event = said("rec", **IN, talk_time_duration=0, finish_time="2024-03-11 10:01:00")
    assert event.answered is False
    assert row(event)["is_answered"] == 0
