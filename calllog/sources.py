"""The sources of evidence.py: each looks at the facts and says what a column is, or None where it cannot tell.

A source returns the value and the keys of the events that show it. It may look at the columns that were decided before.
"""

from calllog import people
from calllog.facts import Facts, Found
from calllog.people import Person, names_anybody
from schemas import event as words
from schemas.event import CallEvent
from schemas.fields import phone

LATER = (
    2000  # milliseconds that rounding explains: an answer stated later than that after the talk began is not the first
)
SHORT = range(2, 7)  # digits of an extension


# ------------------------------------------------------------------------------------------------------------- parties


def stated_internal(facts: Facts) -> Found | None:
    """The provider's own word."""
    for event in facts.events:
        if event.internal or event.direction == "internal":
            return "internal", (event.event_key,)
    return None


def two_extensions(facts: Facts) -> Found | None:
    """Both parties have 2 to 6 digits, no line of more is named, and the provider does not say otherwise."""
    row = facts.row
    caller, called, line = row["caller_raw"], row["called_raw"], row["line_number"]
    if (len(line) > SHORT[-1] and line.isdigit()) or not _short(caller):
        return None
    called = called or next((e.employee_ext or e.employee_number for e in facts.events if e.leg_key), "")
    if not _short(called) or any(e.internal is False for e in facts.events):
        return None
    return "internal", facts.shown("caller_raw", "called_raw")


def _short(number: str) -> bool:
    digits = number if number.isdigit() else phone(number)
    return digits.isdigit() and len(digits) in SHORT


def stated_direction(facts: Facts) -> Found | None:
    """A body's own key, or the mnemonic of what began."""
    return facts.last("direction", [event for event in facts.events if not event.by_address])


def address(facts: Facts) -> Found | None:
    """What was set up at the address that it came to."""
    return facts.last("direction")


def nobody_outside(facts: Facts) -> Found | None:
    """An internal call has no client."""
    return ("", ()) if facts.row["direction"] == "internal" else None


def stated_client(facts: Facts) -> Found | None:
    """The contact, else the other party as an event that knows the direction has it; never our own line."""
    line = facts.row["line_number"]
    for event in reversed(facts.events):
        if event.client_number and event.client_number != line:
            return event.client_number, (event.event_key,)
    return None


def far_party(facts: Facts) -> Found | None:
    """Who called, of an incoming call; who was called, of an outgoing one."""
    return _party(facts, {"in": "caller_raw", "out": "called_raw"})


def near_party(facts: Facts) -> Found | None:
    """Our own line stands for the client: the client is the one at the other end, where that is no employee."""
    found = _party(facts, {"in": "called_raw", "out": "caller_raw"}) if facts.last("client_number") else None
    ours = found and any(found[0] in (e.employee_number, e.employee_ext) for e in facts.events)
    return None if ours else found


def _party(facts: Facts, column_of: dict[str, str]) -> Found | None:
    column = column_of.get(facts.row["direction"], "")
    number = phone(facts.row[column]) if column else ""
    return (number, facts.shown(column)) if number and number != facts.row["line_number"] else None


def our_line(facts: Facts) -> Found | None:
    """No other party is known."""
    return facts.last("client_number")


# -------------------------------------------------------------------------------------------------------------- result


_RANK_OF_PROOF = {proof: rank for rank, proof in enumerate(words.PROOFS)}


def best_proof(facts: Facts) -> Found:
    """words.PROOFS: of all events those that prove a talk, of the call's ends those that prove that there was none."""
    best, source = len(words.PROOFS), None
    for events, answers in ((facts.events, True), (facts.ends, False)):
        for event in events:
            if answers and event.kind in words.ANSWERS:
                rank = 0
            elif event.answered is answers:
                rank = _RANK_OF_PROOF.get(
                    (answers, event.answered_by), _RANK_OF_PROOF[answers, ""]
                )  # a newer release's
            else:
                continue
            if rank < best:
                best, source = rank, event
    answered = source is not None and words.PROOFS[best][0]
    facts.denial = None if answered else source
    return int(answered), (source.event_key,) if answered and source else ()


def named_by_the_reason(facts: Facts) -> Found | None:
    """The reason that the provider gives says who. Of unanswered legs only the last tells of the call, and only that the
    client has left: the next employee may be rung after one who declined."""
    tell = [event for event in facts.ends if not event.by_remark]
    if not facts.row["is_answered"]:
        last = next((e for e in reversed(facts.ends) if e.kind == words.HANGUP), None)
        tell = [e for e in tell if e.kind != words.HANGUP or (e is last and e.hangup_by == "client")]
    return facts.last("hangup_by", tell)


def remark(facts: Facts) -> Found | None:
    """The document's remark, for want of a reason that says more than that the call ended."""
    reason = named_reason(facts)
    if reason is not None and reason[0] not in ("normal", "unknown"):
        return None
    return facts.last("hangup_by", [event for event in facts.ends if event.by_remark])


def before_an_answer(facts: Facts) -> Found | None:
    """A call that nobody answered does not end normally: the caller cancelled, the called side declined, or nobody
    picked up."""
    reason = named_reason(facts)
    if reason is None or reason[0] != "normal" or facts.denial is None or served_by_a_menu(facts):
        return None
    hangup_by, outgoing = facts.row["hangup_by"], facts.row["direction"] == "out"
    gave_up = "cancelled_by_caller" if (hangup_by == "employee") == outgoing else "declined"
    return gave_up if hangup_by else "no_answer", reason[1]


def named_reason(facts: Facts) -> Found | None:
    """The last end's that we know; `unknown` only where none is."""
    known = [event for event in facts.ends if event.reason and event.reason != "unknown"]
    return facts.last("reason", known or facts.ends)


def word_of_the_reason(facts: Facts) -> Found | None:
    """The provider's own word for it."""
    by = facts.shown("reason")
    return facts.last("reason_raw", [event for event in facts.ends if event.event_key in by])


def any_word(facts: Facts) -> Found | None:
    """The last that an end has, of which we know no reason."""
    return facts.last("reason_raw", facts.ends)


def somebody_talked(facts: Facts) -> Found | None:
    """Whatever ended the call."""
    last = next((e.event_key for e in reversed(facts.ends) if e.answered), None)
    return ("answered", (last,) if last else ()) if facts.row["is_answered"] else None


def served_by_a_menu(facts: Facts) -> Found | None:
    """No second of talk, yet not lost: nobody is to be called back, and nobody of ours talked."""
    if facts.denial is None or facts.denial.answered_by != words.MENU or facts.row["provider_lost"]:
        return None
    return "unknown", (facts.denial.event_key,)


def stated_disposition(facts: Facts) -> Found | None:
    """A status that means more than its reason."""
    return facts.last("disposition", facts.ends)


def by_the_reason(facts: Facts) -> Found | None:
    """Of a call that nobody answered: words.DISPOSITION_OF; `missed` only where it was incoming."""
    if facts.denial is None:
        return None
    disposition = words.DISPOSITION_OF[facts.row["reason"]][facts.row["direction"] != "in"]
    return disposition, (facts.denial.event_key, *facts.shown("reason"))


def nobody_knows(facts: Facts) -> Found:
    """Nothing proves a talk or that there was none."""
    return "unknown", (facts.ends[-1].event_key,)


def to_call_back(facts: Facts) -> Found:
    """Incoming, nobody answered, and the caller is on no list of those whom nobody wants."""
    missed = facts.row["direction"] == "in" and facts.row["disposition"] not in ("answered", "unknown")
    return int(missed and not any(e.unwanted for e in facts.ends)), facts.shown_by.get("disposition", ())


# ------------------------------------------------------------------------------------------------------------- lengths


def end_without_talk(facts: Facts) -> Found | None:
    """A call that nobody answered has no talk; of one of which nothing is known, nobody knows."""
    if facts.row["is_answered"]:
        return None
    zero = facts.last("talk_seconds", [e for e in facts.ends if e.talk_seconds == 0])
    return zero or (None if facts.row["disposition"] in ("", "unknown") else 0, facts.shown("disposition"))


def talk_of_the_end(facts: Facts) -> Found | None:
    """What the end says."""
    return facts.last("talk_seconds", [e for e in facts.ends if e.kind in words.REAL_ENDS])


def talks_one_by_one(facts: Facts) -> Found | None:
    """The sum of the talks that were told one by one: a transfer."""
    talks = [e for e in facts.events if e.kind == words.TALK_ENDED and e.talk_seconds is not None]
    return (sum(e.talk_seconds or 0 for e in talks), tuple(e.event_key for e in talks)) if talks else None


def total_without_wait(facts: Facts) -> Found | None:
    """Where the provider does not call it lost: then the menu's time is in total."""
    total, wait = facts.row["total_seconds"], facts.row["wait_seconds"]
    if total is None or wait is None or facts.row["provider_lost"]:
        return None
    return max(0, total - wait), facts.shown("total_seconds", "wait_seconds")


def stated_wait(facts: Facts) -> Found | None:
    """The last that says it."""
    return facts.last("wait_seconds")


def stated_total(facts: Facts) -> Found | None:
    """The last that says it."""
    return facts.last("total_seconds")


# ------------------------------------------------------------------------------------------------------------- moments


def stated_end(facts: Facts) -> Found | None:
    """The call's own end, or the hangup that ended it; never the time of a notification or of a recording."""
    return facts.last("ended_at", facts.ends)


def stated_start(facts: Facts) -> Found | None:
    """The call's own start, by the first event that has it."""
    for event in facts.events:
        at = event.call_started_at if event.kind in words.OF_A_LEG else event.started_at
        if at is not None:
            return at, (event.event_key,)
    return None


def start_and_length(facts: Facts) -> Found | None:
    """The start as told, and how long the call took."""
    start, length = stated_start(facts), _length(facts)
    if start is None or length is None or not facts.ends:
        return None
    return start[0] + length * 1000, start[1] + facts.shown("total_seconds", "wait_seconds", "talk_seconds")


def _length(facts: Facts) -> int | None:
    total, wait, talk = (facts.row[f"{name}_seconds"] for name in ("total", "wait", "talk"))
    return total if total is not None or wait is None or talk is None else wait + talk  # type: ignore[no-any-return]


def end_as_noted(facts: Facts) -> Found | None:
    """The time of the end's notification, else of its receipt."""
    last = next((e for e in reversed(facts.ends) if e.kind in words.REAL_ENDS | {words.HANGUP}), None)
    return (last.moment, (last.event_key,)) if last else None


def end_without_total(facts: Facts) -> Found | None:
    """Both told by a body: better than any receipt."""
    end, total = stated_end(facts), facts.row["total_seconds"]
    return (end[0] - total * 1000, end[1] + facts.shown("total_seconds")) if end and total is not None else None


def first_ring(facts: Facts) -> Found | None:
    """The time of the earliest event that begins a call, else of its receipt; not where that came after the end."""
    ring = min((e for e in facts.events if e.kind == words.RINGING), key=_moment, default=None)
    ended = facts.row["ended_at"]
    return (ring.moment, (ring.event_key,)) if ring and (ended is None or ring.moment <= ended) else None


def end_without_lengths(facts: Facts) -> Found | None:
    """The end, however it is known, and what is known of the lengths: without a total, fold.py fits wait and talk in."""
    ended, total, wait = (facts.row[column] for column in ("ended_at", "total_seconds", "wait_seconds"))
    talk = facts.row["talk_seconds"] if facts.row["is_answered"] else None
    if ended is None or (total is None and wait is None and talk is None):
        return None
    return ended - (total or 0) * 1000, facts.shown("ended_at", "total_seconds", "talk_seconds", "wait_seconds")


def first_heard(facts: Facts) -> Found:
    """The earliest time of any event, else of its receipt."""
    first = min(facts.events, key=_moment)
    ended = facts.row["ended_at"]
    return first.moment if ended is None else min(first.moment, ended), (first.event_key,)


def nobody_answered(facts: Facts) -> Found | None:
    """So there is no moment of it."""
    return None if facts.row["is_answered"] else (None, ())


def lost_answer(facts: Facts) -> Found | None:
    """The talk began before the first answer that was told: the one before it was lost."""
    told, counted = stated_answer(facts), end_without_the_talk(facts)
    return counted if told and counted and counted[0] < told[0] - LATER else None


def stated_answer(facts: Facts) -> Found | None:
    """The earliest answer that has a time of its own."""
    first = min(
        (e for e in _answers(facts) if e.answered_at is not None), key=lambda e: e.answered_at or 0, default=None
    )
    return (first.answered_at, (first.event_key,)) if first else None


def end_without_the_talk(facts: Facts) -> Found | None:
    """The end, however it is known, and the talk as told."""
    ended, talk = facts.row["ended_at"], facts.row["talk_seconds"]
    if ended is None or talk is None:
        return None
    return ended - talk * 1000, facts.shown("ended_at", "talk_seconds")


def answer_as_noted(facts: Facts) -> Found | None:
    """The time of the answer's notification, else of its receipt."""
    first = min(_answers(facts), key=_moment, default=None)
    return (first.moment, (first.event_key,)) if first else None


def _answers(facts: Facts) -> list[CallEvent]:
    answers = [e for e in facts.events if e.kind == words.ANSWERED]
    return answers or [e for e in facts.events if e.kind == words.TALKING]


def _moment(event: CallEvent) -> int:
    return event.moment


def from_answer_to_end(facts: Facts) -> Found | None:
    """From when the parties heard each other, where that was told apart from the answer (MTT's `t`)."""
    answered, ended = facts.row["answered_at"], facts.row["ended_at"]
    if answered is None or ended is None:
        return None
    talking = next((e for e in facts.events if e.kind == words.TALKING), None)
    began = answered if talking is None else min(max(answered, talking.moment), ended)
    talk, total = (ended - began) // 1000, facts.row["total_seconds"]
    shown = (*((talking.event_key,) if talking else facts.shown("answered_at")), *facts.shown("ended_at"))
    return talk if total is None else min(talk, total), shown


def from_start_to_answer(facts: Facts) -> Found | None:
    """Of an unanswered call to its end; not where nobody knows whether it was answered."""
    answered = facts.row["is_answered"]
    until = facts.row["answered_at" if answered else "ended_at"]
    if until is None or facts.row["disposition"] == "unknown":
        return None
    wait, talk, total = (until - facts.row["started_at"]) // 1000, facts.row["talk_seconds"], facts.row["total_seconds"]
    if total is not None:  # a told length outranks
        wait = max(0, min(wait, total - (talk or 0)))
    return wait, facts.shown("started_at", "answered_at" if answered else "ended_at")


def from_start_to_end(facts: Facts) -> Found | None:
    """No less than the wait and the talk, which may have been told; each of the three is rounded by itself."""
    if facts.row["ended_at"] is None:
        return None
    parts = (facts.row["wait_seconds"] or 0) + (facts.row["talk_seconds"] or 0)
    total = (facts.row["ended_at"] - facts.row["started_at"]) // 1000
    return total if parts - total <= LATER // 1000 else parts, facts.shown("started_at", "ended_at")


# ------------------------------------------------------------------------------------------------------------ who talked


def caller(facts: Facts) -> Found | None:
    """Of an outgoing and of an internal call, whether anybody answered or not."""
    direction = facts.row["direction"]
    if direction not in ("out", "internal"):
        return None
    named = [e for e in facts.events if names_anybody(e)]
    if direction == "internal":
        raw, called = facts.row["caller_raw"], facts.row["called_raw"]
        mine = [e for e in named if raw in (e.employee_ext, e.employee_number)]
        named = mine or [e for e in named if called not in (e.employee_ext, e.employee_number)]
        if not named and raw:
            return facts.people.person(ext=phone(raw)), facts.shown("caller_raw")
    return _employee(facts, named[0]) if named else None


def nobody(facts: Facts) -> Found | None:
    """Who was rung in vain is in call_legs."""
    return None if facts.row["is_answered"] else (None, ())


def named_as_last(facts: Facts) -> Found | None:
    """last_talked_…, last_answered_…"""
    found = facts.last("talker_id")
    return (facts.people.by_id(found[0]), found[1]) if found else None


def latest_answer(facts: Facts) -> Found | None:
    """The employee of the latest answer, where it names one. Of several answers the receipts do not tell which was the
    latest: where one has no time of its own, nobody knows."""
    answers = [e for e in facts.events if e.kind in words.OF_A_TALK]
    if len(answers) > 1 and any(e.answered_at is None and e.occurred_at is None for e in answers):
        several = {people.key(person) for e in answers if (person := facts.people.of(e))}
        answers = [e for e in answers if names_anybody(e)][:1] if len(several) == 1 else []
    latest = max(answers, key=_answered_at, default=None)
    return _employee(facts, latest) if latest and names_anybody(latest) else None


def _answered_at(event: CallEvent) -> int:
    at = event.moment if event.answered_at is None else event.answered_at
    return at - 1000 * (event.talk_seconds or 0) if event.kind == words.TALK_ENDED else at


def of_the_end(facts: Facts) -> Found | None:
    """Whom the end names."""
    named = [e for e in facts.ends if e.kind in words.REAL_ENDS and names_anybody(e)]
    return _employee(facts, named[-1]) if named else None


def any_answer(facts: Facts) -> Found | None:
    """Another answer that names somebody."""
    named = [e for e in facts.events if (e.answered or e.kind in words.OF_A_TALK) and names_anybody(e)]
    return _employee(facts, named[-1]) if named else None


def name_alone(facts: Facts) -> Found | None:
    """No number, extension or id is told, only how he is called."""
    found = facts.last("employee_name")
    return (["", "", "", found[0]], found[1]) if found else None


def _employee(facts: Facts, event: CallEvent) -> Found:
    return facts.people.of(event), (event.event_key,)


def own_id(facts: Facts) -> Found | None:
    """His alone."""
    person: Person | None = facts.row["employee"]
    if not person:
        return "", ()
    return (person[2], facts.shown("employee")) if person[2] else None


def among_these(facts: Facts) -> Found | None:
    """Several, of whom he is one."""
    return facts.last("employee_ids", [e for e in facts.events if "," in e.employee_ids])
