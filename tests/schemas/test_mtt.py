"""MTT: what the network posts to /mtt/events and what 1C sees of it; a call that nobody answers is ended by silence."""

import itertools
import json
import random
import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import schemas
from calllog import database
from calllog.fold import fold, settles_at
from calllog.overdue import own_event
from inbox import DEAD, FORWARDED, IGNORED, Outcome, now
from models import Calls
from schemas import event as words
from schemas.event import CallEvent
from schemas.reading import Delivery
from tests.rig.fixtures import ZONE, FixtureCall, fixture_calls, name
from tests.rig.node import Node
from tests.rig.service import MTT_KEY, Service, running, until

CALLS = [call for call in fixture_calls() if call.name.startswith("mtt/")]
NOON = 1_711_962_000_000  # 1 April 2024, noon in Moscow
CONF, LEG, OTHER = "BC5F236C 5AD211E9 81BA5CB9 01FED6FC", "79684881033", "79684881044"
START = 1_558_613_700_000  # 23 May 2019, 15:15:00 in Moscow
numbers = itertools.count(1)


def new_id() -> str:
    """An h323_conf_id that no other test uses."""
    return f"{random.getrandbits(32):08X} 5AD211E9 81BA5CB9 {next(numbers):08X}"


def notification(kind: str, at: int = 0, leg: str = LEG, conf: str = CONF, **event: str) -> dict[str, Any]:
    """The body of one event, `at` seconds after 15:15:00 in Moscow."""
    cause = f"&cause={event['cause']}" if "cause" in event else ""
    body = {
        "date_time": 1558613711,  # the constant that the document's examples copy
        "data": f"event={kind}_{leg or '79154368886'}_2019-05-23-15-{15 + at // 60:02}-{at % 60:02}{cause}",
        "event": {"type": kind, **event},
        "redirect_number": leg,
        "h323_conf_id": conf,
        "numberA": "79154368886",
        "sip_id": "79586488002",
        "client_id": "1235",
        "extension": "0004",
    }
    return {key: value for key, value in body.items() if value}


def delivery(said: dict[str, Any], at: int = NOON) -> Delivery:
    return Delivery("mtt", "events", json.dumps(said).encode(), received_at=at)


def understood(said: dict[str, Any], at: int = NOON, zone: ZoneInfo = ZONE) -> CallEvent:
    return schemas.understand(delivery(said, at), zone)


def settled(*events: CallEvent) -> CallEvent:
    at = settles_at(events, 60)
    assert at is not None
    return own_event(words.SETTLED, events, at=at)


def columns(*said: dict[str, Any], silence: bool = False) -> dict[str, Any]:
    """The folded call, the same in every order; with `silence`, after SETTLE_SECONDS of it."""
    events = [understood(body, NOON + 1000 * number) for number, body in enumerate(said)]
    if silence:
        events.append(settled(*events))
    folded = [fold(order) for order in itertools.permutations(events)]
    assert all(call == folded[0] for call in folded)
    return folded[0].columns


# ------------------------------------------------------------------------------------------------------ the cause table

CAUSES = [
    # ISUP cause, reason of an unanswered call whose employee's side cleared, its disposition: Q.850
    *((cause, "no_answer", "missed") for cause in (16, 31, 18, 19)),
    (17, "busy", "busy"),
    *((cause, "unavailable", "missed") for cause in (20, 27)),
    (21, "declined", "rejected"),
    (26, "answered_elsewhere", "missed"),
    *((cause, "invalid_number", "failed") for cause in (1, 22, 28)),
    *((cause, "no_route", "failed") for cause in (2, 3)),
    *((cause, "network", "failed") for cause in (34, 38, 41, 42, 47, 102, 127)),
    *((cause, "forbidden", "failed") for cause in (29, 55, 57)),
    *((cause, "unknown", "missed") for cause in (0, 4, 99, 255, 99999, "sip")),
]


@pytest.mark.parametrize(("cause", "reason", "disposition"), CAUSES)
def test_a_cause_of_an_unanswered_call_is_told_in_our_words(cause: Any, reason: str, disposition: str):
    hangup = notification("h", 49, side="B", cause=str(cause))
    row = columns(notification("o", 19), hangup, silence=True)
    assert (row["state"], row["disposition"], row["reason"]) == ("ended", disposition, reason)
    assert (row["is_missed"], row["is_answered"], row["talk_seconds"], row["wait_seconds"]) == (1, 0, 0, 30)
    assert row["reason_raw"] == str(cause)


@pytest.mark.parametrize(("cause", "reason", "_"), CAUSES)
def test_a_cause_of_an_answered_call_never_misses_it(cause: Any, reason: str, _: str):
    for side in ("A", "B"):
        hangup = notification("h", 90, side=side, cause=str(cause))
        row = columns(notification("o", 19), notification("s", 30), hangup, silence=cause == 26)
        assert (row["state"], row["disposition"], row["is_missed"]) == ("ended", "answered", 0)
        assert row["reason"] == ("normal" if cause in (16, 31) else reason)
        assert (row["talk_seconds"], row["wait_seconds"]) == (60, 11)


@pytest.mark.parametrize("cause", [16, 31])
def test_a_normal_clearing_by_the_client_before_an_answer_is_a_missed_call(cause: int):
    row = columns(notification("o", 19), notification("h", 33, leg="", side="A", cause=str(cause)))
    assert (row["state"], row["disposition"], row["reason"]) == ("ended", "missed", "cancelled_by_caller")
    assert (row["is_missed"], row["hangup_by"]) == (1, "client")


def test_a_hangup_with_neither_leg_nor_side_ends_the_call():
    row = columns(notification("o", 19), notification("h", 33, leg="", cause="16"))
    assert (row["state"], row["reason"], row["hangup_by"]) == ("ended", "cancelled_by_caller", "client")


def test_a_hangup_of_an_employee_whom_it_does_not_name_ends_nothing():
    events = [understood(notification("o", 19)), understood(notification("h", 33, leg="", side="B", cause="16"))]
    assert fold(events).columns["state"] == "ringing"
    assert settles_at(events, 60) is None  # the leg that rang is open


@pytest.mark.parametrize(
    ("cause", "hangup_by"), [("16", "client"), ("31", "client"), ("17", ""), ("127", ""), ("99", "")]
)
def test_only_a_normal_clearing_says_who_hung_up(cause: str, hangup_by: str):
    row = columns(notification("o", 19), notification("h", 33, leg="", side="A", cause=cause))
    assert (row["state"], row["hangup_by"]) == ("ended", hangup_by)


def test_a_client_who_hangs_up_on_a_ringing_leg_ends_the_call_by_silence_alone():
    said = notification("o", 19), notification("h", 33, side="A", cause="16")
    assert columns(*said)["state"] == "ringing"
    row = columns(*said, silence=True)
    assert (row["disposition"], row["is_missed"], row["reason"]) == ("missed", 1, "cancelled_by_caller")
    assert (row["hangup_by"], row["wait_seconds"]) == ("client", 14)


def test_the_client_who_hung_up_before_the_next_leg_rang_has_not_left():
    """Side A of one leg, and then the next employee is rung: that was the network's doing."""
    said = (
        notification("o", 19),
        notification("h", 33, side="A", cause="16"),
        notification("o", 34, leg=OTHER),
        notification("h", 49, leg=OTHER, side="B", cause="19"),
    )
    assert columns(*said[:3])["state"] == "ringing"
    row = columns(*said, silence=True)
    assert (row["reason"], row["hangup_by"], row["total_seconds"]) == ("no_answer", "", 30)


@pytest.mark.parametrize("later", ["o", "s", "t"])
def test_a_clients_hangup_does_not_end_a_call_that_goes_on(later: str):
    gone = notification("h", 33, leg="", side="A", cause="16")
    assert columns(notification("o", 19), gone)["state"] == "ended"
    assert columns(notification("o", 19), gone, notification(later, 40, leg=OTHER))["state"] != "ended"
    assert columns(notification("o", 19), gone, notification("h", 40, side="B", cause="16"))["state"] == "ended"


def test_a_leg_answered_elsewhere_never_ends_the_call():
    """Another one picked up, and the network clears the first on behalf of the caller: with the leg or without."""
    talk = notification("o", 19), notification("o", 19, leg=OTHER), notification("s", 30, leg=OTHER)
    for leg in (LEG, ""):
        row = columns(*talk, notification("h", 30, leg=leg, side="A", cause="26"))
        assert (row["state"], row["employee_number"], row["ended_at"]) == ("talking", OTHER, None)


def test_an_employee_who_is_rung_again_talks_in_the_second_round():
    said = (
        notification("o", 19),
        notification("h", 34, side="B", cause="19"),
        notification("o", 39),
        notification("s", 45),
        notification("h", 105, side="B", cause="16"),
    )
    talking = fold([understood(body) for body in said[:4]])
    assert (talking.columns["state"], talking.legs[LEG]["reason"], talking.legs[LEG]["ended_at"]) == (
        "talking",
        "",
        None,
    )
    row = columns(*said)
    assert (row["state"], row["wait_seconds"], row["talk_seconds"], row["total_seconds"]) == ("ended", 26, 60, 86)


def test_a_call_whose_last_hangup_was_lost_expires_without_an_end():
    """They talk, the other leg was cleared, and nothing more comes: when it ended nobody knows."""
    said = (
        notification("o", 19),
        notification("o", 19, leg=OTHER),
        notification("s", 30, leg=OTHER),
        notification("h", 30, side="A", cause="26"),
    )
    events = [understood(body, NOON + 1000 * number) for number, body in enumerate(said)]
    row = fold([*events, own_event(words.EXPIRED, events, after=14_400_000)]).columns
    assert (row["state"], row["disposition"], row["ended_at"], row["talk_seconds"]) == ("ended", "answered", None, None)


def test_a_cause_on_a_start_is_no_hangup_cause():
    start = notification("s", 30, cause="17")
    assert (understood(start).reason, understood(start).reason_raw) == ("", "")
    row = columns(notification("o", 19), start, notification("h", 60, leg="", side="A"))
    assert (row["disposition"], row["reason"], row["reason_raw"]) == ("answered", "normal", "")


def test_a_cause_only_in_data_counts():
    hangup = notification("h", 49, side="B", cause="17")
    del hangup["event"]["cause"]
    assert columns(notification("o", 19), hangup, silence=True)["disposition"] == "busy"


# ------------------------------------------------------------------------------------------------------------- moments


def test_the_time_is_that_of_data_in_moscow_whatever_the_zone_of_the_call_log():
    for zone in (ZONE, ZoneInfo("Asia/Omsk")):
        assert schemas.feeds()["mtt"].zone == "Europe/Moscow"
        assert understood(notification("o", 19), zone=zone).occurred_at is not None
    assert understood(notification("o", 19)).occurred_at == START + 19_000


@pytest.mark.parametrize("date_time", [1558613719, 1558613719000, "1558613719", "1558613719000"])
@pytest.mark.parametrize("data", [None, "", "event=o_79684881033", "event=o_79684881033_2019-13-41-25-61-61", "x"])
def test_date_time_counts_where_data_does_not_parse(date_time: Any, data: str | None):
    body = {**notification("o", 19), "date_time": date_time, "data": data}
    assert understood(body).occurred_at == START + 19_000


def test_without_any_time_the_receipt_is_the_moment():
    body = {**notification("o"), "date_time": None, "data": None}
    event = understood(body)
    assert (event.occurred_at, event.moment) == (None, NOON)


def test_talk_is_counted_from_t_and_without_it_from_s():
    begun, answered, hangup = notification("o", 19), notification("s", 30), notification("h", 119, side="B", cause="16")
    assert columns(begun, answered, hangup)["talk_seconds"] == 89
    row = columns(begun, answered, notification("t", 40), hangup)
    assert (row["talk_seconds"], row["wait_seconds"], row["total_seconds"]) == (79, 11, 100)


# ---------------------------------------------------------------------------------------------------------- identities


@pytest.mark.parametrize(
    "conf", [f" {CONF} ", CONF.replace(" ", "   "), CONF.lower(), f"\t{CONF}\n", CONF.replace(" ", "\u00a0")]
)
def test_an_id_with_stray_spaces_is_the_same_call(conf: str):
    assert understood(notification("o", conf=conf)).provider_call_id == CONF


def test_keys_with_stray_spaces_are_the_same_keys():
    body = {f" {key} ": value for key, value in notification("h", 49, side="B", cause="17").items()}
    event = understood(body)
    assert (event.provider_call_id, event.external_id, event.leg_key) == (CONF, "1235", LEG)
    assert event.event_key == understood(notification("h", 49, side="B", cause="17")).event_key


def test_an_event_may_be_a_plain_string_and_its_cause_a_number():
    body = {**notification("h", 49), "event": "h", "cause": 17, "side": "b"}
    event = understood(body)
    assert (event.kind, event.reason, event.reason_raw) == (words.HANGUP, "busy", "17")


def test_the_type_may_stand_in_data_alone():
    body = notification("s", 30)
    del body["event"]
    assert understood(body).kind == words.ANSWERED


def test_the_extension_is_of_the_line_and_names_no_employee():
    row = columns(notification("o", 19), notification("s", 30))
    assert (row["employee_number"], row["employee_ext"]) == (LEG, "")


# -------------------------------------------------------------------------------------------------- ended by silence


@pytest.mark.parametrize("call", CALLS, ids=name)
@pytest.mark.parametrize("kind", sorted(words.SILENCES))
def test_whatever_comes_later_takes_back_an_end_that_only_silence_told(call: FixtureCall, kind: str):
    """The forwarder saw only a part of it when SETTLE_SECONDS had passed: the rest arrived later."""
    events = [event for event in call.events() if event.kind not in words.SILENCES]
    for seen in range(1, len(events)):
        early = own_event(kind, events[:seen], after=60_000)
        if kind == words.EXPIRED or settles_at(events[:seen], 60):
            assert fold([*events[:seen], early]).columns["state"] == "ended"
        assert fold([*events, early]) == fold(events)


def test_a_silence_is_broken_by_what_was_received_during_it_and_came_to_the_call_log_later():
    begun, hangup = notification("o", 19), notification("h", 39, side="B", cause="19")
    events = [understood(begun), understood(hangup, NOON + 20_000)]
    silence = settled(*events)
    other = understood(notification("o", 40, leg=OTHER), NOON + 21_000)  # another node's inbox had it
    assert fold([*events, silence]).columns["state"] == "ended"
    assert fold([*events, silence, other]).columns["state"] == "ringing"


def test_a_leg_that_is_open_after_all_breaks_a_silence():
    """Its event was received before the last hangup, by another node, and came to the call log after the silence."""
    hangup = understood(notification("h", 39, side="B", cause="19"), NOON + 20_000)
    other = understood(notification("o", 20, leg=OTHER), NOON + 1000)
    assert fold([hangup, settled(hangup), other]).columns["state"] == "ringing"


def test_a_broken_silence_does_not_count_and_the_next_one_has_another_key():
    first = understood(notification("h", 39, side="B", cause="19"))
    again = understood(notification("h", 59, side="B", cause="17"), NOON + 90_000)
    silences = settled(first), settled(first, again)
    assert silences[0].event_key != silences[1].event_key == settled(again, first).event_key
    row = fold([first, again, *silences]).columns
    assert (row["disposition"], row["events_count"], row["last_event_at"]) == ("busy", 3, NOON + 150_000)


def test_a_silence_of_the_release_before_counts_until_something_is_received_after_it():
    hangup = understood(notification("h", 39, side="B", cause="19"))
    old = settled(hangup)._replace(occurred_at=None)
    assert fold([hangup, old]).columns["state"] == "ended"
    assert fold([hangup, old, understood(notification("o", 19), NOON + 50_000)]).columns["state"] == "ended"
    assert fold([hangup, old, understood(notification("o", 40), NOON + 61_000)]).columns["state"] == "ringing"


def test_silence_ends_a_call_only_after_a_hangup_with_no_leg_open():
    begun, other = understood(notification("o", 19)), understood(notification("o", 19, leg=OTHER))
    hangup = understood(notification("h", 30, side="B", cause="17"), NOON + 11_000)
    last = understood(notification("h", 49, leg=OTHER, side="B", cause="19"), NOON + 30_000)
    answered = understood(notification("s", 30, leg=OTHER), NOON + 11_000)
    client = understood(notification("h", 33, leg="", side="A", cause="16"))
    assert settles_at([begun], 60) is None  # nobody hung up
    assert settles_at([begun, other, hangup], 60) is None  # the other one still rings
    assert settles_at([begun, other, hangup, answered], 60) is None  # they talk
    assert settles_at([begun, hangup, client], 60) is None  # it has an end of its own
    assert settles_at([begun, other, hangup, last], 60) == last.received_at + 60_000
    assert settles_at([last, hangup, other, begun], 25) == last.received_at + 25_000


def test_an_expired_call_is_told_by_the_hangups_it_has():
    """Four hours of silence are silence: a hangup that came too late to settle the call, or beside a leg left open."""
    for said in (
        [notification("o", 19), notification("h", 39, side="B", cause="17")],
        [notification("o", 19), notification("o", 19, leg=OTHER), notification("h", 39, side="B", cause="17")],
    ):
        events = [understood(body, NOON + 1000 * number) for number, body in enumerate(said)]
        row = fold([*events, own_event(words.EXPIRED, events, after=14_400_000)]).columns
        assert (row["state"], row["disposition"], row["reason"], row["total_seconds"]) == ("ended", "busy", "busy", 20)


@pytest.fixture
def node(tmp_path: Path, database_url: str) -> Node:
    """A node whose receipt times the test chooses."""
    database.upgrade(database_url, lambda line: None)
    return Node(tmp_path / "node", database_url, expire_hours=10**6)


def told(node: Node, at: int, *said: dict[str, Any]) -> None:
    for body in said:
        node.inbox.put(delivery(body, at), Outcome())


def test_a_call_ends_when_settle_seconds_have_passed_since_its_last_hangup(node: Node):
    young, old = "AAAAAAAA 00000000 00000000 00000001", "AAAAAAAA 00000000 00000000 00000002"
    for conf, age in ((young, 50), (old, 61)):
        at = now() - age * 1000
        hangup = notification("h", 30, conf=conf, side="B", cause="17")
        told(node, at, notification("o", 19, conf=conf), hangup)
    node.forward()
    states = {row["provider_call_id"]: (row["state"], row["disposition"]) for row in node.rows(Calls)}
    assert states == {young: ("ringing", ""), old: ("ended", "busy")}


def test_no_call_is_settled_while_anything_waits_in_the_inbox(node: Node):
    """A night without the call log: the second leg of the call is in the inbox, some batches behind the first."""
    told(node, NOON, notification("o", 19), notification("h", 39, side="B", cause="19"))
    told(node, NOON, *(notification("o", 19, conf=f"BBBBBBBB 00000000 00000000 {number:08}") for number in range(300)))
    told(node, NOON + 20_000, notification("o", 40, leg=OTHER))
    node.forwarder.step()
    node.forwarder.tick(always=True)
    (row,) = [row for row in node.rows(Calls) if row["provider_call_id"] == CONF]
    assert (row["state"], row["events_count"]) == ("ringing", 2)
    node.forward()
    (row,) = [row for row in node.rows(Calls) if row["provider_call_id"] == CONF]
    assert (row["state"], row["events_count"]) == ("ringing", 3)  # its second leg is open
    told(node, NOON + 60_000, notification("s", 47, leg=OTHER), notification("h", 122, leg=OTHER, side="B", cause="16"))
    node.forward()
    (row,) = [row for row in node.rows(Calls) if row["provider_call_id"] == CONF]
    assert (row["state"], row["disposition"], row["talk_seconds"]) == ("ended", "answered", 75)


def test_calls_that_wait_for_a_leg_hide_no_call_that_has_ended(node: Node):
    first = "AAAAAAAA 00000000 00000000 0000FFFF"
    for conf in (first, *(f"BBBBBBBB 00000000 00000000 {number:08X}" for number in range(600))):
        open_leg = [] if conf == first else [notification("o", 19, conf=conf, leg=OTHER)]
        told(
            node,
            NOON,
            notification("o", 19, conf=conf),
            *open_leg,
            notification("h", 39, conf=conf, side="B", cause="17"),
        )
    node.forward()
    states = {row["provider_call_id"]: row["state"] for row in node.rows(Calls)}
    assert states.pop(first) == "ended"
    assert set(states.values()) == {"ringing"}
    told(node, NOON, notification("h", 40, conf=conf, leg=OTHER, side="B", cause="17"))  # the last one's other leg
    node.forward()
    assert [row["state"] for row in node.rows(Calls) if row["provider_call_id"] == conf] == ["ended"]


def test_a_late_end_outranks_the_settled_one(node: Node):
    told(node, NOON, notification("o", 19), notification("h", 39, side="B", cause="19"))
    node.forward()
    (row,) = node.rows(Calls)
    assert (row["disposition"], row["reason"], row["is_missed"], row["total_seconds"]) == ("missed", "no_answer", 1, 20)
    change_no = row["change_no"]
    told(node, NOON + 90_000, notification("h", 59, leg="", side="A", cause="16"))
    node.forward()
    (row,) = node.rows(Calls)
    assert (row["disposition"], row["reason"], row["hangup_by"]) == ("missed", "cancelled_by_caller", "client")
    assert (row["total_seconds"], row["events_count"]) == (40, 3)  # the broken silence no longer counts
    assert row["change_no"] > change_no
    told(node, NOON + 99_000, notification("s", 45, leg=OTHER), notification("h", 59, leg=OTHER, side="B", cause="16"))
    node.forward()
    (row,) = node.rows(Calls)
    assert (row["disposition"], row["is_missed"], row["employee_number"]) == ("answered", 0, OTHER)


def test_a_settled_call_is_settled_once_by_any_number_of_nodes(node: Node, tmp_path: Path):
    told(node, NOON, notification("o", 19), notification("h", 39, side="B", cause="19"))
    node.forward()
    row = node.rows(Calls)
    other = Node(tmp_path / "other", node.settings.database_url, expire_hours=10**6)
    for _ in range(2):
        other.forward()
        node.forward()
    assert node.rows(Calls) == row


@pytest.fixture
def quick(tmp_path: Path, database_url: str) -> Any:
    """A service whose calls settle after three seconds of silence."""
    yield from running(tmp_path / "quick", database_url, SETTLE_SECONDS="3")


def test_a_reader_never_sees_a_call_ended_and_then_ringing_again(quick: Service):
    conf = new_id()
    seen: list[str] = []

    def look() -> str:
        state: str = quick.call(conf)["state"]
        seen.append(state)
        return state

    def post(said: dict[str, Any]) -> None:
        answer = quick.post("/mtt/events", json.dumps(said), key=MTT_KEY)
        assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
        quick.settled()
        look()

    post(notification("o", 19, conf=conf))
    post(notification("h", 39, conf=conf, side="B", cause="19"))
    post(notification("o", 40, conf=conf, leg=OTHER))  # within the three seconds: the call goes on
    open_since = time.monotonic()
    until(lambda: look() == "ended" or time.monotonic() - open_since > 4, "four seconds with an open leg")
    assert set(seen) == {"ringing"}
    post(notification("h", 59, conf=conf, leg=OTHER, side="B", cause="17"))
    until(lambda: look() == "ended", "silence ends the call")
    row = quick.call(conf)
    assert (row["disposition"], row["reason"], row["is_missed"], row["events_count"]) == ("busy", "busy", 1, 5)
    assert seen == sorted(seen, key=words.STATES.index)


# ------------------------------------------------------------------------------------------------------ over the wire


def answer_to(service: Service, said: dict[str, Any] | str) -> tuple[int, dict[str, Any]]:
    answer = service.post("/mtt/events", said if isinstance(said, str) else json.dumps(said), key=MTT_KEY)
    return answer.status_code, answer.json()


def kept(service: Service, mark: str) -> tuple[str, str]:
    """(state, reason) of the one stored delivery whose body has the mark."""
    (stored,) = [one for one in service.deliveries(feed="mtt") if mark.encode() in one.delivery.body]
    return stored.outcome.state, stored.outcome.reason


def test_an_unknown_event_is_kept_and_has_no_effect(sqlite_service: Service):
    conf = new_id()
    code, answer = answer_to(sqlite_service, notification("q", conf=conf))
    assert (code, answer["status"]) == (200, "ignored")
    assert kept(sqlite_service, conf) == (IGNORED, "unknown_event")


@pytest.mark.parametrize("event", [None, "", {}, {"type": None}, {"side": "A"}])
def test_without_an_event_type_it_is_refused_by_name(sqlite_service: Service, event: Any):
    conf = new_id()
    code, answer = answer_to(sqlite_service, {**notification("o", conf=conf), "event": event, "data": None})
    assert (code, answer["error"]) == (422, "no_event_type")
    assert "event" in answer["message"]
    assert kept(sqlite_service, conf) == (DEAD, "no_event_type")


@pytest.mark.parametrize("conf", [None, "", "   ", "null", 0])
def test_without_a_conference_id_it_is_refused_by_name(sqlite_service: Service, conf: Any):
    mark = new_id()
    code, answer = answer_to(sqlite_service, {**notification("o"), "h323_conf_id": conf, "client_id": mark})
    assert (code, answer["error"]) == (422, "no_call_id")
    assert "h323_conf_id" in answer["message"]
    assert "event_URL" in answer["message"]
    assert kept(sqlite_service, mark) == (DEAD, "no_call_id")


def test_an_event_sent_again_in_other_words_is_one_event(sqlite_service: Service):
    conf = new_id()
    first = notification("h", 49, conf=conf, side="B", cause="17")
    again = dict(reversed(list({**first, "h323_conf_id": f" {conf}  ", "client_id": 1235}.items())))
    for body in (first, again, first):
        assert answer_to(sqlite_service, body) == (200, {"status": "accepted"})
    sqlite_service.settled()
    assert sqlite_service.call(conf)["events_count"] == 1
    found = [one for one in sqlite_service.deliveries(feed="mtt") if conf.encode() in one.delivery.body]
    assert [one.outcome.state for one in found] == [FORWARDED] * 3


def test_a_differently_spaced_id_never_makes_a_second_call(sqlite_service: Service):
    conf = new_id()
    for kind, spelled in (("o", conf), ("s", f" {conf.lower()}"), ("h", conf.replace(" ", "  "))):
        answer_to(sqlite_service, notification(kind, 20, conf=spelled, **({"side": "B"} if kind == "h" else {})))
    sqlite_service.settled()
    (row,) = [row for row in sqlite_service.rows(Calls) if row["provider_call_id"].upper().split() == conf.split()]
    assert (row["provider_call_id"], row["events_count"], row["state"]) == (conf, 3, "ended")
