"""The fold: the set of a call's events -> the call, its legs and its recordings. Pure; order and repeats do not matter.

Moments in and out are milliseconds since 1970 UTC; the call log's zone and column widths are applied where rows are
written (batch.py), so lengths are computed before any conversion.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schemas import event as words
from schemas.event import CallEvent

# Columns that are simply told: the last event in fold order that says anything.
TOLD = (
    "account",
    "direction",
    "client_number",
    "line_number",
    "employee_ids",
    "caller_raw",
    "called_raw",
    "client_name",
    "provider_contact_id",
    "scenario_name",
    "call_source",
    "external_id",
    "redirected_from",
    "wait_seconds",
    "talk_seconds",
    "total_seconds",
)


@dataclass(slots=True)
class Call:
    """A folded call: the columns of `calls` but for id, change_no and updated_at; `sources` tells for each column the
    keys of the events that it came from."""

    columns: dict[str, Any]
    legs: dict[str, dict[str, Any]]
    recordings: dict[str, dict[str, Any]]
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    sources: dict[str, list[str]] = field(default_factory=dict)


def order(event: CallEvent) -> tuple[int, int, int, str]:
    """Fold order: rank of the kind, the event's own time, receipt time, event_key."""
    return words.RANK[event.kind], event.moment, event.received_at, event.event_key


def fold(events: Iterable[CallEvent]) -> Call:
    """The call that these events (one at least, all of one call) tell of. A later event never blanks an earlier value,
    state only rises, an explicit answer beats a miss, a ringing event after the end only fills empty columns."""
    first: dict[str, CallEvent] = {}
    for event in events:  # a repeat can only lower the receipt time
        there = first.get(event.event_key)
        if there is None or event.received_at < there.received_at:
            first[event.event_key] = event
    told = sorted(first.values(), key=order)
    ends = _ends(told)
    call = Call({"provider": told[0].provider, "provider_call_id": told[0].provider_call_id}, {}, {})
    for column in TOLD:
        _put(call, column, *_last(told, column))
    _state(call, told, ends)
    _moments(call, told, [event for event in ends if event.kind in words.REAL_ENDS | {words.HANGUP}])
    _reason(call, ends)
    _lengths(call, told)
    _employee(call, told)
    _legs(call, told)
    _recordings(call, told)
    _attributes(call, told)
    call.columns["events_count"] = len(told)
    call.columns["first_event_at"] = min(event.received_at for event in told)
    call.columns["last_event_at"] = max(event.received_at for event in told)
    return call


def _ends(told: list[CallEvent]) -> list[CallEvent]:
    """The events that end the call: a leg's hangup does when that leg had answered, and every one once silence has
    ended the call (docs/feeds/mtt.md)."""
    settled = any(event.kind in (words.SETTLED, words.EXPIRED) for event in told)
    answered = {event.leg_key for event in told if event.kind in words.ANSWERS}
    return [
        event
        for event in told
        if event.kind in words.ENDS or (event.kind == words.HANGUP and (settled or event.leg_key in answered))
    ]


def _put(call: Call, column: str, value: Any, *sources: CallEvent | None) -> None:
    call.columns[column] = value
    keys = [event.event_key for event in sources if event is not None]
    if keys:
        call.sources[column] = keys


def _last(told: list[CallEvent], name: str) -> tuple[Any, CallEvent | None]:
    for event in reversed(told):
        value = getattr(event, name)
        if value is not None and value != "":
            return value, event
    return (None if name.endswith(("_at", "_seconds")) else ""), None


def _first(told: list[CallEvent], name: str) -> tuple[Any, CallEvent | None]:
    return next(((getattr(e, name), e) for e in told if getattr(e, name) is not None), (None, None))


def _state(call: Call, told: list[CallEvent], ends: list[CallEvent]) -> None:
    proof = next((e for e in told if e.answered or e.kind in words.ANSWERS), None)
    end = ends[-1] if ends else None
    lost = next((e for e in told if e.lost), None)
    state = "ended" if end else "talking" if proof else "ringing"
    _put(call, "state", state, end or proof or told[0])
    _put(call, "is_answered", int(proof is not None), proof)
    _put(call, "provider_lost", int(lost is not None), lost)


def _moments(call: Call, told: list[CallEvent], ends: list[CallEvent]) -> None:
    """started ≤ answered ≤ ended. A moment that no body has is derived from the lengths, then from a receipt time."""
    columns = call.columns
    answers = [e for e in told if e.kind == words.ANSWERED] or [e for e in told if e.kind == words.TALKING]
    total, talk, wait = columns["total_seconds"], columns["talk_seconds"], columns["wait_seconds"]

    started, start = _first([e for e in told if e.kind not in words.OF_A_LEG], "started_at")
    ended, end = _last(ends, "ended_at")
    if ended is None and ends:
        end = ends[-1]
        if started is not None and total is not None:
            ended = started + total * 1000
        else:
            ended = end.moment
    if started is None and end is not None and end.ended_at is not None and total is not None:
        start, started = end, end.ended_at - total * 1000  # told by a body: better than any receipt
    if started is None:
        start = min((e for e in told if e.kind == words.RINGING), key=lambda e: e.moment, default=None)
        if start is not None and (ended is None or start.moment <= ended):  # received after the end: it began before
            started = start.moment
        elif ended is not None and (total is not None or talk is not None):
            start, started = end, ended - 1000 * (total if total is not None else talk + (wait or 0))
        else:
            start = min(told, key=lambda e: e.moment)
            started = start.moment
            if ended is not None:
                started = min(started, ended)

    answered, answer = None, None
    if columns["is_answered"]:
        answer = min((e for e in answers if e.answered_at is not None), key=lambda e: e.answered_at or 0, default=None)
        if answer is not None:
            answered = answer.answered_at
        elif ended is not None and (talk is not None or (total is not None and wait is not None)):
            answer, answered = end, ended - 1000 * (talk if talk is not None else max(0, total - wait))
        elif answers:
            answer = min(answers, key=lambda e: e.moment)
            answered = answer.moment
    if ended is not None:
        ended = max(ended, started)
    if answered is not None:
        answered = max(answered, started) if ended is None else min(max(answered, started), ended)
    _put(call, "started_at", started, start)
    _put(call, "answered_at", answered, answer)
    _put(call, "ended_at", ended, end)


def _lengths(call: Call, told: list[CallEvent]) -> None:
    """The provider's figure, else the moments' (docs/contract.md section 2: wait, talk, total)."""
    columns, sources = call.columns, call.sources
    started, answered, ended = columns["started_at"], columns["answered_at"], columns["ended_at"]
    wait, talk, total = columns["wait_seconds"], columns["talk_seconds"], columns["total_seconds"]
    if not columns["is_answered"]:
        if columns["disposition"] not in ("", "unknown"):
            talk = 0
    elif talk is None:
        if total is not None and wait is not None:
            talk = max(0, total - wait)
            sources["talk_seconds"] = sources.get("total_seconds", [])
        elif answered is not None and ended is not None:
            talking = next((e for e in told if e.kind == words.TALKING), None)
            began = answered if talking is None else min(max(answered, talking.moment), ended)
            talk = (ended - began) // 1000
            source = [talking.event_key] if talking else sources.get("answered_at", [])
            sources["talk_seconds"] = source + sources.get("ended_at", [])
    if wait is None and columns["disposition"] != "unknown":
        until = answered if columns["is_answered"] else ended
        if until is not None:
            wait = (until - started) // 1000
            sources["wait_seconds"] = sources.get("started_at", [])
    if total is None and ended is not None:
        total = (ended - started) // 1000
        sources["total_seconds"] = sources.get("ended_at", [])
    columns.update(wait_seconds=wait, talk_seconds=talk, total_seconds=total)


def _reason(call: Call, ends: list[CallEvent]) -> None:
    columns = call.columns
    reason, source = _last(ends, "reason")
    raw, raw_source = _last(ends, "reason_raw")
    # that an unanswered leg hung up says nothing of who ended the call
    leavers = ends if columns["is_answered"] else [e for e in ends if e.kind != words.HANGUP]
    hangup_by, hangup_source = _last(leavers, "hangup_by")
    outgoing = columns["direction"] == "out"
    if reason == "normal" and not columns["is_answered"] and any(e.answered is False for e in ends):
        # who gave up before an answer: the caller cancelled, the called side declined; else nobody picked up
        gave_up = "cancelled_by_caller" if (hangup_by == "employee") == outgoing else "declined"
        reason = gave_up if hangup_by else "no_answer"
    disposition, why = "", source
    if columns["state"] == "ended":
        disposition, why = _disposition(call, ends, reason)
    _put(call, "reason", reason, source)
    _put(call, "reason_raw", raw, raw_source)
    _put(call, "hangup_by", hangup_by, hangup_source)
    _put(call, "disposition", disposition, why, source if why is not source else None)
    missed = columns["direction"] == "in" and disposition not in ("", "answered", "unknown")
    _put(call, "is_missed", int(missed), why)


def _disposition(call: Call, ends: list[CallEvent], reason: str) -> tuple[str, CallEvent | None]:
    if call.columns["is_answered"]:
        return "answered", next((e for e in reversed(ends) if e.answered), None)
    said, source = _last(ends, "disposition")
    if said:
        return said, source
    denied = next((e for e in reversed(ends) if e.answered is False), None)
    if denied is None:
        return "unknown", ends[-1]
    return words.DISPOSITION_OF[reason][call.columns["direction"] == "out"], denied


def _employee(call: Call, told: list[CallEvent]) -> None:
    """Who talked last; the caller of an outgoing or internal call; nobody of an incoming call that nobody answered."""
    named = [e for e in told if e.employee_number or e.employee_ext]
    if call.columns["direction"] not in ("out", "internal"):
        spoke = [e for e in named if e.answered or e.kind in words.ANSWERS]
        spoke = spoke or [e for e in named if e.kind in words.REAL_ENDS]
        named = spoke if call.columns["is_answered"] else []
    last = named[-1] if named else None
    number, ext = (last.employee_number, last.employee_ext) if last else ("", "")
    name = last.employee_name if last else ""
    for event in reversed(named):  # the same employee, told more fully by another event
        if number and event.employee_number == number:
            ext, name = ext or event.employee_ext, name or event.employee_name
        elif ext and event.employee_ext == ext:
            number, name = number or event.employee_number, name or event.employee_name
    _put(call, "employee_number", number, last)
    _put(call, "employee_ext", ext, last)
    _put(call, "employee_name", name, last)
    if last is None:
        call.columns["employee_ids"] = ""


def _legs(call: Call, told: list[CallEvent]) -> None:
    answered_keys = {e.leg_key for e in told if e.kind in words.ANSWERS and e.leg_key}
    for event in told:
        if not event.leg_key:
            continue
        leg = call.legs.setdefault(
            event.leg_key,
            {
                "employee_number": "",
                "employee_ext": "",
                "employee_name": "",
                "started_at": None,
                "answered_at": None,
                "ended_at": None,
                "reason": "",
                "reason_raw": "",
            },
        )
        leg["employee_number"] = event.employee_number or leg["employee_number"]
        leg["employee_ext"] = event.employee_ext or leg["employee_ext"]
        leg["employee_name"] = event.employee_name or leg["employee_name"]
        if event.kind == words.LEG_RINGING:
            began = event.moment if event.started_at is None else event.started_at
            leg["started_at"] = began if leg["started_at"] is None else min(began, leg["started_at"])
        elif event.kind in words.ANSWERS:
            own = event.answered_at
            if own is None:
                own = call.columns["answered_at"] if len(answered_keys) == 1 else event.moment
            leg["answered_at"] = own if leg["answered_at"] is None else min(own, leg["answered_at"])
        elif event.kind in (words.LEG_ENDED, words.HANGUP):
            if event.started_at is not None:
                began = event.started_at
                leg["started_at"] = began if leg["started_at"] is None else min(began, leg["started_at"])
            leg["ended_at"] = event.moment if event.ended_at is None else event.ended_at
            reason = "no_answer" if event.reason == "normal" and leg["answered_at"] is None else event.reason
            leg["reason"], leg["reason_raw"] = reason or leg["reason"], event.reason_raw or leg["reason_raw"]
        elif event.kind in words.REAL_ENDS:
            if event.answered and leg["answered_at"] is None and len(answered_keys | {event.leg_key}) == 1:
                leg["answered_at"] = call.columns["answered_at"]
            leg["ended_at"] = call.columns["ended_at"]
            reason = call.columns["reason"] if event.reason == "normal" else event.reason
            leg["reason"], leg["reason_raw"] = reason or leg["reason"], event.reason_raw or leg["reason_raw"]
    for key, leg in call.legs.items():  # no leg outlives its call: what was open then ended with it
        if leg["ended_at"] is None and (answered_keys == {key} or not call.columns["is_answered"]):
            leg["ended_at"] = call.columns["ended_at"]


def _recordings(call: Call, told: list[CallEvent]) -> None:
    best: tuple[bool, int] = (False, -1)
    url, source = "", None
    for number, event in enumerate(told):
        for recording in event.recordings:
            known = call.recordings.setdefault(
                recording.url_hash, {"kind": recording.kind, "url": "", "provider_record_id": "", "seconds": None}
            )
            known["url"] = recording.url or known["url"]
            known["provider_record_id"] = recording.provider_record_id or known["provider_record_id"]
            known["seconds"] = known["seconds"] if recording.seconds is None else recording.seconds
            if recording.url and (recording.kind == "full", number) >= best:
                best, url, source = (recording.kind == "full", number), recording.url, event
    _put(call, "recording_url", url, source)


def _attributes(call: Call, told: list[CallEvent]) -> None:
    """Of each name the last content; of too many names the first by the alphabet, whatever the order of arrival."""
    found = {name: content for event in told for name, content in event.attributes}
    call.attributes = {name: {"content": found[name]} for name in sorted(found)[: words.MOST_ATTRIBUTES]}


def settles_at(events: Iterable[CallEvent], settle_seconds: int) -> int | None:
    """When a call whose end is told by silence ends: `settle_seconds` after its last hangup was received, if no leg is
    open then and nothing has ended it. Milliseconds since 1970 UTC, None for a call that this does not end."""
    told = list(events)
    hangups = [event for event in told if event.kind == words.HANGUP]
    closed = {event.leg_key for event in told if event.kind in (words.HANGUP, words.LEG_ENDED)}
    opened = {event.leg_key for event in told if event.kind == words.LEG_RINGING or event.kind in words.ANSWERS}
    if not hangups or opened - closed or _ends(told):
        return None
    return max(event.received_at for event in hangups) + settle_seconds * 1000
