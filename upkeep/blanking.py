"""Mentions of a forgotten number in what is another's: a body, a query, an event, blanked and still what it was.

Ids are never looked at, whatever digits they have: the values of keys that are ids, and links. A body keeps its structure
and its coding, so that it is understood as before, but for the number.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote_plus, unquote_plus

from schemas.event import CallEvent
from schemas.fields import BLANK
from schemas.reading import Delivery, canonical
from upkeep.spellings import Known, blank, spans

_IDS = re.compile(r"(?!caller|called).*(?:ids?|uuid|guid|hash|key|token|code)|account|inn|kpp|ogrn|session")
_LINK = re.compile(r"\s*https?:", re.IGNORECASE)
_NAMED = re.compile(
    r"([\w.-]{1,64})[\"']?(?:\s*[:=]\s*|\r?\n\r?\n)[\"'(+\[]*\Z"
)  # key: value, key=value, a multipart's
# a string, and whether it is a key; a number
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"(\s*:)?|-?[0-9][0-9.eE+-]*', re.DOTALL)


def is_id(key: str) -> bool:
    """Whether what stands under this key names something and is no text: visitor_id, app_id, employee_ids, access_code."""
    return _IDS.fullmatch(canonical(key)) is not None


def blank_delivery(delivery: Delivery, known: Known) -> Delivery:
    """The delivery without the known numbers; the same object where it has none."""
    body, query = blank_body(delivery.body, known), blank_text(delivery.query, known)
    if body == delivery.body and query == delivery.query:
        return delivery
    declared = delivery.declared_length
    length = None if declared is None else declared + len(body) - len(delivery.body)  # cut short or whole, as before
    return replace(delivery, body=body, query=query, declared_length=length)


def blank_event(event: CallEvent, known: Known) -> CallEvent:
    """The event without the known numbers, but for its ids; equal to it where it has none."""
    return CallEvent.from_payload(blank_json(event.to_payload(), known))


def blank_body(body: bytes, known: Known) -> bytes:
    """A body in UTF-8, UTF-16 or any coding whose digits are ASCII."""
    coding = _coding(body)
    text = body.decode(coding)
    blanked = blank_text(text, known)
    return body if blanked == text else blanked.encode(coding)


def _coding(body: bytes) -> str:
    for coding in ("utf-16-le", "utf-16-be") if b"\0" in body else ("utf-8",):
        if coding == "utf-8" or (len(body) % 2 == 0 and body[coding == "utf-16-le" :: 2].count(0) * 4 > len(body)):
            try:
                body.decode(coding)
            except UnicodeDecodeError:
                continue
            return coding
    return "latin-1"  # of every byte a character, and back


def blank_text(text: str, known: Known) -> str:
    """JSON, a form or any other text."""
    if text.lstrip("\ufeff \t\r\n")[:1] in ("{", "[", '"') and _is_json(text):
        return blank_json(text, known)
    if "=" in text and not re.search(r"\s", text.strip()):
        return "&".join(_of_form(part, known) for part in text.split("&"))
    pieces = text
    for start, end in reversed(spans(text, known, in_value=False)):
        key = _NAMED.search(text[max(0, start - 100) : start])
        if key is None or not is_id(key[1]):
            pieces = pieces[:start] + BLANK + pieces[end:]
    return pieces


def blank_json(text: str, known: Known) -> str:
    """JSON; what is not changed of it stays as it is written."""
    key = ""

    def token(found: re.Match[str]) -> str:
        nonlocal key
        if found[1] is not None:
            key = _string(found[0][: -len(found[1])])
        elif not is_id(key):
            if found[0][0] != '"':
                return f'"{BLANK}"' if spans(found[0], known) else found[0]
            value = _string(found[0])
            blanked = blank_value(value, known)
            if blanked != value:
                return json.dumps(blanked, ensure_ascii=text.isascii())
        return found[0]

    return _TOKEN.sub(token, text)


def blank_value(value: str, known: Known) -> str:
    """One value: a text, a link, or JSON in a string."""
    if _LINK.match(value):
        return value
    if value.lstrip()[:1] in ("{", "["):
        return blank_text(value, known)
    return blank(value, known)


def _string(token: str) -> str:
    try:
        return str(json.loads(token, strict=False))
    except ValueError:
        return token[1:-1]


def _is_json(text: str) -> bool:
    try:
        json.loads(text.lstrip("\ufeff"), strict=False, parse_int=str)
    except (ValueError, RecursionError):
        return False
    return True


def _of_form(part: str, known: Known) -> str:
    """name=value, decoded and encoded again only where it is changed."""
    name, mark, value = part.partition("=")
    if is_id(unquote_plus(name)):
        return part
    for coding in ("utf-8", "cp1251"):
        try:
            plain = unquote_plus(value, coding, "strict")
        except UnicodeDecodeError:
            continue
        blanked = blank_value(plain, known)
        if blanked == plain:
            return part
        if plain == value:
            return f"{name}{mark}{blanked}"
        return f"{name}{mark}{quote_plus(blanked, safe='*', encoding=coding)}"
    return part


def values(text: str) -> Iterator[tuple[str, str]]:
    """(key, value) of JSON or of a form, of what is neither none."""
    if _is_json(text):
        key = ""
        for found in _TOKEN.finditer(text):
            if found[1] is not None:
                key = _string(found[0][: -len(found[1])])
            else:
                yield key, _string(found[0]) if found[0][0] == '"' else found[0]
    elif "=" in text and not re.search(r"\s", text.strip()):
        for part in text.split("&"):
            name, _, value = part.partition("=")
            yield unquote_plus(name), unquote_plus(value)
