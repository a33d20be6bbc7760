"""Who may see the operator page (OPERATOR_PASSWORD), who may press its buttons, what a browser may do with an answer."""

import hashlib
import hmac
import ipaddress
import logging
import secrets
import sqlite3
import threading
import time
from collections import OrderedDict
from typing import NamedTuple
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, render_template, request
from werkzeug.exceptions import HTTPException

from config import Settings
from handlers.access import client_address, known, parsed, sender
from handlers.answers import Connector, connector

log = logging.getLogger("connector.page")

COOKIE = "connector"
COOKIE_SECONDS, RENEWED_SECONDS = 90 * 86_400, 86_400
FORM_BYTES = 10_000  # of a command's body
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    # not no-referrer: under it a browser sends `Origin: null` with our own form, and nothing leaves for others either way
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guesses:
    """Wrong passwords by address: after MOST within SECONDS the address is answered 429 at once, unread. Nobody waits, so
    no thread is held; each worker counts for itself."""

    MOST, SECONDS, ADDRESSES = 10, 300, 1000

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def locked(self, address: str) -> bool:
        """Whether this address has guessed too often."""
        count, since = self._wrong.get(_network(address), (0, 0.0))
        return count >= self.MOST and time.monotonic() - since < self.SECONDS

    def wrong(self, address: str) -> None:
        """One more from this address."""
        network = _network(address)
        with self._lock:
            count, since = self._wrong.pop(network, (0, 0.0))
            if time.monotonic() - since >= self.SECONDS:
                count, since = 0, time.monotonic()
            self._wrong[network] = (count + 1, since)
            if len(self._wrong) > self.ADDRESSES:
                self._wrong.popitem(last=False)


def _network(text: str) -> str:
    """Rate-limit key: the IPv4 address, or the /64 of an IPv6 one (a client controls all of it). What is no address, a
    header's text, is its own key."""
    address = parsed(text)
    if address and address.version == 6:
        return str(ipaddress.ip_network(f"{address}/64", strict=False))
    return str(address or text)


guesses = Guesses()


def protect(bp: Blueprint) -> None:
    """Put the guard before every route of the page, the headers on every answer, and errors into the page's own words."""
    bp.before_request(_guard)
    bp.after_request(_headers)
    bp.after_request(_remember_browser)
    bp.register_error_handler(sqlite3.Error, _inbox_away)
    bp.register_error_handler(HTTPException, _http_error)


def sentence(status: int, title: str, text: str) -> Response:
    """A page of one sentence."""
    return Response(render_template("sentence.html", title=title, text=text), status)


def _guard() -> Response | None:
    """Nothing is shown or done without the password; a command also proves that it comes from this page."""
    if request.endpoint == "page.static":
        return None
    here = connector()
    password, address = here.settings.operator_password, client_address(here.settings)
    if not password:
        log.warning("the operator page is closed, %s was refused; set OPERATOR_PASSWORD to open it", sender())
        return sentence(
            403, "Страница закрыта", "Администратор не задал OPERATOR_PASSWORD. Задайте его и перезапустите сервис."
        )
    g.browser = _browser(here)
    guesser = g.browser.id if g.browser else address  # not whoever guesses beside it, behind the same NAT
    if guesses.locked(guesser):
        _refuse(here, "locked_out", "Слишком много неверных паролей с этого адреса.")
        minutes = Guesses.SECONDS // 60
        locked = sentence(429, "Слишком много неверных паролей", f"Подождите {minutes} минут и попробуйте снова.")
        locked.headers["Retry-After"] = str(Guesses.SECONDS)
        return locked
    given = request.authorization
    if given is None or given.type != "basic" or not known([given.password or ""], (password,)):
        if given is not None:
            guesses.wrong(guesser)
            _refuse(here, "wrong_password", "Неверный пароль страницы оператора.")
        text = "Имя — любое, пароль — OPERATOR_PASSWORD из настроек коннектора: спросите у администратора."
        unauthorized = sentence(401, "Нужен пароль", text)
        unauthorized.headers["WWW-Authenticate"] = 'Basic realm="connector", charset="UTF-8"'
        return unauthorized
    if request.method == "POST":
        request.max_content_length = FORM_BYTES
        if not _from_this_page(here.settings):
            _refuse(here, "foreign_form", "Команда для страницы оператора пришла с чужой страницы.")
            text = "Браузер не подтвердил, что кнопку нажали на этой странице. Откройте страницу заново и повторите."
            return sentence(403, "Команда не выполнена", text)
    g.operator = True  # only from here on: the menu
    return None


class Browser(NamedTuple):
    """A browser that has once given the right password, by its signed cookie."""

    id: str
    since: int  # seconds since 1970 UTC, when the cookie was made or renewed

    def cookie(self, here: Connector) -> str:
        """The cookie's text. The signature is void under another password."""
        secret = f"{here.inbox.fact('page_secret')} {here.settings.operator_password}".encode()
        text = f"{self.id}.{self.since}"
        return f"{text}.{hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()}"


def _browser(here: Connector) -> Browser | None:
    """The browser whose cookie the request has, None for a stranger. It is let past a lock, not past the password."""
    given = request.cookies.get(COOKIE, "")
    id, _, rest = given.partition(".")
    since = rest.partition(".")[0]
    if not (since.isascii() and since.isdigit() and len(since) < 12) or time.time() - int(since) > COOKIE_SECONDS:
        return None
    browser = Browser(id, int(since))
    return browser if known([given], (browser.cookie(here),)) else None


def _remember_browser(response: Response) -> Response:
    """Give who has given the right password a cookie, and renew it once a day."""
    browser, here = g.get("browser"), connector()
    if g.get("operator") and (browser is None or time.time() - browser.since > RENEWED_SECONDS):
        text = Browser(browser.id if browser else secrets.token_hex(16), int(time.time())).cookie(here)
        scheme = request.headers.get("X-Forwarded-Proto") or urlsplit(here.settings.public_url).scheme
        response.set_cookie(
            COOKIE, text, COOKIE_SECONDS, secure=scheme == "https", httponly=True, samesite="Strict", path="/"
        )
    return response


def _refuse(here: Connector, code: str, message: str) -> None:
    log.warning("the operator page refused %s: %s", sender(), code)
    here.inbox.refuse("operator", code, message)


def _from_this_page(settings: Settings) -> bool:
    """Whether the browser vouches that the form stood on this page: by Sec-Fetch-Site, or by Origin where it sends no
    Sec-Fetch-Site (plain http). Scripts of other sites can set neither. Without both there is no proof."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    # by the host alone: behind a proxy that ends TLS this side does not see the browser's scheme
    scheme, _, host = request.headers.get("Origin", "").partition("://")
    return scheme in ("http", "https") and host in (request.host, urlsplit(settings.public_url).netloc) and host != ""


def _headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _inbox_away(error: sqlite3.Error) -> Response:
    log.error("the inbox cannot be read: %s", error)
    return sentence(503, "Приёмный ящик недоступен", "Диск коннектора сейчас не читается. Сообщите администратору.")


def _http_error(error: HTTPException) -> Response:
    return sentence(error.code or 500, "Запрос не выполнен", f"{error.code} {error.name}")
