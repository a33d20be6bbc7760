"""«Звонковые события по Webhook»: what to enter at the provider."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from schemas.hooktype import ADDRESS, FORM


def guide(url: Callable[[str], str]) -> str:
    """What to enter at the provider; `url` makes an address with the key of a path."""
    return "\n".join(
        [
            "Настройки Webhook у провайдера: один адрес на все события.",
            f"{FORM.url}: {url(ADDRESS)}",
            "Тип запроса: POST, Content-Type: application/json.",
            "События: CreateIncCall, AttemptIncCallBegin, ChangeIncCall, AttemptIncCallEnd, EndIncCall, MissedIncCall,",
            "CreateOutCall, EndOutCall. Тело запроса провайдер составляет сам.",
        ]
    )


def first_notification(now: datetime) -> tuple[str, str]:
    """(path, body) of an incoming call, for the first try by hand."""
    said = {
        "SessionID": f"try-{now:%Y%m%d%H%M%S}",
        "HookType": "CreateIncCall",
        "StartTime": f"{now:%Y-%m-%d %H:%M:%S}",
        "CityNumber": "4950000000",
        "Caller": "9000000000",
        "Called": "4950000000",
    }
    return ADDRESS, json.dumps(said, ensure_ascii=False)


def self_test(mark: str) -> tuple[str, dict[str, Any]]:
    """(path, JSON) of a delivery that is ignored by design, for `flask check --send`."""
    return ADDRESS, {"SessionID": mark, "HookType": "SelfTest", "self_test": mark}
