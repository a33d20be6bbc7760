"""UIS as the Mgerm module sets it up: what to enter in the account page. Its template is examined as UIS's own."""

from datetime import datetime
from typing import Any

from config import Settings
from schemas.mgerm import ADDRESS, FORM
from schemas.uis import SAMPLE_CALL_ID
from setup import uis
from setup.feed import Address

METHOD, SWITCHES, TYPES, ADVICE, template = uis.METHOD, uis.SWITCHES, uis.TYPES, uis.ADVICE, uis.template


def guide(url: Address) -> str:
    """One notification; the keys are the placeholders without underscores."""
    lines = ",\n".join(f'"{name.replace("_", "")}":{{{{{name}}}}}' for name in uis.DOCUMENTED)
    return "\n".join(
        [
            "Личный кабинет UIS → Уведомления → Добавить. Одно уведомление:",
            "«Название уведомления»: Завершение звонка",
            "«Тип события»: Завершение звонка",
            "«Активно»: Включено; «Способы уведомлений» → HTTP: Включено; «Метод»: POST",
            f"«URL»: {url(ADDRESS)}",
            f"{FORM.body}:",
            f"{{\n{lines}\n}}",
            "",
            "В этом шаблоне нет длительностей, времени завершения и записи: итог звонка останется unknown, пока о нём не",
            "расскажут уведомления потока uis (pbx-connector feeds show uis).",
        ]
    )


def first_notification(now: datetime) -> tuple[str, dict[str, Any]]:
    """A call's end."""
    return ADDRESS, {
        "callsessionid": int(now.timestamp()),
        "direction": "in",
        "callingphonenumber": "79000000000",
        "virtualphonenumber": "74950000000",
        "notificationname": "Завершение звонка",
        "notificationtime": f"{now:%Y-%m-%d %H:%M:%S}",
        "starttime": f"{now:%Y-%m-%d %H:%M:%S}",
    }


def self_test(mark: str, settings: Settings) -> tuple[str, dict[str, Any]]:
    """The call of the account page's test button."""
    return ADDRESS, {
        "callsessionid": SAMPLE_CALL_ID,
        "notificationname": "pbx-connector check --send",
        "self_test": mark,
    }
