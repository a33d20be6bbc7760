"""«Звонковые события по Webhook»: a first notification, the self-test, and what must come."""

from datetime import datetime
from typing import Any

from config import Settings
from schemas.hooktype import ADDRESS
from setup.findings import Expected

EXPECTED = (
    Expected("EndIncCall", ("ended.in", "lost.in"), ("ringing.in",), 5),
    Expected("EndOutCall", ("ended.out",), ("ringing.out",), 5),
    Expected("CreateIncCall", ("ringing.in",), ("ended.in", "lost.in")),
    Expected("CreateOutCall", ("ringing.out",), ("ended.out",)),
    Expected("ChangeIncCall", ("answered",), ("ended.in.answered",)),
    Expected("AttemptIncCallBegin", ("leg_ringing",), ("answered",)),
)


def first_notification(now: datetime) -> tuple[str, dict[str, Any]]:
    """An incoming call."""
    return ADDRESS, {
        "SessionID": f"try-{now:%Y%m%d%H%M%S}",
        "HookType": "CreateIncCall",
        "StartTime": f"{now:%Y-%m-%d %H:%M:%S}",
        "CityNumber": "4950000000",
        "Caller": "9000000000",
        "Called": "4950000000",
    }


def self_test(mark: str, settings: Settings) -> tuple[str, dict[str, Any]]:
    """A hook that we do not know."""
    return ADDRESS, {"SessionID": mark, "HookType": "SelfTest", "self_test": mark}
