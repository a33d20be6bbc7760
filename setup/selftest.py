"""Self-test: a delivery posted through PUBLIC_URL as a provider would, followed into this node's inbox."""

import json
import re
import secrets
import socket
import ssl
import time
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import requests
import urllib3

import setup
from config import FeedSettings, Settings, Stop
from inbox import IGNORED, Inbox, now
from schemas.body_key import split_body
from server.logs import masked
from setup.feed import SetUp

SECONDS = 10  # for the connection, and for each part of the answer
MOST_BYTES = 65536  # of an answer that is looked at

# What our own refusals mean here; any other is printed with its own sentence.
REFUSALS = {
    "wrong_key": "another key is asked for there: restart the service after a change of {name}_KEY, or PUBLIC_URL leads "
    "to another connector",
    "no_key": "the key did not arrive: the proxy drops the query (?key=…)",
    "feed_closed": "the feed is closed there: restart the service after a change of {name}_KEY, or PUBLIC_URL leads to "
    "another connector",
    "address_not_allowed": "the connector was reached, but {name}_ALLOW does not list the address this server comes from: "
    "add it for the test, or see that X-Forwarded-For arrives and TRUSTED_PROXIES lists the proxy",
    "unavailable": "the inbox there does not store: its disk is full, read-only or locked",
    "too_large": "MAX_BODY_BYTES is too small there",
}


def send(settings: Settings, inbox: Inbox) -> Iterator[str]:
    """Post a delivery that is ignored by design to the first open feed that has one, and follow it. Yields a sentence for
    each thing found to be well; raises Stop at the first that is not."""
    feed, entered = _feed(settings)
    assert entered.self_test
    mark = f"self-test-{secrets.token_hex(8)}"
    path, fields = entered.self_test(mark, settings)
    key_field, key = entered.feed.key_field, "" if feed.open else feed.keys[0]
    fields |= {key_field: key} if key_field else {}
    body = json.dumps(fields, ensure_ascii=False).encode()
    url = f"{settings.public_url}{path}"
    in_url = key and not key_field
    yield f"POST {url}{'?key=***' if in_url else ''} ({feed.name})"
    began, clock = now(), time.monotonic()
    status, headers, text = _post(f"{url}?key={quote(key, safe='')}" if in_url else url, body)
    stored_body = split_body(body, key_field)[0] if key_field else body
    _judge(settings, feed, {**REFUSALS, **entered.self_test_refused}, status, headers, text)
    yield f"answered 200 ignored in {round((time.monotonic() - clock) * 1000)} ms"
    # a minute's leeway: the clock may be set while we look
    for stored in inbox.stream(feed.name, began - 60_000):
        if mark.encode() in stored.delivery.body:
            if stored.delivery.body != stored_body:
                raise Stop(
                    "it arrived changed: something on the way rewrites bodies; "
                    f"pbx-connector inbox show {stored.delivery.id}"
                )
            if stored.outcome.state != IGNORED:
                raise Stop(f"it is {stored.outcome.state}, not ignored: pbx-connector inbox show {stored.delivery.id}")
            yield f"it is delivery {stored.delivery.id} of this inbox"
            break
    else:
        raise Stop(
            f"it was answered, but it is not in this inbox ({inbox.path}): PUBLIC_URL leads to another node, or the "
            "service there runs with another DATA_DIR"
        )
    parts = urlsplit(settings.public_url)
    if parts.hostname in ("localhost", "127.0.0.1", "::1"):
        yield "PUBLIC_URL is this machine's own: the way from the provider is not tested by this"
    elif parts.scheme == "http":
        yield "PUBLIC_URL is http: the keys and the numbers of clients travel unprotected"


def _feed(settings: Settings) -> tuple[FeedSettings, SetUp]:
    known = {name: entered for name, entered in setup.feeds().items() if entered.self_test}
    for name, entered in known.items():
        if not settings.feeds[name].closed:
            return settings.feeds[name], entered
    raise Stop(f"no open feed has a self-test: set one of {', '.join(f'{name.upper()}_KEY' for name in known)}")


def _post(url: str, body: bytes) -> tuple[int, "requests.structures.CaseInsensitiveDict[str]", str]:
    """(status, headers, the beginning of the answer) of a POST that follows no redirect. Raises Stop, in words."""
    host, deadline = urlsplit(url).hostname, time.monotonic() + 2 * SECONDS
    with requests.Session() as session:
        session.trust_env = False  # as a provider: no proxy, no authority and no password of this machine's
        try:
            with session.post(
                url,
                body,
                headers={"Content-Type": "application/json"},
                timeout=SECONDS,
                allow_redirects=False,
                stream=True,
            ) as answer:
                text = b""
                for part in answer.iter_content(4096):
                    text += part
                    if len(text) > MOST_BYTES or time.monotonic() > deadline:
                        break
                return answer.status_code, answer.headers, text.decode("utf-8", "replace")
        except requests.exceptions.SSLError as error:
            raise Stop(f"TLS: {_certificate(error)}") from None
        except (requests.exceptions.ConnectTimeout, requests.exceptions.ReadTimeout) as error:
            what = "no connection to" if isinstance(error, requests.exceptions.ConnectTimeout) else "no answer from"
            raise Stop(
                f"{what} {host} within {SECONDS} s: a firewall, or a public address that cannot be reached from inside "
                "(then try from outside), or a proxy that waits for a service that hangs"
            ) from None
        except requests.exceptions.RequestException as error:
            raise Stop(_unreachable(error, host)) from None


def _cause(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """The first of this kind among what the error was made of."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, kind):
            return one
        if id(one) in seen:
            continue
        seen.add(id(one))
        parts = [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
        waiting += [part for part in parts if isinstance(part, BaseException)]
    return None


def _certificate(error: Exception) -> str:
    found = _cause(error, ssl.SSLCertVerificationError)
    if isinstance(found, ssl.SSLCertVerificationError):
        return (
            f"the certificate is not trusted: {found.verify_message}. Providers refuse it too: install one of a public "
            "authority with its whole chain (ssl_certificate fullchain.pem), for the name in PUBLIC_URL"
        )
    # never the error of requests itself: it has the whole address, with the key
    return f"no TLS is spoken there ({_cause(error, ssl.SSLError)}): is PUBLIC_URL https where the port is plain http?"


def _unreachable(error: Exception, host: str | None) -> str:
    if _cause(error, urllib3.exceptions.NameResolutionError) or _cause(error, socket.gaierror):
        return f"the name {host} is not found in DNS: correct PUBLIC_URL, or the DNS record"
    if _cause(error, ConnectionRefusedError):
        return f"nobody listens at {host}: is the proxy running, and is the port of PUBLIC_URL the right one?"
    if _cause(error, ConnectionResetError) or _cause(error, urllib3.exceptions.ProtocolError):
        return (
            f"{host} broke the connection off: http where https is spoken, a firewall, or a service that was restarted"
        )
    return f"{host} cannot be reached: {type(error).__name__}"


def _judge(settings: Settings, feed: FeedSettings, refusals: dict[str, str], status: int,
           headers: "requests.structures.CaseInsensitiveDict[str]", text: str) -> None:  # fmt: skip
    """Nothing when it was answered as by design; raises Stop otherwise."""
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    code = str(fields.get("error", ""))
    if status == 200 and fields.get("status") == "ignored":
        return
    if 300 <= status < 400:
        to = urlsplit(headers.get("Location", ""))
        raise Stop(
            f"{status}, a redirect to {_printable(f'{to.scheme}://{to.netloc}{to.path}')}: no provider follows one; "
            "PUBLIC_URL must be the address that answers itself (https, the right host, no slash added)"
        )
    if code in refusals:
        raise Stop(f"{status} {code}: {refusals[code].format(name=feed.name.upper())}")
    if code and "message" in fields:
        raise Stop(f"{status} {_plain(code)}: {_plain(str(fields['message']))}")
    whose = f"{status} from {_plain(headers.get('Server', '') or 'a server that does not name itself')}{_title(text)}"
    if status in (502, 503, 504):
        raise Stop(
            f"{whose}: the proxy answers, the connector behind it does not: is the service running, and does the proxy "
            f"pass to BIND ({settings.bind})?"
        )
    if status in (401, 403):
        raise Stop(f"{whose}: the proxy itself asks for a password or refuses: let the feeds' addresses through")
    if status == 413:
        raise Stop(f"{whose}: the proxy takes no body of this size: client_max_body_size")
    raise Stop(
        f"{whose}: not the connector's answer: PUBLIC_URL leads to another site, or the proxy does not pass "
        f"{urlsplit(settings.public_url).path or '/'} to the connector"
    )


def _title(text: str) -> str:
    found = re.search(r"(?is)<title[^>]{0,100}>(.{1,200}?)</title>", text)
    return f" «{_plain(found[1])}»" if found else ""


def _plain(text: str) -> str:
    """A stranger's text as it may be shown on a terminal and in a log."""
    return masked(_printable(text))


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()[:200]
