"""What a family of cloud PBXs posts to «your CRM»: cmd=event, cmd=history, and the question cmd=contact. XVB is one of
them, Megafon's and Gravitel's PBXs are relatives.

A relative is a Crm with its own names. No event of theirs carries a time, so the time of receipt is the event's; only a
history has `start`. What stands in STATUSES beside `Success` are words of the relatives and of Asterisk.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from schemas import event as words
from schemas.attributes import attributes
from schemas.event import CallEvent, Recording
from schemas.fields import CallId, FeedSchema, Moment, Seconds, Text, ascii_url, load, milliseconds, phone
from schemas.reading import Delivery, Fields, Form, Ignored, Refusal, read, sha256

KIND_OF_EVENT = {
    "incoming": words.RINGING,  # of XVB also for outgoing calls
    "outgoing": words.RINGING,
    "answered": words.ANSWERED,  # XVB: «при звонке через очередь»: which agent picked up
    "completed": words.ENDED,
    "cancelled": words.LEG_ENDED,  # a leg or the caller gave up; COMPLETED or the history tells the end
    "canceled": words.LEG_ENDED,
}
DIRECTION = {"in": "in", "out": "out", "incoming": "in", "outgoing": "out"}


@dataclass(frozen=True, slots=True)
class Status:
    """What an end's `status` says; `disposition` where it is not what the reason makes of it."""

    answered: bool | None
    reason: str
    disposition: str = ""


STATUSES = {
    "success": Status(True, "normal"),
    "answer": Status(True, "normal"),
    "missed": Status(False, "no_answer"),
    "noanswer": Status(False, "no_answer"),
    "cancel": Status(False, "cancelled_by_caller"),
    "busy": Status(False, "busy"),
    "notavailable": Status(False, "unavailable", "failed"),
    "congestion": Status(False, "unavailable", "failed"),
    "chanunavail": Status(False, "unavailable", "failed"),
    "notallowed": Status(False, "forbidden"),
    "notfound": Status(False, "invalid_number"),
}
UNKNOWN = Status(None, "unknown")


class Request(FeedSchema):
    """What every request has: who asks, and for what."""

    account = Text(64, data_key="accesscode")
    cmd = Text(32)
    phone = Text(64)


class Schema(Request):
    """An event or a history. A relative gives the fields that it calls otherwise another data_key."""

    callid = CallId()
    event = Text(32)
    type = Text(16)
    ext = Text(32)
    employee = Text(64, data_key="telnum")
    line = Text(64, data_key="linenumber")
    status = Text(255)
    start = Moment()
    duration = Seconds()
    link = Text(1024, data_key="recordlink")


class Identity(Request):
    """What an event must have."""

    callid = CallId()
    event = Text(32)
    type = Text(16)


REQUEST, IDENTITY = Request(), Identity()


@dataclass(frozen=True, slots=True)
class Crm:
    """One of the family: whose support is asked, its fields, the one that says what happened, and its commands."""

    provider: str
    form: Form
    support: str
    schema: FeedSchema
    event_field: str = "event"
    commands: tuple[str, ...] = ("event", "history")
    kinds: Mapping[str, str] = field(default_factory=lambda: KIND_OF_EVENT)

    def request(self, delivery: Delivery) -> dict[str, Any]:
        """account, cmd and phone of any request; empty where they are not there. Raises Refusal."""
        fields: dict[str, Any] = REQUEST.load(read(delivery, self.form))
        return fields

    def recognise(self, delivery: Delivery) -> Fields:
        """The fields of an event or a history that we know; see schemas.recognise."""
        sent = read(delivery, self.form)
        cmd = REQUEST.load(sent)["cmd"]
        if not cmd:
            raise Refusal(422, "no_event_type", "Нет команды: параметр cmd отсутствует или пуст, нужно cmd=event.")
        if cmd.lower() not in self.commands:
            raise Ignored("unknown_command", f"Команда {cmd} звонка не касается: принято, действия нет.")
        event = load(IDENTITY, sent, self._refuse)[self.event_field]
        if cmd.lower() == "event" and not event:
            raise Refusal(
                422,
                "no_event_type",
                f"Нет типа события: параметр {self.event_field} отсутствует или пуст, например "
                f"{self.event_field}=INCOMING.",
            )
        if cmd.lower() == "event" and event.lower() not in self.kinds:
            raise Ignored("unknown_event", f"Событие {event} коннектору неизвестно: принято, действия нет.")
        return sent

    def understand(self, delivery: Delivery, zone: tzinfo) -> CallEvent:
        """An event or a history in our words; see schemas.understand."""
        sent = self.recognise(delivery)
        fields = load(self.schema, sent, self._refuse)
        history = fields["cmd"].lower() == "history"
        kind = words.ENDED if history else self.kinds[fields[self.event_field].lower()]
        return _event(self, delivery, kind, sent, fields, milliseconds(fields["start"], zone))

    def _refuse(self, name: str, what: str) -> Refusal:
        return Refusal(
            422,
            "bad_call_id" if what == "too_long" else "no_call_id",
            f"Нет номера звонка: параметр callid отсутствует, пуст или длиннее {CallId.longest} знаков. Его присылает сама "
            f"АТС: покажите это сообщение поддержке {self.support}, адрес в поле {self.form.url} верен.",
        )


def _event(
    crm: Crm, delivery: Delivery, kind: str, sent: Fields, fields: dict[str, Any], started_at: int | None
) -> CallEvent:
    at = delivery.received_at
    direction = DIRECTION.get(fields["type"].lower(), "")
    status = STATUSES.get(fields["status"].lower(), UNKNOWN) if kind == words.ENDED else None
    client, line, ext = fields["phone"], fields["line"], fields["ext"]
    link = ascii_url(fields["link"])
    return CallEvent(
        feed=delivery.feed,
        provider=crm.provider,
        provider_call_id=fields["callid"],
        kind=kind,
        event_key=sent.event_key(crm.provider),
        received_at=at,
        account=fields["account"],
        direction=direction,
        client_number=phone(client),
        line_number=phone(line),
        leg_key=ext if direction != "out" else "",
        employee_number=phone(fields["employee"]),
        employee_ext=ext,
        # an event without a direction does not know who called whom
        caller_raw={"in": client, "out": ext}.get(direction, ""),
        called_raw={"in": line, "out": client}.get(direction, ""),
        # of an event the fold takes the receipt, which is received_at
        started_at=started_at,
        answered_at=at if kind == words.ANSWERED else None,
        talk_seconds=fields["duration"] if status and status.answered else None,
        total_seconds=(fields["duration"] or None) if status and not status.answered else None,  # 0: nobody talked
        answered=True if kind == words.ANSWERED else status.answered if status else None,
        disposition=status.disposition if status else "",
        reason=status.reason if status else "",
        reason_raw=fields["status"],
        recordings=(Recording("full", sha256(link), link),) if link.startswith(("http://", "https://")) else (),
        attributes=attributes(sent, crm.schema),
    )
