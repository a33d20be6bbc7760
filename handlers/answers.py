"""The one shape of every answer, and the application's parts that a request uses."""

import json
import logging
import re
from datetime import datetime
from typing import Any

from flask import Response, current_app, request
from werkzeug.exceptions import HTTPException

from calllog.asking import Desk
from calllog.changes import LatestChanges
from calllog.days import Days
from config import Settings
from forwarder import Forwarder
from inbox import IGNORED, Inbox, Outcome
from inbox.state import Probe
from schemas.reading import Refusal
from server.limit import MinuteLimit
from server.running import Running

log = logging.getLogger("connector.webhook")

RETRY_AFTER_SECONDS = "5"
JSON = "application/json; charset=utf-8"


class Connector:
    """The application's parts that a request uses."""

    def __init__(self, settings: Settings, inbox: Inbox, forwarder: "Forwarder", desk: Desk, running: Running) -> None:
        self.settings, self.inbox, self.forwarder, self.desk = settings, inbox, forwarder, desk
        self.running = running
        self.days = Days(settings.working_hours)
        self.latest_changes, self.probe = LatestChanges(desk), Probe(settings, inbox)
        self.questions = {feed: MinuteLimit(settings.contact_questions_minute) for feed in settings.feeds}


def connector() -> Connector:
    """The running application's parts."""
    found: Connector = current_app.extensions["connector"]
    return found


def answer(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """JSON that a person can read: Russian letters as they are."""
    text = json.dumps(body, ensure_ascii=False) + "\n"
    return Response(text, status, headers, content_type=JSON)


def refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """The one shape of every answer that is not 200."""
    return answer(status, {"error": code, "message": message}, headers)


def answered(outcome: Outcome, refused: Refusal | None) -> tuple[int, dict[str, Any]]:
    """(status, body) of the answer to a delivery. Our own fault is `accepted`: the sender cannot mend it."""
    if refused is not None:
        return refused.status, {"error": refused.code, "message": refused.message}
    if outcome.state == IGNORED:
        return 200, {"status": "ignored", "reason": outcome.detail}
    return 200, {"status": "accepted"}


def whole(name: str, default: int, least: int, most: int) -> int | None:
    """A whole number of the query; None when it is none."""
    text = request.args.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return int(text) if least <= int(text) <= most else None


def plain(value: Any) -> Any:
    """A value of the call log as JSON has it: a moment is wall clock in TIMEZONE, 2024-03-01T10:00:00."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list):
        return [{name: plain(inner) for name, inner in row.items()} for row in value]
    return value


def call_log_away() -> Response:
    """The call log does not answer now; 1C asks again."""
    message = "Журнал звонков сейчас не отвечает: повторите через несколько секунд. Уведомления при этом принимаются."
    return refusal(503, "call_log_away", message, {"Retry-After": RETRY_AFTER_SECONDS})


MESSAGES = {
    404: (
        "not_found",
        "Такого адреса у коннектора нет. Проверьте поле «URL»: адреса — на странице «Настройка» и в pbx-connector feeds "
        "show.",
    ),
    405: ("method_not_allowed", "Этот адрес не принимает такой метод: выберите метод POST."),
    413: ("too_large", "Тело запроса слишком велико для уведомления о звонке."),
}


def on_inbox_error(error: Exception) -> Response:
    """503: the inbox could not store, or not even be read; nothing was acknowledged."""
    log.error("the inbox is not available, the sender is asked to retry: %s", error)
    return refusal(
        503,
        "unavailable",
        "Уведомление не сохранено: диск коннектора сейчас не принимает запись. Повторите отправку; сообщите "
        "администратору.",
        {"Retry-After": RETRY_AFTER_SECONDS},
    )


def on_http_error(error: HTTPException) -> Response:
    """404, 405 and the like in the shape of every refusal."""
    status = error.code or 500
    code, message = MESSAGES.get(
        status, (re.sub(r"\W+", "_", error.name.lower()), f"Запрос не выполнен: {status} {error.name}.")
    )
    allowed = getattr(error, "valid_methods", None)
    headers = {"Allow": ", ".join(allowed)} if allowed else None
    return refusal(status, code, message, headers)
