"""The operator page's routes: what arrives, what became of it and what to change."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, g, render_template, request, url_for

import schemas
from calllog import reading
from calllog.asking import Away
from calllog.reading import call_of
from calllog.search import Wanted, search
from handlers.answers import Connector, answered, connector
from handlers.page import formats, guard, shown
from handlers.page import words as russian
from handlers.page.guard import sentence
from inbox import DEAD, IGNORED, REFUSED, REJECTED, UNKNOWN_FEED
from inbox.judge import recognised, understood
from inbox.links import proposed
from inbox.looking import MOST_SEARCHED
from inbox.state import NodeState, node_state
from schemas.event import AHEAD_MS
from schemas.fields import phone
from setup import button

log = logging.getLogger("connector.page")
bp = Blueprint("page", __name__, template_folder="templates", static_folder="static")
guard.protect(bp)
bp.context_processor(formats.tools)

EVENTS = 50  # of a call's story on one page: a call has 1,000 at the most
REPEATS = 5  # of an event whose bodies are shown
LAST_ID = 2**63 - 1
TURN_SECONDS = 0.5  # that a page waits for its turn to ask the call log
YEAR_SECONDS = 31_536_000


@bp.after_request
def _keep_static_files(response: Response) -> Response:
    """Browsers keep the style, the script and the icon for ever under their digest; without it they ask each time."""
    found = request.endpoint == "page.static" and response.status_code == 200
    if found and request.args.get("v") == formats.digest((request.view_args or {})["filename"]):
        response.headers["Cache-Control"] = f"public, max-age={YEAR_SECONDS}, immutable"
    return response


def _feeds(here: Connector, state: NodeState) -> list[dict[str, Any]]:
    """Each feed of this release, and each of another one whose deliveries are here."""
    waiting, dead, last = here.inbox.waiting_by_feed(), state.dead_by_feed, state.last_deliveries
    refused: dict[str, tuple[int, str, str]] = {}
    for feed, outcome, reason, _, at, message in state.counters:
        if outcome in (DEAD, REFUSED) and at > refused.get(feed, (0, "", ""))[0]:
            refused[feed] = (at, reason, "" if formats.ours(reason) else message)
    since = {feed: here.inbox.taken_since(feed, found[0]) for feed, found in refused.items()}
    return [
        {
            "name": name,
            "settings": here.settings.feeds.get(name),
            "last": last.get(name),
            "silent": name in state.silent_feeds,
            "waiting": waiting.get(name, 0),
            "dead": dead[name],
            "refused": refused.get(name),
            "taken_since": since.get(name, 0),
        }
        for name in sorted(here.settings.feeds.keys() | last.keys())
    ]


_asking = threading.Lock()


def ask(query: Callable[..., Any], *about: Any) -> tuple[Any, bool]:
    """(the call log's answer or None, whether it is away). One of a worker's two places at the desk at the most, however
    many tabs are open: the other is for contact cards and 1C."""
    if not _asking.acquire(timeout=TURN_SECONDS):
        return None, True
    try:
        return connector().desk.ask(query, *about, queue=TURN_SECONDS), False
    except Away as why:
        log.debug("page: %s", why)
        return None, True
    finally:
        _asking.release()


def latest(here: Connector) -> datetime:
    """The latest start of a call that is believed, as schemas/event.py believes a moment: a day from now."""
    return datetime.now(here.settings.timezone).replace(tzinfo=None) + timedelta(milliseconds=AHEAD_MS)


@bp.get("/")
def index() -> Response:
    """The page that a person lands on."""
    return Response(status=302, headers={"Location": url_for("page.call_back")})


@bp.get("/service")
def service() -> str:
    """How the connector is now."""
    here = connector()
    found, away = ask(search, Wanted(latest=latest(here)), 10)
    state = node_state(here.settings, here.inbox)
    rows, _ = here.inbox.browse(limit=10)
    return render_template(
        "service.html",
        now=state,
        feeds=_feeds(here, state),
        proposed=proposed(here.settings, here.inbox, here.settings.feeds),
        calls=found.calls if found else [],
        away=away,
        rows=rows,
    )


@bp.get("/calls/<int:id>")
def call(id: int) -> Response | str:
    """A call's whole story: what came, what it was understood as, which event gave which column, and why."""
    here = connector()
    try:
        story, away = ask(reading.story, min(id, LAST_ID))
    except ValueError:  # call_events of a newer release
        return sentence(503, "Звонок не прочитать", "Его записала более новая версия коннектора.")
    if away:
        return sentence(503, "Журнал звонков не отвечает", "Страница повторит запрос сама. Уведомления принимаются.")
    if story is None:
        return sentence(404, "Такого звонка нет", f"В журнале нет звонка {id}.")
    g.provider = story.row["provider"]
    numbers = {event.event_key: number for number, event in enumerate(story.events, 1)}
    room, node = shown.Room(), here.inbox.node()
    start = min(max(0, request.args.get("from", 0, type=int)), len(story.events))
    events = [
        {
            "number": numbers[event.event_key],
            "event": event,
            "fields": event.content(),
            "gave": story.gave(event),
            "node": story.nodes[event.event_key],
            "deliveries": [
                (stored, shown.body(stored.delivery, "", room))
                for stored in here.inbox.with_event(event.event_key, REPEATS)
            ],
        }
        for event in story.events[start : start + EVENTS]
    ]
    columns = [
        (name, value, [numbers[key] for key in story.sources.get(name, ()) if key in numbers])
        for name, value in story.row.items()
        if value not in (None, "")
    ]
    columns.sort(key=lambda column: not column[2])  # what no event gave (keys, counts) comes last
    return render_template(
        "call.html", story=story, columns=columns, events=events, start=start, per_page=EVENTS, node=node
    )


@bp.get("/inbox")
def deliveries() -> str:
    """Deliveries as they arrive, the newest first, and who was turned away."""
    here = connector()
    state, feed = request.args.get("state", ""), request.args.get("feed", "")
    state = state if state in russian.DELIVERIES else ""
    counters = here.inbox.counters()
    feeds = here.settings.feeds.keys() | {row[0] for row in counters if row[1] in russian.DELIVERIES}
    feed = feed if feed in feeds else ""
    before = min(request.args.get("before", 0, type=int), LAST_ID)
    sought, at = request.args.get("sought", "").strip()[:128], request.args.get("at", "")[:16]
    moment = _moment(at, here)
    if moment is not None and before < 1:
        before = here.inbox.received_until(moment) + 1
    rows, on = here.inbox.browse(state, feed, before, text=_as_sent(sought))
    refused = sorted((row for row in counters if row[1] == REFUSED), key=lambda row: -row[4])
    return render_template(
        "inbox.html", rows=rows, on=on, state=state, feed=feed, feeds=sorted(feeds), refused=refused,
        looked_through=MOST_SEARCHED, sought=sought, at=at if moment is not None else "", wrong=bool(at) and moment is None,
    )  # fmt: skip


def _moment(text: str, here: Connector) -> int | None:
    """The end of a minute that a form's field names (TIMEZONE), in milliseconds."""
    try:
        wall = datetime.strptime(text, "%Y-%m-%dT%H:%M")  # noqa: DTZ007 - its zone is put in below
        return int(wall.replace(tzinfo=here.settings.timezone).timestamp() * 1000) + 59_999
    except (ValueError, OverflowError):
        return None


def _as_sent(sought: str) -> str:
    """What of a number stands in a body, however it is spelled: its last ten digits; anything else as it is."""
    number = phone(sought)
    return number[-10:] if len(number) > 9 and number.isdigit() and not sought.isdigit() else sought


@bp.get("/inbox/<int:id>")
def delivery(id: int) -> Response | str:
    """One delivery: what came, what it was understood as, what the sender was answered, and what to change."""
    here = connector()
    stored = here.inbox.delivery(min(id, LAST_ID))
    if stored is None:
        text = f"В приёмном ящике нет уведомления {id}: его не было или срок хранения истёк."
        return sentence(404, "Такого уведомления нет", text)
    became = stored.outcome
    judged, event = understood(stored.delivery, here.settings.feeds)
    judged, arrives = button.judged(stored.delivery, judged), recognised(stored.delivery)
    g.provider = event.provider if event else ""
    arrives_here = judged.reason != UNKNOWN_FEED
    call_id, away = ask(call_of, became.event_key) if became.event_key else (None, False)
    return render_template(
        "delivery.html",
        stored=stored,
        body=shown.body(stored.delivery, "" if formats.ours(became.reason) else became.detail),
        event=event,
        fields=event.content() if event else {},
        unread=schemas.unread_moments(stored.delivery) if event else {},
        judged=judged,
        answered=answered(button.judged(stored.delivery, arrives[0]), arrives[1]) if arrives_here else None,
        changed=became.state in (DEAD, IGNORED) and judged.reason != became.reason != REJECTED,
        call_id=call_id,
        away=away,
    )
