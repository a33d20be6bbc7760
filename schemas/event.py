"""The vocabulary: the words of the call log, and CallEvent, which is what any feed's delivery becomes."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

PAYLOAD_VERSION = 1  # of CallEvent.to_payload; higher only where a field's meaning changed

MOST_ATTRIBUTES = 64  # of one event and of one call
AHEAD_MS = 86_400_000  # a moment so long after its receipt is not believed

# Kinds of event, in the order in which the fold takes them (rank, then the event's own time).
RINGING = "ringing"  # the call began
LEG_RINGING = "leg_ringing"  # one party is being rung
LEG_ENDED = "leg_ended"  # one party was rung in vain: says nothing of the call
HANGUP = "hangup"  # a leg hung up: ends the call if it is the leg that answered, or once the call is settled
NOTE = "note"  # fills empty columns, moves no state
ANSWERED = "answered"  # somebody picked up
TALKING = "talking"  # the parties hear each other, some time after somebody picked up
TALK_ENDED = "talk_ended"  # a talk ended, the call may go on (transfer)
RECORDING = "recording"  # a recording is ready: it is made after the call
EXPIRED = "expired"  # ours: the end never came
SETTLED = "settled"  # ours: nothing more was said after the last leg
ENDED = "ended"  # the call ended
LOST = "lost"  # the call ended and the provider calls it lost: it knows who dropped, so it comes last

KINDS = (
    RINGING, LEG_RINGING, LEG_ENDED, NOTE, ANSWERED, TALKING, TALK_ENDED, HANGUP, RECORDING, EXPIRED, SETTLED, ENDED, LOST
)  # fmt: skip
RANK = {kind: rank for rank, kind in enumerate(KINDS)}
ENDS = frozenset({EXPIRED, SETTLED, ENDED, LOST, RECORDING})
REAL_ENDS = frozenset({ENDED, LOST})
SILENCES = frozenset({EXPIRED, SETTLED})
ANSWERS = frozenset({ANSWERED, TALKING})
OF_A_TALK = ANSWERS | {TALK_ENDED}
OF_A_LEG = frozenset({LEG_RINGING, LEG_ENDED, HANGUP})

DIRECTIONS = ("in", "out", "internal", "")
STATES = ("ringing", "talking", "ended")
VOID = "void"  # of a call of which no event is left: all that told of it was rejected (upkeep/reject.py)
DISPOSITIONS = ("", "answered", "missed", "no_answer", "busy", "rejected", "cancelled", "failed", "unknown", VOID)

# What proves that somebody talked, or that nobody did, strongest first: (answered, answered_by) of an event. An answer,
# a talk of some seconds or the provider's word of success is ""; the rest is what a notification without one rests on.
NO_TALK, MENU, LOST_CALL, LENGTHS, EXCLUDED = "no_talk", "menu", "lost", "lengths", "reason"
PROOFS = (
    (True, ""),  # picked up, talked for seconds, or success by the provider's own word
    (False, NO_TALK),  # zero seconds of talk, in so many words
    (False, MENU),  # the same, and the provider says that the call was not lost: a menu served him
    (False, LOST_CALL),  # the provider calls it lost
    (False, ""),
    (True, LENGTHS),  # not lost, and longer than the wait
    (False, EXCLUDED),  # it ended for a reason that excludes a talk
)

# What an unanswered call's reason makes of it: (incoming, any other). docs/contract.md section 2; the rows agree with the
# «Таблица значений кодов ответа поля ResultCode» of the hooktype document.
DISPOSITION_OF = {
    "": ("missed", "no_answer"),
    "normal": ("missed", "no_answer"),
    "no_answer": ("missed", "no_answer"),
    "busy": ("busy", "busy"),
    "declined": ("rejected", "rejected"),
    "cancelled_by_caller": ("missed", "cancelled"),
    "unavailable": ("missed", "no_answer"),
    "invalid_number": ("failed", "failed"),
    "no_route": ("failed", "failed"),
    "forbidden": ("failed", "failed"),
    "no_funds": ("failed", "failed"),
    "blocked": ("failed", "failed"),
    "suspended": ("failed", "failed"),
    "network": ("failed", "failed"),
    "answered_elsewhere": ("missed", "no_answer"),
    "unknown": ("missed", "no_answer"),
}
REASONS = tuple(DISPOSITION_OF)


class Recording(NamedTuple):
    """One recording: `url_hash` is its identity within the call; `url` is empty when no address can be made."""

    kind: str  # full | leg | voice: a message that the caller left
    url_hash: str
    url: str = ""
    provider_record_id: str = ""
    seconds: int | None = None


class CallEvent(NamedTuple):
    """What one delivery says of one call, in our words. Moments are milliseconds since 1970 UTC, lengths whole seconds.

    `received_at` is when the delivery was stored; `occurred_at` the event's own time where the body has one. Empty
    text and None both mean "does not say". `answered` is evidence: True somebody talked, False nobody did; `answered_by`
    says what it rests on (PROOFS). Of an event of a leg (OF_A_LEG) started_at and ended_at are the leg's.
    """

    feed: str
    provider: str
    provider_call_id: str
    kind: str
    event_key: str
    received_at: int
    occurred_at: int | None = None
    account: str = ""
    direction: str = ""
    client_number: str = ""
    line_number: str = ""
    leg_key: str = ""
    employee_number: str = ""
    employee_ext: str = ""
    employee_ids: str = ""
    caller_raw: str = ""
    called_raw: str = ""
    client_name: str = ""
    provider_contact_id: str = ""
    scenario_name: str = ""
    started_at: int | None = None
    answered_at: int | None = None
    ended_at: int | None = None
    wait_seconds: int | None = None
    talk_seconds: int | None = None
    total_seconds: int | None = None
    answered: bool | None = None
    lost: bool | None = None
    disposition: str = ""
    reason: str = ""
    reason_raw: str = ""
    hangup_by: str = ""
    recordings: tuple[Recording, ...] = ()
    call_source: str = ""
    external_id: str = ""
    notification_name: str = ""
    employee_name: str = ""
    redirected_from: str = ""
    attributes: tuple[tuple[str, str], ...] = ()  # what has no field of its own: schemas/attributes.py
    answered_by: str = ""
    internal: bool | None = None  # the provider's own word, where it has one
    by_address: bool | None = None  # the body has no direction: this one is what was set up at the address
    call_started_at: int | None = None  # the call's start, where an event of a leg has it
    talker_id: str = ""  # the employee who talked last, of all that took part
    by_remark: bool | None = None  # no reason says who hung up: hangup_by is what the document remarks
    unwanted: bool | None = None  # the caller is on a black or spam list: nobody calls him back

    @property
    def moment(self) -> int:
        """The event's own time; the receipt's where it has none, or one that is not believed."""
        at = self.occurred_at
        return self.received_at if at is None or at > self.received_at + AHEAD_MS else at

    @property
    def believed(self) -> bool:
        """Whether its moments may be true: nothing is told a day before it happens. What is not believed stays in the
        columns, and decides neither the order of events nor what is old."""
        latest = self.received_at + AHEAD_MS
        return all(
            at is None or at <= latest for at in (self.occurred_at, self.started_at, self.answered_at, self.ended_at)
        )

    def to_payload(self) -> str:
        """The event as JSON for `call_events.payload`: only what it says, with the version that reads it for ever."""
        fields = {"v": PAYLOAD_VERSION, "feed": self.feed, **self._stated()}  # our own events have no feed
        return _ENCODER.encode(fields)

    def content(self) -> dict[str, Any]:
        """What the event says of the call: the payload's fields without those that say where it came from."""
        return {name: value for name, value in self._stated().items() if name not in _ENVELOPE}

    def _stated(self) -> dict[str, Any]:
        fields = _without_blanks(zip(self._fields, self, strict=True))
        if self.recordings:
            fields["recordings"] = [_without_blanks(recording._asdict().items()) for recording in self.recordings]
        if self.attributes:
            fields["attributes"] = dict(self.attributes)
        return fields

    @classmethod
    def from_payload(cls, payload: str) -> "CallEvent":
        """The event that `to_payload` wrote, by any release. What a newer one added is read as far as it is known here:
        unknown keys are left out, an unknown kind moves no state, an unknown reason is `unknown`."""
        fields = {name: value for name, value in json.loads(payload).items() if name in _FIELDS}
        if "recordings" in fields:
            fields["recordings"] = tuple(
                Recording(**{name: value for name, value in recording.items() if name in Recording._fields})
                for recording in fields["recordings"]
            )
        if "attributes" in fields:
            fields["attributes"] = tuple(fields["attributes"].items())
        if fields["kind"] not in RANK:
            fields["kind"] = NOTE
        if fields.get("reason", "") not in DISPOSITION_OF:
            fields["reason"] = "unknown"
        return cls(**fields)


def _without_blanks(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in fields if value is not None and value != "" and value != ()}


_FIELDS = frozenset(CallEvent._fields)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_ENVELOPE = frozenset({"feed", "provider", "provider_call_id", "event_key", "received_at", "kind", "notification_name"})
