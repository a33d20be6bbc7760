"""UIS: what to enter in its account page, and what its notifications look like when it was entered wrong."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from config import Settings
from schemas import event as words
from schemas import uis
from schemas.event import CallEvent
from schemas.reading import Delivery, Refusal, canonical, read
from schemas.uis import ADDRESS, FORM, SAMPLE_CALL_ID
from setup.feed import Address
from setup.findings import ENOUGH, Advice, Expected, Right, keys_of, line


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
    Notification(
        "Ожидание ответа",
        "Ожидание ответа",
        "in",
        (*_EVERY, *_EMPLOYEE, "leg_id"),
        "Направление звонка = Входящий звонок",
    ),
)


# -------------------------------------------------------------------------------------------------- what to enter


def guide(url: Address) -> str:
    """The seven notifications, in the words of the account page."""
    lines = [
        "Личный кабинет UIS → Уведомления → Добавить. Создайте семь уведомлений; в каждом:",
        "«Активно» — включено, «Способы уведомлений» → HTTP — включено, «Метод» — POST.",
        "Плейсхолдеры {{…}} вставляйте без кавычек: UIS ставит их сам.",
    ]
    for number, notification in enumerate(NOTIFICATIONS, 1):
        first, *rest = to_enter(notification.name, url)
        lines += ["", f"{number}. {first}", *(f"   {line}" for line in rest[:-1]), rest[-1]]
    return "\n".join(lines)


def to_enter(name: str, url: Address) -> list[str]:
    """What to enter for the notification of this name, a line a field; the last is the template."""
    notification = next((one for one in NOTIFICATIONS if one.name == name), None)
    return (
        []
        if notification is None
        else [
            f"«Название уведомления»: {notification.name}",
            f"«Тип события»: {notification.event_type}",
            f"«Условия»: {notification.condition or 'нет'}",
            f"«URL»: {url(ADDRESS.format(notification.route))}",
            f"{FORM.body}:",
            notification.template,
        ]
    )


def first_notification(now: datetime) -> tuple[str, dict[str, Any]]:
    """An incoming call."""
    return ADDRESS.format("in"), {
        "notification_name": "Входящий звонок",
        "notification_time": f"{now:%Y-%m-%d %H:%M:%S}",
        "call_session_id": int(now.timestamp()),
        "direction": "in",
        "start_time": f"{now:%Y-%m-%d %H:%M:%S}",
        "virtual_phone_number": "74950000000",
        "calling_phone_number": "79000000000",
        "called_phone_number": "74950000000",
    }


def self_test(mark: str, settings: Settings) -> tuple[str, dict[str, Any]]:
    """The call of the account page's test button."""
    fields = {"call_session_id": SAMPLE_CALL_ID, "notification_name": "pbx-connector check --send", "self_test": mark}
    return ADDRESS.format("in"), fields


# --------------------------------------------------------------------------------------------- what was entered wrong


METHOD = "«Метод»"
SWITCHES = "«Активно», «Способы уведомлений» → HTTP, «Метод» и {url}"
EXPECTED = (
    Expected("Завершение звонка", ("ended",), ("ringing", "answered", "lost"), 5),
    Expected("Входящий звонок", ("ringing.in",), ("answered.in", "ended.in", "lost.in")),
    Expected("Исходящий звонок", ("ringing.out",), ("ended.out", "answered.out")),
    Expected("Начало разговора", ("answered",), ("ended.in.answered",)),
    Expected("Потерянный звонок", ("lost",), ("ended.in.lost",)),
    Expected("Записанный разговор", ("recording", "linked", "ended.key.wavcallrecords"), ("ended.answered",)),
    Expected("Ожидание ответа", ("leg_ringing",), ()),  # worth setting up, and nothing shows that it lacks
)
TYPES = {
    words.RINGING: "Исходящий звонок",
    f"{words.RINGING}.in": "Входящий звонок",
    words.ANSWERED: "Начало разговора",
    words.LOST: "Потерянный звонок",
    words.ENDED: "Завершение звонка",
    words.RECORDING: "Записанный разговор",
    words.LEG_RINGING: "Ожидание ответа",
    words.TALK_ENDED: "Завершение разговора",
}
ADVICE = {
    "unsubstituted": Advice(
        "Шаблон не подставлен",
        "Пришёл сам шаблон: вместо значений в нём стоят {{…}}. Значения подставляет только UIS, когда отправляет "
        "уведомление о звонке.",
        "поле {body}: вставьте шаблон целиком, плейсхолдеры ровно так, {{двумя скобками}}, без пробелов внутри; если "
        "уведомление отправили руками (curl, Postman), менять ничего не нужно",
        "{whole}",
    ),
    "wrong_url": Advice(
        "Чужой адрес",
        "Это событие пришло не на свой адрес: по адресу коннектор решает, что случилось, и без notification_mnemonic "
        "понимает звонок неверно.",
        "поле {url}: конец адреса должен быть таким, ключ прежний",
        "{details}",
    ),
    "quotes": Advice(
        "Кавычки вокруг плейсхолдеров",
        "В шаблоне стоят кавычки вокруг {{…}}: UIS ставит их сам, и выходит двойная кавычка, а числа и null становятся "
        "текстом.",
        "поле {body}: уберите кавычки вокруг {{…}} в строках {list} или вставьте шаблон целиком",
        "{whole}",
    ),
    "unknown_placeholder": Advice(
        "Плейсхолдер, которого нет",
        "UIS не знает такого плейсхолдера и оставил его текстом: значения у этого ключа нет.",
        "поле {body}: замените строки на {list} (строку без замены удалите) или вставьте шаблон целиком",
        "{whole}",
    ),
    "foreign_placeholder": Advice(
        "Плейсхолдер не для этого события",
        "Для этого типа события UIS такого плейсхолдера не подставляет: он остался текстом или пустым местом.",
        "поле {body}: удалите из шаблона этого уведомления строки {list} (или проверьте «Тип события»); шаблон целиком — "
        "ниже",
        "{whole}",
    ),
    "no_lost_reason": Advice(
        "Нет причины потери",
        "У потерянных звонков нет поля lost_reason: в журнале не будет видно, что звонок потерян и почему.",
        'поле {body}: добавьте строку "lost_reason":{{lost_reason}} или вставьте шаблон целиком',
        "{whole}",
    ),
    "double": Advice(
        "Два уведомления об одном событии",
        "Об одном и том же событии звонка приходят два уведомления с разным содержанием: в кабинете их два (часто — "
        "старое и новое). Звонок остаётся одним, но событий у него больше, и второе может спорить с первым.",
        "«Активно»: выключите одно из них",
        "{details}",
    ),
    "no_recording_link": Advice(
        "Нет ссылки на запись",
        "Разговоры записаны, но ссылок на запись нет: UIS прислал только отпечатки записей (wav_call_records).",
        "уведомление «Завершение звонка», поле {body}: добавьте строку; или создайте уведомление «Записанный разговор» "
        "(страница «Настройка» или pbx-connector feeds show uis, номер 6)",
        line("communication_id", "communication_id"),
    ),
    "never_seen": Advice(
        "Событие не приходит",
        "«{name}» не пришло ни разу, хотя звонки были.",
        "создайте уведомление «{name}» (или включите «Активно», проверьте «Тип события» и «Условия»)",
        "{details}",
    ),
}
DOCUMENTED = """
app_id attributes call_session_id call_source called_phone_number calling_phone_number communication_id
communication_type contact_full_name contact_group_ids contact_id contact_phone_number cpn_region_id cpn_region_name
direction external_id is_internal notification_mnemonic notification_name notification_time notification_timestamp
scenario_id scenario_name start_time tp_project virtual_phone_number visitor_country
""".split()  # all placeholders that the Mgerm document has
PLACEHOLDERS = {
    canonical(name): name
    for name in [*DOCUMENTED, *(key for n in NOTIFICATIONS for key in n.keys), "leg_id", "employee_id"]
}
NUMERIC = {
    canonical(name)
    for name in "call_session_id total_time_duration wait_time_duration talk_time_duration file_duration is_lost "
    "is_internal contact_id app_id communication_id notification_timestamp employee_ids employee_id".split()
}  # what UIS renders without quotes of its own
END_KEYS = {
    canonical(name)
    for name in "finish_time finish_reason total_time_duration wait_time_duration talk_time_duration is_lost lost_reason "
    "file_link file_duration full_record_file_link".split()
}
_PAIR = re.compile(
    r'"(?P<key>[^"\\\n{}]{1,128})"\s{0,20}:\s{0,20}(?:'
    r'(?P<doubled>""(?=\s{0,20}[^\s,}\]]))'
    r'|"(?P<bare>null|true|false|\d{1,20}|\[[^\[\]\n]{0,2000}\])"(?=\s{0,20}[,}])'
    r'|"{0,2}\{\{\s{0,20}(?P<left>[^{}"\n]{1,100}?)\s{0,20}\}\}'
    r"|(?P<nothing>(?=[,}])))"
)
_VALUE = re.compile(r'"(?!notification)[a-z_]{1,64}"\s{0,20}:\s{0,20}(?:"[^"{\n]|\d)')  # that UIS put in


def template(text: str) -> dict[str, list[str]]:
    """Quotes round placeholders and placeholders left as they are, by the raw text: reading repairs them."""
    found: dict[str, list[str]] = {"quotes": [], "unknown_placeholder": [], "foreign_placeholder": []}
    if _is_not_filled(text):
        return {"unsubstituted": [""]}
    for pair in _PAIR.finditer(text):
        key, left, bare = pair["key"], pair["left"], pair["bare"]
        name = PLACEHOLDERS.get(canonical(key))
        if left is not None:
            known = PLACEHOLDERS.get(canonical(left))
            near = get_close_matches(canonical(left), PLACEHOLDERS, 1, 0.75)
            meant = known or (PLACEHOLDERS[near[0]] if near else name)
            code = "foreign_placeholder" if known == left.strip() else "unknown_placeholder"
            found[code].append(line(key, None if code == "foreign_placeholder" else meant))
        elif pair["nothing"] is not None and canonical(key) != "callsessionid":  # nobody may delete that
            found["foreign_placeholder"].append(line(key, None))
        elif pair["doubled"] or (bare and name and (not bare.isdigit() or canonical(key) in NUMERIC)):
            found["quotes"].append(line(key, name))
    return found


def _is_not_filled(text: str) -> bool:
    """Whether the template came as it stands, with a placeholder even where every event has a value: the call's id."""
    left = {canonical(pair["key"]) for pair in _PAIR.finditer(text) if pair["left"] is not None}
    return "callsessionid" in left and len(left) >= ENOUGH and _VALUE.search(text) is None


def tested(delivery: Delivery) -> tuple[bool, str]:
    """The test button sends the template with sample values, so the address, the keys and the quotes are the real ones."""
    text = delivery.body.decode("utf-8", "replace") or delivery.query
    keys = keys_of(text)
    meant = _meant(delivery, keys)
    lacking = [key for key in meant.keys if canonical(key) not in keys]
    left = template(text)
    wrong = []
    if delivery.method == "GET":
        wrong.append("«Метод» — GET, нужен POST")
    if meant.route != delivery.route:
        wrong.append(f"адрес не для этого события, нужен …{ADDRESS.format(meant.route)}?key=<тот же ключ>")
    for code, what in (
        ("quotes", "лишние кавычки вокруг {{…}}, уберите их в строках"),
        ("unknown_placeholder", "такого плейсхолдера у UIS нет, должно быть"),
        ("foreign_placeholder", "UIS не подставил, строки не для этого события"),
    ):
        if left[code]:
            wrong.append(f"{what}: {', '.join(left[code])}")
    if lacking:
        wrong.append(f"не хватает: {', '.join(lacking)}")
    there = f"{len(meant.keys) - len(lacking)} из {len(meant.keys)}"
    if not wrong:
        return True, f"Тест UIS получен, «{meant.name}»: всё на месте, {there}, адрес верный."
    return False, f"Тест UIS получен, «{meant.name}», полей {there}. Исправьте: {'; '.join(wrong)}."


def meant(delivery: Delivery, keys: set[str]) -> str:
    """The name of the notification that a delivery is of."""
    return _meant(delivery, keys).name


def _meant(delivery: Delivery, keys: set[str]) -> Notification:
    """The notification: by its mnemonic, its name, or the one whose keys and address are most like it."""
    fields: Mapping[str, Any] = {}
    with contextlib.suppress(Refusal):
        fields = read(delivery, FORM)
    mnemonic = canonical(str(fields.get("notificationmnemonic", "")))
    kind, direction = uis.KIND_OF_MNEMONIC.get(mnemonic, ""), uis.DIRECTION_OF_MNEMONIC.get(mnemonic, "")
    names = {one.name.casefold(): one for one in NOTIFICATIONS}
    if kind:
        return names[(TYPES.get(f"{kind}.{direction}") or TYPES[kind]).casefold()]
    near = get_close_matches(str(fields.get("notificationname", "")).strip().casefold(), names, 1, 0.8)
    if near:
        return names[near[0]]

    def likeness(one: Notification) -> float:
        wanted = {canonical(key) for key in one.keys}
        return len(wanted & keys) / len(wanted | keys) + 0.2 * (one.route == delivery.route)

    return max(NOTIFICATIONS, key=likeness)


def right_route(delivery: Delivery, event: CallEvent, keys: set[str]) -> Right:
    """The address decides what happened, so each event type has its own."""
    route, by_address = delivery.route, False
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
            right, by_address = "out" if event.direction == "out" else "in", event.kind == words.ENDED
    else:
        return Right()
    return Right() if right == route else Right(right, by_address)


def lacks(event: CallEvent, keys: set[str]) -> str:
    """Without lost_reason nobody sees that the call was lost, or why, unless is_lost and finish_reason tell both."""
    if "lostreason" in keys or event.kind not in words.REAL_ENDS:
        return ""
    unclear = event.kind == words.ENDED and "islost" not in keys
    return "no_lost_reason" if unclear or (event.lost and "finishreason" not in keys) else ""


def _mnemonic(delivery: Delivery) -> str:
    """What the mnemonic says happened, "" where it says nothing."""
    return uis.KIND_OF_MNEMONIC.get(canonical(uis.recognise(delivery).get("notificationmnemonic", "")), "")
