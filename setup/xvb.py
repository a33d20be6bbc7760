"""XVB VirtualPBX: a first notification, the self-test, what must come, and whom its handler refuses."""

from datetime import datetime
from typing import Any

from config import Settings
from schemas.xvb import ADDRESS
from setup.findings import Expected

EXPECTED = (
    Expected("COMPLETED («Отправить оповещение об окончании звонка»)", ("ended",), ("ringing",), 5),
    Expected("INCOMING («Отправить оповещение о начале звонка»)", ("ringing",), ("ended",)),
)
AT_THE_DOOR = {
    "unknown_tenant": "настройка XVB_ACCESS_CODES на сервере",
    "access_code_differs": "запрос собран не той АТС: поддержка провайдера",
}
SELF_TEST_REFUSED = {"unknown_tenant": "the connector there asks for other XVB_ACCESS_CODES"}


def first_notification(now: datetime) -> tuple[str, dict[str, Any]]:
    """An incoming call."""
    return ADDRESS, {
        "access_code": "10000",
        "cmd": "event",
        "callid": f"try-{now:%Y%m%d%H%M%S}",
        "type": "in",
        "event": "INCOMING",
        "phone": "79000000000",
        "line_number": "74950000000",
    }


def self_test(mark: str, settings: Settings) -> tuple[str, dict[str, Any]]:
    """A command that we do not know, of a tenant that is let in."""
    tenant = {"access_code": settings.xvb_access_codes[0]} if settings.xvb_access_codes else {}
    return ADDRESS, {"cmd": "selftest", "self_test": mark, **tenant}
