"""UIS as the Mgerm module sets it up: what to enter in the account page."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from schemas import uis
from schemas.mgerm import ADDRESS, FORM

PLACEHOLDERS = """
app_id attributes call_session_id call_source called_phone_number calling_phone_number communication_id
communication_type contact_full_name contact_group_ids contact_id contact_phone_number cpn_region_id cpn_region_name
direction external_id is_internal notification_mnemonic notification_name notification_time notification_timestamp
scenario_id scenario_name start_time tp_project virtual_phone_number visitor_country
""".split()  # all that the document has; its keys are the same without underscores


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
