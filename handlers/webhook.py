"""What every feed's handler shares: check the key, read the raw bytes, understand, store, and only then answer."""

import contextlib
import hmac
import ipaddress
import json
import logging
import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from flask import Response, current_app, request
from werkzeug.exceptions import HTTPException

import schemas
from config import FeedSettings, Settings
from desk import Desk, News
from forwarder import judge
from inbox import DEAD, IGNORED, PATIENCE_SECONDS, RECEIVED, REFUSED, Inbox, Unavailable, now
from schemas.reading import Delivery, Refusal

if TYPE_CHECKING:
    from forwarder import Forwarder

log = logging.getLogger("connector.webhook")

RETRY_AFTER_SECONDS = "5"
JSON = "application/json; charset=utf-8"
ACCEPTED = b'{"status": "accepted"}\n'
STRANGERS = ("wrong_key", "no_key", "feed_closed", "address_not_allowed", "too_large")  # refused and counted, not kept


class Connector:
    """What a request needs of the application: its settings, its inbox, its forwarder, its questions' desk."""

    def __init__(self, settings: Settings, inbox: Inbox, forwarder: "Forwarder", desk: Desk) -> None:
        self.settings, self.inbox, self.forwarder, self.desk = settings, inbox, forwarder, desk
        self.news = News(desk)


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


def receive(feed: str, route: str, before: Callable[[Delivery], Response | None] | None = None) -> Response:
    """Take a request to a feed: 200 only when it is on disk. docs/contract.md section 1 has every answer.

    `before` may answer in its place what is no delivery at all (a question, another tenant): nothing is stored then.
    """
    here = connector()
    environ = request.environ  # what is asked of it costs a tenth of what request's own properties do
    method: str = environ["REQUEST_METHOD"]
    query, keys = _split_query(environ.get("QUERY_STRING", ""))
    stranger = _stranger(here.settings.feeds[feed], here.settings, keys)
    if stranger is not None:
        status, code, message, headers = stranger
        here.inbox.refuse(feed, code, message)
        return refusal(status, code, message, headers)
    if method in ("GET", "HEAD") and not query:
        return _greet(here, feed)
    if method == "HEAD":
        return answer(200, {"status": "ignored", "reason": "HEAD"})
    limit = here.settings.max_body_bytes
    declared = request.content_length
    body, whole = (b"", True) if declared is not None and declared > limit else _read(environ, declared, limit + 1)
    if (declared or 0) > limit or len(body) > limit:
        message = (
            f"Тело запроса больше {limit} байт: это не уведомление о звонке. Проверьте, что в шаблоне только поля звонка "
            "(предел задаёт настройка MAX_BODY_BYTES)."
        )
        here.inbox.refuse(feed, "too_large", message)
        log.warning("%s: refused a body of more than %d bytes", feed, limit)
        return refusal(413, "too_large", message, {"Connection": "close"})
    delivery = Delivery(
        feed=feed,
        route=route,
        body=body,
        query=query,
        method=method,
        content_type=environ.get("CONTENT_TYPE", "")[:255],
        declared_length=declared if whole else max(declared or 0, len(body) + 1),  # of broken chunks: at least so many
        received_at=now(),
        client_address=client_address(here.settings),
    )
    return (before(delivery) if before else None) or store(here, delivery)


def store(here: Connector, delivery: Delivery) -> Response:
    """Recognise to choose the answer, store, answer. The forwarder understands the same bytes again, from the start."""
    outcome, said = judge(partial(schemas.recognise, delivery))
    if isinstance(said, Refusal):
        response = refusal(said.status, said.code, said.message)
    elif outcome.state == IGNORED:
        response = answer(200, {"status": "ignored", "reason": outcome.detail})
    else:
        response = Response(ACCEPTED, content_type=JSON)
    try:
        ticket = here.inbox.begin(delivery, outcome)
        hold = getattr(request.environ.get("gunicorn.socket"), "hold", None)
        if hold is not None:  # worker.py sends the answer when the delivery is on disk
            hold(ticket, on_inbox_error, PATIENCE_SECONDS)
        else:
            ticket.wait()
    except Unavailable as error:
        return on_inbox_error(error)
    return response


def _read(environ: dict[str, Any], declared: int | None, most: int) -> tuple[bytes, bool]:
    """The raw body, at most `most` bytes, before anything touches request.form (which would empty the stream); False with
    what came of a body that broke off."""
    stream = environ["wsgi.input"]
    if declared is None and not environ.get("wsgi.input_terminated"):
        return b"", True
    left = most if declared is None else min(most, declared)
    parts = []
    try:
        while left > 0 and (part := stream.read(min(left, 65536))):
            parts.append(part)
            left -= len(part)
    except Exception as error:  # the server's own: a broken chunk, a reset; what came is kept, as cut short
        log.info("a request's body broke off: %s", type(error).__name__)
        with contextlib.suppress(Exception):  # a chunked body's reader has what came before the broken chunk
            parts.append(stream.read(left))
        return b"".join(parts), False
    return b"".join(parts), True


# --------------------------------------------------------------------------------------------------------- who may post


def _split_query(raw: str) -> tuple[str, list[str]]:
    """(the query without the access key, the keys given). A provider that appends its own `?` to an address that has
    one (`?key=K?call_session_id=1`) is read as key K."""
    kept, keys = [], []
    for part in raw.split("&"):
        name, _, value = part.partition("=")
        if name == "key":
            key, mark, rest = value.partition("?")
            keys.append(unquote_plus(key))
            if mark and rest:
                kept.append(rest)
        elif part:
            kept.append(part)
    return "&".join(kept), keys


def _stranger(
    feed: FeedSettings, settings: Settings, keys: list[str]
) -> tuple[int, str, str, dict[str, str] | None] | None:
    """Why this sender may not post (status, code, sentence, headers), or None when it may."""
    name = feed.name.upper()
    if feed.closed:
        log.warning("%s: closed, a request was refused; set %s_KEY to open it", feed.name, name)
        return 403, "feed_closed", f"Приём уведомлений {feed.name} выключен: администратор не задал {name}_KEY.", None
    if feed.allow:
        address = parsed(client_address(settings))
        if address is None or not any(address in network for network in feed.allow):
            log.warning("%s: refused an address that %s_ALLOW does not list", feed.name, name)
            message = f"С этого адреса уведомления {feed.name} не принимаются (список {name}_ALLOW)."
            return 403, "address_not_allowed", message, None
    if feed.open:
        return None
    if "HTTP_AUTHORIZATION" in request.environ:
        authorization = request.authorization
        if authorization is not None and authorization.password:
            keys = [*keys, authorization.password]
    if known(keys, feed.keys):
        return None
    log.warning("%s: refused, %s", feed.name, "wrong key" if keys else "no key")
    if keys:
        message = (
            "Ключ в адресе неверный: скопируйте адрес для поля «URL» заново (flask feeds show печатает его с ключом)."
        )
        return 401, "wrong_key", message, {"WWW-Authenticate": 'Key realm="connector"'}
    message = "В адресе нет ключа: он должен кончаться на ?key=… — скопируйте адрес для поля «URL» целиком."
    # a browser would show its log-in window instead of this sentence
    scheme = "Key" if "text/html" in request.headers.get("Accept", "") else "Basic"
    return 401, "no_key", message, {"WWW-Authenticate": f'{scheme} realm="connector"'}


def known(given: list[str], keys: tuple[str, ...]) -> bool:
    """Whether one of the given is one of the keys: every pair is compared, in constant time, as bytes (compare_digest
    raises on non-ASCII str)."""
    found = False
    for candidate in given:
        for key in keys:
            found |= hmac.compare_digest(candidate.encode("utf-8", "surrogateescape"), key.encode())
    return found


def client_address(settings: Settings) -> str:
    """The rightmost X-Forwarded-For address that is no trusted proxy; the peer's own where the peer is none."""
    peer: str = request.environ.get("REMOTE_ADDR", "")
    said: str = request.environ.get("HTTP_X_FORWARDED_FOR", "")
    forwarded = [part.strip() for part in said.split(",") if part.strip()]
    if not forwarded:
        return peer
    hops = [*forwarded, peer]
    for hop in reversed(hops):
        address = parsed(hop)
        # a peer on a unix socket has no address and counts as a trusted proxy
        trusted = hop == "" or (address is not None and any(address in n for n in settings.trusted_proxies))
        if not trusted:
            return hop[:64]
    return hops[0][:64]


def parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, of a mapped one its IPv4; None for what is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def api_refusal() -> Response | None:
    """Why this caller may not use /api/* (Authorization: Bearer API_KEY), or None when it may."""
    here = connector()
    key = here.settings.api_key
    if not key:
        message = "Обращения 1С выключены: администратор не задал API_KEY."
        here.inbox.refuse("api", "api_closed", message)
        log.warning("api: closed, a request was refused; set API_KEY to open it")
        return refusal(403, "api_closed", message)
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and known([given.strip()], (key,)):
        return None
    message = "Ключ API неверный или не передан: нужен заголовок Authorization: Bearer <API_KEY>."
    here.inbox.refuse("api", "wrong_key", message)
    log.warning("api: refused, wrong or no key")
    return refusal(401, "wrong_key", message, {"WWW-Authenticate": 'Bearer realm="connector"'})


def call_log_away() -> Response:
    """The call log does not answer now; 1C asks again."""
    message = "Журнал звонков сейчас не отвечает: повторите через несколько секунд. Уведомления при этом принимаются."
    return refusal(503, "call_log_away", message, {"Retry-After": RETRY_AFTER_SECONDS})


# --------------------------------------------------------------------------------------------- the set-up person's test


def _greet(here: Connector, feed: str) -> Response:
    """GET with nothing but the key: one Russian sentence, stores nothing."""
    last: int | None = None
    refused: tuple[int, str] | None = None
    for name, outcome, reason, _, at, message in here.inbox.counters():
        if name != feed:
            continue
        if outcome in (RECEIVED, IGNORED):
            last = max(at, last or 0)
        elif outcome in (DEAD, REFUSED) and (refused is None or at > refused[0]):
            refused = (at, message if reason != "our_fault" else "наша ошибка, смотрит администратор")
    zone = here.settings.timezone
    said = "Ключ верный, адрес готов принимать уведомления. "
    said += f"Последнее уведомление: {_local(last, zone)}. " if last else "Уведомлений ещё не было. "
    said += f"Последний отказ: {_local(refused[0], zone)}: {refused[1]}" if refused else "Отказов не было."
    return Response(said + "\n", content_type="text/plain; charset=utf-8")


def _local(moment: int, zone: Any) -> str:
    return datetime.fromtimestamp(moment // 1000, zone).strftime("%d.%m.%Y %H:%M:%S")


# --------------------------------------------------------------------------------------------------- every other answer

MESSAGES = {
    404: ("not_found", "Такого адреса у коннектора нет. Проверьте поле «URL»: адреса печатает flask feeds show."),
    405: ("method_not_allowed", "Этот адрес не принимает такой метод: выберите метод POST."),
    413: ("too_large", "Тело запроса слишком велико для уведомления о звонке."),
}


def on_inbox_error(error: Exception) -> Response:
    """503: the inbox could not store, or not even be read; nothing was acknowledged."""
    log.error("the inbox is not available, the sender was told to come again: %s", error)
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
