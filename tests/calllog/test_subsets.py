"""A row agrees with itself, whatever subset of its call's events came: any of them may be lost, late or told twice."""

import itertools
import random
from collections.abc import Iterator

import pytest

from calllog.fold import Call, fold, settles_at
from calllog.overdue import own_event
from schemas import event as words
from schemas.event import CallEvent
from tests.calllog.test_fold import nonsense
from tests.rig.fixtures import FixtureCall, fixture_calls, name

SECOND = 1000
each_call = pytest.mark.parametrize("call", fixture_calls(), ids=name)


def subsets(events: list[CallEvent]) -> Iterator[list[CallEvent]]:
    """Every subset of the events but the empty one, each also ended by silence: by `settled` where it would be, and by
    `expired`."""
    told = [event for event in events if event.kind not in words.SILENCES]
    for length in range(1, len(told) + 1):
        for some in map(list, itertools.combinations(told, length)):
            yield some
            at = settles_at(some, 60)
            if at is not None:
                yield [*some, own_event(words.SETTLED, some, at=at)]
            yield [*some, own_event(words.EXPIRED, some, after=4 * 3600 * SECOND)]


def contradictions(call: Call, events: list[CallEvent]) -> Iterator[str]:
    """What a reader of the row would take for a fault of ours."""
    row = call.columns
    started, answered, ended = row["started_at"], row["answered_at"], row["ended_at"]
    moments = [at for at in (started, answered, ended) if at is not None]
    if moments != sorted(moments):
        yield "not started ≤ answered ≤ ended"
    yield from _lengths(call, events)
    yield from _result(call)
    for key, leg in call.legs.items():
        yield from (f"leg {key}: {fault}" for fault in _leg(call, leg))


def _lengths(call: Call, events: list[CallEvent]) -> Iterator[str]:
    wait, talk, total = (call.columns[f"{name}_seconds"] for name in ("wait", "talk", "total"))
    derived = not any(event.total_seconds is not None for event in events)
    if total is not None and derived and total + 2 < (wait or 0) + (talk or 0):
        yield f"total {total} < wait {wait} + talk {talk}"
    if any(length is not None and length < 0 for length in (wait, talk, total)):
        yield "a negative length"
    if not call.columns["is_answered"] and talk:
        yield "talk without an answer"


def _result(call: Call) -> Iterator[str]:
    row = call.columns
    ended, answered, direction = row["state"] == "ended", row["is_answered"], row["direction"]
    disposition = row["disposition"]
    if ended != bool(disposition) or (row["ended_at"] is not None and not ended):
        yield f"state {row['state']}, disposition {disposition!r}, ended_at {row['ended_at']}"
    if ended and answered != (disposition == "answered"):
        yield f"is_answered {answered}, disposition {disposition}"
    if row["state"] == "talking" and not answered:
        yield "talking, and nobody answered"
    if not answered and row["answered_at"] is not None:
        yield "answered_at, and nobody answered"
    if disposition == "missed" and direction != "in":
        yield f"missed, and the direction is {direction!r}"
    if row["is_missed"] and (direction != "in" or disposition in ("", "answered", "unknown")):
        yield f"is_missed, {direction!r}, {disposition!r}"
    if direction == "internal" and row["client_number"]:
        yield "an internal call with a client"
    if direction == "in" and not answered and (row["employee_number"] or row["employee_ext"] or row["employee_ids"]):
        yield "somebody talked, and nobody answered"


def _leg(call: Call, leg: dict[str, int | None]) -> Iterator[str]:
    began, over = call.columns["started_at"], call.columns["ended_at"]
    started, answered, ended = leg["started_at"], leg["answered_at"], leg["ended_at"]
    moments = [at for at in (started, answered, ended) if at is not None]
    if moments != sorted(moments):
        yield "not started ≤ answered ≤ ended"
    if answered is not None and not call.columns["is_answered"]:
        yield "answered, and the call was not"
    if over is not None and ended is None:
        yield "open in an ended call"
    if any(at < began or (over is not None and at > over) for at in moments):
        yield "outside its call"


@each_call
def test_a_row_agrees_with_itself_whatever_came(call: FixtureCall):
    faults: dict[str, list[str]] = {}
    for events in subsets(call.events()):
        for fault in contradictions(fold(events), events):
            faults.setdefault(fault, [event.kind for event in events])
    assert faults == {}


@each_call
def test_any_order_and_repeats_of_whatever_came_make_the_same_row(call: FixtureCall):
    chance = random.Random(call.name)
    for events in subsets(call.events()):
        shuffled = chance.sample(events, len(events))
        assert fold([*shuffled, shuffled[0], shuffled[-1]]) == fold(events)


def test_a_row_agrees_with_itself_whatever_nonsense_is_told():
    chance = random.Random(4)
    for _ in range(3000):
        events = nonsense(chance)
        assert list(contradictions(fold(events), events)) == []
