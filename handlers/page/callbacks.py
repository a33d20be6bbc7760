"""«Перезвонить»: whose calls were missed, who still waits, and the button that calls him back."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from flask import Response, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from calllog import callbacks
from calllog.callbacks import CALLED_BACK, GOT_THROUGH, OPEN, STATES, Client, Shown
from calllog.waiting import Asked, Found, people
from handlers.answers import Connector, connector
from handlers.make_call import place, ready
from handlers.page.formats import dialled
from handlers.page.guard import sentence
from handlers.page.tables import csv_file
from handlers.page.views import ask, bp, latest
from handlers.page.words import CALLBACKS
from inbox.lost import Lost, lost
from schemas.fields import phone

DAYS = 7  # that are looked at unless somebody asks for others
MOST_DAYS = 366
PEOPLE = 50  # on one page
TRIES = 4  # to read the days of one page
CHOICES = {"": OPEN, "called_back": (CALLED_BACK,), "got_through": (GOT_THROUGH,), "all": STATES}
WORKING = {"working": True, "off": False}


class Question(NamedTuple):
    """What the page is asked: the question, its fields as written, the names of those that nobody can read."""

    asked: Asked
    fields: dict[str, str]
    wrong: tuple[str, ...]


@bp.get("/callbacks")
def call_back() -> Response | str:
    """People to call back, who waits the longest first."""
    here = connector()
    now, last = here_now(here), latest(here)
    question = _question(now, last)
    night = here.settings.working_hours.last_closed(now)
    asked = [question.asked]
    if night is not None:
        asked.append(Asked(night[0], night[1] or last))
    found, away = patiently(people, here.days, here.settings.working_hours, last, *asked)
    listed: list[Client] = found[0].people if found else []
    start = max(0, request.args.get("from", 0, type=int))
    if request.args.get("csv") and found and not found[0].unread:
        return csv_file("perezvonit", HEAD, _lines(here, listed))
    some, away = _shown(listed[start : start + PEOPLE]) if listed else ([], away)
    return render_template(
        "callbacks.html",
        found=found[0] if found else None,
        night=Night(*night, found[1]) if found and night else None,
        question=question,
        people=some,
        start=start,
        per_page=PEOPLE,
        away=away or not found,
        lost=_lost(here),
        ways=ready(here.settings),
        ext=request.args.get("ext", "").strip()[:32],
        now=now,
    )


class Night(NamedTuple):
    """What happened while nobody was there: from, to (None while it lasts), and the people."""

    since: datetime
    until: datetime | None
    found: Found


def here_now(here: Connector) -> datetime:
    """The wall clock in TIMEZONE."""
    return datetime.now(here.settings.timezone).replace(tzinfo=None)


def patiently(query: Any, *about: Any) -> tuple[Any, bool]:
    """As `ask`, and again while the answer says that there are days it has not read yet: others may ask in between."""
    found, away = ask(query, *about)
    for _ in range(TRIES - 1):
        if away or not _unread(found):
            break
        found, away = ask(query, *about)
    return found, away


def _unread(found: Any) -> int:
    unread: int = (found[0] if isinstance(found, list) else found).unread
    return unread


def moment_of(text: str, at_end: bool = False) -> datetime | None:
    """A day (its beginning, or end) or a minute as an address has it, None for what is neither."""
    for form, length in (("%Y-%m-%d", timedelta(days=1)), ("%Y-%m-%dT%H:%M", timedelta())):
        try:
            found = datetime.strptime(text, form)  # noqa: DTZ007 - wall clock
        except ValueError:
            continue
        return found + (length if at_end else timedelta()) if 1970 < found.year < 9999 else None
    return None


def _question(now: datetime, last: datetime) -> Question:
    fields = {name: request.args.get(name, "").strip()[:64] for name in ("since", "until", "line", "hours", "state")}
    since, until = moment_of(fields["since"]), moment_of(fields["until"], at_end=True)
    wrong = tuple(name for name, read in (("since", since), ("until", until)) if fields[name] and read is None)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    until = until or last + timedelta(seconds=1)
    since = since or min(midnight, until) - timedelta(days=DAYS - 1)
    since = max(since, until - timedelta(days=MOST_DAYS))
    states = CHOICES.get(fields["state"], OPEN)
    return Question(
        Asked(since, max(since, until), phone(fields["line"]), WORKING.get(fields["hours"]), states), fields, wrong
    )


def _shown(some: list[Client]) -> tuple[list[Shown], bool]:
    found, away = ask(callbacks.shown, some)
    return found or [], away


# ------------------------------------------------------------------------------------------------------------- the file

HEAD = ("Клиент", "Имя", "В контактах", "Ответственный", "Ждёт с", "Последний пропущенный", "Пропущено подряд",
        "Пропущено всего", "Ждал, секунд", "Линия", "Кого вызывали", "Что сделано", "Когда", "Кто")  # fmt: skip


def _lines(here: Connector, listed: list[Client]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(listed), 500):
        found, _ = ask(callbacks.shown, listed[start : start + 500])
        for one in found or []:
            client = one.client
            last = client.outcome.talk or (client.attempts[-1] if client.attempts else None)
            yield (
                client.number, one.name, "да" if one.is_contact else "", one.responsible_ext,
                client.missed[0].started_at, client.missed[-1].started_at, len(client.missed), client.total,
                client.longest_wait, client.missed[-1].line_number, ", ".join(one.rung), CALLBACKS[client.state],
                last.at if last else "", one.by,
            )  # fmt: skip


# ---------------------------------------------------------------------------------------------------- what may be lost


def _lost(here: Connector) -> list[Lost]:
    """Calls that the log may lack, one for each number: dead letters of the last days."""
    since = datetime.now(here.settings.timezone) - timedelta(days=DAYS)
    maybe = lost(here.inbox.file, int(since.timestamp() * 1000))
    if not maybe:
        return []
    zone = here.settings.timezone
    told = [
        (one.provider, one.provider_call_id, one.client_number,
         datetime.fromtimestamp(one.received_at // 1000, zone).replace(tzinfo=None))
        for one in maybe
    ]  # fmt: skip
    lacks, away = ask(callbacks.lacking, told)
    if away:
        return []
    return list({one.client_number: one for one, lacked in zip(maybe, lacks, strict=True) if lacked}.values())


# --------------------------------------------------------------------------------------------------------- to call back


@bp.post("/callbacks")
def dial() -> Response:
    """«Позвонить»: the employee's extension with the client, as `/api/make-call` does it."""
    given = {name: request.form.get(name, "").strip() for name in ("provider", "ext", "to", "request_id", "line")}
    if (
        given["provider"] not in ready(connector().settings)
        or not dialled(given["to"])
        or not 0 < len(given["ext"]) <= 32
    ):
        return sentence(400, "Не набрано", "Укажите свой добавочный и нажмите «Позвонить» ещё раз.")
    order = {**given, "request_id": given["request_id"][:64], "employee_id": "", "employee_number": ""}
    try:
        answer = place(order)
    except HTTPException as stopped:
        answer = stopped.get_response()  # type: ignore[assignment]
    body = json.loads(answer.get_data())
    if answer.status_code != 200:
        return sentence(answer.status_code, "Не набрано", str(body.get("message", "")))
    back = url_for("page.call_back", ext=given["ext"], dialled=phone(given["to"]))
    return Response(status=303, headers={"Location": back})
