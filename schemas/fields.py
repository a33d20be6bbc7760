"""Fields to values: numbers, moments, lengths, lists, as marshmallow fields and small readers."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import marshmallow

from schemas.reading import INVISIBLE, Fields, Refusal, clean

EARLIEST, LATEST = datetime(2000, 1, 1), datetime(2100, 1, 1)  # a moment outside is a placeholder, not a moment


LONGEST_SECONDS = 2**31 - 1  # of the INTEGER columns


def _text_of(value: Any) -> str:
    """A leaf of Fields, which is clean already; a list says nothing where a scalar is meant."""
    return value if isinstance(value, str) else ""


class Text(marshmallow.fields.Field[str]):
    """Text cut to its column: longer is never an error, the inbox has the whole body."""

    def __init__(self, longest: int, **kwargs: Any) -> None:
        super().__init__(load_default="", **kwargs)
        self.longest = longest

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        return _text_of(value)[: self.longest]


class CallId(marshmallow.fields.Field[str]):
    """The call's id: the one thing that must be there. Kept as text whatever it came as."""

    longest = 128
    default_error_messages = {"required": "absent", "null": "absent", "too_long": "too_long"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=True, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = _text_of(value)
        if not text or text in ("None", "0"):
            raise self.make_error("required")
        if len(text) > self.longest:  # cutting it would make one call of two
            raise self.make_error("too_long")
        return text


class SessionId(CallId):
    """A call's id that is a number: no float's zero, no placeholder in its place."""

    default_error_messages = {"placeholder": "placeholder:{input}", "rounded": "rounded:{input}"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text.isdigit() and text.isascii():
            return text
        text = whole(text)
        if _ROUNDED.fullmatch(text):
            raise self.make_error("rounded", input=text)
        if _NO_ID.search(text) or not any("0" <= c <= "9" for c in text):
            raise self.make_error("placeholder", input=text[:40])
        return text


_ROUNDED = re.compile(r"\d(?:\.\d*)?E[+-]?\d{1,3}", re.ASCII | re.IGNORECASE)
_NO_ID = re.compile(r"[%<>{}$\[\]]")


class Moment(marshmallow.fields.Field[datetime | None]):
    """A moment as any of `moment_of`'s spellings; None for what is no moment."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(load_default=None, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime | None:
        return moment_of(_text_of(value))


_SECONDS = re.compile(r"\d{9,13}(\.\d{1,9})?", re.ASCII)
# 24.11.2026 10:20:30 and 2026/11/24 9:20, with T or a comma between, with a zone or without one
_WRITTEN = re.compile(
    r"(?:(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})|(\d{1,2})\.(\d{1,2})\.(\d{4}))"
    r"(?:,? ?[T ]? ?(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)? ?(Z|UTC|GMT|MSK|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
_RFC1123 = re.compile(
    r"(?:[a-z]{3,9},? )?(?:\d{1,2}[ -][a-z]{3}[ -]\d{2,4}|[a-z]{3} [ \d]\d) .*\d\d:\d\d.*", re.ASCII | re.IGNORECASE
)


def moment_of(text: str) -> datetime | None:
    """A wall clock moment `YYYY-MM-DD hh:mm:ss[.fff]`, `DD.MM.YYYY hh:mm:ss`, `YYYYMMDDhhmmss`, RFC 3339 or RFC 1123, or
    Unix seconds or milliseconds; an aware one where a zone is named. None for what is no moment between 2000 and 2100."""
    try:
        if text[4:5] == "-":
            moment = _written(text)
        elif len(text) == 14 and text.isascii() and text.isdigit():
            moment = datetime.fromisoformat(f"{text[:8]}T{text[8:]}")
        elif _SECONDS.fullmatch(number := whole(text)):
            seconds = float(number)
            moment = datetime.fromtimestamp(seconds / 1000 if seconds >= 1e11 else seconds, UTC)
        else:
            moment = _written(text)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return moment if EARLIEST <= moment.replace(tzinfo=None) <= LATEST else None


def _written(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    found = _WRITTEN.fullmatch(text)
    if found is None:
        if _RFC1123.fullmatch(text) is None:
            raise ValueError("no moment")
        return parsedate_to_datetime(text)
    year, month, day, day2, month2, year2, hour, minute, second, part, zone = found.groups()
    zone = (zone or "").upper().replace("UTC", "Z").replace("GMT", "Z").replace("MSK", "+03:00")
    date = f"{year or year2}-{int(month or month2):02}-{int(day or day2):02}"
    return datetime.fromisoformat(
        f"{date} {int(hour or 0):02}:{minute or '00'}:{second or '00'}.{(part or '0'):0<6.6}{zone}"
    )


def unread_moments(schema: marshmallow.Schema, sent: Fields) -> dict[str, str]:
    """What was sent where a moment is meant and is not understood as one, by our field; zeros alone mean "no value"."""
    moments = {name: field.data_key or name for name, field in schema.fields.items() if isinstance(field, Moment)}
    texts = {name: _text_of(sent.leaves.get(key)) for name, key in moments.items()}
    return {name: text for name, text in texts.items() if text.strip("0-:. T") and moment_of(text) is None}


class Seconds(marshmallow.fields.Field[int | None]):
    """A length in whole seconds, cut; None for what is negative, endless or no number."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(load_default=None, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int | None:
        text = _text_of(value)
        if len(text) > 20 or "_" in text:  # float() reads 1_0 as ten
            return None
        try:
            seconds = float(text)
        except ValueError:
            return None
        return int(seconds) if 0 <= seconds <= LONGEST_SECONDS else None


class Flag(marshmallow.fields.Field[bool | None]):
    """true/false in any of its spellings; None for anything else."""

    words = {"true": True, "1": True, "t": True, "yes": True, "false": False, "0": False, "f": False, "no": False}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(load_default=None, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool | None:
        return self.words.get(_text_of(value).lower())


class Texts(marshmallow.fields.Field[tuple[str, ...]]):
    """A list of scalars: an array, its text in quotes, or one scalar."""

    most = 1000

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(load_default=(), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            value = clean(value).strip("[]").split(",")
        return tuple(text for text in map(clean, value[: self.most]) if text)


class FeedSchema(marshmallow.Schema):
    """Base of the feeds' schemas: unknown keys are kept in the raw body and are never an error."""

    class Meta:
        unknown = marshmallow.EXCLUDE


def milliseconds(moment: datetime | None, zone: tzinfo) -> int | None:
    """A moment as milliseconds since 1970 UTC; one without a zone is `zone`'s wall clock."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return int(moment.timestamp() // 1) * 1000 + moment.microsecond // 1000


_EXPONENT = re.compile(r"(\d)(?:\.(\d*))?E\+?(\d{1,2})", re.ASCII | re.IGNORECASE)
_FLOAT = re.compile(r"(\+?\d+)\.0+", re.ASCII)


def whole(text: str) -> str:
    """A whole number that somebody's JSON made a float: `79031112233.0`, `7.9031112233E10` where the exponent cuts no
    digit off and adds none (of 9.01E9 seven digits are not known). Anything else is as it was."""
    if found := _FLOAT.fullmatch(text):
        return found[1]
    if found := _EXPONENT.fullmatch(text):
        lead, digits, shift = found[1], (found[2] or "").rstrip("0"), int(found[3])
        digits += "0" * (min(shift, len(found[2] or "")) - len(digits))
        if len(digits) == shift:
            return lead + digits
    return text


_IN_BRACKETS = re.compile(r"<([^<>]*)>?")
_SCHEME = re.compile(r"\s*(?:sips?|tel|callto):/*", re.IGNORECASE)
# what is dialled after the number or beside it: pauses, DTMF, an extension
_TAIL = re.compile(r"(\(?\+?(?:[ ().-]*[0-9]){5,}[ ().-]*)(?:[,;#*]|доб|ext|x).*", re.IGNORECASE | re.DOTALL)


def _number_in(sent: str) -> str:
    """What of an address is the number: without scheme, brackets, host, float's zero, pauses and extension."""
    text = sent.translate(INVISIBLE)
    if "<" in text and (found := _IN_BRACKETS.search(text)):
        text = found[1]
    if found := _SCHEME.match(text):
        text = unquote(text[found.end() :])
    text = text.partition("@")[0]
    text = whole(text.partition("...")[0].strip())
    found = _TAIL.fullmatch(text)
    return found[1] if found else text


BLANK = "***"  # what stands in place of a number that was forgotten: a text that is its own phone(), and no digit


def phone(sent: str) -> str:
    """A number for matching: 7XXXXXXXXXX where it is Russian, else its own digits, else its text (a SIP login).

    An explicit `+` names the country: +84… is not Russian. +89… and +8 9… are: no country code begins with 89.
    """
    digits, foreign = sent, False
    if not (sent.isascii() and sent.isdigit()):
        head = _number_in(sent)
        digits = "".join(c for c in head if "0" <= c <= "9")
        if not digits or any(c.isalpha() for c in head):
            return head.strip()[:32] or sent[:32]
        foreign = "+" in head[: head.index(digits[0])] and not (len(digits) == 11 and digits.startswith("89"))
    if foreign:
        return digits[:32]
    if len(digits) == 11 and digits[0] == "8":
        digits = "7" + digits[1:]
    elif len(digits) == 10:
        digits = "7" + digits
    return digits[:32]


def joined(texts: tuple[str, ...], longest: int = 255) -> str:
    """Texts with commas between, as many whole ones as fit."""
    line = ",".join(texts)
    if len(line) > longest:
        line = line[: longest + 1]
        line = line[: line.rindex(",")] if "," in line else line[:longest]
    return line


def ascii_url(url: str) -> str:
    """A link as it can be opened: percent-encoded where it is not ASCII, cut to its column."""
    return (url if url.isascii() else quote(url, safe="%/:?#[]@!$&'()*+,;=~"))[:1024]


_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def host_of(url: str) -> str:
    """The host of a link that a browser and 1C read as we do, in lower case; "" for any other: with a user before the host,
    a backslash, a blank, a name that is not ASCII."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, (parts.hostname or "").removesuffix(".")
    except ValueError:
        return ""
    plain = (
        url.isascii() and url.isprintable() and not any(sign in url for sign in " \\\"'<>") and "@" not in parts.netloc
    )
    address = host if parts.port is None else f"{host}:{port}"
    same = parts.netloc.lower().removesuffix(":").replace(".:", ":").removesuffix(".") == address
    return host if plain and same and parts.scheme in ("http", "https") and _HOST.fullmatch(host) else ""


def is_of(host: str, domains: Iterable[str]) -> bool:
    """Whether a host is one of these domains or below one."""
    return bool(host) and any(host == domain or host.endswith(f".{domain}") for domain in domains)


Reader = Callable[[Any, str, Mapping[str, Any]], Any]


@cache
def _shape(schema: marshmallow.Schema) -> tuple[dict[str, Any], list[tuple[str, str, bool, Reader]]]:
    """(what stands for the fields that may be absent; of each field our name, its key, whether it must be there, how it is
    read)."""
    fields = schema.load_fields.items()
    defaults = {name: field.load_default for name, field in fields if not field.required}
    return defaults, [(name, field.data_key or name, field.required, _reader(field)) for name, field in fields]


def _reader(field: marshmallow.fields.Field[Any]) -> Reader:
    """The field's own part of `deserialize`: what is absent or null never comes here, and few fields have validators."""
    return field.deserialize if field.validators else field._deserialize


def load(schema: marshmallow.Schema, fields: Fields, refuse: Callable[[str, str], Refusal]) -> dict[str, Any]:
    """The schema's values. A field that must be there and is not becomes `refuse(field name, what)`.

    Not schema.load: most fields are absent from most notifications, and each costs it as much as one that is there."""
    defaults, shape = _shape(schema)
    keys = fields if len(shape) < 3 else fields.leaves  # of so few nothing need be flattened
    values = defaults.copy()
    for name, key, required, reader in shape:
        value = keys.get(key, marshmallow.missing)
        if value is marshmallow.missing:
            if required:
                raise refuse(key, "absent")
            continue
        try:
            values[name] = reader(value, key, keys)
        except marshmallow.ValidationError as error:
            raise refuse(name, str(error.messages[0])) from None
    return values
