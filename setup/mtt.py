"""MTT «Smart УВВ»: a first notification, the self-test, and what must come."""

from datetime import datetime
from typing import Any

from config import Settings
from schemas.mtt import ADDRESS
from setup.findings import Expected

EXPECTED = (
    Expected("h (Hungup)", ("hangup", "ended"), ("answered",)),
    Expected("o (Originate)", ("leg_ringing",), ("answered",)),
)


def first_notification(now: datetime) -> tuple[str, dict[str, Any]]:
    """A leg that is being rung."""
    return ADDRESS, {
        "date_time": int(now.timestamp()),
        "data": f"event=o_79000000001_{now:%Y-%m-%d-%H-%M-%S}",
        "event": {"type": "o"},
        "redirect_number": "79000000001",
        "h323_conf_id": f"{now:%Y%m%d %H%M%S} 00000000 00000000",
        "numberA": "79000000000",
        "sip_id": "74950000000",
    }


def self_test(mark: str, settings: Settings) -> tuple[str, dict[str, Any]]:
    """An event of no type that we know."""
    return ADDRESS, {"h323_conf_id": mark, "event": {"type": "selftest"}, "self_test": mark}
