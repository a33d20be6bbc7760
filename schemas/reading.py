"""Bytes to canonical fields: what every feed's reading shares, and the sentences for what cannot be read.

The rules are those of every page in docs/feeds: the raw bytes decide, never the Content-Type;
keys are compared by their letters and digits; every scalar may come as text or number; `""`, null, absence and an
unrendered {{placeholder}} all mean "no value".
"""

import contextlib
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

KEY_VERSION = "1"  # of event_key: a change here would double every event that is delivered again
DEEPEST = 32  # levels of nesting; no feed has more than two, and recursion must end somewhere


@dataclass(frozen=True, slots=True)
class Delivery:
    """One HTTP request as received: all that `understand` may look at. `query` is without the access key."""

    feed: str
    route: str
    body: bytes
    query: str = ""
    method: str = "POST"
    content_type: str = ""
    declared_length: int | None = None
    received_at: int = 0  # milliseconds since 1970 UTC, stamped once, when stored
    client_address: str = ""
    key_hash: str = ""  # of the key by which it came, its first 8 hex digits; empty at an open feed
    id: int = 0
    event_key: str = ""  # of the event that the body brought before a number in it was blanked (upkeep/blanking.py)


@dataclass(frozen=True, slots=True)
class Form:
    """How the provider's settings page calls its own fields: for sentences to whoever edits the notification."""

    body: str  # where the template is edited, or what holds the parameters where there is none
    url: str  # where the address is edited
    call_id: str = "id"  # the key of the call's id, as the provider spells it
    template: bool = False  # the owner writes the body himself, with {{placeholders}}; else the provider makes it

    @property
    def mend(self) -> str:
        """What to do about a body that is not right."""
        if self.template:
            return f"Исправьте шаблон в поле {self.body}."
        return (
            f"Тело запроса составляет сам провайдер: проверьте, что в поле {self.url} указан именно этот адрес, и покажите "
            "это сообщение его поддержке."
        )

    @property
    def wanted(self) -> str:
        """What a body should be."""
        if self.template:
            return (
                f"В поле {self.body} должен быть объект JSON: он начинается с {{ и кончается }}, например "
                f'{{"{self.call_id}":{{{{{self.call_id}}}}}}}.'
            )
        return f"Нужен объект JSON или форма с ключом {self.call_id}. {self.mend}"


class Refusal(Exception):
    """This cannot be a notification of this feed as set up: 400 or 422, with a sentence for who can mend it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class Ignored(Exception):
    """Known and of no effect on a call: acknowledged and kept, with a sentence that says why."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason)
        self.reason, self.message = reason, message


# ---------------------------------------------------------------------------------------------------------- the bytes


def read(delivery: Delivery, form: Form) -> "Fields":
    """The delivery's fields by canonical key. Raises Refusal for what is no JSON object and no form."""
    try:
        return Fields(_said(delivery, form))
    except RecursionError:
        raise Refusal(
            400,
            "too_deep",
            f"Тело запроса вложено глубже {DEEPEST} уровней скобок, а уведомление о звонке — один объект. {form.mend}",
        ) from None


def _said(delivery: Delivery, form: Form) -> dict[str, Any]:
    body, sent = delivery.body, delivery.declared_length
    if sent is not None and sent > len(body):
        raise Refusal(
            400,
            "cut_short",
            f"Тело запроса оборвалось: обещано не меньше {sent} байт, пришло {len(body)}. "
            "Уведомление передано не целиком: настройки менять не нужно, отправьте его ещё раз или проверьте сеть.",
        )
    if not body.strip():
        if not delivery.query:
            advice = f"Вставьте шаблон JSON в поле {form.body} и выберите метод POST." if form.template else form.mend
            raise Refusal(400, "empty", f"Тело запроса пустое. {advice}")
        return _form(delivery.query.encode(), form)
    text = _text(body, form)
    start = text[:1] if text[:1] == "{" else text.lstrip(_BLANKS)[:1]
    if start in ("{", "[", '"'):
        return _json(text, form)
    if start == "<" and text.rstrip().endswith(">"):
        what = "HTML" if re.match(r"\s*<(?:!doctype )?html", text, re.IGNORECASE) else "XML"
        raise Refusal(400, "not_json", f"Тело запроса — {what}, а нужен JSON. {form.wanted}")
    if start == "-" and _MULTIPART.match(text):
        return _opened(_object(_parts(text)), form)
    return _form(body, form)


# The first bytes of what is no UTF-8 text.
_MAGIC = ((b"\x1f\x8b", "сжато (gzip)"), (b"\xff\xfe", "в кодировке UTF-16"), (b"\xfe\xff", "в кодировке UTF-16"))


def _text(body: bytes, form: Form) -> str:
    try:
        if b"\0" not in body:
            return body.decode("utf-8-sig")
        wrong = f"В теле запроса нулевой байт (позиция {body.index(0)}): это не текст в кодировке UTF-8. {form.mend}"
    except UnicodeDecodeError as error:
        column = len(body[: error.start].decode("utf-8", "replace"))
        anew = f"Сотрите содержимое поля {form.body} и вставьте шаблон заново обычным текстом."
        wrong = (
            f"Тело запроса не в кодировке UTF-8: ошибка в позиции {error.start}, у текста "
            f"«{_near(body.decode('cp1251', 'replace'), column)}» (так он читается в windows-1251). "
            f"{anew if form.template else form.mend}"
        )
    for magic, what in _MAGIC:
        if body.startswith(magic):
            wrong = f"Тело запроса {what}, а нужен обычный текст в кодировке UTF-8. {form.mend}"
    raise Refusal(400, "not_text", wrong)


def _form(body: bytes, form: Form) -> dict[str, Any]:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:  # raw UTF-8 (some senders never percent-encode), or another coding percent-encoded
        text = _text(body, form)
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            pairs = parse_qsl(text, keep_blank_values=True, encoding="cp1251", errors="replace")
    if len(pairs) == 1 and not pairs[0][1] and pairs[0][0].startswith(("{", "[")):
        return _json(pairs[0][0], form)  # JSON that was percent-encoded whole
    if not pairs or (len(pairs) == 1 and not pairs[0][1]):
        text = body.decode("utf-8", "replace").strip()
        raise Refusal(
            400, "not_json", f"Тело запроса не JSON и не форма: оно начинается с «{shown(text[:40])}». {form.wanted}"
        )
    said = _opened(_object(pairs), form)
    if _canonical(form.call_id) not in said and (raw := _RAW_JSON.fullmatch(text := body.decode("utf-8", "replace"))):
        with contextlib.suppress(Refusal):  # not percent-encoded: its & and + are its own
            return _json(text[raw.end(1) :], form)
    return said


_RAW_JSON = re.compile(r"(\s*[\w.-]{1,64}=)\s*[{\[].*[}\]]\s*", re.DOTALL)

_MULTIPART = re.compile(r"\s*--(\S{1,200})\r?\n(?:[^\n:]{1,100}:[^\n]*\n)*?content-disposition:", re.IGNORECASE)
_NAME = re.compile(r'\bname="?([^";\r\n]{1,200})', re.IGNORECASE)


def _parts(text: str) -> list[tuple[str, str]]:
    """The fields of a multipart/form-data body, by its own boundary: the Content-Type decides nothing."""
    found = _MULTIPART.match(text)
    boundary = found[1] if found else ""
    pairs = []
    for part in text.split(f"--{boundary}")[1:]:
        head, _, value = part.replace("\r\n", "\n").lstrip("\n").partition("\n\n")
        if name := _NAME.search(head):
            pairs.append((name[1], value.removesuffix("\n")))
    return pairs


def _looks_like_json(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip(_BLANKS)[:1] in ("{", "[")


def _opened(said: dict[str, Any], form: Form) -> dict[str, Any]:
    """The object in an envelope (`json={…}` in a form, JSON in a JSON string), where no call id is outside of it."""
    call_id = _canonical(form.call_id)
    if call_id in said:
        return said
    envelopes = [key for key, value in said.items() if _looks_like_json(value)]
    if not envelopes or call_id in _flatten(said)[0]:
        return said
    for key in envelopes:
        with contextlib.suppress(Refusal):
            inside = _json(said[key], form)
            if call_id in inside or len(said) == 1:
                return {other: value for other, value in said.items() if other != key} | inside
    return said


def _json(text: str, form: Form) -> dict[str, Any]:
    for _ in range(3):  # JSON in a JSON string, an array of one object
        said = _decoded(text, form)
        only = said[0] if isinstance(said, list) and len(said) == 1 else said
        if isinstance(only, dict):
            return _opened(only, form)
        if not isinstance(only, str) or only.lstrip(_BLANKS)[:1] not in ("{", "[", '"'):
            break
        text = only
    if not isinstance(said, list):
        raise _not_object("строка в кавычках", form)
    objects = sum(isinstance(item, dict) for item in said)
    what = "массив [ … ]"
    if objects > 1:
        what += f", в нём объектов: {objects}. Одно уведомление — один объект в отдельном запросе"
    raise _not_object(what, form)


def _decoded(text: str, form: Form) -> Any:
    if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        raise RecursionError(f"deeper than {DEEPEST} levels")  # before the parser meets its own limit, which varies
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        first = error
    for attempt in _repairs(text):
        with contextlib.suppress(json.JSONDecodeError):
            return _decoder.decode(attempt)
    raise _bad_json(text, first, form)


def _depth(text: str) -> int:
    """How deep brackets nest outside of strings, in one pass."""
    deepest = depth = skip = 0
    quoted = False
    for found in re.finditer(r'["\\\[\]{}]', text):
        at, mark = found.start(), found[0]
        if at < skip:
            continue
        if mark == "\\":
            skip = at + 2
        elif mark == '"':
            quoted = not quoted
        elif not quoted:
            depth += 1 if mark in "[{" else -1
            deepest = max(deepest, depth)
    return deepest


class Object(dict[str, Any]):
    """An object's values by canonical key; `spelled` has the keys as they were sent."""

    def __init__(self) -> None:
        self.spelled: dict[str, str] = {}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Canonical keys; of a key given twice the last value that says something."""
    found = Object()
    for key, value in pairs:
        name = canonical(key)
        if name and (name not in found or not _blank(value)):
            found[name] = value
            found.spelled[name] = key
    return found


# Numbers stay the text that was sent: no 5,000-digit ValueError, no 1e400 turned inf, no id rounded to a float.
_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=str, parse_float=str, parse_constant=str, strict=False)


# What template owners do to UIS's JSON-encoded values; only tried after strict parsing failed. Each pattern starts at
# a fixed character and stops at the next quote, bracket or 100 characters, so none can run quadratic.
_REPAIRS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r'(?<=[:\[,])(\s*)""((?:[^"\\\n]|\\.)*)""(?=\s*[,}\]])'), r'\1"\2"'),  # "direction": ""in""
    (re.compile(r'(?<=[:\[,])(\s*)"(\[[^\[\]\n]*\])"(?=\s*[,}\]])'), r"\1\2"),  # "wav_call_records": "["a","b"]"
    (re.compile(r"(?<=[:\[,])(\s*)\{\{[^{}\"\n]{1,100}\}\}"), r"\1null"),  # "employee_ids": {{employee_ids}}
    (re.compile(r",(\s*[}\]])"), r"\1"),  # the comma left behind by a deleted last line
)


# What looks like a blank, or like nothing, and is no blank to JSON: U+00A0, zero-width characters, byte order marks.
_ODD = "".join(
    c for c in map(chr, range(0x10000)) if (c.isspace() and c not in " \t\r\n") or unicodedata.category(c) == "Cf"
)
_BLANKS = " \t\r\n" + _ODD
_ODD_BLANKS = re.compile(f"[{re.escape(_ODD)}]+")
_STRING_OR_ODD = re.compile(rf'"(?:[^"\\]|\\.)*+"?|[{re.escape(_ODD)}]+', re.DOTALL)
INVISIBLE = {ord(c): " " if c.isspace() else None for c in _ODD}


def shown(text: str) -> str:
    """Text as it is quoted to a person: what cannot be seen by its code."""
    return _ODD_BLANKS.sub(lambda found: "".join(f"[U+{ord(c):04X}]" for c in found[0]), text)


def _repairs(text: str) -> Iterator[str]:
    """The text repaired, the least first."""
    yield _repair(text)
    if _ODD_BLANKS.search(text):
        blanked = _STRING_OR_ODD.sub(lambda found: found[0] if found[0][0] == '"' else " ", text)
        yield blanked
        yield _repair(blanked)


def _repair(text: str) -> str:
    for pattern, replacement in _REPAIRS:
        text = pattern.sub(replacement, text)
    return text


def _near(text: str, position: int) -> str:
    return " ".join(shown(text[max(0, position - 30) : position + 30]).split())


def _bad_json(text: str, error: json.JSONDecodeError, form: Form) -> Refusal:
    line = text[: error.pos].count("\n") + 1
    rest = text[error.pos :].lstrip()
    before = text[: error.pos].rstrip()
    if not rest:
        advice = "JSON не закончен: в конце не хватает закрывающей скобки } или кавычки"
    elif form.template and any(mark in text[max(0, error.pos - 60) : error.pos + 60] for mark in ("{{", '""')):
        advice = "кавычки вокруг {{…}} ставить не нужно, провайдер ставит их сам, а между полями нужна запятая"
    elif rest[0] in "“”«»„'" or before[-1:] in "“”«»„'":
        advice = "вместо кавычек \" стоят другие (“ ” « » ')"
    elif rest[0] == '"' and before[-1:] not in "{,[:":
        advice = "перед этим полем не хватает запятой"
    elif rest[0] in ",}]":
        advice = "перед этим местом не хватает значения"
    else:
        advice = "здесь ожидалось другое"
    return Refusal(
        400,
        "bad_json",
        f"Тело запроса не JSON: строка {line}, столбец {error.colno}, у текста «{_near(text, error.pos)}»: {advice}. "
        f"{form.mend}",
    )


def _not_object(what: str, form: Form) -> Refusal:
    return Refusal(
        400,
        "not_object",
        f"Тело запроса должно быть объектом JSON {{ … }}, а пришло другое: {what}. {form.mend}",
    )


# --------------------------------------------------------------------------------------------------------- the fields


def canonical(key: str) -> str:
    """A key by its letters and digits alone, lower-cased: `Start_time` = `start_time` = `starttime`."""
    return _canonical(key[:128])


@lru_cache(maxsize=4096)
def _canonical(key: str) -> str:
    return "".join(filter(str.isalnum, key)).lower()


_PLACEHOLDER = re.compile(r'"?\{\{[^{}]*\}\}"?')
# Control characters break ODBC readers, lone surrogates cannot be stored: neither can be meant.
_UNPRINTABLE: dict[int, str | None] = dict.fromkeys((*range(32), 127)) | {9: " ", 10: " ", 13: " "}
_UNPRINTABLE |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def clean(value: Any) -> str:
    """A scalar as stripped text; "" for whatever means "no value" (empty, null, an unrendered {{placeholder}})."""
    if value is None or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if not text.isprintable():
        text = text.translate(_UNPRINTABLE)
    text = text.strip()
    # by GET the values come with one pair of literal quotes; «"A" и "B"» is no such pair
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1].replace('\\"', ""):
        text = text[1:-1].strip()
    if text == "null" or (text[:2] == "{{" and _PLACEHOLDER.fullmatch(text)):
        return ""
    return text


def _blank(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, str) and not clean(value))


class Fields(Mapping[str, Any]):
    """What was sent, by canonical key, cleaned when asked for: a value that says nothing is not there. In a nested body
    the outermost leaf wins, and `contact: {id}` is also `contactid`."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.sent = self._said = said  # as it was sent, nested
        self._flat: tuple[dict[str, Any], list[tuple[str, str]]] | None = None
        if any(isinstance(value, dict) or (isinstance(value, list) and _nested(value)) for value in said.values()):
            self._said = self.leaves

    def get(self, key: str, default: Any = None) -> Any:
        value = self._said.get(key)
        if isinstance(value, list):
            return value
        return clean(value) or default

    def __getitem__(self, key: str) -> Any:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._said if self.get(key) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def any_of(self, keys: frozenset[str]) -> bool:
        """Whether any of these keys has a value."""
        return not keys.isdisjoint(self._said) and any(self.get(key) for key in keys)

    def _flattened(self) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        if self._flat is None:
            self._flat = _flatten(self._said)
        return self._flat

    @property
    def leaves(self) -> dict[str, Any]:
        """Every value that says something by canonical key, all of them cleaned."""
        return self._flattened()[0]

    @property
    def paths(self) -> list[tuple[str, str]]:
        """(canonical path, text) of every value that says something."""
        return self._flattened()[1]

    def event_key(self, provider: str) -> str:
        """The event's identity: sha256 of the key version, the provider and what was sent, however it was spelled.

        From what was sent and never from what we understood, or a better rule would double events; no path and no
        receipt time, so a repeat is the same event.
        """
        lines = [KEY_VERSION, provider, *[f"{path}={text}" for path, text in sorted(self.paths)], ""]
        return sha256("\n".join(lines))


def _nested(items: list[Any]) -> bool:
    return any(isinstance(item, dict | list) for item in items)


def _flatten(said: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """(leaves by key, the outermost first; paths with their texts). RecursionError deeper than DEEPEST."""
    leaves: dict[str, Any] = {}
    paths: list[tuple[str, str]] = []
    level: list[tuple[str, str, Any]] = [("", "", said)]
    for _ in range(DEEPEST):
        inner: list[tuple[str, str, Any]] = []
        for path, parent, container in level:
            for key, value in container.items() if isinstance(container, dict) else _numbered(container):
                here = f"{path}.{key}" if path else key
                if isinstance(value, dict | list):
                    inner.append((here, key, value))
                    if isinstance(value, dict):
                        continue
                    said_here: Any = value
                else:
                    said_here = clean(value)
                    if not said_here:
                        continue
                    paths.append((here, said_here))
                leaves.setdefault(key, said_here)
                if parent:
                    leaves.setdefault(parent + key, said_here)
        if not inner:
            return leaves, paths
        level = inner
    raise RecursionError(f"deeper than {DEEPEST} levels")


def _numbered(items: list[Any]) -> Iterator[tuple[str, Any]]:
    return ((str(number), item) for number, item in enumerate(items))


# -------------------------------------------------------------------------------- the values, as marshmallow fields


# -------------------------------------------------------------------------------------------------------- small readers


def sha256(text: str) -> str:
    """Hex digest, the form of event_key and url_hash."""
    return hashlib.sha256(text.encode()).hexdigest()
