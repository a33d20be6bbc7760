"""The toy provider: all that a set-up module may know."""

from datetime import datetime
from typing import Any

from config import Settings
from schemas import event as words
from schemas.event import CallEvent
from schemas.reading import Delivery
from setup.feed import Address
from setup.findings import Advice, Expected, Right

METHOD = "«Способ»"
SWITCHES = "«Включено» и {url}"
EXPECTED = (Expected("Конец", ("ended",), ("ringing",)),)
TYPES = {words.RINGING: "Начало", words.ENDED: "Конец"}
AT_THE_DOOR = {"moon": "подождите до утра"}
SELF_TEST_REFUSED = {"moon": "the moon is wrong"}
ADVICE = {
    "left": Advice("Не подставлено", "Плейсхолдер остался текстом.", "поле {body}: исправьте строки", "{details}"),
    "wrong_url": Advice("Чужой адрес", "Событие пришло не на свой адрес.", "поле {url}", "{details}"),
    "no_client": Advice("Нет клиента", "В шаблоне нет ключа client.", "поле {body}: добавьте", '"client": {{client}}'),
    "never_seen": Advice("Не приходит", "«{name}» не пришло ни разу.", "создайте уведомление", "{details}"),
}


def first_notification(now: datetime) -> tuple[str, dict[str, Any]]:
    """A call that rings."""
    id = f"try-{now:%Y%m%d%H%M%S}"
    return "/toy/call", {"id": id, "what": "ring", "at": f"{now:%Y-%m-%d %H:%M:%S}", "client": "79000000000"}


def self_test(mark: str, settings: Settings) -> tuple[str, dict[str, Any]]:
    """An event that nobody knows."""
    return "/toy/call", {"id": mark, "what": "selftest", "self_test": mark}


def template(text: str) -> dict[str, list[str]]:
    """Placeholders that were not filled in."""
    return {"left": [line.strip() for line in text.splitlines() if "{{" in line]}


def right_route(delivery: Delivery, event: CallEvent, keys: set[str]) -> Right:
    """The end has an address of its own."""
    route = "end" if event.kind == words.ENDED else "call"
    return Right() if route == delivery.route else Right(route)


def lacks(event: CallEvent, keys: set[str]) -> str:
    """The client's number."""
    return "" if "client" in keys else "no_client"


def to_enter(name: str, url: Address) -> list[str]:
    """What to enter for the end of a call."""
    return [f"«Событие»: {name}", f"«Адрес»: {url('/toy/end')}"]
