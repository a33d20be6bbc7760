"""A call is the fold of the set of its events: order and repeats mean nothing, and every fixture call folds to its row."""

import itertools
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from calllog.facts import STATED
from calllog.fold import fold
from calllog.overdue import own_event
from schemas import event as words
from schemas.event import CallEvent, Recording
from tests.rig.fixtures import FOLDER, FixtureCall, Request, differences, fixture_calls, name, tables

CALLS = fixture_calls()
STATE_RANK = {state: rank for rank, state in enumerate(words.STATES)}
NOON = 1_710_147_600_000  # 11 March 2024, noon in Moscow

each_call = pytest.mark.parametrize("call", CALLS, ids=name)


def orders(events: list[CallEvent]) -> Iterator[list[CallEvent]]:
    """Every order of up to six events; 200 random ones of more."""
    if len(events) <= 6:
        yield from (list(order) for order in itertools.permutations(events))
    else:
        chance = random.Random(len(events))
        yield from (chance.sample(events, len(events)) for _ in range(200))


def said(kind: str, number: int = 1, **what: Any) -> CallEvent:
    """An event of call 1, `number` seconds after noon by the receipt clock."""
    what = {"event_key": f"{kind}-{number}", "received_at": NOON + 1000 * number, **what}
    return CallEvent(feed="uis", provider="uis", provider_call_id="1", kind=kind, **what)


def row(*events: CallEvent) -> dict[str, Any]:
    """The folded columns, the same in every order."""
    folded = [fold(order) for order in orders(list(events))]
    assert all(call == folded[0] for call in folded)
    return folded[0].columns


STEADY = [kind for kind in words.KINDS if kind not in {words.HANGUP, *words.SILENCES}]  # what nothing later takes back


def nonsense(chance: random.Random, kinds: Sequence[str] = words.KINDS) -> list[CallEvent]:
    """One to six events whose moments, lengths and words contradict one another."""

    def moment() -> int | None:
        return chance.choice(
            (None, NOON, NOON + chance.randrange(-9_999_999, 9_999_999), NOON + chance.randrange(5000))
        )

    def length() -> int | None:
        return chance.choice((None, 0, chance.randrange(100), chance.randrange(10_000)))

    return [
        said(
            (kind := chance.choice(kinds)),
            number,
            received_at=NOON + chance.randrange(5000),
            occurred_at=moment(),
            started_at=moment(),
            answered_at=moment(),
            ended_at=moment(),
            wait_seconds=length(),
            talk_seconds=length(),
            total_seconds=length(),
            answered=True if kind == words.ANSWERED else chance.choice((None, True, False)),
            lost=chance.choice((None, True, False)),
            direction=chance.choice(words.DIRECTIONS),
            reason=chance.choice(words.REASONS),
            hangup_by=chance.choice(("", "client", "employee")),
            employee_number=(number_of := chance.choice(("", "79161234567", "79162345678"))),
            leg_key=number_of,
            client_name=chance.choice(("", "Петров", "Сидоров")),
        )
        for number in range(chance.randrange(1, 7))
    ]


# ------------------------------------------------------------------------------------------------- the fixture calls


def test_every_feed_has_fixture_calls():
    assert {call.name.partition("/")[0] for call in CALLS} >= {"uis", "mgerm"}
    assert len(CALLS) == len({call.call_id for call in CALLS}), "two fixture calls share an id"
    for call in CALLS:
        assert {event.provider_call_id for event in call.events()} == {call.call_id}, call.name


@each_call
def test_a_fixture_call_folds_to_the_row_that_1c_sees(call: FixtureCall):
    assert differences(call.expected(call.receipts()), tables(fold(call.events()))) == []


@pytest.mark.parametrize("call", [c for c in CALLS if not c.settled and not c.name.startswith("xvb/")], ids=name)
def test_events_received_in_reverse_tell_the_same_call(call: FixtureCall):
    """But for xvb, whose receipts are its only times."""
    receipts = call.receipts()[::-1]
    events = [request.event(at) for request, at in zip(call.requests, receipts, strict=True)]
    assert differences(call.expected(receipts), tables(fold(events))) == []


@each_call
def test_order_and_repeats_of_events_change_nothing(call: FixtureCall):
    events = call.events()
    whole = fold(events)
    for order in orders(events):
        assert fold(order) == whole  # columns, legs, recordings and sources
        assert fold([*order, *order[::-1], order[0]]) == whole


@each_call
def test_the_state_only_rises_whatever_arrives_next(call: FixtureCall):
    """But for an end by silence, which the forwarder makes of all that came: see tests/schemas/test_mtt.py."""
    silence = [event for event in call.events() if event.kind in words.SILENCES]
    for order in orders([event for event in call.events() if event.kind not in words.SILENCES]):
        arrived = [*order, *silence]
        seen = [STATE_RANK[fold(arrived[:length]).columns["state"]] for length in range(1, len(arrived) + 1)]
        assert seen == sorted(seen)


@each_call
def test_a_call_is_always_within_the_vocabulary(call: FixtureCall):
    for order in orders(call.events()):
        for length in range(1, len(order) + 1):
            columns = fold(order[:length]).columns
            assert columns["direction"] in words.DIRECTIONS
            assert columns["disposition"] in words.DISPOSITIONS
            assert columns["reason"] in words.REASONS
            assert bool(columns["disposition"]) == (columns["state"] == "ended")


@each_call
def test_sources_name_events_of_the_call(call: FixtureCall):
    events = call.events()
    folded = fold(events)
    keys = {event.event_key for event in events}
    assert folded.sources["state"]
    assert folded.sources.keys() <= folded.columns.keys()
    assert {key for source in folded.sources.values() for key in source} <= keys


@each_call
def test_an_event_survives_its_payload(call: FixtureCall):
    for event in call.events():
        assert CallEvent.from_payload(event.to_payload()) == event


# ----------------------------------------------------------------------------------------------------- single rules


def test_an_explicit_answer_beats_a_miss():
    columns = row(
        said(words.RINGING, direction="in"),
        said(words.ANSWERED, 2, answered=True, employee_number="79161234567"),
        said(words.LOST, 3, answered=False, lost=True, reason="no_answer"),
    )
    assert (columns["disposition"], columns["is_answered"], columns["is_missed"]) == ("answered", 1, 0)
    assert columns["provider_lost"] == 1  # the provider's own word is kept beside ours
    assert columns["employee_number"] == "79161234567"


def test_ringing_after_the_end_only_fills_empty_columns():
    end = {
        "direction": "in",
        "client_name": "Петров",
        "client_number": "79031112233",
        "employee_ids": "1",
        "wait_seconds": 5,
        "total_seconds": 65,
        "ended_at": NOON + 65_000,
        "answered": True,
    }
    late = said(words.RINGING, 99, client_name="Не Петров", client_number="7", scenario_name="Ночь", wait_seconds=900)
    columns = row(said(words.ENDED, 1, **end), late)
    assert (columns["state"], columns["disposition"]) == ("ended", "answered")
    assert {name: columns[name] for name in ("client_name", "client_number", "wait_seconds", "total_seconds")} == {
        name: end[name] for name in ("client_name", "client_number", "wait_seconds", "total_seconds")
    }
    assert columns["scenario_name"] == "Ночь"


def test_expired_ends_a_call_with_an_unknown_result():
    columns = row(ring := said(words.RINGING, direction="in"), own_event(words.EXPIRED, [ring], after=9000))
    assert (columns["state"], columns["disposition"], columns["is_missed"]) == ("ended", "unknown", 0)


@pytest.mark.parametrize(
    ("end", "disposition"),
    [
        ({"kind": words.ENDED, "answered": True}, "answered"),
        ({"kind": words.ENDED, "answered": False, "reason": "busy"}, "busy"),
        ({"kind": words.LOST, "answered": False}, "missed"),
    ],
)
def test_a_real_end_outranks_expired(end: dict[str, Any], disposition: str):
    real = said(**end, number=99, ended_at=NOON + 60_000, hangup_by="client")
    ring = said(words.RINGING, direction="in", started_at=NOON)
    columns = row(ring, own_event(words.EXPIRED, [ring], after=9000), real)
    assert (columns["disposition"], columns["ended_at"]) == (disposition, NOON + 60_000)
    assert columns["hangup_by"] == "client"


def test_who_talked_last_is_the_employee_of_a_transferred_call():
    first, second = "79161234567", "79162345678"
    events = [
        said(words.ANSWERED, 1, direction="in", answered=True, employee_number=first, leg_key=first),
        said(words.ANSWERED, 2, answered=True, employee_number=second, employee_ext="103", leg_key=second),
        said(words.ENDED, 3, answered=True),
    ]
    columns = row(*events)
    assert (columns["employee_number"], columns["employee_ext"]) == (second, "103")
    assert fold(events).legs.keys() == {first, second}


def test_nobody_who_did_not_talk_is_the_employee_but_the_caller_of_an_outgoing_call():
    rung: dict[str, Any] = {"employee_number": "79161234567", "employee_ids": "7"}
    incoming = row(said(words.ENDED, direction="in", answered=False, **rung))
    assert (incoming["employee_number"], incoming["employee_ids"]) == ("", "")
    outgoing = row(said(words.ENDED, direction="out", answered=False, **rung))
    assert (outgoing["employee_number"], outgoing["employee_ids"]) == ("79161234567", "7")


def test_a_recordings_address_and_length_may_come_from_different_events():
    bare, with_url = Recording("leg", "h", provider_record_id="r"), Recording("leg", "h", "https://pbx/r", "r", 60)
    for order in orders([said(words.ENDED, recordings=(bare,)), said(words.RECORDING, 2, recordings=(with_url,))]):
        call = fold(order)
        assert call.columns["recording_url"] == "https://pbx/r"
        assert call.recordings == {
            "h": {"kind": "leg", "url": "https://pbx/r", "provider_record_id": "r", "seconds": 60}
        }


def test_the_whole_talks_recording_is_better_than_a_legs():
    full, leg = Recording("full", "f", "https://pbx/full"), Recording("leg", "l", "https://pbx/leg")
    columns = row(said(words.ENDED, 2, recordings=(leg,)), said(words.RECORDING, recordings=(full,)))
    assert columns["recording_url"] == "https://pbx/full"


def test_a_recording_ready_before_the_end_was_told_does_not_hide_the_end():
    recorded = said(words.RECORDING, 2, recordings=(Recording("full", "f", "https://pbx/full"),))
    columns = row(recorded, said(words.ENDED, 3, direction="in", answered=False, ended_at=NOON))
    assert (columns["state"], columns["disposition"], columns["ended_at"]) == ("ended", "missed", NOON)


def test_lengths_are_the_providers_else_the_moments():
    moments = {"started_at": NOON, "answered_at": NOON + 10_900, "ended_at": NOON + 70_000}
    computed = row(said(words.ANSWERED, answered=True, **moments), said(words.ENDED, 2, **moments))
    assert (computed["wait_seconds"], computed["talk_seconds"], computed["total_seconds"]) == (10, 59, 70)
    told = row(
        said(words.ANSWERED, answered=True, **moments),
        said(words.ENDED, 2, **moments, wait_seconds=9, talk_seconds=58, total_seconds=71),
    )
    assert (told["wait_seconds"], told["talk_seconds"], told["total_seconds"]) == (9, 58, 71)


def test_receipt_fills_a_moment_only_where_no_body_has_one():
    bare = [said(words.RINGING, 1), said(words.ANSWERED, 5, answered=True)]
    assert (row(*bare)["started_at"], row(*bare)["answered_at"]) == (NOON + 1000, NOON + 5000)
    end = said(words.ENDED, 9, started_at=NOON - 60_000, ended_at=NOON, total_seconds=60, wait_seconds=20)
    told = row(*bare, end)
    assert (told["started_at"], told["answered_at"], told["ended_at"]) == (NOON - 60_000, NOON - 40_000, NOON)


def test_moments_are_in_order_whatever_nonsense_is_told():
    chance = random.Random(1)
    for _ in range(3000):
        columns = fold(nonsense(chance)).columns
        moments = [columns[name] for name in ("started_at", "answered_at", "ended_at") if columns[name] is not None]
        assert moments == sorted(moments)
        assert all(columns[name] is None or columns[name] >= 0 for name in columns if name.endswith("_seconds"))


def test_nonsense_folds_the_same_in_every_order_and_its_state_only_rises():
    chance = random.Random(2)
    for _ in range(300):
        events = nonsense(chance)
        assert fold([*chance.sample(events, len(events)), *events]) == fold(events)
    for _ in range(300):
        events = nonsense(chance, STEADY)
        for _ in range(10):
            order = chance.sample(events, len(events))
            seen = [STATE_RANK[fold(order[:length]).columns["state"]] for length in range(1, len(order) + 1)]
            assert seen == sorted(seen)


def test_an_event_that_says_nothing_blanks_nothing():
    chance = random.Random(3)
    for _ in range(500):
        events = nonsense(chance, STEADY)
        before = fold(events)
        for kind in STEADY:
            after = fold([*events, said(kind, 77)])
            blanked = {n for n, v in before.columns.items() if v not in ("", None) and after.columns[n] in ("", None)}
            assert blanked == set()
            assert after.legs.keys() == before.legs.keys()


@each_call
def test_no_event_blanks_what_others_told(call: FixtureCall):
    for order in orders(call.events()):
        told: dict[str, Any] = {}
        for length in range(1, len(order) + 1):
            columns = fold(order[:length]).columns
            assert [n for n in told if columns[n] in ("", None)] == []
            told |= {n: columns[n] for n in STATED if n != "employee_ids" and columns[n] not in ("", None)}


def test_a_repeat_can_only_lower_the_receipt_time():
    first, repeat = said(words.RINGING, 1), said(words.RINGING, 1)._replace(received_at=NOON + 9000)
    assert fold([first, repeat]) == fold([repeat, first])
    assert fold([first, repeat]).columns["started_at"] == NOON + 1000


def test_an_answer_event_is_proof_of_an_answer_by_its_kind():
    answer = {"direction": "in", "leg_key": "102"}
    columns = row(said(words.ANSWERED, 1, **answer), said(words.ANSWERED, 2, answered_at=NOON, **answer))
    assert (columns["state"], columns["is_answered"]) == ("talking", 1)


def test_start_told_by_the_end_and_the_length_beats_a_receipt():
    ringing = said(words.RINGING, 1, direction="in")
    end = said(words.ENDED, 9, ended_at=NOON - 3_600_000, total_seconds=60, answered=False)
    assert row(ringing, end)["started_at"] == NOON - 3_660_000


def test_a_start_that_nobody_told_is_the_end_without_talk_and_wait():
    columns = row(said(words.ENDED, ended_at=NOON, talk_seconds=50, wait_seconds=10, answered=True))
    assert (columns["started_at"], columns["answered_at"]) == (NOON - 60_000, NOON - 50_000)
    assert columns["total_seconds"] == 60


def test_a_ring_that_is_received_at_the_very_end_began_the_call():
    columns = row(said(words.RINGING, 5), said(words.ENDED, 5, ended_at=NOON + 5000, answered=True, talk_seconds=0))
    assert columns["started_at"] == NOON + 5000


def test_a_leg_that_is_rung_twice_keeps_its_first_start():
    leg = {"direction": "in", "leg_key": "102", "employee_ext": "102"}
    events = [
        said(words.LEG_RINGING, 1, started_at=NOON, **leg),
        said(words.LEG_ENDED, 2, ended_at=NOON + 9000, reason="no_answer", **leg),
        said(words.LEG_RINGING, 3, started_at=NOON + 20_000, **leg),
    ]
    assert fold(events[:2]).legs["102"] | {"started_at": NOON, "ended_at": NOON + 9000} == fold(events[:2]).legs["102"]
    open_again = fold(events).legs["102"]
    assert (open_again["started_at"], open_again["ended_at"], open_again["reason"]) == (NOON, None, "")


def test_events_equal_in_rank_and_time_are_taken_in_the_order_of_their_keys():
    names = [said(words.NOTE, 1, event_key=key, client_name=key) for key in ("b", "a", "c")]
    assert row(*names)["client_name"] == "c"


def test_an_employee_is_told_fully_by_several_events_together():
    columns = row(
        said(words.RINGING, 1, direction="out", employee_number="79161234567", employee_ext="102"),
        said(words.ENDED, 2, direction="out", employee_ext="102", employee_ids="7"),
    )
    assert [columns[f"employee_{name}"] for name in ("number", "ext", "ids")] == ["79161234567", "102", "7"]


def test_of_two_recordings_of_the_whole_talk_the_last_is_the_best():
    pair = (Recording("full", "1", "https://pbx/1"), Recording("full", "2", "https://pbx/2"))
    assert row(said(words.ENDED, recordings=pair))["recording_url"] == "https://pbx/2"


def test_each_derived_column_says_what_it_was_derived_from():
    ring = said(words.RINGING, 1, started_at=NOON)
    end = said(words.ENDED, 2, ended_at=NOON + 60_000, talk_seconds=50, answered=True)
    sources = fold([ring, end]).sources
    assert sources["answered_at"] == sources["talk_seconds"] == (end.event_key,) == sources["ended_at"]
    assert set(sources["wait_seconds"]) == set(sources["total_seconds"]) == {ring.event_key, end.event_key}


def test_an_unknown_reason_never_hides_a_known_one():
    end = said(words.ENDED, answered=False, direction="in", reason="busy", reason_raw="486")
    columns = row(end, said(words.LOST, 2, answered=False, reason="unknown", reason_raw="новое слово"))
    assert (columns["reason"], columns["reason_raw"], columns["disposition"]) == ("busy", "486", "busy")


def test_a_notification_is_no_moment_of_the_call():
    """Its own time fills a moment that nobody told; it widens nothing and cuts nothing."""
    end = said(words.ENDED, started_at=NOON, ended_at=NOON + 60_000, occurred_at=NOON + 90_000, answered=True)
    late = said(words.TALK_ENDED, 2, occurred_at=NOON + 86_400_000), said(words.NOTE, 3, occurred_at=NOON - 86_400_000)
    rung = said(words.LEG_RINGING, 4, started_at=NOON + 70_000, direction="in", leg_key="102")
    for more in ((), late, (rung,), (*late, rung)):
        columns = row(end, *more)
        assert (columns["started_at"], columns["ended_at"]) == (NOON, NOON + 60_000)
    bare = end._replace(started_at=None, ended_at=None, occurred_at=NOON + 60_000, total_seconds=60)
    assert (row(bare, *late)["started_at"], row(bare, *late)["ended_at"]) == (NOON, NOON + 60_000)
    assert (row(bare, rung)["started_at"], row(bare, rung)["ended_at"]) == (NOON, NOON + 70_000)


def test_an_unknown_result_has_no_talk():
    columns = row(said(words.ENDED, started_at=NOON, ended_at=NOON + 60_000, direction="in"))
    assert columns["disposition"] == "unknown"
    assert (columns["talk_seconds"], columns["total_seconds"]) == (None, 60)


def test_an_unknown_result_has_no_wait():
    columns = row(said(words.ENDED, started_at=NOON, ended_at=NOON + 60_000, direction="in"))
    assert (columns["disposition"], columns["wait_seconds"]) == ("unknown", None)


def test_an_unknown_result_is_not_called_cancelled():
    columns = row(said(words.ENDED, direction="in", reason="normal", hangup_by="client"))
    assert (columns["disposition"], columns["reason"]) == ("unknown", "normal")


def test_the_leg_of_an_unanswered_call_ends_for_the_calls_reason():
    end = said(words.ENDED, direction="in", leg_key="102", answered=False, reason="normal", hangup_by="client")
    assert fold([end]).columns["reason"] == "cancelled_by_caller"
    assert fold([end]).legs["102"]["reason"] == "cancelled_by_caller"


# ------------------------------------------------------------------------------------------- payloads, read for ever

RELEASES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("payloads_*.json"))}


@pytest.mark.parametrize(
    ("release", "call"), [(release, call) for release, calls in RELEASES.items() for call in calls]
)
def test_payloads_of_an_older_release_are_read_for_ever(release: str, call: str):
    """As it wrote them, and the row that it made of them: without the bodies nothing is told anew."""
    frozen = RELEASES[release][call]
    events = [CallEvent.from_payload(json.dumps(payload)) for payload in frozen["payloads"]]
    assert [event.event_key for event in events] == [payload["event_key"] for payload in frozen["payloads"]]
    found = tables(fold(events))["calls"]
    assert {column: found[column] for column in frozen["calls"]} == frozen["calls"]
    assert [CallEvent.from_payload(event.to_payload()) for event in events] == events


# -------------------------------------------------------------------------------------------------------- event_key


def test_event_keys_are_frozen():
    """Another key would double every event that is delivered again, or replayed, after an upgrade."""
    frozen = json.loads((FOLDER / "event_keys.json").read_text())
    now = {
        f"{call.name}/{r.name}": e.event_key
        for call in CALLS
        for r, e in zip(call.requests, call.events(), strict=False)  # our own event comes last
    }
    assert len(frozen) >= 10
    assert {name: now[name] for name in frozen} == frozen


def test_no_two_fixture_deliveries_share_a_key():
    keys = [event.event_key for call in CALLS for event in call.events()]
    assert len(keys) == len(set(keys))
    assert all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)


def respelled(value: Any) -> Any:
    """The same JSON as another template would send it: other key order and spelling, numbers and text exchanged."""
    if isinstance(value, dict):
        return {respelled_key(key): respelled(inner) for key, inner in reversed(value.items())}
    if isinstance(value, list):
        return [respelled(inner) for inner in value]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f" {value}"
    if isinstance(value, str) and value.isdigit() and str(int(value)) == value:
        return int(value)
    if value is None:
        return ""
    return f"{value} " if isinstance(value, str) else value


def respelled_key(key: str) -> str:
    return key.replace("_", "-").upper() + " "


JSON_REQUESTS = [
    pytest.param(request, id=f"{call.name}/{request.name}")
    for call in CALLS
    for request in call.requests
    if request.body.startswith((b"{", b" {")) and not re.search(rb'""\w|"\[|\{\{', request.body)
]


@pytest.mark.parametrize("request_", JSON_REQUESTS)
def test_a_body_written_otherwise_is_the_same_event(request_: Request):
    said = json.loads(request_.body)
    key = request_.event().event_key
    for body in (
        json.dumps(said, separators=(",", ":")),
        json.dumps(respelled(said), ensure_ascii=False, indent=3),
        "\ufeff\r\n" + json.dumps({**respelled(said), "unknown": None, "not_offered": "{{not_offered}}"}),
    ):
        assert replace(request_, body=body.encode()).event(received_at=NOON).event_key == key


@pytest.mark.parametrize("request_", [p for p in JSON_REQUESTS if p.values[0].feed in ("uis", "mgerm")])  # type: ignore[union-attr]
def test_the_key_is_not_made_of_the_address_or_the_receipt(request_: Request):
    elsewhere = replace(request_, target="/uis/call/ended", headers=())
    assert elsewhere.event(received_at=1).event_key == request_.event(received_at=2).event_key


@pytest.mark.parametrize("request_", JSON_REQUESTS)
def test_another_value_is_another_event(request_: Request):
    said = json.loads(request_.body)
    more = replace(request_, body=json.dumps({**said, "one_more": "x"}).encode())
    assert more.event().event_key != request_.event().event_key


# ------------------------------------------------------------------------------------------------------------ fine points


def test_a_tie_in_everything_but_the_key_is_the_same_in_every_order() -> None:
    one, other = (
        said(words.RINGING, event_key=key, received_at=NOON, occurred_at=NOON, client_name=key) for key in ("a", "b")
    )
    assert row(one, other)["client_name"] == "b"


def test_an_extension_alone_is_whom_an_earlier_event_ties_to_a_number() -> None:
    both = {"employee_number": "79161234567", "employee_ext": "102", "leg_key": "79161234567"}
    columns = row(
        said(words.LEG_RINGING, 1, direction="in", **both),
        said(words.ANSWERED, 2, direction="in", employee_ext="102", leg_key="102", answered=True),
        said(words.ENDED, 3, direction="in"),
    )
    assert (columns["employee_number"], columns["employee_ext"]) == ("79161234567", "102")


def test_of_two_recordings_of_one_kind_in_one_event_the_last_counts() -> None:
    recordings = tuple(Recording("full", name, f"https://example.com/{name}") for name in ("a", "b"))
    assert row(said(words.RECORDING, recordings=recordings))["recording_url"] == "https://example.com/b"


def test_a_ring_received_at_the_very_end_is_the_start() -> None:
    end = NOON + 60_000
    ring = said(words.RINGING, direction="in", received_at=end, event_key="ring")
    heard = said(words.NOTE, direction="in", received_at=end - 30_000, event_key="note")
    columns = row(ring, heard, said(words.ENDED, direction="in", ended_at=end, received_at=end + 1000, event_key="end"))
    assert columns["started_at"] == end


def test_what_was_told_has_its_source() -> None:
    call = fold([said(words.RINGING, 1), said(words.ENDED, 2, wait_seconds=7, total_seconds=9, talk_seconds=2)])
    assert {call.sources[f"{length}_seconds"] for length in ("wait", "talk", "total")} == {("ended-2",)}


@pytest.mark.parametrize(("caller", "called"), [("10", "11"), ("101", "123456")])
def test_two_short_numbers_are_an_internal_call(caller: str, called: str) -> None:
    assert row(said(words.RINGING, direction="in", caller_raw=caller, called_raw=called))["direction"] == "internal"
    assert row(said(words.RINGING, direction="in", caller_raw="1", called_raw=called))["direction"] == "in"
