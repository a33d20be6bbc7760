"""What every feed's handler shares: check the key, read the raw bytes, understand, store, and only then answer."""

import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Response, request

import schemas
from handlers.access import client_address, sender, split_query, stranger
from handlers.answers import JSON, Connector, answer, connector, on_inbox_error, refusal
from inbox import DEAD, IGNORED, RECEIVED, REFUSED, STORED_WITHIN_SECONDS, Unavailable, now
from inbox.judge import judge
from schemas.reading import Delivery, Refusal

if TYPE_CHECKING:
    pass

log = logging.getLogger("connector.webhook")

ACCEPTED = b'{"status": "accepted"}\n'


def receive(feed: str, route: str, before: Callable[[Delivery], Response | None] | None = None) -> Response:
    """Take a request to a feed: 200 only when it is on disk. docs/contract.md section 1 has every answer.

    `before` may answer in its place what is no delivery at all (a question, another tenant): nothing is stored then.
    """
    here = connector()
    environ = request.environ  # what is asked of it costs a tenth of what request's own properties do
    method: str = environ["REQUEST_METHOD"]
    query, keys = split_query(environ.get("QUERY_STRING", ""))
    refused = stranger(here.settings.feeds[feed], here.settings, keys)
    if refused is not None:
        status, code, message, headers = refused
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
        log.warning("%s: refused %s: a body of more than %d bytes", feed, sender(), limit)
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
            hold(ticket, on_inbox_error, STORED_WITHIN_SECONDS)
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
