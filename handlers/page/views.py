"""The operator page: what arrives, what became of it and what to change, for whoever has OPERATOR_PASSWORD."""

import hashlib
import hmac
import ipaddress
import logging
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, render_template, request, url_for
from werkzeug.exceptions import HTTPException

import models
import schemas
from calllog import reading
from calllog.asking import Away
from calllog.reading import Wanted, call_of, search
from handlers.access import client_address, known, parsed, sender
from handlers.answers import Connector, connector
from handlers.page import shown
from handlers.page import words as russian
from inbox import DEAD, IGNORED, LOOKED_THROUGH, REFUSED
from inbox.judge import judge
from inbox.state import disks, silent_feeds
from schemas.event import CallEvent
from schemas.reading import Delivery, Refusal

log = logging.getLogger("connector.page")
bp = Blueprint("page", __name__, template_folder="templates")

EVENTS = 50  # of a call's story on one page: a call has 1,000 at the most
REPEATS = 5  # of an event whose bodies are shown
LAST_ID = 2**63 - 1
PATIENCE_SECONDS = 0.5  # for a turn to ask the call log
REPLAYED = 10_000  # dead letters that one press takes up
FILES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    # not no-referrer: under it a browser sends `Origin: null` with our own form, and nothing leaves for others either way
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


# -------------------------------------------------------------------------------------------------------- who may see


class Guesses:
    """Wrong passwords by address: after MOST within SECONDS the address is answered 429 at once, unread. Nobody waits, so
    no thread is held; each worker counts for itself."""

    MOST, SECONDS, ADDRESSES = 10, 300, 1000

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def locked(self, address: str) -> bool:
        """Whether this address has guessed too often."""
        count, since = self._wrong.get(_house(address), (0, 0.0))
        return count >= self.MOST and time.monotonic() - since < self.SECONDS

    def wrong(self, address: str) -> None:
        """One more from this address."""
        address = _house(address)
        with self._lock:
            count, since = self._wrong.pop(address, (0, 0.0))
            if time.monotonic() - since >= self.SECONDS:
                count, since = 0, time.monotonic()
            self._wrong[address] = (count + 1, since)
            if len(self._wrong) > self.ADDRESSES:
                self._wrong.popitem(last=False)


def _house(text: str) -> str:
    """The address, of IPv6 its /64: who has one of those has them all. A header's text that is no address is itself."""
    address = parsed(text)
    return (
        str(ipaddress.ip_network(f"{address}/64", strict=False))
        if address and address.version == 6
        else str(address or text)
    )


guesses = Guesses()


@bp.before_request
def _guard() -> Response | None:
    """Nothing is shown or done without the password; a command also proves that it comes from this page."""
    if request.endpoint == "page.file":
        return None
    here = connector()
    password, address = here.settings.operator_password, client_address(here.settings)
    if not password:
        log.warning("the operator page is closed, a request was refused; set OPERATOR_PASSWORD to open it")
        return _sentence(
            403, "Страница закрыта", "Администратор не задал OPERATOR_PASSWORD. Задайте его и перезапустите сервис."
        )
    if guesses.locked(address):
        _refuse(here, "locked_out", "Слишком много неверных паролей с этого адреса.")
        minutes = Guesses.SECONDS // 60
        said = _sentence(429, "Слишком много неверных паролей", f"Подождите {minutes} минут и попробуйте снова.")
        said.headers["Retry-After"] = str(Guesses.SECONDS)
        return said
    given = request.authorization
    if given is None or given.type != "basic" or not known([given.password or ""], (password,)):
        if given is not None:
            guesses.wrong(address)
            _refuse(here, "wrong_password", "Неверный пароль страницы оператора.")
        text = "Имя — любое, пароль — OPERATOR_PASSWORD из настроек коннектора: спросите у администратора."
        said = _sentence(401, "Нужен пароль", text)
        said.headers["WWW-Authenticate"] = 'Basic realm="connector", charset="UTF-8"'
        return said
    if request.method == "POST" and not _own_form(here, password):
        _refuse(here, "foreign_form", "Команда для страницы оператора пришла с чужой страницы.")
        return _sentence(
            403, "Команда не выполнена", "Она пришла не с этой страницы. Откройте страницу заново и повторите."
        )
    g.operator = True  # only from here on: the menu, the token
    return None


def _refuse(here: Connector, code: str, message: str) -> None:
    log.warning("the operator page refused %s: %s", sender(), code)
    here.inbox.refuse("operator", code, message)


@cache
def _token(password: str) -> str:
    """The hidden field of our forms. Slow to make on purpose: from a saved page nobody finds the password by trying."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), b"connector: a form of the operator page", 200_000).hex()


def _own_form(here: Connector, password: str) -> bool:
    """The token, and the browser's own word on where the form stood (a browser on plain http says only Origin)."""
    request.max_content_length = 10_000
    token = request.form.get("token", "").encode("utf-8", "surrogatepass")
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None and site != "same-origin":
        return False
    if origin is not None and site is None:
        ours = (urlsplit(url).netloc for url in (request.host_url, here.settings.public_url))
        if urlsplit(origin).netloc not in ours:
            return False
    return hmac.compare_digest(token, _token(password).encode())


@bp.after_request
def _headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


@bp.errorhandler(sqlite3.Error)
def _inbox_away(error: sqlite3.Error) -> Response:
    log.error("the inbox cannot be read: %s", error)
    return _sentence(503, "Приёмный ящик не отвечает", "Диск коннектора сейчас не читается. Сообщите администратору.")


@bp.errorhandler(HTTPException)
def _refused(error: HTTPException) -> Response:
    return _sentence(error.code or 500, "Запрос не выполнен", f"{error.code} {error.name}")


def _sentence(status: int, title: str, text: str) -> Response:
    return Response(render_template("sentence.html", title=title, text=text), status)


# ------------------------------------------------------------------------------------------------- what templates use


@cache
def _file(name: str) -> tuple[bytes, str]:
    """(content, its digest) of a file of ours."""
    content = (Path(__file__).parent / "static" / name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:16]


@bp.get("/static/<name>")
def file(name: str) -> Response:
    """The page's style, script and icon, kept by browsers for ever under their digest."""
    if name not in FILES:
        return _sentence(404, "Нет такой страницы", "Проверьте адрес.")
    content, digest = _file(name)
    caching = "public, max-age=31536000, immutable" if request.args.get("v") == digest else "no-cache"
    return Response(content, content_type=FILES[name], headers={"Cache-Control": caching})


def _when(moment: int | datetime | None) -> str:
    """A moment (milliseconds since 1970 UTC, or the call log's wall clock) in TIMEZONE; of today the time alone."""
    if moment is None:
        return "—"
    zone = connector().settings.timezone
    if isinstance(moment, int):
        moment = datetime.fromtimestamp(moment // 1000, zone).replace(tzinfo=None)
    today = datetime.now(zone).date()
    if moment.date() == today:
        return f"{moment:%H:%M:%S}"
    return f"{moment:%d.%m %H:%M:%S}" if moment.year == today.year else f"{moment:%d.%m.%Y %H:%M:%S}"


def _length(seconds: int | None) -> str:
    if seconds is None:
        return "—"
    hours, rest = divmod(seconds, 3600)
    parts = ((hours, "ч"), (rest // 60, "мин"), (rest % 60, "с"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 с"


def _label(name: str) -> str:
    """What a column, or a field of an event, is called."""
    field = models.Calls._meta.fields.get(name)
    if name in russian.FIELDS or field is None:
        return russian.FIELDS.get(name, name)
    text = str(field.help_text).removeprefix("1 — ").split(":")[0].split(";")[0].split(" (")[0]
    return text[:1].upper() + text[1:]


YES = {False: "нет", True: "да"}  # and 0, 1
WORDS: dict[str, Mapping[Any, str]] = {
    "direction": russian.DIRECTIONS,
    "state": russian.STATES,
    "disposition": russian.DISPOSITIONS,
    "reason": russian.REASONS,
    "hangup_by": russian.HANGUP_BY,
    "kind": russian.KINDS,
    **dict.fromkeys(("is_answered", "is_missed", "provider_lost", "answered", "lost"), YES),
}


def _value(name: str, value: Any) -> Any:
    """A column's value, or a field's of an event, for a person."""
    if name in WORDS:
        return WORDS[name].get(value, value)
    if name.endswith("_at"):
        return _when(value)
    if name.endswith("_seconds") or name == "seconds":
        return _length(value)
    if name == "recordings":
        return "; ".join(recording.get("url") or "без адреса" for recording in value)
    return value


def _address(**changed: Any) -> str:
    """This page with some of its parameters changed (None: taken out)."""
    said = {**(request.view_args or {}), **request.args.to_dict(), **changed}
    return url_for(str(request.endpoint), **{name: value for name, value in said.items() if value is not None})


@bp.context_processor
def _tools() -> dict[str, Any]:
    here, operator = connector(), g.get("operator", False)
    return {
        "operator": operator,
        "dead_count": (lambda: sum(count for _, _, count in here.inbox.dead())) if operator else None,
        "token": _token(here.settings.operator_password) if operator else "",
        "seen": shown.seen,
        "link": shown.link,
        "preview": shown.preview,
        "when": _when,
        "length": _length,
        "label": _label,
        "value": _value,
        "words": russian,
        "address": _address,
        "static": lambda name: url_for("page.file", name=name, v=_file(name)[1]),
    }


# ------------------------------------------------------------------------------------------------------------- the pages


def _state(here: Connector) -> dict[str, Any]:
    """How the node is: what waits, who forwards, how the call log was last seen, the disk, and each feed."""
    look, waits = here.inbox.look(), here.inbox.waiting_by_feed()
    dead: dict[str, int] = {}
    refused: dict[str, tuple[int, str, str]] = {}
    for feed, _, count in look.dead:
        dead[feed] = dead.get(feed, 0) + count
    for feed, outcome, reason, _, at, message in look.counters:
        if outcome in (DEAD, REFUSED) and at > refused.get(feed, (0, "", ""))[0]:
            refused[feed] = (at, reason, "" if reason in ("our_fault", "indigestible") else message)
    silent = silent_feeds(here.settings, look)
    feeds = [
        {
            "name": name,
            "closed": feed.closed,
            "open": feed.open,
            "last": look.last_deliveries.get(name),
            "silent": name in silent,
            "silence_minutes": feed.silence_minutes,
            "waiting": waits.get(name, 0),
            "dead": dead.get(name, 0),
            "refused": refused.get(name),
        }
        for name, feed in sorted(here.settings.feeds.items())
    ]
    seen_at = look.facts.get("call_log_seen_at")
    return {
        "node": look.facts.get("node", ""),
        "forwarding": here.inbox.is_forwarding(),
        "log": look.facts.get("call_log_state"),
        "log_message": look.facts.get("call_log_message"),
        "log_seen_at": int(seen_at) if seen_at else None,
        "waiting": look.waiting,
        "waiting_since": look.since,
        "dead": sum(dead.values()),
        "low_disks": [disk for disk in disks(here.settings) if disk.low],
        "feeds": feeds,
    }


_asking = threading.Lock()


def _ask(query: Callable[..., Any], *about: Any) -> tuple[Any, bool]:
    """(the call log's answer or None, whether it is away). One of a worker's two places at the desk at the most, however
    many tabs are open: the other is for contact cards and 1C."""
    if not _asking.acquire(timeout=PATIENCE_SECONDS):
        return None, True
    try:
        return connector().desk.ask(query, *about, queue=PATIENCE_SECONDS), False
    except Away as why:
        log.debug("page: %s", why)
        return None, True
    finally:
        _asking.release()


@bp.get("/")
def index() -> str:
    """How things are now."""
    here = connector()
    found, away = _ask(search, Wanted(), 10)
    rows, _ = here.inbox.browse(limit=10)
    return render_template(
        "now.html",
        now=_state(here),
        calls=found.calls if found else [],
        away=away,
        rows=rows,
        feeds=here.settings.feeds,
    )


@bp.get("/calls")
def call_list() -> str:
    """Calls by what a person remembers of them."""
    said = {name: request.args.get(name, "").strip()[:128] for name in ("sought", "ext", "direction", "provider")}
    days = {name: _day(request.args.get(name, "")) for name in ("since", "until")}
    wrong = [name for name, day in days.items() if day is None and request.args.get(name)]
    wanted = Wanted(
        **said,
        missed=request.args.get("missed") == "1",
        since=days["since"],
        until=days["until"] + timedelta(days=1, seconds=-1) if days["until"] else None,
        before=_position(request.args.get("before", "")),
    )
    found, away = _ask(search, wanted)
    providers = sorted({module.PROVIDER for module in schemas.feeds().values()})
    on = f"{found.on[0].isoformat()}_{found.on[1]}" if found and found.on else None
    return render_template(
        "calls.html", found=found, away=away, on=on, wanted=wanted, days=days, wrong=wrong, providers=providers
    )


def _day(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007 - wall clock, as the call log has it
    except ValueError:
        return None


def _position(text: str) -> tuple[datetime, int] | None:
    moment, _, id = text.partition("_")
    try:
        return (datetime.fromisoformat(moment).replace(tzinfo=None), min(int(id[:19]), LAST_ID)) if id else None
    except ValueError:
        return None


@bp.get("/calls/<int:id>")
def call(id: int) -> Response | str:
    """A call's whole story: what came, what it was understood as, which event gave which column, and why."""
    here = connector()
    try:
        story, away = _ask(reading.story, min(id, LAST_ID))
    except ValueError:  # call_events of a newer release
        return _sentence(503, "Звонок не прочитать", "Его записала более новая версия коннектора.")
    if away:
        return _sentence(503, "Журнал звонков не отвечает", "Страница повторит запрос сама. Уведомления принимаются.")
    if story is None:
        return _sentence(404, "Такого звонка нет", f"В журнале нет звонка {id}.")
    numbers = {event.event_key: number for number, event in enumerate(story.events, 1)}
    start = min(max(0, request.args.get("from", 0, type=int)), len(story.events))
    told = []
    for event in story.events[start : start + EVENTS]:
        letters = [(stored, shown.body(stored.delivery)) for stored in here.inbox.with_event(event.event_key, REPEATS)]
        told.append({"number": numbers[event.event_key], "event": event, "said": event.content(),
                     "gave": story.gave(event), "letters": letters})  # fmt: skip
    columns = [
        (name, value, [numbers[key] for key in story.sources.get(name, []) if key in numbers])
        for name, value in story.row.items()
        if value not in (None, "")
    ]
    columns.sort(key=lambda column: not column[2])  # what no event gave (keys, counts) comes last
    return render_template("call.html", story=story, columns=columns, told=told, start=start, events=EVENTS)


@bp.get("/inbox")
def letter_list() -> str:
    """Deliveries as they arrive, the newest first, and who was turned away."""
    here = connector()
    state, feed = request.args.get("state", ""), request.args.get("feed", "")
    state = state if state in russian.DELIVERIES else ""
    feed = feed if feed in here.settings.feeds else ""
    before = min(request.args.get("before", 0, type=int), LAST_ID)
    rows, on = here.inbox.browse(state, feed, before)
    refused = sorted((row for row in here.inbox.counters() if row[1] == REFUSED), key=lambda row: -row[4])
    return render_template(
        "inbox.html", rows=rows, on=on, state=state, feed=feed, feeds=sorted(here.settings.feeds), refused=refused,
        looked_through=LOOKED_THROUGH,
    )  # fmt: skip


@bp.get("/inbox/<int:id>")
def letter(id: int) -> Response | str:
    """One delivery: what came, what it was understood as, what the sender was answered, and what to change."""
    here = connector()
    found = here.inbox.delivery(min(id, LAST_ID))
    if found is None:
        return _sentence(
            404, "Такого уведомления нет", f"В приёмном ящике нет уведомления {id}: его не было или срок прошёл."
        )
    said = found.outcome.detail if found.outcome.reason not in ("our_fault", "indigestible") else ""
    zone = here.settings.feeds[found.delivery.feed].timezone
    outcome, event = judge(partial(schemas.understand, found.delivery, zone))
    call_id, away = _ask(call_of, found.outcome.event_key) if found.outcome.event_key else (None, False)
    answered = _answer(found.delivery)
    return render_template(
        "letter.html",
        letter=found,
        body=shown.body(found.delivery, said),
        event=event if isinstance(event, CallEvent) else None,
        fields=event.content() if isinstance(event, CallEvent) else {},
        outcome=outcome,
        answered=answered,
        changed=found.outcome.state in (DEAD, IGNORED) and outcome.reason != found.outcome.reason,
        call_id=call_id,
        away=away,
    )


def _answer(delivery: Delivery) -> tuple[int, str]:
    """What the sender of such a delivery is told, by this release's rules."""
    outcome, said = judge(partial(schemas.recognise, delivery))
    if isinstance(said, Refusal):
        return said.status, said.message
    return (200, f"ignored: {outcome.detail}") if outcome.state == IGNORED else (200, "accepted")


@bp.get("/dead")
def dead() -> str:
    """Dead letters by feed, reason and sentence."""
    inbox = connector().inbox
    total = sum(count for _, _, count in inbox.dead())
    return render_template("dead.html", groups=inbox.dead_groups(), total=total, looked_through=LOOKED_THROUGH)


@bp.post("/replay")
def replay() -> Response:
    """«Понять заново»: the delivery `id`, or with `all` every dead letter like it; then back to where the button was."""
    inbox = connector().inbox
    chosen = inbox.delivery(min(request.form.get("id", 0, type=int), LAST_ID))
    count = 0
    if chosen is not None and chosen.outcome.state in (DEAD, IGNORED):
        ids = inbox.dead_like(chosen, REPLAYED) if request.form.get("all") else [chosen.delivery.id]
        count = sum(inbox.replay(ids[at : at + 500]) for at in range(0, len(ids), 500))
        log.info("the operator page: %d deliveries wait to be understood again", count)
    if request.form.get("back") == "letter" and chosen is not None:
        back = url_for("page.letter", id=chosen.delivery.id, replayed=count)
    else:
        back = url_for("page.dead", replayed=count)
    return Response(status=303, headers={"Location": back})
