"""One request to a provider: bounded in time and bytes, never redirected, its secret in no answer; and its two failures."""

import time
from typing import Any
from urllib.parse import quote_plus

import requests

CONNECT_SECONDS, ANSWER_SECONDS = 3, 4
READ_SECONDS = 6  # no byte is waited for after it: with the last one's ANSWER_SECONDS ten in all
MOST_BYTES = 65536  # of an answer


class Refused(Exception):
    """The provider did nothing and may be asked again. The text: its own words, or why it was not reached."""


class Unknown(Exception):
    """Nobody knows whether the provider did it. The text says why."""


def post(url: str, secret: str, **body: Any) -> tuple[int, str]:
    """(status, text) of the answer to `body` (requests' json= or data=), received within ten seconds and cut at MOST_BYTES.
    A redirect is not followed: it would carry the secret elsewhere. Where the answer repeats the secret it reads ***.
    Raises Refused when no connection was made, Unknown when it broke."""
    until = time.monotonic() + READ_SECONDS
    try:
        with requests.post(
            url, timeout=(CONNECT_SECONDS, ANSWER_SECONDS), allow_redirects=False, stream=True, **body
        ) as answer:
            received = b""
            for byte in answer.iter_content(1):
                received += byte
                if len(received) >= MOST_BYTES or time.monotonic() > until:
                    break
            return answer.status_code, hidden(received.decode("utf-8", "replace"), secret)
    except requests.ConnectTimeout:
        raise Refused("адрес провайдера не отвечает") from None
    except requests.ConnectionError as error:
        if "NewConnectionError" in str(error) or "NameResolutionError" in str(error):
            raise Refused("нет соединения с адресом провайдера") from None
        raise Unknown("связь оборвалась") from None
    except requests.RequestException as error:
        raise Unknown(type(error).__name__) from None


def hidden(text: str, secret: str) -> str:
    """The text without the secret, as it is or percent-encoded, and without what is no Unicode (a lone surrogate)."""
    text = text.encode("utf-8", "replace").decode()
    return text.replace(secret, "***").replace(quote_plus(secret), "***")


def failure(status: int, text: str) -> Refused | Unknown:
    """What a status other than 2xx means: after a 4xx nothing was done, after any other it may have been."""
    words = f"HTTP {status} «{text[:500]}»"
    return Refused(words) if 400 <= status < 500 else Unknown(words)
