"""GET /api/changes: changed calls, for a card that opens while the phone rings. 1C's clients ask every few seconds."""

from datetime import datetime
from typing import Any

from flask import Blueprint, Response, request

from calllog.asking import Away
from calllog.changes import HIGHEST
from handlers.access import api_refusal
from handlers.answers import answer, call_log_away, connector, refusal
from handlers.webhook import log

bp = Blueprint("changes", __name__)

MOST, MOST_NAMES = 500, 20


@bp.get("/api/changes")
def changed() -> Response:
    """`after`: a change_no; `ext`: extensions or numbers of a workplace; `limit`: 500 at most. 503 while the call log is
    away."""
    stranger = api_refusal()
    if stranger is not None:
        return stranger
    after, limit = _whole("after", 0, 0, HIGHEST), _whole("limit", MOST, 1, MOST)
    names = [name.strip()[:32] for given in request.args.getlist("ext") for name in given.split(",") if name.strip()]
    if after is None:
        return refusal(
            422, "bad_field", "Параметр after — это change_no последнего прочитанного звонка, целое число от 0."
        )
    if limit is None:
        return refusal(422, "bad_field", f"Параметр limit — целое число от 1 до {MOST}.")
    if len(names) > MOST_NAMES:
        return refusal(422, "bad_field", f"Параметр ext — не больше {MOST_NAMES} добавочных или номеров через запятую.")
    try:
        found = connector().latest_changes.after(after, names, limit)
    except Away as why:
        log.debug("changes: %s", why)
        return call_log_away()
    calls = [{name: _plain(value) for name, value in call.items()} for call in found.calls]
    body = {"position": found.position, "more": found.more, "calls": calls}
    return answer(200, {**body, "not_yours": list(found.others)} if names else body)


def _whole(name: str, default: int, least: int, most: int) -> int | None:
    """A whole number of the query; None when it is none."""
    text = request.args.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return int(text) if least <= int(text) <= most else None


def _plain(value: Any) -> Any:
    """As JSON has it: a moment is wall clock in TIMEZONE, 2024-03-01T10:00:00."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list):
        return [{name: _plain(inner) for name, inner in leg.items()} for leg in value]
    return value
