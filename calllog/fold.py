"""The fold: the set of a call's events -> the call, its legs and its recordings. Pure; order and repeats do not matter.

What each column rests on is in evidence.py; here the row is looked at as a whole, so that it agrees with itself whatever
subset of its events came. Moments in and out are milliseconds since 1970 UTC; the call log's zone and column widths are
applied where rows are written (batch.py), so lengths are computed before any conversion.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from calllog import evidence
from calllog.facts import Facts
from calllog.legs import legs
from calllog.people import People, Person
from calllog.sources import stated_end, stated_start
from schemas import event as words
from schemas.event import CallEvent
from schemas.fields import LONGEST_SECONDS

NOT_ENDED = {"hangup_by": "", "reason": "", "reason_raw": "", "disposition": "", "is_missed": 0}


@dataclass(slots=True)
class Call:
    """A folded call: the columns of `calls` but for id, change_no and updated_at; `sources` tells for each column the
    keys of the events that it came from."""

    columns: dict[str, Any]
    legs: dict[str, dict[str, Any]]
    recordings: dict[str, dict[str, Any]]
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)


def order(event: CallEvent) -> tuple[int, int, int, str]:
    """Fold order: rank of the kind, the event's own time, receipt time, event_key."""
    return words.RANK[event.kind], event.moment, event.received_at, event.event_key


def fold(events: Iterable[CallEvent]) -> Call:
    """The call that these events (one at least, all of one call) tell of. A later event never blanks an earlier value;
    the state only rises by what is told; an explicit answer beats a miss; a ringing event after the end only fills empty
    columns; an end that only silence told is taken back by whatever comes later."""
    first: dict[str, CallEvent] = {}
    for event in events:  # a repeat can only lower the receipt time
        there = first.get(event.event_key)
        if there is None or event.received_at < there.received_at:
            first[event.event_key] = event
    told = sorted(_without_broken_silence(first.values()), key=order)
    facts = Facts(told, _ends(told), People(told))
    row = facts.row
    row["provider"], row["provider_call_id"] = told[0].provider, told[0].provider_call_id
    facts.take_stated()
    facts.decide(evidence.CALL)
    lost = next((event for event in told if event.lost), None)
    row["provider_lost"], facts.shown_by["provider_lost"] = int(lost is not None), (lost.event_key,) if lost else ()
    if facts.ends:
        facts.decide(evidence.RESULT)
    else:
        row.update(NOT_ENDED)
    _state(facts)
    facts.decide(evidence.LENGTHS)
    facts.decide(evidence.MOMENTS)
    _fit(facts)
    facts.decide(evidence.FROM_MOMENTS)
    for name in ("wait_seconds", "talk_seconds", "total_seconds"):  # from 2024 to 2099 is more than the column holds
        row[name] = row[name] and min(row[name], LONGEST_SECONDS)
    facts.decide(evidence.EMPLOYEE)
    talker: Person | None = row.pop("employee") or None
    shown = facts.shown_by.pop("employee", ())
    row["employee_number"], row["employee_ext"], _, row["employee_name"] = talker or ("", "", "", "")
    facts.shown_by.update(dict.fromkeys(("employee_number", "employee_ext", "employee_name"), shown))
    recordings = _recordings(facts)
    receipts = [event.received_at for event in told]
    row["events_count"], row["first_event_at"], row["last_event_at"] = len(receipts), min(receipts), max(receipts)
    return Call(row, legs(facts, talker), recordings, _attributes(told), facts.shown_by)


# --------------------------------------------------------------------------------------------------------- what ends it


def _without_broken_silence(events: Iterable[CallEvent]) -> list[CallEvent]:
    """The events but for our own of a silence that something has broken: an event received later, or for `settled` a leg
    that is open after all. A silence knows in occurred_at when the last event before it was received; one of an older
    release only when it was over itself."""
    events = list(events)
    told = [e for e in events if e.kind not in words.SILENCES]
    if len(told) == len(events):
        return events
    heard, open_legs = max((e.received_at for e in told), default=0), _open_legs(told)
    return told + [
        e
        for e in events
        if e.kind in words.SILENCES and e.moment >= heard and not (open_legs and e.kind == words.SETTLED)
    ]


def _open_legs(told: list[CallEvent]) -> set[str]:
    """The legs that were rung or answered and have not ended since."""
    opened: dict[str, int] = {}
    for event in told:
        if event.kind == words.LEG_RINGING or event.kind in words.ANSWERS:
            opened[event.leg_key] = max(event.moment, opened.get(event.leg_key, 0))
    for event in told:
        if event.kind in (words.HANGUP, words.LEG_ENDED) and event.moment >= opened.get(event.leg_key, 0):
            opened.pop(event.leg_key, None)
    return set(opened)


def _ends(told: list[CallEvent]) -> list[CallEvent]:
    """The events that end the call, the strongest last. A hangup does at once where it is the client's or that of a leg
    that had answered, not of one that was answered elsewhere, and no leg goes on after it; once silence has ended the
    call, every hangup tells of the end (docs/feeds/mtt.md)."""
    hangups = [event for event in told if event.kind == words.HANGUP]
    if not hangups:
        return [event for event in told if event.kind in words.ENDS]
    answers = [event for event in told if event.kind in words.ANSWERS]
    answered, last_answer = {event.leg_key for event in answers}, max((e.moment for e in answers), default=0)
    last_heard = max((e.moment for e in told if e.kind == words.LEG_RINGING), default=0)
    silent = any(event.kind in words.SILENCES for event in told)

    def ends(hangup: CallEvent) -> bool:
        of_the_talk, elsewhere = hangup.leg_key in answered, hangup.reason == "answered_elsewhere"
        if hangup.moment < last_answer:
            return False
        if silent:  # of a call that was answered elsewhere, the legs that were then given up tell nothing
            return of_the_talk or not (answers and elsewhere)
        return (of_the_talk or not hangup.leg_key) and not elsewhere and hangup.moment >= last_heard

    return [event for event in told if event.kind in words.ENDS or (event.kind == words.HANGUP and ends(event))]


def settles_at(events: Iterable[CallEvent], settle_seconds: int) -> int | None:
    """When a call whose end is told by silence ends: `settle_seconds` after its last hangup was received, if no leg is
    open then and nothing has ended it. Milliseconds since 1970 UTC, None for a call that this does not end."""
    told = [event for event in events if event.kind not in words.SILENCES]
    hangups = [event for event in told if event.kind == words.HANGUP]
    if not hangups or _ends(told):
        return None
    return None if _open_legs(told) else max(event.received_at for event in hangups) + settle_seconds * 1000


# ---------------------------------------------------------------------------------------------------- the row as a whole


def _state(facts: Facts) -> None:
    state = "ended" if facts.ends else "talking" if facts.row["is_answered"] else "ringing"
    shown = (facts.ends[-1].event_key,) if facts.ends else facts.shown("is_answered") or (facts.events[0].event_key,)
    facts.row["state"], facts.shown_by["state"] = state, shown


def _fit(facts: Facts) -> None:
    """started ≤ answered ≤ ended. A start or end that was told stands; one that was not contains what was told of the call
    and its legs. The time of a notification or of a recording is no moment of the call."""
    row = facts.row
    started, answered, ended = row["started_at"], row["answered_at"], row["ended_at"]
    has_start, has_end = stated_start(facts) is not None, ended is None or stated_end(facts) is not None
    if not (has_start and has_end):
        stated = [at for event in facts.events for at in _stated_moments(event)]
        lengths = 1000 * ((row["wait_seconds"] or 0) + (row["talk_seconds"] or 0))
        if not has_start:
            started = min(started, *stated, started if ended is None else ended - lengths)
        if not has_end:
            ended = max(ended, started + lengths, *stated)
    if ended is not None:
        ended = max(ended, started)
    if answered is not None:
        answered = max(started, answered if ended is None else min(answered, ended))
    row["started_at"], row["answered_at"], row["ended_at"] = started, answered, ended


def _stated_moments(event: CallEvent) -> list[int]:
    """The moments of the call and of its legs that the event states."""
    own = event.occurred_at if event.kind in words.ANSWERS or event.kind in words.OF_A_LEG else None
    stated = (event.started_at, event.call_started_at, event.answered_at, event.ended_at, own)
    return [at for at in stated if at is not None]


# ------------------------------------------------------------------------------------------- recordings and attributes

BEST = ("voice", "leg", "full")  # kinds of recordings, the one that `calls.recording_url` prefers last


def _recordings(facts: Facts) -> dict[str, dict[str, Any]]:
    """Every recording that was told, whatever each event knows of it; the best address becomes `recording_url`."""
    found: dict[str, dict[str, Any]] = {}
    shown: tuple[str, ...] = ()
    best, url = (-1, -1), ""
    for number, event in enumerate(facts.events):
        for recording in event.recordings:
            known = found.setdefault(
                recording.url_hash, {"kind": recording.kind, "url": "", "provider_record_id": "", "seconds": None}
            )
            known["url"] = recording.url or known["url"]
            known["provider_record_id"] = recording.provider_record_id or known["provider_record_id"]
            known["seconds"] = known["seconds"] if recording.seconds is None else recording.seconds
            rank = (BEST.index(recording.kind) if recording.kind in BEST else 0, number)  # a newer release's kind
            if recording.url and rank >= best:
                best, url, shown = rank, recording.url, (event.event_key,)
    facts.row["recording_url"], facts.shown_by["recording_url"] = url, shown
    return found


def _attributes(told: list[CallEvent]) -> dict[str, dict[str, Any]]:
    """Of each name the last content; of too many names the first by the alphabet, whatever the order of arrival."""
    found = {name: content for event in told for name, content in event.attributes}
    return {name: {"content": found[name]} for name in sorted(found)[: words.MOST_ATTRIBUTES]}
