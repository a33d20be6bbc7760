"""MTT «Smart УВВ»: what to enter at the provider."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from schemas.mtt import ADDRESS


def guide(url: Callable[[str], str]) -> str:
    """What the routing answer must name; `url` makes an address with the key of a path."""
    return "\n".join(
        [
            "МТТ «Smart УВВ»: уведомления включает ваш ответ на запрос getControlCallFollowMe.",
            "В ответе укажите:",
            f'  "event_URL": "{url(ADDRESS)}",',
            '  "event_extended": "Y"   — чтобы приходили также sp, ep и t (начало разговора после приветствия)',
        ]
    )


def first_notification(now: datetime) -> tuple[str, str]:
    """(path, body) of a leg that is being rung, for the first try by hand."""
    said = {
        "date_time": int(now.timestamp()),
        "data": f"event=o_79000000001_{now:%Y-%m-%d-%H-%M-%S}",
        "event": {"type": "o"},
        "redirect_number": "79000000001",
        "h323_conf_id": f"{now:%Y%m%d %H%M%S} 00000000 00000000",
        "numberA": "79000000000",
        "sip_id": "74950000000",
    }
    return ADDRESS, json.dumps(said, ensure_ascii=False)


def self_test(mark: str) -> tuple[str, dict[str, Any]]:
    """(path, JSON) of a delivery that is ignored by design, for `flask check --send`."""
    return ADDRESS, {"h323_conf_id": mark, "event": {"type": "selftest"}, "self_test": mark}
