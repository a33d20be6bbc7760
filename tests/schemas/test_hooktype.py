"""hooktype: what the provider posts to /hooktype and what 1C sees of it; its document's own tables and examples."""

import itertools
import json
import random
from typing import Any

import pytest

import schemas
from calllog.fold import fold
from inbox import DEAD, FORWARDED, IGNORED
from schemas import event as words
from schemas.event import CallEvent
from schemas.reading import Delivery
from tests.rig.fixtures import ZONE
from tests.rig.service import HOOKTYPE_KEY, Service

NOON = 1_711_962_000_000  # 1 April 2024, noon in Moscow
LINE, CLIENT, EMPLOYEE = "4950665310", "9582412128", "80052002651"
numbers = itertools.count(1)


def new_id() -> str:
    """A SessionID of the provider's shape that no other test uses."""
    return f"{random.getrandbits(32):08x}-2dff-4d92-afba-{next(numbers):012x}"


def hook(hook_type: str, **said: Any) -> dict[str, Any]:
    """The body of one hook; None leaves a key out."""
    body = {"SessionID": "s-1", "HookType": hook_type, "CityNumber": LINE, "Caller": CLIENT, **said}
    return {key: value for key, value in body.items() if value is not None}


def begun(**said: Any) -> dict[str, Any]:
    return hook("CreateIncCall", **{"StartTime": "2021-01-28 14:15:22", "Called": LINE, **said})


def ended(hook_type: str = "EndIncCall", **said: Any) -> dict[str, Any]:
    return hook(hook_type, **{"StartTime": "2021-01-28 14:15:22", "EndTime": "2021-01-28 14:16:22", **said})


def understood(said: dict[str, Any], at: int = NOON) -> CallEvent:
    return schemas.understand(Delivery("hooktype", "hooktype", json.dumps(said).encode(), received_at=at), ZONE)


def columns(*said: dict[str, Any]) -> dict[str, Any]:
    """The folded call, the same in every order."""
    events = [understood(body, NOON + 1000 * number) for number, body in enumerate(said)]
    folded = [fold(order) for order in itertools.permutations(events)]
    assert all(call == folded[0] for call in folded)
    return folded[0].columns


# ------------------------------------------------------------------------------------------------- the ResultCode table

RESULT_CODES = [
    # code, EndIncCall, MissedIncCall, EndOutCall, reason: «Таблица значений кодов ответа поля ResultCode»
    ("200", "answered", "answered", "answered", "normal"),
    ("304", "missed", "missed", "no_answer", "no_answer"),
    ("603", "rejected", "rejected", "rejected", "declined"),
    ("603-S", "missed", "missed", "cancelled", "cancelled_by_caller"),
    ("486", "busy", "busy", "busy", "busy"),
    ("480", "missed", "missed", "no_answer", "unavailable"),
    ("404", "failed", "failed", "failed", "invalid_number"),
    ("484", "failed", "failed", "failed", "no_route"),
    ("503", "failed", "failed", "failed", "no_route"),
    ("403", "failed", "failed", "failed", "forbidden"),
    ("402", "failed", "failed", "failed", "no_funds"),
    ("423", "failed", "failed", "failed", "blocked"),
    ("487", "unknown", "missed", "unknown", "unknown"),
    ("603-X", "unknown", "missed", "unknown", "unknown"),
    (None, "unknown", "missed", "unknown", "unknown"),
]


@pytest.mark.parametrize(("code", "incoming", "missed", "outgoing", "reason"), RESULT_CODES)
def test_a_result_code_is_told_in_our_words(code: str | None, incoming: str, missed: str, outgoing: str, reason: str):
    spelled = [code] if code is None or not code.isdigit() else [code, int(code), f" {code} "]
    for one in spelled:
        for hook_type, disposition in (("EndIncCall", incoming), ("MissedIncCall", missed), ("EndOutCall", outgoing)):
            row = columns(ended(hook_type, ResultCode=one, Duration=0))
            assert (row["state"], row["disposition"], row["reason"]) == ("ended", disposition, reason), hook_type
            assert row["reason_raw"] == (code or "")
            assert row["is_answered"] == (disposition == "answered")
            assert row["is_missed"] == (hook_type != "EndOutCall" and disposition not in ("answered", "unknown"))


def test_the_table_has_every_code_of_the_document():
    assert {code for code, *_ in RESULT_CODES} >= set(
        "200 304 603 603-S 403 404 486 484 503 480 402 423".split()
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- single rules


@pytest.mark.parametrize(
    ("hook_type", "kind", "direction"),
    [
        ("CreateIncCall", words.RINGING, "in"),
        ("AttemptIncCallBegin", words.LEG_RINGING, "in"),
        ("ChangeIncCall", words.ANSWERED, "in"),
        ("AttemptIncCallEnd", words.LEG_ENDED, "in"),
        ("EndIncCall", words.ENDED, "in"),
        ("MissedIncCall", words.LOST, "in"),
        ("CreateOutCall", words.RINGING, "out"),
        ("EndOutCall", words.ENDED, "out"),
    ],
)
def test_a_hook_is_known_in_any_case(hook_type: str, kind: str, direction: str):
    for spelled in (hook_type, hook_type.lower(), hook_type.upper(), f" {hook_type} "):
        event = understood(hook(spelled))
        assert (event.kind, event.direction) == (kind, direction)


def test_start_duration_is_the_moment_of_the_answer():
    row = columns(begun(), hook("ChangeIncCall", StartDuration="2021-01-28 14:15:41", Called=EMPLOYEE))
    assert (row["state"], row["wait_seconds"], row["talk_seconds"]) == ("talking", 19, None)


def test_called_is_the_line_in_one_hook_and_the_employee_in_another():
    assert understood(begun()).employee_number == ""
    assert understood(hook("ChangeIncCall", Called=EMPLOYEE)).employee_number == "70052002651"
    assert understood(ended("MissedIncCall", Called="84950665310")).employee_number == ""
    assert understood(ended("EndIncCall", Called="84950665310")).employee_number == ""  # the line again: nobody
    out = understood(hook("CreateOutCall", Caller=EMPLOYEE, Called="89582412128"))
    assert (out.client_number, out.employee_number, out.line_number) == ("79582412128", "70052002651", "74950665310")


@pytest.mark.parametrize(
    ("one", "other", "leg"),
    [
        ("80052002651", "0052002651", "70052002651"),  # attempt, end: the document's own
        ("80052002651", "70052002651", "70052002651"),
        ("800774994086005", "800774994086005", "800774994086005"),  # an internal id of 15 digits stays as it is
    ],
)
def test_an_employee_written_two_ways_is_one_leg(one: str, other: str, leg: str):
    call = fold([understood(hook("AttemptIncCallBegin", Called=one)), understood(ended(Called=other, ResultCode=200))])
    assert list(call.legs) == [leg]


@pytest.mark.parametrize("result", ["200", "304"])
def test_an_attempt_that_ends_after_the_call_changes_only_its_leg(result: str):
    whole = [begun(), ended(ResultCode=result, Duration=26 if result == "200" else 0, Called="0052002651")]
    late = hook("AttemptIncCallEnd", EndTime="2021-01-28 14:59:59", Called="80052002642")
    before, after = columns(*whole), columns(*whole, late)
    for column in ("state", "disposition", "is_missed", "employee_number", "ended_at", "reason", "total_seconds"):
        assert after[column] == before[column]


def test_an_attempt_that_ends_neither_ends_nor_misses_the_call():
    row = columns(begun(), hook("AttemptIncCallEnd", EndTime="2021-01-28 14:15:50", Called=EMPLOYEE))
    assert (row["state"], row["disposition"], row["is_missed"]) == ("ringing", "", 0)


def test_missed_and_ended_are_one_missed_call():
    row = columns(begun(), ended("MissedIncCall", ResultCode="304"), ended("EndIncCall", ResultCode="304"))
    assert (row["disposition"], row["is_missed"], row["reason"]) == ("missed", 1, "no_answer")
    row = columns(begun(), ended("MissedIncCall", ResultCode="304"), ended("EndIncCall"))  # the end knows nothing
    assert (row["disposition"], row["is_missed"], row["reason"]) == ("missed", 1, "no_answer")


def test_an_answer_beats_a_missed_hook():
    change = hook("ChangeIncCall", StartDuration="2021-01-28 14:15:41", Called=EMPLOYEE)
    row = columns(begun(), change, ended("MissedIncCall", ResultCode="304"))
    assert (row["disposition"], row["is_missed"], row["employee_number"]) == ("answered", 0, "70052002651")


def test_without_a_start_time_an_answered_call_began_when_it_was_answered():
    row = columns(ended(StartTime=None, Duration=26, ResultCode="200", Called="0052002651"))
    assert row["ended_at"] - row["answered_at"] == 26_000
    assert row["started_at"] == row["answered_at"]


def test_an_end_in_the_second_of_its_start_is_kept():
    event = understood(ended(EndTime="2021-01-28 14:15:22", ResultCode="603-s"))
    assert (event.ended_at, event.reason) == (event.started_at, "cancelled_by_caller")


def test_the_duration_of_an_end_whose_code_says_nothing_is_no_talk():
    row = columns(begun(), ended(Duration=40, ResultCode="777"))
    assert (row["disposition"], row["talk_seconds"]) == ("unknown", None)


@pytest.mark.parametrize(
    ("caller", "line", "called", "direction"),
    [
        ("101", "102", "102", "internal"),
        ("101", None, "102", "internal"),
        ("101", LINE, LINE, "in"),  # a line is named
        (CLIENT, "102", "102", "in"),
        ("101", "1020304", "1020304", "in"),
    ],
)
def test_two_extensions_without_a_line_are_an_internal_call(caller: str, line: str | None, called: str, direction: str):
    begin = begun(Caller=caller, CityNumber=line, Called=called)
    missed = hook("MissedIncCall", Caller=caller, CityNumber=line, Called=called, ResultCode="304")
    for said in ((begin,), (missed,), (begin, missed)):
        row = columns(*said)
        assert row["direction"] == direction
        if direction == "internal":
            assert (row["client_number"], row["employee_ext"], row["is_missed"]) == ("", "101", 0)
    assert row["disposition"] == ("no_answer" if direction == "internal" else "missed")


def test_an_attempt_that_began_before_a_lost_call_hook_is_the_start():
    row = columns(
        hook("AttemptIncCallBegin", StartTime="2021-01-28 14:15:20", Called=EMPLOYEE),
        hook("ChangeIncCall", StartDuration="2021-01-28 14:15:30", Called=EMPLOYEE),
        hook("EndIncCall", EndTime="2021-01-28 14:16:30", Duration=60, ResultCode="200"),
    )
    assert (row["wait_seconds"], row["talk_seconds"], row["total_seconds"]) == (10, 60, 70)


def test_an_answer_whose_hook_was_lost_moves_the_first_answer_back():
    """The first employee passed the call on: only the second one's ChangeIncCall came."""
    row = columns(
        begun(),
        hook("ChangeIncCall", StartDuration="2021-01-28 14:16:00", Called=EMPLOYEE),
        ended(EndTime="2021-01-28 14:16:22", Duration=52, ResultCode="200"),
    )
    assert (row["wait_seconds"], row["talk_seconds"], row["total_seconds"]) == (8, 52, 60)
    close = columns(
        begun(),
        hook("ChangeIncCall", StartDuration="2021-01-28 14:15:32", Called=EMPLOYEE),
        ended(EndTime="2021-01-28 14:16:22", Duration=52, ResultCode="200"),
    )
    # two seconds are rounding: the answer stands as told, and each length by itself
    assert (close["wait_seconds"], close["talk_seconds"], close["total_seconds"]) == (10, 52, 60)


@pytest.mark.parametrize("duration", [26, "26", "26.9", 26.4])
def test_a_duration_is_the_talk_in_whole_seconds(duration: Any):
    row = columns(begun(), ended(Duration=duration, ResultCode="200"))
    assert (row["talk_seconds"], row["total_seconds"], row["wait_seconds"]) == (26, 60, 34)


# ------------------------------------------------------------------------------------------------------ over the wire


def post(service: Service, body: str | dict[str, Any]) -> tuple[int, dict[str, Any]]:
    answer = service.post("/hooktype", body if isinstance(body, str) else json.dumps(body), key=HOOKTYPE_KEY)
    return answer.status_code, answer.json()


def kept(service: Service, call_id: str) -> tuple[str, str]:
    """(state, reason) of the one stored delivery whose body has the id."""
    (stored,) = [one for one in service.deliveries(feed="hooktype") if call_id.encode() in one.delivery.body]
    return stored.outcome.state, stored.outcome.reason


def test_the_unclosed_example_is_refused_with_a_clear_reason_and_kept(sqlite_service: Service):
    """AttemptIncCallEnd, as the document prints it: its closing brace is missing."""
    id = new_id()
    code, answer = post(
        sqlite_service,
        f'{{\n  "SessionID": "{id}",\n  "HookType": "AttemptIncCallEnd",\n  "EndTime": "2021-01-28 18:27:09",\n'
        '  "CityNumber": "4950665310",\n  "Caller": "9582412128",\n  "Called": "80052002642"',
    )
    assert (code, answer["error"]) == (400, "bad_json")
    assert "«Url»" in answer["message"]
    assert "80052002642" in answer["message"]  # the place
    assert kept(sqlite_service, id) == (DEAD, "bad_json")


def test_an_unknown_hook_is_kept_and_has_no_effect(sqlite_service: Service):
    id = new_id()
    code, answer = post(sqlite_service, hook("TransferIncCall", SessionID=id))
    assert (code, answer["status"]) == (200, "ignored")
    assert "TransferIncCall" in answer["reason"]
    assert kept(sqlite_service, id) == (IGNORED, "unknown_event")


@pytest.mark.parametrize("value", [None, "", "null", "{{HookType}}"])
def test_without_a_hook_type_it_is_refused_by_name(sqlite_service: Service, value: str | None):
    id = new_id()
    code, answer = post(sqlite_service, {**begun(SessionID=id), "HookType": value})
    assert (code, answer["error"]) == (422, "no_event_type")
    assert "HookType" in answer["message"]
    assert kept(sqlite_service, id) == (DEAD, "no_event_type")


@pytest.mark.parametrize("value", [None, "", "null", "None", 0, "0"])
def test_without_a_session_id_it_is_refused_by_name(sqlite_service: Service, value: Any):
    mark = new_id()
    code, answer = post(sqlite_service, {**begun(), "SessionID": value, "Redirecting": mark})
    assert (code, answer["error"]) == (422, "no_call_id")
    assert "SessionID" in answer["message"]
    assert kept(sqlite_service, mark) == (DEAD, "no_call_id")


def test_a_hook_sent_again_in_other_words_is_one_event(sqlite_service: Service):
    id = new_id()
    first = ended(SessionID=id, Duration=26, ResultCode="200", Called="0052002651")
    again = dict(reversed([(key.upper(), value) for key, value in first.items()]))
    again |= {"DURATION": "26", "RESULTCODE": 200}
    for body in (first, again, first):
        assert post(sqlite_service, body) == (200, {"status": "accepted"})
    sqlite_service.settled()
    row = sqlite_service.call(id)
    assert (row["events_count"], row["talk_seconds"], row["disposition"]) == (1, 26, "answered")
    found = [one for one in sqlite_service.deliveries(feed="hooktype") if id.encode() in one.delivery.body]
    assert [one.outcome.state for one in found] == [FORWARDED] * 3


@pytest.mark.parametrize("code", ["777", "", "486"])
def test_a_duration_of_an_end_that_nobody_answered_is_no_talk(code: str) -> None:
    body = json.dumps({"SessionID": "1", "HookType": "EndIncCall", "ResultCode": code, "Duration": 15}).encode()
    assert schemas.understand(Delivery("hooktype", "hooktype", body), ZONE).talk_seconds is None
