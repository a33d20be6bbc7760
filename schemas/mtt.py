"""MTT «Smart УВВ»: online notifications on the way of an incoming call, at the `event_URL` of the routing answer.

Time: `data` has the wall clock («дата и время события по МСК»); `date_time` is a copied constant in six of the
document's eight examples and three hours off in two, so it only counts where `data` does not parse. A call is one
h323_conf_id, whose spaces between four hex groups are genuine and whose stray ones are not; a leg is one
redirect_number. A cause on `s` is no hangup cause, and cause 16 without an `s` is a missed call.
"""

import re
from datetime import datetime, tzinfo
from typing import Any

from schemas import event as words
from schemas.attributes import attributes
from schemas.event import CallEvent
from schemas.fields import CallId, FeedSchema, Moment, Text, load, milliseconds, phone
from schemas.reading import Delivery, Fields, Form, Ignored, Refusal, read, shown

PROVIDER = "mtt"
ZONE = "Europe/Moscow"  # of `data`, whatever the call log's zone is
SETTLES = True  # the end of an unanswered call is told by silence: see SETTLE_SECONDS
FORM = Form(
    body="уведомления (параметр event_URL ответа на getControlCallFollowMe)", url="event_URL", call_id="h323_conf_id"
)
ADDRESS = "/mtt/events"

KIND_OF_TYPE = {
    "o": words.LEG_RINGING,  # Originate
    "s": words.ANSWERED,  # Start: «Фактический ответ стороны В»
    "t": words.TALKING,  # Talk: only with event_extended
    "h": words.HANGUP,  # Hungup
    "sp": words.NOTE,  # Start_premedia, End_premedia: only with event_extended
    "ep": words.NOTE,
}

# ISUP causes (Q.850). 16 and 31 are a normal clearing: who cleared an unanswered call tells the rest.
REASON_OF_CAUSE = (
    dict.fromkeys((16, 31), "normal")
    | {17: "busy", 21: "declined", 26: "answered_elsewhere"}
    | dict.fromkeys((18, 19), "no_answer")
    | dict.fromkeys((20, 27), "unavailable")
    | dict.fromkeys((1, 22, 28), "invalid_number")
    | dict.fromkeys((2, 3), "no_route")
    | dict.fromkeys((34, 38, 41, 42, 47, 102, 127), "network")
    | dict.fromkeys((29, 55, 57), "forbidden")
)

_DATA = re.compile(r"event=([a-z]+)_[^_]*_(\d{4}-\d\d-\d\d)-(\d\d)-(\d\d)-(\d\d)(?:&cause=(\d+))?", re.ASCII)


class ConferenceId(CallId):
    """h323_conf_id: single spaces between its groups, upper case, whatever strays round it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        return " ".join(super()._deserialize(value, attr, data, **kwargs).upper().split())


class Identity(FeedSchema):
    """What must be there; `event` may come as an object or as a plain string."""

    h323_conf_id = ConferenceId(data_key="h323confid")
    event_type = Text(16, data_key="eventtype")
    event = Text(16)
    data = Text(255)


class Schema(Identity):
    """The document's «Параметры»."""

    side = Text(8)
    cause = Text(32)
    date_time = Moment(data_key="datetime")
    redirect_number = Text(64, data_key="redirectnumber")
    number_a = Text(64, data_key="numbera")
    sip_id = Text(64, data_key="sipid")
    client_id = Text(128, data_key="clientid")


IDENTITY, SCHEMA = Identity(), Schema()


def recognise(delivery: Delivery) -> Fields:
    """The fields of an event that we know; see schemas.recognise."""
    sent = read(delivery, FORM)
    kind = _type(load(IDENTITY, sent, _refuse))
    if not kind:
        raise Refusal(
            422, "no_event_type", 'Нет типа события: ключ event отсутствует или пуст, нужно "event": {"type": …}.'
        )
    if kind not in KIND_OF_TYPE:
        raise Ignored("unknown_event", f"Событие {shown(kind)} коннектору неизвестно: принято, действия нет.")
    return sent


def understand(delivery: Delivery, zone: tzinfo) -> CallEvent:
    """An online notification in our words; see schemas.understand."""
    sent = recognise(delivery)
    said = load(SCHEMA, sent, _refuse)
    data = _DATA.match(said["data"])
    wall_clock = (
        datetime.fromisoformat(f"{data[2]} {data[3]}:{data[4]}:{data[5]}") if data and _is_moment(data) else None
    )
    moment = milliseconds(wall_clock or said["date_time"], zone)
    kind = KIND_OF_TYPE[_type(said)]
    return _event(delivery, kind, moment, sent, said, data[6] or "" if data else "")


def _type(said: dict[str, Any]) -> str:
    data = _DATA.match(said["data"])
    kind: str = said["event_type"] or said["event"] or (data[1] if data else "")
    return kind.lower()


def _is_moment(data: re.Match[str]) -> bool:
    try:
        datetime.fromisoformat(f"{data[2]} {data[3]}:{data[4]}:{data[5]}")
    except ValueError:
        return False
    return True


def _refuse(field: str, what: str) -> Refusal:
    return Refusal(
        422,
        "bad_call_id" if what == "too_long" else "no_call_id",
        "Нет идентификатора вызова: ключ h323_conf_id отсутствует, пуст или длиннее "
        f"{CallId.longest} знаков. Его присылает сеть МТТ; проверьте, что на event_URL приходят сами уведомления.",
    )


def _event(
    delivery: Delivery, kind: str, moment: int | None, sent: Fields, said: dict[str, Any], cause_of_data: str
) -> CallEvent:
    leg, side = phone(said["redirect_number"]), said["side"].upper()
    hangup = kind == words.HANGUP
    if hangup and side == "B" and not leg:
        kind = words.LEG_ENDED  # of a leg that nobody names: without one, a hangup is the client's and ends the call
    cause = (said["cause"] or cause_of_data) if hangup else ""  # a cause on `s` is no hangup cause
    reason = REASON_OF_CAUSE.get(int(cause), "unknown") if re.fullmatch("[0-9]{1,5}", cause) else ""
    if hangup and not reason:
        reason = "unknown" if cause else "normal"
    cleared_by = "client" if side == "A" or (not side and not leg) else "employee" if side == "B" else ""
    return CallEvent(
        feed=delivery.feed,
        provider=PROVIDER,
        provider_call_id=said["h323_conf_id"],
        kind=kind,
        event_key=sent.event_key(PROVIDER),
        received_at=delivery.received_at,
        occurred_at=moment,
        direction="in",
        client_number=phone(said["number_a"]),
        line_number=phone(said["sip_id"]),
        leg_key=leg,
        employee_number=leg,
        caller_raw=said["number_a"],
        called_raw=said["sip_id"],
        answered_at=moment if kind == words.ANSWERED else None,
        ended_at=moment if hangup else None,
        answered=False if hangup else True if kind in words.ANSWERS else None,
        reason=reason,
        reason_raw=cause,
        hangup_by=cleared_by if hangup and reason == "normal" else "",
        external_id=said["client_id"],
        attributes=attributes(sent, SCHEMA, also=frozenset({"clientid"})),  # the client's own name for external_id
    )
