"""The access key that a provider sends in a field of the body: taken out before anything is kept, as the URL's key is taken
out of the query. So no page, command, log line, sentence, backup or event_key has it."""

import json
import re
from urllib.parse import unquote_plus

from schemas.reading import canonical

_MEMBER = re.compile(
    r'("(?P<name>(?:[^"\\]|\\.){1,128})"\s{0,20}:\s{0,20})'
    r'(?P<value>"(?:[^"\\]|\\.)*"?|[^\s",{}\[\]]+)',  # a string that breaks off ends with the body
    re.DOTALL,
)


def split_body(body: bytes, field: str) -> tuple[bytes, list[str]]:
    """(the body without the values of `field`, the values). Works on the raw text of JSON and of forms, so also where the
    body cannot be read; the field may be spelled in any way that reading takes for the same."""
    text = body.decode("utf-8", "surrogateescape")
    split = _split_json if text.lstrip("\ufeff \t\r\n")[:1] in ("{", "[", '"') else _split_form
    left, keys = split(text, canonical(field))
    keys = [key.strip().encode("utf-8", "replace").decode() for key in keys]  # a lone surrogate is in no key of ours
    return (left.encode("utf-8", "surrogateescape") if keys else body), [key for key in keys if key]


def _split_json(text: str, field: str) -> tuple[str, list[str]]:
    keys: list[str] = []

    def emptied(member: re.Match[str]) -> str:
        if canonical(_decoded(f'"{member["name"]}"')) != field:
            return member[0]
        keys.append(_decoded(member["value"]))
        return f'{member[1]}""'

    return _MEMBER.sub(emptied, text), keys


def _decoded(text: str) -> str:
    """A JSON string's text; a number or what cannot be decoded as it stands."""
    try:
        value = json.loads(text, strict=False) if text.startswith('"') else text
    except ValueError:
        return text.strip('"')
    return str(value)


def _split_form(text: str, field: str) -> tuple[str, list[str]]:
    kept, keys = [], []
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        if canonical(unquote_plus(name)) == field:
            keys.append(unquote_plus(value))
        else:
            kept.append(pair)
    return "&".join(kept), keys
