"""UIS as the Mgerm module sets it up: «Завершение звонка» with keys that lost their underscores, at /uis/call/ended.

The wiki engine that printed the document ate the {{ }}, the quotes (GESHIQUOT) and possibly the underscores; canonical
keys read both spellings. Same provider and call ids as the uis feed, so a call told by both is one call. The template
has no finish time: `notificationtime` is the end (it is the event's own time, which the fold falls back to).
"""

import json
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

from schemas import uis
from schemas.event import CallEvent
from schemas.reading import Delivery

PROVIDER = uis.PROVIDER
FORM = uis.FORM
ADDRESS = "/uis/call/ended"

PLACEHOLDERS = """
app_id attributes call_session_id call_source called_phone_number calling_phone_number communication_id
communication_type contact_full_name contact_group_ids contact_id contact_phone_number cpn_region_id cpn_region_name
direction external_id is_internal notification_mnemonic notification_name notification_time notification_timestamp
scenario_id scenario_name start_time tp_project virtual_phone_number visitor_country
""".split()  # all that the document has; its keys are the same without underscores


recognise = uis.recognise


def understand(delivery: Delivery, zone: tzinfo) -> CallEvent:
    """A Mgerm notification in our words; see schemas.understand."""
    return uis.understand(delivery, zone)


def guide(url: Callable[[str], str]) -> str:
    """What to enter at uiscom.ru for this feed; `url` makes an address with the key of a path."""
    template = "{\n" + ",\n".join(f'"{name.replace("_", "")}":{{{{{name}}}}}' for name in PLACEHOLDERS) + "\n}"
    return "\n".join(
        [
            "Личный кабинет UIS → Уведомления → Добавить. Одно уведомление:",
            "«Название уведомления»: Завершение звонка",
            "«Тип события»: Завершение звонка",
            "«Активно»: Включено; «Способы уведомлений» → HTTP: Включено; «Метод»: POST",
            f"«URL»: {url(ADDRESS)}",
            f"{FORM.body}:",
            template,
            "",
            "В этом шаблоне нет длительностей, времени завершения и записи: итог звонка останется unknown, пока о нём не",
            "расскажут уведомления потока uis (flask feeds show uis).",
        ]
    )


def first_notification(now: datetime) -> tuple[str, str]:
    """(path, body) of a call's end, for the first try by hand."""
    said = {
        "callsessionid": int(now.timestamp()),
        "direction": "in",
        "callingphonenumber": "79000000000",
        "virtualphonenumber": "74950000000",
        "notificationname": "Завершение звонка",
        "notificationtime": f"{now:%Y-%m-%d %H:%M:%S}",
        "starttime": f"{now:%Y-%m-%d %H:%M:%S}",
    }
    return ADDRESS, json.dumps(said, ensure_ascii=False)


def self_test(mark: str) -> tuple[str, dict[str, Any]]:
    """(path, JSON) of a delivery that is ignored by design, for `flask check --send`."""
    return ADDRESS, {"callsessionid": uis.SAMPLE_CALL_ID, "notificationname": "flask check --send", "self_test": mark}
