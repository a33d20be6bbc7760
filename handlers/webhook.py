"""What every feed's handler shares: take the request as a delivery, store it, and only then answer."""

import contextlib
import logging
import re
from datetime import datetime, tzinfo
from typing import Any
from urllib.parse import unquote

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

import schemas
from handlers.access import admitted, client_address, key_hash, sender, split_query, turn_away
from handlers.answers import Connector, answer, answered, connector, on_inbox_error
from inbox import DEAD, IGNORED, RECEIVED, REFUSED, STORED_WITHIN_SECONDS, Unavailable, now
from inbox.judge import recognised
from schemas.body_key import split_body
from schemas.reading import Delivery
from setup.button import judged

log = logging.getLogger("connector.webhook")

GET_ALONE = (
    "Пришёл GET с одним ключом, без полей звонка: либо адрес проверили программой, либо «Метод» уведомления — GET, и "
    "шаблон не отправляется. Выберите POST."
)


def receive(feed: str, route: str) -> Response:
    """A request to a feed: 200 only when it is on disk. docs/contract.md section 1 has every answer."""
    delivery = take(feed, route)
    return delivery if isinstance(delivery, Response) else store(delivery)


def take(feed: str, route: str) -> Delivery | Response:
    """The request as a delivery; the answer where it is none: a stranger's, a look from a browser, too large."""
    here = connector()
    environ = request.environ  # reading it costs a tenth of what request's own properties do
    method: str = environ["REQUEST_METHOD"]
    query, keys = split_query(environ.get("QUERY_STRING", ""))
    limit, key_field, removed = here.settings.max_body_bytes, schemas.feeds()[feed].key_field, 0
    if key_field:  # the key may stand in the body, or in the query of a GET; neither keeps it
        received, whole = _read(environ, limit + 1)
        body, found = split_body(received, key_field)
        plain, more = split_body(query.encode(), key_field)
        query, removed, keys = plain.decode(), len(received) - len(body), [*keys, *found, *more]
    key = admitted(here.settings.feeds[feed], keys)
    if isinstance(key, Response):
        return key
    if method in ("GET", "HEAD") and not query:
        if (
            method == "GET"
            and schemas.feeds()[feed].form.template
            and "text/html" not in environ.get("HTTP_ACCEPT", "")
        ):
            here.inbox.refuse(feed, "get_alone", GET_ALONE)  # the account page's preset sends no template
        return _greet(here, feed)
    if method == "HEAD":
        return answer(200, {"status": "ignored", "reason": "HEAD"})
    if not key_field:
        body, whole = _read(environ, limit + 1)
    declared = request.content_length
    if (declared or 0) > limit or len(body) + removed > limit:
        log.warning("%s: refused a body of more than %d bytes from %s", feed, limit, sender())
        return _too_large(feed, limit)
    if not whole:  # broken chunks: at least so many
        declared = max(declared or 0, len(body) + removed + 1)
    return Delivery(
        feed=feed,
        route=route,
        body=body,
        query=query,
        method=method,
        content_type=environ.get("CONTENT_TYPE", "")[:255],
        declared_length=None if declared is None else declared - removed,
        received_at=now(),
        client_address=client_address(here.settings),
        key_hash=key_hash(key),
    )


def store(delivery: Delivery) -> Response:
    """Recognise to choose the answer, store, answer. The forwarder understands the same bytes again, from the start."""
    outcome, refused = recognised(delivery)
    outcome = judged(delivery, outcome)
    response = answer(*answered(outcome, refused))
    try:
        ticket = connector().inbox.begin(delivery, outcome)
        hold = getattr(request.environ.get("gunicorn.socket"), "hold", None)
        if hold is not None:  # server/worker.py sends the answer when the delivery is on disk
            hold(ticket, on_inbox_error, STORED_WITHIN_SECONDS)
        else:
            ticket.wait()
    except Unavailable as error:
        return on_inbox_error(error)
    return response


def _too_large(feed: str, limit: int) -> Response:
    message = (
        f"Тело запроса больше {limit} байт: это не уведомление о звонке. Проверьте, что в нём только поля звонка "
        "(предел задаёт настройка MAX_BODY_BYTES)."
    )
    return turn_away(feed, 413, "too_large", message, {"Connection": "close"})


def count_malformed(app: Flask, began: bytes) -> None:
    """Count a request that the HTTP server itself refused, by its first bytes: under its feed where the address tells it,
    else under `other`."""
    found = re.match(rb"[A-Z]{3,20} ([^\s?]*)", began)
    path = unquote(found[1].decode("latin-1"), "utf-8", "replace") if found else ""
    try:
        feed = app.url_map.bind("").match(path, "POST")[0].partition(".")[0]
    except HTTPException:
        feed = "other"
    here: Connector = app.extensions["connector"]
    message = (
        "Запрос не по правилам HTTP, его отверг сам сервер: проверьте адрес (русские буквы и пробелы кодируются, длина не "
        "больше 8190 знаков) и заголовки."
    )
    here.inbox.refuse(feed if feed in here.settings.feeds else "other", "bad_request", message)


def _read(environ: dict[str, Any], most: int) -> tuple[bytes, bool]:
    """The raw body, at most `most` bytes and nothing of one that declares so many, before anything touches request.form
    (which would empty the stream); False with what came of a body that broke off."""
    stream, declared = environ["wsgi.input"], request.content_length
    if declared is not None and declared >= most:
        return b"", True
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


# --------------------------------------------------------------------------------------------- the set-up person's test


def _greet(here: Connector, feed: str) -> Response:
    """What a person who opens the address in a browser reads: one Russian sentence; nothing is stored."""
    last: int | None = None
    refused: tuple[int, str] | None = None
    for name, outcome, reason, _, at, message in here.inbox.counters():
        if name != feed:
            continue
        if outcome in (RECEIVED, IGNORED):
            last = max(at, last or 0)
        elif outcome in (DEAD, REFUSED) and (refused is None or at > refused[0]):
            refused = (at, _without_values(message) if reason != "our_fault" else "наша ошибка, смотрит администратор")
    zone = here.settings.timezone
    text = "Ключ верный, адрес готов принимать уведомления. "
    text += f"Последнее уведомление: {_local(last, zone)}. " if last else "Уведомлений ещё не было. "
    text += f"Последний отказ: {_local(refused[0], zone)}: {refused[1]}" if refused else "Отказов не было."
    return Response(text + "\n", content_type="text/plain; charset=utf-8")


# What a sentence quotes of a body (schemas/reading.py); of that, the keys and marks by which its place is found again.
_QUOTED = re.compile(
    r"(у текста|начинается с|сессии звонка:) «(.*)»"
    r"(?= \(так он|: (?:JSON|кавычки|вместо|перед|здесь)|\. (?:В поле|Нужен)| — текст шаблона)",
    re.DOTALL,
)
_KEPT = re.compile(r'("[A-Za-z_]{1,64}"\s*:)|[^\W_]')
_LINK_OR_NUMBER = re.compile(r"https?://[^\s»]+|\+?\d(?:[\s().–-]{0,3}\d){4,}", re.IGNORECASE)


def _without_values(message: str) -> str:
    """A refusal's sentence for whoever has no more than the key of the feed: nobody's number, name or link."""

    def hidden(found: re.Match[str]) -> str:
        return f"{found[1]} «{_KEPT.sub(lambda sign: sign[1] or '·', found[2])}»"

    return _LINK_OR_NUMBER.sub("···", _QUOTED.sub(hidden, message))


def _local(moment: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(moment // 1000, zone).strftime("%d.%m.%Y %H:%M:%S")
