"""Who may post: the key, the address, the API key."""

import hashlib
import hmac
import ipaddress
import logging
from urllib.parse import unquote_plus

from flask import Response, request

import schemas
from config import FeedSettings, Settings
from handlers.answers import connector, refusal

log = logging.getLogger("connector.webhook")

STRANGERS = ("wrong_key", "no_key", "feed_closed", "address_not_allowed", "too_large")  # refused and counted, not kept


def split_query(raw: str) -> tuple[str, list[str]]:
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


def admitted(feed: FeedSettings, keys: list[str]) -> Response | str:
    """The key by which a sender may post ("" where the feed is open), or the answer to one who may not."""
    name = feed.name.upper()
    if feed.closed:
        log.warning("%s: closed, a request from %s was refused; set %s_KEY to open it", feed.name, sender(), name)
        message = f"Приём уведомлений {feed.name} выключен: администратор не задал {name}_KEY."
        return turn_away(feed.name, 403, "feed_closed", message)
    if feed.allow:
        address = parsed(client_address(connector().settings))
        if address is None or not any(address in network for network in feed.allow):
            log.warning("%s: refused %s: %s_ALLOW does not list it", feed.name, sender(), name)
            message = f"С этого адреса уведомления {feed.name} не принимаются (список {name}_ALLOW)."
            return turn_away(feed.name, 403, "address_not_allowed", message)
    if feed.open:
        return ""
    if "HTTP_AUTHORIZATION" in request.environ:
        authorization = request.authorization
        if authorization is not None and authorization.password:
            keys = [*keys, authorization.password]
    key = known(keys, feed.keys)
    if key:
        return key
    log.warning("%s: refused %s: %s", feed.name, sender(), "wrong key" if keys else "no key")
    field = schemas.feeds()[feed.name].key_field
    if keys:
        code, message = _wrong_key(feed, keys, field)
        return turn_away(feed.name, 401, code, message, {"WWW-Authenticate": 'Key realm="connector"'})
    message = (
        f"Ключа нет: поле {field} тела запроса пустое или его нет. Ключ — на странице «Настройка» и в pbx-connector "
        f"feeds show {feed.name}."
        if field
        else "В адресе нет ключа: он должен кончаться на ?key=… — скопируйте адрес для поля «URL» целиком со страницы "
        "«Настройка»."
    )
    # a browser would show its log-in window instead of this sentence
    scheme = "Key" if "text/html" in request.headers.get("Accept", "") else "Basic"
    return turn_away(feed.name, 401, "no_key", message, {"WWW-Authenticate": f'{scheme} realm="connector"'})


def _wrong_key(feed: FeedSettings, keys: list[str], field: str) -> tuple[str, str]:
    """(code, what is wrong with the key): it is ours with blanks round it, another feed's, or nobody's."""
    where = f"в поле {field} тела запроса" if field else "в адресе"
    again = f"возьмите его заново со страницы «Настройка» или из pbx-connector feeds show {feed.name}."
    if known([key.strip() for key in keys], feed.keys):
        return "blanks_in_key", f"Вокруг ключа {where} пробелы: уберите их (%20, + или пробел до или после ключа)."
    for other in connector().settings.feeds.values():
        if not other.open and known(keys, other.keys):
            return "other_feeds_key", f"Ключ {where} — от потока {other.name}, а адрес — потока {feed.name}: {again}"
    if field:
        return "wrong_key", f"Ключ {where} неверный: {again}"
    return "wrong_key", (
        "Ключ в адресе неверный: скопируйте адрес для поля «URL» заново со страницы «Настройка» (его печатает и "
        f"pbx-connector feeds show {feed.name})."
    )


def turn_away(feed: str, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    """Refuse a request of which nothing is kept: it is counted under its code, and answered."""
    connector().inbox.refuse(feed, code, message)
    return refusal(status, code, message, headers)


def known(given: list[str], keys: tuple[str, ...]) -> str:
    """The one of the keys that is among the given, "" if none is: every pair is compared, in constant time, as bytes
    (compare_digest raises on non-ASCII str)."""
    found = ""
    for candidate in given:
        for key in keys:
            if hmac.compare_digest(candidate.encode("utf-8", "surrogateescape"), key.encode()):
                found = key
    return found


def key_hash(key: str) -> str:
    """What a delivery keeps of the key by which it came: enough to tell two keys apart, not to post with."""
    return hashlib.sha256(key.encode()).hexdigest()[:8] if key else ""


def client_address(settings: Settings) -> str:
    """The rightmost X-Forwarded-For address that is no trusted proxy; the peer's own where the peer is none."""
    peer: str = request.environ.get("REMOTE_ADDR", "")
    header: str = request.environ.get("HTTP_X_FORWARDED_FOR", "")
    forwarded = [part.strip() for part in header.split(",") if part.strip()]
    if not forwarded:
        return peer
    hops = [*forwarded, peer]
    for hop in reversed(hops):
        address = parsed(hop)
        # a peer on a unix socket has no address and counts as a trusted proxy
        trusted = hop == "" or (address is not None and any(address in n for n in settings.trusted_proxies))
        if not trusted:
            return str(address or hop[:64])
    return str(parsed(hops[0]) or hops[0][:64])


def sender() -> str:
    """Who asks, for the log: an address that is one, since a proxy may pass on any text."""
    return str(parsed(client_address(connector().settings)) or "an unknown address")


def parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, of a mapped one its IPv4; None for what is none. Some proxies add the port: 192.0.2.7:50312 and
    [2001:db8::7]:50312 are read too."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def is_insider() -> bool:
    """Whether the state of this node may be told: to this host (a peer on a unix socket has no address), to a trusted proxy
    that asks for itself, to whoever has the API key."""
    settings = connector().settings
    text = client_address(settings)
    address = parsed(text)
    if not text or (address is not None and address.is_loopback):
        return True
    if address is not None and any(address in network for network in settings.trusted_proxies):
        return True
    return bool(settings.api_key and known([_bearer()], (settings.api_key,)))


def _bearer() -> str:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def api_refusal() -> Response | None:
    """Why this caller may not use /api/* (Authorization: Bearer API_KEY), or None when it may."""
    key = connector().settings.api_key
    if not key:
        message = "Обращения 1С выключены: администратор не задал API_KEY."
        log.warning("api: closed, a request from %s was refused; set API_KEY to open it", sender())
        return turn_away("api", 403, "api_closed", message)
    if known([_bearer()], (key,)):
        return None
    message = "Ключ API неверный или не передан: нужен заголовок Authorization: Bearer <API_KEY>."
    log.warning("api: refused %s: wrong or no key", sender())
    return turn_away("api", 401, "wrong_key", message, {"WWW-Authenticate": 'Bearer realm="connector"'})
