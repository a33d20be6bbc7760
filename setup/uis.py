"""UIS: what to enter in its account page, and what its notifications look like when it was entered wrong."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas import event as words
from schemas import uis
from schemas.event import CallEvent
from schemas.reading import Delivery, canonical
from schemas.uis import ADDRESS, FORM, SAMPLE_CALL_ID
from setup.mgerm import PLACEHOLDERS as MGERM_PLACEHOLDERS


@dataclass(frozen=True, slots=True)
class Notification:
    """One notification to set up at the provider, in the words of its account page."""

    name: str
    event_type: str
    route: str
    keys: tuple[str, ...]
    condition: str = ""

    @property
    def template(self) -> str:
        """The JSON to paste: placeholders without quotes, UIS renders JSON values."""
        return "{\n" + ",\n".join(f'"{key}":{{{{{key}}}}}' for key in self.keys) + "\n}"


_EVERY = (
    "notification_name",
    "notification_mnemonic",
    "notification_time",
    "app_id",
    "call_session_id",
    "communication_id",
    "direction",
    "is_internal",
    "start_time",
    "virtual_phone_number",
    "calling_phone_number",
    "called_phone_number",
    "contact_phone_number",
    "contact_id",
    "contact_full_name",
    "call_source",
    "scenario_name",
)


_EMPLOYEE = ("employee_phone_number", "extension_phone_number", "employee_ids")


_END = ("finish_time", "total_time_duration", "wait_time_duration", "finish_reason", "lost_reason", "external_id")


NOTIFICATIONS = (
    Notification(
        "Входящий звонок", "Входящий звонок на виртуальный номер", "in", _EVERY, "Направление звонка = Входящий звонок"
    ),
    Notification(
        "Начало разговора",
        "Начало разговора",
        "in",
        (*_EVERY, *_EMPLOYEE, "external_id"),
        "Направление звонка = Входящий звонок",
    ),
    Notification("Потерянный звонок", "Потерянный звонок", "in", (*_EVERY, *_END)),
    Notification("Исходящий звонок", "Исходящий звонок", "out", (*_EVERY, *_EMPLOYEE, "external_id")),
    Notification(
        "Завершение звонка",
        "Завершение звонка",
        "rec",
        (*_EVERY, *_EMPLOYEE, *_END, "talk_time_duration", "is_lost", "full_record_file_link", "wav_call_records"),
    ),
    Notification(
        "Записанный разговор", "Записанный разговор", "rec", (*_EVERY, *_EMPLOYEE, "file_link", "file_duration")
    ),
)


def guide(url: Callable[[str], str]) -> str:
    """What to enter at uiscom.ru, in the words of its account page; `url` makes an address with the key of a path."""
    lines = [
        "Личный кабинет UIS → Уведомления → Добавить. Создайте шесть уведомлений; в каждом:",
        "«Активно» — включено, «Способы уведомлений» → HTTP — включено, «Метод» — POST.",
        "Плейсхолдеры {{…}} вставляйте без кавычек: UIS ставит их сам.",
    ]
    for number, notification in enumerate(NOTIFICATIONS, 1):
        first, *rest = to_enter(notification, url)
        lines += ["", f"{number}. {first}", *(f"   {line}" for line in rest[:-1]), rest[-1]]
    return "\n".join(lines)


def to_enter(notification: Notification, url: Callable[[str], str]) -> list[str]:
    """What to enter for one notification, a line a field; the last is the template."""
    return [
        f"«Название уведомления»: {notification.name}",
        f"«Тип события»: {notification.event_type}",
        f"«Условия»: {notification.condition or 'нет'}",
        f"«URL»: {url(ADDRESS.format(notification.route))}",
        f"{FORM.body}:",
        notification.template,
    ]


def first_notification(now: datetime) -> tuple[str, str]:
    """(path, body) of an incoming call as UIS would tell it, for the first try by hand."""
    said = {
        "notification_name": "Входящий звонок",
        "notification_time": f"{now:%Y-%m-%d %H:%M:%S}",
        "call_session_id": int(now.timestamp()),
        "direction": "in",
        "start_time": f"{now:%Y-%m-%d %H:%M:%S}",
        "virtual_phone_number": "74950000000",
        "calling_phone_number": "79000000000",
        "called_phone_number": "74950000000",
    }
    return ADDRESS.format("in"), json.dumps(said, ensure_ascii=False)


def self_test(mark: str) -> tuple[str, dict[str, Any]]:
    """(path, JSON) of a delivery that is ignored by design, for `flask check --send`."""
    return ADDRESS.format("in"), {
        "call_session_id": SAMPLE_CALL_ID,
        "notification_name": "flask check --send",
        "self_test": mark,
    }


NUMERIC = {
    canonical(name)
    for name in "call_session_id total_time_duration wait_time_duration talk_time_duration file_duration is_lost "
    "is_internal contact_id app_id communication_id notification_timestamp employee_ids employee_id".split()
}  # what UIS renders without quotes of its own


PLACEHOLDERS = {
    canonical(name): name
    for name in [*MGERM_PLACEHOLDERS, *(key for n in NOTIFICATIONS for key in n.keys), "leg_id", "employee_id"]
}


END_KEYS = {
    canonical(name)
    for name in "finish_time finish_reason total_time_duration wait_time_duration talk_time_duration is_lost lost_reason "
    "file_link file_duration full_record_file_link".split()
}


TYPE_OF = {
    words.RINGING: "Входящий звонок",
    words.ANSWERED: "Начало разговора",
    words.LOST: "Потерянный звонок",
    words.ENDED: "Завершение звонка",
    words.RECORDING: "Записанный разговор",
    words.LEG_RINGING: "Ожидание ответа",
    words.TALK_ENDED: "Завершение разговора",
}  # an outgoing ringing is «Исходящий звонок»


_PAIR = re.compile(
    r'"(?P<key>[^"\\\n{}]{1,128})"\s{0,20}:\s{0,20}(?:'
    r'(?P<doubled>""(?=\s{0,20}[^\s,}\]]))'
    r'|"(?P<bare>null|true|false|\d{1,20}|\[[^\[\]\n]{0,2000}\])"(?=\s{0,20}[,}])'
    r'|"{0,2}\{\{\s{0,20}(?P<left>[^{}"\n]{1,100}?)\s{0,20}\}\}'
    r"|(?P<nothing>(?=[,}])))"
)


def _right_route(delivery: Delivery, event: CallEvent, keys: set[str]) -> str:
    """The route this event should have come to, "" where it did."""
    route = delivery.route
    if event.kind == words.RINGING:
        right = event.direction if event.direction in ("in", "out") else "in" if route == "rec" else route
    elif event.kind in (words.ANSWERED, words.LOST):
        right = "in"
        at_once = event.started_at is not None and abs(delivery.received_at - event.started_at) < 3_000
        if event.kind == words.ANSWERED and event.direction == "out" and at_once and not _mnemonic(delivery):
            right = "out"  # nobody answers at once: «Исходящий звонок», which has its employee from the beginning
    elif event.kind in (words.ENDED, words.RECORDING):
        right = "rec"
        if route == "rec" and not keys & END_KEYS and not _mnemonic(delivery):
            right = "out" if event.direction == "out" else "in"  # the call was ended by the address alone
    else:
        return ""
    return "" if right == route else right


def _mnemonic(delivery: Delivery) -> str:
    """What the mnemonic says happened, "" where it says nothing."""
    return uis.KIND_OF_MNEMONIC.get(canonical(uis.recognise(delivery).get("notificationmnemonic", "")), "")
