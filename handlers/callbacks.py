"""GET /api/callbacks: people to call back, for 1C: the page «Перезвонить» as JSON."""

from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, request
from peewee import Database

from calllog import callbacks
from calllog.asking import QUEUE_SECONDS, Away
from calllog.callbacks import OPEN, STATES, Shown
from calllog.days import Days
from calllog.waiting import Asked, Found, people
from config import WorkingHours
from handlers.access import api_refusal
from handlers.answers import RETRY_AFTER_SECONDS, answer, call_log_away, connector, refusal
from handlers.webhook import log
from schemas.event import AHEAD_MS
from schemas.fields import phone

bp = Blueprint("callbacks", __name__)

MOST, MOST_DAYS, DAYS = 500, 366, 7
WORKING = {"": None, "working": True, "off": False}


@bp.get("/api/callbacks")
def call_back() -> Response:
    """`since`, `until`: moments of the wall clock, of the last week by default; `line`; `hours`: working or off; `state`:
    open (default), all or one of callbacks.STATES; `from`: how many people to leave out. 503 while the call log is away."""
    stranger = api_refusal()
    if stranger is not None:
        return stranger
    here, given = (
        connector(),
        {name: request.args.get(name, "").strip() for name in ("since", "until", "hours", "state")},
    )
    now = datetime.now(here.settings.timezone).replace(tzinfo=None)
    latest = now + timedelta(milliseconds=AHEAD_MS)
    until = _moment(given["until"], latest + timedelta(seconds=1))
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    since = _moment(given["since"], min(midnight, until or midnight) - timedelta(days=DAYS - 1))
    start = request.args.get("from", "0").strip()
    if since is None or until is None or not timedelta() <= until - since <= timedelta(days=MOST_DAYS):
        return refusal(422, "bad_field", f"Параметры since и until — 2026-11-24T20:00:00, не больше {MOST_DAYS} дней.")
    if given["hours"] not in WORKING or given["state"] not in ("", "open", "all", *STATES):
        words = ", ".join(("open", "all", *STATES))
        return refusal(422, "bad_field", f"Параметр hours — working или off, state — одно из: {words}.")
    if not (start.isascii() and start.isdigit() and len(start) < 8):
        return refusal(422, "bad_field", "Параметр from — целое число от 0.")
    states = {"": OPEN, "open": OPEN, "all": STATES}.get(given["state"], (given["state"],))
    asked = Asked(since, until, phone(request.args.get("line", "").strip()), WORKING[given["hours"]], states)
    try:
        found, some = here.desk.ask(
            _people, here.days, here.settings.working_hours, latest, asked, int(start), queue=QUEUE_SECONDS
        )
    except Away as why:
        log.debug("callbacks: %s", why)
        return call_log_away()
    if found.unread:
        message = f"Звонки за эти дни ещё читаются, осталось дней: {found.unread}. Повторите через секунду."
        return refusal(503, "not_read_yet", message, {"Retry-After": RETRY_AFTER_SECONDS})
    more = int(start) + len(some) < len(found.people)
    summary = {"missed": found.missed, "hidden": found.hidden, **{state: found.states[state] for state in STATES}}
    return answer(200, {"people": [_person(one) for one in some], "more": more, **summary})


def _people(
    db: Database, days: Days, hours: WorkingHours, latest: datetime, asked: Asked, start: int
) -> tuple[Found, list[Shown]]:
    (found,) = people(db, days, hours, latest, asked)
    return found, callbacks.shown(db, found.people[start : start + MOST])


def _person(one: Shown) -> dict[str, Any]:
    client = one.client
    talk, last = client.outcome.talk, client.missed[-1]
    return {
        "client_number": client.number,
        "client_name": one.name,
        "is_contact": int(one.is_contact),
        "responsible_ext": one.responsible_ext,
        "state": client.state,
        "missed_count": len(client.missed),
        "first_missed_at": client.missed[0].started_at.isoformat(),
        "last_missed_at": last.started_at.isoformat(),
        "last_call_id": last.id,
        "longest_wait_seconds": client.longest_wait,
        "line_number": last.line_number,
        "rung": list(one.rung),
        "attempts_count": len(client.attempts),
        "last_attempt_at": client.attempts[-1].at.isoformat() if client.attempts else None,
        "talked_at": talk.at.isoformat() if talk else None,
        "talk_call_id": talk.id if talk else None,
        "called_by": one.by,
    }


def _moment(text: str, default: datetime | None) -> datetime | None:
    """Wall clock as the query has it, None for what is none."""
    if not text:
        return default
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is None and found.year > 1 else None
