"""«Звонковые события по Webhook»: a provider that its document does not name; `HookType` tells what happened.

The document's "required" lists contradict its own examples (StartTime is missing from those of AttemptIncCallEnd,
EndIncCall and MissedIncCall; ResultCode is "integer" yet `"200"` and `"603-S"`), so only SessionID and HookType are
required here. False friends: `Called` is the line in CreateIncCall and the employee in ChangeIncCall; `StartDuration`
is a moment, «время начала разговора».
"""

from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from schemas import event as words
from schemas.attributes import attributes
from schemas.event import CallEvent
from schemas.fields import CallId, FeedSchema, Moment, Seconds, Text, load, milliseconds, phone
from schemas.reading import Delivery, Fields, Form, Ignored, Refusal, read, shown

PROVIDER = "hooktype"
FORM = Form(body="«Тело запроса JSON» вебхука", url="«Url»", call_id="SessionID")
ADDRESS = "/hooktype"


@dataclass(frozen=True, slots=True)
class Hook:
    """What a HookType says: the kind of event, the direction, and whether `Called` is an employee."""

    kind: str
    direction: str
    called_is_employee: bool = False


HOOKS = {
    "createinccall": Hook(words.RINGING, "in"),
    "attemptinccallbegin": Hook(words.LEG_RINGING, "in", True),
    "changeinccall": Hook(words.ANSWERED, "in", True),
    # «Сотрудники, не принявшие вызов»: comes even after the answer and the end, and never ends or misses the call
    "attemptinccallend": Hook(words.LEG_ENDED, "in", True),
    "endinccall": Hook(words.ENDED, "in", True),
    "missedinccall": Hook(words.LOST, "in"),  # its example has the line in Called
    "createoutcall": Hook(words.RINGING, "out"),
    "endoutcall": Hook(words.ENDED, "out"),
}

# «Таблица значений кодов ответа поля ResultCode»; not SIP's meaning of the same digits
REASON_OF_CODE = {
    "200": "normal",  # Успешный звонок: answered even with Duration 0
    "304": "no_answer",  # Пропущенный звонок
    "603": "declined",  # Отклонено
    "603-S": "cancelled_by_caller",  # Вызов отменен
    "403": "forbidden",  # Запрещено
    "404": "invalid_number",  # Неверный номер
    "486": "busy",  # Занято
    "484": "no_route",  # Данное направление не доступно
    "503": "no_route",  # Данное направление не доступно
    "480": "unavailable",  # Временно не доступен
    "402": "no_funds",  # Недостаточно средств на счету
    "423": "blocked",  # Заблокировано
}


class Identity(FeedSchema):
    """What must be there."""

    session_id = CallId(data_key="sessionid")
    hook_type = Text(64, data_key="hooktype")


class Schema(Identity):
    """The document's properties."""

    start_time = Moment(data_key="starttime")
    end_time = Moment(data_key="endtime")
    start_duration = Moment(data_key="startduration")
    duration = Seconds()
    result_code = Text(255, data_key="resultcode")
    city_number = Text(64, data_key="citynumber")
    caller = Text(64)
    called = Text(64)
    redirecting = Text(64)


IDENTITY, SCHEMA = Identity(), Schema()


def recognise(delivery: Delivery) -> Fields:
    """The fields of a hook that we know; see schemas.recognise."""
    sent = read(delivery, FORM)
    said = load(IDENTITY, sent, _refuse)
    if not said["hook_type"]:
        raise Refusal(
            422,
            "no_event_type",
            "Нет типа события: ключ HookType отсутствует или пуст. Он должен быть в теле запроса, например "
            '"HookType": "CreateIncCall".',
        )
    if said["hook_type"].lower() not in HOOKS:
        raise Ignored(
            "unknown_event", f"Событие {shown(said['hook_type'])} коннектору неизвестно: принято, действия нет."
        )
    return sent


def understand(delivery: Delivery, zone: tzinfo) -> CallEvent:
    """A hook in our words; see schemas.understand."""
    sent = recognise(delivery)
    said = load(SCHEMA, sent, _refuse)
    return _event(delivery, zone, HOOKS[said["hook_type"].lower()], sent, said)


def _refuse(field: str, what: str) -> Refusal:
    if what == "too_long":
        return Refusal(422, "bad_call_id", f"Идентификатор вызова (ключ SessionID) длиннее {CallId.longest} знаков.")
    return Refusal(
        422,
        "no_call_id",
        "Нет идентификатора вызова: ключ SessionID отсутствует или пуст. Он должен быть в теле запроса каждого вебхука.",
    )


def _event(delivery: Delivery, zone: tzinfo, hook: Hook, sent: Fields, said: dict[str, Any]) -> CallEvent:
    incoming, ends = hook.direction == "in", hook.kind in words.REAL_ENDS
    caller, called, line = said["caller"], said["called"], phone(said["city_number"])
    employee = "" if incoming else phone(caller)
    if hook.called_is_employee and phone(called) != line:
        employee = phone(called)
    start, end = milliseconds(said["start_time"], zone), milliseconds(said["end_time"], zone)
    answer = milliseconds(said["start_duration"], zone)
    if start is not None and end is not None and end < start:
        end = None
    answered, reason = _outcome(hook, said["result_code"])
    return CallEvent(
        feed=delivery.feed,
        provider=PROVIDER,
        provider_call_id=said["session_id"],
        kind=hook.kind,
        event_key=sent.event_key(PROVIDER),
        received_at=delivery.received_at,
        occurred_at=answer if hook.kind == words.ANSWERED else end if ends or hook.kind == words.LEG_ENDED else start,
        direction=hook.direction,
        client_number=phone(caller if incoming else called),
        line_number=line or (phone(called) if hook.kind == words.RINGING and incoming else ""),
        leg_key=employee if incoming else "",
        employee_number=employee,
        caller_raw=caller,
        called_raw="" if hook.called_is_employee else called,
        started_at=start,
        answered_at=answer if hook.kind == words.ANSWERED else None,
        ended_at=end,
        talk_seconds=said["duration"] if ends and answered else None,
        answered=answered,
        reason=reason,
        reason_raw=said["result_code"] if ends else "",
        redirected_from=phone(said["redirecting"]),
        attributes=attributes(sent, SCHEMA),
    )


def _outcome(hook: Hook, code: str) -> tuple[bool | None, str]:
    """(evidence of a talk, our reason): EndIncCall, MissedIncCall and EndOutCall have a ResultCode."""
    if hook.kind == words.ANSWERED:
        return True, ""
    if hook.kind not in words.REAL_ENDS:
        return None, ""
    reason = REASON_OF_CODE.get(code.upper(), "unknown")
    if reason == "normal":
        return True, reason
    # a missed call is missed whatever its code; of an end with another code or none nobody knows
    return (None if reason == "unknown" and hook.kind != words.LOST else False), reason
