"""XVB VirtualPBX (its settings page calls the integration CommonCRM): /crm-api, form-encoded, or JSON by a setting.

The document is an OCR text with damaged names; the real ones have underscores. No event carries a time, so the time of
receipt is the event's. Its only documented status is `Success`; the other words are its relatives' and Asterisk's.
"""

from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from schemas import event as words
from schemas.attributes import attributes
from schemas.event import CallEvent, Recording
from schemas.fields import CallId, FeedSchema, Seconds, Text, ascii_url, load, phone
from schemas.reading import Delivery, Fields, Form, Ignored, Refusal, read, sha256

PROVIDER = "xvb"
FORM = Form(body="«Webhooks»", url="«WebHook URL»", call_id="callid")
ADDRESS = "/crm-api"
TELLS_TIME = False

KIND_OF_EVENT = {
    "incoming": words.RINGING,  # also for type=out
    "outgoing": words.RINGING,
    "answered": words.ANSWERED,  # «при звонке через очередь»: which agent picked up
    "completed": words.ENDED,
    "cancelled": words.LEG_ENDED,  # seen in relatives: a leg or the caller gave up; COMPLETED tells the end
    "canceled": words.LEG_ENDED,
}


@dataclass(frozen=True, slots=True)
class Status:
    """What COMPLETED's `status` says; `disposition` where it is not what the reason makes of it."""

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

    access_code = Text(64, data_key="accesscode")
    cmd = Text(32)
    phone = Text(64)


class Identity(Request):
    """What an event must have."""

    callid = CallId()
    event = Text(32)


class Schema(Identity):
    """An event."""

    type = Text(16)
    ext = Text(32)
    line_number = Text(64, data_key="linenumber")
    status = Text(255)
    duration = Seconds()
    record_link = Text(1024, data_key="recordlink")


REQUEST, IDENTITY, SCHEMA = Request(), Identity(), Schema()


def request(delivery: Delivery) -> dict[str, Any]:
    """access_code, cmd and phone of any request; empty where they are not there. Raises Refusal."""
    said: dict[str, Any] = REQUEST.load(read(delivery, FORM))
    return said


def recognise(delivery: Delivery) -> Fields:
    """The fields of an event that we know; see schemas.recognise."""
    sent = read(delivery, FORM)
    cmd = REQUEST.load(sent)["cmd"]
    if not cmd:
        raise Refusal(422, "no_event_type", "Нет команды: параметр cmd отсутствует или пуст, нужно cmd=event.")
    if cmd.lower() != "event":
        raise Ignored("unknown_command", f"Команда {cmd} звонка не касается: принято, действия нет.")
    event = load(IDENTITY, sent, _refuse)["event"]
    if not event:
        raise Refusal(
            422, "no_event_type", "Нет типа события: параметр event отсутствует или пуст, например event=INCOMING."
        )
    if event.lower() not in KIND_OF_EVENT:
        raise Ignored("unknown_event", f"Событие {event} коннектору неизвестно: принято, действия нет.")
    return sent


def understand(delivery: Delivery, zone: tzinfo) -> CallEvent:
    """A cmd=event in our words; see schemas.understand."""
    sent = recognise(delivery)
    said = load(SCHEMA, sent, _refuse)
    return _event(delivery, KIND_OF_EVENT[said["event"].lower()], sent, said)


def _refuse(field: str, what: str) -> Refusal:
    return Refusal(
        422,
        "bad_call_id" if what == "too_long" else "no_call_id",
        f"Нет номера звонка: параметр callid отсутствует, пуст или длиннее {CallId.longest} знаков. Его присылает сама "
        f"АТС: покажите это сообщение поддержке XVB, адрес в поле {FORM.url} верен.",
    )


def _event(delivery: Delivery, kind: str, sent: Fields, said: dict[str, Any]) -> CallEvent:
    at = delivery.received_at
    direction = {"in": "in", "out": "out"}.get(said["type"].lower(), "")
    status = STATUSES.get(said["status"].lower(), UNKNOWN) if kind == words.ENDED else None
    client, line, ext = said["phone"], said["line_number"], said["ext"]
    link = ascii_url(said["record_link"])
    return CallEvent(
        feed=delivery.feed,
        provider=PROVIDER,
        provider_call_id=said["callid"],
        kind=kind,
        event_key=sent.event_key(PROVIDER),
        received_at=at,
        account=said["access_code"],
        direction=direction,
        client_number=phone(client),
        line_number=phone(line),
        leg_key=ext if direction != "out" else "",
        employee_ext=ext,
        # an event that tells no direction does not know who called whom
        caller_raw={"in": client, "out": ext}.get(direction, ""),
        called_raw={"in": line, "out": client}.get(direction, ""),
        # no moment is told: the fold takes the receipts, which are received_at
        answered_at=at if kind == words.ANSWERED else None,
        talk_seconds=said["duration"] if status and status.answered else None,
        total_seconds=(said["duration"] or None) if status and not status.answered else None,  # 0: nobody talked
        answered=True if kind == words.ANSWERED else status.answered if status else None,
        disposition=status.disposition if status else "",
        reason=status.reason if status else "",
        reason_raw=said["status"],
        recordings=(Recording("full", sha256(link), link),) if link.startswith(("http://", "https://")) else (),
        attributes=attributes(sent, SCHEMA),
    )
