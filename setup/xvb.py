"""XVB VirtualPBX: what to enter in its account page."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from schemas.xvb import ADDRESS, FORM


def guide(url: Callable[[str], str]) -> str:
    """What to enter at the cloud PBX; `url` makes an address with the key of a path."""
    return "\n".join(
        [
            "Облачная АТС XVB → настройки интеграции (CommonCRM) → Webhooks:",
            f"{FORM.url}: {url(ADDRESS)}",
            "«Запрос ответственного»: включить — АТС спросит имя клиента и добавочный ответственного (cmd=contact).",
            "«Отправить оповещение о начале звонка»: включить.",
            "«Отправить оповещение об окончании звонка»: включить.",
        ]
    )


def first_notification(now: datetime) -> tuple[str, str]:
    """(path, body) of an incoming call, for the first try by hand."""
    said = {
        "access_code": "10000",
        "cmd": "event",
        "callid": f"try-{now:%Y%m%d%H%M%S}",
        "type": "in",
        "event": "INCOMING",
        "phone": "79000000000",
        "line_number": "74950000000",
    }
    return ADDRESS, json.dumps(said, ensure_ascii=False)


def self_test(mark: str) -> tuple[str, dict[str, Any]]:
    """(path, JSON) of a delivery that is ignored by design, for `flask check --send`."""
    return ADDRESS, {"cmd": "selftest", "self_test": mark}
