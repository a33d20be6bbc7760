"""The legs of a call: whom it rang, one row an employee, whatever each event calls him."""

from dataclasses import dataclass
from typing import Any

from calllog import people
from calllog.facts import Facts
from calllog.people import People, Person, names_anybody
from schemas import event as words
from schemas.event import CallEvent


@dataclass(slots=True)
class _Leg:
    """One employee's attempts as they are told: one row, started with the first, ended with the last."""

    person: Person
    started: int | None = None
    answered: int | None = None
    opened: int = 0  # when it was rung or answered last
    closed: int | None = None
    reason: str = ""
    reason_raw: str = ""

    def began(self, at: int) -> None:
        """It was rung at `at`."""
        self.started = at if self.started is None else min(at, self.started)

    def end(self, event: CallEvent, at: int) -> None:
        """It ended at `at`, if it was not rung or answered again after that."""
        if at >= self.opened and (self.closed is None or at >= self.closed):
            reason = event.reason
            if reason == "normal" and self.answered is None:
                reason = "cancelled_by_caller" if event.hangup_by == "client" else "no_answer"
            self.closed, self.reason = at, reason or self.reason
            self.reason_raw = event.reason_raw or self.reason_raw


def legs(facts: Facts, talker: Person | None) -> dict[str, dict[str, Any]]:
    """Whom the call rang, a row each: of an incoming call every employee that an event names. None is open in a call that
    has ended, none is outside its call."""
    direction = facts.row["direction"]
    if direction == "out":
        return {}
    found: dict[str, _Leg] = {}
    attempts: list[tuple[CallEvent, _Leg]] = []
    for event in facts.events:
        if event.leg_key or (direction == "in" and (names_anybody(event) or event.talker_id)):
            for key, person in _rung(facts.people, event):
                attempts.append((event, found.get(key) or found.setdefault(key, _Leg(person))))
    if found:
        _begin(facts, attempts)
        last = found.get(people.key(talker)) if talker else None
        _answer(facts, attempts, last)
        _end(facts, attempts, last)
    return {key: _leg_row(facts.row, leg) for key, leg in found.items()}


def _rung(known: People, event: CallEvent) -> list[tuple[str, Person]]:
    """Whom the event says that the call rang."""
    person = known.of(event)
    if person is None and event.leg_key:
        return [(event.leg_key, ["", "", "", event.employee_name])]
    rung: list[Person | None] = [person] if person else [known.by_id(id) for id in event.employee_ids.split(",")]
    rung.append(known.by_id(event.talker_id))  # who talked last, beside whom the event names
    return list({people.key(person): person for person in rung if person}.items())


def _begin(facts: Facts, attempts: list[tuple[CallEvent, _Leg]]) -> None:
    for event, leg in attempts:
        if event.kind == words.LEG_RINGING:
            at = event.moment if event.started_at is None else event.started_at
            leg.began(at)
            leg.opened = max(at, leg.opened)
        elif event.kind in words.OF_A_LEG and event.started_at is not None:
            leg.began(event.started_at)


def _answer(facts: Facts, attempts: list[tuple[CallEvent, _Leg]], talker: _Leg | None) -> None:
    answers = [(event, leg) for event, leg in attempts if event.kind in words.ANSWERS]
    alone = len({id(leg) for _, leg in answers}) == 1
    for event, leg in answers:
        at = event.answered_at
        if at is None:
            at = facts.row["answered_at"] if alone else event.moment
        if at is not None:
            leg.answered = at if leg.answered is None else min(at, leg.answered)
            leg.opened = max(at, leg.opened)
    if talker and not answers and facts.row["is_answered"]:
        talker.answered = facts.row["answered_at"]


def _end(facts: Facts, attempts: list[tuple[CallEvent, _Leg]], talker: _Leg | None) -> None:
    for event, leg in attempts:
        if event.kind in (words.LEG_ENDED, words.HANGUP):
            leg.end(event, event.moment if event.ended_at is None else event.ended_at)
        elif event.kind in words.REAL_ENDS:
            leg = talker if talker and event.talker_id else leg  # it names another one beside who talked last
            leg.closed = facts.row["ended_at"]
            leg.reason = (facts.row["reason"] if event.reason == "normal" else event.reason) or leg.reason
            leg.reason_raw = event.reason_raw or leg.reason_raw


def _leg_row(row: dict[str, Any], leg: _Leg) -> dict[str, Any]:
    began, over = row["started_at"], row["ended_at"]

    def within(at: int | None) -> int | None:
        return None if at is None else max(began, at if over is None else min(at, over))

    started, answered = within(leg.started), within(leg.answered)
    ended = within(over if leg.closed is None else leg.closed)
    if started is not None and answered is not None:
        started = min(started, answered)
    if ended is not None:
        ended = max(ended, started or ended, answered or ended)
    number, ext, _, name = leg.person
    return {
        "employee_number": number,
        "employee_ext": ext,
        "employee_name": name,
        "started_at": started,
        "answered_at": answered,
        "ended_at": ended,
        "reason": leg.reason,
        "reason_raw": leg.reason_raw,
    }
